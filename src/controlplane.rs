//! The control plane: distributes indicators to sidecars, and collects their status.
//!
//! [`server`] answers nodes and operators from a [`store`](crate::store) and keeps no other state, so that several
//! processes can serve one store. [`process`] is what `hotlist control-plane` runs, [`operator`] lists and removes the
//! nodes of a control plane, [`compile`] turns feeds into segments of a store. The sidecar's side is [`provider::control`](crate::provider::control). docs/control.md is
//! the reference.

#[cfg(feature = "control-plane")]
pub mod compile;
pub mod operator;
#[cfg(feature = "control-plane")]
pub mod process;
#[cfg(feature = "control-plane")]
pub mod server;
