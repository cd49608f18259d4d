//! The accept loop, and the life of one connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Connection};
use super::bind::Listener;
use super::connections::{ConnectionSlot, ConnectionState, Connections, SlotLimits};
use super::descriptors;
use super::header::HeaderTimeout;
use super::protocol::Protocol;
use super::stream::{Plain, Preface, PrefaceError, Stream};
use super::{CloseReason, ConnectionAge, ConnectionLimits};
use crate::config::Address;
use crate::escape::Escaped;
use crate::net::tls::Acceptor;
use crate::telemetry::Throttle;

/// Pause after accepting failed: long enough not to spin, short enough for a collector not to notice.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection waits for a slot: long enough to find out which of the others are slow, short enough for a
/// collector to try another sidecar.
const PLACE_WAIT: Duration = Duration::from_secs(2);

/// How often the first waiting connection checks whether another connection turned out to be slow.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// How long a connection that was asked to close, and has no request, may take to close.
const LINGER: Duration = Duration::from_secs(1);

/// The listening socket failed.
#[derive(Debug, thiserror::Error)]
#[error("the listener {name} at {address} stopped: {cause}; restart Hotlist")]
pub struct ServeError {
    name: Arc<str>,
    address: Address,
    cause: io::Error,
}

/// The turn of a waiting connection; turns are fair.
type Turn = Pin<Box<MaybeDone<BoxFuture<'static, OwnedMutexGuard<()>>>>>;

/// The state that all connections of a listener share.
struct Server<F> {
    connections: Arc<Connections>,
    /// A permit for each connection that waits for a slot.
    waiting: Arc<Semaphore>,
    /// Held by the first waiting connection.
    turn: Arc<Mutex<()>>,
    bounds: ConnectionLimits,
    tls: Option<Arc<Acceptor>>,
    prefaces: &'static [Preface],
    open: F,
    drain: CancellationToken,
}

impl Listener {
    /// Accepts connections until `shutdown` is ready, then stops accepting, asks peers to disconnect, finishes the
    /// requests in flight and returns. A caller that cannot wait so long drops the future, which closes every
    /// connection.
    ///
    /// `open` creates the protocol of a connection from its first bytes, which are one of `prefaces`. No preface may
    /// begin with another.
    ///
    /// # Errors
    /// The socket failed. Faults that a peer can cause are not such errors.
    pub async fn serve<F, C>(
        mut self,
        bounds: ConnectionLimits,
        tls: Option<Arc<Acceptor>>,
        prefaces: &'static [Preface],
        open: F,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        F: Fn(Stream, Preface, Activity) -> C + Send + Sync + 'static,
        C: Protocol + Send + 'static,
    {
        let drain = CancellationToken::new();
        let places = SlotLimits {
            max: bounds.max_connections,
            max_of_peer: bounds.max_connections_per_peer,
            max_leaving: bounds.max_waiting,
            least_rate: bounds.min_upload_rate,
        };
        let connections = Connections::new(Arc::clone(&self.name), places);
        let waiting = Arc::new(Semaphore::new(bounds.max_waiting));
        let turn = Arc::new(Mutex::new(()));
        let server = Arc::new(Server { connections, waiting, turn, bounds, tls, prefaces, open, drain: drain.clone() });
        let mut tasks = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => self.spare.refill(),
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, peer)) => match server.admit_at_once(peer) {
                        Ok(place) => {
                            tasks.spawn(Arc::clone(&server).run(stream, peer, place));
                        }
                        Err(Some(ticket)) => {
                            let (server, name) = (Arc::clone(&server), Arc::clone(&self.name));
                            let turn = server.turn_of_next().await;
                            tasks.spawn(async move {
                                match server.wait_for_place(peer, ticket, turn).await {
                                    Ok(place) => server.run(stream, peer, place).await,
                                    Err(reason) => server.refuse(&name, reason),
                                }
                            });
                        }
                        Err(None) => server.refuse(&self.name, CloseReason::Capacity),
                    },
                    Err(error) if is_over(&error) => {
                        let (name, address) = (Arc::clone(&self.name), self.local_address().clone());
                        return Err(ServeError { name, address, cause: error });
                    }
                    Err(error) if is_of_one_peer(&error) => {}
                    Err(error) if descriptors::are_out(&error) && self.spare.give_up() => {}
                    Err(error) => {
                        server.report_accept_failure(&self.name, &error);
                        // A pause that does not delay the shutdown.
                        tokio::select! {
                            () = &mut shutdown => break,
                            () = sleep(ACCEPT_PAUSE) => {}
                        }
                    }
                }
            }
        }
        // The socket is closed first, unless another listener took it over: the system then refuses new connections,
        // and their clients can connect elsewhere.
        drop(self);
        drain.cancel();
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

