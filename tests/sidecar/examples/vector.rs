//! The pairs of `examples/vector`, and requests recorded from a real Vector through each of them.

use std::collections::BTreeSet;

use bytes::Bytes;
use hotlist::config::{Config, GrpcSink, SinkKind};
use hotlist::encoding::Format;
use hotlist::encoding::otlp::request_of;
use serde_json::{Value, json};

use super::{collector, config, decoded, examples, pairs, port, source_port, start};
use crate::client::{EXPORT, export, frame, send};
use crate::next_hop::NextHop;
use crate::peer;
use crate::process::{Hotlist, Scene};
use crate::replay::records_of;

const VECTOR: &str = "vector/";
pub const PUSH_EVENTS: &str = "/vector.Vector/PushEvents";

/// Values that stand in recorded events, of which the examples' indicators know nothing.
pub const PLANTED: [&str; 2] = ["bad.example.com", "204.138.208.37"];

/// The sink that goes to the network.
fn sink(config: &Config) -> &GrpcSink {
    let sinks = config.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Otlp(sink) | SinkKind::Vector(sink) => Some(&**sink),
        _ => None,
    });
    let [sink] = *Vec::from_iter(sinks) else { panic!("one sink") };
    assert!(sink.rejected.is_some(), "without it one bad event holds up everything behind it");
    sink
}

/// The components of a part of Vector's configuration.
fn components<'a>(document: &'a Value, part: &str) -> Vec<(&'a str, &'a Value)> {
    let components = document[part].as_object().into_iter().flatten();
    components.map(|(name, component)| (name.as_str(), component)).collect()
}

/// The only component of a type.
fn component<'a>(document: &'a Value, part: &str, r#type: &str) -> (&'a str, &'a Value) {
    let found = components(document, part).into_iter().filter(|(_, component)| component["type"] == r#type);
    let [found] = *Vec::from_iter(found) else { panic!("one {type} among {part}") };
    found
}

fn inputs(component: &Value) -> impl Iterator<Item = &str> {
    component["inputs"].as_array().unwrap().iter().map(|input| input.as_str().unwrap())
}

/// The names of all that comes from a source, directly or through transforms and their outputs.
fn downstream<'a>(document: &'a Value, source: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([source]);
    for part in ["transforms", "transforms", "sinks"] {
        for (name, component) in components(document, part) {
            if inputs(component).any(|input| found.contains(input.split('.').next().unwrap())) {
                found.insert(name);
            }
        }
    }
    found
}

/// Guarantee of Vector's half, wherever it stands: it sends to the source with every setting without which events are lost,
/// in requests that Hotlist takes, and gives up on one only after Hotlist did.
pub fn assert_sends_safely(name: &str, document: &Value, source: &config::Source, deadline: u64) {
    let (_, out) = component(document, "sinks", "vector");
    assert_eq!(out["address"], format!("127.0.0.1:{}", source_port(source)), "{name}");
    assert_eq!(out["acknowledgements"], json!({ "enabled": true }), "{name}");
    assert_eq!(out["compression"], "zstd", "{name}");
    let batch = &out["batch"];
    assert_eq!((&batch["max_events"], &batch["timeout_secs"]), (&json!(1000), &json!(1)), "{name}");
    assert!((batch["max_bytes"].as_u64().unwrap() as usize) < source.max_request_bytes() / 4, "{name}");
    assert!(out["request"]["timeout_secs"].as_u64().unwrap() > deadline, "{name}: {deadline} s");
    assert!(document["data_dir"].is_string(), "{name}");
    let (file, events) = component(document, "sources", "file");
    assert_eq!(events["acknowledgements"], Value::Null, "{name}: it would do nothing at a source");
    let (parse, remap) = component(document, "transforms", "remap");
    assert_eq!((&remap["inputs"], &out["inputs"]), (&json!([file]), &json!([parse])), "{name}");
    let include = events["include"][0].as_str().unwrap().replace('*', "incidents");
    let events = examples().join(name).join(include);
    assert!(events.is_file(), "{}", events.display());
}

