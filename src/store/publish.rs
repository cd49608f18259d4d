//! Publishing: creates, signs and stores a manifest, all under a lock, so that two publishers cannot create the same
//! version. Superseded versions are kept for a while, so that they can be restored.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::publication::{Labels, Provenance, Publication, PublicationError};
use super::{Store, StoreError};
use crate::durable::{self, Durability};
use crate::intel::manifest::{Digest, Hasher, Key, Manifest, Mode, Revocation, Rule, SegmentRef, Signed};
use crate::names::Name;

/// The number of superseded publications that are kept per name and mode.
pub const KEPT: usize = 16;
/// Held while publishing.
const LOCK: &str = ".lock";

/// A publication to be created.
#[derive(Clone, Debug)]
pub struct Draft {
    pub name: Name,
    /// The labels of the target nodes; empty for all nodes.
    pub labels: Labels,
    /// See [`Manifest::audience`].
    pub audience: String,
    /// The slot.
    pub mode: Mode,
    /// See [`Manifest::segments`].
    pub segments: Vec<SegmentRef>,
    /// See [`Manifest::revocations`].
    pub revocations: Vec<Revocation>,
    /// See [`Manifest::rules`].
    pub rules: Vec<Rule>,
    /// How long nodes may accept it. `None`: forever.
    pub lifetime: Option<SignedDuration>,
}

/// The reason that nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bound would be exceeded.
    #[error("the publication {0}")]
    Publication(#[from] PublicationError),
    #[error("{path}: no such segment: {cause}; compile it into this store first")]
    NoSegment {
        /// Its file.
        path: PathBuf,
        cause: io::Error,
    },
    /// The digest of a segment differs from its name.
    #[error("{path}: is damaged: its SHA-256 is {found}; compile the feed again")]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// The digest of the file.
        found: Digest,
    },
    /// The length of a segment differs from its manifest.
    #[error("{path}: is damaged: its length differs from the {bytes} bytes in its manifest; compile the feed again")]
    Length {
        /// Its file.
        path: PathBuf,
        /// The length in the manifest.
        bytes: u64,
    },
    /// The active publication is signed, but the new one would not be.
    #[error("the active publication {0} is signed, and nodes may require a signature: give the key (--key)")]
    Unsigned(Name),
    /// There is no publication of this name.
    #[error("{name}: nothing is published for {mode} under this name; see publications/ in the store")]
    Nothing { name: Name, mode: Mode },
    /// The version is not kept.
    #[error("{name}: version {version} is not kept; kept are {kept} (at most {KEPT}), see `hotlist publications`")]
    NoVersion {
        name: Name,
        /// The requested version.
        version: u64,
        /// The kept versions.
        kept: String,
    },
    /// All version numbers are used up.
    #[error("the audience {0:?} has used every version number; choose another audience")]
    Versions(String),
}

impl Store {
    /// Returns a segment after verifying its file.
    ///
    /// # Errors
    /// The segment does not exist, or is damaged.
    pub fn check_segment(&self, digest: Digest) -> Result<SegmentRef, PublishError> {
        let path = self.segment(&digest);
        let missing = |cause| PublishError::NoSegment { path: path.clone(), cause };
        let (mut file, mut hasher) = (File::open(&path).map_err(missing)?, Hasher::default());
        let bytes = io::copy(&mut file, &mut HashWriter(&mut hasher)).map_err(missing)?;
        let found = hasher.finish();
        if found != digest {
            return Err(PublishError::Damaged { path, found });
        }
        Ok(SegmentRef { digest, bytes })
    }

