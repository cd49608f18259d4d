//! The transport from socket to socket: a real source, a real sink, and a next hop that the test controls.
//!
//! Matching is replaced by the identity here, so that every byte and every status seen is the transport's.

// Marked as tests because clippy allows `unwrap` only in what is.
#[cfg(test)]
mod answers;
#[cfg(test)]
#[path = "../support/authority.rs"]
mod authority;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod client;
#[cfg(test)]
mod connection_age;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod dead_connections;
#[cfg(test)]
mod descriptors;
#[cfg(test)]
mod fan_out;
#[cfg(test)]
mod health;
#[cfg(test)]
mod http;
#[cfg(test)]
mod http_client;
#[cfg(test)]
mod http_connections;
#[cfg(test)]
mod large_answers;
#[cfg(test)]
mod loops;
#[cfg(test)]
mod metadata;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod next_hop;
#[cfg(test)]
mod otlp_http_sink;
#[cfg(test)]
#[path = "../support/vector.rs"]
mod peer;
#[cfg(test)]
mod protocols;
#[cfg(test)]
mod rejected;
#[cfg(test)]
mod rejected_command;
#[cfg(test)]
mod resend;
#[cfg(test)]
mod room_first;
#[cfg(test)]
mod rotation;
#[cfg(test)]
#[path = "../support/shared.rs"]
mod shared;
#[cfg(test)]
mod sidecar;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod sinks;
#[cfg(test)]
mod slow_uploads;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod vector;
#[cfg(test)]
mod wire;
