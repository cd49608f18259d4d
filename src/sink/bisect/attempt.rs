//! One delivery of one batch, and the progress of the searches in its messages.
//!
//! A delivery that the deadline, the request limit or the client ends early is handed to the sink's memory, and a retry
//! of the same bytes with the same metadata continues it: otherwise a slow next hop would make the collector retry
//! forever. Only one retry continues it, so that each acknowledgement has its own delivery of each record, or its own
//! line in the file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::{RefusalReason, SearchMemory};
use crate::encoding::Rope;
use crate::sink::blocking::blocking;

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

/// One delivery of one batch.
#[derive(Debug)]
pub(in crate::sink) struct DeliveryAttempt {
    memory: Arc<SearchMemory>,
    message: Rope,
    /// What distinguishes the requests in addition to their message.
    context: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Computed once a message is searched; without a search there is nothing worth keeping.
    key: Option<DeliveryKey>,
    parts: MessageProgress,
}

impl DeliveryAttempt {
    /// Starts a delivery of a batch, or continues an earlier one of the same batch. `method` and the values of
    /// `forwarded` headers distinguish batches of equal bytes.
    pub(in crate::sink) async fn begin(
        memory: &Arc<SearchMemory>,
        message: &Rope,
        method: &str,
        headers: &HeaderMap,
        forwarded: &[HeaderName],
    ) -> Result<DeliveryAttempt, String> {
        let mut context = method.as_bytes().to_vec();
        for name in forwarded {
            for value in headers.get_all(name) {
                for text in [name.as_str().as_bytes(), value.as_bytes()] {
                    context.extend_from_slice(&(text.len() as u64).to_le_bytes());
                    context.extend_from_slice(text);
                }
            }
        }
        let state = Mutex::default();
        let attempt = DeliveryAttempt { memory: Arc::clone(memory), message: message.clone(), context, state };
        if memory.may_know(message.len()) {
            let key = attempt.identify().await?;
            if let Some(parts) = memory.take(&key) {
                attempt.state().parts = parts;
            }
        }
        Ok(attempt)
    }

    /// Ends a complete delivery: nothing is kept.
    pub(in crate::sink) fn finish(self) {
        self.forget();
    }

    /// Discards all progress.
    pub(super) fn forget(&self) {
        self.state().parts.clear();
    }

    /// Records that the next hop accepted a whole message.
    pub(in crate::sink) fn accepted_whole(&self, part: usize) {
        self.state().parts.insert(part, SearchProgress::default());
    }

    /// The progress of an earlier delivery in a message; `None` if there was none.
    pub(super) fn progress(&self, part: usize) -> Option<SearchProgress> {
        self.state().parts.get(&part).cloned()
    }

    /// Whether an earlier delivery started the search in a message.
    pub(in crate::sink) fn has_begun(&self, part: usize) -> bool {
        self.state().parts.contains_key(&part)
    }

    /// Whether an earlier delivery delivered a message completely.
    pub(in crate::sink) fn has_delivered(&self, part: usize) -> bool {
        let settled = |progress: &SearchProgress| progress.open.is_empty() && progress.refused.is_empty();
        self.state().parts.get(&part).is_some_and(settled)
    }

    /// Reopens the refused records, because they could not be written to the file: a retry sends them again.
    pub(in crate::sink) fn reopen(&self) {
        for progress in self.state().parts.values_mut() {
            for (place, _) in std::mem::take(&mut progress.refused) {
                progress.open(vec![place]);
            }
        }
    }

    /// Updates the progress of a message.
    pub(super) fn update<T>(&self, part: usize, change: impl FnOnce(&mut SearchProgress) -> T) -> T {
        change(self.state().parts.entry(part).or_default())
    }

    /// Computes the key, so that the delivery is kept when it ends early.
    pub(super) async fn identify(&self) -> Result<DeliveryKey, String> {
        if let Some(key) = self.state().key.clone() {
            return Ok(key);
        }
        let (message, context) = (self.message.clone(), self.context.clone());
        // Hashing megabytes would block the async threads.
        let digest = blocking(move || {
            let mut hash = Sha256::new();
            message.parts().iter().for_each(|part| hash.update(part));
            hash.update(&context);
            <[u8; 32]>::from(hash.finalize())
        });
        let key = DeliveryKey { len: self.message.len(), digest: digest.await? };
        self.state().key = Some(key.clone());
        Ok(key)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state cannot be half-changed, so a poisoned lock is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DeliveryAttempt {
    fn drop(&mut self) {
        let State { key, parts } = std::mem::take(&mut *self.state());
        if let Some(key) = key.filter(|_| !parts.is_empty()) {
            self.memory.keep(key, parts);
        }
    }
}

impl DeliveryKey {
    /// The length of the batch in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl SearchProgress {
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
