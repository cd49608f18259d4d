//! The source for a collector: every answer, and when it comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotlist::config::Address;
use hotlist::encoding::Format;
use hotlist::pipeline::{BatchRefusal, MatchedMessage, Transform, Work};
use hotlist::sink::grpc::Settings;
use hotlist::source::Limits;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::Builder;
use hyper_util::rt::TokioExecutor;

use crate::client::{Client, full, request};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, otlp};
use crate::wire::{frame, gzip, noise};

/// Scenario: a batch that the next hop takes. Guarantee: the next hop has the very bytes, and the answer is an empty
/// message with `grpc-status: 0` in the trailers.
#[tokio::test]
async fn bytes_pass_untouched_and_the_answer_is_an_empty_message() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    for len in [0, 1, 100, 5_000, 100_000] {
        let wire = frame(0, &noise(len));
        let (answer, arrived) = tokio::join!(client.export(wire.clone()), async {
            let arrived = next_hop.arrived().await;
            let wire = arrived.wire.clone();
            let head = arrived.head.clone();
            arrived.ok();
            (head, wire)
        });
        assert_eq!(arrived.1, wire);
        assert_eq!(arrived.0.uri.path(), crate::client::EXPORT);
        for (name, value) in [("te", "trailers"), ("content-type", "application/grpc")] {
            assert_eq!(arrived.0.headers[name], value);
        }
        assert!(arrived.0.headers["user-agent"].to_str().unwrap().starts_with("hotlist/"));
        assert_eq!((answer.http, answer.status()), (200, 0));
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert_eq!(answer.trailers["grpc-status"], "0");
        assert_eq!(answer.body, [0; 5].as_slice());
    }
}

/// Scenario: the next hop takes a batch and says that it threw away some of it, or only has a word of warning.
/// Guarantee: the collector is answered OK with the same.
#[tokio::test]
async fn a_partial_success_is_told_to_the_collector() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    // `ExportLogsServiceResponse { partial_success: { rejected_log_records: 3, error_message: "odd" } }.`
    for said in [b"\x0a\x07\x08\x03\x12\x03odd".as_slice(), b"\x0a\x06\x12\x04slow"] {
        let (answer, ()) = tokio::join!(client.export(frame(0, &noise(1000))), async {
            next_hop.arrived().await.answer_message(said);
        });
        assert_eq!((answer.status(), answer.body), (0, frame(0, said)));
    }
}

/// Guarantee: what can never succeed is INVALID_ARGUMENT, for every way to be wrong, and never reaches the next hop.
#[tokio::test]
async fn what_can_never_succeed_is_invalid_argument() {
    let mut next_hop = NextHop::start().await;
    let limits = Limits { max_request_bytes: 100_000, ..Limits::default() };
    let sidecar = Sidecar::with(limits, Identity, [otlp(&next_hop.endpoint, Settings::default())]);
    let client = Client::connect(&sidecar.address).await;
    let behind = Bytes::from([frame(0, b"abc"), Bytes::from_static(b"d")].concat());
    let zeros = vec![0; 100_001];
    let mut corrupt = gzip(b"some text").clone();
    corrupt[12] ^= 0xff;
    let cases: [(&str, &str, Bytes); 14] = [
        ("no message", "identity", Bytes::new()),
        ("half a header", "identity", Bytes::from_static(&[0, 0])),
        ("shorter than it says", "identity", frame(0, b"abc").slice(..7)),
        ("longer than it says", "identity", behind),
        ("two messages", "identity", Bytes::from([frame(0, b"a"), frame(0, b"b")].concat())),
        ("unknown flag", "identity", Bytes::from_static(&[2, 0, 0, 0, 0])),
        ("compressed without encoding", "identity", frame(1, &gzip(b"abc"))),
        ("too large", "identity", frame(0, &zeros)),
        ("corrupt gzip", "gzip", frame(1, &corrupt)),
        ("no gzip", "gzip", frame(1, b"plain")),
        ("gzip with bytes behind", "gzip", frame(1, &[gzip(b"abc"), b"tail".to_vec()].concat())),
        ("corrupt zstd", "zstd", frame(1, b"plain")),
        ("gzip inflates too far", "gzip", frame(1, &gzip(&zeros))),
        ("zstd inflates too far", "zstd", frame(1, &zstd::encode_all(zeros.as_slice(), 3).unwrap())),
    ];
    for (case, encoding, wire) in cases {
        let answer = client.export_encoded(encoding, wire).await;
        assert_eq!((answer.http, answer.status()), (200, 3), "{case}: {answer:?}");
        assert!(!answer.message().is_empty(), "{case}");
    }
    assert!(next_hop.is_idle());
}

