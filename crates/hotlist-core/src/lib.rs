//! The matching of Hotlist as a library: finds indicators of compromise in log events, and tags what hits.
//!
//! Everything here is pure: time, files and readers are arguments. There is no runtime, clock, environment, metric or log.

pub mod encoding;
pub mod enrich;
pub mod escape;
pub mod fields;
pub mod intel;
pub mod matcher;
pub mod observable;
pub mod policy;
