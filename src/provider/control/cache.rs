//! The cache directory of a node: segments by digest, the last good manifest of each slot, and the highest version ever
//! seen.
//!
//! ```text
//! hotlist-cache          marks the directory: without it nothing is written or deleted
//! lock                   held while a process uses the directory
//! highest.json           the highest version of each slot, written before a new version is activated
//! serve.json shadow.json the last good manifest of each slot, with its signatures
//! segments/<digest>.seg  complete, verified
//! segments/<digest>.part incomplete
//! ```
//!
//! Files are replaced atomically (see [`durable`]). Every function here blocks.

mod directory;
mod files;
mod part;
mod records;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::gauge;

use crate::durable;
use crate::escape::Escaped;
use crate::intel::manifest::{Digest, Manifest, Mode, Signed};
use crate::telemetry;

pub use directory::check;
pub(super) use part::PartialSegment;
pub use records::{HighestVersion, RecordError};

/// The reason that the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk failed.
    #[error("{path}: cannot be {what}: {cause}; check the disk of `intel.control.cache`")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operation that failed, as a participle.
        what: &'static str,
        cause: io::Error,
    },
    /// The directory belongs to something else.
    #[error(
        "{directory}: is not a Hotlist cache: it contains `{entry}`; set `intel.control.cache` to an empty or new directory"
    )]
    NoCache { directory: PathBuf, entry: String },
    #[error(
        "{0}: is the marker of an unknown cache format; set `intel.control.cache` to another directory, or remove this one"
    )]
    Marker(PathBuf),
    /// Another process uses the directory.
    #[error("{0}: another process uses it; give each its own `intel.control.cache`")]
    InUse(PathBuf),
    /// The segments do not fit into the cache.
    #[error(
        "the segments need {needed} bytes including the active ones, and the cache limit is {limit}; raise `intel.control.cache_bytes`, or publish less"
    )]
    Full {
        /// The needed bytes.
        needed: u64,
        /// The allowed bytes.
        limit: u64,
    },
    /// The highest versions ever seen are lost.
    #[error(
        "{path}: {cause}; new versions are refused, because they might be old ones: remove the file to accept any version"
    )]
    HighestVersion { path: PathBuf, cause: String },
    /// The content of a segment file does not have the digest in the file name.
    #[error("{path}: does not match the digest in its name: {cause}")]
    Segment { path: PathBuf, cause: String },
}

impl CacheError {
    fn io(path: &Path, what: &'static str, cause: io::Error) -> CacheError {
        CacheError::Io { path: path.to_owned(), what, cause }
    }
}

/// The reason that a manifest keeps its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeepReason {
    /// Its record is on disk: it is activated after a restart.
    LastGood,
    /// It is active, even if it could not be recorded.
    Serving,
    /// It may be activated soon.
    Candidate,
}

/// The cache directory of a node.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    segments: PathBuf,
    limit: u64,
    /// The reason that the highest versions are unknown.
    damage: Option<String>,
    state: Mutex<State>,
    /// Held until the process no longer uses the directory.
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    highest: HashMap<Mode, HighestVersion>,
    /// The segments that each manifest needs, with their lengths.
    kept: HashMap<(Mode, KeepReason), HashMap<Digest, u64>>,
    /// Segments that this process has verified completely.
    checked: HashSet<Digest>,
}

impl Cache {
    /// Opens the directory, and creates it if it does not exist. `limit` bounds the segments in it, in bytes.
    ///
    /// # Errors
    /// The directory cannot be used, belongs to something else, or is used by another process.
    pub fn open(directory: &Path, limit: u64) -> Result<Cache, CacheError> {
        directory::claim(directory)?;
        let segments = directory.join(directory::SEGMENTS);
        let path = directory.join(directory::LOCK);
        let lock = durable::private().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|cause| CacheError::io(&path, "opened", cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(CacheError::InUse(directory.to_owned())),
            Err(fs::TryLockError::Error(cause)) => return Err(CacheError::io(&path, "locked", cause)),
        }
        let (highest, damage) = match records::read_highest(directory) {
            Ok(highest) => (highest, None),
            Err(cause) => (HashMap::new(), Some(cause.to_string())),
        };
        let state = Mutex::new(State { highest, ..State::default() });
        let cache = Cache { directory: directory.to_owned(), segments, limit, damage, state, _lock: lock };
        gauge!(telemetry::CONTROL_CACHE_LIMIT_BYTES).set(limit as f64);
        cache.measure();
        Ok(cache)
    }

