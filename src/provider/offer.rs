//! Offers the manifests of the control stream to the owner of the active snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use super::control::{Apply, Candidate};
use crate::intel::manifest::{Digest, Manifest, Mode};
use crate::intel::segment::Segment;
use crate::publisher::{OpenedManifest, PreparedSnapshot, SnapshotPublisher};

/// Opens the segments of candidates, and has the publisher build and activate their snapshots.
pub struct SnapshotApplier(pub Arc<SnapshotPublisher>);

impl Apply for SnapshotApplier {
    type Ready = PreparedSnapshot;

    fn prepare(&self, _: Mode, candidate: &Candidate) -> Result<PreparedSnapshot, String> {
        let opened = |digest: &Digest| self.0.opened(digest);
        let segments = open_segments(&candidate.manifest, &candidate.segments, opened, || candidate.is_current())?;
        let opened = OpenedManifest::new(Arc::clone(&candidate.manifest), segments);
        self.0.prepare(opened).map_err(|error| error.to_string())
    }

    fn publish(&self, mode: Mode, ready: PreparedSnapshot) {
        self.0.publish(mode, ready);
    }

    fn release_replaced(&self) {
        self.0.release_replaced();
    }

    fn clear(&self, mode: Mode) {
        self.0.clear(mode);
    }
}

/// Opens the segments of a manifest, in its order, from their files; `opened` returns those that are open already.
///
/// # Errors
/// A segment cannot be used, or the manifest is no longer current.
pub fn open_segments(
    manifest: &Manifest,
    paths: &[PathBuf],
    opened: impl Fn(&Digest) -> Option<Arc<Segment>>,
    is_current: impl Fn() -> bool,
) -> Result<Vec<(Digest, Arc<Segment>)>, String> {
    let mut segments = Vec::with_capacity(paths.len());
    for (of, path) in manifest.segments.iter().zip(paths) {
        if !is_current() {
            return Err("superseded by a newer version".to_owned());
        }
        let segment = match opened(&of.digest) {
            Some(segment) => segment,
            None => Segment::open(path, Some(of.digest)).map_err(|error| format!("segment {}: {error}", of.digest))?,
        };
        segments.push((of.digest, segment));
    }
    Ok(segments)
}
