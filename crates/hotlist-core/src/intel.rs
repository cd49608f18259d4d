//! Indicators, and the immutable snapshot that they compile to.

pub mod allowlist;
pub mod expression;
pub mod guard;
pub mod indicator;
pub mod keys;
pub mod manifest;
pub mod network;
pub mod pattern;
pub mod posting;
pub mod prefilter;
pub mod segment;
pub mod snapshot;
pub mod term;
