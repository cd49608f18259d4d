//! One message after matching.

use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::{EnvelopeError, Format, Rope, Signal};
use crate::work::Stop;

/// A message after matching, as [`super::Detector::batch`] returns it.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    /// The encoding of the message.
    pub format: Format,
    /// The received bytes, with changed records rewritten.
    pub message: Rope,
    /// Number of log records in the message.
    pub records: usize,
    /// Events in the message that are not log records. They pass unchanged.
    pub others: Others,
    /// The records that hit, tagged, in order.
    pub hits: Vec<Tagged>,
    /// The records that did not hit and were changed all the same, in order: enrichments that they arrived with are marked
    /// or removed.
    pub marked: Vec<Tagged>,
    /// The places of the records of which something could not be read, ascending.
    pub odd: Vec<usize>,
    /// The name of the snapshot that judged it.
    pub snapshot: Arc<str>,
}

/// How many events of a message are not log records, where the format mixes them (Vector: metrics and traces).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Metrics.
    pub metrics: usize,
    /// Traces.
    pub traces: usize,
}

impl Others {
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
        self == Others::default()
    }
}

/// A record that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// Its place among all records of the message, from 0.
    pub place: usize,
    /// Its bytes in the format of the batch; the received bytes if the record cannot hold tags.
    pub record: Bytes,
}

/// Why matching a message failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// The messages around its records cannot be read: a retry cannot succeed.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There is no memory, or the client disconnected.
    #[error(transparent)]
    Stop(#[from] Stop),
}
