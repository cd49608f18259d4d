//! The source for an OTLP/HTTP collector: every answer, in the media type of its request.

use std::time::Duration;

use bytes::Bytes;
use hotlist::sink::grpc::Settings;
use hotlist::sink::{Blackhole, Sink, SinkBackend};
use hotlist::source::Limits;
use http::{HeaderMap, Request};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::client::{Answer, Client, full};
use crate::http_client::{HttpClient, JSON, LOGS, PROTOBUF, chunked, request};
use crate::metrics::{self, value};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, bind, loopback, otlp};
use crate::wire::{frame, gzip, noise};

/// Sends, and lets the next hop answer with a message; gives the client's answer and what arrived there.
async fn pass(
    client: &mut HttpClient,
    next_hop: &mut NextHop,
    request: Request<crate::client::Body>,
    says: &[u8],
) -> (Answer, HeaderMap, Bytes) {
    let (answer, (headers, message)) = tokio::join!(client.send(request), async {
        let arrived = next_hop.arrived().await;
        let found = (arrived.head.headers.clone(), arrived.message());
        arrived.answer_message(says);
        found
    });
    (answer, headers, message)
}

/// Scenario: protobuf of any length, plain and compressed, with its length said before or in chunks, all on one
/// connection. Guarantee: the next hop has the very bytes, the answer is an empty message in the same media type.
#[tokio::test]
async fn protobuf_passes_untouched_and_the_connection_is_kept() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut client = HttpClient::connect(&sidecar.address).await;
    for len in [0, 1, 5_000, 70_000, 1_000_000] {
        let message = noise(len);
        let zstd = zstd::encode_all(message.as_slice(), 3).unwrap();
        let gzip = gzip(&message);
        let bodies = [("identity", &message), ("", &message), ("gzip", &gzip), ("X-Gzip", &gzip), ("zstd", &zstd)];
        for (encoding, body) in bodies {
            let headers = [PROTOBUF, ("content-encoding", encoding)];
            for body in [full(Bytes::copy_from_slice(body)), chunked(body, 9_999)] {
                let request = request("POST", LOGS, &headers, body);
                let (answer, _, arrived) = pass(&mut client, &mut next_hop, request, b"").await;
                assert!(arrived == message, "{len} {encoding}");
                assert_eq!((answer.http, answer.body.len()), (200, 0));
                assert_eq!(answer.headers["content-type"], "application/x-protobuf");
            }
        }
    }
}

/// Guarantee: over HTTP/2 the same paths give the same answers, on the same connection as gRPC.
#[tokio::test]
async fn http_2_is_spoken_too() {
    let next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    assert_eq!(client.export(frame(0, b"x")).await.status(), 0);
    for (path, expected) in [(LOGS, 200), ("/v1/other", 404)] {
        let post = request("POST", &format!("http://sidecar{path}"), &[JSON], full(Bytes::from_static(b"{}")));
        let answer = client.send(post).await;
        assert_eq!(
            (answer.http, answer.headers["content-type"].as_bytes()),
            (expected, b"application/json".as_slice())
        );
    }
}

fn logs_as_json(count: usize) -> (Vec<u8>, ExportLogsServiceRequest) {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    let text = |text: &str| Some(AnyValue { value: Some(Any::StringValue(text.to_owned())) });
    let record = |at: usize| LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000 + at as u64,
        body: text(&format!("record {at}")),
        attributes: vec![KeyValue { key: "source.ip".to_owned(), value: text("198.51.100.23"), ..KeyValue::default() }],
        ..LogRecord::default()
    };
    let scope = ScopeLogs { log_records: (0..count).map(record).collect(), ..ScopeLogs::default() };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }],
    };
    let record = |at: usize| {
        json!({
            "timeUnixNano": (1_700_000_000_000_000_000 + at as u64).to_string(),
            "body": { "stringValue": format!("record {at}") },
            "attributes": [{ "key": "source.ip", "value": { "stringValue": "198.51.100.23" } }],
        })
    };
    let records: Vec<Value> = (0..count).map(record).collect();
    let text = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] });
    (text.to_string().into_bytes(), request)
}

