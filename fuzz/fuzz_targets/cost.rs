//! Cost: no input takes more processor time or memory than the published bound allows, as factors of a normal input of
//! as many bytes (`docs/threat-model.md`). The first byte says how the rest is read: as a request of one of the formats, or
//! as a piece of text that is repeated to a long value at a field; from 128 on every text is scanned, too. What is
//! quadratic shows in 16 KiB.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use hotlist::detect::{Budgets, Detector};
use hotlist::encoding::wire::put_bytes;
use hotlist::encoding::{Format, Tagging, otlp};
use hotlist::feed::{FeedOptions, import};
use hotlist::intel::snapshot::{Feed, MatchOptions, SnapshotBuilder};
use hotlist::pipeline::Work;
use hotlist::policy::Policy;
use hotlist::schema::FieldTable;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

#[path = "../../benches/cost/heap.rs"]
mod heap;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Bytes of a request: short inputs are repeated to this length, as a batch of many records is.
const LENGTH: usize = 16 << 10;
/// The published bounds.
const MAX_CPU: f64 = 40.0;
const MAX_CPU_HITS: f64 = 80.0;
const MAX_MEMORY: usize = 16;
const MAX_MEMORY_OF_OUTPUT: usize = 7;
/// What a batch may take however short it is.
const MEMORY_OF_ANY: usize = 64 << 10;
/// A run that is no slower than this is no finding: clocks and caches are not exact.
const SHORT: Duration = Duration::from_millis(2);
/// Runs before a slow one counts; the fastest is taken.
const RUNS: usize = 5;

const INDICATORS: &str = "type,value
ip,203.0.113.66
ip,198.51.100.0/24
domain,evil.example
url,https://evil.example/x
email,mallory@evil.example
hash,44d88612fea8a8f36de82e1278abb02f44d88612fea8a8f36de82e1278abb02f
user,mallory
";

static TABLE: LazyLock<Arc<FieldTable>> =
    LazyLock::new(|| Arc::new(FieldTable::embedded(true).expect("the shipped table loads")));

/// The detectors: of fields alone, and of every text as well.
static DETECTORS: LazyLock<[Detector; 2]> = LazyLock::new(|| [false, true].map(detector));

fn detector(text: bool) -> Detector {
    let options = FeedOptions { subdomains: true, ..FeedOptions::default() };
    let indicators = import(INDICATORS.as_bytes(), "cost", &options, &TABLE).expect("our own").indicators;
    let options = MatchOptions {
        subdomains: true,
        url_hosts: true,
        user_principals: true,
        text,
        text_refang: text,
        ..MatchOptions::default()
    };
    let mut builder = SnapshotBuilder::new(TABLE.clone(), options, 11);
    builder.add_feed(Feed { subdomains: true, ..Feed::named("cost") }, indicators).expect("our own");
    let (snapshot, policy) = (Arc::new(builder.build("1")), Some(Policy::default()));
    Detector { snapshot, policy, tagging: Tagging::default(), budgets: Budgets::default() }
}

/// Processor time of the normal request, by a byte.
static NORMAL: LazyLock<[f64; 4]> = LazyLock::new(|| {
    let document = br#"{"source.ip":"192.0.2.1","destination.ip":"192.0.2.9","dns.question.name":"www.example.com","url.full":"https://www.example.com/a/b?c=d","user.name":"alice","host.name":"web-1","event.action":"allowed","message":"GET /a/b?c=d HTTP/1.1 200 17911 in 182 ms"}"#;
    let value: serde_json::Value = serde_json::from_slice(document).expect("our own");
    let body = Bytes::from(otlp::request_of([(0, &value)]));
    let vector = hotlist::encoding::transcode(&body, Format::Otlp, Format::Vector, |_| true).expect("our own");
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{"key":"source.ip","value":{"stringValue":"192.0.2.1"}},{"key":"url.full","value":{"stringValue":"https://www.example.com/a/b?c=d"}}],"body":{"stringValue":"GET /a/b?c=d HTTP/1.1 200 17911 in 182 ms"}}]}]}]}"#;
    let inputs = [
        (Shape::Otlp, body),
        (Shape::Vector, vector),
        (Shape::Filter, filter(document)),
        (Shape::OtlpJson, Bytes::from_static(json)),
    ];
    inputs.map(|(shape, input)| {
        let input = shape.repeated(&input);
        let fastest = (0..10 * RUNS).map(|_| run(shape, false, &input).0).min().unwrap_or_default();
        fastest.as_secs_f64() / input.len() as f64
    })
});

