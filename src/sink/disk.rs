//! The file system as used by the sinks that write files. Tests run the same code on a simulated file system, with
//! short writes, a full disk, a crash between two calls, and files that are renamed, removed or truncated at any step.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::durable::{self, Durability};
use crate::file_timeout::within;

/// A file system.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file for reading and appending. A file that does not exist is created with mode 0600. A device or a pipe
    /// is opened for writing only, a pipe only if it has a reader.
    ///
    /// # Errors
    /// The file cannot be opened.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading only.
    ///
    /// # Errors
    /// The file does not exist, or cannot be opened.
    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Describes the file that a path names now, or returns `None` if there is no such file.
    ///
    /// # Errors
    /// The path cannot be checked.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;

    /// Replaces an existing file by a new one with the same permissions, atomically: either the whole new file is at
    /// the path and synced, or the old one is. `write` writes the content.
    ///
    /// # Errors
    /// `write` fails, or the new file cannot be written.
    fn replace(&self, path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<Stat>;

    /// Syncs the directory of a file: without it, a power loss may undo a new name.
    ///
    /// # Errors
    /// The directory cannot be opened or synced.
    fn sync_directory_of(&self, path: &Path) -> io::Result<()>;
}

/// An open file. It remains the same file when its path names another one.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Describes the file.
    ///
    /// # Errors
    /// The system cannot describe the file.
    fn stat(&self) -> io::Result<Stat>;

    /// Reads from an offset, and returns the number of bytes: 0 at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Appends bytes, and returns how many were written, which may be fewer than all.
    ///
    /// # Errors
    /// Nothing could be written.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Reserves space for this many appended bytes, without writing them. A file system that cannot reserve space
    /// guarantees nothing.
    ///
    /// # Errors
    /// There is not enough space.
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Truncates the file to a length.
    ///
    /// # Errors
    /// The length cannot be changed.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Syncs the written bytes to the disk.
    ///
    /// # Errors
    /// The sync failed. What was written since the last success may be lost, even if a later call succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// Takes the advisory lock for this open file, without waiting. Returns whether it succeeded: another open file, of
    /// this process or of another, may hold the lock. The lock ends with [`DiskFile::unlock`] or when the file is
    /// dropped.
    ///
    /// # Errors
    /// The file system does not support locks.
    fn try_lock(&self) -> io::Result<bool>;

    /// Releases the lock.
    ///
    /// # Errors
    /// The system refuses.
    fn unlock(&self) -> io::Result<()>;
}

/// The metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The identity of the file.
    pub id: FileId,
    /// The length in bytes.
    pub len: u64,
    /// Whether it is a regular file. Others (devices, pipes) have no length, no end and no lock.
    pub is_regular: bool,
}

/// Identifies a file independently of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    pub device: u64,
    /// The inode on that device.
    pub inode: u64,
}

impl dyn DiskFile {
    /// Appends all of `bytes`, and returns how many bytes were written, with the error that stopped the writing.
    pub fn write_all(&self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.write(&bytes[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Whether the last line of a file of this length is incomplete, as left by a writer that was killed or ran out of
    /// space.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ends_inside_a_line(&self, len: u64) -> io::Result<bool> {
        let mut last = [0];
        // Nothing is read if the file was truncated in the meantime.
        Ok(len > 0 && self.read_at(&mut last, len - 1)? == 1 && last != *b"\n")
    }
}

/// The file system of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostDisk;

impl Disk for HostDisk {
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(within(path, open_to_append)?))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(within(path, |path| File::open(path))?))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(Stat::from(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<Stat> {
        let permissions = std::fs::metadata(path)?.permissions();
        let new = durable::replace_with(path, Durability::Synced, Some(permissions), write)?;
        new.metadata().map(|found| Stat::from(&found))
    }

    fn sync_directory_of(&self, path: &Path) -> io::Result<()> {
        durable::sync_directory(durable::directory_of(path))
    }
}

/// Opens a pipe only if it has a reader: otherwise the system would wait for one indefinitely.
fn open_to_append(path: &Path) -> io::Result<File> {
    let is_special = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    let mut options = OpenOptions::new();
    options.read(!is_special).append(true).create(true).mode(0o600);
    // The flag has no effect on a regular file.
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => {
            io::Error::new(error.kind(), "it is a pipe that no process reads: start its reader first, or give a file")
        }
        _ => error,
    })?;
    if is_special {
        // Writing waits for the reader, on a blocking thread.
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    }
    Ok(file)
}

impl DiskFile for File {
    fn stat(&self) -> io::Result<Stat> {
        self.metadata().map(|found| Stat::from(&found))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self;
        Write::write(&mut file, bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let found = self.metadata()?;
        if !found.is_file() || bytes == 0 {
            return Ok(());
        }
        // The length does not change, so that readers see no hole.
        match rustix::fs::fallocate(self, FallocateFlags::KEEP_SIZE, found.len(), bytes) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO | Errno::ROFS)) => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        File::unlock(self)
    }
}

impl From<&std::fs::Metadata> for Stat {
    fn from(found: &std::fs::Metadata) -> Stat {
        let id = FileId { device: found.dev(), inode: found.ino() };
        Stat { id, len: found.len(), is_regular: found.is_file() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: an open file is identified through a rename, is private, and its lock excludes another open file
    /// until it is dropped.
    #[test]
    fn a_file_keeps_its_identity_and_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let first = HostDisk.append(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(HostDisk.stat(&path).unwrap(), Some(first.stat().unwrap()));
        assert!(first.try_lock().unwrap());
        assert!(!HostDisk.append(&path).unwrap().try_lock().unwrap());
        std::fs::rename(&path, directory.path().join("other")).unwrap();
        assert_eq!(HostDisk.stat(&path).unwrap(), None);
        let second = HostDisk.append(&path).unwrap();
        assert_ne!(second.stat().unwrap().id, first.stat().unwrap().id);
        assert!(second.try_lock().unwrap());
        drop(second);
        assert!(HostDisk.append(&path).unwrap().try_lock().unwrap());
    }

    /// Guarantee: reserving space changes nothing that a reader sees, and more than any disk has is refused.
    #[test]
    fn room_is_reserved_without_a_trace() {
        let directory = tempfile::tempdir().unwrap();
        let file = HostDisk.append(&directory.path().join("file")).unwrap();
        assert!(matches!(file.write_all(b"line\n"), (5, Ok(()))));
        file.reserve(10_000).unwrap();
        assert_eq!(file.stat().unwrap().len, 5);
        assert!(matches!(file.write_all(b"more\n"), (5, Ok(()))));
        assert_eq!(std::fs::read(directory.path().join("file")).unwrap(), b"line\nmore\n");
        assert!(file.reserve(1 << 60).is_err());
    }

    /// Guarantee: the end of a file shows whether its last line is complete; a file is replaced completely or not at
    /// all.
    #[test]
    fn lines_end_and_files_are_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = HostDisk.append(&path).unwrap();
        for (text, torn) in [("", false), ("a", true), ("\n", false), ("bc\nd", true)] {
            assert!(matches!(file.write_all(text.as_bytes()), (written, Ok(())) if written == text.len()));
            assert_eq!(file.ends_inside_a_line(file.stat().unwrap().len).unwrap(), torn, "{text:?}");
        }
        let failed =
            HostDisk.replace(&path, &mut |new| new.write_all(b"x").and(Err(io::ErrorKind::StorageFull.into())));
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"a\nbc\nd");
        assert_eq!(HostDisk.replace(&path, &mut |new| new.write_all(b"xyz")).unwrap().len, 3);
        assert_eq!(std::fs::read(&path).unwrap(), b"xyz");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