impl<F, C> Server<F>
where
    F: Fn(Stream, Preface, Activity) -> C + Send + Sync + 'static,
    C: Protocol + Send + 'static,
{
    async fn run(self: Arc<Self>, stream: Plain, peer: Option<SocketAddr>, place: ConnectionSlot) {
        let reason = tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(CloseReason::Drained),
            () = place.entry.evicted.cancelled() => Err(CloseReason::Evicted),
            greeted = timeout(self.bounds.handshake_timeout, self.handshake(stream, peer)) => {
                greeted.unwrap_or(Err(CloseReason::HandshakeTimeout))
            }
        };
        let reason = match reason {
            Ok((stream, preface)) => {
                let (entry, leave) = (&place.entry, self.drain.child_token());
                let of = Connection { entry: Arc::clone(entry), drain: leave.clone() };
                let connection = (self.open)(stream, preface, Activity(of));
                let life = ConnectionLifetime { idle: self.bounds.idle_timeout, end: self.bounds.max_age.map(age) };
                drive(connection, entry, &self.drain, &leave, life).await
            }
            Err(reason) => reason,
        };
        self.connections.count(reason);
    }

    /// Performs the TLS handshake and reads the first bytes of the protocol.
    async fn handshake(&self, stream: Plain, peer: Option<SocketAddr>) -> Result<(Stream, Preface), CloseReason> {
        let stream = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => Either::Right(Box::new(stream)),
                Err(error) => {
                    static LINES: Throttle = Throttle::new();
                    if let Some(left_out) = LINES.pass() {
                        tracing::warn!(peer = ?peer, error = %Escaped(&error), left_out, "TLS handshake failed");
                    }
                    return Err(CloseReason::Tls);
                }
            },
        };
        Stream::expect(stream, self.prefaces).await.map_err(|unfit| match unfit {
            PrefaceError::Preface => CloseReason::Preface,
            PrefaceError::Gone => CloseReason::Peer,
        })
    }
}

impl<F> Server<F> {
    /// Returns a slot, or a permit to wait for one: the number of waiting connections is bounded, so that file
    /// descriptors are bounded, too. A connection that arrives while others wait queues behind them.
    fn admit_at_once(&self, peer: Option<SocketAddr>) -> Result<ConnectionSlot, Option<OwnedSemaphorePermit>> {
        if self.waiting.available_permits() == self.bounds.max_waiting
            && let Ok(place) = self.connections.admit(peer)
        {
            return Ok(place);
        }
        Err(Arc::clone(&self.waiting).try_acquire_owned().ok())
    }

    /// Joins the queue without waiting. Turns are in the order of the calls: tasks do not run in the order in which
    /// they were spawned, and a connection that overtakes older ones would be evicted for them before its first
    /// request.
    async fn turn_of_next(&self) -> Turn {
        let mut turn = Box::pin(maybe_done(Arc::clone(&self.turn).lock_owned().boxed()));
        // A lock that was polled once is in the queue, whether it is free or not.
        let _ = futures_util::poll!(turn.as_mut());
        turn
    }

