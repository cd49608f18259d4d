//! Connections in both directions: listening sockets, outgoing connections, TLS, and the framing of gRPC.

pub mod dial;
pub(crate) mod forward;
pub mod grpc;
pub mod socket;
pub mod tls;
