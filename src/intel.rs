//! Indicators and what they compile to: one immutable snapshot, ready to match.

pub mod guard;
pub mod indicator;
pub mod pattern;
pub mod term;
