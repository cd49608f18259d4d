//! The control stream: a control plane distributes indicators to sidecars, and collects their status.
//!
//! [`store`] is the directory that holds all state: publications, segments, node records, alerts. [`server`] serves the
//! store and keeps no other state, so that several processes can serve one store. [`operator`] lists and removes the
//! nodes of a control plane. [`client`] is the sidecar's side. docs/control.md is the reference of the control plane,
//! docs/control-node.md the reference of the sidecar.

pub mod client;
pub mod names;
pub mod operator;
pub mod server;
pub mod store;

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library keys each of its hashers from the system's entropy.
    std::hash::RandomState::new().build_hasher().finish()
}
