//! Metrics and traces through the port of the logs.

use bytes::Bytes;
use hotlist::encoding::Format;
use hotlist::pipeline::{BatchRefusal, MatchedMessage, Signal, Transform, Work};
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::{Blackhole, Sink, SinkBackend};
use hotlist::source::Limits;
use http::Request;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::sync::Arc;

use crate::client::{Body, Client, full};
use crate::next_hop::NextHop;
use crate::sidecar::{Sidecar, otlp};
use crate::wire::{frame, gzip};

/// Metrics and traces never come here.
struct LogsOnly;

impl Transform for LogsOnly {
    fn process(&self, _: Format, _: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        Err(BatchRefusal::InvalidArgument("only logs are matched".to_owned()))
    }
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "scope".to_owned(), ..InstrumentationScope::default() })
}

fn metrics(count: usize) -> ExportMetricsServiceRequest {
    let metric = |at| Metric { name: format!("metric.{at}"), unit: "By".to_owned(), ..Metric::default() };
    let metrics = (0..count).map(metric).collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, schema_url: "schema".to_owned() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn traces(count: usize) -> ExportTraceServiceRequest {
    let span = |at| Span { name: format!("span {at}"), trace_id: vec![7; 16], span_id: vec![8; 8], ..Span::default() };
    let spans = (0..count).map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, schema_url: "schema".to_owned() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn export(signal: Signal, encoding: &str, wire: Bytes) -> Request<Body> {
    Request::post(format!("http://sidecar{}", signal.export_path()))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("grpc-encoding", encoding)
        .body(full(wire))
        .unwrap()
}

/// Guarantee: metrics and traces, plain and compressed, small and large, arrive at the same method of the next hop byte
/// for byte, without being matched.
#[tokio::test]
async fn metrics_and_traces_pass_byte_for_byte() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::with(Limits::default(), LogsOnly, [otlp(&next_hop.endpoint, Settings::default())]);
    let client = Client::connect(&sidecar.address).await;
    for count in [1, 5_000] {
        let messages =
            [(Signal::Metrics, metrics(count).encode_to_vec()), (Signal::Traces, traces(count).encode_to_vec())];
        for (signal, message) in messages {
            for (encoding, wire) in [("identity", frame(0, &message)), ("gzip", frame(1, &gzip(&message)))] {
                let (answer, arrived) = tokio::join!(client.send(export(signal, encoding, wire)), async {
                    let arrived = next_hop.arrived().await;
                    let found = (arrived.head.uri.path().to_owned(), arrived.message());
                    arrived.ok();
                    found
                });
                assert_eq!(answer.status(), 0, "{}", answer.message());
                assert_eq!(arrived.0, signal.export_path());
                assert!(arrived.1 == message, "{signal:?} {encoding}");
            }
        }
    }
}

/// Guarantee: above the next hop's limit they are split by metric and by span, with what is around them; every one
/// arrives, once.
#[tokio::test]
async fn large_metrics_and_traces_are_split() {
    let mut next_hop = NextHop::start().await;
    let settings = Settings { max_request_bytes: 2000, ..Settings::default() };
    let sink = GrpcSink::otlp(hotlist::config::Endpoint::parse(&next_hop.endpoint).unwrap(), settings);
    let sink = Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(sink))));
    let sidecar = Sidecar::with(Limits::default(), LogsOnly, [sink]);
    let client = Client::connect(&sidecar.address).await;
    for signal in [Signal::Metrics, Signal::Traces] {
        let message = match signal {
            Signal::Metrics => metrics(500).encode_to_vec(),
            _ => traces(500).encode_to_vec(),
        };
        let mut answer = Box::pin(client.send(export(signal, "identity", frame(0, &message))));
        let mut names = Vec::new();
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                arrived = next_hop.arrived() => {
                    let part = arrived.message();
                    assert!(part.len() <= 2000);
                    if signal == Signal::Metrics {
                        let [resource] = &ExportMetricsServiceRequest::decode(part).unwrap().resource_metrics[..] else {
                            panic!("one resource")
                        };
                        let scope_metrics = &resource.scope_metrics[0];
                        assert_eq!((&scope_metrics.scope, scope_metrics.schema_url.as_str()), (&scope(), "schema"));
                        names.extend(scope_metrics.metrics.iter().map(|metric| metric.name.clone()));
                    } else {
                        let part = ExportTraceServiceRequest::decode(part).unwrap();
                        names.extend(part.resource_spans[0].scope_spans[0].spans.iter().map(|span| span.name.clone()));
                    }
                    arrived.ok();
                }
            }
        };
        assert_eq!(answer.status(), 0, "{}", answer.message());
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 500);
    }
}

/// Guarantee: where no sink takes them they are UNIMPLEMENTED and not swallowed; logs are served on the same
/// connection.
#[tokio::test]
async fn without_an_otlp_sink_they_are_unimplemented() {
    let blackhole = Arc::new(Sink::new("hole", SinkBackend::Blackhole(Blackhole::default())));
    let sidecar = Sidecar::with(Limits::default(), crate::sidecar::Identity, [blackhole]);
    let client = Client::connect(&sidecar.address).await;
    let answer = client.send(export(Signal::Metrics, "identity", frame(0, &metrics(1).encode_to_vec()))).await;
    assert_eq!(answer.status(), 12);
    assert!(answer.message().contains("metrics"), "{}", answer.message());
    assert_eq!(client.export(frame(0, b"logs")).await.status(), 0);
}
