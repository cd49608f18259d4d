//! The control stream: a control plane tells sidecars which indicators to serve, and learns what they do.
//!
//! [`store`] is the directory that holds everything: publications, segments, what is known of nodes, their alerts.
//! [`server`] serves it and keeps nothing beside it, so that several processes can serve one store. [`operator`] asks a
//! control plane for its nodes. [`client`] is the sidecar's end. docs/control.md is the reference of the control plane,
//! docs/control-node.md that of a sidecar.

pub mod client;
pub mod names;
pub mod operator;
pub mod server;
pub mod store;

/// A random number.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library keys each of its hashers from the system's entropy.
    std::hash::RandomState::new().build_hasher().finish()
}
