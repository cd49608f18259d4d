//! Hostile requests: damaged requests, wrong lengths, bombs, abysses of nesting. Each is answered with a status and a
//! text that says why, counted, and costs nobody else anything: a collector is served all the while.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hotlist::encoding::otlp::request_of;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::chance::chance;
use crate::client::{Answer, Connection, EXPORT, frame};
use crate::next_hop::NextHop;
use crate::process::{Hotlist, PATIENCE, Scene};

/// A running sidecar, its next hop, and a collector that sends a good request after the other.
pub struct Siege {
    scene: Scene,
    next_hop: NextHop,
    pub hotlist: Hotlist,
    stop: Arc<AtomicBool>,
    collector: JoinHandle<(usize, Duration)>,
}

impl Siege {
    pub async fn begin() -> Siege {
        Siege::begin_with(&[]).await
    }

    /// The same with environment variables of the sidecar.
    async fn begin_with(variables: &[(&str, &str)]) -> Siege {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        scene.indicators("planted", &["198.51.100.23", "evil.example.com"]);
        let hotlist = Hotlist::spawn_with(&scene.readme(&next_hop.endpoint), variables);
        let (address, stop) = (hotlist.address(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let collector = tokio::spawn(async move {
            let mut connection = Connection::open(&address).await.unwrap();
            let (mut served, mut longest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = tokio::time::timeout(PATIENCE, connection.export(&good())).await;
                assert_eq!(answer.expect("the collector is not served").unwrap().status, 0);
                longest = longest.max(begun.elapsed());
                served += 1;
                // A collector's pause between two batches.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (served, longest)
        });
        Siege { scene, next_hop, hotlist, stop, collector }
    }

    /// One more collector is served right now.
    pub async fn is_well(&mut self) {
        assert!(self.hotlist.is_running(), "{}", self.hotlist.log());
        let answer = crate::client::export(&self.hotlist.address(), &good()).await.unwrap();
        assert_eq!(answer.status, 0, "{answer:?}");
    }

    /// Ends the collector, which was served all the time: so often, and it waited so long at most.
    pub async fn end(mut self) -> Hotlist {
        self.is_well().await;
        self.stop.store(true, Ordering::Relaxed);
        let (served, longest) = self.collector.await.unwrap();
        println!("the collector was served {served} times and waited {longest:?} at most");
        assert!(served > 0);
        self.hotlist.until_metric("hotlist_in_flight_bytes", |bytes| bytes == 0.0).await;
        let delivered = self.next_hop.take().len();
        assert_eq!(self.hotlist.metric(&requests("ok")).await, delivered as f64, "what is acknowledged is delivered");
        assert!(!self.hotlist.log().contains("panic"), "{}", self.hotlist.log());
        self.hotlist
    }
}

/// A request with a hit, nothing special about it.
fn good() -> Vec<u8> {
    request_of([(1, &json!({ "source": { "ip": "198.51.100.23" } }))])
}

fn requests(status: &str) -> String {
    format!("hotlist_source_requests_total{{source=\"agents\",status=\"{status}\"}}")
}

fn headers(encoding: &str) -> Vec<(&str, &str)> {
    let mut headers = vec![("te", "trailers"), ("content-type", "application/grpc")];
    if !encoding.is_empty() {
        headers.push(("grpc-encoding", encoding));
    }
    headers
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn zstd(message: &[u8]) -> Vec<u8> {
    zstd::encode_all(message, 1).unwrap()
}

/// Changes a few bytes, or cuts, or doubles a part.
fn damage(bytes: &[u8], chance: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..chance.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = chance.random_range(0..bytes.len());
        match chance.random_range(0..6) {
            0 | 1 => bytes[at] ^= 1 << chance.random_range(0..8),
            2 => bytes[at] = chance.random(),
            3 => bytes.truncate(at),
            4 => drop(bytes.remove(at)),
            _ => {
                let part = bytes[at..bytes.len().min(at + 40)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

/// A request like those of collectors: nested bodies, attributes, JSON in a string, hits and none.
fn realistic() -> Vec<u8> {
    let documents: Vec<Value> = (0..10)
        .map(|number| {
            json!({
                "@timestamp": "2026-01-02T03:04:05Z",
                "source": { "ip": if number % 3 == 0 { "198.51.100.23" } else { "192.0.2.1" }, "port": 443 },
                "dns": { "question": { "name": "www.example.com", "type": "A" } },
                "related": { "hosts": ["evil.example.com", "h"], "ip": ["192.0.2.7", "2001:db8::1"] },
                "event.original": "a line with \u{e9}", "tags": ["a", "b"], "number": 1.5, "none": null,
            })
        })
        .collect();
    request_of(documents.iter().enumerate().map(|(number, document)| (number as u64 % 2, document)))
}

/// Scenario: a thousand damaged requests over four connections: OTLP with bytes changed, cut, added; gRPC frames whose
/// header is damaged, too; damaged gzip and zstd. Guarantee: each is answered OK or INVALID_ARGUMENT, the latter with a
/// text; the next hop has as many as were acknowledged; the counters have every one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_requests_are_answered_and_cost_nobody_anything() {
    const EACH: usize = 250;
    let mut chance = chance();
    let mut siege = Siege::begin().await;
    let whole = realistic();
    let mut wires: Vec<(&str, Bytes)> = Vec::new();
    for _ in 0..EACH {
        wires.push(("", frame(0, &damage(&whole, &mut chance))));
        wires.push(("", Bytes::from(damage(&frame(0, &whole), &mut chance))));
        wires.push(("gzip", frame(1, &damage(&gzip(&whole), &mut chance))));
        wires.push(("zstd", frame(1, &damage(&zstd(&whole), &mut chance))));
    }
    // Damage to the header alone: its flag, each of its bits, a length that is cut.
    for bit in 0..40 {
        let mut wire = frame(0, &whole).to_vec();
        wire[bit / 8] ^= 1 << (bit % 8);
        wires.push(("", Bytes::from(wire)));
    }
    let total = wires.len();
    let (mut ok, mut texts) = (0, std::collections::BTreeMap::<String, usize>::new());
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(Connection::open(&siege.hotlist.address()).await.unwrap());
    }
    for (number, (encoding, wire)) in wires.into_iter().enumerate() {
        let answer = connections[number % 4].send(EXPORT, &headers(encoding), wire.clone()).await;
        let Answer { status, message } = answer.unwrap_or_else(|error| panic!("{error}: {encoding} {wire:?}"));
        match status {
            0 => ok += 1,
            3 => {
                assert!(message.len() > 20, "{message:?}: {encoding} {wire:?}");
                let words: String = message.chars().filter(|character| !character.is_ascii_digit()).take(40).collect();
                *texts.entry(words).or_default() += 1;
            }
            _ => panic!("{status} {message}: {encoding} {wire:?}"),
        }
        if number % 100 == 0 {
            siege.is_well().await;
        }
    }
    println!("{ok} accepted, {} refused: {texts:#?}", total - ok);
    assert!(ok > 0 && ok < total);
    let refused = siege.hotlist.metric(&requests("invalid_argument")).await;
    assert_eq!(refused, (total - ok) as f64);
    assert!(siege.hotlist.metric("hotlist_malformed_records_total{reason=\"unreadable\"}").await > 0.0);
    siege.end().await;
}

/// A sixth of a gigabyte a member or frame, many times: more than any limit lets in, in ten megabytes.
fn bombs() -> [(&'static str, Vec<u8>); 2] {
    let zeros = vec![0; 160 << 20];
    let [gzip, zstd] = [gzip(&zeros), zstd(&zeros)];
    let filled = |part: Vec<u8>| part.repeat((10 << 20) / part.len());
    [("gzip", filled(gzip)), ("zstd", filled(zstd))]
}

/// Scenario: requests that break one rule each. Guarantee: INVALID_ARGUMENT with the text that names the rule, counted,
/// for every one of them, and nothing reaches the next hop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rule_that_is_broken_is_named() {
    let mut siege = Siege::begin().await;
    let over = vec![0; (64 << 20) + 1];
    let mut corrupt = gzip(&realistic());
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 20].fill(0xff);
    let mut announced = frame(0, b"").to_vec();
    announced[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    let cut = |wire: Vec<u8>| wire[..wire.len() - 30].to_vec();
    let deep_groups = [vec![0x3b; 10_000], vec![0x3c; 9_999]].concat();
    let cases: Vec<(&str, &str, Bytes, &str)> = vec![
        ("empty body", "", Bytes::new(), "ends after 0 of the 5"),
        ("half a header", "", Bytes::from_static(&[0, 0, 0]), "ends after 3 of the 5"),
        ("longer than it is", "", frame(0, &good()).slice(..20), "ends after 15 of the"),
        ("shorter than it is", "", [frame(0, b""), Bytes::from(good())].concat().into(), "continues after its message"),
        ("two messages", "", [frame(0, &good()), frame(0, &good())].concat().into(), "continues after its message"),
        ("an unknown flag", "", Bytes::from_static(&[7, 0, 0, 0, 0]), "flag"),
        ("compressed with nothing", "", frame(1, &gzip(&good())), "no `grpc-encoding`"),
        ("over the limit", "", frame(0, &over), "more than 67108864: send"),
        ("announces 4 GiB", "", announced.into(), "more than 67108864: send"),
        ("inflates over the limit", "gzip", frame(1, &gzip(&over)), "inflates to more than 67108864"),
        ("inflates over the limit", "zstd", frame(1, &zstd(&over)), "inflates to more than 67108864"),
        ("corrupt", "gzip", frame(1, &corrupt), "the gzip stream is corrupt"),
        ("corrupt", "zstd", frame(1, b"no zstd at all"), "the zstd stream is corrupt"),
        ("cut", "gzip", frame(1, &cut(gzip(&realistic()))), "the gzip stream is corrupt"),
        ("cut", "zstd", frame(1, &cut(zstd(&realistic()))), "the zstd stream is corrupt"),
        ("text", "", frame(0, b"hello, this is no protobuf"), "of the request"),
        ("groups without an end", "", frame(0, &deep_groups), "cannot be read"),
    ];
    let mut connection = Connection::open(&siege.hotlist.address()).await.unwrap();
    for (number, (case, encoding, wire, text)) in cases.iter().enumerate() {
        let answer = connection.send(EXPORT, &headers(encoding), wire.clone()).await.unwrap();
        assert_eq!(answer.status, 3, "{case} {encoding}: {answer:?}");
        assert!(answer.message.contains(text), "{case} {encoding}: {answer:?}");
        assert_eq!(siege.hotlist.metric(&requests("invalid_argument")).await, (number + 1) as f64, "{case} {encoding}");
        siege.is_well().await;
    }
    siege.end().await;
}

/// Scenario: sixteen bombs at once, each ten megabytes that would inflate to many gigabytes. Guarantee: each ends at the
/// limit with INVALID_ARGUMENT, or with RESOURCE_EXHAUSTED where there is no room to find out; the memory stays within
/// the documented sum.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_end_at_the_limit() {
    const BOMBS: usize = 16;
    // The allocator gives back at once what is freed, so that what is seen is what is held.
    let siege = Siege::begin_with(&[("MIMALLOC_PURGE_DELAY", "0")]).await;
    let before = siege.hotlist.resident_kib();
    let wires = bombs().map(|(encoding, bomb)| (encoding, frame(1, &bomb)));
    let address = siege.hotlist.address();
    let answers = (0..BOMBS).map(|number| {
        let (encoding, wire) = wires[number % 2].clone();
        let address = address.clone();
        async move {
            let mut connection = Connection::open(&address).await.unwrap();
            connection.send(EXPORT, &headers(encoding), wire).await.unwrap()
        }
    });
    let answers = futures_util::future::join_all(answers).await;
    let is_refused = |answer: &Answer| match answer.status {
        3 => answer.message.contains("inflates to more than 67108864"),
        8 => answer.message.contains("in flight") || answer.message.contains("all workers are busy"),
        _ => false,
    };
    assert!(answers.iter().all(is_refused), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.status == 3), "{answers:?}");
    // `limits.in_flight_bytes`, for each of the workers a window and a second copy while a buffer grows, for each client
    // its window: see "Memory" in docs/configuration.md.
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let sum = 256 + workers * (8 + 64) + BOMBS * 2;
    let (grown, bound) = (siege.hotlist.peak_kib() - before, (sum as u64) << 10);
    println!("{grown} KiB more at most, {bound} allowed");
    assert!(grown < bound, "{grown} KiB more at most, {bound} allowed");
    siege.end().await;
}

/// An OTLP field of type message or text.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [bytes, content.to_vec()].concat()
}

/// A request of one record.
fn record(content: &[u8]) -> Bytes {
    Bytes::from(field(1, &field(2, &field(2, content))))
}

/// `AnyValue`s in each other: lists, or objects of one member.
fn abyss(levels: usize, key: Option<&str>) -> Vec<u8> {
    let mut value = field(1, b"198.51.100.23");
    for _ in 0..levels {
        value = match key {
            None => field(5, &field(1, &value)),
            Some(key) => field(6, &field(1, &[field(1, key.as_bytes()), field(2, &value)].concat())),
        };
    }
    value
}

fn member(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

/// Scenario: requests that are unusual but valid: nothing in them, no observable, ten thousand levels of nesting in
/// OTLP, in JSON and in unknown groups, a megabyte of open brackets. Guarantee: each is acknowledged and arrives byte
/// for byte; values that were too deep to read are counted; a hit next to the deep nesting is tagged and written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voids_and_abysses_pass_untouched() {
    const LEVELS: usize = 10_000;
    let siege = Siege::begin().await;
    let body = |value: &[u8]| record(&field(5, value));
    let text = |text: String| body(&field(1, text.as_bytes()));
    let (open, close) = ("[".repeat(LEVELS), "]".repeat(LEVELS));
    let objects = "{\"source\":".repeat(LEVELS);
    let source = |value: Vec<u8>| field(6, &field(1, &member("source", &field(6, &field(1, &member("ip", &value))))));
    let groups = [vec![0x7b; LEVELS], vec![0x7c; LEVELS]].concat();
    let cases: Vec<(&str, Bytes)> = vec![
        ("an empty batch", Bytes::new()),
        ("a resource without records", Bytes::from(field(1, b""))),
        ("an empty record", record(b"")),
        ("no observables", request_of([(1, &json!({ "message": "nothing", "n": [1, null, {}] }))]).into()),
        ("lists in an attribute", record(&field(6, &member("source.ip", &abyss(LEVELS, None))))),
        ("objects in an attribute", record(&field(6, &member("x", &abyss(LEVELS, Some("x")))))),
        ("lists in the body", body(&abyss(LEVELS, None))),
        ("objects in the body", body(&abyss(LEVELS, Some("source")))),
        ("lists at a field", body(&source(abyss(LEVELS, None)))),
        ("JSON lists at a field", text(format!("{{\"source\":{{\"ip\":{open}{close}}}}}"))),
        ("JSON objects", text(format!("{objects}1{}", "}".repeat(LEVELS)))),
        ("JSON lists", text(format!("{open}{close}"))),
        ("open brackets", text(format!("{{\"source\":{{\"ip\":{}", "[".repeat(1 << 20)))),
        ("open braces", text("{\"a\":".repeat(200_000))),
        ("groups", record(&groups)),
    ];
    let mut connection = Connection::open(&siege.hotlist.address()).await.unwrap();
    for (case, message) in &cases {
        let answer = connection.export(message).await.unwrap();
        assert_eq!(answer.status, 0, "{case}: {answer:?}");
        assert!(siege.next_hop.has(message), "{case} is changed");
    }
    let deep = siege.hotlist.metric("hotlist_malformed_records_total{reason=\"too_deep\"}").await;
    assert!(deep >= 3.0, "{deep}");

    let hit = field(6, &member("source.ip", &field(1, b"198.51.100.23")));
    let beside = record(
        &[hit, field(6, &member("event.id", &field(1, b"beside"))), field(6, &member("x", &abyss(LEVELS, Some("x"))))]
            .concat(),
    );
    assert_eq!(connection.export(&beside).await.unwrap().status, 0);
    assert!(!siege.next_hop.has(&beside), "it is tagged");
    let written = siege.scene.ndjson("hits.ndjson");
    assert!(written.iter().any(|event| event.to_string().contains("beside")), "the hit is written");
    siege.end().await;
}
