//! The real OpenTelemetry Collector with the configuration of `examples/otel-collector`, against a Hotlist that is killed;
//! and the halves of those examples against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hotlist::config::{Address, Config, Endpoint, SinkKind};
use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::render_record;
use serde_json::{Value, json};

use crate::held_port::HeldPort;
use crate::next_hop::{Mood, NextHop};
use crate::otelcol::otel_collector;
use crate::process::{Hotlist, PATIENCE, Scene};

const EVENTS: u64 = 3_000;
/// One event in so many hits.
const HIT_EVERY: u64 = 10;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/otel-collector")
}

fn yaml(file: &str) -> Value {
    let text = std::fs::read_to_string(examples().join(file)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A Collector at work; its log is shown when a test fails. Ended when dropped.
struct Collector {
    child: Child,
    log: PathBuf,
}

impl Collector {
    /// The example, and what is different for a test.
    fn start(program: &Path, scene: &Scene, over: &Value) -> Collector {
        Collector::start_with(program, scene, &examples().join("backend/collector.yaml"), over)
    }

    /// The same with another configuration.
    fn start_with(program: &Path, scene: &Scene, config: &Path, over: &Value) -> Collector {
        let over = scene.write("over.yaml", &over.to_string());
        let log = scene.path("collector.log");
        let mut command = Command::new(program);
        command.arg("--config").arg(config).arg("--config").arg(over);
        let output = std::fs::File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().unwrap();
        Collector { child, log }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// Every event that arrived since the last time by its number: how often, each checked to be tagged when it should be.
fn count(next_hop: &NextHop, arrived: &mut BTreeMap<u64, usize>) {
    for request in next_hop.take() {
        let message = request.message();
        OTLP.records(&message, |span| {
            let event: Value = serde_json::from_slice(&render_record(&message[span.record.payload()])).unwrap();
            let number: u64 = event["event"]["id"].as_str().unwrap().parse().unwrap();
            let tagged = event["tags"] == json!(["threat-match"]);
            assert_eq!(tagged, number.is_multiple_of(HIT_EVERY), "{event}");
            assert_eq!(tagged, event.to_string().contains("indicator_match_rule"), "{event}");
            *arrived.entry(number).or_default() += 1;
        })
        .unwrap();
    }
}

/// Scenario: a Collector reads a file of 3,000 events and sends it over HTTP as the example says, protobuf with gzip; in
/// the middle, with requests under way, Hotlist is killed and started again. Guarantee: every event is at the next hop,
/// and exactly the hits are tagged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the OpenTelemetry Collector"]
async fn nothing_is_lost_when_hotlist_is_killed() {
    kill_in_the_middle(json!({})).await;
}

/// Scenario and guarantee: the same with JSON and zstd.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the OpenTelemetry Collector"]
async fn nothing_is_lost_as_json() {
    kill_in_the_middle(json!({ "encoding": "json", "compression": "zstd" })).await;
}

/// `how` is different in the exporter.
async fn kill_in_the_middle(how: Value) {
    let program = otel_collector();
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let event = |number: u64| {
        let address = if number.is_multiple_of(HIT_EVERY) { "198.51.100.23" } else { "192.0.2.1" };
        json!({
            "@timestamp": "2026-08-22T09:00:00.000Z",
            "event": { "id": number.to_string(), "kind": "event" },
            "source": { "ip": address, "port": 50_211 },
            "host": { "name": "ws-31" },
        })
    };
    let lines: Vec<String> = (0..EVENTS).map(|number| event(number).to_string() + "\n").collect();
    let file = scene.write("events.ndjson", &lines.concat());

    // Each listens at the same place, which no other process can take meanwhile.
    let held = HeldPort::new();
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let config = scene.write("held.yaml", &text.replacen("127.0.0.1:0", &held.address.to_string(), 1));
    let hotlist = Hotlist::start(&config);
    let address = hotlist.address();

    // So slow that there is a middle.
    next_hop.set(Mood::Slow(Duration::from_millis(50)));
    let mut exporter = json!({
        "endpoint": format!("http://{address}"),
        "retry_on_failure": { "initial_interval": "100ms", "max_interval": "500ms" },
    });
    exporter.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
    let over = json!({
        "receivers": { "filelog": { "include": [file], "poll_interval": "50ms" } },
        "processors": { "batch": { "send_batch_size": 50, "send_batch_max_size": 50 } },
        "exporters": { "otlphttp": exporter },
        "service": { "telemetry": { "metrics": { "level": "none" } } },
    });
    let _collector = Collector::start(&program, &scene, &over);
    let mut arrived = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE * 2;
    let wait_for = async |arrived: &mut BTreeMap<u64, usize>, events: u64| loop {
        count(&next_hop, arrived);
        if arrived.len() as u64 >= events {
            break;
        }
        assert!(Instant::now() < deadline, "{} of {events} events arrived", arrived.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    wait_for(&mut arrived, EVENTS / 6).await;
    next_hop.set(Mood::Hold);
    next_hop.held(1).await;
    hotlist.kill();
    count(&next_hop, &mut arrived);
    let before = arrived.len() as u64;
    assert!(before < EVENTS, "the end came before the middle");
    next_hop.set(Mood::Accept);
    let hotlist = Hotlist::start(&config);
    assert_eq!(hotlist.address(), address);
    wait_for(&mut arrived, EVENTS).await;
    assert_eq!(BTreeSet::from_iter(arrived.keys().copied()), BTreeSet::from_iter(0..EVENTS));
    let twice = arrived.values().filter(|times| **times > 1).count();
    println!("{before} events before the kill, {EVENTS} after it, {twice} of them more than once");
}

/// Scenario: `hotlist init` writes a pair, Hotlist and a real Collector run with it, and the event that `init` says is a
/// first hit is appended to the logs. Guarantee: it arrives at the next hop, tagged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the OpenTelemetry Collector"]
async fn what_init_writes_runs() {
    let program = otel_collector();
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    let (pair, logs) = (scene.path("pair"), scene.path("events.ndjson"));
    let mut init = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    init.args(["init", "--collector", "otel", "--endpoint", &next_hop.endpoint, "--logs"]).arg(&logs);
    let printed = init.arg("--directory").arg(&pair).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout).unwrap();
    let event = printed.split("echo '").nth(1).unwrap().split('\'').next().unwrap();
    std::fs::write(&logs, format!("{event}\n")).unwrap();
    // Free ports, and paths that do not start at the working directory of the tests.
    let mut text = std::fs::read_to_string(pair.join("hotlist.yaml")).unwrap() + "log: { format: json }\n";
    for port in ["14317", "9465"] {
        text = text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    for path in ["indicators/*", "rejected.ndjson", "hits.ndjson"] {
        text = text.replace(path, &pair.join(path).display().to_string());
    }
    let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text));
    let over = json!({
        "receivers": { "filelog": { "poll_interval": "50ms" } },
        "exporters": { "otlphttp": { "endpoint": format!("http://{}", hotlist.address()) } },
        "service": { "telemetry": { "metrics": { "level": "none" } } },
    });
    let _collector = Collector::start_with(&program, &scene, &pair.join("collector.yaml"), &over);
    let deadline = Instant::now() + PATIENCE * 2;
    let arrived = loop {
        if let Some(request) = next_hop.take().into_iter().next() {
            break request.message();
        }
        assert!(Instant::now() < deadline, "nothing arrives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let mut events = Vec::new();
    OTLP.records(&arrived, |span| {
        events.push(serde_json::from_slice::<Value>(&render_record(&arrived[span.record.payload()])).unwrap());
    })
    .unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["tags"], json!(["threat-match"]));
    assert_eq!(events[0]["threat"]["enrichments"][0]["indicator"]["name"], "first-hit.example");
}

fn config(directory: &str) -> Config {
    let path = examples().join(directory).join("hotlist.yaml");
    Config::load(&path, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The OTLP sink's endpoint and its deadline in seconds.
fn sink(config: &Config) -> (String, u64) {
    let sinks = config.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Otlp(sink) => Some(sink),
        _ => None,
    });
    let [sink] = &*Vec::from_iter(sinks) else { panic!("one OTLP sink") };
    let Endpoint::Http { host, port } = &sink.endpoint else { panic!("{}", sink.endpoint) };
    assert!(sink.rejected.is_some(), "without it one bad record holds up everything behind it");
    (format!("{host}:{port}"), sink.timeout.as_secs())
}

/// Guarantee: the Collector sends to where both examples of Hotlist listen, with every setting without which events are
/// lost, gives up on a request only after Hotlist did, and never sends more than Hotlist takes.
#[test]
fn the_sending_side_loses_nothing() {
    let collector = yaml("backend/collector.yaml");
    let exporter = &collector["exporters"]["otlphttp"];
    let receiver = &collector["receivers"]["filelog"];
    for directory in ["backend", "second-collector"] {
        let config = config(directory);
        let [source] = &*config.sources else { panic!("one source") };
        let Address::Tcp(address) = source.address() else { panic!("{}", source.address()) };
        assert_eq!(exporter["endpoint"], format!("http://{address}"), "{directory}");
        let timeout: u64 = exporter["timeout"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
        assert!(timeout > sink(&config).1, "{directory}: {timeout}");
        let records = collector["processors"]["batch"]["send_batch_max_size"].as_u64().unwrap();
        assert!(records > 0 && records * 64 * 1024 < source.max_request_bytes() as u64, "{records}");
    }
    for part in [exporter, receiver] {
        let retry = &part["retry_on_failure"];
        assert_eq!((&retry["enabled"], &retry["max_elapsed_time"]), (&json!(true), &json!(0)));
    }
    let queue = &exporter["sending_queue"];
    assert_eq!((&queue["enabled"], &queue["block_on_overflow"]), (&json!(true), &json!(true)));
    assert_eq!(receiver["operators"][0]["parse_to"], "body");
    assert_eq!(collector["service"]["pipelines"]["logs"]["receivers"], json!(["filelog"]));
    let events = receiver["include"][0].as_str().unwrap().replace('*', "incidents");
    assert!(examples().join("backend").join(&events).is_file(), "{events}");
}

/// Guarantee: the second Collector listens where Hotlist's sink sends to, looks for the tag where Hotlist puts it, and every
/// event goes to an exporter.
#[test]
fn the_receiving_side_takes_everything() {
    let second = yaml("second-collector/second.yaml");
    let config = config("second-collector");
    assert_eq!(second["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"], sink(&config).0);
    assert_eq!(config.r#match.tag_into, hotlist::encoding::TagInto::Body);
    let routing = &second["connectors"]["routing"];
    let [rule] = &**routing["table"].as_array().unwrap() else { panic!("one rule") };
    assert!(rule["condition"].as_str().unwrap().contains(r#"body["tags"], "threat-match""#), "{rule}");
    for pipeline in [&rule["pipelines"][0], &routing["default_pipelines"][0]] {
        let pipeline = &second["service"]["pipelines"][pipeline.as_str().unwrap()];
        assert_eq!(pipeline["receivers"], json!(["routing"]));
        let exporter = pipeline["exporters"][0].as_str().unwrap();
        assert!(second["exporters"][exporter].is_object(), "{exporter}");
    }
}

/// Guarantee: Hotlist starts with each example, and an event of the examples that hits goes through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_start_and_tag() {
    for directory in ["backend", "second-collector"] {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        let mut text = std::fs::read_to_string(examples().join(directory).join("hotlist.yaml")).unwrap();
        let indicators = examples().join("../indicators");
        for (there, here) in [
            ("\"127.0.0.1:14317\"", "\"127.0.0.1:0\"".to_owned()),
            ("http://127.0.0.1:24317", next_hop.endpoint.clone()),
            ("127.0.0.1:9465", "127.0.0.1:0".to_owned()),
            ("../../indicators", indicators.display().to_string()),
            ("path: rejected.ndjson", format!("path: \"{}\"", scene.path("rejected.ndjson").display())),
        ] {
            assert_eq!(text.matches(there).count(), 1, "{directory}: {there}");
            text = text.replace(there, &here);
        }
        text = text.replace("path: hits.ndjson", &format!("path: \"{}\"", scene.path("hits.ndjson").display()));
        text.push_str("log: { format: json }\n");
        let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text));
        let event = json!({ "@timestamp": "2025-06-02T09:10:00.100Z", "destination": { "ip": "198.51.100.77" } });
        let message = hotlist::encoding::otlp::request_of([(1, &event)].into_iter());
        assert_eq!(crate::client::export(&hotlist.address(), &message).await.unwrap().status, 0);
        let message = next_hop.take().remove(0).message();
        assert!(String::from_utf8_lossy(&message).contains("threat-match"), "{directory}");
    }
}
