//! Reloads: the settings that become active, those that wait for a restart, and that the process shows both as they
//! are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hotlist::encoding::otlp::request_of;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::net::TcpStream;

use crate::authority::Identity;
use crate::client::{Connection, export};
use crate::next_hop::NextHop;
use crate::process::{Hotlist, PATIENCE, Scene};

/// A process whose configuration is replaced again and again.
struct Changing {
    scene: Scene,
    hotlist: Hotlist,
    reloads: usize,
}

impl Changing {
    fn start(scene: Scene, arguments: &[&str]) -> Changing {
        let hotlist = Hotlist::start_with_arguments(&scene.path("hotlist.yaml"), arguments);
        Changing { scene, hotlist, reloads: 0 }
    }

    /// Writes a configuration, signals, and waits until it is active.
    fn take(&mut self, text: &str) {
        self.scene.write("hotlist.yaml", text);
        self.hotlist.signal(Signal::SIGHUP);
        self.reloads += 1;
        self.wait_for_reloads(self.reloads);
    }

    fn wait_for_reloads(&self, count: usize) {
        let start = Instant::now();
        while self.hotlist.log().matches("configuration is reloaded").count() < count {
            assert!(start.elapsed() < PATIENCE, "{}", self.hotlist.log());
            std::thread::yield_now();
        }
    }

    async fn metric(&self, name: &str) -> String {
        let (_, metrics) = self.hotlist.admin("/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} in {metrics}")).to_owned()
    }
}

fn batch() -> Vec<u8> {
    request_of([(1, &json!({ "source": { "ip": "198.51.100.1" } }))])
}

/// Scenario: a reload changes limits and the log's level, which a running process cannot take, and matching, which it
/// can; the same file is reloaded again; then the changes are taken back. Guarantee: `/config` is what is active and
/// names the rest; metric, readiness and the log of each reload name it, too, until it is active.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_restart_is_shown_and_the_rest_is_active() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.1"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let mut changing = Changing::start(scene, &[]);
    let changed = text.replace("log: { format: json }", "log: { format: json, level: debug }")
        + "limits: { max_connections: 7, record_findings: 3 }\nmatch: { subdomains: true }\n";
    for reload in 1..=2 {
        changing.take(&changed);
        let (_, shown) = changing.hotlist.admin("/config").await;
        let first = shown.lines().next().unwrap();
        assert!(first.starts_with("# ") && first.ends_with(": limits.max_connections, log.level"), "{shown}");
        for active in ["max_connections: 1024", "record_findings: 3", "level: info", "subdomains: true"] {
            assert!(shown.contains(active), "{active} in {shown}");
        }
        assert_eq!(changing.metric("hotlist_config_restart_needed").await, "2");
        let admin = changing.hotlist.wait_for("admin is listening")["address"].as_str().unwrap().to_owned();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hotlist"));
        let printed =
            command.args(["config", "show", "--admin", &admin]).env_remove("HOTLIST_CONFIG").output().unwrap();
        assert_eq!(String::from_utf8(printed.stdout).unwrap(), shown);
        let (status, report) = changing.hotlist.admin("/readyz?verbose").await;
        let line = "[i] configuration: restart to activate limits.max_connections, log.level\n";
        assert!(status == 200 && report.contains(line), "{report}");
        let log = changing.hotlist.log();
        assert_eq!(log.matches("at the next start").count(), 2 * reload, "{log}");
    }
    let line = changing.hotlist.wait_for("configuration is reloaded");
    assert_eq!(line["changed"], "match.subdomains limits.record_findings");
    changing.take(&text);
    assert_eq!(changing.metric("hotlist_config_restart_needed").await, "0");
    let (_, report) = changing.hotlist.admin("/readyz?verbose").await;
    assert!(report.contains("[+] configuration: "), "{report}");
    assert!(changing.hotlist.admin("/config").await.1.starts_with("sources:"));

    changing.scene.write("hotlist.yaml", "sources: [\n");
    changing.hotlist.signal(Signal::SIGHUP);
    changing.hotlist.wait_for("configuration refused");
    let (status, report) = changing.hotlist.admin("/readyz?verbose").await;
    assert!(status == 200 && report.contains("[i] configuration: ") && report.contains("refused"), "{report}");
}

