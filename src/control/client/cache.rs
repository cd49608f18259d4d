//! The directory that a node keeps on disk: segments by digest, the last good manifest of each slot, and the highest
//! version ever seen.
//!
//! ```text
//! hotlist-cache          marks the directory: without it nothing is written or deleted
//! lock                   held while a process uses the directory
//! highest.json           the highest version of each slot, written before a new one is handed on
//! serve.json shadow.json the last good manifest of each slot, with its signatures
//! segments/<digest>.seg  whole, checked
//! segments/<digest>.part the beginning of one
//! ```
//!
//! Files appear under their names whole: they are written under another, synced, renamed, and the directory is synced.
//! Every function here blocks.

mod directory;
mod files;
mod kept;
mod part;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::gauge;

use crate::escape::Escaped;
use crate::intel::manifest::{Digest, Manifest, Mode, Signed};
use crate::telemetry;

pub use directory::{check, is_cache};
pub use kept::{Highest, KeptError};
pub(super) use part::Part;

/// What is wrong with the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk failed.
    #[error("{path}: cannot be {what}: {cause}; see to the disk of `intel.control.cache`")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// The directory belongs to something else.
    #[error(
        "{directory}: is not empty and not a cache of hotlist: it has `{entry}`; give `intel.control.cache` a directory of its own, empty or not there yet"
    )]
    NoCache {
        /// The directory.
        directory: PathBuf,
        /// An entry that a cache does not have.
        entry: String,
    },
    /// Its marker is of another format.
    #[error(
        "{0}: is not the marker of a cache that this version of hotlist reads; give `intel.control.cache` another directory, or remove this one"
    )]
    Marker(PathBuf),
    /// Another process uses it.
    #[error("{0}: another process uses it; give each its own `intel.control.cache`")]
    InUse(PathBuf),
    /// A manifest and what must be kept beside it do not fit.
    #[error(
        "the segments need {needed} bytes together with those that serve, and the cache may have {limit}; raise `intel.control.cache_bytes`, or publish less"
    )]
    Full {
        /// What is needed.
        needed: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Nobody knows any more which versions were seen.
    #[error("{path}: {cause}; no new version is taken, as it might be an old one: remove the file to take any")]
    Highest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A file with this name is not what the name says.
    #[error("{path}: is not what its name says: {cause}")]
    Segment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

impl CacheError {
    fn io(path: &Path, what: &'static str, cause: io::Error) -> CacheError {
        CacheError::Io { path: path.to_owned(), what, cause }
    }
}

/// Why a manifest keeps its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Keep {
    /// Its file is there: it is served after a restart.
    LastGood,
    /// It serves. That it could not be written down is no reason to pull files from under it.
    Serving,
    /// It may serve soon.
    Candidate,
}

/// The directory.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    segments: PathBuf,
    limit: u64,
    /// Why the highest versions are not known.
    damage: Option<String>,
    state: Mutex<State>,
    /// Held until the process is done with the directory.
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    highest: HashMap<Mode, Highest>,
    /// The segments that each manifest needs, with their lengths.
    kept: HashMap<(Mode, Keep), HashMap<Digest, u64>>,
    /// Segments of which this process has seen every byte.
    checked: HashSet<Digest>,
}

impl Cache {
    /// Opens the directory, made when it is not there. `limit` bounds the segments in it, in bytes.
    ///
    /// # Errors
    /// It cannot be used, belongs to something else, or another process uses it.
    pub fn open(directory: &Path, limit: u64) -> Result<Cache, CacheError> {
        directory::claim(directory)?;
        let segments = directory.join(directory::SEGMENTS);
        let path = directory.join(directory::LOCK);
        let lock = files::private().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|cause| CacheError::io(&path, "opened", cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(CacheError::InUse(directory.to_owned())),
            Err(fs::TryLockError::Error(cause)) => return Err(CacheError::io(&path, "locked", cause)),
        }
        let (highest, damage) = match kept::read_highest(directory) {
            Ok(highest) => (highest, None),
            Err(cause) => (HashMap::new(), Some(cause.to_string())),
        };
        let state = Mutex::new(State { highest, ..State::default() });
        let cache = Cache { directory: directory.to_owned(), segments, limit, damage, state, _lock: lock };
        gauge!(telemetry::CONTROL_CACHE_LIMIT_BYTES).set(limit as f64);
        cache.measure();
        Ok(cache)
    }

