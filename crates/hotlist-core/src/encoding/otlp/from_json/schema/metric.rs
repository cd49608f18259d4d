//! The messages of OTLP metrics: `opentelemetry/proto/{collector/metrics,metrics}/v1` of opentelemetry-proto 1.x.

use super::{KEY_VALUE, Kind, Message, RESOURCE, SCOPE, choice, envelope, optional, repeated, single};

/// `ExportMetricsServiceRequest`.
pub(in crate::encoding::otlp::from_json) static REQUEST: Message =
    Message { fields: &[envelope("resourceMetrics", 1, &RESOURCE_METRICS)], text_at: &[] };

static RESOURCE_METRICS: Message = Message {
    fields: &[
        single("resource", 1, Kind::Message(&RESOURCE)),
        envelope("scopeMetrics", 2, &SCOPE_METRICS),
        single("schemaUrl", 3, Kind::Text),
    ],
    text_at: &[],
};

static SCOPE_METRICS: Message = Message {
    fields: &[
        single("scope", 1, Kind::Message(&SCOPE)),
        envelope("metrics", 2, &METRIC),
        single("schemaUrl", 3, Kind::Text),
    ],
    text_at: &[],
};

static METRIC: Message = Message {
    fields: &[
        single("name", 1, Kind::Text),
        single("description", 2, Kind::Text),
        single("unit", 3, Kind::Text),
        choice("gauge", 5, Kind::Message(&GAUGE)),
        choice("sum", 7, Kind::Message(&SUM)),
        choice("histogram", 9, Kind::Message(&HISTOGRAM)),
        choice("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        choice("summary", 11, Kind::Message(&SUMMARY)),
        repeated("metadata", 12, Kind::Message(&KEY_VALUE)),
    ],
    text_at: &[],
};

static GAUGE: Message =
    Message { fields: &[repeated("dataPoints", 1, Kind::Message(&NUMBER_DATA_POINT))], text_at: &[] };

static SUM: Message = Message {
    fields: &[
        repeated("dataPoints", 1, Kind::Message(&NUMBER_DATA_POINT)),
        single("aggregationTemporality", 2, Kind::Enum(temporality)),
        single("isMonotonic", 3, Kind::Bool),
    ],
    text_at: &[],
};

static HISTOGRAM: Message = Message {
    fields: &[
        repeated("dataPoints", 1, Kind::Message(&HISTOGRAM_DATA_POINT)),
        single("aggregationTemporality", 2, Kind::Enum(temporality)),
    ],
    text_at: &[],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    fields: &[
        repeated("dataPoints", 1, Kind::Message(&EXPONENTIAL_HISTOGRAM_DATA_POINT)),
        single("aggregationTemporality", 2, Kind::Enum(temporality)),
    ],
    text_at: &[],
};

static SUMMARY: Message =
    Message { fields: &[repeated("dataPoints", 1, Kind::Message(&SUMMARY_DATA_POINT))], text_at: &[] };

static NUMBER_DATA_POINT: Message = Message {
    fields: &[
        repeated("attributes", 7, Kind::Message(&KEY_VALUE)),
        single("startTimeUnixNano", 2, Kind::Fixed64),
        single("timeUnixNano", 3, Kind::Fixed64),
        choice("asDouble", 4, Kind::Double),
        choice("asInt", 6, Kind::Sfixed64),
        repeated("exemplars", 5, Kind::Message(&EXEMPLAR)),
        single("flags", 8, Kind::Uint32),
    ],
    text_at: &[],
};

static HISTOGRAM_DATA_POINT: Message = Message {
    fields: &[
        repeated("attributes", 9, Kind::Message(&KEY_VALUE)),
        single("startTimeUnixNano", 2, Kind::Fixed64),
        single("timeUnixNano", 3, Kind::Fixed64),
        single("count", 4, Kind::Fixed64),
        optional("sum", 5, Kind::Double),
        repeated("bucketCounts", 6, Kind::Fixed64),
        repeated("explicitBounds", 7, Kind::Double),
        repeated("exemplars", 8, Kind::Message(&EXEMPLAR)),
        single("flags", 10, Kind::Uint32),
        optional("min", 11, Kind::Double),
        optional("max", 12, Kind::Double),
    ],
    text_at: &[],
};

static EXPONENTIAL_HISTOGRAM_DATA_POINT: Message = Message {
    fields: &[
        repeated("attributes", 1, Kind::Message(&KEY_VALUE)),
        single("startTimeUnixNano", 2, Kind::Fixed64),
        single("timeUnixNano", 3, Kind::Fixed64),
        single("count", 4, Kind::Fixed64),
        optional("sum", 5, Kind::Double),
        single("scale", 6, Kind::Sint32),
        single("zeroCount", 7, Kind::Fixed64),
        single("positive", 8, Kind::Message(&BUCKETS)),
        single("negative", 9, Kind::Message(&BUCKETS)),
        single("flags", 10, Kind::Uint32),
        repeated("exemplars", 11, Kind::Message(&EXEMPLAR)),
        optional("min", 12, Kind::Double),
        optional("max", 13, Kind::Double),
        single("zeroThreshold", 14, Kind::Double),
    ],
    text_at: &[],
};

static BUCKETS: Message =
    Message { fields: &[single("offset", 1, Kind::Sint32), repeated("bucketCounts", 2, Kind::Uint64)], text_at: &[] };

static SUMMARY_DATA_POINT: Message = Message {
    fields: &[
        repeated("attributes", 7, Kind::Message(&KEY_VALUE)),
        single("startTimeUnixNano", 2, Kind::Fixed64),
        single("timeUnixNano", 3, Kind::Fixed64),
        single("count", 4, Kind::Fixed64),
        single("sum", 5, Kind::Double),
        repeated("quantileValues", 6, Kind::Message(&VALUE_AT_QUANTILE)),
        single("flags", 8, Kind::Uint32),
    ],
    text_at: &[],
};

static VALUE_AT_QUANTILE: Message =
    Message { fields: &[single("quantile", 1, Kind::Double), single("value", 2, Kind::Double)], text_at: &[] };

static EXEMPLAR: Message = Message {
    fields: &[
        repeated("filteredAttributes", 7, Kind::Message(&KEY_VALUE)),
        single("timeUnixNano", 2, Kind::Fixed64),
        choice("asDouble", 3, Kind::Double),
        choice("asInt", 6, Kind::Sfixed64),
        single("spanId", 4, Kind::Hex(8)),
        single("traceId", 5, Kind::Hex(16)),
    ],
    text_at: &[],
};

/// `AggregationTemporality`.
fn temporality(name: &str) -> Option<i32> {
    match name {
        "AGGREGATION_TEMPORALITY_UNSPECIFIED" => Some(0),
        "AGGREGATION_TEMPORALITY_DELTA" => Some(1),
        "AGGREGATION_TEMPORALITY_CUMULATIVE" => Some(2),
        _ => None,
    }
}

#[cfg(test)]
pub(super) static ALL: [&Message; 16] = [
    &REQUEST,
    &RESOURCE_METRICS,
    &SCOPE_METRICS,
    &METRIC,
    &GAUGE,
    &SUM,
    &HISTOGRAM,
    &EXPONENTIAL_HISTOGRAM,
    &SUMMARY,
    &NUMBER_DATA_POINT,
    &HISTOGRAM_DATA_POINT,
    &EXPONENTIAL_HISTOGRAM_DATA_POINT,
    &BUCKETS,
    &SUMMARY_DATA_POINT,
    &VALUE_AT_QUANTILE,
    &EXEMPLAR,
];
