//! The reactions of sinks to the next hop: every answer it can give, its absence, its restarts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotlist::config::Fsync;
use hotlist::encoding::{Format, Rope};
use hotlist::net::grpc::Encoding;
use hotlist::pipeline::{BatchRefusal, HitRecord, MatchedMessage, Transform, Work};
use hotlist::sink::grpc::Settings;
use hotlist::sink::ndjson::{NdjsonSink, Output};
use hotlist::sink::{Only, Sink, SinkBackend};
use hotlist::source::Limits;

use crate::client::Client;
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, otlp};
use crate::wire::{frame, gunzip, noise, records};

/// Guarantee: RESOURCE_EXHAUSTED passes, and every other status of the next hop is UNAVAILABLE, naming it.
#[tokio::test]
async fn every_status_of_the_next_hop() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    let names = [
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    for (status, name) in (1..).zip(names) {
        let (answer, ()) = tokio::join!(client.export(frame(0, b"abc")), async {
            next_hop.arrived().await.answer_status(status, "it says so");
        });
        assert_eq!(answer.status(), if status == 8 { 8 } else { 14 }, "{name}");
        assert!(answer.message().contains(&format!("{name}: it says so")), "{}", answer.message());
    }
    for status in [200, 404, 503] {
        let (answer, ()) = tokio::join!(client.export(frame(0, b"abc")), async {
            next_hop.arrived().await.answer_http(status);
        });
        assert_eq!(answer.status(), 14, "HTTP {status}");
    }
}

/// Scenario: the next hop is not there when the sidecar starts, and comes later. Guarantee: UNAVAILABLE until then,
/// delivered after, with no restart.
#[tokio::test]
async fn a_next_hop_that_comes_late() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("late.sock");
    let sidecar = Sidecar::start(&format!("unix:{}", path.display()));
    let client = Client::connect(&sidecar.address).await;
    let answer = client.export(frame(0, b"abc")).await;
    assert_eq!(answer.status(), 14);
    assert!(answer.message().contains(&format!("sink next, unix:{}", path.display())), "{}", answer.message());

    NextHop::start_unix(&path).await.accept_all();
    // What a collector does: try again until it is taken. The back-off says no at once in between.
    let delivered = async { while client.export(frame(0, b"abc")).await.status() != 0 {} };
    tokio::time::timeout(Duration::from_secs(20), delivered).await.unwrap();
}

/// Guarantee: an answer that breaks off is no acknowledgement.
#[tokio::test]
async fn closing_after_the_headers_is_unavailable() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    let (answer, ()) = tokio::join!(client.export(frame(0, b"abc")), async {
        next_hop.arrived().await.close_after_headers();
    });
    assert_eq!(answer.status(), 14, "{answer:?}");
}

/// Scenario: the next hop is restarted between two requests. Guarantee: the second does not fail for it.
#[tokio::test]
async fn a_connection_that_died_idle_costs_no_request() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    for _ in 0..20 {
        let (answer, connection) =
            tokio::join!(client.export(frame(0, b"abc")), async { next_hop.arrived().await.ok() });
        assert_eq!(answer.status(), 0, "{answer:?}");
        connection.close_gracefully().await;
    }
}

/// Scenario: the next hop resets the stream as not processed. Guarantee: the batch is sent again, one time.
#[tokio::test]
async fn a_request_that_was_turned_away_is_sent_again() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    let (answer, _) = tokio::join!(client.export(frame(0, b"abc")), async { next_hop.arrived().await.ok() });
    assert_eq!(answer.status(), 0);
    let (answer, _) = tokio::join!(client.export(frame(0, b"abc")), async {
        next_hop.arrived().await.turn_away();
        next_hop.arrived().await.ok()
    });
    assert_eq!(answer.status(), 0, "{answer:?}");
}

/// Guarantee: a next hop that never answers is UNAVAILABLE at the deadline, and the request is taken back.
#[tokio::test]
async fn the_deadline_ends_a_request() {
    let mut next_hop = NextHop::start().await;
    let settings = Settings { deadline: Duration::from_millis(50), ..Settings::default() };
    let sidecar = Sidecar::with(Limits::default(), Identity, [otlp(&next_hop.endpoint, settings)]);
    let client = Client::connect(&sidecar.address).await;
    let (answer, reason) =
        tokio::join!(client.export(frame(0, b"abc")), async { next_hop.arrived().await.cancelled().await });
    assert_eq!(answer.status(), 14);
    assert!(answer.message().contains("50 ms"), "{}", answer.message());
    assert_eq!(reason, h2::Reason::CANCEL);
}

/// Guarantee: partial success is success, since OTLP says that the records must not be sent again.
#[tokio::test]
async fn partial_success_is_accepted() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    let (answer, _) = tokio::join!(client.export(frame(0, b"abc")), async {
        next_hop.arrived().await.answer_message(b"\x0a\x07\x08\x03\x12\x03odd")
    });
    assert_eq!(answer.status(), 0);
}

