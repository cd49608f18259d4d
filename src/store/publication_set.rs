//! All publications at one moment, and their target nodes. A publication that cannot be read keeps its last good content.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use metrics::{counter, gauge};

use super::Store;
use super::error::StoreError;
use super::publication::{Labels, Publication, PublicationError};
use crate::durable::TEMPORARY;
use crate::escape::Escaped;
use crate::intel::manifest::{Digest, Mode, SegmentRef};
use crate::names::Name;
use crate::telemetry;

/// The maximum number of active publications; more are ignored.
pub const MAX_PUBLICATIONS: usize = 1024;

/// The publications at one moment.
#[derive(Clone, Debug, Default)]
pub struct PublicationSet {
    publications: Vec<Arc<Publication>>,
    /// Whether a publication of this mode has never been readable, so that the content is unknown.
    doubtful: [bool; 2],
}

/// The fingerprint of a file's state: device, inode, length, and times of change in nanoseconds.
type FileState = (u64, u64, u64, [i64; 4]);

/// The fingerprint of a file that could not be read.
const UNREAD: FileState = (0, 0, u64::MAX, [0; 4]);

struct KnownFile {
    state: FileState,
    mode: Mode,
    publication: Option<Arc<Publication>>,
}

/// Reads publications repeatedly.
pub(super) struct PublicationReader {
    store: Store,
    known: BTreeMap<String, KnownFile>,
    /// Whether the directory could be read last time.
    readable: bool,
}

impl PublicationSet {
    /// Returns the publication for a node with these labels: of those that target the node the one with the most labels,
    /// and of several the first by name.
    pub fn wanted(&self, labels: &Labels, mode: Mode) -> Option<&Arc<Publication>> {
        let meant = self.publications.iter().filter(|one| one.manifest.mode == mode && one.targets(labels));
        meant.min_by(|a, b| b.labels.len().cmp(&a.labels.len()).then_with(|| a.name.cmp(&b.name)))
    }

    /// Returns whether the absence of a publication is certain. It is not when a file cannot be read.
    pub fn is_sure(&self, mode: Mode) -> bool {
        !self.doubtful[mode as usize]
    }

    /// Returns the segment of this digest, if a publication names it that may target this tenant; for `None`, any.
    pub fn segment(&self, tenant: Option<&Name>, digest: &Digest) -> Option<SegmentRef> {
        let open = self.publications.iter().filter(|one| tenant.is_none_or(|tenant| one.is_for_tenant(tenant)));
        open.flat_map(|one| &one.manifest.segments).find(|segment| segment.digest == *digest).copied()
    }

    /// Returns all publications, by file name.
    pub fn publications(&self) -> &[Arc<Publication>] {
        &self.publications
    }
}

impl PublicationReader {
    pub(super) fn new(store: Store) -> PublicationReader {
        PublicationReader { store, known: BTreeMap::new(), readable: true }
    }

    /// Reads changed files. `None` if nothing changed.
    pub(super) fn read(&mut self) -> Option<PublicationSet> {
        let directory = self.store.publications();
        let found = match list(&directory) {
            Ok(found) => found,
            // An unavailable file system does not remove publications.
            Err(error) => {
                if std::mem::replace(&mut self.readable, false) {
                    count_error();
                    tracing::error!(error = %Escaped(&error), "cannot read publications; the known ones stay active");
                }
                return None;
            }
        };
        self.readable = true;
        let before = self.known.len();
        self.known.retain(|name, _| found.contains_key(name));
        let mut changed = self.known.len() != before;
        for (name, (mode, state)) in found {
            if self.known.get(&name).is_some_and(|known| known.state == state) {
                continue;
            }
            changed |= self.read_file(&directory, name, mode, state);
        }
        changed.then(|| self.snapshot())
    }

    fn read_file(&mut self, directory: &Path, name: String, mode: Mode, state: FileState) -> bool {
        let path = directory.join(&name);
        match Publication::read(&path) {
            Ok(publication) => {
                let (version, audience) = (publication.manifest.version, &publication.manifest.audience);
                tracing::info!(publication = name, version, audience, "publication active");
                self.known.insert(name, KnownFile { state, mode, publication: Some(Arc::new(publication)) });
            }
            // The file was removed meanwhile, which the next read detects.
            Err(PublicationError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => {
                // An error that may be temporary is retried at the next read, and logged once.
                let state = if matches!(error, PublicationError::Read(_)) { UNREAD } else { state };
                let last = self.known.remove(&name);
                let was_logged = last.as_ref().is_some_and(|last| last.state == UNREAD && state == UNREAD);
                let last = last.and_then(|known| known.publication);
                let version = last.as_ref().map_or(0, |last| last.manifest.version);
                if !was_logged {
                    count_error();
                    tracing::error!(
                        path = %Escaped(path.display()),
                        error = %Escaped(&error),
                        version,
                        "publication refused; the previous version stays active"
                    );
                }
                self.known.insert(name, KnownFile { state, mode, publication: last });
                return !was_logged;
            }
        }
        true
    }

    pub(super) fn snapshot(&self) -> PublicationSet {
        let mut snapshot = PublicationSet::default();
        for known in self.known.values() {
            match &known.publication {
                Some(publication) => snapshot.publications.push(Arc::clone(publication)),
                None => snapshot.doubtful[known.mode as usize] = true,
            }
        }
        gauge!(telemetry::CONTROL_PLANE_PUBLICATIONS).set(snapshot.publications.len() as f64);
        snapshot
    }
}

/// Returns the files that are named like publications.
fn list(directory: &Path) -> Result<BTreeMap<String, (Mode, FileState)>, StoreError> {
    let failed = |cause| StoreError::read(directory, cause);
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(mode) = mode_of(&name) else { continue };
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if !metadata.is_file() {
            continue;
        }
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        found.insert(name, (mode, (metadata.dev(), metadata.ino(), metadata.size(), times)));
    }
    while found.len() > MAX_PUBLICATIONS {
        static LINES: telemetry::Throttle = telemetry::Throttle::new();
        let left_out = found.pop_last();
        if LINES.pass().is_some() {
            count_error();
            let name = left_out.map(|(name, _)| name);
            tracing::error!(?name, most = MAX_PUBLICATIONS, "too many publications; the last by name are ignored");
        }
    }
    Ok(found)
}

/// Parses the mode in the name of a publication's file; `None` for other and hidden files.
fn mode_of(file: &str) -> Option<Mode> {
    let (name, mode) = file.strip_suffix(".json")?.rsplit_once('.')?;
    if name.starts_with(TEMPORARY) {
        return None;
    }
    Mode::ALL.into_iter().find(|known| known.as_str() == mode)
}

fn count_error() {
    counter!(telemetry::CONTROL_PLANE_PUBLICATION_ERRORS_TOTAL).increment(1);
}
