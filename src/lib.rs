//! Hotlist: a gRPC sidecar that checks every observable of every log event against indicators of compromise.
//!
//! Modules stand in the order in which data meets them.

pub mod config;
pub mod escape;
pub mod telemetry;

pub mod encoding;
pub mod fields;
pub mod observable;

pub mod intel;
pub mod matcher;
pub mod policy;

pub mod enrich;

pub mod delivery;
pub mod detect;
pub mod dial;
pub mod file_timeout;
pub mod grpc;
pub mod proto;
pub mod socket;
pub mod task;
pub mod tls;

pub mod admin;
pub mod control;
pub mod feed;
pub mod forward;
pub mod ingest;

pub mod app;
pub mod cli;