/// Scenario: under traffic, a source is renamed, gets another limit, and listens at all addresses and again at one, each
/// in one reload. Guarantee: no connection is ever refused, everything that is acknowledged is delivered, and the old
/// name is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_changes_in_one_reload_and_its_port_stays_open() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["192.0.2.1"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let mut changing = Changing::start(scene, &[]);
    let address = changing.hotlist.address();
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    let at = |name: &str, address: &str, more: &str| {
        let source = format!("  {name}: {{ type: otlp, address: \"{address}\"{more} }}\n");
        let renamed = text.replace("inputs: [agents]", &format!("inputs: [{name}]"));
        renamed.replace("  agents: { type: otlp, address: \"127.0.0.1:0\" }\n", &source)
    };
    let (stop, from) = (Arc::new(AtomicBool::new(false)), address.clone());
    let traffic = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut acknowledged = 0;
            while !stop.load(Ordering::Relaxed) {
                drop(TcpStream::connect(&from).await.expect("the port is open"));
                // A connection of the old source may get a GOAWAY before its first request.
                acknowledged += usize::from(export(&from, &batch()).await.is_ok_and(|answer| answer.status == 0));
            }
            acknowledged
        }
    });
    let one = ("renamed", address.as_str());
    for ((name, address), more) in [
        (("agents", address.as_str()), ""),
        (one, ""),
        (one, ", max_request_bytes: 1MiB"),
        (("renamed", everywhere.as_str()), ""),
        (one, ""),
        (("agents", everywhere.as_str()), ", max_request_bytes: 2MiB"),
    ] {
        changing.take(&at(name, address, more));
        let (_, shown) = changing.hotlist.admin("/config").await;
        assert!(shown.contains(&format!("{name}:")) && shown.contains(address), "{shown}");
        assert_eq!(export(&one.1.replace("0.0.0.0", "127.0.0.1"), &batch()).await.unwrap().status, 0);
        assert_eq!(changing.metric("hotlist_config_restart_needed").await, "0");
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = traffic.await.unwrap() + 6;
    assert!(next_hop.take().len() >= acknowledged);
    let (_, shown) = changing.hotlist.admin("/config").await;
    assert!(!shown.contains("renamed"), "{shown}");
    // Nobody shares the port afterwards.
    assert!(std::net::TcpListener::bind(&address).is_err());
}

/// Scenario: two sources exchange their sockets, of which one takes small requests only. Guarantee: in one reload each
/// limit is at the other socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sources_exchange_their_addresses() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["192.0.2.1"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let [one, two] = ["one.sock", "two.sock"].map(|name| format!("unix:{}", scene.path(name).display()));
    let with = |wide: &str, narrow: &str| {
        let sources = format!(
            "  agents: {{ type: otlp, address: \"{wide}\" }}\n  narrow: {{ type: otlp, address: \"{narrow}\", max_request_bytes: 10 }}\n"
        );
        let all = text.replace("  agents: { type: otlp, address: \"127.0.0.1:0\" }\n", &sources);
        all.replace("inputs: [agents], endpoint", "inputs: [agents, narrow], endpoint")
    };
    scene.write("hotlist.yaml", &with(&one, &two));
    let mut changing = Changing::start(scene, &[]);
    let (mut wide, mut narrow) = (one, two);
    let statuses = async |wide: &str, narrow: &str| {
        (export(wide, &batch()).await.unwrap().status, export(narrow, &batch()).await.unwrap().status)
    };
    changing.take(&with(&wide, &narrow));
    assert_eq!(statuses(&wide, &narrow).await, (0, 3));
    for _ in 0..2 {
        std::mem::swap(&mut wide, &mut narrow);
        changing.take(&with(&wide, &narrow));
        assert_eq!(statuses(&wide, &narrow).await, (0, 3));
    }
}

