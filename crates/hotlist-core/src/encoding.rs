//! Encodings: reads the observables in the bytes of an event and splices tags into these bytes, without decoding the
//! rest.
//!
//! A batch stays the bytes that arrived. The walkers step through it with a [`PathTrie`](crate::schema::PathTrie) and
//! hand every wanted value to a [`Visitor`]; what the trie does not want is skipped by its length. Only the record that
//! hits is rewritten; a [`Rope`] carries it between slices of the bytes that arrived.

pub mod dialect;
pub mod envelope;
pub mod filter;
pub mod json;
pub mod lines;
pub mod otlp;
pub mod protocol;
pub mod rope;
pub mod tag;
pub mod transcode;
pub mod vector;
pub mod wire;

pub use dialect::MalformedRecord;
pub use envelope::{Envelope, EnvelopeError, RecordSpan};
pub use lines::{LineWriter, document_of};
pub use protocol::Protocol;
pub use rope::Rope;
pub use tag::{Inbound, TagOutcome, Tags};
pub use transcode::{transcode, transcode_parts};

use serde::Serialize;

use crate::schema::FieldId;

/// How the events of a batch are encoded: the protocol that they came by, or that a sink speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An OTLP `Export…ServiceRequest`; a record is a `LogRecord`.
    #[default]
    Otlp,
    /// A `vector.PushEventsRequest`; a record is an `EventWrapper`.
    Vector,
    /// A `hotlist.filter.v1.FilterRequest`; a record is a JSON document.
    Filter,
}

/// The signal of a record. Only logs are matched; metrics and traces pass untouched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Log records.
    #[default]
    Logs,
    /// Metrics.
    Metrics,
    /// Spans.
    Traces,
}

impl Signal {
    /// All of them.
    pub const ALL: [Signal; 3] = [Signal::Logs, Signal::Metrics, Signal::Traces];

    /// The word in metrics, logs and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
            Signal::Traces => "traces",
        }
    }

    /// The path of its one gRPC method, from `opentelemetry/proto/collector/*/v1/*_service.proto`.
    pub const fn export_path(self) -> &'static str {
        match self {
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        }
    }
}

impl Signal {
    /// The path of its requests over HTTP (OTLP specification, "OTLP/HTTP Request").
    pub const fn http_path(self) -> &'static str {
        match self {
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
            Signal::Traces => "/v1/traces",
        }
    }
}

/// The part of a record that takes the tags (`tag_into` of the configuration).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TagInto {
    /// The body if it is a document of its own, otherwise the fields next to it: the attributes of OTLP, the other fields
    /// of a Vector event.
    #[default]
    Auto,
    /// The body, JSON text included; the fields next to it if the body is not a document.
    Body,
    /// The fields next to the body.
    Attributes,
}

/// In which schema an event is tagged (`tag_as` of the configuration).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TagAs {
    /// In OCSF an event that has a number `class_uid` at its root, in ECS any other.
    #[default]
    Auto,
    /// In ECS.
    Ecs,
    /// In OCSF.
    Ocsf,
}

/// Whether hits are also written as flat values (`flat` of the configuration).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flat {
    /// Where hits become attributes of an OTLP record: many receivers flatten attributes, or store only texts and lists of
    /// texts.
    #[default]
    Auto,
    /// In every event that hits.
    On,
    /// Never.
    Off,
}

/// How hits are written into events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tagging {
    /// Where, in a record that has more than one place.
    pub into: TagInto,
    /// In which schema.
    pub form: TagAs,
    /// Whether as flat values, too.
    pub flat: Flat,
}

/// Where the event lives in its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Document {
    /// The body is a document of its own.
    Body,
    /// The body is a string (or bytes) that holds a JSON object.
    JsonBody,
    /// The attributes; the body is text or nothing.
    #[default]
    Attributes,
}

/// The report of a walk about a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordInfo {
    /// Its signal; only log records were visited.
    pub signal: Signal,
    /// When the event happened, in nanoseconds since 1970, 0 when unknown.
    pub time_unix_nano: u64,
    /// When the collector saw it, in nanoseconds since 1970, 0 when unknown.
    pub observed_time_unix_nano: u64,
    /// Where the event lives.
    pub document: Document,
    /// A wanted subtree lies deeper than [`MAX_DEPTH`] levels and was not visited.
    pub too_deep: bool,
    /// Something stands where Hotlist writes, so that it could pass as Hotlist's own: enrichments, or its word in `tags`.
    pub inbound: bool,
    /// The first thing that could not be read. What stands before it, and behind it as far as lengths allow, was visited.
    pub fault: Option<MalformedRecord>,
    /// A text of the record begins like a JSON document and is not one; what could be read of it was visited.
    pub malformed: Option<json::Malformation>,
}

/// How many levels of nesting a walker follows; deeper subtrees pass unvisited and are counted as malformed.
pub const MAX_DEPTH: usize = 128;

/// A scalar found at a field, borrowed from the event's bytes. Strings are bytes: they may be invalid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A string, unescaped, not necessarily UTF-8.
    Text(&'a [u8]),
    /// An integer that fits 64 bits.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// An instant.
    Time(jiff::Timestamp),
}

/// Receives what a walker finds. Arrays, arrays of objects and nested arrays are flattened: one call a scalar; nulls,
/// empty values and objects at a field that wants a scalar give no call.
pub trait Visitor {
    /// Whether the walker also hands over every string, wanted or not ([`Visitor::text`]), and where it stands. Known when
    /// the walker is compiled, so that a walk without texts does nothing for them.
    const TEXTS: bool = false;

    /// One scalar at `field`.
    fn value(&mut self, field: FieldId, value: Value<'_>);

    /// A string; if it is wanted, `value` was called before. Strings where Hotlist itself writes are left out.
    fn text(&mut self, _text: &[u8]) {}

    /// The walk goes to the value of a member.
    fn enter(&mut self, _key: &[u8]) {}

    /// The walk is back from it.
    fn leave(&mut self) {}
}

impl<F: FnMut(FieldId, Value<'_>)> Visitor for F {
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        self(field, value);
    }
}
