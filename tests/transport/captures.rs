//! Requests recorded from real collectors, through the transport and out again.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message;
use serde_json::Value;

use crate::client::Client;
use crate::http_client::{HttpClient, JSON, LOGS, PROTOBUF};
use crate::next_hop::NextHop;
use crate::shared::shared;
use crate::sidecar::Sidecar;
use crate::wire::{frame, gzip};

/// Scenario: what Fluent Bit sends, invalid UTF-8 and 63 levels of nesting included. Guarantee: byte for byte the same
/// at the next hop.
#[tokio::test]
#[ignore = "needs ../shared"]
async fn recorded_requests_pass_byte_for_byte() {
    let directory = shared("captures/fluent-bit");
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut passed = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let message = Bytes::from(std::fs::read(&path).unwrap());
        if message.len() > 4 << 20 {
            continue;
        }
        let client = Client::connect(&sidecar.address).await;
        let (answer, arrived) = tokio::join!(client.export(frame(0, &message)), async {
            let arrived = next_hop.arrived().await;
            let message = arrived.message();
            arrived.ok();
            message
        });
        assert_eq!(answer.status(), 0, "{}", path.display());
        assert!(arrived == message, "{}", path.display());
        passed += 1;
    }
    assert!(passed > 20, "{passed}");
}

/// The next hop's request of one request over HTTP, which is accepted.
async fn post(
    client: &mut HttpClient,
    next_hop: &mut NextHop,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (Bytes, Bytes) {
    let (answer, arrived) = tokio::join!(client.post(LOGS, headers, body), async {
        let arrived = next_hop.arrived().await;
        let message = arrived.message();
        arrived.ok();
        message
    });
    assert_eq!(answer.http, 200, "{answer:?}");
    (answer.body, arrived)
}

/// Scenario: what Vector and the OpenTelemetry Collector send over HTTP as protobuf, plain and with gzip. Guarantee: byte
/// for byte the same at the next hop, over gRPC.
#[tokio::test]
#[ignore = "needs ../shared"]
async fn recorded_protobuf_over_http_passes_byte_for_byte() {
    let (vector, collector) = (shared("captures/vector"), shared("captures/otel-collector"));
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut client = HttpClient::connect(&sidecar.address).await;
    for path in
        [vector.join("otlp_pb-001.pb"), vector.join("otlp_pbgz-001.pb"), collector.join("filelog-body-kvlist.pb")]
    {
        let message = std::fs::read(&path).unwrap();
        assert!(!ExportLogsServiceRequest::decode(&*message).unwrap().resource_logs.is_empty());
        let (_, arrived) = post(&mut client, &mut next_hop, &[PROTOBUF], &message).await;
        assert!(arrived == message, "{}", path.display());
        let headers = [PROTOBUF, ("content-encoding", "gzip")];
        let (_, arrived) = post(&mut client, &mut next_hop, &headers, &gzip(&message)).await;
        assert!(arrived == message, "{}", path.display());
    }
}

/// Scenario: what Vector sends over HTTP as JSON. Guarantee: every record arrives, with the body that the text has.
#[tokio::test]
#[ignore = "needs ../shared"]
async fn recorded_json_over_http_arrives_as_protobuf() {
    let directory = shared("captures/vector");
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut client = HttpClient::connect(&sidecar.address).await;
    let mut passed = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "body") {
            continue;
        }
        let text = std::fs::read(&path).unwrap();
        let (answer, arrived) = post(&mut client, &mut next_hop, &[JSON], &text).await;
        assert_eq!(&*answer, b"{}");
        let request = ExportLogsServiceRequest::decode(arrived).unwrap();
        let records = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        let bodies: Vec<_> = records.flat_map(|scope| &scope.log_records).map(|record| record.body.clone()).collect();
        let text: Value = serde_json::from_slice(&text).unwrap();
        let mut expected = Vec::new();
        for resource in text["resourceLogs"].as_array().unwrap() {
            for scope in resource["scopeLogs"].as_array().unwrap() {
                expected.extend(scope["logRecords"].as_array().unwrap().iter().map(|record| &record["body"]));
            }
        }
        assert_eq!(bodies.len(), expected.len(), "{}", path.display());
        for (body, expected) in bodies.into_iter().zip(expected) {
            let body = body.unwrap().value.unwrap();
            let Any::StringValue(body) = body else { panic!("{}: {body:?}", path.display()) };
            assert_eq!(Some(&*body), expected["stringValue"].as_str(), "{}", path.display());
            passed += 1;
        }
    }
    assert!(passed > 10, "{passed}");
}
