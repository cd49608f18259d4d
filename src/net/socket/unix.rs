//! The file of a Unix socket: replaced if a killed process left it, handed over to the next process during the shutdown,
//! and removed at the end.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Weak;

use crate::escape::Escaped;
use crate::file_timeout::within;

/// The mode bit of a socket whose process is shutting down: another process may replace the file. It is the sticky bit,
/// which the system ignores for sockets; only the owner of the file and root can set it.
const OFFERED: u32 = 0o1000;

/// The file of a bound socket. It is removed when this is dropped, unless another process replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

/// Offers the file of a socket to other processes, as long as the socket exists.
#[derive(Clone, Debug)]
pub struct SocketOffer(pub(super) Weak<SocketFile>);

impl SocketFile {
    /// The file at `path`, to which a socket was just bound.
    pub(super) fn bound(path: &Path) -> SocketFile {
        let identity = std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()));
        SocketFile { path: path.to_owned(), identity }
    }

    fn is_own(&self) -> bool {
        let found = std::fs::symlink_metadata(&self.path).ok().map(|found| (found.dev(), found.ino()));
        found.is_some() && found == self.identity
    }

    fn offer(&self) -> io::Result<()> {
        if !self.is_own() {
            return Ok(());
        }
        let mode = std::fs::symlink_metadata(&self.path)?.permissions().mode();
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode | OFFERED))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %Escaped(self.path.display()), error = %Escaped(&error), "cannot remove the file of the socket");
        }
    }
}

impl SocketOffer {
    /// Lets another process replace the file, while connections to it are still accepted here.
    pub fn make(&self) {
        let Some(file) = self.0.upgrade() else { return };
        let path = file.path.clone();
        if let Err(error) = within(&path, move |_| file.offer()) {
            tracing::warn!(path = %Escaped(path.display()), error = %Escaped(&error), "another process cannot take over the socket before this one ends");
        }
    }

    /// Whether the socket is gone.
    pub fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Removes the socket of a process that was killed or is shutting down. The socket of another live process, or a file
/// that is not a socket, is kept and reported as an error.
///
/// # Errors
/// The path is in use, or cannot be read or removed.
pub fn remove_stale(path: &Path) -> io::Result<()> {
    match check(path)? {
        true => std::fs::remove_file(path),
        false => Ok(()),
    }
}

/// Checks that a socket can be bound at `path` after a file there is removed, and whether there is one.
///
/// # Errors
/// The path is in use, or cannot be read.
pub fn check(path: &Path) -> io::Result<bool> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is not a socket: remove it, or choose another path",
        ));
    }
    if found.permissions().mode() & OFFERED != 0 {
        return Ok(true);
    }
    // A process that listens but does not accept may have a full queue.
    let connected = within(path, |path| UnixStream::connect(path).map(drop));
    if connected.is_ok() || connected.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there: stop it, or choose another path",
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(remove_stale(&path).is_ok(), "nothing there");

        let live = UnixListener::bind(&path).unwrap();
        assert_eq!(remove_stale(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(path.exists(), "a killed process leaves its file");
        remove_stale(&path).unwrap();
        assert!(!path.exists());

        std::fs::write(&path, "precious").unwrap();
        assert_eq!(remove_stale(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(path.exists());
    }

    /// Guarantee: a live socket is replaced after it was offered and not before, and the end of its process leaves the
    /// file of the next one alone.
    #[test]
    fn an_offered_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let live = UnixListener::bind(&path).unwrap();
        let file = Arc::new(SocketFile::bound(&path));
        let offer = SocketOffer(Arc::downgrade(&file));
        assert_eq!(remove_stale(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        offer.make();
        UnixStream::connect(&path).unwrap();
        live.accept().unwrap();

        remove_stale(&path).unwrap();
        let _next = UnixListener::bind(&path).unwrap();
        let next = SocketFile::bound(&path);
        offer.make();
        assert_eq!(remove_stale(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse, "the next one is not offered");
        drop((file, live));
        assert!(offer.is_over() && path.exists());
        drop(next);
        assert!(!path.exists());
    }
}