/// Scenario: the same logs as JSON and as protobuf, few and many. Guarantee: the next hop decodes the same request.
#[tokio::test]
async fn json_is_the_same_request() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut client = HttpClient::connect(&sidecar.address).await;
    for count in [1, 5_000] {
        let (text, expected) = logs_as_json(count);
        let media = ("content-type", "application/json; charset=utf-8");
        for (encoding, body) in [("identity", text.clone()), ("gzip", gzip(&text))] {
            let post = request("POST", LOGS, &[media, ("content-encoding", encoding)], full(body.into()));
            let (answer, _, arrived) = pass(&mut client, &mut next_hop, post, b"").await;
            assert_eq!((answer.http, &*answer.body), (200, b"{}".as_slice()));
            assert_eq!(answer.headers["content-type"], "application/json");
            assert!(ExportLogsServiceRequest::decode(arrived).unwrap() == expected, "{count} {encoding}");
        }
    }
}

/// Scenario: the next hop takes a batch and reports that it dropped some of it. Guarantee: the collector gets the same
/// report in its own media type.
#[tokio::test]
async fn a_partial_success_is_told_in_both_media_types() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut client = HttpClient::connect(&sidecar.address).await;
    let says = b"\x0a\x07\x08\x03\x12\x03odd";
    let post = request("POST", LOGS, &[PROTOBUF], full(Bytes::from_static(b"x")));
    let (answer, ..) = pass(&mut client, &mut next_hop, post, says).await;
    assert_eq!((answer.http, &*answer.body), (200, says.as_slice()));
    let post = request("POST", LOGS, &[JSON], full(Bytes::from_static(b"{}")));
    let (answer, ..) = pass(&mut client, &mut next_hop, post, says).await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body, json!({ "partialSuccess": { "rejectedLogRecords": "3", "errorMessage": "odd" } }));
}

/// A `google.rpc.Status` in the answer's own media type.
fn status(answer: &Answer) -> (u64, String) {
    if answer.headers["content-type"] == "application/json" {
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        return (status["code"].as_u64().unwrap(), status["message"].as_str().unwrap().to_owned());
    }
    assert_eq!(answer.headers["content-type"], "application/x-protobuf");
    // Code and message, the message shorter than 128 bytes or at most 16 KiB.
    let [8, code, 0x12, rest @ ..] = &*answer.body else { panic!("{answer:?}") };
    let text = if rest[0] < 0x80 { &rest[1..] } else { &rest[2..] };
    (u64::from(*code), String::from_utf8(text.to_vec()).unwrap())
}

/// The fault, its statuses of HTTP and gRPC, and the request: method, path, headers, body.
type Refused<'a> = (&'a str, u16, u64, &'a str, &'a str, Vec<(&'a str, &'a str)>, &'a [u8]);

