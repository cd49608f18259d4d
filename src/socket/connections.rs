//! The open connections of a listener: how many there are, which of them idle, and which one has to go for another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{counter, gauge};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Reason;
use crate::telemetry;

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    state: Mutex<(usize, Instant)>,
    /// Told to go, because another connection needs the place.
    pub(super) evicted: CancellationToken,
    /// Closed at once, because its peer does not take what it asked for.
    pub(super) hung_up: CancellationToken,
}

impl Entry {
    fn new() -> Entry {
        let (evicted, hung_up) = (CancellationToken::new(), CancellationToken::new());
        Entry { state: Mutex::new((0, Instant::now())), evicted, hung_up }
    }

    pub(super) fn begin(&self) {
        lock(&self.state).0 += 1;
    }

    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        *state = (state.0.saturating_sub(1), Instant::now());
    }

    /// Since when there has been no request; `None` while there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let (open, since) = *lock(&self.state);
        (open == 0).then_some(since)
    }
}

/// All of a listener's connections.
#[derive(Debug)]
pub(super) struct Connections {
    listener: Arc<str>,
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Arc<Entry>>,
    /// Evicted and not yet closed. As many as there may be open ones, so that file descriptors are bounded too.
    leaving: usize,
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) entry: Arc<Entry>,
    id: u64,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(listener: Arc<str>, max: usize) -> Arc<Connections> {
        gauge!(telemetry::CONNECTIONS_LIMIT, "listener" => listener.to_string()).set(max as f64);
        Arc::new(Connections { listener, max, state: Mutex::default() })
    }

    /// A place for one more, taken from the connection that idles longest when all are taken. `None`: nobody idles.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut state = lock(&self.state);
        if state.open.len() >= self.max && (state.leaving >= self.max || !state.evict()) {
            return None;
        }
        let (id, entry) = (state.next, Arc::new(Entry::new()));
        state.next += 1;
        state.open.insert(id, Arc::clone(&entry));
        drop(state);
        gauge!(telemetry::CONNECTIONS, "listener" => self.listener.to_string()).increment(1.0);
        Some(Place { entry, id, connections: Arc::clone(self) })
    }

    /// Closes the connection that idles longest, if one idles.
    pub(super) fn evict(&self) -> bool {
        lock(&self.state).evict()
    }

    pub(super) fn count(&self, reason: Reason) {
        let labels = [("listener", self.listener.to_string()), ("reason", reason.label().to_owned())];
        counter!(telemetry::CONNECTIONS_CLOSED_TOTAL, &labels).increment(1);
    }
}

impl State {
    fn evict(&mut self) -> bool {
        let idle = self.open.iter().filter_map(|(id, entry)| Some((entry.idle_since()?, *id)));
        let Some((_, id)) = idle.min() else { return false };
        if let Some(entry) = self.open.remove(&id) {
            self.leaving += 1;
            entry.evicted.cancel();
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.connections.state);
        if state.open.remove(&self.id).is_none() {
            state.leaving = state.leaving.saturating_sub(1);
        }
        drop(state);
        gauge!(telemetry::CONNECTIONS, "listener" => self.connections.listener.to_string()).decrement(1.0);
    }
}

// A panic elsewhere cannot leave the state half changed, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Scenario: three connections come where two may be. Guarantee: the one that idles longest goes, one with a
    /// request never does, and who is closing keeps a bounded number of places of its own.
    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room_and_the_busy_stay() {
        let connections = Connections::new("test".into(), 2);
        let first = connections.admit().unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = connections.admit().unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        first.entry.begin();
        first.entry.end();
        let third = connections.admit().unwrap();
        assert!(second.entry.evicted.is_cancelled(), "it idles longer than the first, which had a request since");
        assert!(!first.entry.evicted.is_cancelled());

        first.entry.begin();
        third.entry.begin();
        assert!(connections.admit().is_none(), "both are busy");
        third.entry.end();
        let fourth = connections.admit().unwrap();
        assert!(third.entry.evicted.is_cancelled());
        assert!(connections.admit().is_none(), "two are still closing");
        drop(second);
        let _fifth = connections.admit().unwrap();
        assert!(fourth.entry.evicted.is_cancelled());
        drop(first);
        drop(third);
        drop(fourth);
        assert!(connections.admit().is_some());
    }
}
