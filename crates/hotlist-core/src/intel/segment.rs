//! Segments: immutable files of compiled indicators, mapped into memory and matched against in place.
//!
//! `docs/segment-format.md` is the format; the modules here follow its chapters. A segment is opened by
//! [`Segment::open`], which reads all of it once and refuses whatever does not hold, or made in memory by a
//! [`SegmentBuilder`]; both match alike.

mod build;
mod bytes;
mod check;
mod columns;
mod composite;
mod context;
#[expect(clippy::disallowed_methods, reason = "segments are files, at paths that the caller gives")]
mod file;
mod lists;
mod read;
mod sections;
mod table;
mod withdrawn;

use std::fmt;
use std::path::PathBuf;

pub use super::keys::TableId;
pub use super::manifest::Digest;
use crate::observable::CANONICAL_VERSION;

pub use build::{BuildError, HashKey, Keep, Numbering, SegmentBuilder, values};
pub use composite::Composite;
pub use file::{COPIED_BYTES, canonical_version, file_name, indicators};
pub use lists::{Range, SegmentFeed, Tombstone};
pub use read::Segment;
pub use table::Table;
pub use withdrawn::{IndicatorSet, withdrawn, withdraws};

/// The reason that a segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Its digest is not the expected one.
    #[error("the segment's SHA-256 is {found}, and not {expected}; fetch it again")]
    Digest {
        /// The requested value.
        expected: Digest,
        /// Its digest.
        found: Digest,
    },
    /// No segment at all, or one of another version.
    #[error(
        "no segment of format version {} ({found}); compile it again with this version of hotlist",
        sections::VERSION
    )]
    Format {
        /// Its actual kind.
        found: String,
    },
    /// Its keys are canonical forms of another version.
    #[error(
        "the segment has canonical forms of version {found}, and this hotlist reads version {CANONICAL_VERSION}; compile its feeds again with `hotlist compile`"
    )]
    Forms {
        /// The version that it says; 0 in segments from before there was one.
        found: u16,
    },
    /// The checksum at its end is another.
    #[error("the segment is damaged: its checksum does not match; fetch it again, or compile it again")]
    Checksum,
    /// Something in it cannot be. If its checksum holds, the program that wrote it has a bug.
    #[error("the segment is malformed: {place}: {what}; compile it again")]
    Malformed {
        /// The section.
        place: String,
        /// The fault.
        what: &'static str,
    },
}

impl SegmentError {
    fn at(place: impl fmt::Display, what: &'static str) -> SegmentError {
        SegmentError::Malformed { place: place.to_string(), what }
    }
}