/// Scenario: a source gets TLS, and loses it again; its type changes. Guarantee: a port that `/config` shows with TLS takes
/// no plaintext; a type that waits for a restart is not shown as active, and is refused where no sink would be left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_shown_where_it_is_in_effect() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["192.0.2.1"]);
    let own = Identity::self_signed(false, "localhost", false);
    let (certificate, key) = (scene.write("cert.pem", &own.pem), scene.write("key.pem", &own.key));
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let tls = format!(", tls: {{ cert_file: \"{}\", key_file: \"{}\" }} }}", certificate.display(), key.display());
    let secured = text.replacen("\"127.0.0.1:0\" }", &format!("\"127.0.0.1:0\"{tls}"), 1);
    let mut changing = Changing::start(scene, &[]);
    let address = changing.hotlist.address();
    let mut open = Connection::open(&address).await.unwrap();
    assert_eq!(open.export(&batch()).await.unwrap().status, 0);
    changing.take(&secured);
    assert!(changing.hotlist.admin("/config").await.1.contains("cert_file:"));
    assert!(export(&address, &batch()).await.is_err(), "no plaintext");
    changing.take(&text);
    assert!(!changing.hotlist.admin("/config").await.1.contains("cert_file:"));
    assert_eq!(export(&address, &batch()).await.unwrap().status, 0);

    changing.take(&text.replacen("type: otlp, address", "type: vector, address", 1));
    let (_, shown) = changing.hotlist.admin("/config").await;
    assert!(shown.contains(": sources.agents.type\n") && !shown.contains("type: vector"), "{shown}");
    assert_eq!(export(&address, &batch()).await.unwrap().status, 0);
    let sinks = text.find("sinks:").unwrap()..text.find("admin:").unwrap();
    let mut without = text.replacen("type: otlp, address", "type: filter, address", 1);
    without.replace_range(sinks.start + 2..sinks.end + 2, "");
    changing.scene.write("hotlist.yaml", &without);
    changing.hotlist.signal(Signal::SIGHUP);
    let line = changing.hotlist.wait_for("configuration refused");
    assert!(line["error"].as_str().unwrap().contains("sources.agents.type"), "{line}");
    assert_eq!(export(&address, &batch()).await.unwrap().status, 0);
}

/// Scenario: `--watch-config`, and the configuration in a Kubernetes volume, whose `..data` link is swapped; then one that
/// names a certificate which arrives later. Guarantee: each change is active without a signal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_configuration_is_taken_without_a_signal() {
    use std::os::unix::fs::symlink;
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["www.evil.example.com"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let volume = scene.path("volume");
    let version = |name: &str, text: &str| {
        std::fs::create_dir_all(volume.join(name)).unwrap();
        std::fs::write(volume.join(name).join("hotlist.yaml"), text).unwrap();
        symlink(name, volume.join("..data_tmp")).unwrap();
        std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    version("..1", &text);
    symlink("..data/hotlist.yaml", volume.join("hotlist.yaml")).unwrap();
    let hotlist = Hotlist::start_with_arguments(&volume.join("hotlist.yaml"), &["--watch-config"]);
    let changing = Changing { scene, hotlist, reloads: 0 };
    version("..2", &format!("{text}match: {{ subdomains: true }}\n"));
    std::fs::remove_dir_all(volume.join("..1")).unwrap();
    changing.wait_for_reloads(1);
    assert!(changing.hotlist.admin("/config").await.1.contains("subdomains: true"));

    let (certificate, key) = (changing.scene.path("cert.pem"), changing.scene.path("key.pem"));
    let tls = format!(", tls: {{ cert_file: \"{}\", key_file: \"{}\" }} }}", certificate.display(), key.display());
    version("..3", &text.replacen("\"127.0.0.1:0\" }", &format!("\"127.0.0.1:0\"{tls}"), 1));
    changing.hotlist.wait_for("configuration refused");
    let own = Identity::self_signed(false, "localhost", false);
    std::fs::write(key, own.key).unwrap();
    std::fs::write(certificate, own.pem).unwrap();
    changing.wait_for_reloads(2);
    assert!(changing.hotlist.admin("/config").await.1.contains("cert_file:"));
}
