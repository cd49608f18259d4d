//! A client that nobody here wrote: the OTLP exporters of OpenTelemetry's Python SDK, over gRPC and over HTTP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::render_record;
use serde_json::Value;

use crate::next_hop::{Closed, NextHop};
use crate::process::{Hotlist, PATIENCE, Scene};
use crate::python::python;

/// The exporters.
const MODULES: &str = "opentelemetry.exporter.otlp.proto.grpc, opentelemetry.exporter.otlp.proto.http";

/// The exporter at work. It is ended when dropped.
struct Exporter {
    child: Child,
    lines: Receiver<String>,
}

impl Exporter {
    fn start(python: &Path, protocol: &str, address: &str, count: usize, compression: &str) -> Exporter {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/export.py");
        let mut command = Command::new(python);
        command.arg(script).args([protocol, address, &count.to_string(), compression]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (line, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        Exporter { child, lines }
    }

    /// The next line that it prints, `None` at the end.
    fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("the exporter says nothing: {error}"),
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every record at the next hop by its number, and whether it is tagged.
fn arrived(next_hop: &NextHop) -> BTreeMap<u64, bool> {
    let mut arrived = BTreeMap::new();
    for request in next_hop.take() {
        let message = request.message();
        OTLP.records(&message, |span| {
            let event: Value = serde_json::from_slice(&render_record(&message[span.record.payload()])).unwrap();
            let tagged = event["tags"] == serde_json::json!(["threat-match"]);
            let enriched = event.to_string().contains("indicator_match_rule");
            assert_eq!(tagged, enriched, "{event}");
            assert_eq!(arrived.insert(event["id"].as_u64().unwrap(), tagged), None, "twice: {event}");
        })
        .unwrap();
    }
    arrived
}

fn expected(count: u64) -> BTreeMap<u64, bool> {
    (0..count).map(|number| (number, number % 10 == 0)).collect()
}

/// Scenario: 300 records with bodies as maps, as JSON text and as attributes, without and with gzip. Guarantee: the
/// exporter reports success for every batch, the next hop has each record once, and exactly the hits are tagged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Python client"]
async fn the_python_sdk_exports_and_the_hits_are_tagged() {
    let python = python(MODULES);
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    for (protocol, compression) in [("grpc", "none"), ("grpc", "gzip"), ("http", "none"), ("http", "gzip")] {
        let exporter = Exporter::start(&python, protocol, &hotlist.address(), 300, compression);
        let said: Vec<String> = std::iter::from_fn(|| exporter.line()).collect();
        assert_eq!(said, ["result SUCCESS"; 3], "{protocol} {compression}");
        assert_eq!(arrived(&next_hop), expected(300), "{protocol} {compression}");
    }
    assert_eq!(scene.ndjson("hits.ndjson").len(), 120);
}

/// Scenario: the source listens on a Unix socket, so that the SDK sends the path as `:authority`. Guarantee: every batch is
/// delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Python client"]
async fn the_python_sdk_exports_over_a_unix_socket() {
    let python = python(MODULES);
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let socket = format!("unix:{}", scene.path("s.sock").display());
    let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text.replacen("127.0.0.1:0", &socket, 1)));
    let exporter = Exporter::start(&python, "grpc", &hotlist.address(), 300, "gzip");
    let said: Vec<String> = std::iter::from_fn(|| exporter.line()).collect();
    assert_eq!(said, ["result SUCCESS"; 3]);
    assert_eq!(arrived(&next_hop), expected(300));
}

/// Scenario: the next hop is down, and comes up after the exporter was refused. Guarantee: the exporter sees
/// UNAVAILABLE or 503, and its own retry delivers, each record once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Python client"]
async fn the_python_sdk_retries_what_was_unavailable() {
    let python = python(MODULES);
    // The exporter over HTTP does not show the body of a refusal.
    for (protocol, words) in [
        ("grpc", ["StatusCode.UNAVAILABLE", "sink next, http://127.0.0.1:"]),
        ("http", ["Service Unavailable", "retrying"]),
    ] {
        let (scene, closed) = (Scene::new(), Closed::bind());
        scene.indicators("planted", &["198.51.100.23"]);
        let hotlist = Hotlist::start(&scene.readme(&closed.endpoint));
        let exporter = Exporter::start(&python, protocol, &hotlist.address(), 100, "none");
        let refused = exporter.line().unwrap();
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
        let next_hop = closed.open();
        assert_eq!(exporter.line().unwrap(), "result SUCCESS", "{protocol}");
        assert_eq!(exporter.line(), None);
        assert_eq!(arrived(&next_hop), expected(100), "{protocol}");
    }
}
