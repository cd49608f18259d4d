//! Requests of real collectors through the real binary.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{render_record, request_of};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use prost::Message as _;
use serde_json::{Value, json};

use crate::client::{EXPORT, export, export_encoded, frame, send};
use crate::next_hop::NextHop;
use crate::process::{Hotlist, Scene};
use crate::shared::shared;

/// One recorded request.
pub struct Capture {
    pub name: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub message: Bytes,
}

impl Capture {
    pub fn records(&self) -> Vec<Bytes> {
        records_of(&self.message)
    }
}

/// Every recorded request.
pub fn captures() -> Vec<Capture> {
    let directory = shared("captures");
    let mut captures = fluent_bit(&directory.join("fluent-bit"));
    assert!(captures.len() > 30, "{}", captures.len());
    for path in files(&directory.join("otel-collector"), "pb") {
        // Recorded over HTTP; the message is the same over gRPC.
        let headers = vec![("te".into(), "trailers".into()), ("content-type".into(), "application/grpc".into())];
        let message = Bytes::from(std::fs::read(&path).unwrap());
        captures.push(Capture { name: name(&path), path: EXPORT.into(), headers, message });
    }
    captures
}

fn fluent_bit(directory: &Path) -> Vec<Capture> {
    let index: Value = serde_json::from_slice(&std::fs::read(directory.join("index.json")).unwrap()).unwrap();
    let cases = index["cases"].as_array().unwrap().iter();
    let requests = cases.flat_map(|case| case["requests"].as_array().unwrap());
    requests
        .map(|request| {
            let all: Vec<(String, String)> = serde_json::from_value(request["headers"].clone()).unwrap();
            let path = all.iter().find(|(name, _)| name == ":path").unwrap().1.clone();
            let headers = all.into_iter().filter(|(name, _)| !name.starts_with(':')).collect();
            let file = directory.join(request["file"].as_str().unwrap());
            Capture { name: name(&file), path, headers, message: Bytes::from(std::fs::read(file).unwrap()) }
        })
        .collect()
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "no *.{extension} in {}", directory.display());
    files
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

pub fn records_of(message: &Bytes) -> Vec<Bytes> {
    let mut found = Vec::new();
    OTLP.records(message, |span| found.push(message.slice(span.record.payload()))).unwrap();
    found
}

/// Sends a recorded request as it was sent.
pub async fn replay(hotlist: &Hotlist, capture: &Capture) -> i32 {
    let headers: Vec<(&str, &str)> = capture.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert!(capture.headers.iter().all(|(name, _)| name != "grpc-encoding"), "{}", capture.name);
    send(&hotlist.address(), &capture.path, &headers, frame(0, &capture.message)).await.unwrap().status
}