    /// Returns the segments of active publications, which were verified when they were first published.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn published_segments(&self) -> Result<Vec<SegmentRef>, StoreError> {
        let publications = list(&self.publications())?.into_iter().filter_map(|path| Publication::read(&path).ok());
        Ok(publications.flat_map(|publication| publication.manifest.segments).collect())
    }

    /// Publishes a manifest, with a version higher than all of its audience. Segments must exist, but are not read.
    ///
    /// # Errors
    /// Nothing was published.
    pub fn publish(&self, draft: Draft, key: Option<&Key>, now: Timestamp) -> Result<Publication, PublishError> {
        let _lock = self.lock()?;
        self.publish_locked(draft, "publish".to_owned(), key, now)
    }

    /// Publishes the content of the shadow slot as a new live version, and empties the shadow slot. Without `lifetime`, the
    /// lifetime of the shadow version is used.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn promote(
        &self,
        name: &Name,
        lifetime: Option<SignedDuration>,
        key: Option<&Key>,
        now: Timestamp,
    ) -> Result<Publication, PublishError> {
        let _lock = self.lock()?;
        let shadow = self.active(name, Mode::Shadow)?.ok_or_else(|| {
            let name = name.clone();
            PublishError::Nothing { name, mode: Mode::Shadow }
        })?;
        let published = self.publish_again(&shadow, "promote", lifetime, key, now)?;
        let path = self.publications().join(shadow.file_name());
        durable::remove(&path).map_err(|cause| StoreError::write(&path, cause))?;
        Ok(published)
    }

    /// Publishes the content of an earlier live version as a new version.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn rollback(
        &self,
        name: &Name,
        version: u64,
        lifetime: Option<SignedDuration>,
        key: Option<&Key>,
        now: Timestamp,
    ) -> Result<Publication, PublishError> {
        let _lock = self.lock()?;
        let kept = self.kept(name, Mode::Serve)?;
        let Some((_, path)) = kept.iter().find(|(kept, _)| *kept == version) else {
            let kept: Vec<String> = kept.iter().map(|(version, _)| version.to_string()).collect();
            let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
            return Err(PublishError::NoVersion { name: name.clone(), version, kept });
        };
        let old = Publication::read_any(path)?;
        self.publish_again(&old, "rollback", lifetime, key, now)
    }

    /// Publishes the content of an earlier version to the live slot.
    fn publish_again(
        &self,
        old: &Publication,
        command: &str,
        lifetime: Option<SignedDuration>,
        key: Option<&Key>,
        now: Timestamp,
    ) -> Result<Publication, PublishError> {
        if key.is_none() && !old.signatures.is_empty() {
            return Err(PublishError::Unsigned(old.name.clone()));
        }
        let Manifest { audience, version, issued, expires, segments, revocations, rules, .. } = old.manifest.clone();
        let lifetime = lifetime.or_else(|| expires.map(|expires| expires.duration_since(issued)));
        let (name, labels) = (old.name.clone(), old.labels.clone());
        let mode = Mode::Serve;
        let draft = Draft { name, labels, audience, mode, segments, revocations, rules, lifetime };
        self.publish_locked(draft, format!("{command} of version {version}"), key, now)
    }

    fn publish_locked(
        &self,
        draft: Draft,
        how: String,
        key: Option<&Key>,
        now: Timestamp,
    ) -> Result<Publication, PublishError> {
        let Draft { name, labels, audience, mode, segments, revocations, rules, lifetime } = draft;
        for SegmentRef { digest, bytes } in &segments {
            let path = self.segment(digest);
            let found = std::fs::metadata(&path);
            let found = found.map_err(|cause| PublishError::NoSegment { path: path.clone(), cause })?;
            if found.len() != *bytes {
                return Err(PublishError::Length { path, bytes: *bytes });
            }
        }
        let is_signed = |of: &Publication| !of.signatures.is_empty();
        // An unreadable active publication is replaced.
        if key.is_none() && self.active(&name, mode).is_ok_and(|before| before.as_ref().is_some_and(is_signed)) {
            return Err(PublishError::Unsigned(name));
        }
        let last = self.last_version(&name, &audience)?;
        let version = last.checked_add(1).ok_or_else(|| PublishError::Versions(audience.clone()))?;
        let expires = lifetime.map(|lifetime| now.checked_add(lifetime).unwrap_or(Timestamp::MAX));
        let manifest = Manifest { audience, version, mode, issued: now, expires, segments, revocations, rules };
        let manifest = manifest.to_bytes().map_err(PublicationError::from)?;
        let signatures = key.iter().map(|key| key.sign(&manifest)).collect();
        let mut publication = Publication::new(name, labels, Signed { manifest, signatures })?;
        publication.made = self.author.as_ref().map(|Provenance { by, note, .. }| Provenance {
            by: by.clone(),
            how,
            note: note.clone(),
        });
        self.put(&publication)?;
        Ok(publication)
    }

    /// Writes the history first: a version that was active once is never used again.
    fn put(&self, publication: &Publication) -> Result<(), PublishError> {
        let Publication { name, manifest, .. } = publication;
        let content = publication.to_json().map_err(PublicationError::from)?;
        let kept = self.history().join(format!("{name}.{}.{}.json", manifest.mode, manifest.version));
        for path in [kept, self.publications().join(publication.file_name())] {
            durable::replace(&path, &content, Durability::Synced).map_err(|cause| StoreError::write(&path, cause))?;
        }
        let kept = self.kept(name, manifest.mode)?;
        // The active version is among them.
        let superfluous = kept.len().saturating_sub(KEPT + 1);
        for (_, path) in kept.iter().take(superfluous) {
            std::fs::remove_file(path).map_err(|cause| StoreError::write(path, cause))?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<File, StoreError> {
        let path = self.publications().join(LOCK);
        let failed = |cause| StoreError::write(&path, cause);
        let file = durable::private().create(true).append(true).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn active(&self, name: &Name, mode: Mode) -> Result<Option<Publication>, PublicationError> {
        match Publication::read(&self.publications().join(format!("{name}.{mode}.json"))) {
            Ok(publication) => Ok(Some(publication)),
            Err(PublicationError::Read(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the kept versions of a name, the lowest first.
    fn kept(&self, name: &Name, mode: Mode) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let of = |path: PathBuf| {
            let (of, of_mode, version) = parse_kept(&path)?;
            (of == name.as_str() && of_mode == mode.as_str()).then_some((version, path))
        };
        let mut kept: Vec<_> = list(&self.history())?.into_iter().filter_map(of).collect();
        kept.sort();
        Ok(kept)
    }

    /// Returns the highest version that an audience has had in this store.
    fn last_version(&self, name: &Name, audience: &str) -> Result<u64, StoreError> {
        let mut last = 0;
        for path in list(&self.publications())?.into_iter().chain(list(&self.history())?) {
            let version = match Publication::read_any(&path) {
                Ok(publication) if publication.manifest.audience == audience => publication.manifest.version,
                Ok(_) => 0,
                // The audience of an unreadable publication is unknown, so its name decides.
                Err(_) => parse_kept(&path).filter(|(of, ..)| *of == name.as_str()).map_or(0, |(.., version)| version),
            };
            last = last.max(version);
        }
        Ok(last)
    }
}

/// Parses the name, mode and version in the name of a history file.
pub(super) fn parse_kept(path: &Path) -> Option<(&str, &str, u64)> {
    let (rest, version) = path.file_name()?.to_str()?.strip_suffix(".json")?.rsplit_once('.')?;
    let (name, mode) = rest.rsplit_once('.')?;
    Some((name, mode, version.parse().ok()?))
}

pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |cause| StoreError::read(directory, cause);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    Ok(found)
}

struct HashWriter<'a>(&'a mut Hasher);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