/// Guarantee: Vector's sink sends to where Hotlist's source listens, and loses nothing.
#[test]
fn the_sending_side_of_each_pair_loses_nothing() {
    for (name, sender, _) in pairs(VECTOR) {
        let config = config(name);
        let [source] = &*config.sources else { panic!("one source") };
        assert_sends_safely(name, &collector(name, sender), source, sink(&config).timeout.as_secs());
    }
}

/// Guarantee of Vector's half that takes events: its source listens at `port`, every event of it goes to a sink, none
/// goes round again, and each of these sinks has a buffer on disk, so that the source answers in time and truly.
pub fn assert_takes_safely(name: &str, document: &Value, port: u16) {
    let (back, source) = component(document, "sources", "vector");
    assert_eq!(source, &json!({ "type": "vector", "address": format!("127.0.0.1:{port}") }), "{name}");
    let behind = downstream(document, back);
    let sinks = components(document, "sinks").into_iter().filter(|(name, _)| behind.contains(name));
    let mut taken = BTreeSet::new();
    for (id, sink) in sinks {
        assert_ne!(sink["type"], "vector", "{name}: {id} sends events round again");
        assert_eq!(sink["acknowledgements"], json!({ "enabled": true }), "{name}: {id}");
        // By Vector's documentation it must be larger than about 256 MiB.
        assert_eq!(sink["buffer"], json!({ "type": "disk", "max_size": 1 << 30 }), "{name}: {id}");
        taken.extend(inputs(sink));
    }
    let routes = components(document, "transforms").into_iter().filter(|(name, _)| behind.contains(name));
    let outputs: BTreeSet<String> = routes
        .flat_map(|(id, route)| {
            let hits = r#"exists(.threat.enrichments) || exists(."threat.enrichments")"#;
            assert_eq!((&route["type"], &route["route"]), (&json!("route"), &json!({ "hits": hits })), "{name}");
            ["hits", "_unmatched"].map(|output| format!("{id}.{output}"))
        })
        .collect();
    let outputs = if outputs.is_empty() { BTreeSet::from([back]) } else { outputs.iter().map(|o| &**o).collect() };
    assert_eq!(taken, outputs, "{name}");
}

/// Guarantee: the way back begins where Hotlist's sink sends to, and ends. The loop through one process says that it is
/// unsafe, and has a buffer on disk on the way out, too.
#[test]
fn the_way_back_of_each_pair_ends() {
    for (name, sender, receiver) in pairs(VECTOR) {
        let Some(receiver) = receiver else { continue };
        let (config, document) = (config(name), collector(name, receiver));
        assert_takes_safely(name, &document, port(&sink(&config).endpoint));
        if sender == receiver {
            let text = std::fs::read_to_string(examples().join(name).join(receiver)).unwrap();
            assert!(text.starts_with("# UNSAFE"), "{name}");
            assert_eq!(component(&document, "sinks", "vector").1["buffer"]["type"], "disk", "{name}");
        }
    }
}

/// One recorded request.
pub struct Recorded {
    pub label: String,
    encoding: Option<String>,
    wire: Bytes,
    /// The message, inflated.
    pub message: Bytes,
}

impl Recorded {
    pub fn records(&self) -> Vec<Bytes> {
        Format::Vector.records(&self.message).unwrap()
    }
}

