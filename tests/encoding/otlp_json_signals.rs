//! OTLP/JSON of metrics and traces: the converter against `opentelemetry-proto` and its JSON.

use hotlist::encoding::otlp::{Converted, Export, FromJsonError, from_json_within};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Member;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

fn text() -> impl Strategy<Value = String> {
    "[a-zé😀\"\\\\]{0,8}"
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), (-40i32..40).prop_map(|value| f64::from(value) / 4.0), any::<i32>().prop_map(f64::from)]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), any::<u64>()]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = (text(), text()).prop_map(|(key, value)| {
        let value = Some(AnyValue { value: Some(Member::StringValue(value)) });
        KeyValue { key, value, ..KeyValue::default() }
    });
    vec(attribute, 0..3)
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), vec(any::<u8>(), length)]
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let value =
        prop_oneof![double().prop_map(exemplar::Value::AsDouble), any::<i64>().prop_map(exemplar::Value::AsInt)];
    let one = (attributes(), number(), id(8), id(16), option::of(value)).prop_map(
        |(filtered_attributes, time_unix_nano, span_id, trace_id, value)| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value,
        },
    );
    vec(one, 0..2)
}

fn numbers() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    let value = prop_oneof![
        double().prop_map(number_data_point::Value::AsDouble),
        prop_oneof![Just(0), any::<i64>()].prop_map(number_data_point::Value::AsInt)
    ];
    let point = (attributes(), number(), number(), exemplars(), any::<u32>(), option::of(value)).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value)| NumberDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            exemplars,
            flags,
            value,
        },
    );
    vec(point, 0..3)
}

fn histogram() -> impl Strategy<Value = HistogramDataPoint> {
    let bounds = (option::of(double()), option::of(double()), option::of(double()));
    let buckets = (vec(number(), 0..4), vec(double(), 0..3));
    (attributes(), (number(), number(), number()), bounds, buckets, exemplars(), any::<u32>()).prop_map(
        |(attributes, times, (sum, min, max), (bucket_counts, explicit_bounds), exemplars, flags)| {
            let (start_time_unix_nano, time_unix_nano, count) = times;
            HistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum,
                bucket_counts,
                explicit_bounds,
                exemplars,
                flags,
                min,
                max,
            }
        },
    )
}

fn exponential() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let buckets = || {
        let all = (any::<i32>(), vec(number(), 0..4));
        option::of(all.prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }))
    };
    let bounds = (option::of(double()), option::of(double()), option::of(double()), double());
    let counts = (number(), number(), number(), number(), any::<i32>());
    (attributes(), counts, bounds, buckets(), buckets(), exemplars(), any::<u32>()).prop_map(
        |(attributes, counts, (sum, min, max, zero_threshold), positive, negative, exemplars, flags)| {
            let (start_time_unix_nano, time_unix_nano, count, zero_count, scale) = counts;
            ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum,
                scale,
                zero_count,
                positive,
                negative,
                flags,
                exemplars,
                min,
                max,
                zero_threshold,
            }
        },
    )
}

fn summary() -> impl Strategy<Value = SummaryDataPoint> {
    let quantiles = vec((double(), double()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value }), 0..3);
    (attributes(), (number(), number(), number()), double(), quantiles, any::<u32>()).prop_map(
        |(attributes, (start_time_unix_nano, time_unix_nano, count), sum, quantile_values, flags)| SummaryDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            count,
            sum,
            quantile_values,
            flags,
        },
    )
}

fn metric() -> impl Strategy<Value = Metric> {
    let data = prop_oneof![
        numbers().prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (numbers(), 0..3, any::<bool>()).prop_map(|(data_points, aggregation_temporality, is_monotonic)| {
            Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
        }),
        (vec(histogram(), 0..2), 0..3).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (vec(exponential(), 0..2), 0..3).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        vec(summary(), 0..2).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    (text(), text(), text(), option::of(data), attributes())
        .prop_map(|(name, description, unit, data, metadata)| Metric { name, description, unit, metadata, data })
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    let scope = (text(), attributes());
    option::of(scope.prop_map(|(name, attributes)| InstrumentationScope { name, attributes, ..Default::default() }))
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    option::of(attributes().prop_map(|attributes| Resource { attributes, ..Resource::default() }))
}

fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let scopes = (scope(), vec(metric(), 0..3), text()).prop_map(|(scope, metrics, schema_url)| ScopeMetrics {
        scope,
        metrics,
        schema_url,
    });
    let resources = (resource(), vec(scopes, 0..2), text())
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics { resource, scope_metrics, schema_url });
    vec(resources, 0..2).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}

