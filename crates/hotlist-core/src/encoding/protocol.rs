//! The interface between the match path, the sinks and the records of each protocol.

use bytes::Bytes;

use super::{
    Envelope, EnvelopeError, Format, MalformedRecord, RecordInfo, Signal, TagOutcome, Tags, Visitor, envelope, json,
    otlp, vector,
};
use crate::schema::PathTrie;

/// One protocol: what is around its records, and what can be done with a record.
pub trait Protocol {
    /// The envelope of the records.
    const ENVELOPE: Envelope;
    /// Whether a record is a JSON document itself, so that a malformed one is a malformed record.
    const IS_DOCUMENT: bool = false;

    /// Visits every scalar of the record that `trie` wants, and that can be read.
    ///
    /// # Errors
    /// Nothing of the record can be read, and nothing was visited.
    fn walk(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, MalformedRecord>;

    /// Visits what the outer group of records says of all of them, and that `trie` wants: the resource of OTLP.
    fn walk_group(_group: &[u8], _trie: &PathTrie, _visitor: &mut impl Visitor) {}

    /// The record with tags, by the rules of [`crate::encoding::tag`].
    ///
    /// # Errors
    /// Nothing can be added to the record.
    fn tag(record: &[u8], tags: &Tags<'_>) -> Result<(Vec<u8>, TagOutcome), MalformedRecord>;
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
    fn walk(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, MalformedRecord> {
        Ok(otlp::walk_record(record, trie, visitor))
    }

    fn walk_group(group: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) {
        otlp::walk_resource(group, trie, visitor);
    }

    fn tag(record: &[u8], tags: &Tags<'_>) -> Result<(Vec<u8>, TagOutcome), MalformedRecord> {
        Ok(otlp::tag_record(record, tags))
    }
}

impl Protocol for Vector {
    const ENVELOPE: Envelope = envelope::VECTOR;

    #[inline]
    fn walk(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, MalformedRecord> {
        vector::walk_record(record, trie, visitor)
    }

    fn tag(record: &[u8], tags: &Tags<'_>) -> Result<(Vec<u8>, TagOutcome), MalformedRecord> {
        vector::tag_record(record, tags)
    }
}

impl Protocol for Documents {
    const ENVELOPE: Envelope = envelope::FILTER;
    const IS_DOCUMENT: bool = true;

    #[inline]
    fn walk(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, MalformedRecord> {
        let json::Walked { too_deep, inbound, malformed } = json::read(record, trie, visitor)?;
        Ok(RecordInfo { too_deep, inbound, malformed, ..RecordInfo::default() })
    }

    fn tag(record: &[u8], tags: &Tags<'_>) -> Result<(Vec<u8>, TagOutcome), MalformedRecord> {
        Ok(json::tag(record, tags)?)
    }
}

impl Format {
    /// The envelope of its records.
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

    /// The signal of a record. A record that cannot be read counts as a log record.
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
