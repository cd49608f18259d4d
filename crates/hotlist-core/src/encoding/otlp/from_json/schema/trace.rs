//! The messages of OTLP traces: `opentelemetry/proto/{collector/trace,trace}/v1` of opentelemetry-proto 1.x.

use super::{KEY_VALUE, Kind, Message, RESOURCE, SCOPE, envelope, repeated, single};

/// `ExportTraceServiceRequest`.
pub(in crate::encoding::otlp::from_json) static REQUEST: Message =
    Message { fields: &[envelope("resourceSpans", 1, &RESOURCE_SPANS)], text_at: &[] };

static RESOURCE_SPANS: Message = Message {
    fields: &[
        single("resource", 1, Kind::Message(&RESOURCE)),
        envelope("scopeSpans", 2, &SCOPE_SPANS),
        single("schemaUrl", 3, Kind::Text),
    ],
    text_at: &[],
};

static SCOPE_SPANS: Message = Message {
    fields: &[
        single("scope", 1, Kind::Message(&SCOPE)),
        envelope("spans", 2, &SPAN),
        single("schemaUrl", 3, Kind::Text),
    ],
    text_at: &[],
};

static SPAN: Message = Message {
    fields: &[
        single("traceId", 1, Kind::Hex(16)),
        single("spanId", 2, Kind::Hex(8)),
        single("traceState", 3, Kind::Text),
        single("parentSpanId", 4, Kind::Hex(8)),
        single("flags", 16, Kind::Fixed32),
        single("name", 5, Kind::Text),
        single("kind", 6, Kind::Enum(kind)),
        single("startTimeUnixNano", 7, Kind::Fixed64),
        single("endTimeUnixNano", 8, Kind::Fixed64),
        repeated("attributes", 9, Kind::Message(&KEY_VALUE)),
        single("droppedAttributesCount", 10, Kind::Uint32),
        repeated("events", 11, Kind::Message(&EVENT)),
        single("droppedEventsCount", 12, Kind::Uint32),
        repeated("links", 13, Kind::Message(&LINK)),
        single("droppedLinksCount", 14, Kind::Uint32),
        single("status", 15, Kind::Message(&STATUS)),
    ],
    text_at: &[],
};

static EVENT: Message = Message {
    fields: &[
        single("timeUnixNano", 1, Kind::Fixed64),
        single("name", 2, Kind::Text),
        repeated("attributes", 3, Kind::Message(&KEY_VALUE)),
        single("droppedAttributesCount", 4, Kind::Uint32),
    ],
    text_at: &[],
};

static LINK: Message = Message {
    fields: &[
        single("traceId", 1, Kind::Hex(16)),
        single("spanId", 2, Kind::Hex(8)),
        single("traceState", 3, Kind::Text),
        repeated("attributes", 4, Kind::Message(&KEY_VALUE)),
        single("droppedAttributesCount", 5, Kind::Uint32),
        single("flags", 6, Kind::Fixed32),
    ],
    text_at: &[],
};

static STATUS: Message =
    Message { fields: &[single("message", 2, Kind::Text), single("code", 3, Kind::Enum(code))], text_at: &[] };

/// `Span.SpanKind`.
fn kind(name: &str) -> Option<i32> {
    match name {
        "SPAN_KIND_UNSPECIFIED" => Some(0),
        "SPAN_KIND_INTERNAL" => Some(1),
        "SPAN_KIND_SERVER" => Some(2),
        "SPAN_KIND_CLIENT" => Some(3),
        "SPAN_KIND_PRODUCER" => Some(4),
        "SPAN_KIND_CONSUMER" => Some(5),
        _ => None,
    }
}

/// `Status.StatusCode`.
fn code(name: &str) -> Option<i32> {
    match name {
        "STATUS_CODE_UNSET" => Some(0),
        "STATUS_CODE_OK" => Some(1),
        "STATUS_CODE_ERROR" => Some(2),
        _ => None,
    }
}

#[cfg(test)]
pub(super) static ALL: [&Message; 7] = [&REQUEST, &RESOURCE_SPANS, &SCOPE_SPANS, &SPAN, &EVENT, &LINK, &STATUS];
