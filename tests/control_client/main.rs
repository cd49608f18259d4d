//! The client of the control stream against a control plane that the test controls: real sockets, a real directory, and
//! a program that only records which versions are activated.

// Marked as tests because clippy allows `unwrap` only in what is.
#[cfg(test)]
mod answers;
#[cfg(test)]
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/authority.rs"]
mod authority;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod common;
#[cfg(test)]
mod connection;
#[cfg(test)]
mod fetching;
#[cfg(test)]
#[path = "../support/held_port.rs"]
mod held_port;
#[cfg(test)]
mod last_good;
#[cfg(test)]
mod plane;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod superseding;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod versions;
