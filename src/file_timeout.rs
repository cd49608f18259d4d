//! A bound on the time that a file may take to open. A mount whose server is gone, or a pipe without the other end, would
//! hold up whoever opens it forever, and with it a start, a reload, or the signal that should end them.

use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How long opening or reading one small file may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Does something with a file on a thread of its own, and waits for it. When it takes too long, the thread is left to its
/// fate. Blocks; not for paths that are used for each batch.
///
/// # Errors
/// Those of `work`, `TimedOut`, or the system gives no thread.
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
        // Nobody waits any more when it took too long.
        let _ = done.send(work(&path));
    })?;
    result.recv_timeout(limit).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "no answer within {} s: its file system hangs, or it is a pipe without another end",
                    limit.as_secs()
                ),
            ),
            RecvTimeoutError::Disconnected => io::Error::other("opening it panicked because of a bug in Hotlist"),
        })
    })
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Scenario: a pipe that nobody writes to is opened for reading, which blocks. Guarantee: the reason comes in time; a
    /// file is opened as always.
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
        // Lets the thread go.
        std::fs::write(&pipe, "").unwrap();
    }
}