/// Guarantee: what is not for this source or can never succeed gets its own status with a text, in the media type of the
/// request, never reaches the next hop, and leaves the connection open.
#[tokio::test]
async fn what_cannot_succeed_says_why() {
    metrics::install();
    let mut next_hop = NextHop::start().await;
    let limits = Limits { max_request_bytes: 100_000, ..Limits::default() };
    let next = [otlp(&next_hop.endpoint, Settings::default())];
    let sidecar = Sidecar::serve(bind("http-statuses", &loopback(), limits, Identity, next));
    let mut client = HttpClient::connect(&sidecar.address).await;
    let zeros = vec![0; 100_001];
    let bomb = gzip(&zeros);
    let wide = [b"{}".as_slice(), &[b' '; 100_000]].concat();
    let text = ("content-type", "text/plain");
    let packed = |encoding| ("content-encoding", encoding);
    let cases: [Refused<'_>; 15] = [
        ("no such path", 404, 12, "POST", "/v1/log", vec![PROTOBUF], b"x"),
        ("no such path as JSON", 404, 12, "POST", "/", vec![JSON], b"{}"),
        ("read", 405, 12, "GET", LOGS, vec![PROTOBUF], b""),
        ("no media type", 415, 12, "POST", LOGS, vec![], b"x"),
        ("another media type", 415, 12, "POST", LOGS, vec![text], b"x"),
        ("metrics that are none", 400, 3, "POST", "/v1/metrics", vec![JSON], b"{\"resourceMetrics\":7}"),
        ("traces that are no JSON", 400, 3, "POST", "/v1/traces", vec![JSON], b"{\"resourceSpans\":"),
        ("deflate", 415, 12, "POST", LOGS, vec![PROTOBUF, packed("deflate")], b"x"),
        ("twice compressed", 415, 12, "POST", LOGS, vec![JSON, packed("gzip"), packed("gzip")], b"x"),
        ("no gzip", 400, 3, "POST", LOGS, vec![PROTOBUF, packed("gzip")], b"plain"),
        ("no zstd", 400, 3, "POST", LOGS, vec![JSON, packed("zstd")], b"plain"),
        ("no JSON", 400, 3, "POST", LOGS, vec![JSON], b"{\"resourceLogs\":"),
        ("too large", 413, 3, "POST", LOGS, vec![PROTOBUF], &zeros),
        ("too large as JSON", 413, 3, "POST", LOGS, vec![JSON], &wide),
        ("inflates too far", 413, 3, "POST", LOGS, vec![PROTOBUF, packed("gzip")], &bomb),
    ];
    for (case, http, code, method, path, headers, body) in cases {
        let answer = client.send(request(method, path, &headers, full(Bytes::copy_from_slice(body)))).await;
        assert_eq!(answer.http, http, "{case}: {answer:?}");
        let (found, text) = status(&answer);
        assert!(found == code && !text.is_empty(), "{case}: {found} {text}");
        let media = headers.iter().find(|(name, value)| *name == "content-type" && *value != "text/plain");
        assert_eq!(answer.headers["content-type"], media.map_or(JSON.1, |(_, media)| *media), "{case}");
        assert!(!answer.headers.contains_key("retry-after"), "{case}");
        match http {
            405 => assert_eq!(answer.headers["allow"], "POST"),
            415 => assert!(answer.headers.contains_key("accept") || answer.headers.contains_key("accept-encoding")),
            _ => {}
        }
    }
    let answer = client.send(request("POST", LOGS, &[PROTOBUF], chunked(&zeros, 9_999))).await;
    assert_eq!((answer.http, status(&answer).0), (413, 3), "too large in chunks");
    assert!(next_hop.is_idle());
    let count =
        |status| value(&format!("hotlist_source_requests_total{{source=\"http-statuses\",status=\"{status}\"}}"));
    assert_eq!((count("unimplemented"), count("invalid_argument")), (7.0, 9.0));

    next_hop.accept_all();
    assert_eq!(client.export(&vec![7; 100_000]).await.http, 200);
    assert_eq!(count("ok"), 1.0);
}

/// Scenario: the next hop is overloaded, fails, or refuses us. Guarantee: 429 and 503, each with the time of a retry.
#[tokio::test]
async fn what_may_pass_is_to_be_sent_again() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut client = HttpClient::connect(&sidecar.address).await;
    for (says, http, code) in [(8, 429, 8), (14, 503, 14), (13, 503, 14), (2, 503, 14), (16, 503, 14), (12, 503, 14)] {
        for media in [[PROTOBUF], [JSON]] {
            let (answer, ()) = tokio::join!(client.post(LOGS, &media, b"{}"), async {
                next_hop.arrived().await.answer_status(says, "why");
            });
            assert_eq!((answer.http, status(&answer).0), (http, code), "{says}");
            assert_eq!(answer.headers["retry-after"], "1");
        }
    }
}