fn span() -> impl Strategy<Value = Span> {
    let event = (number(), text(), attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    );
    let link = (id(16), id(8), text(), attributes(), any::<u32>(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    );
    let status = option::of((text(), 0..3).prop_map(|(message, code)| Status { message, code }));
    let ids = (id(16), id(8), id(8), text(), text());
    let figures = (0..6, number(), number(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    (ids, figures, attributes(), vec(event, 0..2), vec(link, 0..2), status).prop_map(
        |(ids, figures, attributes, events, links, status)| {
            let (trace_id, span_id, parent_span_id, trace_state, name) = ids;
            let (kind, start, end, flags, attributes_dropped, events_dropped, links_dropped) = figures;
            Span {
                trace_id,
                span_id,
                trace_state,
                parent_span_id,
                flags,
                name,
                kind,
                start_time_unix_nano: start,
                end_time_unix_nano: end,
                attributes,
                dropped_attributes_count: attributes_dropped,
                events,
                dropped_events_count: events_dropped,
                links,
                dropped_links_count: links_dropped,
                status,
            }
        },
    )
}

fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scopes = (scope(), vec(span(), 0..3), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    });
    let resources = (resource(), vec(scopes, 0..2), text())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(resources, 0..2).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn convert(export: Export, text: &str) -> Result<Converted, FromJsonError> {
    from_json_within(export, text.as_bytes(), &mut |_| true)
}

proptest! {
    /// Law: the JSON of metrics becomes the metrics, and nothing of it is malformed or unknown.
    #[test]
    fn the_json_of_metrics_becomes_the_metrics(request in metrics()) {
        let json = serde_json::to_string(&request).unwrap();
        let converted = convert(Export::Metrics, &json).unwrap();
        prop_assert_eq!((converted.malformed, converted.unknown), (0, 0), "{}", json);
        prop_assert_eq!(ExportMetricsServiceRequest::decode(&*converted.message).unwrap(), request, "{}", json);
        prop_assert!(converted.message.len() <= 5 * json.len());
    }

    /// The same of traces.
    #[test]
    fn the_json_of_traces_becomes_the_traces(request in traces()) {
        let json = serde_json::to_string(&request).unwrap();
        let converted = convert(Export::Traces, &json).unwrap();
        prop_assert_eq!((converted.malformed, converted.unknown), (0, 0), "{}", json);
        prop_assert_eq!(ExportTraceServiceRequest::decode(&*converted.message).unwrap(), request, "{}", json);
    }
}

/// Guarantee: names of enums are read, names that are no field are counted, malformed values affect nothing else, and a
/// signal of another path is recognised.
#[test]
fn names_of_enums_and_names_of_no_field() {
    let text = r#"{"resourceMetrics":[{"scope_metrics":[{"metrics":[{"name":"m","sum":{"isMonotonic":true,"color":1,
        "aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","data_points":[{"asInt":"5","asDouble":2.5,"count":{}}]}}]}]}]}"#;
    let converted = convert(Export::Metrics, text).unwrap();
    // Of two members of a oneof the last one counts.
    assert_eq!((converted.malformed, converted.unknown), (1, 2));
    let request = ExportMetricsServiceRequest::decode(&*converted.message).unwrap();
    let Some(Data::Sum(sum)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!() };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsDouble(2.5)));

    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_ERROR"},
        "traceId":"zz","events":{"name":"x"}}]}]}],"resourceLogs":[]}"#;
    let converted = convert(Export::Traces, text).unwrap();
    assert_eq!((converted.malformed, converted.unknown), (2, 1));
    let request = ExportTraceServiceRequest::decode(&*converted.message).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.kind, span.status.as_ref().unwrap().code), (2, 2));

    let refused = convert(Export::Traces, r#"{"resourceSpans":7}"#).unwrap_err();
    assert_eq!(refused, FromJsonError::Envelope { name: "resourceSpans", at: 17 });
}
