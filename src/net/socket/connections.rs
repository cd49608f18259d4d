//! The open connections of a listener: how many there are, which are idle, and which one is evicted for a new one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::CloseReason;
use crate::telemetry;

/// How long a connection may take to show that its upload is not slow.
const PROOF: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct ConnectionState {
    state: Mutex<Requests>,
    /// Its peer, if connections per peer are limited.
    peer: Option<IpAddr>,
    /// Cancelled to evict the connection, because another one needs its slot.
    pub(super) evicted: CancellationToken,
    /// Cancelled to close the connection at once for another one, because its upload is the slowest.
    pub(super) outrun: CancellationToken,
    /// Cancelled to close the connection at once, because its peer does not read its answers.
    pub(super) hung_up: CancellationToken,
}

#[derive(Debug)]
struct Requests {
    open: usize,
    /// All requests so far.
    begun: u64,
    /// Whether the client of the newest request accepts interim responses.
    accepts_interim: bool,
    /// When the last request ended.
    since: Instant,
    /// Requests whose body is incomplete.
    uploading: usize,
    /// Since when there is such a request, and the bytes that arrived since then.
    upload: (Instant, u64),
}

impl ConnectionState {
    fn new(peer: Option<IpAddr>) -> ConnectionState {
        let now = Instant::now();
        let state = Mutex::new(Requests {
            open: 0,
            begun: 0,
            accepts_interim: false,
            since: now,
            uploading: 0,
            upload: (now, 0),
        });
        let [evicted, outrun, hung_up] = std::array::from_fn(|_| CancellationToken::new());
        ConnectionState { state, peer, evicted, outrun, hung_up }
    }

    pub(super) fn begin(&self, accepts_interim: bool) {
        let mut state = lock(&self.state);
        state.open += 1;
        state.begun += 1;
        state.accepts_interim = accepts_interim;
    }

    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        (state.open, state.since) = (state.open.saturating_sub(1), Instant::now());
    }

    pub(super) fn begin_upload(&self) {
        let mut state = lock(&self.state);
        if state.uploading == 0 {
            state.upload = (Instant::now(), 0);
        }
        state.uploading += 1;
    }

    pub(super) fn uploaded(&self, bytes: usize) {
        lock(&self.state).upload.1 += bytes as u64;
    }

    pub(super) fn end_upload(&self) {
        let mut state = lock(&self.state);
        state.uploading = state.uploading.saturating_sub(1);
    }

    /// Since when there has been no request; `None` while there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        (state.open == 0).then_some(state.since)
    }

    /// Returns the number of the request that arrived whole and waits for its answer, if its client accepts interim
    /// responses. For protocols that answer one request after the other.
    pub(super) fn awaited_request(&self) -> Option<u64> {
        let state = lock(&self.state);
        (state.open > 0 && state.uploading == 0 && state.accepts_interim).then_some(state.begun)
    }

    pub(super) fn newest_request(&self) -> u64 {
        lock(&self.state).begun
    }

    /// The upload rate in bytes per second, if all requests wait for their bodies and these arrive more slowly than
    /// `least`.
    fn slow_upload(&self, least: u64, now: Instant) -> Option<u64> {
        let state = lock(&self.state);
        let (since, bytes) = state.upload;
        let elapsed = now.saturating_duration_since(since);
        if state.open == 0 || state.uploading < state.open || elapsed < PROOF {
            return None;
        }
        let rate = (u128::from(bytes) * 1000 / elapsed.as_millis().max(1)) as u64;
        (rate < least).then_some(rate)
    }
}

/// The limits on connections, and on which of those with requests may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotLimits {
    pub(super) max: usize,
    /// Most connections per peer on another host.
    pub(super) max_of_peer: usize,
    /// Most connections that are closing.
    pub(super) max_leaving: usize,
    /// Bytes per second below which an upload is slow.
    pub(super) least_rate: u64,
}

