//! Builds one snapshot from the snapshot of the files and a manifest with its segments.

use std::sync::Arc;

use crate::intel::manifest::{Manifest, Revocation};
use crate::intel::segment::{Digest, Segment, SegmentFeed};
use crate::intel::snapshot::{
    Feed, MatchOptions, ReuseError, Revoked, RevokedBy, Snapshot, SnapshotBuilder, SnapshotError,
};
use crate::intel::term;
use crate::observable::Kind;
use crate::schema::FieldTable;

/// How snapshots are built.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    pub table: Arc<FieldTable>,
    /// How values are matched.
    pub options: MatchOptions,
    /// Keys the hash of every snapshot.
    pub seed: u64,
    /// The memory limit of a snapshot.
    pub max_bytes: Option<usize>,
}

/// The reason that a snapshot cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotBuildError {
    /// It would be too large.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The files were read for another field table.
    #[error(transparent)]
    NotCarried(#[from] ReuseError),
    #[error(
        "a revocation of feed `{feed}`: `{value}` is not a valid {kind} value; fix or remove it, and publish the manifest again"
    )]
    Revocation {
        feed: String,
        /// The kind of the value.
        kind: Kind,
        value: String,
    },
    /// It would exceed the memory limit.
    #[error(
        "the indicators would need {needed} bytes of memory, but `intel.max_bytes` allows {allowed}: remove feeds, or raise the limit"
    )]
    OverBudget {
        /// The size of prefilter and segments.
        needed: usize,
        allowed: usize,
    },
}

/// Checks the memory size of a snapshot.
///
/// # Errors
/// It exceeds the limit.
pub fn within(snapshot: &Snapshot, max_bytes: Option<usize>) -> Result<(), SnapshotBuildError> {
    let needed = snapshot.memory_bytes();
    match max_bytes {
        Some(allowed) if needed > allowed => Err(SnapshotBuildError::OverBudget { needed, allowed }),
        _ => Ok(()),
    }
}

/// Builds one snapshot from the files and a manifest. Reuses segments of `like`.
///
/// # Errors
/// It cannot be built, or would exceed the memory limit.
pub fn compose(
    settings: &BuildSettings,
    files: Option<&Snapshot>,
    opened: &OpenedManifest,
    like: Option<&Snapshot>,
) -> Result<Snapshot, SnapshotBuildError> {
    let mut builder = SnapshotBuilder::new(Arc::clone(&settings.table), settings.options, settings.seed);
    if let Some(files) = files {
        builder.reuse_feeds(files, |_| true)?;
    }
    if let Some(like) = like {
        builder.reuse(like);
    }
    for (_, segment) in &opened.segments {
        builder.add_segment(Arc::clone(segment), |feed| opened.feed(feed))?;
    }
    builder.revoke(opened.revoked()?);
    // A snapshot that is certain to be too large is not built; merging many segments may need more memory.
    let needed = builder.size_bytes();
    if let Some(allowed) = settings.max_bytes.filter(|allowed| needed > *allowed) {
        return Err(SnapshotBuildError::OverBudget { needed, allowed });
    }
    let Manifest { audience, version, .. } = &*opened.manifest;
    let name = match files.filter(|files| !files.is_empty()) {
        Some(files) => format!("{audience}@{version}+{}", files.name()),
        None => format!("{audience}@{version}"),
    };
    let snapshot = builder.build(name);
    within(&snapshot, settings.max_bytes)?;
    Ok(snapshot)
}

/// A manifest with its opened segments.
#[derive(Debug)]
pub struct OpenedManifest {
    pub(super) manifest: Arc<Manifest>,
    segments: Vec<(Digest, Arc<Segment>)>,
}

impl OpenedManifest {
    /// Creates it from the segments of a manifest, in its order.
    pub fn new(manifest: Arc<Manifest>, segments: Vec<(Digest, Arc<Segment>)>) -> OpenedManifest {
        OpenedManifest { manifest, segments }
    }

    pub(super) fn opened(&self, digest: &Digest) -> Option<&Arc<Segment>> {
        self.segments.iter().find(|(known, _)| known == digest).map(|(_, segment)| segment)
    }

    fn feed(&self, of: &SegmentFeed) -> Feed {
        let rule = self.manifest.rules.iter().find(|rule| rule.feed == of.name);
        let origin = rule.map_or(of.origin, |rule| rule.origin);
        Feed { origin, enabled: rule.is_some_and(|rule| rule.enabled), ..Feed::named(&of.name) }
    }

    /// Returns the indicators that the manifest revokes.
    ///
    /// # Errors
    /// A value is not valid: the indicator that it means to revoke would continue to match.
    fn revoked(&self) -> Result<Vec<Revoked>, SnapshotBuildError> {
        let read = |revocation: &Revocation| match revocation {
            Revocation::Id { feed, id } => Ok(Revoked { feed: feed.clone(), by: RevokedBy::Id(id.clone()) }),
            Revocation::Value { feed, kind, value } => match term::value(*kind, value) {
                Some(found) => Ok(Revoked { feed: feed.clone(), by: RevokedBy::Value(found) }),
                None => Err(SnapshotBuildError::Revocation { feed: feed.clone(), kind: *kind, value: value.clone() }),
            },
        };
        self.manifest.revocations.iter().map(read).collect()
    }
}
