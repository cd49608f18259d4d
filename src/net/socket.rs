//! Listening sockets that accept connections and keep them within limits.
//!
//! A [`Listener`] is bound eagerly, so that a bad address fails the start. [`Listener::serve`] accepts connections
//! until its shutdown, and is the only place that opens and closes connections: it performs the handshake (TLS, and the
//! first bytes of the protocol) within a timeout, limits the number of open connections, closes idle ones, and drains
//! the rest. The protocol and the service of a connection are up to the caller.

mod accept;
mod activity;
mod authority;
mod bind;
mod connections;
mod departed;
pub mod descriptors;
mod header;
mod host;
mod protocol;
mod stream;
pub mod unix;
mod upload;

use std::time::Duration;

pub use accept::ServeError;
pub use activity::{Activity, Connection, Watched};
pub use bind::Listener;
pub use departed::DepartureCheck;
pub use header::TimedHeader;
pub use protocol::{Either, Protocol};
pub use stream::{Preface, Stream};
pub use upload::Upload;

/// How many connections a listener has at once, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Open connections. When the limit is reached, a new connection replaces the one that has been idle longest,
    /// otherwise the one with the slowest upload; if there is neither, the new connection waits for a moment and is
    /// then closed.
    pub max_connections: usize,
    /// Open connections of one peer on another host, at most.
    pub max_connections_per_peer: usize,
    /// Connections that wait for a slot; the same number may be closing. Each uses a file descriptor.
    pub max_waiting: usize,
    /// Bytes per second below which an upload is slow, so that its connection may be replaced.
    pub min_upload_rate: u64,
    /// How long a peer may take for TLS and the first bytes of the protocol.
    pub handshake_timeout: Duration,
    /// How long a connection may have no request before it is closed.
    pub idle_timeout: Duration,
    /// When a connection is asked to close, however busy it is. `None`: never.
    pub max_age: Option<ConnectionAge>,
}

/// The longest life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionAge {
    /// When its peer is asked to disconnect, plus or minus a tenth, so that connections that opened together do not all
    /// close together.
    pub after: Duration,
    /// How long its requests may then take to finish.
    pub grace: Duration,
}

/// The reason that a connection was closed or refused: a label of
/// [`CONNECTIONS_CLOSED_TOTAL`](crate::telemetry::CONNECTIONS_CLOSED_TOTAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseReason {
    /// The peer closed it, or disappeared.
    Peer,
    /// It had no request for too long.
    Idle,
    /// It reached the maximum age.
    MaxAge,
    /// It had been idle longest when another connection needed its slot.
    Evicted,
    /// Its upload was the slowest when another connection needed its slot.
    Slow,
    /// Refused: connections with open requests use all slots.
    Capacity,
    /// Refused: connections with open requests use all slots of its peer.
    PeerCapacity,
    /// The handshake took too long.
    HandshakeTimeout,
    /// No common version, certificate or protocol.
    Tls,
    /// The first bytes are not those of a supported protocol.
    Preface,
    /// A ping or the rest of a header did not arrive in time.
    Timeout,
    /// The peer does not read the answers that it requested.
    NotTaken,
    /// The peer violated the protocol.
    Protocol,
    /// The listener stopped.
    Drained,
    /// It was not even accepted, usually because file descriptors ran out.
    AcceptFailed,
}

impl CloseReason {
    fn label(self) -> &'static str {
        match self {
            CloseReason::Peer => "peer",
            CloseReason::Idle => "idle",
            CloseReason::MaxAge => "max_age",
            CloseReason::Evicted => "evicted",
            CloseReason::Slow => "slow",
            CloseReason::Capacity => "capacity",
            CloseReason::PeerCapacity => "peer_capacity",
            CloseReason::HandshakeTimeout => "handshake_timeout",
            CloseReason::Tls => "tls",
            CloseReason::Preface => "preface",
            CloseReason::Timeout => "timeout",
            CloseReason::NotTaken => "not_taken",
            CloseReason::Protocol => "protocol",
            CloseReason::Drained => "drained",
            CloseReason::AcceptFailed => "accept_failed",
        }
    }
}
