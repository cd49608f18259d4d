//! Segment files: their names in a store, and how they are opened. No other module opens one, except for a node, which has
//! a cache of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Store;
use crate::intel::manifest::Digest;
use crate::intel::segment::{self, Segment, SegmentError};

impl Store {
    pub fn segment(&self, digest: &Digest) -> PathBuf {
        self.segments().join(format!("{digest}.seg"))
    }

    /// Returns the number of indicators that a segment adds, from its header; `None` if the segment is missing or is not one.
    pub fn segment_indicators(&self, digest: &Digest) -> Option<u32> {
        segment::indicators(&self.segment(digest))
    }
}

/// Returns whether a file is a segment by its name.
pub fn is_segment_file(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "seg")
}

/// Opens a segment file, in a store or copied from one, and checks all of it.
///
/// # Errors
/// The file cannot be read, or is not a segment of this version.
pub fn open_segment_file(path: &Path) -> Result<Arc<Segment>, SegmentError> {
    Segment::open(path, None)
}
