//! Hotlist: a gRPC sidecar that checks every observable of every log event against indicators of compromise.
//!
//! Modules stand in the order in which data meets them.

pub mod config;

pub mod encoding;
pub mod fields;
pub mod observable;

pub mod intel;

pub mod delivery;

pub mod admin;
pub mod cli;
pub mod telemetry;
