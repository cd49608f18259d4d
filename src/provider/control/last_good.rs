//! Reads the last good manifest of a cache without changing the cache, whose node may be running.

use std::path::PathBuf;
use std::sync::Arc;

use super::cache::{self, CacheError, RecordError};
use super::refusal::ManifestRefusal;
use super::settings::Settings;
use super::verify;
use crate::intel::manifest::{Manifest, Mode, SegmentRef};

/// The manifest that would be activated after a restart.
#[derive(Debug)]
pub struct LastGood {
    pub manifest: Arc<Manifest>,
    /// The files of its segments, in its order. Their bytes are not verified.
    pub segments: Vec<PathBuf>,
}

/// The reason that a cache has no usable manifest.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The directory is not a cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The file of the manifest, or of the highest versions, cannot be used.
    #[error(transparent)]
    Kept(#[from] RecordError),
    /// The manifest is not for this configuration.
    #[error(transparent)]
    Refused(#[from] ManifestRefusal),
}

/// Reads the last good manifest of a slot as a node does at its start. `None` if nothing was fetched yet.
///
/// # Errors
/// The node would not use the manifest either.
pub fn last_good(settings: &Settings, mode: Mode) -> Result<Option<LastGood>, LastGoodError> {
    cache::check(&settings.cache)?;
    let Some(signed) = cache::read_last_good(&settings.cache, mode)? else { return Ok(None) };
    let verified = verify::check_signed(signed, mode, settings)?;
    // If the highest versions are damaged, only new versions are refused.
    verify::check_kept(&verified, cache::read_highest(&settings.cache, mode).ok().flatten())?;
    let path = |of: &SegmentRef| cache::segment_path(&settings.cache, of.digest);
    let segments = verified.manifest.segments.iter().map(path).collect();
    Ok(Some(LastGood { manifest: verified.manifest, segments }))
}