/// All connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    listener: Arc<str>,
    places: SlotLimits,
    state: Mutex<State>,
    /// Notified when a slot may have become free.
    pub(super) freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Arc<ConnectionState>>,
    /// Evicted but not closed yet: bounded, so that file descriptors are, too.
    leaving: usize,
}

/// The slot of one connection, freed when dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    pub(super) entry: Arc<ConnectionState>,
    id: u64,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(listener: Arc<str>, places: SlotLimits) -> Arc<Connections> {
        gauge!(telemetry::CONNECTIONS_LIMIT, "listener" => listener.to_string()).set(places.max as f64);
        Arc::new(Connections { listener, places, state: Mutex::default(), freed: Notify::new() })
    }

    /// Returns a slot for another connection. If all slots, or all slots of its peer, are in use, evicts the connection
    /// that has been idle longest, otherwise the one with the slowest upload.
    ///
    /// # Errors
    /// No connection is idle or slow; the reason states whether all slots are in use or those of the peer.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Result<ConnectionSlot, CloseReason> {
        let peer = peer.and_then(bounded);
        let SlotLimits { max, max_of_peer, max_leaving, .. } = self.places;
        let mut state = lock(&self.state);
        let of_peer = |entry: &ConnectionState| peer.is_some() && entry.peer == peer;
        if peer.is_some() && state.open.values().filter(|entry| of_peer(entry)).count() >= max_of_peer {
            if state.leaving >= max_leaving || !state.evict(self.places.least_rate, of_peer) {
                return Err(CloseReason::PeerCapacity);
            }
        } else if state.open.len() >= max
            && (state.leaving >= max_leaving || !state.evict(self.places.least_rate, |_| true))
        {
            return Err(CloseReason::Capacity);
        }
        let (id, entry) = (state.next, Arc::new(ConnectionState::new(peer)));
        state.next += 1;
        state.open.insert(id, Arc::clone(&entry));
        drop(state);
        gauge!(telemetry::CONNECTIONS, "listener" => self.listener.to_string()).increment(1.0);
        Ok(ConnectionSlot { entry, id, connections: Arc::clone(self) })
    }

    /// Closes the connection that has been idle longest or has the slowest upload, if there is one.
    pub(super) fn evict(&self) -> bool {
        lock(&self.state).evict(self.places.least_rate, |_| true)
    }

    pub(super) fn count(&self, reason: CloseReason) {
        let labels = [("listener", self.listener.to_string()), ("reason", reason.label().to_owned())];
        counter!(telemetry::CONNECTIONS_CLOSED_TOTAL, &labels).increment(1);
    }
}

impl State {
    fn evict(&mut self, least_rate: u64, among: impl Fn(&ConnectionState) -> bool) -> bool {
        let now = Instant::now();
        let candidates = || self.open.iter().filter(|(_, entry)| among(entry));
        let idle = candidates().filter_map(|(id, entry)| Some((entry.idle_since()?, *id))).min();
        let slow = || candidates().filter_map(|(id, entry)| Some((entry.slow_upload(least_rate, now)?, *id))).min();
        let (id, is_idle) = match (idle, slow) {
            (Some((_, id)), _) => (id, true),
            (None, slow) => match slow() {
                Some((_, id)) => (id, false),
                None => return false,
            },
        };
        if let Some(entry) = self.open.remove(&id) {
            self.leaving += 1;
            if is_idle { &entry.evicted } else { &entry.outrun }.cancel();
        }
        true
    }
}

/// The address by which connections per peer are counted; an IPv6 host has a whole /64 network. `None` for peers on
/// this host: the collectors of a node share its loopback address.
fn bounded(peer: SocketAddr) -> Option<IpAddr> {
    match peer.ip().to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into()),
        ip => Some(ip),
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = lock(&self.connections.state);
        if state.open.remove(&self.id).is_none() {
            state.leaving = state.leaving.saturating_sub(1);
        }
        drop(state);
        self.connections.freed.notify_waiters();
        gauge!(telemetry::CONNECTIONS, "listener" => self.connections.listener.to_string()).decrement(1.0);
    }
}

