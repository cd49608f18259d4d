//! OTLP over HTTP/1.1 by hand: clients that close their side early, and JSON of every signal.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::next_hop::{Mood, NextHop};
use crate::process::{Hotlist, Scene};

/// Posts a body as JSON over a connection of its own, whose sending side is closed at once after it. The whole answer.
async fn post(address: &str, path: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: sidecar\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // An empty line before a request is ignored.
    stream.write_all(&[b"\r\n", head.as_bytes(), body].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn start() -> (Scene, NextHop, Hotlist) {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["192.0.2.1"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    (scene, next_hop, hotlist)
}

/// Scenario: a client closes its side after the request, and the next hop takes its time. Guarantee: it gets its answer; so
/// does one that asks the admin listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_side_gets_its_answer() {
    let (_scene, next_hop, hotlist) = start().await;
    let body = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;
    for mood in [Mood::Accept, Mood::Slow(Duration::from_millis(300))] {
        next_hop.set(mood);
        let answer = post(&hotlist.address(), "/v1/logs", body).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{}"), "{mood:?}: {answer}");
        assert_eq!(next_hop.take().len(), 1);
    }
    let admin = hotlist.wait_for("admin is listening")["address"].as_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
}

/// Guarantee: metrics and traces as JSON reach a next hop over gRPC as the same metrics and traces, a name that no field
/// has is counted, and an answer in JSON comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_traces_as_json_are_delivered() {
    let (_scene, next_hop, hotlist) = start().await;
    let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"up","future":1,"gauge":{"dataPoints":[{"timeUnixNano":"7","asInt":"-3"}]}}]}]}]}"#;
    let traces = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"s","kind":"SPAN_KIND_CLIENT"}]}]}]}"#;
    for (path, body) in [("/v1/metrics", metrics), ("/v1/traces", traces)] {
        let answer = post(&hotlist.address(), path, body.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{}"), "{path}: {answer}");
    }
    let delivered = next_hop.take();
    let [metrics, traces] = &*delivered else { panic!("{delivered:?}") };
    assert!(metrics.path.ends_with("MetricsService/Export") && traces.path.ends_with("TraceService/Export"));
    let metrics = ExportMetricsServiceRequest::decode(metrics.message()).unwrap();
    assert_eq!(metrics.resource_metrics[0].scope_metrics[0].metrics[0].name, "up");
    let traces = ExportTraceServiceRequest::decode(traces.message()).unwrap();
    assert_eq!(traces.resource_spans[0].scope_spans[0].spans[0].kind, 3);
    let (_, shown) = hotlist.admin("/metrics").await;
    assert!(shown.contains("hotlist_source_unknown_fields_total{source=\"agents\"} 1\n"), "{shown}");
}

/// Scenario: JSON with a byte that is not UTF-8 between good records, to a next hop that decodes with protobuf. Guarantee:
/// all records arrive, with U+FFFD in place of the byte, and it is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_utf_8_are_replaced() {
    let (_scene, next_hop, hotlist) = start().await;
    let mut body =
        br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"good"}},{"body":{"stringValue":"caf?"}}]}]}]}"#
            .to_vec();
    let place = body.iter().position(|byte| *byte == b'?').unwrap();
    body[place] = 0xe9;
    let answer = post(&hotlist.address(), "/v1/logs", &body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let request = ExportLogsServiceRequest::decode(next_hop.take()[0].message()).unwrap();
    assert_eq!(request.resource_logs[0].scope_logs[0].log_records.len(), 2);
    assert!(format!("{request:?}").contains("caf\u{fffd}"), "{request:?}");
    let (_, shown) = hotlist.admin("/metrics").await;
    assert!(shown.contains("hotlist_source_malformed_values_total{source=\"agents\"} 1\n"), "{shown}");
}
