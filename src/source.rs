//! Sources: bytes in, one answer out.
//!
//! A source owns its socket and its protocol. It hands a whole message to [`Transform`](crate::pipeline::Transform), passes
//! the result to [`Deliver`](crate::pipeline::Deliver), and only then answers the client. A source stores nothing.

mod admission;
mod body;
mod export_response;
pub mod filter;
mod frames;
pub mod health;
mod intake;
mod listener;
mod message;
pub mod otlp;
mod otlp_http;
mod outcome;
mod service;
mod unary;
pub mod vector;
mod workers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::telemetry;
use admission::MessageMemory;
use workers::Workers;

pub use crate::net::socket::{ConnectionAge, ServeError};
pub use filter::FilterSource;
pub(crate) use listener::bind_beside;
pub use listener::{BoundSource, SourceSocket};
pub use otlp::OtlpSource;
pub use vector::VectorSource;

/// The resources that all sources of a process share: the memory for messages in flight, and the worker threads that
/// match large ones.
#[derive(Clone)]
pub struct SharedResources {
    in_flight: Arc<MessageMemory>,
    workers: Arc<Workers>,
}

impl SharedResources {
    /// Starts the worker threads.
    ///
    /// # Errors
    /// The limits contradict each other, or the system refuses another thread.
    pub fn start(limits: &Limits) -> io::Result<SharedResources> {
        limits.check().map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        metrics::gauge!(telemetry::IN_FLIGHT_LIMIT_BYTES).set(limits.in_flight_bytes as f64);
        Ok(SharedResources {
            in_flight: Arc::new(MessageMemory::new(limits.in_flight_bytes, limits.reserve())),
            workers: Arc::new(Workers::start(limits.workers, limits.queue)?),
        })
    }
}

/// The limits of a source, and how long it waits for memory before it answers RESOURCE_EXHAUSTED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes, decompressed. A longer message is INVALID_ARGUMENT, because a retry can never succeed.
    pub max_request_bytes: usize,
    /// Bytes of all messages between their header and their answer, decompressed.
    pub in_flight_bytes: usize,
    /// How long a request waits for memory, or for a place in the queue of the workers.
    pub admission_wait: Duration,
    /// How long a client may take to send a message, from its header to its last byte.
    pub receive_timeout: Duration,
    /// How long a client may send nothing in the middle of a message.
    pub stall_timeout: Duration,
    /// Threads that inflate and match large messages.
    pub workers: usize,
    /// Messages that wait for a worker.
    pub queue: usize,
    /// Uncompressed messages shorter than this many bytes are matched on the thread that read them, without a worker.
    pub in_place_below: usize,
    /// Open connections. When the limit is reached, a new connection replaces the one that has been idle longest.
    pub max_connections: usize,
    /// Open connections of one peer on another host.
    pub max_connections_per_peer: usize,
    /// Connections that wait for a slot; the same number may be closing. `None`: as many as may be open.
    pub max_waiting: Option<usize>,
    /// Least rate in bytes per second of a request body, averaged after the first [`Limits::stall_timeout`].
    pub min_upload_rate: u64,
    /// How long a client may take for TLS and the HTTP/2 preface, and for each HTTP/1 header.
    pub handshake_timeout: Duration,
    /// How long a connection may have no open request.
    pub idle_timeout: Duration,
    /// When a connection is asked to close (GOAWAY), however busy it is.
    pub max_connection_age: Option<ConnectionAge>,
    /// How long a connection may be silent before an HTTP/2 ping checks that the client is still there.
    pub ping_after: Duration,
    /// How long a client may take to answer a ping. A client that is in the middle of a header cannot answer, so this
    /// also bounds the time for a header.
    pub ping_timeout: Duration,
    /// Bytes of all headers of a request.
    pub max_header_bytes: u32,
    /// HTTP/2 streams per connection.
    pub max_concurrent_streams: u32,
    /// HTTP/2 window of a stream in bytes. It should fit a batch of 1,000 events, otherwise the client waits for a
    /// round trip.
    pub stream_window: u32,
    /// HTTP/2 window of a connection in bytes.
    pub connection_window: u32,
    /// Largest HTTP/2 frame in bytes, from 16 KiB to 16 MiB less one byte. A message in one frame is not copied.
    pub max_frame_bytes: u32,
    /// How many Hotlists a request may have passed before this one. More means a loop.
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
    /// Bytes in flight that are reserved for small messages: a sixteenth, as long as two messages of the largest size
    /// still fit.
    fn reserve(&self) -> usize {
        (self.in_flight_bytes / 16).min(self.in_flight_bytes.saturating_sub(self.max_request_bytes * 2))
    }

    /// Checks that the limits can work together.
    ///
    /// # Errors
    /// Names the limit that cannot work, and its allowed range.
    pub fn check(&self) -> Result<(), BadLimit> {
        let bad = |name, value: usize, bound: String| Err(BadLimit { name, value, bound });
        if self.max_request_bytes == 0 || self.max_request_bytes > u32::MAX as usize {
            return bad("max_request_bytes", self.max_request_bytes, "between 1 and 4294967295".into());
        }
        // Inflating a message reads one byte beyond the limit to detect an oversize message; permits are whole KiB.
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

/// A limit with a value that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{name} is {value}, it must be {bound}")]
pub struct BadLimit {
    pub name: &'static str,
    /// The configured value.
    pub value: usize,
    /// The values that are allowed.
    pub bound: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_what_cannot_is_named() {
        assert_eq!(Limits::default().check(), Ok(()));
        let limits = Limits { in_flight_bytes: 1, ..Limits::default() };
        let bad = limits.check().unwrap_err();
        assert_eq!((bad.name, bad.value), ("in_flight_bytes", 1), "{bad}");
        assert!(Limits { workers: 0, ..Limits::default() }.check().is_err());
        assert!(Limits { max_frame_bytes: 1 << 24, ..Limits::default() }.check().is_err());
        assert!(Limits { stream_window: 0, ..Limits::default() }.check().is_err());
        assert!(Limits { max_request_bytes: 0, ..Limits::default() }.check().is_err());
    }
}