// A panic elsewhere cannot leave the state half-changed, so the state behind a poisoned lock is valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: SlotLimits = SlotLimits { max: 2, max_of_peer: 1, max_leaving: 2, least_rate: 100 };

    /// Scenario: three connections arrive where two are allowed. Guarantee: the one that has been idle longest is
    /// evicted, one with a request never is, and closing connections use a bounded number of additional slots.
    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room_and_the_busy_stay() {
        let connections = Connections::new("test".into(), PLACES);
        let first = connections.admit(None).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = connections.admit(None).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        first.entry.begin(true);
        first.entry.end();
        let third = connections.admit(None).unwrap();
        assert!(second.entry.evicted.is_cancelled(), "it idles longer than the first, which had a request since");
        assert!(!first.entry.evicted.is_cancelled());

        first.entry.begin(true);
        third.entry.begin(true);
        assert!(connections.admit(None).is_err(), "both are busy");
        third.entry.end();
        let fourth = connections.admit(None).unwrap();
        assert!(third.entry.evicted.is_cancelled());
        assert!(connections.admit(None).is_err(), "two are still closing");
        drop(second);
        let _fifth = connections.admit(None).unwrap();
        assert!(fourth.entry.evicted.is_cancelled());
        drop(first);
        drop(third);
        drop(fourth);
        assert!(connections.admit(None).is_ok());
    }

    /// Scenario: two connections upload, one of them slowly, and a third arrives. Guarantee: the slow one is evicted,
    /// but not in its first second, nor while another of its requests waits for an answer; one that is fast enough
    /// never is.
    #[tokio::test(start_paused = true)]
    async fn the_slowest_upload_makes_room() {
        let connections = Connections::new("test".into(), PLACES);
        let (slow, fast) = (connections.admit(None).unwrap(), connections.admit(None).unwrap());
        for place in [&slow, &fast] {
            place.entry.begin(true);
            place.entry.begin_upload();
        }
        slow.entry.uploaded(99);
        fast.entry.uploaded(100);
        assert_eq!(connections.admit(None).err(), Some(CloseReason::Capacity), "it is too early to say");
        tokio::time::advance(PROOF).await;
        slow.entry.begin(true);
        assert_eq!(connections.admit(None).err(), Some(CloseReason::Capacity), "a request of it waits for its answer");
        slow.entry.end();
        let _third = connections.admit(None).unwrap();
        assert!(slow.entry.outrun.is_cancelled() && !fast.entry.outrun.is_cancelled());
        slow.entry.end_upload();
        drop(slow);
        fast.entry.end_upload();
        _third.entry.begin(true);
        tokio::time::advance(100 * PROOF).await;
        assert_eq!(connections.admit(None).err(), Some(CloseReason::Capacity), "what is whole is not slow");
    }

    /// Guarantee: a peer on another host has no more slots than allowed, and its own connections are evicted for new
    /// ones; peers on this host share all slots.
    #[tokio::test(start_paused = true)]
    async fn a_peer_takes_places_from_itself() {
        let peer = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let connections = Connections::new("test".into(), SlotLimits { max: 4, max_leaving: 4, ..PLACES });
        let first = connections.admit(peer("192.0.2.1:1")).unwrap();
        first.entry.begin(true);
        assert_eq!(connections.admit(peer("[::ffff:192.0.2.1]:2")).err(), Some(CloseReason::PeerCapacity));
        first.entry.end();
        let _second = connections.admit(peer("192.0.2.1:3")).unwrap();
        assert!(first.entry.evicted.is_cancelled());
        let _v6 = connections.admit(peer("[2001:db8::1]:1")).unwrap();
        _v6.entry.begin(true);
        assert_eq!(connections.admit(peer("[2001:db8::2]:1")).err(), Some(CloseReason::PeerCapacity));
        let _local = [connections.admit(peer("127.0.0.1:1")).unwrap(), connections.admit(peer("127.0.0.1:2")).unwrap()];
    }
}
