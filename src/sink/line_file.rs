//! A file to which lines are appended: it follows its path through rotation, excludes a second writer, and tracks what
//! is synced to the disk.
//!
//! Acknowledged lines are in the file that the path names. So the path is checked before and after each write: if the
//! file was renamed, removed or truncated in between, the lines are written again. They may then be in two files, but
//! are never missing in both. The lock makes it safe to cut off a failed write: no other process with the lock has
//! appended, and one that appends without the lock is noticed by the length.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, FileId, Stat};
use crate::config::Fsync;
use crate::escape::Escaped;

/// How often a file is opened or written again if it is rotated at the same moment.
const ATTEMPTS: usize = 16;

/// The reason that lines are not written.
#[derive(Debug, thiserror::Error)]
pub enum LineFileError {
    /// The directory of the file does not exist.
    #[error("{0} does not exist or is not a directory: create it, or choose another path")]
    NoDirectory(PathBuf),
    /// The file cannot be opened.
    #[error("cannot open {path} for reading and appending: {cause}; check its permissions and its file system")]
    Open {
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    #[error(
        "{0} is locked by another writer, of this process or of another one: give each `ndjson` sink of each process a \
         file of its own, or end the other process"
    )]
    Locked(PathBuf),
    #[error("the write failed: {0}")]
    Write(io::Error),
    /// The lines are in the file, but may not be on the disk.
    #[error("syncing lines to the disk failed: {0}; check the disk: a power loss loses lines that are not on it")]
    Sync(io::Error),
    /// The file is rotated again and again.
    #[error("{0} is replaced or truncated faster than lines can be written: rotate it less often")]
    Unsteady(PathBuf),
}

/// Produces the lines, in pieces; it is called again if they must be written again. The pieces end with a complete
/// line.
pub type Lines<'a> = dyn Fn(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> + 'a;

/// A file to which lines are appended.
pub struct LineFile {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    open: Option<Open>,
    /// The error of a sync outside a write, until a write reports it.
    failed_sync: Option<io::Error>,
}

/// The file that the path named when it was last checked.
#[derive(Debug)]
struct Open {
    file: Box<dyn DiskFile>,
    id: FileId,
    is_regular: bool,
    /// Whether the lock is held: no other process that takes the lock writes to the file.
    is_locked: bool,
    /// Whether a write to a file without a length ended inside a line.
    is_torn: bool,
    has_unsynced_lines: bool,
    has_unsynced_name: bool,
}

/// The result of one attempt to write.
enum Written {
    /// This many bytes are in the open file.
    Whole(u64),
    /// The file was truncated in the meantime.
    Cut,
}

impl LineFile {
    /// Opens the file and takes its lock; creates the file, but not its directory.
    ///
    /// # Errors
    /// The file cannot be opened, or another writer has it.
    pub fn open(path: PathBuf, disk: Arc<dyn Disk>) -> Result<LineFile, LineFileError> {
        let mut file = LineFile { path, disk, open: None, failed_sync: None };
        file.follow()?;
        Ok(file)
    }

    /// Appends lines, and returns the number of bytes when they are in the file that the path names. Blocks.
    ///
    /// # Errors
    /// The lines are not in the file, or could not be synced as `fsync` demands. A partial write is cut off again if
    /// that removes nothing of another writer; otherwise it may stay in the file.
    pub fn append(&mut self, fsync: Fsync, lines: &Lines<'_>) -> Result<u64, LineFileError> {
        if let Some(cause) = self.failed_sync.take() {
            return Err(LineFileError::Sync(cause));
        }
        for _ in 0..ATTEMPTS {
            let path = self.path.clone();
            let disk = Arc::clone(&self.disk);
            let open = self.follow()?;
            match open.append(fsync, lines, || disk.sync_directory_of(&path)) {
                Ok(Written::Whole(bytes)) if names(&*disk, &path, open.id).map_err(LineFileError::Write)? => {
                    return Ok(bytes);
                }
                Ok(_) => {}
                Err(error) => {
                    if matches!(error, LineFileError::Sync(_)) {
                        // After this error the system may discard what it could not write. Only a file that is opened
                        // again reports the next fault, and the lines are retried with the batch.
                        self.open = None;
                    }
                    return Err(error);
                }
            }
        }
        Err(LineFileError::Unsteady(self.path.clone()))
    }

