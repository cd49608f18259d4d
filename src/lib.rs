//! Hotlist: a gRPC sidecar that checks every observable of every log event against indicators of compromise.
//!
//! Modules are grouped by layer, the lowest first.

pub use hotlist_core::{
    alert_key, asset, circumstances, detect, encoding, enrich, escape, intel, matcher, observable, policy, rules,
    schema, severity, text, work,
};

pub mod config;
pub mod telemetry;

pub mod counted;
pub mod durable;
pub mod file_timeout;
pub mod names;
pub mod net;
pub mod pipeline;
pub mod proto;
pub mod readiness;
pub mod task;

pub mod admin;
pub mod feed;
pub mod logs;
pub mod publisher;
pub mod sink;
pub mod source;
pub mod store;

pub mod controlplane;
pub mod provider;

pub mod app;
pub mod cli;
