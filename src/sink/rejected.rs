//! The `rejected` file: records that a next hop refuses permanently, kept on disk until they are sent again.
//!
//! One JSON object per line: a whole request of one record, with the context that explains the refusal. Lines are
//! appended completely and synced before the collector is answered. Sidecar and `hotlist rejected` hold the lock of the
//! file while they write, so that no line is lost between them.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::disk::{Disk, DiskFile, FileId, HostDisk};
use crate::encoding::Format;
use crate::encoding::json::reason_without_place;
use crate::pipeline::Signal;

/// How long a writer waits for the lock; every holder keeps it for one write only.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// How often lines are written again if the file was moved away, removed or truncated at the same moment.
const ATTEMPTS: usize = 16;

/// The reason that the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RejectedError {
    /// The system reported an error.
    #[error("cannot use the rejected file {path}: {cause}; check its directory, permissions and disk")]
    Io { path: PathBuf, cause: io::Error },
    /// The file has reached its largest size.
    #[error(
        "the rejected file {path} would grow beyond {max_bytes} bytes: send it again with `hotlist rejected resend`, \
         or raise `rejected.max_bytes`"
    )]
    Full {
        path: PathBuf,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// Another process holds the lock.
    #[error("the rejected file {path} is locked by another process: stop that process, and retry")]
    Locked { path: PathBuf },
    /// The file is moved away or truncated whenever it is written.
    #[error("the rejected file {path} is moved away or truncated faster than it can be written: rotate it less often")]
    Unsteady { path: PathBuf },
}

/// One rejected record: a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub time: Timestamp,
    /// The sink whose next hop refused it.
    pub sink: String,
    /// The endpoint of that next hop.
    pub endpoint: String,
    /// The encoding of the request; OTLP if absent.
    #[serde(default)]
    pub format: Format,
    /// The signal of the record.
    pub signal: Signal,
    /// The label of the answer, as in the metric of answers: `invalid_argument`, `http_413`.
    pub status: String,
    /// The next hop's text.
    pub message: String,
    /// For a partial success, how many records of the request the next hop rejected. It does not report which, and OTLP
    /// forbids sending such a request again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<u64>,
    /// The request: of one refused record, or of all records of a partial success; base64 in the file.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub request: Bytes,
}

/// A sink's rejected file.
#[derive(Debug)]
pub struct RejectedFile {
    path: PathBuf,
    max_bytes: u64,
    disk: Arc<dyn Disk>,
    /// The file whose name is known to be synced to the disk.
    named: Mutex<Option<FileId>>,
}

#[derive(Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// Identifies the line for [`remove`].
    pub digest: LineDigest,
    /// The entry, or why it cannot be read.
    pub entry: Result<Entry, String>,
}

/// SHA-256 of a line without its newline.
pub type LineDigest = [u8; 32];