    /// Checks that the highest versions are known. Never waits for the disk.
    ///
    /// # Errors
    /// They are unknown: the file was damaged.
    pub(super) fn check_versions_known(&self) -> Result<(), CacheError> {
        match self.damage.clone() {
            Some(cause) => Err(CacheError::HighestVersion { path: records::highest_path(&self.directory), cause }),
            None => Ok(()),
        }
    }

    /// Returns the highest version of a slot that was ever seen, with the digest of its manifest.
    ///
    /// # Errors
    /// The highest versions are unknown: the file was damaged.
    pub fn highest(&self, mode: Mode) -> Result<Option<HighestVersion>, CacheError> {
        self.check_versions_known()?;
        Ok(self.state().highest.get(&mode).copied())
    }

    /// Records that a version was seen. The highest version never decreases.
    ///
    /// # Errors
    /// It cannot be written, so the version must not be activated; or the file is damaged.
    pub fn raise(&self, mode: Mode, seen: HighestVersion) -> Result<(), CacheError> {
        self.check_versions_known()?;
        let mut state = self.state();
        if state.highest.get(&mode).is_some_and(|highest| highest.version >= seen.version) {
            return Ok(());
        }
        let mut highest = state.highest.clone();
        highest.insert(mode, seen);
        records::write_highest(&self.directory, &highest)?;
        state.highest = highest;
        Ok(())
    }

    /// Returns the last good manifest of a slot as it was written. The caller must verify its signatures.
    ///
    /// # Errors
    /// The file exists, but cannot be read or is damaged.
    pub fn last_good(&self, mode: Mode) -> Result<Option<Signed>, RecordError> {
        records::read(&self.directory, mode)
    }

