//! The `rejected` file: records that a next hop refuses for good, kept on disk until somebody sends them again.
//!
//! One JSON object a line, each a whole request of one record with what is needed to understand why it is here. Lines
//! are appended whole and fsynced before the collector is answered. Sidecar and `hotlist rejected` hold the file's lock
//! while they write, so that a line is never lost between them.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::delivery::Signal;
use crate::encoding::Format;

/// How long a writer waits for another that holds the lock; both hold it for one write only.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RejectedError {
    /// The system says no.
    #[error("the rejected file {path} cannot be used: {cause}; mend its directory, permissions or disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file has its largest size.
    #[error(
        "the rejected file {path} would grow beyond {max_bytes} bytes: send it again with `hotlist rejected resend`, \
         or raise `rejected.max_bytes`"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The bound.
        max_bytes: u64,
    },
    /// Another process holds the lock.
    #[error("the rejected file {path} is locked by another process: end it, and try again")]
    Locked {
        /// The file.
        path: PathBuf,
    },
}

/// One rejected record: a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was rejected.
    pub time: Timestamp,
    /// The sink whose next hop refused it.
    pub sink: String,
    /// Where that next hop was.
    pub endpoint: String,
    /// How the request is encoded; lines without it are OTLP.
    #[serde(default)]
    pub format: Format,
    /// What the record is.
    pub signal: Signal,
    /// The word for the answer, as in the metric of answers: `invalid_argument`, `http_413`.
    pub status: String,
    /// The next hop's text.
    pub message: String,
    /// The request that was refused, of one record; base64 in the file.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub request: Bytes,
}

/// A sink's rejected file.
#[derive(Debug)]
pub struct RejectedFile {
    path: PathBuf,
    max_bytes: u64,
}

/// One line as it was read.
#[derive(Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// Identifies it to [`remove`].
    pub digest: LineDigest,
    /// The entry, or why there is none.
    pub entry: Result<Entry, String>,
}

/// SHA-256 of a line without its end.
pub type LineDigest = [u8; 32];

impl RejectedFile {
    /// Checks that the file can be written, and makes it when it is not there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(path: PathBuf, max_bytes: u64) -> Result<RejectedFile, RejectedError> {
        open_to_append(&path).map_err(|cause| RejectedError::Io { path: path.clone(), cause })?;
        Ok(RejectedFile { path, max_bytes })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends entries: all of them are on the disk when this returns, or none is. Blocks.
    ///
    /// # Errors
    /// The file is full, locked, or cannot be written.
    pub fn append(&self, entries: &[Entry]) -> Result<(), RejectedError> {
        let io = |cause| RejectedError::Io { path: self.path.clone(), cause };
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry).map_err(|error| io(error.into()))?;
            lines.push(b'\n');
        }
        let (mut file, _) = lock(&self.path, open_to_append)?;
        let before = file.metadata().map_err(io)?.len();
        if ends_inside_a_line(&mut file, before).map_err(io)? {
            lines.insert(0, b'\n');
        }
        if before + lines.len() as u64 > self.max_bytes {
            return Err(RejectedError::Full { path: self.path.clone(), max_bytes: self.max_bytes });
        }
        let written = file.write_all(&lines).and_then(|()| file.sync_data());
        let written = if before == 0 { written.and_then(|()| sync_directory(&self.path)) } else { written };
        if written.is_err() {
            // A torn line would be closed by the next one, too; this is for whoever reads until then.
            let _ = file.set_len(before);
        }
        written.map_err(io)
    }
}

/// Calls `each` for every line that is in the file now, in order. Blank lines are passed over. A line that cannot be
/// read, as a killed process leaves at the end, is told, and does not hide the others.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path, each: impl FnMut(Line)) -> Result<(), RejectedError> {
    let io = |cause| RejectedError::Io { path: path.to_owned(), cause };
    // Under the lock nobody is in the middle of a line. Behind it the file only grows, or is replaced by another one.
    let (file, len) = lock(path, |path| File::open(path))?;
    file.unlock().map_err(io)?;
    lines(BufReader::new(file.take(len)), each).map_err(io)
}

/// The same for bytes from anywhere.
///
/// # Errors
/// They cannot be read.
pub fn lines(mut bytes: impl BufRead, mut each: impl FnMut(Line)) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if bytes.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let ended = line.last() == Some(&b'\n');
        let text = line.trim_ascii_end();
        if !text.is_empty() {
            let torn = if ended { "" } else { " (the line is torn: a process was killed while it wrote)" };
            let entry = serde_json::from_slice(text).map_err(|error| format!("{error}{torn}"));
            each(Line { number, digest: digest(text), entry });
        }
    }
    Ok(())
}

