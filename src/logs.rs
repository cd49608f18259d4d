//! Log files as they are stored: which files a path names, their compression, and the events in them.
//!
//! Everything is streamed: whatever the size of a file, of a JSON array or of a compressed file's content, memory is
//! bounded by the largest event, and events are bounded by [`MAX_EVENT`].

pub mod files;
pub mod otlp;
pub mod split;
pub mod structure;
pub mod text;
pub mod unpack;
pub mod zeek;

/// The maximum length of an event, in bytes. A longer event is cut there, and the rest of its line is skipped.
pub const MAX_EVENT: usize = 64 << 20;
