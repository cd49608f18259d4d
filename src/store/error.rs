//! The errors of the store.

use std::io;
use std::path::{Path, PathBuf};

/// A file or directory of the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The path cannot be read.
    #[error("{path}: cannot be read: {cause}; give this process the right to read the store")]
    Read { path: PathBuf, cause: io::Error },
    /// The path cannot be written.
    #[error("{path}: cannot be written: {cause}; give this process write permission, and check the free space")]
    Write { path: PathBuf, cause: io::Error },
    #[error(
        "{0}: is the cache of a node (`intel.control.cache`), which deletes segments; give the store a directory of its own"
    )]
    Cache(PathBuf),
    /// A new node would exceed the quota.
    #[error(
        "{path}: the quota of {most} nodes is used up; remove nodes that no longer exist, or raise `--tenant-nodes`"
    )]
    TooManyNodes {
        /// The directory of the tenant.
        path: PathBuf,
        /// The quota.
        most: usize,
    },
    /// The tenant's quota of bytes is used up.
    #[error("{0}: the quota of this tenant is used up; remove files of its alerts, or raise `--tenant-bytes`")]
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