/// Every recorded call of PushEvents.
pub fn recorded() -> Vec<Recorded> {
    let directory = crate::shared::shared("captures/vector");
    let index: Value = serde_json::from_slice(&std::fs::read(directory.join("index.json")).unwrap()).unwrap();
    let mut all = Vec::new();
    for capture in index["captures"].as_array().unwrap() {
        let requests = capture["requests"].as_array().into_iter().flatten();
        for request in requests.filter(|request| request["path"] == PUSH_EVENTS) {
            let read = |key: &str| request[key].as_str().map(|name| std::fs::read(directory.join(name)).unwrap());
            let label = capture["label"].as_str().unwrap().to_owned();
            let encoding = request["grpc_encoding"].as_str().map(str::to_owned);
            let (wire, message) = match (read("frame_file"), read("file")) {
                (Some(wire), Some(message)) => (wire, message),
                (Some(wire), None) => {
                    let message = zstd::decode_all(&wire[5..]).unwrap();
                    (wire, message)
                }
                (None, Some(message)) => (frame(0, &message).to_vec(), message),
                (None, None) => continue,
            };
            all.push(Recorded { label, encoding, wire: wire.into(), message: message.into() });
        }
    }
    assert!(all.len() >= 15 && all.iter().filter(|request| request.encoding.is_some()).count() >= 3);
    all
}

/// Sends a recorded request as Vector did, to the source of this name.
pub async fn replay(hotlist: &Hotlist, source: &str, request: &Recorded) -> i32 {
    push(hotlist, source, request.encoding.as_deref(), request.wire.clone()).await
}

/// One call of PushEvents with Vector's headers.
pub async fn push(hotlist: &Hotlist, source: &str, encoding: Option<&str>, wire: Bytes) -> i32 {
    let line = hotlist.wait_for(&format!("\"source is listening\",\"source\":\"{source}\""));
    let mut headers = vec![("te", "trailers"), ("content-type", "application/grpc")];
    headers.extend(encoding.map(|encoding| ("grpc-encoding", encoding)));
    send(line["address"].as_str().unwrap(), PUSH_EVENTS, &headers, wire).await.unwrap().status
}

/// Whether an event has a planted value, by its bytes alone.
pub fn should_hit(record: &[u8]) -> bool {
    PLANTED.iter().any(|value| record.windows(value.len()).any(|window| window == value.as_bytes()))
}

/// Whether events of a recorded request are metrics.
fn has_metrics(request: &Recorded) -> bool {
    request.label == "metrics"
}

/// Scenario: requests recorded from a real Vector, compressed ones as they were on the wire, some with an event of which
/// a value is planted among the indicators. Guarantee: to a Vector behind it a request without a hit arrives byte for
/// byte, metrics too; in one with hits exactly the events with a planted value are tagged, where the route of the second
/// agent looks for it, and each other event is the same bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared"]
async fn recorded_requests_pass_to_another_vector() {
    let requests = recorded();
    for (name, source) in [("vector/second-agent", "first"), ("vector/same-process", "out")] {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        let hotlist = start(&scene, name, &[(26000, &next_hop)], &PLANTED);
        let (mut untouched, mut tagged) = (0, BTreeSet::new());
        for request in &requests {
            assert_eq!(replay(&hotlist, source, request).await, 0, "{name}: {}", request.label);
            let [arrived] = &*next_hop.take() else { panic!("one request") };
            assert_eq!(arrived.path, PUSH_EVENTS);
            let arrived = arrived.message();
            let (before, after) = (request.records(), Format::Vector.records(&arrived).unwrap());
            assert_eq!(before.len(), after.len(), "{name}: {}", request.label);
            if !before.iter().any(|event| should_hit(event)) {
                assert!(arrived == request.message, "{name}: {}", request.label);
                untouched += 1;
            }
            for (before, after) in before.iter().zip(&after) {
                let text = String::from_utf8_lossy(before);
                assert_eq!(should_hit(before), before != after, "{name}: {}: {text}", request.label);
                if before != after {
                    assert_is_tagged(decoded::vector(before), decoded::vector(after));
                    tagged.insert(&*request.label);
                }
            }
        }
        assert!(untouched >= 5, "{untouched}");
        let labels = ["batch1000", "bytes", "fileparse", "rawfile", "rawfile_ns", "zstd"];
        assert!(labels.iter().all(|label| tagged.contains(label)));
    }
}

