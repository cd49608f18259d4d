//! One delivery of one batch.
//!
//! A delivery that the deadline, the request limit or the client ends early is handed to the sink's memory, and a retry
//! of the same bytes with the same metadata continues it: otherwise a slow next hop would make the collector retry
//! forever. Only one retry continues it, so that each acknowledgement has its own delivery of each record, or its own
//! line in the file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::SearchMemory;
use super::progress::{DeliveryKey, MessageProgress, SearchProgress};
use crate::encoding::Rope;
use crate::sink::blocking::blocking;

/// One delivery of one batch.
#[derive(Debug)]
pub(in crate::sink) struct DeliveryAttempt {
    memory: Arc<SearchMemory>,
    message: Rope,
    /// The difference of the requests in addition to their message.
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
        self.state().parts.get(&part).is_some_and(SearchProgress::is_settled)
    }

    /// Reopens the refused records, because they could not be written to the file: a retry sends them again.
    pub(in crate::sink) fn reopen(&self) {
        self.state().parts.values_mut().for_each(SearchProgress::reopen);
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
        let key = DeliveryKey::new(self.message.len(), digest.await?);
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