impl RejectedFile {
    /// Checks that the file can be written, and creates it if it does not exist.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open(path: PathBuf, max_bytes: u64) -> Result<RejectedFile, RejectedError> {
        RejectedFile::open_on(Arc::new(HostDisk), path, max_bytes)
    }

    /// Opens the file on a given file system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open_on(disk: Arc<dyn Disk>, path: PathBuf, max_bytes: u64) -> Result<RejectedFile, RejectedError> {
        disk.append(&path).map_err(|cause| RejectedError::Io { path: path.clone(), cause })?;
        Ok(RejectedFile { path, max_bytes, disk, named: Mutex::default() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends entries: when this returns, either all of them are on the disk, or none is. Blocks.
    ///
    /// # Errors
    /// The file is full, locked, or cannot be written.
    pub fn append(&self, entries: &[Entry]) -> Result<(), RejectedError> {
        self.append_below(self.max_bytes, entries)
    }

    /// Appends the request of a partial success. Only half of the file is available for these, so that they never
    /// displace a refused record. Blocks.
    ///
    /// # Errors
    /// That half is full, or the file is locked or cannot be written.
    pub fn append_partial(&self, entry: Entry) -> Result<(), RejectedError> {
        self.append_below(self.max_bytes / 2, &[entry])
    }

    fn append_below(&self, max_bytes: u64, entries: &[Entry]) -> Result<(), RejectedError> {
        let io = |cause| RejectedError::Io { path: self.path.clone(), cause };
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry).map_err(|error| io(error.into()))?;
            lines.push(b'\n');
        }
        for _ in 0..ATTEMPTS {
            let (file, before) = lock(&*self.disk, &self.path, |disk, path| disk.append(path))?;
            let torn = file.ends_inside_a_line(before).map_err(io)?;
            let all = if torn { [b"\n", lines.as_slice()].concat() } else { lines.clone() };
            if before + all.len() as u64 > max_bytes {
                return Err(RejectedError::Full { path: self.path.clone(), max_bytes });
            }
            self.write(&*file, before, &all).map_err(io)?;
            // A process that moves the file away takes its content at that moment, perhaps without these lines.
            let held = file.stat().map_err(io)?;
            let is_there = self.disk.stat(&self.path).map_err(io)?.is_some_and(|found| found.id == held.id);
            if is_there && (!held.is_regular || held.len >= before + all.len() as u64) {
                return Ok(());
            }
        }
        Err(RejectedError::Unsteady { path: self.path.clone() })
    }

    /// Writes lines at the end of a file of a given length, and syncs them. On failure, cuts them off again.
    fn write(&self, file: &(dyn DiskFile + 'static), before: u64, lines: &[u8]) -> io::Result<()> {
        let (written, result) = file.write_all(lines);
        let result = result.and_then(|()| file.sync_data()).and_then(|()| self.sync_name(file));
        if result.is_err() && file.stat().is_ok_and(|now| now.len == before + written as u64) {
            // The next write would end a torn line, too; this is for readers until then.
            let _ = file.set_len(before);
        }
        result
    }

    /// Another process may have created the file and ended before its name was synced.
    fn sync_name(&self, file: &(dyn DiskFile + 'static)) -> io::Result<()> {
        let id = file.stat()?.id;
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if *named != Some(id) {
            self.disk.sync_directory_of(&self.path)?;
            *named = Some(id);
        }
        Ok(())
    }
}

/// Calls `each` for every line that is in the file now, in order. Blank lines are skipped. An unreadable line, as a
/// killed process leaves at the end, is reported, and does not hide the others.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path, each: impl FnMut(Line)) -> Result<(), RejectedError> {
    read_on(&HostDisk, path, each)
}

/// Reads the file on a given file system.
///
/// # Errors
/// The file cannot be read.
pub fn read_on(disk: &dyn Disk, path: &Path, each: impl FnMut(Line)) -> Result<(), RejectedError> {
    let io = |cause| RejectedError::Io { path: path.to_owned(), cause };
    // Under the lock no process is in the middle of a line. Afterwards the file only grows, or is replaced by another
    // one.
    let (file, len) = lock(disk, path, |disk, path| disk.read(path))?;
    file.unlock().map_err(io)?;
    lines(BufReader::new(Reader { file: &*file, at: 0 }.take(len)), each).map_err(io)
}

/// Reads lines from any reader.
///
/// # Errors
/// The lines cannot be read.
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
            let entry = serde_json::from_slice(text).map_err(|error| format!("{}{torn}", reason_without_place(&error)));
            each(Line { number, digest: digest(text), entry });
        }
    }
    Ok(())
}

/// Removes lines from the file, each as many times as `lines` specifies, by writing a new file that replaces it.
/// Returns how many bytes are left.
///
/// # Errors
/// The file cannot be read or written, or it was moved away in the meantime; then it is unchanged.
pub fn remove(path: &Path, lines: &HashMap<LineDigest, usize>) -> Result<u64, RejectedError> {
    remove_on(&HostDisk, path, lines)
}

