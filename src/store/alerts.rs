//! Alerts of one node in files of one JSON object per line. A batch is on disk before it is acknowledged. Each file is
//! written by one stream at a time, which holds its lock, and a full file is followed by a new one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::de::IgnoredAny;

use super::{Store, of_tenant};
use crate::durable;
use crate::names::Name;
use crate::names::random_id;

/// The size at which a file is full, in bytes.
pub const ROTATE_AT: u64 = 64 << 20;
/// The maximum number of files per node. Then its alerts are refused until files are removed; the node keeps them.
pub const MAX_FILES: usize = 256;
/// The size of a read from the end of a file.
const PIECE: u64 = 64 << 10;

/// The reason that alerts were not stored.
#[derive(Debug, thiserror::Error)]
pub enum AlertLogError {
    /// The disk failed, or is full.
    #[error("{path}: alerts cannot be stored: {cause}; check the disk of the store")]
    Io {
        /// The file or directory.
        path: PathBuf,
        cause: io::Error,
    },
    /// The node has too many files of alerts.
    #[error("{path}: this node has {MAX_FILES} files of alerts, or this tenant {nodes} nodes; remove some")]
    Full {
        /// The directory.
        path: PathBuf,
        /// The maximum number of nodes of a tenant.
        nodes: usize,
    },
    /// The tenant's quota of bytes is used up.
    #[error("{0}: the quota of this tenant is used up; remove files of its alerts, or raise `--tenant-bytes`")]
    Tenant(PathBuf),
}

/// The alerts of a node, as written by one stream.
#[derive(Debug)]
pub struct AlertLog {
    directory: PathBuf,
    open: Option<OpenAlertFile>,
    rotate_at: u64,
    store: Store,
    tenant: Option<Name>,
}

#[derive(Debug)]
struct OpenAlertFile {
    path: PathBuf,
    file: File,
    /// The complete bytes on disk.
    length: u64,
}

impl Store {
    /// Returns the alert log of a node for one stream.
    pub fn alert_log(&self, tenant: Option<&Name>, node: &Name) -> AlertLog {
        let directory = of_tenant(&self.alerts(), tenant).join(node.as_str());
        AlertLog { directory, open: None, rotate_at: ROTATE_AT, store: self.clone(), tenant: tenant.cloned() }
    }
}

impl AlertLog {
    /// Appends a batch, and syncs it to disk. An alert that is not a JSON object is stored inside one.
    ///
    /// # Errors
    /// The batch was not stored; no part of it is in the file.
    pub fn append(&mut self, alerts: &[Bytes], now: Timestamp) -> Result<(), AlertLogError> {
        let mut lines = Vec::with_capacity(alerts.iter().map(|alert| alert.len() + 1).sum());
        for alert in alerts {
            write_line(alert, &mut lines);
        }
        if !self.store.charge(self.tenant.as_ref(), lines.len() as u64) {
            return Err(AlertLogError::Tenant(self.directory.clone()));
        }
        let rotate_at = self.rotate_at;
        if self.open.as_ref().is_some_and(|open| open.length >= rotate_at) {
            self.open = None;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_file(now)?,
        };
        let written = open.file.write_all(&lines).and_then(|()| open.file.sync_data());
        if let Err(cause) = written {
            // A partial batch would be duplicated when it is sent again. If truncating fails too, the next stream does it.
            let _ = open.file.set_len(open.length);
            return Err(AlertLogError::Io { path: open.path, cause });
        }
        open.length += lines.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    /// Opens the newest file if it has room and is not locked, otherwise a new one.
    fn open_file(&self, now: Timestamp) -> Result<OpenAlertFile, AlertLogError> {
        let failed = |cause| AlertLogError::Io { path: self.directory.clone(), cause };
        if !self.directory.exists() {
            let nodes = self.directory.parent().and_then(|tenant| std::fs::read_dir(tenant).ok());
            if nodes.is_some_and(|nodes| nodes.count() >= self.store.quotas.nodes) {
                return Err(self.full());
            }
        }
        durable::make_directory(&self.directory).map_err(failed)?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "ndjson") {
                files.push(path);
            }
        }
        files.sort();
        if let Some(newest) = files.last()
            && let Some(open) = reopen(newest, self.rotate_at).map_err(failed)?
        {
            return Ok(open);
        }
        if files.len() >= MAX_FILES {
            return Err(self.full());
        }
        let path = self.directory.join(format!("{}-{:016x}.ndjson", now.strftime("%Y%m%dT%H%M%S%.6fZ"), random_id()));
        let file = durable::private().append(true).create_new(true).open(&path).map_err(failed)?;
        file.try_lock().map_err(|error| failed(error.into()))?;
        if file.metadata().map_err(failed)?.nlink() == 0 {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        self.sync_names().map_err(failed)?;
        Ok(OpenAlertFile { path, file, length: 0 })
    }

