//! What the match path and the sinks need of a record, whatever its protocol.

use bytes::Bytes;
use serde_json::Value;

use super::{
    Envelope, EnvelopeError, Format, OddRecord, RecordInfo, Signal, TagInto, TagOutcome, Visitor, envelope, json, otlp,
    vector,
};
use crate::fields::PathTrie;

/// One protocol: what is around its records, and what can be done with a record.
pub trait Protocol {
    /// What is around the records.
    const ENVELOPE: Envelope;

    /// Visits every scalar of the record that `trie` wants.
    ///
    /// # Errors
    /// The record is odd: what was visited must be discarded, and the record passes as it is.
    fn walk(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, OddRecord>;

    /// The record with `enrichments` and `tag_word`, by the rules of [`crate::encoding::tag`].
    ///
    /// # Errors
    /// The record is odd, and passes as it is.
    fn tag(
        record: &[u8],
        into: TagInto,
        enrichments: &[Value],
        tag_word: &str,
    ) -> Result<(Vec<u8>, TagOutcome), OddRecord>;
}

/// OTLP: a record is a `LogRecord`.
#[derive(Clone, Copy, Debug)]
pub enum Otlp {}

/// Vector's own: a record is an `EventWrapper`.
#[derive(Clone, Copy, Debug)]
pub enum Vector {}

/// The Filter stream's: a record is a JSON document.
#[derive(Clone, Copy, Debug)]
pub enum Documents {}

impl Protocol for Otlp {
    const ENVELOPE: Envelope = envelope::OTLP;

    #[inline]
    fn walk(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, OddRecord> {
        otlp::walk_record(record, trie, visitor)
    }

    fn tag(record: &[u8], into: TagInto, new: &[Value], word: &str) -> Result<(Vec<u8>, TagOutcome), OddRecord> {
        otlp::tag_record(record, into, new, word)
    }
}

impl Protocol for Vector {
    const ENVELOPE: Envelope = envelope::VECTOR;

    #[inline]
    fn walk(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, OddRecord> {
        vector::walk_record(record, trie, visitor)
    }

    fn tag(record: &[u8], into: TagInto, new: &[Value], word: &str) -> Result<(Vec<u8>, TagOutcome), OddRecord> {
        vector::tag_record(record, into, new, word)
    }
}

impl Protocol for Documents {
    const ENVELOPE: Envelope = envelope::FILTER;

    #[inline]
    fn walk(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, OddRecord> {
        let json::Walked { too_deep } = json::walk(record, trie, visitor)?;
        Ok(RecordInfo { too_deep, ..RecordInfo::default() })
    }

    fn tag(record: &[u8], _: TagInto, new: &[Value], word: &str) -> Result<(Vec<u8>, TagOutcome), OddRecord> {
        Ok(json::tag(record, new, word)?)
    }
}

impl Format {
    /// What is around its records.
    pub fn envelope(self) -> Envelope {
        match self {
            Format::Otlp => envelope::OTLP,
            Format::Vector => envelope::VECTOR,
            Format::Filter => envelope::FILTER,
        }
    }

    /// The records of a batch, in order.
    ///
    /// # Errors
    /// The envelope cannot be walked.
    pub fn records(self, batch: &Bytes) -> Result<Vec<Bytes>, EnvelopeError> {
        let mut records = Vec::new();
        self.envelope().records(batch, |span| records.push(batch.slice(span.record.payload())))?;
        Ok(records)
    }

    /// What a record carries. One that cannot be read counts as a log record.
    pub fn signal(self, record: &[u8]) -> Signal {
        match self {
            Format::Vector => vector::signal(record),
            Format::Otlp | Format::Filter => Signal::Logs,
        }
    }

    /// A log record as one line of JSON, without the line's end.
    pub fn render_record(self, record: &[u8]) -> Vec<u8> {
        match self {
            Format::Otlp => otlp::render_record(record),
            Format::Vector => vector::render_record(record),
            Format::Filter => json::one_line(record).unwrap_or_else(|| json::unreadable(record)),
        }
    }
}
