//! Hotlist: a gRPC sidecar that checks every observable of every log event against indicators of compromise.
//!
//! Modules stand in the order in which data meets them.

pub mod encoding;
pub mod fields;
pub mod observable;

pub mod intel;

pub mod delivery;
pub mod grpc;

pub mod ingest;

pub mod forward;