    fn full(&self) -> AlertLogError {
        AlertLogError::Full { path: self.directory.clone(), nodes: self.store.quotas.nodes }
    }

    /// Syncs the names of the file and of its parent directories to disk.
    fn sync_names(&self) -> io::Result<()> {
        self.directory.ancestors().take(3).try_for_each(durable::sync_directory)
    }
}

/// Opens a file of an earlier stream, and removes a partial line that a crash left.
fn reopen(path: &Path, rotate_at: u64) -> io::Result<Option<OpenAlertFile>> {
    let mut file = match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // The node was removed with its alerts before the file was locked.
    if file.metadata()?.nlink() == 0 {
        return Ok(None);
    }
    let whole = whole_lines(&mut file)?;
    file.set_len(whole)?;
    if whole >= rotate_at {
        return Ok(None);
    }
    Ok(Some(OpenAlertFile { path: path.to_owned(), file, length: whole }))
}

/// Returns the length up to and including the last newline.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        file.seek(SeekFrom::Start(start))?;
        piece.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut piece)?;
        if let Some(last) = memchr::memrchr(b'\n', &piece) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Writes an object on one line. In JSON, a line break can only occur where a space can.
fn write_line(alert: &[u8], lines: &mut Vec<u8>) {
    let is_object = alert.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(alert).is_ok();
    if is_object {
        lines.extend(alert.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    } else {
        lines.extend_from_slice(b"{\"hotlist\":{\"alerts\":{\"unreadable\":\"");
        lines.extend_from_slice(STANDARD.encode(alert).as_bytes());
        lines.extend_from_slice(b"\"}}}");
    }
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(root: &Path, rotate_at: u64) -> AlertLog {
        let store = Store::open(root).unwrap();
        AlertLog { rotate_at, ..store.alert_log(None, &Name::parse("n").unwrap()) }
    }

    fn files(root: &Path) -> Vec<String> {
        let mut files: Vec<_> =
            std::fs::read_dir(root.join("alerts/_/n")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    /// Scenario: a process dies inside a line, and the next writes. Guarantee: every line is an object, and nothing
    /// whole is lost.
    #[test]
    fn half_a_line_of_a_crash_is_not_kept() {
        let root = tempfile::tempdir().unwrap();
        log(root.path(), 1000).append(&[Bytes::from_static(b"{\"a\":\n1}")], Timestamp::UNIX_EPOCH).unwrap();
        let path = std::fs::read_dir(root.path().join("alerts/_/n")).unwrap().next().unwrap().unwrap().path();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&vec![b'x'; 200_000]).unwrap();
        let alerts = [Bytes::from_static(b"{}"), Bytes::from_static(b"\xff")];
        log(root.path(), 1000).append(&alerts, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(files(root.path()), ["{\"a\": 1}\n{}\n{\"hotlist\":{\"alerts\":{\"unreadable\":\"/w==\"}}}\n"]);
    }

    /// Scenario: two streams of one node, and files that grow full. Guarantee: they never write to the same file, and a
    /// full one gets no more.
    #[test]
    fn streams_have_files_of_their_own_and_full_ones_are_left() {
        let root = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (log(root.path(), 9), log(root.path(), 9));
        let write = |log: &mut AlertLog, text: &'static str| {
            log.append(&[Bytes::from_static(text.as_bytes())], Timestamp::now()).unwrap();
        };
        write(&mut one, "{\"a\":1}");
        write(&mut two, "{\"b\":1}");
        write(&mut one, "{\"a\":2}");
        write(&mut one, "{\"a\":3}");
        assert_eq!(files(root.path()), ["{\"a\":1}\n{\"a\":2}\n", "{\"b\":1}\n", "{\"a\":3}\n"]);
    }
}
