//! Connects the client of the control stream: opens it, and reports statistics and readiness.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio::sync::watch;

use super::StartError;
use super::match_stage::MatchStage;
use crate::config;
use crate::intel::manifest::{Digest, Manifest, Mode};
use crate::intel::segment::Segment;
use crate::provider::control::{Client, LastGoodError, Settings, Statistics, Status, host_name, last_good};
use crate::provider::offer::{SnapshotApplier, open_segments};
use crate::publisher::SnapshotPublisher;
use crate::readiness::{self, Readiness};

/// Opens the client, which activates the last good manifests. Blocks.
pub(super) fn open(
    control: &config::Control,
    canary: Option<String>,
    publisher: &Arc<SnapshotPublisher>,
    live: &Arc<MatchStage>,
    clock: fn() -> Timestamp,
) -> Result<Client<SnapshotApplier>, StartError> {
    let failed = |cause: String| StartError::Control(cause);
    let settings = Settings::load(control, &host_name()).map_err(|error| failed(error.to_string()))?;
    let (figures, counted) = (Arc::clone(publisher), Arc::clone(live));
    let count = Box::new(move || {
        let (indicators, newest) = figures.figures();
        let age = newest.map_or(0, |newest| clock().as_second().saturating_sub(newest.as_second()).max(0));
        Statistics {
            events: counted.judged.load(Ordering::Relaxed),
            hits: counted.found.load(Ordering::Relaxed),
            indicators,
            newest_feed_age_seconds: age.unsigned_abs(),
            canary_found: canary.as_deref().map(|domain| counted.finds(domain) == Some(true)),
        }
    });
    let applier = Arc::new(SnapshotApplier(Arc::clone(publisher)));
    Client::open(settings, applier, count).map_err(|error| failed(error.to_string()))
}

/// The last good manifest of a cache, with its opened segments.
pub(super) struct CachedManifest {
    pub(super) manifest: Arc<Manifest>,
    pub(super) segments: Vec<(Digest, Arc<Segment>)>,
    /// The files of the segments, in the same order.
    pub(super) paths: Vec<PathBuf>,
}

/// Opens what a node has in its cache and would match after a restart; `None` if it has fetched nothing yet. Writes
/// nothing, and takes no lock: the node may be running.
///
/// # Errors
/// `run` would not start. Problems that do not prevent the start are added to `notes`.
pub(super) fn cached_manifest(
    control: &config::Control,
    notes: &mut Vec<String>,
) -> Result<Option<CachedManifest>, StartError> {
    let failed = |cause: String| StartError::Control(cause);
    let settings = Settings::load(control, &host_name()).map_err(|error| failed(error.to_string()))?;
    let kept = match last_good(&settings, Mode::Serve) {
        Ok(Some(kept)) => {
            let segments = open_segments(&kept.manifest, &kept.segments, |_| None, || true);
            segments.map(|segments| CachedManifest { manifest: kept.manifest, segments, paths: kept.segments })
        }
        Ok(None) => {
            let path = control.cache.display();
            notes.push(format!("intel.control.cache: {path} has no manifest yet: only `intel.files` are matched"));
            return Ok(None);
        }
        Err(LastGoodError::Cache(error)) => return Err(failed(format!("intel.control.cache: {error}"))),
        Err(error) => Err(error.to_string()),
    };
    match kept {
        Ok(kept) => Ok(Some(kept)),
        Err(cause) => {
            notes.push(format!("intel.control.cache: {cause}; only `intel.files` are matched"));
            Ok(None)
        }
    }
}

/// Reports the status of the client in readiness, until the client is dropped.
pub(super) async fn report_status(readiness: Readiness, mut status: watch::Receiver<Status>) {
    loop {
        let (is_good, detail) = {
            let status = status.borrow_and_update();
            (status.is_good(), status.to_string())
        };
        readiness.set(readiness::CONTROL, is_good, detail);
        if status.changed().await.is_err() {
            return;
        }
    }
}
