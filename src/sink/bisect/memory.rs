//! State that a sink keeps between batches. None of it decides alone: suspects set the order of a search, strikes show
//! that a next hop refuses everything, and an unfinished delivery is continued only by a retry of the same batch.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::progress::{DeliveryKey, MessageProgress, SearchProgress};
use super::{RefusalReason, STRIKES};
use crate::encoding::Rope;
use crate::pipeline::BatchRefusal;

/// Most records remembered as suspects, 16 bytes each.
const MAX_SUSPECTS: usize = 16_384;
/// Most deliveries kept for a retry.
const MAX_UNFINISHED: usize = 64;
/// Most records in these deliveries together, about 8 bytes each.
const MAX_UNFINISHED_RECORDS: usize = 1 << 20;
/// How long an unfinished delivery is kept. Collectors retry within seconds, at most a few minutes.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Identifies a request of one record by its content.
type Fingerprint = [u8; 16];

/// Unfinished deliveries and records that were refused earlier.
#[derive(Debug, Default)]
pub(in crate::sink) struct SearchMemory {
    /// Records refused alone since the next hop last accepted anything.
    strikes: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    suspects: HashSet<Fingerprint>,
    order: VecDeque<Fingerprint>,
    unfinished: VecDeque<Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    key: DeliveryKey,
    parts: MessageProgress,
    records: usize,
    until: Instant,
}