    /// Whether it is known which versions were seen. Never waits for the disk.
    ///
    /// # Errors
    /// It is not: the file was damaged.
    pub(super) fn knows_versions(&self) -> Result<(), CacheError> {
        match self.damage.clone() {
            Some(cause) => Err(CacheError::Highest { path: kept::highest_path(&self.directory), cause }),
            None => Ok(()),
        }
    }

    /// The highest version of a slot that was ever seen, with the digest of its manifest.
    ///
    /// # Errors
    /// Nobody knows: the file was damaged.
    pub fn highest(&self, mode: Mode) -> Result<Option<Highest>, CacheError> {
        self.knows_versions()?;
        Ok(self.state().highest.get(&mode).copied())
    }

    /// Writes down that a version was seen. It never goes back.
    ///
    /// # Errors
    /// It cannot be written, so the version must not be handed on; or the file is damaged.
    pub fn raise(&self, mode: Mode, seen: Highest) -> Result<(), CacheError> {
        self.knows_versions()?;
        let mut state = self.state();
        if state.highest.get(&mode).is_some_and(|highest| highest.version >= seen.version) {
            return Ok(());
        }
        let mut highest = state.highest.clone();
        highest.insert(mode, seen);
        kept::write_highest(&self.directory, &highest)?;
        state.highest = highest;
        Ok(())
    }

    /// The last good manifest of a slot as it was written. Its signatures are for the caller to check.
    ///
    /// # Errors
    /// There is a file, and it cannot be read or is damaged.
    pub fn last_good(&self, mode: Mode) -> Result<Option<Signed>, KeptError> {
        kept::read(&self.directory, mode)
    }