/// Guarantee: a message at the limit to the byte passes, however it is compressed.
#[tokio::test]
async fn a_message_at_the_limit_passes() {
    let next_hop = NextHop::start().await;
    let limits = Limits { max_request_bytes: 100_000, ..Limits::default() };
    let sidecar = Sidecar::with(limits, Identity, [otlp(&next_hop.endpoint, Settings::default())]);
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    let zeros = vec![0; 100_000];
    assert_eq!(client.export(frame(0, &zeros)).await.status(), 0);
    assert_eq!(client.export_encoded("gzip", frame(1, &gzip(&zeros))).await.status(), 0);
    let packed = zstd::encode_all(zeros.as_slice(), 3).unwrap();
    assert_eq!(client.export_encoded("zstd", frame(1, &packed)).await.status(), 0);
}

/// Guarantee: an unknown encoding or method is UNIMPLEMENTED and says what there is; what is not gRPC at all gets an
/// HTTP status.
#[tokio::test]
async fn unknown_methods_encodings_and_content_types() {
    let next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;

    let answer = client.export_encoded("snappy", frame(1, b"abc")).await;
    assert_eq!(answer.status(), 12);
    assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip,zstd");

    for path in ["/opentelemetry.proto.collector.logs.v1.LogsService/Import", "/some.Other/Export"] {
        let request = request(&[]).uri(format!("http://sidecar{path}")).body(full(frame(0, b"abc"))).unwrap();
        assert_eq!(client.send(request).await.status(), 12, "{path}");
    }

    let mut json = request(&[]).body(full(frame(0, b"abc"))).unwrap();
    json.headers_mut().insert("content-type", "application/json".parse().unwrap());
    assert_eq!(client.send(json).await.http, 415);

    let get = request(&[]).method("GET").body(full(Bytes::new())).unwrap();
    assert_eq!(client.send(get).await.http, 405);
}

/// Scenario: compressed requests. Guarantee: the next hop gets the plain message; a flag of 0 means plain whatever
/// `grpc-encoding` says.
#[tokio::test]
async fn gzip_and_zstd_are_understood() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    let message = [noise(50_000), vec![b'x'; 200_000]].concat();
    for (encoding, wire) in [
        ("gzip", frame(1, &gzip(&message))),
        ("zstd", frame(1, &zstd::encode_all(message.as_slice(), 3).unwrap())),
        ("zstd", frame(0, &message)),
    ] {
        let (answer, arrived) = tokio::join!(client.export_encoded(encoding, wire), async {
            let arrived = next_hop.arrived().await;
            let message = arrived.message();
            arrived.ok();
            message
        });
        assert_eq!((answer.status(), arrived), (0, Bytes::from(message.clone())), "{encoding}");
    }
}

/// Scenario: room for one message, which waits at the next hop. Guarantee: another is RESOURCE_EXHAUSTED, and room is
/// there again once the first was answered.
#[tokio::test]
async fn no_room_is_resource_exhausted() {
    let mut next_hop = NextHop::start().await;
    let limits = Limits {
        max_request_bytes: 50_000,
        in_flight_bytes: 100_000,
        admission_wait: Duration::from_millis(10),
        ..Limits::default()
    };
    let sidecar = Sidecar::with(limits, Identity, [otlp(&next_hop.endpoint, Settings::default())]);
    let client = Arc::new(Client::connect(&sidecar.address).await);
    let wire = frame(0, &noise(50_000));
    let export = || {
        let (client, wire) = (Arc::clone(&client), wire.clone());
        tokio::spawn(async move { client.export(wire).await.status() })
    };
    let first = export();
    let held = next_hop.arrived().await;
    // 48 of 97 KiB are left, and 49 are wanted.
    assert_eq!(export().await.unwrap(), 8);
    let bomb = frame(1, &gzip(&[0; 50_000]));
    assert_eq!(client.export_encoded("gzip", bomb).await.status(), 8, "inflating takes room too");
    held.ok();
    assert_eq!(first.await.unwrap(), 0);
    next_hop.accept_all();
    assert_eq!(export().await.unwrap(), 0);
}

struct Panics;

impl Transform for Panics {
    fn process(&self, format: Format, message: Bytes, work: &Work) -> Result<MatchedMessage, BatchRefusal> {
        assert!(!message.starts_with(b"panic"), "on purpose");
        Identity.process(format, message, work)
    }
}

/// Scenario: matching panics, on a worker and in place. Guarantee: UNAVAILABLE, and the next request is served.
#[tokio::test]
async fn a_panic_in_matching_is_unavailable() {
    let next_hop = NextHop::start().await;
    let sidecar = Sidecar::with(Limits::default(), Panics, [otlp(&next_hop.endpoint, Settings::default())]);
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    for len in [100, 100_000] {
        let bad = [b"panic".to_vec(), noise(len)].concat();
        assert_eq!(client.export(frame(0, &bad)).await.status(), 14);
        assert_eq!(client.export(frame(0, &noise(len))).await.status(), 0);
    }
}

struct Refuses;

