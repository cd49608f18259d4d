//! Whole programs: the binary, and clients that speak to it: grpcurl, grpcio, and the examples.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hotlist::proto::filter::v1::{Answer, CheckRequest};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::common::{Agent, BAD, bad, client, good, request, series};
use crate::grpcurl::grpcurl;
use crate::held_port::HeldPort;
use crate::process::Hotlist;
use crate::python::python;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A place with indicators.
fn scene() -> TempDir {
    let scene = tempfile::tempdir().unwrap();
    std::fs::create_dir(scene.path().join("indicators")).unwrap();
    std::fs::write(scene.path().join("indicators/planted.txt"), format!("{BAD}\nevil.example\n")).unwrap();
    scene
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Scenario: grpcurl, which knows nothing but the address. Guarantee: it lists and describes the service, and both
/// methods answer it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs grpcurl"]
async fn grpcurl_needs_no_proto() {
    let grpcurl = grpcurl();
    let scene = scene();
    let hotlist = Hotlist::start(scene.path(), "", "");
    let run = |arguments: &[&str], more: &[&str]| {
        let output = Command::new(&grpcurl).arg("-plaintext").args(arguments).arg(&hotlist.address).args(more).output();
        text(&output.unwrap())
    };
    let services = run(&[], &["list"]);
    assert!(services.lines().any(|line| line == "hotlist.filter.v1.Filter"), "{services}");
    let described = run(&[], &["describe", "hotlist.filter.v1.FilterRequest"]);
    assert!(described.contains("repeated bytes events = 2"), "{described}");
    let health = run(&["-d", r#"{"service": "hotlist.filter.v1.Filter"}"#], &["grpc.health.v1.Health/Check"]);
    assert!(health.contains("SERVING"), "{health}");

    let asked = json!({ "values": [{ "kind": "domain", "value": "EVIL.example" }, { "kind": "dominion" }] });
    let answer = run(&["-d", &asked.to_string()], &["hotlist.filter.v1.Filter/Check"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let known = &answer["results"][0]["matches"][0];
    assert_eq!((&known["indicator"], &known["feed"]), (&json!("evil.example"), &json!("planted")));
    assert!(answer["results"][1]["error"].as_str().unwrap().contains("not a kind of value"), "{answer}");

    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD;
    let batch = json!({ "id": 5, "events": [base64.encode(good(0)), base64.encode(bad(1))], "answer": "ANSWER_HITS" });
    let answer = run(&["-d", &format!("{batch}{batch}")], &["hotlist.filter.v1.Filter/Stream"]);
    let answers: Vec<Value> =
        serde_json::Deserializer::from_str(&answer).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(answers.len(), 2, "{answer}");
    assert_eq!((&answers[1]["id"], &answers[1]["hits"][0]["index"]), (&json!("5"), &json!(1)));
    let event = base64.decode(answers[1]["hits"][0]["event"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&event).unwrap()["tags"], json!(["threat-match"]));
}

/// Scenario: a grpcio client sends 10,000 batches as fast as it may and reads nothing, then everything. Guarantee: it
/// is held back while the server holds no more than its window, and every answer comes, in order and whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Python client"]
async fn grpcio_is_held_back_and_gets_every_answer() {
    const BATCHES: usize = 10_000;
    let python = python("grpc, grpc_tools");
    let scene = scene();
    let hotlist = Hotlist::start(scene.path(), "", "");
    let mut client = Command::new(python)
        .arg(root().join("tests/python/filter_pressure.py"))
        .args([root().join("proto").as_os_str(), hotlist.address.as_ref(), BATCHES.to_string().as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let said = lines.next().expect("the client failed").unwrap();
    let held: usize = said.strip_prefix("held ").unwrap().parse().unwrap();
    let metrics = hotlist.metrics().await;
    let in_flight = series(&metrics, "hotlist_in_flight_bytes");
    println!("held after {held} batches, {in_flight} bytes in flight");
    assert!(held < BATCHES, "nothing holds it back");
    // A batch has 4.4 kB, for which 5 KiB are taken, and 1 KiB more for its answer.
    assert!((1024.0..=8.0 * 6.0 * 1024.0).contains(&in_flight), "{in_flight}");
    assert_eq!(series(&metrics, "hotlist_filter_streams{source=\"agents\"}"), 1.0);
    client.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(lines.next().expect("the client failed").unwrap(), format!("answered {BATCHES}"));
    assert!(client.wait().unwrap().success());
    assert_eq!(series(&hotlist.metrics().await, "hotlist_in_flight_bytes"), 0.0);
}

/// Scenario: SIGTERM while one stream idles and another has a batch answered. Guarantee: both end with UNAVAILABLE, and
/// the process with 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_to_end_ends_streams() {
    let scene = scene();
    let hotlist = Hotlist::start(scene.path(), ", window: 2", "");
    let mut idle = Agent::open(client(&hotlist.address).await).await;
    let mut busy = Agent::open(client(&hotlist.address).await).await;
    busy.send(request(1, &[&bad(0)], Answer::Hits));
    assert_eq!(busy.answer().await.hits.len(), 1);
    hotlist.signal(Signal::SIGTERM);
    assert_eq!(busy.next().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(idle.next().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(hotlist.wait().code(), Some(0));
}

/// Scenario: new indicators are loaded while a stream is open. Guarantee: each answer names the snapshot that it was
/// matched with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snapshot_of_an_answer_is_the_one_that_judged_it() {
    let scene = scene();
    let hotlist = Hotlist::start(scene.path(), "", "");
    let mut agent = Agent::open(client(&hotlist.address).await).await;
    let event = r#"{"destination":{"ip":"192.0.2.99"}}"#;
    agent.send(request(1, &[event], Answer::Hits));
    let answer = agent.answer().await;
    let (first, hits) = (answer.snapshot, answer.hits.len());
    assert!(first.starts_with("files:") && hits == 0, "{first}");
    std::fs::write(scene.path().join("indicators/more.txt"), "192.0.2.99\n").unwrap();
    let start = std::time::Instant::now();
    loop {
        agent.send(request(2, &[event], Answer::Hits));
        let answer = agent.answer().await;
        assert_eq!(answer.hits.len() == 1, answer.snapshot != first, "{answer:?}");
        if answer.snapshot != first {
            break;
        }
        assert!(start.elapsed() < crate::common::PATIENCE, "the file is not read");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Guarantee: a sink that reads the source has a batch before it is answered, tagged and untagged events alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_has_what_is_answered() {
    let scene = scene();
    let path = scene.path().join("out.ndjson");
    let sinks = format!("sinks: {{ all: {{ type: ndjson, inputs: [agents], path: \"{}\" }} }}\n", path.display());
    let hotlist = Hotlist::start(scene.path(), "", &sinks);
    let mut agent = Agent::open(client(&hotlist.address).await).await;
    agent.send(request(1, &[&bad(0), &good(1)], Answer::Events));
    let answer = agent.answer().await;
    let written = lines(&std::fs::read_to_string(path).unwrap());
    let answered: Vec<Value> = answer.events.iter().map(|event| serde_json::from_slice(event).unwrap()).collect();
    assert_eq!(written, answered);
    assert_eq!(written[0]["tags"], json!(["threat-match"]));
}

/// Scenario: no indicators at all. Guarantee: with `open`, events pass and the answer says that nothing was matched;
/// with `closed`, they are refused; Check is UNAVAILABLE in both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_indicators_answers_say_so() {
    let scene = tempfile::tempdir().unwrap();
    for mode in ["open", "closed"] {
        let hotlist = Hotlist::start(scene.path(), "", &format!("failure_mode: {mode}\n"));
        let mut agent = Agent::open(client(&hotlist.address).await).await;
        agent.send(request(1, &[&bad(0)], Answer::Events));
        let answer = agent.answer().await;
        assert_eq!((answer.id, &*answer.snapshot), (1, ""));
        match mode {
            "open" => assert_eq!(answer.events, [bad(0)]),
            _ => assert_eq!(answer.refusal.unwrap().code, Code::Unavailable as u32),
        }
        let check = client(&hotlist.address).await.check(CheckRequest::default()).await;
        assert_eq!(check.unwrap_err().code(), Code::Unavailable);
    }
}

/// The example's events with what hits by it, as `scan` says.
fn expected(directory: &Path, emit: &str) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.args(["scan", "--emit", emit, "--match-subdomains", "--match-url-hosts", "--indicators", "indicators"]);
    let output = command.args(["--events", "events/incidents.ndjson"]).current_dir(directory).output().unwrap();
    lines(&text(&output))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The example's configuration on ports of the system's choice.
fn example() -> (TempDir, Hotlist) {
    let scene = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root().join("examples/filter/hotlist.yaml")).unwrap();
    assert!(text.contains("127.0.0.1:14319") && text.contains("127.0.0.1:9465"));
    let text = text.replace(":14319", ":0").replace(":9465", ":0") + "log: { format: json }\n";
    let config = scene.path().join("hotlist.yaml");
    std::fs::write(&config, text).unwrap();
    let hotlist = Hotlist::run(&config, &root().join("examples"));
    (scene, hotlist)
}

/// Guarantee: a client of the examples prints every event of a file in order, tagged where it hits, or the hits only.
fn judges_the_example(program: &Path, arguments: &[&str], address: &str) {
    let directory = root().join("examples");
    let run = |more: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).args(["--address", address, "--batch", "3"]).args(more).current_dir(&directory);
        lines(&text(&command.arg("events/incidents.ndjson").output().unwrap()))
    };
    let events = run(&[]);
    let sent = lines(&std::fs::read_to_string(directory.join("events/incidents.ndjson")).unwrap());
    assert_eq!(events.len(), sent.len());
    let is_hit = |event: &&Value| event.to_string().contains("indicator_match_rule");
    let tagged: Vec<&Value> = events.iter().filter(is_hit).collect();
    assert_eq!(Vec::from_iter(run(&["--hits"]).iter()), tagged);
    for (event, sent) in events.iter().zip(&sent) {
        assert!(is_hit(&event) || event == sent, "{event}");
    }
    // `scan` applies no policy, so it finds these and a few more.
    let found = expected(&directory, "events").iter().filter(is_hit).count();
    assert!(tagged.len() > 3 && tagged.len() <= found, "{} of {found}", tagged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Python client"]
async fn the_python_example_judges_the_examples() {
    let python = python("grpc, grpc_tools");
    let (_scene, hotlist) = example();
    judges_the_example(&python, &["filter/client.py"], &hotlist.address);
    let check = |kind: &str, value: &str| {
        let mut command = Command::new(&python);
        command.args(["filter/client.py", "--address", &hotlist.address, "--check", kind, value]);
        command.current_dir(root().join("examples")).output().unwrap()
    };
    let known = lines(&text(&check("ip", "198.51.100.77")));
    assert_eq!(known, [json!({ "indicator": "198.51.100.77", "feed": "harbour", "id": "harbour-1" })]);
    assert_eq!(text(&check("ip", "192.0.2.1")), "");
    assert!(String::from_utf8_lossy(&check("ipv4", "192.0.2.1").stderr).contains("not a kind of value"));
}

/// The example as cargo builds it together with the tests; built here when only some of them were.
fn filter_client() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(Path::parent).unwrap().join("examples/filter_client");
    if !built.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let status =
            Command::new(cargo).args(["build", "--locked", "--example", "filter_client"]).current_dir(root()).status();
        assert!(status.unwrap().success());
    }
    built
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_example_judges_the_examples() {
    let (_scene, hotlist) = example();
    judges_the_example(&filter_client(), &[], &format!("http://{}", hotlist.address));
}

/// Scenario: the example sends far more batches than fit a window, Hotlist is ended in the middle, and one starts
/// at the same address, which no other process can take meanwhile. Guarantee: the example connects again, and every event is printed at least once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_example_survives_a_restart() {
    const EVENTS: usize = 20_000;
    let (scene, held) = (scene(), HeldPort::new());
    let hotlist = Hotlist::start_at(held.address, scene.path(), "", "");
    let address = hotlist.address.clone();
    let mut client = Command::new(filter_client())
        .args(["--address", &format!("http://{address}"), "--batch", "10"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let reader = std::thread::spawn(move || BufReader::new(output).lines().map(Result::unwrap).collect::<Vec<_>>());
    let half = |from: usize| (from..from + EVENTS / 2).map(|number| bad(number) + "\n").collect::<String>();
    input.write_all(half(0).as_bytes()).unwrap();
    hotlist.signal(Signal::SIGTERM);
    assert_eq!(hotlist.wait().code(), Some(0));
    let _again = Hotlist::run(&scene.path().join("hotlist.yaml"), scene.path());
    input.write_all(half(EVENTS / 2).as_bytes()).unwrap();
    drop(input);
    assert!(client.wait().unwrap().success());
    let printed = reader.join().unwrap();
    let mut numbers: Vec<u64> = printed
        .iter()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["tags"][0], "threat-match");
            event["n"].as_u64().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..EVENTS as u64).collect::<Vec<_>>());
}
