//! The last good manifest of a cache for a program that only reads it: the node that owns the cache may be running.

use std::path::PathBuf;
use std::sync::Arc;

use super::cache::{self, CacheError, KeptError};
use super::judge;
use super::refusal::Refusal;
use super::settings::Settings;
use crate::intel::manifest::{Manifest, Mode, SegmentRef};

/// A manifest that would be served after a restart.
#[derive(Debug)]
pub struct LastGood {
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// The files of its segments, in its order. Their bytes are not checked.
    pub segments: Vec<PathBuf>,
}

/// Why a cache has no manifest that can be used.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The directory is not a cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The file of the manifest, or of the highest versions, cannot be used.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The manifest is not for this configuration.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Reads the last good manifest of a slot as a node does at its start. `None`: nothing was fetched yet.
///
/// # Errors
/// The node would not use it either.
pub fn last_good(settings: &Settings, mode: Mode) -> Result<Option<LastGood>, LastGoodError> {
    cache::check(&settings.cache)?;
    let Some(signed) = cache::read_last_good(&settings.cache, mode)? else { return Ok(None) };
    let judged = judge::sound(signed, mode, settings)?;
    // Where the highest versions are damaged, only new versions are refused.
    judge::kept(&judged, cache::read_highest(&settings.cache, mode).ok().flatten())?;
    let path = |of: &SegmentRef| cache::segment_path(&settings.cache, of.digest);
    let segments = judged.manifest.segments.iter().map(path).collect();
    Ok(Some(LastGood { manifest: judged.manifest, segments }))
}