impl Transform for Refuses {
    fn process(&self, _: Format, message: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        match message.first() {
            Some(b'i') => Err(BatchRefusal::InvalidArgument("not 100% OTLP: ä".into())),
            _ => Err(BatchRefusal::Unavailable("no snapshot".into())),
        }
    }
}

/// Guarantee: a refusal of matching is answered as what it is, with its text percent-encoded.
#[tokio::test]
async fn refusals_of_matching_are_answered() {
    let next_hop = NextHop::start().await;
    let sidecar = Sidecar::with(Limits::default(), Refuses, [otlp(&next_hop.endpoint, Settings::default())]);
    let client = Client::connect(&sidecar.address).await;
    let invalid = client.export(frame(0, b"i")).await;
    assert_eq!(invalid.status(), 3);
    assert_eq!(invalid.headers["grpc-message"], "not 100%25 OTLP: %C3%A4");
    assert_eq!(client.export(frame(0, b"u")).await.status(), 14);
}

/// Guarantee: no acknowledgement before the next hop's.
#[tokio::test]
async fn nothing_is_acknowledged_before_the_next_hop_did() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    let mut export = Box::pin(client.export(frame(0, &noise(1000))));
    let held = tokio::select! {
        answer = &mut export => panic!("acknowledged too early: {answer:?}"),
        held = next_hop.arrived() => held,
    };
    assert!(futures_util::poll!(&mut export).is_pending());
    held.ok();
    assert_eq!(export.await.status(), 0);
}

/// Scenario: the client goes away while the next hop thinks. Guarantee: the request to the next hop is taken back.
#[tokio::test]
async fn a_client_that_goes_away_cancels() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    let mut held = {
        let mut export = Box::pin(client.export(frame(0, &noise(1000))));
        tokio::select! {
            answer = &mut export => panic!("{answer:?}"),
            held = next_hop.arrived() => held,
        }
    };
    client.vanish();
    assert_eq!(held.cancelled().await, h2::Reason::CANCEL);
}

/// Scenario: the source is stopped with a request in flight. Guarantee: new connections are not taken, the request is
/// finished, and only then the server returns.
#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let address = sidecar.address.clone();
    let client = Client::connect(&address).await;
    let export = tokio::spawn(async move { client.export(frame(0, &noise(1000))).await.status() });
    let held = next_hop.arrived().await;
    let stopped = sidecar.stop();
    assert!(!stopped.is_finished());
    held.ok();
    assert_eq!(export.await.unwrap(), 0);
    stopped.await.unwrap();
    let Address::Tcp(address) = address else { unreachable!() };
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// Scenario: Unix sockets on both sides, over the file that a killed run left. Guarantee: it works, and the file is
/// gone at the end.
#[tokio::test]
async fn unix_sockets_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hotlist.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let next_hop = NextHop::start_unix(&directory.path().join("next.sock")).await;
    let sinks = [otlp(&next_hop.endpoint, Settings::default())];
    let sidecar = Sidecar::at(&Address::Unix(path.clone()), Limits::default(), Identity, sinks);
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    assert_eq!(client.export(frame(0, &noise(1000))).await.status(), 0);
    drop(client);
    sidecar.stop().await.unwrap();
    assert!(!path.exists());
}

/// Guarantee: 16 MiB pass both sides, also in many small data frames and with the smallest windows.
#[tokio::test]
async fn sixteen_mebibytes_pass() {
    let mut next_hop = NextHop::start().await;
    let settings = Settings { max_request_bytes: 32 << 20, ..Settings::default() };
    let sidecar = Sidecar::with(Limits::default(), Identity, [otlp(&next_hop.endpoint, settings)]);
    let wire = frame(0, &noise(16 << 20));
    let mut windows = Builder::new(TokioExecutor::new());
    windows.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let client = Client::connect_with(&sidecar.address, &mut windows).await;
    let frames = wire.chunks(10_000).map(|data| Ok(http_body::Frame::data(wire.slice_ref(data)))).collect::<Vec<_>>();
    let body = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    let (answer, arrived) = tokio::join!(client.send(request(&[]).body(body).unwrap()), async {
        let arrived = next_hop.arrived().await;
        let wire = arrived.wire.clone();
        arrived.ok();
        wire
    });
    assert_eq!(answer.status(), 0);
    assert!(arrived == wire);
}

/// Scenario: Fluent Bit, a new connection for every export. Guarantee: all are served.
#[tokio::test]
async fn one_connection_an_export() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let wire = frame(0, &noise(3000));
    let exports = (0..50).map(|_| async {
        let client = Client::connect(&sidecar.address).await;
        client.export(wire.clone()).await.status()
    });
    let hop = async {
        for _ in 0..50 {
            next_hop.arrived().await.ok();
        }
    };
    let (statuses, ()) = tokio::join!(futures_util::future::join_all(exports), hop);
    assert_eq!(statuses, [0; 50]);
}
