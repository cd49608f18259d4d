//! The Filter source from socket to socket: streams, their order, window and ends, and Check. The matching is the real
//! one; where a test says process, so is the binary, and clients that nobody here wrote ask it.

// Marked as tests because clippy allows `unwrap` only in what is.
#[cfg(test)]
mod check;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod common;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod envelope;
#[cfg(test)]
#[path = "../support/grpcurl.rs"]
mod grpcurl;
#[cfg(test)]
#[path = "../support/held_port.rs"]
mod held_port;
#[cfg(test)]
mod process;
#[cfg(test)]
#[path = "../support/python.rs"]
mod python;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod window;
