//! Bounds the time that opening a file may take. A mount whose server is gone, or a pipe without a process at its other
//! end, would block the caller forever: a start, a reload, or the signal that should end them.

use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How long opening or reading one small file may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Works on a file on a separate thread and waits for the result. After the time limit the thread is abandoned. Blocks;
/// not for work on every batch.
///
/// # Errors
/// An error of `work`, `TimedOut`, or the system refuses another thread.
pub fn within<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    within_limit(LIMIT, path, work)
}

fn within_limit<T: Send + 'static>(
    limit: Duration,
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, result) = sync_channel(1);
    let path = path.to_owned();
    std::thread::Builder::new().name("hotlist-open".to_owned()).spawn(move || {
        // After the time limit nobody receives the result.
        let _ = done.send(work(&path));
    })?;
    result.recv_timeout(limit).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "no answer within {} s: check that its file system responds, and that it is not a pipe without a process at its other end",
                    limit.as_secs()
                ),
            ),
            RecvTimeoutError::Disconnected => io::Error::other("opening it panicked, which is a bug in Hotlist: report it with the panic message in the log"),
        })
    })
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Scenario: a pipe that nobody writes to is opened for reading, which blocks. Guarantee: the error comes in time;
    /// a regular file is opened as usual.
    #[test]
    fn a_path_that_hangs_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let read = |path: &Path| std::fs::read(path);
        let error = within_limit(Duration::from_millis(20), &pipe, read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let file = directory.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(within(&file, read).unwrap(), b"x");
        assert_eq!(within(&directory.path().join("none"), read).unwrap_err().kind(), io::ErrorKind::NotFound);
        // Lets the blocked thread end.
        std::fs::write(&pipe, "").unwrap();
    }
}