/// Scenario: indicators that match nothing in the recorded requests. Guarantee: each request arrives byte for byte,
/// however unusual it is, and there is no hit; a request for a method that Hotlist does not have is UNIMPLEMENTED.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared"]
async fn without_hits_every_recorded_request_arrives_byte_for_byte() {
    let captures = captures();
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("nothing", &["192.0.2.200", "absent.example.net", "00000000000000000000000000000001"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    for capture in &captures {
        let status = replay(&hotlist, capture).await;
        let arrived: Vec<Bytes> = next_hop.take().iter().map(|request| request.message()).collect();
        if capture.path == EXPORT {
            assert_eq!(status, 0, "{}", capture.name);
            assert!(arrived == [capture.message.clone()], "{}", capture.name);
        } else {
            assert_eq!((status, arrived.len()), (12, 0), "{}", capture.name);
        }
    }
    assert_eq!(scene.ndjson("hits.ndjson"), Vec::<Value>::new());
}

/// The planted data: the indicator as a line of CSV, and the protobuf string of an event that should hit.
const PLANTED: [(&str, &[u8]); 7] = [
    ("ip,198.51.100.23", b"\x0a\x0d198.51.100.23"),
    ("ip,198.51.100.23", b"\x0a\x14::ffff:198.51.100.23"),
    ("domain,evil.example.com", b"\x0a\x10evil.example.com"),
    ("md5,44d88612fea8a8f36de82e1278abb02f", b"\x0a\x2044d88612fea8a8f36de82e1278abb02f"),
    ("email,phisher@bad-domain.example", b"\x0a\x1aphisher@bad-domain.example"),
    ("domain,flat.dotted.example", b"\x0a\x13flat.dotted.example"),
    ("ip,10.0.0.9", b"\x0a\x0810.0.0.9"),
];

/// Whether a record should hit, by its bytes alone: a planted value is a whole string in it, other than the address of
/// an indicator in the event's own threat fields.
fn should_hit(record: &[u8]) -> bool {
    const TOLD: &[u8] = b"threat.indicator.ip\x12\x0f";
    let lower = record.to_ascii_lowercase();
    PLANTED.iter().any(|(_, needle)| {
        let starts = (0..lower.len()).filter(|start| lower[*start..].starts_with(needle));
        starts.into_iter().any(|start| !lower[..start].ends_with(TOLD))
    })
}

/// Scenario: values that occur in the recorded requests are indicators. Guarantee: exactly the records with them are
/// tagged, invalid UTF-8 or not; every other record is the same bytes, and a tagged one is the same once its tags are
/// taken away; the file of hits has exactly the tagged events, with indicator and field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared"]
async fn with_hits_only_the_records_that_hit_change_and_only_by_their_tags() {
    let captures = captures();
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("nothing", &["192.0.2.200"]);
    let mut lines = PLANTED.map(|(indicator, _)| indicator).to_vec();
    lines.dedup();
    scene.write("indicators/planted.csv", &format!("type,value\n{}\n", lines.join("\n")));
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    let mut expected = Vec::new();
    let mut undecoded = 0;
    for capture in captures.iter().filter(|capture| capture.path == EXPORT) {
        assert_eq!(replay(&hotlist, capture).await, 0, "{}", capture.name);
        let arrived = next_hop.take().remove(0).message();
        let (before, after) = (capture.records(), records_of(&arrived));
        assert_eq!(before.len(), after.len(), "{}", capture.name);
        for (before, after) in before.iter().zip(&after) {
            let text = String::from_utf8_lossy(before);
            assert_eq!(should_hit(before), before != after, "{}: {text}", capture.name);
            if before != after {
                let tagged: Value = serde_json::from_slice(&render_record(after)).unwrap();
                let untagged: Value = serde_json::from_slice(&render_record(before)).unwrap();
                assert_eq!(without_tags(tagged.clone()), untagged, "{}: {text}", capture.name);
                expected.push(tagged);
            }
        }
        match (ExportLogsServiceRequest::decode(&*capture.message), ExportLogsServiceRequest::decode(&*arrived)) {
            (Ok(before), Ok(after)) => assert_eq!(before, untag(after), "{}", capture.name),
            (before, after) => {
                assert!(before.is_err() && after.is_err(), "{}", capture.name);
                undecoded += 1;
            }
        }
    }
    let mut written = scene.ndjson("hits.ndjson");
    for line in &mut written {
        // What OTLP has besides the document is not what this is about.
        line.as_object_mut().unwrap().remove("opentelemetry");
    }
    assert_eq!(written, expected);
    assert_eq!(undecoded, 5, "invalid UTF-8, and four nested too deeply for a stock decoder");
    let matched = |id: &str| {
        let hit = expected.iter().find(|hit| hit["event"]["id"] == id || hit["event.id"] == id || hit["id"] == id);
        fields_of(hit.unwrap_or_else(|| panic!("no hit with {id}")))
    };
    assert_eq!(matched("ev-0001"), ["destination.domain evil.example.com", "destination.ip 198.51.100.23"]);
    assert_eq!(matched("ev-0003"), ["url.domain Evil.Example.com"]);
    assert_eq!(matched("ev-0004"), ["file.hash.md5 44d88612fea8a8f36de82e1278abb02f"]);
    assert_eq!(matched("ev-0005"), ["email.from.address Phisher@Bad-Domain.example"]);
    assert_eq!(matched("ev-0006"), ["dns.question.name flat.dotted.example"]);
    assert_eq!(matched("ipv6"), ["source.ip ::ffff:198.51.100.23"]);
    assert_eq!(matched("latin1"), ["source.ip 10.0.0.9"]);
}

/// Field and value of each enrichment, sorted.
fn fields_of(event: &Value) -> Vec<String> {
    let enrichments = event["threat"]["enrichments"].as_array().or(event["threat.enrichments"].as_array()).unwrap();
    let matched = enrichments.iter().map(|enrichment| &enrichment["matched"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut fields: Vec<String> =
        matched.map(|matched| format!("{} {}", text(&matched["field"]), text(&matched["atomic"]))).collect();
    fields.sort();
    fields
}

/// A JSON event without `threat.enrichments` and `threat-match`. None of the recorded events has enrichments.
fn without_tags(mut event: Value) -> Value {
    let members = event.as_object_mut().unwrap();
    members.shift_remove("threat.enrichments");
    if let Some(Value::Object(threat)) = members.get_mut("threat") {
        threat.shift_remove("enrichments");
        if threat.is_empty() {
            members.shift_remove("threat");
        }
    }
    if let Some(Value::Array(tags)) = members.get_mut("tags") {
        tags.retain(|tag| tag != "threat-match");
        if tags.is_empty() {
            members.shift_remove("tags");
        }
    }
    event
}

/// The same for a decoded request.
fn untag(mut request: ExportLogsServiceRequest) -> ExportLogsServiceRequest {
    for record in
        request.resource_logs.iter_mut().flat_map(|logs| &mut logs.scope_logs).flat_map(|l| &mut l.log_records)
    {
        untag_members(&mut record.attributes);
        if let Some(AnyValue { value: Some(Any::KvlistValue(body)) }) = &mut record.body {
            untag_members(&mut body.values);
        }
    }
    request
}

fn untag_members(members: &mut Vec<KeyValue>) {
    members.retain_mut(|member| {
        let value = member.value.as_mut().and_then(|value| value.value.as_mut());
        match (&*member.key, value) {
            ("threat.enrichments", _) => false,
            ("threat", Some(Any::KvlistValue(threat))) => {
                threat.values.retain(|member| member.key != "enrichments");
                !threat.values.is_empty()
            }
            ("tags", Some(Any::ArrayValue(ArrayValue { values }))) => {
                values.retain(|tag| tag.value != Some(Any::StringValue("threat-match".to_owned())));
                !values.is_empty()
            }
            _ => true,
        }
    });
}

/// Scenario: an event with 63 levels of objects under a field that is checked, and invalid UTF-8 in a record between
/// two good ones. Guarantee: all are delivered in order, and what hits is tagged, also at the bottom of the nesting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_records_cost_nothing_and_good_ones_beside_them_are_tagged() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    let mut deep = json!("bottom");
    for _ in 0..62 {
        deep = json!({ "n": deep });
    }
    let documents = [
        json!({ "id": 0, "source": { "ip": "198.51.100.23" } }),
        json!({ "id": 1, "n": deep, "source": { "ip": "198.51.100.23" } }),
        json!({ "id": 2, "message": "####", "source": { "ip": "198.51.100.23" } }),
        json!({ "id": 3, "message": "####" }),
        json!({ "id": 4, "source": { "ip": "192.0.2.1" } }),
    ];
    let mut message = request_of(documents.iter().map(|document| (1, document)));
    while let Some(at) = message.windows(4).position(|window| window == b"####") {
        message[at..at + 4].copy_from_slice(b"\xff\xfe\xc3\x28");
    }
    assert_eq!(export(&hotlist.address(), &message).await.unwrap().status, 0);
    let before = records_of(&Bytes::from(message));
    let after = records_of(&next_hop.take().remove(0).message());
    let changed: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
    assert_eq!(changed, [true, true, true, false, false]);
    let marker = b"\xff\xfe\xc3\x28".as_slice();
    assert!(after[2].windows(4).any(|window| window == marker), "the malformed bytes survive");
    let ids: Vec<i64> = scene.ndjson("hits.ndjson").iter().map(|hit| hit["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [0, 1, 2]);
}

/// Scenario: one batch of 16 MiB, plain and compressed, and a sink that sends at most 4 MiB, its default. Guarantee:
/// it arrives in requests of at most that size, every record once and in order, and those that hit are tagged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_mebibytes_arrive_split_with_every_record_once() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    let padding = "x".repeat(4000);
    let documents: Vec<Value> = (0..4200)
        .map(|id| {
            let address = if id % 100 == 7 { "198.51.100.23" } else { "192.0.2.1" };
            json!({ "id": id, "source": { "ip": address }, "message": padding })
        })
        .collect();
    let message = request_of(documents.iter().map(|document| (1, document)));
    assert!(message.len() > 16 << 20, "{}", message.len());
    let address = hotlist.address();
    for encoding in ["identity", "gzip", "zstd"] {
        let answer = match encoding {
            "gzip" => export_encoded(&address, encoding, &gzip(&message)).await,
            "zstd" => export_encoded(&address, encoding, &zstd::encode_all(&*message, 1).unwrap()).await,
            _ => export(&address, &message).await,
        };
        assert_eq!(answer.unwrap().status, 0, "{encoding}");
        let arrived = next_hop.take();
        assert!(arrived.len() > 4, "{encoding}: {}", arrived.len());
        let mut events = Vec::new();
        for request in arrived {
            assert!(request.message().len() <= 4 << 20, "{encoding}");
            for record in records_of(&request.message()) {
                let event: Value = serde_json::from_slice(&render_record(&record)).unwrap();
                let id = event["id"].as_i64().unwrap();
                assert_eq!(event.get("threat").is_some(), id % 100 == 7, "{encoding}: {id}");
                events.push(id);
            }
        }
        events.sort_unstable();
        assert!(events.iter().copied().eq(0..4200), "{encoding}: {} events", events.len());
    }
    assert_eq!(scene.ndjson("hits.ndjson").len(), 3 * 42);
}

/// Scenario: compressed requests in, a sink that compresses, Unix sockets on both sides. Guarantee: what the next hop
/// unpacks is the tagged batch, marked with its encoding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_and_unix_sockets_on_both_sides() {
    for encoding in ["gzip", "zstd"] {
        let scene = Scene::new();
        scene.indicators("planted", &["198.51.100.23"]);
        let next_hop = NextHop::start_unix(&scene.path("next.sock"));
        let sink = format!(", compression: {encoding}");
        let config = scene.sidecar(&next_hop.endpoint, &sink, "");
        let source = format!("unix:{}", scene.path("hotlist.sock").display());
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replacen("address: \"127.0.0.1:0\"", &format!("address: \"{source}\""), 1);
        let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text));
        assert_eq!(hotlist.address(), source);
        let documents = [json!({ "source": { "ip": "198.51.100.23" } }), json!({ "source": { "ip": "192.0.2.1" } })];
        let message = request_of(documents.iter().map(|document| (1, document)));
        let packed = if encoding == "gzip" { gzip(&message) } else { zstd::encode_all(&*message, 1).unwrap() };
        assert_eq!(export_encoded(&source, encoding, &packed).await.unwrap().status, 0);
        let arrived = next_hop.take().remove(0);
        assert_eq!((arrived.headers["grpc-encoding"].to_str().unwrap(), arrived.wire[0]), (encoding, 1));
        let packed = arrived.wire.slice(5..);
        let unpacked = if encoding == "gzip" { gunzip(&packed) } else { zstd::decode_all(&*packed).unwrap() };
        let records = records_of(&Bytes::from(unpacked));
        let tagged: Vec<bool> = records.iter().map(|record| record.windows(12).any(|w| w == b"threat-match")).collect();
        assert_eq!(tagged, [true, false], "{encoding}");
    }
}

fn gzip(message: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(packed: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).unwrap();
    plain
}
