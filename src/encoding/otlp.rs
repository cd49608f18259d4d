//! OTLP logs as bytes: find the records of a batch, walk, tag, splice, split and render them; OTLP/JSON made such bytes.
//!
//! Messages and field numbers: `opentelemetry/proto/{collector/logs,logs,common}/v1` of opentelemetry-proto 1.x. The
//! envelope is `ExportLogsServiceRequest > ResourceLogs > ScopeLogs > LogRecord`; only an envelope that cannot be
//! walked is an error of the batch, an odd record is its own.

mod from_json;
mod render;
mod splice;
mod split;
mod tag;
mod value;
mod walk;

use std::ops::Range;

use super::wire::{Field, Fields, Malformed, Payload};

pub use from_json::{Converted, FromJsonError, from_json};
pub use render::render_record;
pub use splice::splice;
pub use split::{Layout, split};
pub use tag::{TagInto, tag_record};
pub use value::{encode_json, request_of};
pub use walk::{Document, OddRecord, RecordInfo, walk_record};

/// Field numbers of `opentelemetry-proto`.
pub(crate) mod field {
    /// `ExportLogsServiceRequest.resource_logs`.
    pub(crate) const RESOURCE_LOGS: u32 = 1;
    /// `ResourceLogs.scope_logs`.
    pub(crate) const SCOPE_LOGS: u32 = 2;
    /// `ScopeLogs.log_records`.
    pub(crate) const LOG_RECORDS: u32 = 2;
    /// `LogRecord.time_unix_nano`.
    pub(crate) const TIME: u32 = 1;
    /// `LogRecord.body`.
    pub(crate) const BODY: u32 = 5;
    /// `LogRecord.attributes`.
    pub(crate) const ATTRIBUTES: u32 = 6;
    /// `LogRecord.observed_time_unix_nano`.
    pub(crate) const OBSERVED_TIME: u32 = 11;
    /// `KeyValue.key`.
    pub(crate) const KEY: u32 = 1;
    /// `KeyValue.value`.
    pub(crate) const VALUE: u32 = 2;
    /// `AnyValue.string_value`.
    pub(crate) const STRING: u32 = 1;
    /// `AnyValue.bool_value`.
    pub(crate) const BOOL: u32 = 2;
    /// `AnyValue.int_value`.
    pub(crate) const INT: u32 = 3;
    /// `AnyValue.double_value`.
    pub(crate) const DOUBLE: u32 = 4;
    /// `AnyValue.array_value`.
    pub(crate) const ARRAY: u32 = 5;
    /// `AnyValue.kvlist_value`.
    pub(crate) const KVLIST: u32 = 6;
    /// `AnyValue.bytes_value`.
    pub(crate) const BYTES: u32 = 7;
    /// `ArrayValue.values` and `KeyValueList.values`.
    pub(crate) const VALUES: u32 = 1;
}

/// Why the envelope of a batch cannot be walked. Such a request can never succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A tag or length is wrong.
    #[error("the {message} at byte {at} of the request cannot be read: {cause}")]
    Malformed {
        /// Which message of the envelope.
        message: &'static str,
        /// Where that message starts in the batch.
        at: usize,
        /// What is wrong inside it.
        cause: Malformed,
    },
    /// A field that must be a message is something else.
    #[error("field {number} of the {message} at byte {at} of the request is no message; is this an OTLP logs request?")]
    NotAMessage {
        /// Which message of the envelope holds it.
        message: &'static str,
        /// Where that message starts in the batch.
        at: usize,
        /// The field's number.
        number: u32,
    },
    /// More bytes than a [`Span`] can address.
    #[error("the request has {length} bytes, 4 GiB is the most; lower the collector's batch size")]
    TooLarge {
        /// Its length.
        length: usize,
    },
}

/// Where a field of type message stands in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Where its tag starts.
    start: u32,
    /// Where its content starts.
    payload: u32,
    /// Where its content ends.
    end: u32,
}

impl Span {
    /// The message itself.
    #[inline]
    pub fn payload(self) -> Range<usize> {
        self.payload as usize..self.end as usize
    }

    /// The message with its tag and length.
    #[inline]
    pub fn framed(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Where one record stands in its batch, with the two messages around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordSpan {
    /// The `ResourceLogs` that holds it.
    pub resource_logs: Span,
    /// The `ScopeLogs` that holds it.
    pub scope_logs: Span,
    /// The `LogRecord`.
    pub record: Span,
}

/// Calls `each` for every log record of a batch (an `ExportLogsServiceRequest`), in order.
///
/// # Errors
/// When the envelope is not what OTLP says; records before the fault were reported by then and must be discarded.
pub fn records(batch: &[u8], mut each: impl FnMut(RecordSpan)) -> Result<(), EnvelopeError> {
    if u32::try_from(batch.len()).is_err() {
        return Err(EnvelopeError::TooLarge { length: batch.len() });
    }
    children(batch, 0, "ExportLogsServiceRequest", field::RESOURCE_LOGS, |logs, resource_logs| {
        children(logs, resource_logs.payload, "ResourceLogs", field::SCOPE_LOGS, |scope, scope_logs| {
            children(scope, scope_logs.payload, "ScopeLogs", field::LOG_RECORDS, |_, record| {
                each(RecordSpan { resource_logs, scope_logs, record });
                Ok(())
            })
        })
    })
}

/// Calls `each` for every field `number` of `message`, which starts at `base` in the batch.
#[inline]
fn children(
    message: &[u8],
    base: u32,
    name: &'static str,
    number: u32,
    mut each: impl FnMut(&[u8], Span) -> Result<(), EnvelopeError>,
) -> Result<(), EnvelopeError> {
    let at = base as usize;
    let mut fields = Fields::new(message);
    let malformed = |cause| EnvelopeError::Malformed { message: name, at, cause };
    while let Some(found) = fields.next_field().map_err(malformed)? {
        if found.number == number {
            let (content, span) =
                message_span(found, base).ok_or(EnvelopeError::NotAMessage { message: name, at, number })?;
            each(content, span)?;
        }
    }
    Ok(())
}

#[inline]
fn message_span(found: Field<'_>, base: u32) -> Option<(&[u8], Span)> {
    let Payload::Bytes(content) = found.payload else { return None };
    // invariant: the batch is shorter than 4 GiB, so every place in it fits 32 bits.
    let span = Span {
        start: base + found.start as u32,
        payload: base + (found.end - content.len()) as u32,
        end: base + found.end as u32,
    };
    Some((content, span))
}
