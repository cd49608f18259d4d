//! Finds the files of a feed, and decides when a changed file may be read.

pub mod changes;
pub mod files;
pub mod watch;
