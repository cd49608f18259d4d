//! Commands about a running sidecar: `check` against it and its next hop, and `tap`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use hotlist::encoding::otlp::request_of;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::client::export;
use crate::next_hop::NextHop;
use crate::process::{Hotlist, Scene};

/// Where the admin listener is.
fn admin(hotlist: &Hotlist) -> String {
    hotlist.wait_for("admin is listening")["address"].as_str().unwrap().to_owned()
}

/// Scenario: a sidecar runs, and `check` is asked about its configuration. Guarantee: addresses that the sidecar itself has
/// are no failure, the next hop answers a request without events, and nothing of that reaches anybody as an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_knows_a_sidecar_that_runs_and_its_next_hop() {
    let (scene, next) = (Scene::new(), NextHop::start().await);
    scene.indicators("feed", &["bad.example"]);
    let config = scene.readme(&next.endpoint);
    let hotlist = Hotlist::start(&config);
    let text = std::fs::read_to_string(&config).unwrap();
    // Where it listens now stands in the configuration.
    let text = text.replacen("127.0.0.1:0", &hotlist.address(), 1).replacen("127.0.0.1:0", &admin(&hotlist), 1);
    let fixed = scene.write("fixed.yaml", &text);
    let check = |expected: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        let output = command.args(["check", "--json", "--config"]).arg(&fixed).output().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["checks"].as_array().unwrap().clone()
    };
    let checks = check(0);
    let of = |category: &str| checks.iter().filter(|check| check["category"] == category).collect::<Vec<_>>();
    assert_eq!(of("addresses").len(), 2);
    for bound in of("addresses") {
        assert!(bound["check"].as_str().unwrap().ends_with("a sidecar answers at admin.address"), "{bound}");
    }
    assert_eq!(of("next hops")[0]["status"], "ok", "{checks:?}");
    drop(hotlist);
    assert!(check(0).iter().all(|check| check["status"] != "failed"));
}

/// Scenario: somebody watches a sidecar, and three events come, two of which hit. Guarantee: both hits are shown with what is
/// known of them, the rates count all three, and the stream ends with the sidecar.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tap_shows_hits_and_rates() {
    let (scene, next) = (Scene::new(), NextHop::start().await);
    scene.indicators("feed", &["bad.example"]);
    let hotlist = Hotlist::start(&scene.readme(&next.endpoint));
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.args(["tap", "--json", "--admin", &admin(&hotlist)]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tap = command.spawn().unwrap();
    // It says so once it watches.
    let mut told = String::new();
    BufReader::new(tap.stderr.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("watching http://"), "{told}");
    for name in ["bad.example", "good.example", "bad.example"] {
        let event = json!({ "dns": { "question": { "name": name } } });
        assert_eq!(export(&hotlist.address(), &request_of([(0, &event)])).await.unwrap().status, 0);
    }
    let lines =
        BufReader::new(tap.stdout.take().unwrap()).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    let (mut hits, mut events, mut counted) = (Vec::<Value>::new(), 0, 0);
    for line in lines {
        let line: Value = line;
        if line["type"] == "hit" {
            hits.push(line);
        } else {
            events += line["events"].as_u64().unwrap();
            counted += line["hits"].as_u64().unwrap();
        }
        if events == 3 && hits.len() == 2 {
            break;
        }
    }
    assert_eq!(counted, 2);
    for hit in hits {
        let of = (&hit["field"], &hit["indicator"], &hit["feed"], &hit["value"]);
        assert_eq!(of, (&json!("dns.question.name"), &json!("bad.example"), &json!("feed"), &json!("bad.example")));
    }
    hotlist.signal(Signal::SIGTERM);
    let (status, log) = hotlist.wait();
    assert!(status.success(), "a watcher does not hold up the end: {log}");
    assert!(tap.wait().is_ok());
}

/// Scenario: the admin listener has TLS and asks for client certificates. Guarantee: the commands about a running process
/// use it with the files that they are given, and without them name what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_an_admin_listener_with_tls() {
    let (scene, next) = (Scene::new(), NextHop::start().await);
    scene.indicators("feed", &["bad.example"]);
    let authority = Authority::new();
    let identity = authority.sign();
    let files = [("ca.pem", &authority.pem), ("own.pem", &identity.pem), ("own.key", &identity.key)];
    let [ca, own, key] = files.map(|(name, text)| scene.write(name, text).display().to_string());
    let config = scene.readme(&next.endpoint);
    let tls = format!("tls: {{ cert_file: \"{own}\", key_file: \"{key}\", client_ca_file: \"{ca}\" }}");
    let text = std::fs::read_to_string(&config).unwrap();
    let admin_line = "admin: { address: \"127.0.0.1:0\"";
    assert!(text.contains(admin_line));
    let config = scene.write("hotlist.yaml", &text.replace(admin_line, &format!("{admin_line}, {tls}")));
    let hotlist = Hotlist::start(&config);
    let address = admin(&hotlist);
    let show = |url: String, options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        let output = command.args(["config", "show", "--admin", &url]).args(options).output().unwrap();
        (output.status.code(), [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()))
    };
    let all = ["--ca-file", &ca, "--cert-file", &own, "--key-file", &key];
    let (status, [text, error]) = show(format!("https://{address}"), &all);
    assert_eq!(status, Some(0), "{error}");
    assert!(text.contains("sources:"), "{text}");
    let (status, [_, error]) = show(format!("https://{address}"), &all[..2]);
    assert_eq!(status, Some(1), "without a client certificate: {error}");
    let (status, [_, error]) = show(format!("http://{address}"), &[]);
    assert!(status == Some(1) && error.contains("`https://`") && error.contains("`admin.tls`"), "{error}");
    let (status, [_, error]) = show(format!("http://{address}"), &all);
    assert!(status == Some(1) && error.contains("--ca-file") && error.contains("has no TLS"), "{error}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.args(["tap", "--admin", &format!("https://{address}")]).args(all).stderr(Stdio::piped());
    let mut tap = command.stdout(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(tap.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("watching https://"), "{line}");
    drop(hotlist);
    assert!(tap.wait().is_ok());
}