    /// Waits behind earlier connections for a slot that becomes free, or for a connection that turns out to be slow.
    async fn wait_for_place(
        &self,
        peer: Option<SocketAddr>,
        _ticket: OwnedSemaphorePermit,
        mut turn: Turn,
    ) -> Result<ConnectionSlot, CloseReason> {
        let deadline = Instant::now() + PLACE_WAIT;
        let mut reason = CloseReason::Capacity;
        let waiting = async {
            turn.as_mut().await;
            let _turn = turn.as_mut().take_output();
            loop {
                let freed = self.connections.freed.notified();
                match self.connections.admit(peer) {
                    Ok(place) => return place,
                    Err(why) => reason = why,
                }
                tokio::select! {
                    () = freed => {}
                    () = sleep(LOOK_AGAIN) => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(CloseReason::Drained),
            place = tokio::time::timeout_at(deadline, waiting) => place.map_err(|_| reason),
        }
    }

    fn refuse(&self, name: &str, reason: CloseReason) {
        static LINES: Throttle = Throttle::new();
        self.connections.count(reason);
        if let Some(left_out) = LINES.pass() {
            let max = self.bounds.max_connections;
            let reason = reason.label();
            tracing::warn!(listener = name, reason, max, left_out, "connection refused: all slots are in use");
        }
    }

    /// Reports that accepting failed, usually because file descriptors ran out. Evicting an idle connection frees one.
    fn report_accept_failure(&self, name: &str, error: &io::Error) {
        static LINES: Throttle = Throttle::new();
        self.connections.count(CloseReason::AcceptFailed);
        let evicted = self.connections.evict();
        if let Some(left_out) = LINES.pass() {
            tracing::error!(listener = name, error = %Escaped(&error), evicted, left_out, "cannot accept a connection");
        }
    }
}

/// Whether the socket can never accept again.
fn is_over(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Whether the error belongs to the connection that would have been accepted, which Linux reports from accept(2).
fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkDown | NetworkUnreachable
    )
}

/// How long a connection may live.
#[derive(Clone, Copy)]
struct ConnectionLifetime {
    /// Without a request.
    idle: Duration,
    /// In total: when its peer is asked to disconnect, and how long its requests may then take.
    end: Option<(Instant, Duration)>,
}

/// The end of a connection that opens now: its age, plus or minus a tenth.
fn age(ConnectionAge { after, grace }: ConnectionAge) -> (Instant, Duration) {
    use std::hash::{BuildHasher, RandomState};
    // Each of the standard library's hashers has its own key.
    let chance = RandomState::new().hash_one(()) % 2001;
    let share = 0.9 + chance as f64 / 10_000.0;
    (Instant::now() + after.mul_f64(share), grace)
}

/// Polls a connection to its end. Ends it when it idles, is evicted or too old, or the listener drains. `leave`
/// notifies long-running requests on it that it is closing.
async fn drive<C>(
    connection: C,
    entry: &ConnectionState,
    drain: &CancellationToken,
    leave: &CancellationToken,
    life: ConnectionLifetime,
) -> CloseReason
where
    C: Protocol,
{
    tokio::pin!(connection);
    let mut leaving = None;
    let mut wake = Instant::now() + life.idle;
    // Before the connection reaches its age, the time of that; afterwards, the end of the grace period.
    let mut end = life.end.map(|(end, _)| end);
    loop {
        let reason = tokio::select! {
            // The connection is polled first, so that it writes what it still has for the peer before it is dropped.
            biased;
            ended = connection.as_mut() => {
                return leaving.unwrap_or_else(|| ended.map_or_else(|error| close_reason(&error), |()| CloseReason::Peer));
            }
            () = entry.hung_up.cancelled() => return CloseReason::NotTaken,
            () = entry.outrun.cancelled() => return CloseReason::Slow,
            () = drain.cancelled(), if leaving.is_none_or(|reason| reason == CloseReason::MaxAge) => {
                // A drain has its own grace period.
                end = None;
                CloseReason::Drained
            }
            () = entry.evicted.cancelled(), if leaving.is_none() => CloseReason::Evicted,
            () = wait_until(end) => match leaving {
                Some(reason) => return reason,
                None => {
                    end = life.end.map(|(_, grace)| Instant::now() + grace);
                    CloseReason::MaxAge
                }
            },
            () = sleep_until(wake) => match (leaving, entry.idle_since()) {
                (Some(reason), Some(_)) => return reason,
                (Some(_), None) => {
                    wake = Instant::now() + LINGER;
                    continue;
                }
                (None, Some(since)) if since + life.idle <= Instant::now() => CloseReason::Idle,
                (None, since) => {
                    wake = since.unwrap_or_else(Instant::now) + life.idle;
                    continue;
                }
            },
        };
        if reason != CloseReason::MaxAge && leaving.is_none() {
            end = None;
        }
        leaving = Some(reason);
        // Another connection waits for the slot of an evicted one.
        wake = Instant::now() + if reason == CloseReason::Evicted { Duration::ZERO } else { LINGER };
        leave.cancel();
        connection.as_mut().leave();
    }
}

/// Waits until a time, forever if there is none.
async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn close_reason(error: &hyper::Error) -> CloseReason {
    if error.is_timeout() {
        return CloseReason::Timeout;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.and_then(io::Error::get_ref).is_some_and(|cause| cause.is::<HeaderTimeout>()) {
            return CloseReason::Timeout;
        }
        if io.is_some()
            || error
                .downcast_ref::<h2::Error>()
                .is_some_and(|error| error.is_io() || error.is_go_away() && error.is_remote())
        {
            return CloseReason::Peer;
        }
        cause = error.source();
    }
    if error.is_incomplete_message() || error.is_closed() { CloseReason::Peer } else { CloseReason::Protocol }
}