/// Takes lines out of the file, with one that is written beside it and takes its place. Says how many bytes are left.
///
/// # Errors
/// The file cannot be read or written; then it is as it was.
pub fn remove(path: &Path, lines: &HashSet<LineDigest>) -> Result<u64, RejectedError> {
    let io = |cause| RejectedError::Io { path: path.to_owned(), cause };
    let (file, _) = lock(path, open_to_append)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut kept = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
    kept.as_file().set_permissions(file.metadata().map_err(io)?.permissions()).map_err(io)?;
    let mut old = BufReader::new(&file);
    old.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut line = Vec::new();
    while old.read_until(b'\n', &mut line).map_err(io)? > 0 {
        if !lines.contains(&digest(line.trim_ascii_end())) {
            kept.write_all(&line).map_err(io)?;
        }
        line.clear();
    }
    kept.as_file().sync_all().map_err(io)?;
    let new = kept.persist(path).map_err(|error| io(error.error))?;
    sync_directory(path).map_err(io)?;
    new.metadata().map(|found| found.len()).map_err(io)
}

/// Opens the file, locks it and says how long it is. One that was replaced while the lock was waited for is opened again.
fn lock(path: &Path, open: impl Fn(&Path) -> io::Result<File>) -> Result<(File, u64), RejectedError> {
    let io = |cause| RejectedError::Io { path: path.to_owned(), cause };
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        let file = open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {
                let held = file.metadata().map_err(io)?;
                if std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino())) {
                    return Ok((file, held.len()));
                }
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(cause)) => return Err(io(cause)),
        }
        if Instant::now() >= deadline {
            return Err(RejectedError::Locked { path: path.to_owned() });
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn ends_inside_a_line(file: &mut File, len: u64) -> io::Result<bool> {
    if len == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(len - 1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// A new name is on the disk only when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn digest(line: &[u8]) -> LineDigest {
    Sha256::digest(line).into()
}

fn to_base64<S: Serializer>(request: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(request))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry {
            time: Timestamp::UNIX_EPOCH,
            sink: "next".to_owned(),
            endpoint: "http://127.0.0.1:1".to_owned(),
            format: Format::Otlp,
            signal: Signal::Logs,
            status: "invalid_argument".to_owned(),
            message: text.to_owned(),
            request: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    fn lines(path: &Path) -> Vec<Line> {
        let mut lines = Vec::new();
        read(path, |line| lines.push(line)).unwrap();
        lines
    }

    /// Scenario: a process was killed in the middle of a line, and the next one appends. Guarantee: the torn line is
    /// reported by its number, every other is whole.
    #[test]
    fn a_torn_line_hides_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejected.ndjson");
        let file = RejectedFile::open(path.clone(), 1 << 20).unwrap();
        file.append(&[entry("a"), entry("b")]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 10]).unwrap();
        assert!(lines(&path)[1].entry.as_ref().unwrap_err().contains("torn"), "{:?}", lines(&path));
        file.append(&[entry("c")]).unwrap();
        let found: Vec<_> = lines(&path).into_iter().map(|line| (line.number, line.entry.ok())).collect();
        assert_eq!(found, [(1, Some(entry("a"))), (2, None), (3, Some(entry("c")))]);
    }

    /// Guarantee: at its bound the file refuses whole, and stays as it was.
    #[test]
    fn a_full_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejected.ndjson");
        let file = RejectedFile::open(path.clone(), 400).unwrap();
        file.append(&[entry("a")]).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(file.append(&[entry("b"), entry("c")]), Err(RejectedError::Full { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = PathBuf::from("/dev/full");
        if !full.exists() {
            println!("skipped: this system has no /dev/full");
            return;
        }
        let file = RejectedFile::open(full, 1 << 20).unwrap();
        assert!(matches!(file.append(&[entry("a")]), Err(RejectedError::Io { .. })));
    }

    /// Scenario: one thread appends a hundred lines while another takes out whatever it sees, again and again.
    /// Guarantee: each line is either in the file or was taken out, exactly once: none is lost in a replaced file.
    #[test]
    fn appending_while_another_rewrites_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejected.ndjson");
        let file = RejectedFile::open(path.clone(), 1 << 20).unwrap();
        let appending = std::thread::spawn(move || {
            (0..100).for_each(|number| file.append(&[entry(&number.to_string())]).unwrap());
        });
        let mut taken = Vec::new();
        loop {
            let last = appending.is_finished();
            let seen = lines(&path);
            remove(&path, &seen.iter().map(|line| line.digest).collect()).unwrap();
            taken.extend(seen.into_iter().map(|line| line.entry.unwrap().message.parse::<u32>().unwrap()));
            if last {
                break;
            }
        }
        appending.join().unwrap();
        assert_eq!(taken, Vec::from_iter(0..100));
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