/// How a request is read.
#[derive(Clone, Copy)]
enum Shape {
    Otlp,
    Vector,
    Filter,
    OtlpJson,
}

impl Shape {
    /// The request as often as it fits: messages of protobuf one behind the other are one message.
    fn repeated(self, request: &[u8]) -> Bytes {
        match self {
            Shape::OtlpJson => Bytes::copy_from_slice(request),
            _ => request.repeat((LENGTH / request.len().max(1)).max(1)).into(),
        }
    }
}

/// A Filter request of one document.
fn filter(document: &[u8]) -> Bytes {
    let mut request = Vec::new();
    put_bytes(&mut request, 2, document);
    request.into()
}

/// Processor time of this thread.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Matches and tags a request; gives its time, its hits, and the bytes that came out.
fn run(shape: Shape, scans_texts: bool, input: &Bytes) -> (Duration, usize, usize) {
    let begun = now();
    let (format, message) = match shape {
        Shape::Otlp => (Format::Otlp, Ok(input.clone())),
        Shape::Vector => (Format::Vector, Ok(input.clone())),
        Shape::Filter => (Format::Filter, Ok(input.clone())),
        Shape::OtlpJson => (Format::Otlp, otlp::from_json(input).map(|converted| Bytes::from(converted.message))),
    };
    let detector = &DETECTORS[usize::from(scans_texts)];
    let done =
        message.ok().and_then(|message| detector.batch(format, message, Timestamp::UNIX_EPOCH, &Work::default()).ok());
    let (hits, output) = done.map_or((0, 0), |(batch, _)| (batch.hits.len(), batch.message.to_bytes().len()));
    (now() - begun, hits, output)
}

/// What the first bytes say of the others.
fn request(bytes: &[u8]) -> Option<(Shape, Bytes)> {
    let (shape, rest) = bytes.split_first()?;
    let shape = match shape % 8 {
        0 => Shape::Otlp,
        1 => Shape::Vector,
        2 => Shape::Filter,
        3 => Shape::OtlpJson,
        _ => {
            let (field, piece) = rest.split_first()?;
            let fields = TABLE.iter().count();
            let (_, field) = TABLE.iter().nth(usize::from(*field) * fields / 256)?;
            let value = String::from_utf8_lossy(piece).repeat(LENGTH / piece.len().max(1));
            return Some((Shape::Filter, filter(serde_json::json!({ &field.name: value }).to_string().as_bytes())));
        }
    };
    Some((shape, shape.repeated(rest)))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((shape, input)) = request(bytes) else { return };
    let scans_texts = bytes[0] >= 128;
    let normal = NORMAL[shape as usize];
    let ((mut time, hits, output), most) = heap::most(|| run(shape, scans_texts, &input));
    let allowed = MEMORY_OF_ANY + MAX_MEMORY * input.len() + if hits > 0 { MAX_MEMORY_OF_OUTPUT * output } else { 0 };
    assert!(most <= allowed, "{most} bytes at once for a request of {}, {allowed} allowed", input.len());
    let factor = if hits > 0 { MAX_CPU_HITS } else { MAX_CPU };
    let allowed = SHORT + Duration::from_secs_f64(factor * normal * input.len() as f64);
    for _ in 1..RUNS {
        if time <= allowed {
            return;
        }
        time = time.min(run(shape, scans_texts, &input).0);
    }
    assert!(time <= allowed, "{time:?} for a request of {} bytes, {allowed:?} allowed", input.len());
});
