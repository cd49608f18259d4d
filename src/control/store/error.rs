//! Why the store cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// A file or directory of the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read.
    #[error("{path}: cannot be read: {cause}; give this process the right to read the store")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It cannot be written.
    #[error("{path}: cannot be written: {cause}; give this process the right to write there, and room")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The directory is the cache of a node, which deletes segments.
    #[error(
        "{0}: is the cache of a node (`intel.control.cache`), which deletes segments; give the store a directory of its own"
    )]
    Cache(PathBuf),
    /// A node would be one too many.
    #[error(
        "{path}: {most} nodes are known already; remove the files of those that are gone, or raise `--tenant-nodes`"
    )]
    TooManyNodes {
        /// The directory of the tenant.
        path: PathBuf,
        /// The most.
        most: usize,
    },
    /// A tenant has filled its part of the store.
    #[error("{0}: this tenant has used its bytes; take files of its alerts away, or raise `--tenant-bytes`")]
    TenantBytes(PathBuf),
}

impl StoreError {
    pub(super) fn read(path: &Path, cause: io::Error) -> StoreError {
        StoreError::Read { path: path.to_owned(), cause }
    }

    pub(super) fn write(path: &Path, cause: io::Error) -> StoreError {
        StoreError::Write { path: path.to_owned(), cause }
    }
}