/// The document that Hotlist tags: the event, or a root that is a line of JSON.
fn document(event: Value) -> Value {
    event.as_str().map(|line| serde_json::from_str(line).unwrap()).unwrap_or(event)
}

/// The previous event, with one more hit, on a planted value.
pub fn assert_is_tagged(before: Value, after: Value) {
    let (before, after) = (document(before), document(after));
    let matched = &after["threat"]["enrichments"][0]["matched"];
    assert_eq!(matched["type"], "indicator_match_rule", "{after}");
    assert!(PLANTED.contains(&matched["atomic"].as_str().unwrap()), "{after}");
    assert_eq!(decoded::untagged(after), before);
}

/// Scenario: the same requests, and a back end that speaks OTLP. Guarantee: each event arrives as a record whose body is
/// the event, tagged when it hits; a call with metrics, which nobody takes, is UNIMPLEMENTED and nothing of it arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared"]
async fn recorded_requests_pass_to_an_otlp_back_end() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    let hotlist = start(&scene, "vector/backend", &[(24317, &next_hop)], &PLANTED);
    let mut hits = 0;
    for request in recorded() {
        let status = replay(&hotlist, "vector", &request).await;
        if has_metrics(&request) {
            assert_eq!((status, next_hop.take().len()), (12, 0), "{}", request.label);
            continue;
        }
        assert_eq!(status, 0, "{}", request.label);
        let [arrived] = &*next_hop.take() else { panic!("one request") };
        assert_eq!(arrived.path, EXPORT);
        let records = records_of(&arrived.message());
        let events = request.records();
        assert_eq!(records.len(), events.len(), "{}", request.label);
        for (event, record) in events.iter().zip(&records) {
            let (before, after) = (decoded::vector(event), decoded::otlp(record));
            match should_hit(event) {
                true => assert_is_tagged(before, after),
                false => assert_eq!(after, before, "{}", request.label),
            }
            hits += usize::from(should_hit(event));
        }
    }
    assert_eq!(scene.ndjson("hits.ndjson").len(), hits);
}

/// Scenario: the examples' own events, as the first agent's `parse` makes them, and the same by way of Fluent Bit's second
/// agent. Guarantee: with the examples' own indicators both come out the same, incidents tagged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_events_are_tagged_whatever_the_protocol() {
    let (scenes, next_hop) = ([Scene::new(), Scene::new()], NextHop::start().await);
    let by_vector = start(&scenes[0], "vector/second-agent", &[(26000, &next_hop)], &[]);
    let by_otlp = start(&scenes[1], "fluent-bit/second-agent", &[(24317, &next_hop)], &[]);
    for file in ["incidents", "traffic"] {
        let text = std::fs::read_to_string(examples().join(format!("events/{file}.ndjson"))).unwrap();
        let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(push(&by_vector, "first", None, frame(0, &peer::request(&documents))).await, 0);
        let arrived = Format::Vector.records(&next_hop.take().remove(0).message()).unwrap();
        let events: Vec<Value> = arrived.iter().map(|event| ordered(decoded::vector(event))).collect();

        let same = request_of(documents.iter().map(|document| (1, document)));
        assert_eq!(export(&by_otlp.address(), &same).await.unwrap().status, 0);
        let arrived = records_of(&next_hop.take().remove(0).message());
        assert_eq!(events, Vec::from_iter(arrived.iter().map(|record| ordered(decoded::otlp(record)))));

        let hits = events.iter().filter(|event| event["threat"]["enrichments"].is_array()).count();
        assert_eq!((events.len(), hits > 0), (documents.len(), file == "incidents"), "{file}: {hits}");
    }
}

/// The event with its enrichments in an order that does not depend on that of its fields, which Vector sorts.
fn ordered(mut event: Value) -> Value {
    if let Some(Value::Array(enrichments)) = event.pointer_mut("/threat/enrichments") {
        enrichments.sort_by_key(|one| ["field", "atomic", "id"].map(|key| one["matched"][key].to_string()));
    }
    event
}
