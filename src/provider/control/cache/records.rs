//! The record files of the cache: last good manifests and highest versions. Each contains its own digest, so that damage
//! is also detected in unsigned files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CacheError, files};
use crate::durable;
use crate::intel::manifest::{Digest, MAX_BYTES, Mode, Signed};

/// The maximum size of a manifest's file: its bytes as base64, and room for signatures.
const MAX_KEPT: u64 = 2 * MAX_BYTES as u64;
/// The maximum size of the file of highest versions.
const MAX_HIGHEST: u64 = 4096;

/// The highest version of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HighestVersion {
    pub version: u64,
    /// The digest of the manifest's exact bytes.
    pub manifest: Digest,
}

/// The reason that a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The disk failed.
    #[error("{path}: cannot be read: {cause}; check the disk of `intel.control.cache`")]
    Io { path: PathBuf, cause: io::Error },
    #[error("{path}: is damaged: {cause}; it stays inactive until the next version from the control plane replaces it")]
    Damaged { path: PathBuf, cause: String },
}

/// A value with its digest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<T> {
    /// The digest of the JSON of `value`.
    sha256: Digest,
    value: T,
}

fn seal<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, CacheError> {
    let written = || -> serde_json::Result<Vec<u8>> {
        let sha256 = Digest::sha256(&serde_json::to_vec(value)?);
        serde_json::to_vec(&Sealed { sha256, value })
    };
    written().map_err(|error| CacheError::io(path, "written", error.into()))
}

fn unseal<T: Serialize + for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    let sealed: Sealed<T> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let again = serde_json::to_vec(&sealed.value).map_err(|error| error.to_string())?;
    if Digest::sha256(&again) == sealed.sha256 {
        Ok(sealed.value)
    } else {
        Err("its digest does not match its content".to_owned())
    }
}

/// Used instead of a table by slot, so that the keys have one order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HighestVersions {
    serve: Option<HighestVersion>,
    shadow: Option<HighestVersion>,
}

pub(super) fn highest_path(directory: &Path) -> PathBuf {
    directory.join("highest.json")
}

pub(super) fn read_highest(directory: &Path) -> Result<HashMap<Mode, HighestVersion>, RecordError> {
    let path = highest_path(directory);
    let bytes = files::read(&path, MAX_HIGHEST).map_err(|cause| RecordError::Io { path: path.clone(), cause })?;
    let Some(bytes) = bytes else { return Ok(HashMap::new()) };
    let HighestVersions { serve, shadow } = unseal(&bytes).map_err(|cause| RecordError::Damaged { path, cause })?;
    let each = [(Mode::Serve, serve), (Mode::Shadow, shadow)];
    Ok(each.into_iter().filter_map(|(mode, highest)| Some((mode, highest?))).collect())
}

pub(super) fn write_highest(directory: &Path, highest: &HashMap<Mode, HighestVersion>) -> Result<(), CacheError> {
    let of = |mode| highest.get(&mode).copied();
    let path = highest_path(directory);
    let bytes = seal(&path, &HighestVersions { serve: of(Mode::Serve), shadow: of(Mode::Shadow) })?;
    let next = directory.join("highest.json.next");
    durable::stage(&next, &bytes).map_err(|cause| CacheError::io(&next, "written", cause))?;
    durable::commit(&next, &path).map_err(|cause| CacheError::io(&path, "renamed", cause))
}

fn path(directory: &Path, mode: Mode) -> PathBuf {
    directory.join(format!("{mode}.json"))
}

fn staged(directory: &Path, mode: Mode) -> PathBuf {
    directory.join(format!("{mode}.json.next"))
}

pub(super) fn read(directory: &Path, mode: Mode) -> Result<Option<Signed>, RecordError> {
    let path = path(directory, mode);
    let bytes = files::read(&path, MAX_KEPT).map_err(|cause| RecordError::Io { path: path.clone(), cause })?;
    bytes.map(|bytes| unseal(&bytes)).transpose().map_err(|cause| RecordError::Damaged { path, cause })
}

pub(super) fn stage(directory: &Path, mode: Mode, signed: &Signed) -> Result<(), CacheError> {
    let path = staged(directory, mode);
    let sealed = seal(&path, signed)?;
    durable::stage(&path, &sealed).map_err(|cause| CacheError::io(&path, "written", cause))
}

pub(super) fn commit(directory: &Path, mode: Mode) -> Result<(), CacheError> {
    let path = path(directory, mode);
    durable::commit(&staged(directory, mode), &path).map_err(|cause| CacheError::io(&path, "renamed", cause))
}

pub(super) fn remove(directory: &Path, mode: Mode) -> Result<(), CacheError> {
    let path = path(directory, mode);
    match durable::remove(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(CacheError::io(&path, "removed", cause)),
    }
}
