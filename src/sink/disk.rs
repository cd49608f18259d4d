//! The file system as the sinks that write files use it. Tests put a simulated one below the same code: with short
//! writes, a full disk, a crash between two calls, files that are renamed, removed or truncated at any step.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::file_timeout::within;

/// A file system.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file to read it and to write to its end. A file that does not exist is created with mode 0600. A device
    /// or a pipe is opened for writing only, a pipe only when it has a reader.
    ///
    /// # Errors
    /// The file cannot be opened.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading only.
    ///
    /// # Errors
    /// The file does not exist, or cannot be opened.
    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Describes the file that a path names now, or returns `None` when there is no such file.
    ///
    /// # Errors
    /// The path cannot be asked for.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;

    /// Puts a new file in the place of an existing one, with its permissions: either the whole new one is at the path
    /// and on the disk, or the old one is. `write` writes the content.
    ///
    /// # Errors
    /// `write` fails, or the new file cannot be written.
    fn replace(&self, path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<Stat>;

    /// Brings the directory of a file to the disk: without it, a power loss may take a new name away again.
    ///
    /// # Errors
    /// The directory cannot be opened or synced.
    fn sync_directory_of(&self, path: &Path) -> io::Result<()>;
}

/// An open file. It stays the same file when its path comes to name another one.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Describes the file.
    ///
    /// # Errors
    /// The system cannot say.
    fn stat(&self) -> io::Result<Stat>;

    /// Reads from a place on, and returns how many bytes: 0 at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes to the end of the file, and returns how many bytes were written: it may be fewer than all.
    ///
    /// # Errors
    /// Nothing could be written.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes sure that so many bytes can be written to the end of the file, without writing them. A file system that
    /// cannot do that promises nothing.
    ///
    /// # Errors
    /// There is no room for them.
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Cuts the file to a length.
    ///
    /// # Errors
    /// The length cannot be changed.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when what was written is on the disk.
    ///
    /// # Errors
    /// It is not. What was written since the last success may be lost, even when a later call succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// Takes the advisory lock for this open file, without waiting. Returns whether it did: another open file may hold
    /// it, of this process or of another. The lock ends with [`DiskFile::unlock`] or when the file is dropped.
    ///
    /// # Errors
    /// The file system has no locks.
    fn try_lock(&self) -> io::Result<bool>;

    /// Gives the lock back.
    ///
    /// # Errors
    /// The system refuses.
    fn unlock(&self) -> io::Result<()>;
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which file it is.
    pub id: FileId,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is a regular file. Others (devices, pipes) have no length, no end and no lock.
    pub is_regular: bool,
}

/// Identifies a file whatever its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

impl dyn DiskFile {
    /// Writes all of `bytes` to the end, and returns how many bytes were written with the error that ended it.
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

    /// Whether the last line of a file of this length has no end, as a writer leaves it that was killed or ran out of
    /// space.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ends_inside_a_line(&self, len: u64) -> io::Result<bool> {
        let mut last = [0];
        // Nothing is read when the file was cut meanwhile.
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
        let mut new = tempfile::NamedTempFile::new_in(directory_of(path))?;
        new.as_file().set_permissions(permissions)?;
        write(&mut new)?;
        new.as_file().sync_all()?;
        let new = new.persist(path).map_err(|error| error.error)?;
        self.sync_directory_of(path)?;
        new.metadata().map(|found| Stat::from(&found))
    }

    fn sync_directory_of(&self, path: &Path) -> io::Result<()> {
        File::open(directory_of(path))?.sync_all()
    }
}

/// Opens a pipe only when it has a reader: without one the system would wait for it, for as long as that takes.
fn open_to_append(path: &Path) -> io::Result<File> {
    let is_special = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    let mut options = OpenOptions::new();
    options.read(!is_special).append(true).create(true).mode(0o600);
    // A regular file takes no notice of the flag.
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => {
            io::Error::new(error.kind(), "it is a pipe that no process reads: start its reader first, or give a file")
        }
        _ => error,
    })?;
    if is_special {
        // Writing waits for the reader, on a thread for that.
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
        // The length stays, so that nobody who reads the file sees a hole.
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

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: an open file is known by its identity through a rename, is private, and its lock excludes another
    /// open file until it is dropped.
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

    /// Guarantee: room that is reserved changes nothing that a reader sees, and more than any disk has is refused.
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

    /// Guarantee: the end of a file says whether its last line is whole; a file is replaced whole or not at all.
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