/// Guarantee: metrics and traces pass as protobuf to where they belong; where no sink takes them they are not swallowed.
#[tokio::test]
async fn metrics_and_traces_pass_or_are_refused() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut client = HttpClient::connect(&sidecar.address).await;
    for (path, method) in [("/v1/metrics", "metrics.v1.Metrics"), ("/v1/traces", "trace.v1.Trace")] {
        let (answer, (to, message)) = tokio::join!(client.post(path, &[PROTOBUF], b"opaque"), async {
            let arrived = next_hop.arrived().await;
            let found = (arrived.head.uri.path().to_owned(), arrived.message());
            arrived.ok();
            found
        });
        assert_eq!((answer.http, &*message), (200, b"opaque".as_slice()));
        assert_eq!(to, format!("/opentelemetry.proto.collector.{method}Service/Export"));
    }
    let blackhole = Arc::new(Sink::new("hole", SinkBackend::Blackhole(Blackhole::default())));
    let sidecar = Sidecar::with(Limits::default(), Identity, [blackhole]);
    let answer = HttpClient::connect(&sidecar.address).await.post("/v1/metrics", &[PROTOBUF], b"x").await;
    let (code, text) = status(&answer);
    assert!((answer.http, code) == (404, 12) && text.contains("accepts metrics"), "{text}");
}

/// Guarantee: headers of a request reach the next hop when a sink names them, and only then.
#[tokio::test]
async fn headers_are_metadata() {
    let mut next_hop = NextHop::start().await;
    let settings = Settings { forward_metadata: vec!["x-tenant".parse().unwrap()], ..Settings::default() };
    let sidecar = Sidecar::with(Limits::default(), Identity, [otlp(&next_hop.endpoint, settings)]);
    let mut client = HttpClient::connect(&sidecar.address).await;
    let headers = [PROTOBUF, ("X-Tenant", "blue"), ("x-other", "no")];
    let post = request("POST", LOGS, &headers, full(Bytes::from_static(b"x")));
    let (_, headers, _) = pass(&mut client, &mut next_hop, post, b"").await;
    assert_eq!(headers["x-tenant"], "blue");
    assert!(!headers.contains_key("x-other") && headers["content-type"] == "application/grpc");
}

/// Scenario: room for one message, which waits at the next hop. Guarantee: another is 429, whether its length is known
/// before, shows only in its chunks, or only when it is inflated or converted; and room is there again afterwards.
#[tokio::test]
async fn no_room_is_429() {
    let mut next_hop = NextHop::start().await;
    let limits = Limits {
        max_request_bytes: 200_000,
        in_flight_bytes: 400_000,
        admission_wait: Duration::from_millis(10),
        ..Limits::default()
    };
    let sidecar = Sidecar::with(limits, Identity, [otlp(&next_hop.endpoint, Settings::default())]);
    let mut first = HttpClient::connect(&sidecar.address).await;
    let first = tokio::spawn(async move { first.export(&[7; 200_000]).await.http });
    let held = next_hop.arrived().await;
    let mut client = HttpClient::connect(&sidecar.address).await;
    assert_eq!(client.export(&[7; 200_000]).await.http, 429);
    let answer = client.send(request("POST", LOGS, &[PROTOBUF], chunked(&[7; 200_000], 10_000))).await;
    assert_eq!(answer.http, 429);
    let answer = client.post(LOGS, &[PROTOBUF, ("content-encoding", "gzip")], &gzip(&[7; 200_000])).await;
    assert_eq!(answer.http, 429);
    let wide = [b"{}".as_slice(), &[b' '; 199_998]].concat();
    assert_eq!(client.post(LOGS, &[JSON], &wide).await.http, 429);
    held.ok();
    assert_eq!(first.await.unwrap(), 200);
    next_hop.accept_all();
    assert_eq!(client.export(&[7; 200_000]).await.http, 200);
    assert_eq!(client.post(LOGS, &[JSON], &wide).await.http, 200);
}