    /// Writes the last good manifest of a slot under a temporary name, so that a full disk is detected before activation.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn stage(&self, mode: Mode, signed: &Signed) -> Result<(), CacheError> {
        records::stage(&self.directory, mode, signed)
    }

    /// Renames the staged manifest to the last good manifest.
    ///
    /// # Errors
    /// The file cannot be renamed; the previous last good manifest remains.
    pub(super) fn commit(&self, mode: Mode, manifest: &Manifest) -> Result<(), CacheError> {
        records::commit(&self.directory, mode)?;
        self.keep(mode, KeepReason::LastGood, Some(manifest));
        Ok(())
    }

    /// Removes the last good manifest of a slot.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) fn forget(&self, mode: Mode) -> Result<(), CacheError> {
        records::remove(&self.directory, mode)?;
        self.keep(mode, KeepReason::LastGood, None);
        Ok(())
    }

    /// Sets the manifest that is kept for this reason from now on. Does not delete anything yet.
    pub(super) fn keep(&self, mode: Mode, keep: KeepReason, manifest: Option<&Manifest>) {
        let mut state = self.state();
        match manifest {
            Some(manifest) => {
                let segments = manifest.segments.iter().map(|segment| (segment.digest, segment.bytes)).collect();
                state.kept.insert((mode, keep), segments);
            }
            None => drop(state.kept.remove(&(mode, keep))),
        }
    }

    /// Makes room for a candidate: checks that it fits in addition to everything that is kept, and deletes the rest.
    ///
    /// # Errors
    /// The candidate does not fit, or the disk failed.
    pub(super) fn make_room(&self, mode: Mode, manifest: &Manifest) -> Result<(), CacheError> {
        self.keep(mode, KeepReason::Candidate, Some(manifest));
        let needed = {
            let state = self.state();
            let mut seen = HashSet::new();
            let each = state.kept.values().flatten().filter(|(digest, _)| seen.insert(**digest));
            each.fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes))
        };
        if needed > self.limit {
            self.keep(mode, KeepReason::Candidate, None);
            return Err(CacheError::Full { needed, limit: self.limit });
        }
        self.collect_garbage()
    }

    /// Deletes every segment, complete or not, that no kept manifest names. Files with other names are not touched.
    ///
    /// # Errors
    /// The directory cannot be read. A file that cannot be deleted is left for the next time.
    pub(super) fn collect_garbage(&self) -> Result<(), CacheError> {
        // Under the lock: what is kept cannot change meanwhile.
        let mut state = self.state();
        let kept: HashSet<Digest> = state.kept.values().flat_map(HashMap::keys).copied().collect();
        let (mut sum, mut deleted) = (0, 0u64);
        for entry in fs::read_dir(&self.segments).map_err(|cause| CacheError::io(&self.segments, "read", cause))? {
            let entry = entry.map_err(|cause| CacheError::io(&self.segments, "read", cause))?;
            let digest = entry.file_name().to_str().and_then(digest_of);
            if let Some(digest) = digest.filter(|digest| !kept.contains(digest)) {
                match fs::remove_file(entry.path()) {
                    Ok(()) => {
                        deleted += 1;
                        state.checked.remove(&digest);
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(path = %Escaped(entry.path().display()), error = %Escaped(&error), "cannot delete an old segment")
                    }
                }
            }
            sum += entry.metadata().map_or(0, |found| found.len());
        }
        if deleted > 0 {
            tracing::debug!(deleted, "deleted old segments");
        }
        gauge!(telemetry::CONTROL_CACHE_BYTES).set(sum as f64);
        Ok(())
    }

    /// Updates the metrics of the used bytes.
    pub(super) fn measure(&self) {
        let entries = fs::read_dir(&self.segments).into_iter().flatten().flatten();
        let sum: u64 = entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum();
        gauge!(telemetry::CONTROL_CACHE_BYTES).set(sum as f64);
    }

    /// Returns the path of a segment, whether or not it exists.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.segments.join(format!("{digest}.seg"))
    }

    /// Returns whether a complete segment is on disk. The first time in a process, all of its bytes are verified; a file
    /// that does not match its name is deleted.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) fn has(&self, digest: Digest, bytes: u64) -> Result<bool, CacheError> {
        let path = self.path(digest);
        let length = match fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(CacheError::io(&path, "checked", cause)),
        };
        if length == bytes && self.state().checked.contains(&digest) {
            return Ok(true);
        }
        if length == bytes && files::digest(&path)? == digest {
            self.state().checked.insert(digest);
            return Ok(true);
        }
        tracing::warn!(path = %Escaped(path.display()), "segment on disk does not match its digest, fetching it again");
        fs::remove_file(&path).map_err(|cause| CacheError::io(&path, "removed", cause))?;
        Ok(false)
    }

    /// Verifies every segment of a manifest, and returns their files in its order. Nothing is deleted.
    ///
    /// # Errors
    /// A segment is missing or does not match its name, or the disk failed.
    pub(super) fn check(&self, manifest: &Manifest) -> Result<Vec<PathBuf>, CacheError> {
        let mut paths = Vec::with_capacity(manifest.segments.len());
        for segment in &manifest.segments {
            let path = self.path(segment.digest);
            if !self.state().checked.contains(&segment.digest) {
                let wrong = |cause: &str| CacheError::Segment { path: path.clone(), cause: cause.to_owned() };
                let found = fs::metadata(&path).map_err(|cause| CacheError::io(&path, "checked", cause))?;
                if found.len() != segment.bytes {
                    return Err(wrong("its length differs"));
                }
                if files::digest(&path)? != segment.digest {
                    return Err(wrong("its digest differs"));
                }
                self.state().checked.insert(segment.digest);
            }
            paths.push(path);
        }
        Ok(paths)
    }

    /// Opens the partial segment that an earlier fetch left, or an empty one.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) fn part(&self, digest: Digest, bytes: u64) -> Result<PartialSegment, CacheError> {
        PartialSegment::open(self.segments.join(format!("{digest}.part")), digest, bytes)
    }

    /// Renames a complete partial segment to its final name, if its digest matches.
    ///
    /// # Errors
    /// The digest does not match, and the file was deleted; or the disk failed.
    pub(super) fn finish(&self, part: PartialSegment) -> Result<(), CacheError> {
        let digest = part.digest();
        part.finish(&self.path(digest))?;
        self.state().checked.insert(digest);
        self.measure();
        Ok(())
    }

    // A panic elsewhere leaves a consistent state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the last good manifest of a slot of the cache in `directory`, which another process may own.
///
/// # Errors
/// The file exists, but cannot be read or is damaged.
pub(super) fn read_last_good(directory: &Path, mode: Mode) -> Result<Option<Signed>, RecordError> {
    records::read(directory, mode)
}

/// Returns the highest version of a slot of the cache in `directory`.
///
/// # Errors
/// The file exists, but cannot be read or is damaged.
pub(super) fn read_highest(directory: &Path, mode: Mode) -> Result<Option<HighestVersion>, RecordError> {
    Ok(records::read_highest(directory)?.get(&mode).copied())
}

/// Returns the path of a segment of the cache in `directory`.
pub(super) fn segment_path(directory: &Path, digest: Digest) -> PathBuf {
    directory.join(directory::SEGMENTS).join(format!("{digest}.seg"))
}

/// Parses the digest in the name of a file in `segments`.
fn digest_of(name: &str) -> Option<Digest> {
    name.strip_suffix(".seg").or_else(|| name.strip_suffix(".part"))?.parse().ok()
}