/// Guarantee: what goes out compressed says so, and is the same message.
#[tokio::test]
async fn gzip_and_zstd_out() {
    let message = [noise(10_000), vec![b'x'; 100_000]].concat();
    for compression in [Encoding::Gzip, Encoding::Zstd] {
        let mut next_hop = NextHop::start().await;
        let settings = Settings { compression, ..Settings::default() };
        let sidecar = Sidecar::with(Limits::default(), Identity, [otlp(&next_hop.endpoint, settings)]);
        let client = Client::connect(&sidecar.address).await;
        let (answer, ()) = tokio::join!(client.export(frame(0, &message)), async {
            let arrived = next_hop.arrived().await;
            assert_eq!(arrived.head.headers["grpc-encoding"], compression.as_str());
            assert_eq!(arrived.wire[0], 1);
            let plain = match compression {
                Encoding::Gzip => gunzip(&arrived.message()),
                _ => zstd::decode_all(&arrived.message()[..]).unwrap(),
            };
            assert!(plain == message);
            arrived.ok();
        });
        assert_eq!(answer.status(), 0);
    }
}

/// Scenario: a batch above the next hop's limit. Guarantee: it goes out in parts within the limit that make up the
/// whole, and is acknowledged only when every part was.
#[tokio::test]
async fn large_batches_are_split() {
    let mut next_hop = NextHop::start().await;
    let settings = Settings { max_request_bytes: 1000, ..Settings::default() };
    let sidecar = Sidecar::with(Limits::default(), Identity, [otlp(&next_hop.endpoint, settings)]);
    let client = Client::connect(&sidecar.address).await;
    let message = records(10, 900);
    for refuse_last in [false, true] {
        let (answer, parts) = tokio::join!(client.export(frame(0, &message)), async {
            let mut parts = Vec::new();
            for number in 0..10 {
                let arrived = next_hop.arrived().await;
                parts.push(arrived.message().to_vec());
                if refuse_last && number == 9 {
                    arrived.answer_status(3, "malformed");
                } else {
                    arrived.ok();
                }
            }
            parts
        });
        assert_eq!(answer.status(), if refuse_last { 14 } else { 0 });
        assert!(parts.iter().all(|part| part.len() <= 1000));
        let texts = |message: &[u8]| {
            let records = Format::Otlp.records(&Bytes::copy_from_slice(message)).unwrap();
            records.iter().map(|record| Format::Otlp.render_record(record)).collect::<Vec<_>>()
        };
        let mut arrived: Vec<_> = parts.iter().flat_map(|part| texts(part)).collect();
        arrived.sort();
        assert_eq!(arrived, texts(&message));
    }
}

/// Every message is one record that hit.
struct AllHit;

impl Transform for AllHit {
    fn process(&self, _: Format, message: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        Ok(MatchedMessage {
            message: Rope::from(message.clone()),
            records: 1,
            hits: Format::Otlp
                .records(&message)
                .unwrap()
                .into_iter()
                .map(|record| HitRecord { place: 0, record, ..HitRecord::default() })
                .collect(),
            ..MatchedMessage::default()
        })
    }
}

fn file_sink(path: &std::path::Path) -> Arc<Sink> {
    let output = Output::File(path.to_owned());
    let sink = NdjsonSink::open(output, Fsync::Batch).unwrap();
    Arc::new(Sink::new("hits", SinkBackend::Ndjson(sink)).with_only(Only::Hits))
}

/// Scenario: the next hop refuses, then accepts the retry. Guarantee: the hit stands in the file once, because files
/// are written only after the network took the batch, whatever the order of configuration.
#[tokio::test]
async fn files_are_written_after_the_network_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hits.ndjson");
    let mut next_hop = NextHop::start().await;
    let sinks = [file_sink(&path), otlp(&next_hop.endpoint, Settings::default())];
    let sidecar = Sidecar::with(Limits::default(), AllHit, sinks);
    let client = Client::connect(&sidecar.address).await;
    let hit = records(1, 3);
    let (answer, ()) = tokio::join!(client.export(frame(0, &hit)), async {
        next_hop.arrived().await.answer_status(14, "later");
    });
    assert_eq!(answer.status(), 14);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    let (answer, _) = tokio::join!(client.export(frame(0, &hit)), async { next_hop.arrived().await.ok() });
    assert_eq!(answer.status(), 0);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "{\"message\":\"000\",\"@timestamp\":\"1970-01-01T00:00:00.000000001Z\",\"opentelemetry\":{\"timestamp\":\"1970-01-01T00:00:00.000000001Z\"}}\n"
    );
}

/// Guarantee: every network sink is required; one refusal is the answer.
#[tokio::test]
async fn all_network_sinks_are_required() {
    let mut up = NextHop::start().await;
    let mut other = NextHop::start().await;
    let sinks = [otlp(&up.endpoint, Settings::default()), otlp(&other.endpoint, Settings::default())];
    let sidecar = Sidecar::with(Limits::default(), Identity, sinks);
    let client = Client::connect(&sidecar.address).await;
    let (answer, ()) = tokio::join!(client.export(frame(0, b"abc")), async {
        let (first, second) = tokio::join!(up.arrived(), other.arrived());
        first.ok();
        second.answer_status(16, "who are you");
    });
    assert_eq!(answer.status(), 14);
    assert!(answer.message().contains("UNAUTHENTICATED"), "{}", answer.message());
}
