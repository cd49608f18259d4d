//! Providers of indicators: each offers what it has to the owner of the active snapshot.
//!
//! docs/control-node.md is the reference of the control stream's client.

pub mod control;
