//! Which files a feed has, and when one that changed may be read.

pub mod changes;
pub mod files;
pub mod watch;
