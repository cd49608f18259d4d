//! Segments as files: named by their digest, copied into memory when they are opened, or mapped when they are large.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::read::{Data, Segment};
use super::sections;
use super::{Digest, SegmentError};

/// A file of more bytes is mapped. A smaller one is copied, so that nothing that is done to it later matters.
pub const COPIED_BYTES: u64 = 16 << 20;

/// The name of a segment's file.
pub fn file_name(digest: &Digest) -> String {
    format!("{digest}.seg")
}

/// The version of the canonical forms that a segment file names in its head. `None` when the file cannot be read or is
/// not a segment. Nothing else of it is checked.
pub fn canonical_version(path: &Path) -> Option<u16> {
    let mut head = [0; 12];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    sections::canonical_version(&head)
}

/// The number of indicators that a segment file names in its head. `None` when the file cannot be read or is not a
/// segment of this version. Nothing else of it is checked.
pub fn indicators(path: &Path) -> Option<u32> {
    let mut head = [0; 44];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    sections::canonical_version(&head[..12])?;
    Some(u32::from_le_bytes([head[40], head[41], head[42], head[43]]))
}

impl Segment {
    /// Reads a file, or maps one of more than [`COPIED_BYTES`], and checks all of it. Nothing may write to a mapped file
    /// afterwards: the process ends when it reads where the file is cut off.
    ///
    /// # Errors
    /// It cannot be read, is damaged or malformed, or its digest is not the one that was asked for.
    pub fn open(path: &Path, expected: Option<Digest>) -> Result<Arc<Segment>, SegmentError> {
        let io = |source| SegmentError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let data = match file.metadata().map_err(io)?.len() {
            0 => return Err(SegmentError::Format { found: "it is empty".to_owned() }),
            length @ 1..=COPIED_BYTES => {
                let mut bytes = Vec::with_capacity(length as usize);
                file.take(length).read_to_end(&mut bytes).map_err(io)?;
                Data::Owned(bytes)
            }
            _ => Data::Mapped(map(&file).map_err(io)?),
        };
        Segment::checked(data, expected)
    }

    /// The same over bytes in memory.
    ///
    /// # Errors
    /// As [`Segment::open`].
    pub fn from_bytes(bytes: Vec<u8>, expected: Option<Digest>) -> Result<Arc<Segment>, SegmentError> {
        Segment::checked(Data::Owned(bytes), expected)
    }

    /// A builder's output, which needs no check.
    pub(super) fn built(bytes: Vec<u8>) -> Result<Arc<Segment>, SegmentError> {
        Segment::assemble(Data::Owned(bytes), None).map(Arc::new)
    }

    fn checked(data: Data, expected: Option<Digest>) -> Result<Arc<Segment>, SegmentError> {
        // Whether it is a segment at all is checked before its checksum.
        if let Err(error @ (SegmentError::Format { .. } | SegmentError::Forms { .. })) = sections::Head::read(&data) {
            return Err(error);
        }
        let found = sections::verify(&data)?;
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(SegmentError::Digest { expected, found });
        }
        let segment = Segment::assemble(data, Some(found))?;
        segment.check()?;
        Ok(Arc::new(segment))
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe, since others may change it")]
fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: segments are written under another name and renamed, never changed in place, in a directory that is ours
    // alone (docs/segment-format.md says so to operators). Every access is bounds-checked, so that other content than was
    // checked gives other answers, but reads nothing outside.
    unsafe { memmap2::Mmap::map(file) }
}