    /// Reserves space for this many appended bytes, if the file system supports that. Blocks.
    ///
    /// # Errors
    /// There is not enough space, or there is no file to append to.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), LineFileError> {
        self.follow()?.file.reserve(bytes).map_err(LineFileError::Write)
    }

    /// Opens the file again if the path names another one, or none. Blocks.
    ///
    /// # Errors
    /// The file cannot be opened, or another writer has it.
    pub fn reopen(&mut self) -> Result<(), LineFileError> {
        self.follow().map(|_| ())
    }

    /// Syncs what was written to the disk. Blocks. A fault is also the answer to the next write, so that it is noticed.
    ///
    /// # Errors
    /// A power loss may lose the lines since the last success.
    pub fn sync(&mut self) -> Result<(), LineFileError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let Err(cause) = open.sync(|| self.disk.sync_directory_of(&self.path)) else { return Ok(()) };
        self.open = None;
        self.failed_sync = Some(io::Error::new(cause.kind(), cause.to_string()));
        Err(LineFileError::Sync(cause))
    }

    /// Whether there are lines that [`LineFile::sync`] would sync.
    pub fn has_unsynced_lines(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.has_unsynced_lines)
    }

    /// Returns the file that the path names now, opened and locked.
    fn follow(&mut self) -> Result<&mut Open, LineFileError> {
        let current = match &self.open {
            Some(open) => names(&*self.disk, &self.path, open.id).map_err(|cause| self.cannot_open(cause))?,
            None => false,
        };
        if !current {
            self.retire();
            self.open = Some(self.open_locked()?);
        }
        // invariant: the file was just opened if there was none.
        self.open.as_mut().ok_or_else(|| LineFileError::Unsteady(self.path.clone()))
    }

    /// Closes a file that the path no longer names. Its lines are acknowledged.
    fn retire(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        tracing::info!(path = %Escaped(self.path.display()), "the file was rotated: lines go to a new file");
        // Its directory is not synced: the process that renamed or removed the file is responsible for its name.
        if open.has_unsynced_lines
            && let Err(error) = open.sync(|| Ok(()))
        {
            tracing::error!(path = %Escaped(self.path.display()), error = %Escaped(&error), "the last lines of a rotated file may not be on the disk");
        }
    }

    fn open_locked(&self) -> Result<Open, LineFileError> {
        let failed = |cause| self.cannot_open(cause);
        for _ in 0..ATTEMPTS {
            let file = self.disk.append(&self.path).map_err(failed)?;
            let Stat { id, is_regular, .. } = file.stat().map_err(failed)?;
            let is_locked = is_regular
                && match file.try_lock() {
                    Ok(true) => true,
                    Ok(false) => return Err(LineFileError::Locked(self.path.clone())),
                    Err(error) => {
                        tracing::warn!(path = %Escaped(self.path.display()), error = %Escaped(&error), "the file system does not support locks: a second writer cannot be detected");
                        false
                    }
                };
            if names(&*self.disk, &self.path, id).map_err(failed)? {
                let (is_torn, has_unsynced_lines, has_unsynced_name) = (false, false, is_regular);
                return Ok(Open { file, id, is_regular, is_locked, is_torn, has_unsynced_lines, has_unsynced_name });
            }
        }
        Err(LineFileError::Unsteady(self.path.clone()))
    }

    fn cannot_open(&self, cause: io::Error) -> LineFileError {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match directory {
            Some(directory) if matches!(self.disk.stat(directory), Ok(None)) || is_file(&*self.disk, directory) => {
                LineFileError::NoDirectory(directory.to_owned())
            }
            _ => LineFileError::Open { path: self.path.clone(), cause },
        }
    }
}

impl Drop for LineFile {
    /// Syncs the last lines, so that a power loss after an orderly stop loses nothing.
    fn drop(&mut self) {
        if self.has_unsynced_lines()
            && let Err(error) = self.sync()
        {
            tracing::error!(path = %Escaped(self.path.display()), error = %Escaped(&error), "the last lines may not be on the disk");
        }
    }
}

impl fmt::Debug for LineFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineFile").field("path", &self.path).field("open", &self.open).finish_non_exhaustive()
    }
}

impl Open {
    /// Appends lines, after ending a torn line.
    fn append(
        &mut self,
        fsync: Fsync,
        lines: &Lines<'_>,
        sync_name: impl Fn() -> io::Result<()>,
    ) -> Result<Written, LineFileError> {
        let before = self.file.stat().map_err(LineFileError::Write)?.len;
        let torn = match self.is_regular {
            true => self.file.ends_inside_a_line(before).map_err(LineFileError::Write)?,
            false => self.is_torn,
        };
        let mut written = 0;
        let mut put = |bytes: &[u8]| {
            let (count, result) = self.file.write_all(bytes);
            written += count as u64;
            result
        };
        let mut begun = false;
        let mut result = lines(&mut |piece| {
            if torn && !std::mem::replace(&mut begun, true) {
                put(b"\n")?;
            }
            put(piece)
        })
        .map_err(LineFileError::Write);
        if result.is_ok() && self.is_regular && fsync != Fsync::Never && written > 0 {
            self.has_unsynced_lines = true;
            if fsync == Fsync::Batch {
                result = self.sync(sync_name).map_err(LineFileError::Sync);
            }
        }
        if result.is_err() {
            self.cut_off(before, written);
        }
        result?;
        self.is_torn = false;
        let after = self.file.stat().map_err(LineFileError::Write)?.len;
        Ok(if self.is_regular && after < before + written { Written::Cut } else { Written::Whole(written) })
    }

    /// Cuts off a failed write if everything after `before` belongs to it. Otherwise a torn line stays, and the next
    /// write ends it.
    fn cut_off(&mut self, before: u64, written: u64) {
        self.is_torn |= written > 0;
        if self.is_locked && written > 0 && self.file.stat().is_ok_and(|now| now.len == before + written) {
            // The next write checks the end of the file, whether this works or not.
            let _ = self.file.set_len(before);
        }
    }

    fn sync(&mut self, sync_name: impl Fn() -> io::Result<()>) -> io::Result<()> {
        if self.has_unsynced_lines {
            self.file.sync_data()?;
            if self.has_unsynced_name {
                sync_name()?;
                self.has_unsynced_name = false;
            }
            self.has_unsynced_lines = false;
        }
        Ok(())
    }
}

fn names(disk: &dyn Disk, path: &Path, id: FileId) -> io::Result<bool> {
    Ok(disk.stat(path)?.is_some_and(|found| found.id == id))
}

fn is_file(disk: &dyn Disk, path: &Path) -> bool {
    disk.stat(path).is_ok_and(|found| found.is_some_and(|found| found.is_regular))
}

#[cfg(test)]
mod tests;