impl SearchMemory {
    /// Records that the next hop accepted something.
    pub(in crate::sink) fn accepted(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    /// Counts a record that was refused alone, and returns how many there were since something was accepted.
    pub(super) fn strike(&self) -> usize {
        self.strikes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many records were refused alone since something was accepted.
    pub(super) fn strikes(&self) -> usize {
        self.strikes.load(Ordering::Relaxed)
    }

    /// The refusal for a next hop that refuses everything. The findings are discarded, because the records did not
    /// cause it.
    pub(super) fn everything_is_refused(&self, reason: &RefusalReason) -> BatchRefusal {
        *self.state() = State::default();
        BatchRefusal::Unavailable(format!(
            "the next hop refused {STRIKES} records one after another and accepted none, so the records are not at \
             fault: check the next hop and the sink's settings; it answered {}: {}",
            reason.status, reason.text
        ))
    }

    /// Remembers a request of one record as refused.
    pub(super) fn suspect(&self, request: &Rope) {
        let fingerprint = fingerprint(request);
        let State { suspects, order, .. } = &mut *self.state();
        if suspects.insert(fingerprint) {
            order.push_back(fingerprint);
        }
        if order.len() > MAX_SUSPECTS
            && let Some(oldest) = order.pop_front()
        {
            suspects.remove(&oldest);
        }
    }

    /// Records that a request of one record was accepted. If it is a suspect, the next hop has changed, and all
    /// suspects are discarded.
    pub(super) fn acquit(&self, request: &Rope) {
        if self.has_suspects() && self.is_suspect(request) {
            let mut state = self.state();
            (state.suspects, state.order) = Default::default();
        }
    }

    /// Whether there are suspects, so that each record is worth checking.
    pub(super) fn has_suspects(&self) -> bool {
        !self.state().suspects.is_empty()
    }

    /// Whether such a request of one record was refused before.
    pub(super) fn is_suspect(&self, request: &Rope) -> bool {
        self.state().suspects.contains(&fingerprint(request))
    }

    /// Keeps a delivery that ended early.
    pub(super) fn keep(&self, key: DeliveryKey, parts: MessageProgress) {
        let records = parts.values().map(SearchProgress::weight).sum();
        let mut state = self.state();
        state.expire();
        if records > MAX_UNFINISHED_RECORDS {
            return;
        }
        let total = |state: &State| state.unfinished.iter().map(|one| one.records).sum::<usize>();
        while state.unfinished.len() >= MAX_UNFINISHED || total(&state) + records > MAX_UNFINISHED_RECORDS {
            state.unfinished.pop_front();
        }
        state.unfinished.push_back(Unfinished { key, parts, records, until: Instant::now() + KEPT_FOR });
    }

    /// Whether an unfinished delivery has a message of this length, so that its key is worth computing.
    pub(super) fn may_know(&self, len: usize) -> bool {
        self.state().unfinished.iter().any(|one| one.key.len() == len)
    }

    /// Returns an unfinished delivery, to one caller only.
    pub(super) fn take(&self, key: &DeliveryKey) -> Option<MessageProgress> {
        let mut state = self.state();
        state.expire();
        let place = state.unfinished.iter().position(|one| one.key == *key)?;
        state.unfinished.remove(place).map(|one| one.parts)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state cannot be half-changed, so a poisoned lock is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expire(&mut self) {
        let now = Instant::now();
        self.unfinished.retain(|one| one.until > now);
    }
}

fn fingerprint(request: &Rope) -> Fingerprint {
    let mut hash = Sha256::new();
    request.parts().iter().for_each(|part| hash.update(part));
    let hash = hash.finalize();
    std::array::from_fn(|at| hash.get(at).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;
    use crate::sink::bisect::DeliveryAttempt;

    async fn begin(memory: &Arc<SearchMemory>, message: &'static str, tenant: &'static str) -> DeliveryAttempt {
        let name = HeaderName::from_static("x-tenant");
        let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(tenant))]);
        let message = Rope::from(Bytes::from_static(message.as_bytes()));
        DeliveryAttempt::begin(memory, &message, "/Export", &headers, &[name]).await.unwrap()
    }

    /// A delivery that ends early is continued by one delivery of the same bytes and metadata, and by no other.
    #[tokio::test(start_paused = true)]
    async fn an_unfinished_delivery_is_continued_once() {
        let memory = Arc::new(SearchMemory::default());
        let cut_short = async |message| {
            let attempt = begin(&memory, message, "a").await;
            attempt.identify().await.unwrap();
            attempt.accepted_whole(0);
        };
        cut_short("abc").await;
        assert!(!begin(&memory, "abd", "a").await.has_delivered(0), "other bytes");
        assert!(!begin(&memory, "abc", "b").await.has_delivered(0), "other metadata");
        let first = begin(&memory, "abc", "a").await;
        assert!(first.has_delivered(0));
        assert!(!begin(&memory, "abc", "a").await.has_delivered(0), "handed out already");
        first.finish();
        assert!(!begin(&memory, "abc", "a").await.has_delivered(0), "acknowledged");

        cut_short("abc").await;
        tokio::time::advance(KEPT_FOR).await;
        assert!(!begin(&memory, "abc", "a").await.has_delivered(0), "too old");

        cut_short("abc").await;
        let reason = RefusalReason { status: String::new(), text: String::new() };
        memory.everything_is_refused(&reason);
        assert!(!begin(&memory, "abc", "a").await.has_delivered(0), "nothing that was found counts");
    }

    /// The kept deliveries are bounded by number and by records.
    #[tokio::test(start_paused = true)]
    async fn unfinished_deliveries_are_bounded() {
        let memory = SearchMemory::default();
        let key = async |number: usize| {
            let message = Rope::from(Bytes::from(vec![0; number]));
            let attempt = DeliveryAttempt::begin(&Arc::default(), &message, "", &HeaderMap::new(), &[]).await.unwrap();
            attempt.identify().await.unwrap()
        };
        let parts = |records: u32| {
            let mut progress = SearchProgress::default();
            progress.open((0..records).collect());
            MessageProgress::from([(0, progress)])
        };
        for number in 0..=MAX_UNFINISHED {
            memory.keep(key(number).await, parts(1));
        }
        assert!(memory.take(&key(0).await).is_none());
        assert!(memory.take(&key(1).await).is_some());
        memory.keep(key(100).await, parts(MAX_UNFINISHED_RECORDS as u32));
        assert_eq!(memory.state().unfinished.len(), MAX_UNFINISHED - 1, "what is too large takes the place of nothing");
        memory.keep(key(101).await, parts(MAX_UNFINISHED_RECORDS as u32 - 10));
        assert!(memory.take(&key(101).await).is_some());
        assert!(memory.state().unfinished.len() <= 5);
    }
}
