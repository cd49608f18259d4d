//! The state of a feed in a store: its segments, and the files that they were compiled from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::CompileError;
use crate::durable::{self, Durability};
use crate::intel::segment::{self, Digest, Segment, file_name};
use crate::intel::snapshot::{Feed, Origin};
use crate::observable::CANONICAL_VERSION;

/// The reason that a store's state of feeds cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file, or the directory.
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    /// It is not what compile writes.
    #[error("{}: {cause}; remove it to compile the feed from nothing", path.display())]
    Json { path: PathBuf, cause: serde_json::Error },
}

/// One segment of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentState {
    /// Its SHA-256 in lower-case hexadecimal.
    pub digest: String,
    pub bytes: u64,
    pub indicators: usize,
    /// Indicators of the segments before it that it withdraws.
    pub withdrawn: usize,
}

/// A feed in a store: `feeds/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedState {
    pub feed: String,
    /// Whether it is a feed or a collection.
    pub origin: Origin,
    /// Identifies the files that it was compiled from, and how they were read.
    pub source: String,
    pub indicators: usize,
    /// Its segments, oldest first; each may withdraw indicators of earlier segments.
    pub segments: Vec<SegmentState>,
}

impl FeedState {
    pub(super) fn new(feed: &Feed) -> FeedState {
        let (name, origin) = (feed.name.clone(), feed.origin);
        FeedState { feed: name, origin, source: String::new(), indicators: 0, segments: Vec::new() }
    }

    /// The state of a feed in a store, if there is one.
    ///
    /// # Errors
    /// There is something, and it cannot be read.
    pub(super) fn load(store: &Path, feed: &str) -> Result<Option<FeedState>, StateError> {
        let path = path(store, feed);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|cause| StateError::Json { path, cause }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(StateError::Io { path, cause }),
        }
    }

    pub(super) fn save(&self, store: &Path) -> Result<(), StateError> {
        let path = path(store, &self.feed);
        let directory = store.join("feeds");
        let write = || {
            durable::make_directory(&directory)?;
            let mut content = serde_json::to_vec_pretty(self).map_err(io::Error::from)?;
            content.push(b'\n');
            durable::replace(&path, &content, Durability::Synced)
        };
        write().map_err(|cause| StateError::Io { path: path.clone(), cause })
    }

    pub(super) fn is_complete(&self, segments: &Path) -> bool {
        self.segments.iter().all(|segment| segments.join(format!("{}.seg", segment.digest)).is_file())
    }

    /// Whether a segment has canonical forms of another version, so that none of them can be built upon.
    pub(super) fn has_other_forms(&self, segments: &Path) -> bool {
        self.segments.iter().any(|segment| {
            let version = segment::canonical_version(&segments.join(format!("{}.seg", segment.digest)));
            version.is_some_and(|version| version != CANONICAL_VERSION)
        })
    }

    /// Opens and checks all segments.
    pub(super) fn open(&self, store: &Path) -> Result<Vec<Arc<Segment>>, CompileError> {
        let failed = |cause| CompileError::Chain { feed: self.feed.clone(), cause, state: path(store, &self.feed) };
        let open = |segment: &SegmentState| {
            let digest = segment.digest.parse().unwrap_or(Digest([0; 32]));
            let path = store.join("segments").join(file_name(&digest));
            Segment::open(&path, Some(digest)).map_err(failed)
        };
        self.segments.iter().map(open).collect()
    }
}

/// Every feed of a store, in order of their files' names.
///
/// # Errors
/// One cannot be read.
pub(super) fn feeds(store: &Path) -> Result<Vec<FeedState>, StateError> {
    let directory = store.join("feeds");
    let listed = match std::fs::read_dir(&directory) {
        Ok(listed) => listed.collect::<io::Result<Vec<_>>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let listed = listed.map_err(|cause| StateError::Io { path: directory, cause })?;
    let mut paths: Vec<PathBuf> = listed.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).map_err(|cause| StateError::Io { path: path.clone(), cause })?;
        serde_json::from_slice(&bytes).map_err(|cause| StateError::Json { path, cause })
    };
    paths.into_iter().map(read).collect()
}

/// The file of a feed: its name, with everything but letters, digits, `-`, `_` and inner dots written as `%` and two digits.
fn path(store: &Path, feed: &str) -> PathBuf {
    let mut name = String::new();
    for (at, byte) in feed.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    store.join("feeds").join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_feed_leads_out_of_the_store() {
        let of = |feed: &str| path(Path::new("s"), feed).display().to_string();
        assert_eq!(of("urlhaus-2.0_x"), "s/feeds/urlhaus-2.0_x.json");
        assert_eq!(of("../../etc/passwd"), "s/feeds/%2e.%2f..%2fetc%2fpasswd.json");
        assert_eq!(of(".."), "s/feeds/%2e..json");
        assert_eq!(of("ü b"), "s/feeds/%c3%bc%20b.json");
    }
}