    /// Writes the last good manifest of a slot under another name, so that a full disk is known before it serves.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn stage(&self, mode: Mode, signed: &Signed) -> Result<(), CacheError> {
        kept::stage(&self.directory, mode, signed)
    }

    /// What was staged is the last good manifest now.
    ///
    /// # Errors
    /// It cannot be renamed; the one before still is.
    pub(super) fn commit(&self, mode: Mode, manifest: &Manifest) -> Result<(), CacheError> {
        kept::commit(&self.directory, mode)?;
        self.keep(mode, Keep::LastGood, Some(manifest));
        Ok(())
    }

    /// Takes the last good manifest of a slot away.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn forget(&self, mode: Mode) -> Result<(), CacheError> {
        kept::remove(&self.directory, mode)?;
        self.keep(mode, Keep::LastGood, None);
        Ok(())
    }

    /// Says which manifest is kept for this reason from now on. Nothing is deleted yet.
    pub(super) fn keep(&self, mode: Mode, keep: Keep, manifest: Option<&Manifest>) {
        let mut state = self.state();
        match manifest {
            Some(manifest) => {
                let segments = manifest.segments.iter().map(|segment| (segment.digest, segment.bytes)).collect();
                state.kept.insert((mode, keep), segments);
            }
            None => drop(state.kept.remove(&(mode, keep))),
        }
    }

    /// Makes room for a candidate: sees that it fits beside everything that is kept, and deletes what is not.
    ///
    /// # Errors
    /// It does not fit, or the disk failed.
    pub(super) fn make_room(&self, mode: Mode, manifest: &Manifest) -> Result<(), CacheError> {
        self.keep(mode, Keep::Candidate, Some(manifest));
        let needed = {
            let state = self.state();
            let mut seen = HashSet::new();
            let each = state.kept.values().flatten().filter(|(digest, _)| seen.insert(**digest));
            each.fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes))
        };
        if needed > self.limit {
            self.keep(mode, Keep::Candidate, None);
            return Err(CacheError::Full { needed, limit: self.limit });
        }
        self.collect_garbage()
    }

    /// Deletes every segment, whole or not, that no kept manifest names. Files with other names are not the cache's.
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
            tracing::debug!(deleted, "old segments were deleted");
        }
        gauge!(telemetry::CONTROL_CACHE_BYTES).set(sum as f64);
        Ok(())
    }

    /// Measures what is on disk.
    pub(super) fn measure(&self) {
        let entries = fs::read_dir(&self.segments).into_iter().flatten().flatten();
        let sum: u64 = entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum();
        gauge!(telemetry::CONTROL_CACHE_BYTES).set(sum as f64);
    }

    /// Where a segment is, or will be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.segments.join(format!("{digest}.seg"))
    }

    /// Whether a segment is on disk, whole. The first time in a process all of its bytes are read; a file that is not
    /// what its name says is deleted.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) fn has(&self, digest: Digest, bytes: u64) -> Result<bool, CacheError> {
        let path = self.path(digest);
        let length = match fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(CacheError::io(&path, "looked at", cause)),
        };
        if length == bytes && self.state().checked.contains(&digest) {
            return Ok(true);
        }
        if length == bytes && files::digest(&path)? == digest {
            self.state().checked.insert(digest);
            return Ok(true);
        }
        tracing::warn!(path = %Escaped(path.display()), "a segment on disk is not what its name says, it is fetched anew");
        fs::remove_file(&path).map_err(|cause| CacheError::io(&path, "removed", cause))?;
        Ok(false)
    }

    /// Checks every segment of a manifest, and gives their files in its order. Nothing is deleted.
    ///
    /// # Errors
    /// One is missing or not what its name says, or the disk failed.
    pub(super) fn check(&self, manifest: &Manifest) -> Result<Vec<PathBuf>, CacheError> {
        let mut paths = Vec::with_capacity(manifest.segments.len());
        for segment in &manifest.segments {
            let path = self.path(segment.digest);
            if !self.state().checked.contains(&segment.digest) {
                let wrong = |cause: &str| CacheError::Segment { path: path.clone(), cause: cause.to_owned() };
                let found = fs::metadata(&path).map_err(|cause| CacheError::io(&path, "looked at", cause))?;
                if found.len() != segment.bytes {
                    return Err(wrong("its length is another"));
                }
                if files::digest(&path)? != segment.digest {
                    return Err(wrong("its digest is another"));
                }
                self.state().checked.insert(segment.digest);
            }
            paths.push(path);
        }
        Ok(paths)
    }

    /// The beginning of a segment that is not whole yet: what an earlier fetch left, or nothing.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) fn part(&self, digest: Digest, bytes: u64) -> Result<Part, CacheError> {
        Part::open(self.segments.join(format!("{digest}.part")), digest, bytes)
    }

    /// Puts a whole part in its place, if its digest is right.
    ///
    /// # Errors
    /// It is not what it should be, and was deleted; or the disk failed.
    pub(super) fn finish(&self, part: Part) -> Result<(), CacheError> {
        let digest = part.digest();
        part.finish(&self.path(digest))?;
        files::sync_directory(&self.segments)?;
        self.state().checked.insert(digest);
        self.measure();
        Ok(())
    }

    // A panic elsewhere leaves nothing half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last good manifest of a slot of the cache in `directory`, which another process may own.
///
/// # Errors
/// There is a file, and it cannot be read or is damaged.
pub(super) fn read_last_good(directory: &Path, mode: Mode) -> Result<Option<Signed>, KeptError> {
    kept::read(directory, mode)
}

/// The highest version of a slot of the cache in `directory`.
///
/// # Errors
/// There is a file, and it cannot be read or is damaged.
pub(super) fn read_highest(directory: &Path, mode: Mode) -> Result<Option<Highest>, KeptError> {
    Ok(kept::read_highest(directory)?.get(&mode).copied())
}

/// Where a segment of the cache in `directory` is.
pub(super) fn segment_path(directory: &Path, digest: Digest) -> PathBuf {
    directory.join(directory::SEGMENTS).join(format!("{digest}.seg"))
}

/// The digest that the name of a file in `segments` says.
fn digest_of(name: &str) -> Option<Digest> {
    name.strip_suffix(".seg").or_else(|| name.strip_suffix(".part"))?.parse().ok()
}
