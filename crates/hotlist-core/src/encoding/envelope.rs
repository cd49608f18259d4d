//! The envelope of a batch: the messages around its records, walked and never decoded.
//!
//! The differences between protocols are data ([`Envelope`]): how many messages stand around a record, and at which
//! field
//! numbers. Finding records, putting rewritten ones back (`splice`) and making requests of some of them (`split`) are
//! the same for all.

mod layout;
mod splice;
mod split;

use std::ops::Range;

use super::wire::{Field, Fields, Malformed, Payload};

pub use layout::{Extent, Layout};
pub use split::{MAX_REPETITION, SplitRequests};

/// The messages around the records of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The name of such a request in errors.
    protocol: &'static str,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shape {
    /// The request holds the records.
    Flat([Level; 1]),
    /// A request holds groups, these hold groups, and those hold the records.
    Nested([Level; 3]),
}

/// One message of an envelope, and the field in which it holds those of the next level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Level {
    message: &'static str,
    number: u32,
}

/// `ExportLogsServiceRequest > ResourceLogs > ScopeLogs > LogRecord` (`opentelemetry/proto/collector/logs/v1` and
/// `logs/v1`). Metrics and traces have the same shape, field numbers included.
pub const OTLP: Envelope = Envelope {
    protocol: "OTLP logs",
    shape: Shape::Nested([
        Level { message: "ExportLogsServiceRequest", number: 1 },
        Level { message: "ResourceLogs", number: 2 },
        Level { message: "ScopeLogs", number: 2 },
    ]),
};

/// `PushEventsRequest > EventWrapper` of Vector's own protocol.
pub const VECTOR: Envelope =
    Envelope { protocol: "Vector", shape: Shape::Flat([Level { message: "PushEventsRequest", number: 1 }]) };

/// `FilterRequest.events`.
pub(crate) const FILTER_EVENTS: u32 = 2;

/// `FilterRequest > document` of `proto/hotlist/filter/v1`.
pub const FILTER: Envelope =
    Envelope { protocol: "Filter", shape: Shape::Flat([Level { message: "FilterRequest", number: FILTER_EVENTS }]) };

/// The reason that the envelope of a batch cannot be walked. Such a request can never succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A tag or length is wrong.
    #[error("the {message} at byte {at} of the request cannot be read: {cause}")]
    Malformed {
        /// The message of the envelope.
        message: &'static str,
        /// Where that message starts in the batch.
        at: usize,
        /// The fault inside it.
        cause: Malformed,
    },
    /// A field that must be a message is something else.
    #[error(
        "field {number} of the {message} at byte {at} of the request is not a message; is this a request of {protocol}?"
    )]
    NotAMessage {
        /// The message of the envelope that holds it.
        message: &'static str,
        /// Where that message starts in the batch.
        at: usize,
        /// The field's number.
        number: u32,
        /// Whose envelope was expected.
        protocol: &'static str,
    },
    /// More bytes than a [`Span`] can address.
    #[error("the request has {length} bytes, 4 GiB is the most; lower the collector's batch size")]
    TooLarge {
        /// Its length.
        length: usize,
    },
}

/// Where a field of type message stands in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

/// Where one record stands in its batch, with the messages around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordSpan {
    /// The groups that hold it, the outer one first; not used in a flat envelope.
    groups: [Span; 2],
    /// The record.
    pub record: Span,
}

impl RecordSpan {
    /// The outer group that holds it, the resource of OTLP; empty in a flat envelope.
    pub fn group(&self) -> Span {
        self.groups[0]
    }

    /// The groups that hold it, the outer one first; of a nested envelope.
    pub(crate) fn groups(&self) -> [Span; 2] {
        self.groups
    }
}

impl Envelope {
    /// Calls `each` for every record of a batch, in order.
    ///
    /// # Errors
    /// When the envelope is not what the protocol says; records before the fault were reported by then and must be
    /// discarded.
    #[inline]
    pub fn records(&self, batch: &[u8], mut each: impl FnMut(RecordSpan)) -> Result<(), EnvelopeError> {
        self.try_records(batch, |span| {
            each(span);
            Ok(())
        })
    }

    /// The same with a call that can end the walk.
    ///
    /// # Errors
    /// As [`Envelope::records`], or what `each` returns.
    #[inline]
    pub fn try_records<E: From<EnvelopeError>>(
        &self,
        batch: &[u8],
        mut each: impl FnMut(RecordSpan) -> Result<(), E>,
    ) -> Result<(), E> {
        if u32::try_from(batch.len()).is_err() {
            return Err(EnvelopeError::TooLarge { length: batch.len() }.into());
        }
        match self.shape {
            Shape::Flat([request]) => {
                self.children(batch, 0, request, |_, record| each(RecordSpan { groups: Default::default(), record }))
            }
            Shape::Nested([request, group, inner]) => self.children(batch, 0, request, |content, outer_span| {
                self.children(content, outer_span.payload, group, |content, inner_span| {
                    self.children(content, inner_span.payload, inner, |_, record| {
                        each(RecordSpan { groups: [outer_span, inner_span], record })
                    })
                })
            }),
        }
    }

    fn levels(&self) -> &[Level] {
        match &self.shape {
            Shape::Flat(levels) => levels,
            Shape::Nested(levels) => levels,
        }
    }

    /// The message that a level holds on the way to a record: a group, or the record itself.
    fn held(&self, span: &RecordSpan, level: usize) -> Span {
        if level + 1 == self.levels().len() { span.record } else { span.groups.get(level).copied().unwrap_or_default() }
    }

    /// Calls `each` for every message that `message`, which starts at `base` in the batch, holds for the next level.
    #[inline]
    fn children<E: From<EnvelopeError>>(
        &self,
        message: &[u8],
        base: u32,
        level: Level,
        mut each: impl FnMut(&[u8], Span) -> Result<(), E>,
    ) -> Result<(), E> {
        let at = base as usize;
        let mut fields = Fields::new(message);
        let malformed = |cause| EnvelopeError::Malformed { message: level.message, at, cause };
        while let Some(found) = fields.next_field().map_err(malformed)? {
            if found.number == level.number {
                let (content, span) = message_span(found, base).ok_or(EnvelopeError::NotAMessage {
                    message: level.message,
                    at,
                    number: level.number,
                    protocol: self.protocol,
                })?;
                each(content, span)?;
            }
        }
        Ok(())
    }
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
