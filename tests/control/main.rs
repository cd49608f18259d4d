//! The control plane from socket to socket: real servers over real sockets, clients that the test controls, and a
//! third-party client. A test that says process runs the binary.

// Marked as tests because clippy allows `unwrap` only in what is.
#[cfg(test)]
mod alerts;
#[cfg(test)]
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/authority.rs"]
mod authority;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod common;
#[cfg(test)]
mod fetch;
#[cfg(test)]
#[path = "../support/grpcurl.rs"]
mod grpcurl;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod names;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod node;
#[cfg(test)]
#[path = "../support/parts.rs"]
mod parts;
#[cfg(test)]
mod process;
#[cfg(test)]
mod publishing;
#[cfg(test)]
#[path = "../support/python.rs"]
mod python;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod sync;
