//! One message after matching.

use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::{EnvelopeError, Format, Rope, Signal};
use crate::intel::allowlist::Listing;
use crate::matcher::Hit;
use crate::policy::EventFacts;
use crate::work::StopReason;

/// A message after matching, as [`super::Detector::batch`] returns it; or one that was not matched.
#[derive(Clone, Debug, Default)]
pub struct MatchedMessage {
    /// The encoding of the message.
    pub format: Format,
    /// The received bytes, with changed records rewritten.
    pub message: Rope,
    /// Number of log records in the message.
    pub records: usize,
    /// Events in the message that are not log records. They pass unchanged.
    pub others: NonLogEvents,
    /// The records that hit, tagged, in order.
    pub hits: Vec<HitRecord>,
    /// The records that did not hit but were changed, in order: enrichments that they arrived with are marked
    /// or removed.
    pub marked: Vec<ChangedRecord>,
    /// The places of records that were read only in part, ascending.
    pub malformed: Vec<usize>,
    /// The name of the snapshot that matched the message; empty if it was not matched.
    pub snapshot: Arc<str>,
}

impl MatchedMessage {
    /// Creates a message that was not matched.
    ///
    /// # Errors
    /// The envelope cannot be walked.
    pub fn unmatched(format: Format, message: Bytes) -> Result<MatchedMessage, EnvelopeError> {
        let mut unmatched = MatchedMessage { format, ..MatchedMessage::default() };
        format.envelope().records(&message, |span| match format.signal(&message[span.record.payload()]) {
            Signal::Logs => unmatched.records += 1,
            other => unmatched.others.add(other),
        })?;
        unmatched.message = Rope::from(message);
        Ok(unmatched)
    }
}

/// How many events of a message are not log records, where the format mixes them (Vector: metrics and traces).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NonLogEvents {
    /// Metrics.
    pub metrics: usize,
    /// Traces.
    pub traces: usize,
}

impl NonLogEvents {
    /// Counts an event; log records are not counted.
    #[inline]
    pub fn add(&mut self, signal: Signal) {
        match signal {
            Signal::Logs => {}
            Signal::Metrics => self.metrics += 1,
            Signal::Traces => self.traces += 1,
        }
    }

    /// The number of these events.
    pub fn count(self) -> usize {
        self.metrics + self.traces
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self == NonLogEvents::default()
    }
}

/// A record that hit.
#[derive(Clone, Debug, Default)]
pub struct HitRecord {
    /// Its place among all records of the message, from 0.
    pub place: usize,
    /// Its bytes in the format of the batch; the received bytes if the record cannot hold tags.
    pub record: Bytes,
    /// The findings in it that count, in the order of the walk. Only the best of them, or none, if there was no
    /// memory for all; [`Budget::CarriedHits`](super::Budget::CarriedHits) counts such records.
    pub hits: Box<[Hit]>,
    /// The allowlists that hold the value of each of `hits` without suppressing it; empty if there are none.
    pub listings: Vec<Vec<Listing>>,
    /// The facts of the event that policy used.
    pub facts: EventFacts,
}

/// A record that was changed without a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedRecord {
    /// Its place among all records of the message, from 0.
    pub place: usize,
    /// Its bytes in the format of the batch.
    pub record: Bytes,
}

/// The reason that matching a message failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// The messages around its records cannot be read: a retry cannot succeed.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There is no memory, or the client disconnected.
    #[error(transparent)]
    Stop(#[from] StopReason),
}
