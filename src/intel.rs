//! Indicators and what they compile to: one immutable snapshot, ready to match.

pub mod exact;
pub mod indicator;
pub mod network;
pub mod prefilter;
pub mod space;
