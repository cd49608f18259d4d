//! Hotlist: a gRPC sidecar that checks every observable of every log event against indicators of compromise.
//!
//! Modules stand in the order in which data meets them.

pub use hotlist_core::{encoding, enrich, escape, fields, intel, matcher, observable, policy};

pub mod config;
pub mod telemetry;

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
