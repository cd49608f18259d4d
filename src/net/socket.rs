//! Sockets that take connections, and keep them within bounds.
//!
//! A [`Listener`] is bound eagerly, so that a bad address fails the start. [`Listener::serve`] accepts until it is told
//! to stop, and is the one place that opens and closes connections: it shakes hands (TLS, and the first bytes of the
//! protocol) within a time-out, keeps the number of open connections below a bound, closes those that idle, and drains
//! the rest. What is spoken on a connection, and what answers, is the caller's business.

mod accept;
mod activity;
mod authority;
mod bind;
mod connections;
pub mod descriptors;
mod header;
mod protocol;
mod stream;
mod upload;

use std::time::Duration;

pub use accept::ServeError;
pub use activity::{Activity, Connection, Watched};
pub use bind::Listener;
pub use header::TimedHeader;
pub use protocol::{Either, Protocol};
pub use stream::{Preface, Stream};
pub use upload::Upload;

/// How many connections a listener has at once, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections that are open at once. One more takes the place of the one that idles longest, else of the one with the
    /// slowest upload; when there is none of either it waits for a moment, and is closed then.
    pub max_connections: usize,
    /// The most of them of one peer on another host.
    pub max_connections_per_peer: usize,
    /// Connections that wait for a place, and as many that were told to go and are not closed yet. Each has a descriptor.
    pub max_waiting: usize,
    /// Bytes a second below which an upload is slow, so that its connection goes for another.
    pub min_upload_rate: u64,
    /// How long a peer may take for TLS and the first bytes of the protocol.
    pub handshake_timeout: Duration,
    /// How long a connection may be without a request before it is closed.
    pub idle_timeout: Duration,
    /// When a connection is told to go however busy it is. `None`: never.
    pub max_age: Option<Age>,
}

/// The longest life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// When its peer is told to go, give or take a tenth, so that connections of one moment do not all end in another.
    pub after: Duration,
    /// How long its requests may take to finish from then on.
    pub grace: Duration,
}

/// Why a connection was closed, or was not taken: a label of
/// [`CONNECTIONS_CLOSED_TOTAL`](crate::telemetry::CONNECTIONS_CLOSED_TOTAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The peer closed it, or vanished.
    Peer,
    /// No request for too long.
    Idle,
    /// It was open for longer than a connection may be.
    MaxAge,
    /// It idled longest when another connection needed its place.
    Evicted,
    /// Its upload was the slowest when another connection needed its place.
    Slow,
    /// Refused: every place is taken by a connection with requests.
    Capacity,
    /// Refused: every place that its peer may have is taken by a connection with requests.
    PeerCapacity,
    /// The handshake took too long.
    HandshakeTimeout,
    /// No common version, certificate or protocol.
    Tls,
    /// The first bytes are not those of the protocol.
    Preface,
    /// A ping or the rest of a header did not come in time.
    Timeout,
    /// The peer does not take the answers that it asked for.
    NotTaken,
    /// What the peer sent breaks the protocol.
    Protocol,
    /// The listener stopped.
    Drained,
    /// Not even accepted, most likely for want of file descriptors.
    AcceptFailed,
}

impl Reason {
    fn label(self) -> &'static str {
        match self {
            Reason::Peer => "peer",
            Reason::Idle => "idle",
            Reason::MaxAge => "max_age",
            Reason::Evicted => "evicted",
            Reason::Slow => "slow",
            Reason::Capacity => "capacity",
            Reason::PeerCapacity => "peer_capacity",
            Reason::HandshakeTimeout => "handshake_timeout",
            Reason::Tls => "tls",
            Reason::Preface => "preface",
            Reason::Timeout => "timeout",
            Reason::NotTaken => "not_taken",
            Reason::Protocol => "protocol",
            Reason::Drained => "drained",
            Reason::AcceptFailed => "accept_failed",
        }
    }
}
