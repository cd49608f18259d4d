//! A partially fetched segment.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::{CacheError, files};
use crate::durable;
use crate::intel::manifest::{Digest, Hasher};

/// A file that grows to a segment.
#[derive(Debug)]
pub(in super::super) struct PartialSegment {
    path: PathBuf,
    file: File,
    digest: Digest,
    hasher: Hasher,
    /// The bytes in the file.
    written: u64,
    /// The bytes of the complete segment.
    bytes: u64,
}

impl PartialSegment {
    pub(super) fn open(path: PathBuf, digest: Digest, bytes: u64) -> Result<PartialSegment, CacheError> {
        let open = || {
            let mut file = durable::private().create(true).truncate(false).read(true).write(true).open(&path)?;
            let mut hasher = Hasher::default();
            let mut written = files::feed(&mut file, &mut hasher)?;
            if written > bytes {
                // The file does not belong to this segment.
                file.set_len(0)?;
                file.rewind()?;
                (hasher, written) = (Hasher::default(), 0);
            }
            Ok((file, hasher, written))
        };
        let (file, hasher, written) = open().map_err(|cause| CacheError::io(&path, "opened", cause))?;
        Ok(PartialSegment { path, file, digest, hasher, written, bytes })
    }

    pub(in super::super) fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the number of written bytes, which is the offset of the next one.
    pub(in super::super) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the number of missing bytes.
    pub(in super::super) fn missing(&self) -> u64 {
        self.bytes - self.written
    }

    /// Appends the next bytes, at most the missing ones.
    ///
    /// # Errors
    /// The bytes cannot be written. The file is truncated to its complete part if possible.
    pub(in super::super) fn append(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        if let Err(cause) = self.file.write_all(bytes) {
            // Some of the bytes may have been written; without them the fetch can still be resumed.
            let _ = self.file.set_len(self.written);
            return Err(CacheError::io(&self.path, "written", cause));
        }
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    pub(in super::super) fn delete(self) -> Result<(), CacheError> {
        fs::remove_file(&self.path).map_err(|cause| CacheError::io(&self.path, "removed", cause))
    }

    /// Renames the file to its final name if its digest matches, otherwise deletes it.
    pub(super) fn finish(self, to: &Path) -> Result<(), CacheError> {
        let found = self.hasher.clone().finish();
        if self.written != self.bytes || found != self.digest {
            let (path, written) = (self.path.clone(), self.written);
            self.delete()?;
            return Err(CacheError::Segment { path, cause: format!("its {written} bytes have the digest {found}") });
        }
        durable::commit_file(&self.file, &self.path, to).map_err(|cause| CacheError::io(to, "renamed", cause))
    }
}
