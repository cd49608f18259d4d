//! The memory for a request, with any content and any target, stays within `limits.in_flight_bytes`.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hotlist::encoding::otlp::request_of;
use hotlist::encoding::wire::put_bytes;
use serde_json::json;

use crate::client::{EXPORT, export, frame, send};
use crate::next_hop::NextHop;
use crate::process::{Hotlist, Scene};

/// `limits.in_flight_bytes` and `max_request_bytes` here, in MiB.
const ROOM: usize = 64;
const LARGEST: usize = 16;

/// An address that is listed, and where every record that hits has it.
const LISTED: &str = "198.51.100.23";

/// Minimal records that each hit.
fn hits(count: usize) -> Vec<u8> {
    let event = json!({ "source": { "ip": LISTED } });
    request_of(std::iter::repeat_n((0, &event), count))
}

/// A resource of so many bytes around so many small records.
fn resource(bytes: usize, records: usize) -> Vec<u8> {
    let (mut value, mut attribute, mut resource) = (Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut value, 1, &vec![b'r'; bytes]);
    put_bytes(&mut attribute, 1, b"annotation");
    put_bytes(&mut attribute, 2, &value);
    put_bytes(&mut resource, 1, &attribute);
    let mut scope_logs = Vec::new();
    // A record whose body is the text `x`.
    (0..records).for_each(|_| put_bytes(&mut scope_logs, 2, &[0x2a, 3, 0x0a, 1, b'x']));
    let (mut resource_logs, mut request) = (Vec::new(), Vec::new());
    put_bytes(&mut resource_logs, 1, &resource);
    put_bytes(&mut resource_logs, 2, &scope_logs);
    put_bytes(&mut request, 1, &resource_logs);
    request
}

/// A resource of attributes that are as short as can be.
fn attributes(count: usize, records: usize) -> Vec<u8> {
    let mut resource = Vec::new();
    (0..count).for_each(|_| put_bytes(&mut resource, 1, b""));
    let mut scope_logs = Vec::new();
    (0..records).for_each(|_| put_bytes(&mut scope_logs, 2, &[0x2a, 3, 0x0a, 1, b'x']));
    let (mut resource_logs, mut request) = (Vec::new(), Vec::new());
    put_bytes(&mut resource_logs, 1, &resource);
    put_bytes(&mut resource_logs, 2, &scope_logs);
    put_bytes(&mut request, 1, &resource_logs);
    request
}

fn packed(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    frame(1, &encoder.finish().unwrap())
}

fn spawn(scene: &Scene, next_hop: &NextHop, sink: &str) -> Hotlist {
    let text = format!(
        r#"sources:
  agents: {{ type: otlp, address: "127.0.0.1:0", max_request_bytes: {LARGEST}MiB }}
intel:
  files: [{{ path: "{}/*", allow_generic: true }}]
sinks:
  next: {{ {sink}, inputs: [agents], endpoint: "{}" }}
limits: {{ in_flight_bytes: {ROOM}MiB }}
admin: {{ address: "127.0.0.1:0" }}
log: {{ format: json }}
"#,
        scene.path("indicators").display(),
        next_hop.endpoint,
    );
    Hotlist::spawn_with(&scene.write("hotlist.yaml", &text), &[("MIMALLOC_PURGE_DELAY", "0")])
}

/// Guarantee: for each shape of request, sink and compression the process takes no more memory than `docs/security.md`
/// says, every request is accepted, refused as overload or refused permanently, and a good one is accepted afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_of_a_request_stays_within_the_room() {
    let shapes = [
        ("a few hits", hits(5_000)),
        ("more hits than fit", hits(60_000)),
        ("a resource in many events", resource(64 << 10, 4_000)),
        ("a large resource in many events", resource(1 << 20, 2_000)),
        ("tiny attributes in many events", attributes(200_000, 2_000)),
        ("tiny records", resource(10, 200_000)),
    ];
    for sink in [
        "type: otlp",
        "type: otlp, compression: gzip",
        "type: vector",
        "type: vector, compression: zstd",
        "type: vector, only: not hits",
    ] {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        scene.indicators("planted", &[LISTED]);
        let mut hotlist = spawn(&scene, &next_hop, sink);
        let address = hotlist.address();
        assert_eq!(export(&address, &hits(1)).await.unwrap().status, 0);
        let before = hotlist.peak_kib();
        for (shape, request) in &shapes {
            let headers = [("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
            let answer = send(&address, EXPORT, &headers, packed(request)).await.unwrap();
            println!("{sink}, {shape}: {answer:?}, {} KiB more at most", hotlist.peak_kib() - before);
            assert!(matches!(answer.status, 0 | 3 | 8 | 14), "{sink}, {shape}: {answer:?}");
            next_hop.take();
        }
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        let bound = ((ROOM + workers * 10 + 2 * shapes.len()) as u64 * 5 / 4) << 10;
        let grown = hotlist.peak_kib() - before;
        assert!(grown < bound, "{sink}: {grown} KiB more at most, {bound} allowed");
        assert!(hotlist.is_running(), "{}", hotlist.log());
        assert_eq!(export(&address, &hits(1)).await.unwrap().status, 0);
        hotlist.until_metric("hotlist_in_flight_bytes", |bytes| bytes == 0.0).await;
    }
}
