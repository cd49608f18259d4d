//! The beginning of a segment: what was fetched of it so far.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::{CacheError, files};
use crate::intel::manifest::{Digest, Hasher};

/// A file that grows to a segment.
#[derive(Debug)]
pub(in super::super) struct Part {
    path: PathBuf,
    file: File,
    digest: Digest,
    hasher: Hasher,
    /// Bytes in the file.
    written: u64,
    /// Bytes that it is to have.
    bytes: u64,
}

impl Part {
    pub(super) fn open(path: PathBuf, digest: Digest, bytes: u64) -> Result<Part, CacheError> {
        let open = || {
            let mut file = files::private().create(true).truncate(false).read(true).write(true).open(&path)?;
            let mut hasher = Hasher::default();
            let mut written = files::feed(&mut file, &mut hasher)?;
            if written > bytes {
                // It is none of this segment's.
                file.set_len(0)?;
                file.rewind()?;
                (hasher, written) = (Hasher::default(), 0);
            }
            Ok((file, hasher, written))
        };
        let (file, hasher, written) = open().map_err(|cause| CacheError::io(&path, "opened", cause))?;
        Ok(Part { path, file, digest, hasher, written, bytes })
    }

    /// Whose beginning it is.
    pub(in super::super) fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes are there: the offset of the next one.
    pub(in super::super) fn written(&self) -> u64 {
        self.written
    }

    /// How many are missing.
    pub(in super::super) fn missing(&self) -> u64 {
        self.bytes - self.written
    }

    /// Adds the next bytes, no more than are missing.
    ///
    /// # Errors
    /// They cannot be written. The part is cut to what is whole when that can be done.
    pub(in super::super) fn append(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        if let Err(cause) = self.file.write_all(bytes) {
            // A piece of them may stand there; without it the part can still be continued.
            let _ = self.file.set_len(self.written);
            return Err(CacheError::io(&self.path, "written", cause));
        }
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Deletes it.
    pub(in super::super) fn delete(self) -> Result<(), CacheError> {
        fs::remove_file(&self.path).map_err(|cause| CacheError::io(&self.path, "removed", cause))
    }

    /// Gives it its name if it is right, else deletes it.
    pub(super) fn finish(self, to: &Path) -> Result<(), CacheError> {
        let found = self.hasher.clone().finish();
        if self.written != self.bytes || found != self.digest {
            let (path, written) = (self.path.clone(), self.written);
            self.delete()?;
            return Err(CacheError::Segment { path, cause: format!("its {written} bytes have the digest {found}") });
        }
        self.file.sync_all().map_err(|cause| CacheError::io(&self.path, "synced", cause))?;
        fs::rename(&self.path, to).map_err(|cause| CacheError::io(to, "renamed", cause))
    }
}
