//! All publications of one moment, and which of them a node gets. What cannot be read keeps its last good content.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use metrics::{counter, gauge};

use super::Store;
use super::error::StoreError;
use super::publication::{Labels, Publication, PublicationError};
use crate::control::names::Name;
use crate::escape::Escaped;
use crate::intel::manifest::{Digest, Mode, SegmentRef};
use crate::telemetry;

/// The most publications that are served; more are not looked at.
pub const MAX_PUBLICATIONS: usize = 1024;

/// The publications of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    publications: Vec<Arc<Publication>>,
    /// Something of this mode cannot be read and never could: it is not known what is published.
    doubtful: [bool; 2],
}

/// What tells whether a file changed: device, number, length, and times of change in nanoseconds.
type Print = (u64, u64, u64, [i64; 4]);

/// Of a file that could not be read.
const UNREAD: Print = (0, 0, u64::MAX, [0; 4]);

/// What is known of a file.
struct Known {
    print: Print,
    mode: Mode,
    publication: Option<Arc<Publication>>,
}

/// Reads publications again and again.
pub(super) struct Reader {
    store: Store,
    known: BTreeMap<String, Known>,
    /// Whether the directory could be read last time.
    readable: bool,
}

impl Snapshot {
    /// What a node with these labels gets: of the publications that mean it the one with the most labels, and of
    /// several the first by name.
    pub fn wanted(&self, labels: &Labels, mode: Mode) -> Option<&Arc<Publication>> {
        let meant = self.publications.iter().filter(|one| one.manifest.mode == mode && one.targets(labels));
        meant.min_by(|a, b| b.labels.len().cmp(&a.labels.len()).then_with(|| a.name.cmp(&b.name)))
    }

    /// Whether nothing is published where [`Snapshot::wanted`] finds nothing. It is not when a file cannot be read.
    pub fn is_sure(&self, mode: Mode) -> bool {
        !self.doubtful[mode as usize]
    }

    /// The segment of this digest, when a publication names it that may be for this tenant; for `None`, any.
    pub fn segment(&self, tenant: Option<&Name>, digest: &Digest) -> Option<SegmentRef> {
        let open = self.publications.iter().filter(|one| tenant.is_none_or(|tenant| one.is_for_tenant(tenant)));
        open.flat_map(|one| &one.manifest.segments).find(|segment| segment.digest == *digest).copied()
    }

    /// All of them, in order of their files' names.
    pub fn publications(&self) -> &[Arc<Publication>] {
        &self.publications
    }
}

impl Reader {
    pub(super) fn new(store: Store) -> Reader {
        Reader { store, known: BTreeMap::new(), readable: true }
    }

    /// Looks at the files. `None`: nothing changed.
    pub(super) fn read(&mut self) -> Option<Snapshot> {
        let directory = self.store.publications();
        let found = match list(&directory) {
            Ok(found) => found,
            // A file system that is away takes no publication away.
            Err(error) => {
                if std::mem::replace(&mut self.readable, false) {
                    count_error();
                    tracing::error!(error = %Escaped(&error), "publications cannot be read, those known stay in force");
                }
                return None;
            }
        };
        self.readable = true;
        let before = self.known.len();
        self.known.retain(|name, _| found.contains_key(name));
        let mut changed = self.known.len() != before;
        for (name, (mode, print)) in found {
            if self.known.get(&name).is_some_and(|known| known.print == print) {
                continue;
            }
            changed |= self.look_at(&directory, name, mode, print);
        }
        changed.then(|| self.snapshot())
    }

    fn look_at(&mut self, directory: &Path, name: String, mode: Mode, print: Print) -> bool {
        let path = directory.join(&name);
        match Publication::read(&path) {
            Ok(publication) => {
                let (version, audience) = (publication.manifest.version, &publication.manifest.audience);
                tracing::info!(publication = name, version, audience, "a publication is in force");
                self.known.insert(name, Known { print, mode, publication: Some(Arc::new(publication)) });
            }
            // It went away in between; the next look finds that.
            Err(PublicationError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => {
                // What may be right at the next look is looked at again, and told once.
                let print = if matches!(error, PublicationError::Read(_)) { UNREAD } else { print };
                let last = self.known.remove(&name);
                let told = last.as_ref().is_some_and(|last| last.print == UNREAD && print == UNREAD);
                let last = last.and_then(|known| known.publication);
                let version = last.as_ref().map_or(0, |last| last.manifest.version);
                if !told {
                    count_error();
                    tracing::error!(
                        path = %Escaped(path.display()),
                        error = %Escaped(&error),
                        version,
                        "a publication cannot be used, the version before it stays in force"
                    );
                }
                self.known.insert(name, Known { print, mode, publication: last });
                return !told;
            }
        }
        true
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
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

/// The files that are named as publications are.
fn list(directory: &Path) -> Result<BTreeMap<String, (Mode, Print)>, StoreError> {
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
            tracing::error!(?name, most = MAX_PUBLICATIONS, "too many publications, the last by name are not served");
        }
    }
    Ok(found)
}

/// The mode in the name of a publication's file; `None` when it is none. Hidden files are no publications.
fn mode_of(file: &str) -> Option<Mode> {
    let (name, mode) = file.strip_suffix(".json")?.rsplit_once('.')?;
    if name.starts_with(".tmp-") {
        return None;
    }
    Mode::ALL.into_iter().find(|known| known.as_str() == mode)
}

fn count_error() {
    counter!(telemetry::CONTROL_PLANE_PUBLICATION_ERRORS_TOTAL).increment(1);
}
