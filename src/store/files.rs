//! Atomic file operations: files are written under a temporary name in the same directory, then renamed. All files and
//! directories are accessible only to this process's user.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The prefix of temporary names, which readers of the store's directories ignore.
const TEMPORARY: &str = ".tmp-";

/// Whether a file must survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// The file and its name are synced to disk.
    Yes,
    /// The content can be created again, so it is not synced.
    No,
}

/// Creates a directory and its missing parents.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Options to create a file with mode 0600, for files without a temporary name.
pub(super) fn private() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// Replaces a file atomically. Temporary files have mode 0600.
pub(super) fn write(path: &Path, content: &[u8], durable: Durable) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
    file.write_all(content)?;
    if durable == Durable::Yes {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    if durable == Durable::Yes { sync_directory(directory) } else { Ok(()) }
}

/// Syncs the names of a directory to disk.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Reads a complete file of at most this length.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {most} bytes")));
    }
    Ok(content)
}