/// Removes lines on a given file system.
///
/// # Errors
/// The same as [`remove`].
pub fn remove_on(disk: &dyn Disk, path: &Path, lines: &HashMap<LineDigest, usize>) -> Result<u64, RejectedError> {
    let io = |cause| RejectedError::Io { path: path.to_owned(), cause };
    let (file, _) = lock(disk, path, |disk, path| disk.append(path))?;
    let held = file.stat().map_err(io)?;
    let replaced = disk.replace(path, &mut |kept| {
        let mut old = BufReader::new(Reader { file: &*file, at: 0 });
        let (mut line, mut left) = (Vec::new(), lines.clone());
        while old.read_until(b'\n', &mut line)? > 0 {
            match left.get_mut(&digest(line.trim_ascii_end())) {
                Some(times) if *times > 0 => *times -= 1,
                _ => kept.write_all(&line)?,
            }
            line.clear();
        }
        // A file that replaced it has lines that were not read here.
        match disk.stat(path)? {
            Some(found) if found.id == held.id => Ok(()),
            _ => Err(io::Error::other("it was moved away in the meantime: resend from its new path")),
        }
    });
    replaced.map(|new| new.len).map_err(io)
}

/// Opens the file, locks it and returns it with its length. If it was replaced while waiting for the lock, opens it
/// again.
fn lock(
    disk: &dyn Disk,
    path: &Path,
    open: impl Fn(&dyn Disk, &Path) -> io::Result<Box<dyn DiskFile>>,
) -> Result<(Box<dyn DiskFile>, u64), RejectedError> {
    let io = |cause| RejectedError::Io { path: path.to_owned(), cause };
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        let file = open(disk, path).map_err(io)?;
        if file.try_lock().map_err(io)? {
            let held = file.stat().map_err(io)?;
            if disk.stat(path).map_err(io)?.is_some_and(|found| found.id == held.id) {
                return Ok((file, held.len));
            }
        }
        if Instant::now() >= deadline {
            return Err(RejectedError::Locked { path: path.to_owned() });
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// Reads a file from its beginning.
struct Reader<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
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
            partial: None,
            request: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    fn lines(path: &Path) -> Vec<Line> {
        let mut lines = Vec::new();
        read(path, |line| lines.push(line)).unwrap();
        lines
    }

    /// Scenario: a process was killed in the middle of a line, and the next one appends. Guarantee: the torn line is
    /// reported by its number, every other line is complete.
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

    /// Guarantee: at its limit the file refuses the entries as a whole, and is unchanged.
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

    /// Guarantee: partial successes leave half of the file to refused records.
    #[test]
    fn partial_successes_never_keep_a_refused_record_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejected.ndjson");
        let file = RejectedFile::open(path.clone(), 1000).unwrap();
        let partial = || Entry { partial: Some(1), ..entry("p") };
        file.append_partial(partial()).unwrap();
        file.append_partial(partial()).unwrap();
        assert!(matches!(file.append_partial(partial()), Err(RejectedError::Full { max_bytes: 500, .. })));
        file.append(&[entry("a")]).unwrap();
        let found: Vec<_> = lines(&path).into_iter().map(|line| line.entry.unwrap()).collect();
        assert_eq!(found, [partial(), partial(), entry("a")]);
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

    /// Guarantee: of equal lines, only as many leave the file as were sent.
    #[test]
    fn equal_lines_are_taken_out_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejected.ndjson");
        let file = RejectedFile::open(path.clone(), 1 << 20).unwrap();
        file.append(&[entry("a"), entry("a"), entry("b"), entry("a")]).unwrap();
        let first = lines(&path)[0].digest;
        remove(&path, &HashMap::from([(first, 2)])).unwrap();
        let left: Vec<_> = lines(&path).into_iter().map(|line| line.entry.unwrap()).collect();
        assert_eq!(left, [entry("b"), entry("a")]);
    }

    /// Scenario: one thread appends a hundred lines while another repeatedly removes all lines it reads. Guarantee:
    /// each line is either in the file or was removed exactly once: no line is lost when the file is replaced.
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
            remove(&path, &seen.iter().map(|line| (line.digest, 1)).collect()).unwrap();
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
