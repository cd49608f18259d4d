//! Sources: bytes in, one answer out.
//!
//! A source owns its socket and its protocol. It hands a whole message to [`Process`](crate::pipeline::Process), the
//! result to [`Deliver`](crate::pipeline::Deliver), and answers the client only then. Nothing is kept here.

mod admission;
mod body;
pub mod filter;
mod frames;
pub mod health;
mod intake;
mod listener;
mod message;
pub mod otlp;
mod otlp_http;
mod outcome;
mod unary;
pub mod vector;
mod workers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::telemetry;
use admission::InFlight;
use workers::Workers;

pub use crate::net::socket::{Age, ServeError};
pub use filter::FilterSource;
pub(crate) use listener::bind_beside;
pub use listener::{Bound, Socket};
pub use otlp::OtlpSource;
pub use vector::VectorSource;

/// What all sources of a process share: the room for messages in flight, and the threads that match large ones.
#[derive(Clone)]
pub struct Shared {
    in_flight: Arc<InFlight>,
    workers: Arc<Workers>,
}

impl Shared {
    /// Starts the workers.
    ///
    /// # Errors
    /// The limits cannot work, or the system gives no threads.
    pub fn start(limits: &Limits) -> io::Result<Shared> {
        limits.check().map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        metrics::gauge!(telemetry::IN_FLIGHT_LIMIT_BYTES).set(limits.in_flight_bytes as f64);
        Ok(Shared {
            in_flight: Arc::new(InFlight::new(limits.in_flight_bytes, limits.reserve())),
            workers: Arc::new(Workers::start(limits.workers, limits.queue)?),
        })
    }
}

/// What a source takes at most, and how long it waits for room before it says RESOURCE_EXHAUSTED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes, decompressed. A longer one is INVALID_ARGUMENT: a retry can never succeed.
    pub max_request_bytes: usize,
    /// Bytes of all messages between their header and their answer, decompressed.
    pub in_flight_bytes: usize,
    /// How long a request waits for bytes in flight or for a place in the queue of the workers.
    pub admission_wait: Duration,
    /// How long a client may take to send a message, from its header to its last byte.
    pub receive_timeout: Duration,
    /// How long a client may send nothing in the middle of a message.
    pub stall_timeout: Duration,
    /// Threads that inflate and match large messages.
    pub workers: usize,
    /// Messages that wait for a worker.
    pub queue: usize,
    /// Uncompressed messages below this many bytes are matched where they were read, without a worker.
    pub in_place_below: usize,
    /// Connections that are open at once. One more takes the place of the one that idles longest.
    pub max_connections: usize,
    /// Connections of one peer on another host that are open at once.
    pub max_connections_per_peer: usize,
    /// Connections that wait for a place, and as many that were told to go. `None`: as many as may be open.
    pub max_waiting: Option<usize>,
    /// Bytes a second that a body must come at, on average and after the first [`Limits::stall_timeout`].
    pub min_upload_rate: u64,
    /// How long a client may take for TLS and the first bytes of HTTP/2, and for each header of HTTP/1.
    pub handshake_timeout: Duration,
    /// How long a connection may be without an open request.
    pub idle_timeout: Duration,
    /// When a connection is told to go however busy it is.
    pub max_connection_age: Option<Age>,
    /// How long nothing may arrive before a ping of HTTP/2 asks whether the client is there.
    pub ping_after: Duration,
    /// How long a client may take to answer a ping. One that is in the middle of a header cannot, so this bounds the
    /// time for a header, too.
    pub ping_timeout: Duration,
    /// Bytes of all headers of a request.
    pub max_header_bytes: u32,
    /// HTTP/2 streams a connection.
    pub max_concurrent_streams: u32,
    /// HTTP/2 window of a stream in bytes: a batch of 1,000 events should fit, else the client waits a round trip.
    pub stream_window: u32,
    /// HTTP/2 window of a connection in bytes.
    pub connection_window: u32,
    /// Largest HTTP/2 frame in bytes, 16 KiB to 16 MiB less one. A message in one frame is not copied.
    pub max_frame_bytes: u32,
    /// Hotlists that a request may have passed before. More is a loop.
    pub max_hops: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        Limits {
            max_request_bytes: 64 << 20,
            in_flight_bytes: 256 << 20,
            admission_wait: Duration::from_secs(1),
            receive_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(10),
            workers,
            queue: workers * 8,
            in_place_below: 64 << 10,
            max_connections: 1024,
            max_connections_per_peer: 512,
            max_waiting: None,
            min_upload_rate: 1 << 10,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            max_connection_age: None,
            ping_after: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            max_header_bytes: 16 << 10,
            max_concurrent_streams: 1024,
            stream_window: 1 << 20,
            connection_window: 2 << 20,
            max_frame_bytes: 1 << 20,
            max_hops: 8,
        }
    }
}

impl Limits {
    /// Bytes in flight that are kept for small messages: a sixteenth, as long as two of the largest fit beside it.
    fn reserve(&self) -> usize {
        (self.in_flight_bytes / 16).min(self.in_flight_bytes.saturating_sub(self.max_request_bytes * 2))
    }

    /// Whether the numbers can work together.
    ///
    /// # Errors
    /// Names the number that cannot, and its bound.
    pub fn check(&self) -> Result<(), BadLimit> {
        let bad = |name, value: usize, bound: String| Err(BadLimit { name, value, bound });
        if self.max_request_bytes == 0 || self.max_request_bytes > u32::MAX as usize {
            return bad("max_request_bytes", self.max_request_bytes, "between 1 and 4294967295".into());
        }
        // Inflation asks for one byte more than the limit, to see that there is one; permits are whole KiB.
        if self.in_flight_bytes < self.max_request_bytes * 2 {
            let bound = format!("at least twice max_request_bytes ({})", self.max_request_bytes * 2);
            return bad("in_flight_bytes", self.in_flight_bytes, bound);
        }
        for (name, value) in [
            ("workers", self.workers),
            ("queue", self.queue),
            ("max_connections", self.max_connections),
            ("max_connections_per_peer", self.max_connections_per_peer),
            ("max_concurrent_streams", self.max_concurrent_streams as usize),
        ] {
            if value == 0 {
                return bad(name, value, "at least 1".into());
            }
        }
        // RFC 9113 section 6.5.2.
        if !(1 << 14..1 << 24).contains(&self.max_frame_bytes) {
            return bad("max_frame_bytes", self.max_frame_bytes as usize, "between 16384 and 16777215".into());
        }
        for (name, value) in [("stream_window", self.stream_window), ("connection_window", self.connection_window)] {
            if !(65_535..1 << 31).contains(&value) {
                return bad(name, value as usize, "between 65535 and 2147483647".into());
            }
        }
        Ok(())
    }
}

/// A limit that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{name} is {value}, it must be {bound}")]
pub struct BadLimit {
    /// The limit's name.
    pub name: &'static str,
    /// Its value.
    pub value: usize,
    /// What it must be.
    pub bound: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_what_cannot_is_named() {
        assert_eq!(Limits::default().check(), Ok(()));
        let limits = Limits { in_flight_bytes: 1, ..Limits::default() };
        let message = limits.check().unwrap_err().to_string();
        assert!(message.contains("limits.in_flight_bytes is 1, it must be at least"), "{message}");
        assert!(Limits { workers: 0, ..Limits::default() }.check().is_err());
        assert!(Limits { max_frame_bytes: 1 << 24, ..Limits::default() }.check().is_err());
        assert!(Limits { stream_window: 0, ..Limits::default() }.check().is_err());
        assert!(Limits { max_request_bytes: 0, ..Limits::default() }.check().is_err());
    }
}
