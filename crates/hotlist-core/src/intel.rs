//! Indicators and what they compile to: one immutable snapshot, ready to match.

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
