//! Encodings: walk observables out of an event's bytes, and splice tags into them, without decoding the rest.
//!
//! A batch stays the bytes that arrived. The walkers step through it with a [`PathTrie`](crate::fields::PathTrie) and
//! hand every wanted value to a [`Visitor`]; what the trie does not want is skipped by its length. Only the record that
//! hits is rewritten; a [`Rope`] carries it between slices of the bytes that arrived.

pub mod filter;
pub mod json;
pub mod otlp;
pub mod rope;
pub mod tag;
pub mod wire;

pub use rope::Rope;
pub use tag::TagOutcome;

use crate::fields::FieldId;

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

/// How many levels of nesting a walker follows; deeper subtrees pass unvisited and are counted as odd.
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
}

/// Receives what a walker finds. Arrays, arrays of objects and nested arrays are flattened: one call a scalar; nulls,
/// empty values and objects at a field that wants a scalar give no call.
pub trait Visitor {
    /// One scalar at `field`.
    fn value(&mut self, field: FieldId, value: Value<'_>);
}

impl<F: FnMut(FieldId, Value<'_>)> Visitor for F {
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        self(field, value);
    }
}
