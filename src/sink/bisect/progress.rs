//! The progress of the searches in the messages of one batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RefusalReason;

/// The progress for each message of a batch, by its number.
pub(super) type MessageProgress = BTreeMap<usize, SearchProgress>;

/// Identifies the deliveries of one batch: its bytes, and everything else that distinguishes its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeliveryKey {
    len: usize,
    digest: [u8; 32],
}

/// The progress of the search in one message. Places are those of the message's records.
#[derive(Clone, Debug, Default)]
pub(super) struct SearchProgress {
    /// Pieces without a verdict; each is one request.
    open: BTreeMap<u64, Vec<u32>>,
    next: u64,
    /// Records that were refused alone.
    refused: Vec<(u32, Arc<RefusalReason>)>,
    /// A record that was accepted.
    accepted: Option<u32>,
}

impl DeliveryKey {
    pub(super) fn new(len: usize, digest: [u8; 32]) -> DeliveryKey {
        DeliveryKey { len, digest }
    }

    /// The length of the batch in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl SearchProgress {
    /// Whether each record has a verdict, and none was refused.
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty() && self.refused.is_empty()
    }

    /// Reopens the refused records, each as a piece of its own.
    pub(super) fn reopen(&mut self) {
        for (place, _) in std::mem::take(&mut self.refused) {
            self.open(vec![place]);
        }
    }

    /// Adds a piece, and returns its number.
    pub(super) fn open(&mut self, places: Vec<u32>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, places);
        number
    }

    /// The pieces without a verdict.
    pub(super) fn pieces(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    pub(super) fn places(&self, piece: u64) -> Vec<u32> {
        self.open.get(&piece).cloned().unwrap_or_default()
    }

    /// Records that a piece was accepted.
    pub(super) fn accept(&mut self, piece: u64) {
        if let Some(places) = self.open.remove(&piece) {
            self.accepted = places.first().copied().or(self.accepted);
        }
    }

    /// Records that a piece was refused and cannot be split.
    pub(super) fn refuse(&mut self, piece: u64, reason: Arc<RefusalReason>) {
        for place in self.open.remove(&piece).unwrap_or_default() {
            self.refused.push((place, Arc::clone(&reason)));
        }
    }

    /// Replaces a refused piece by its parts, and returns their numbers.
    pub(super) fn cut(&mut self, piece: u64, parts: impl IntoIterator<Item = Vec<u32>>) -> Vec<u64> {
        self.open.remove(&piece);
        parts.into_iter().map(|part| self.open(part)).collect()
    }

    /// The records that were refused alone.
    pub(super) fn refused(&self) -> &[(u32, Arc<RefusalReason>)] {
        &self.refused
    }

    /// A record that was accepted.
    pub(super) fn accepted(&self) -> Option<u32> {
        self.accepted
    }

    /// The number of records that it lists.
    pub(super) fn weight(&self) -> usize {
        self.open.values().map(Vec::len).sum::<usize>() + self.refused.len() + 1
    }
}
