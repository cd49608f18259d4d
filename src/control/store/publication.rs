//! A publication: the signed bytes of a manifest, and the labels of the nodes that it is for.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::files;
use crate::control::names::{Name, NameError};
use crate::intel::manifest::{Digest, MAX_BYTES, MAX_SIGNATURES, Manifest, ManifestError, Mode, Signature, Signed};

/// The most labels of a node or a publication.
pub const MAX_LABELS: usize = 32;
/// The most bytes of a label's key, and of its value.
pub const MAX_LABEL_BYTES: usize = 63;
/// The label that says the tenant.
pub const TENANT: &str = "tenant";
/// The longest file: a manifest in base64, its signatures and labels.
const MAX_FILE: u64 = 2 * MAX_BYTES as u64;

/// What nodes are told from each other by.
pub type Labels = BTreeMap<String, String>;

/// What is published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// What operators call it.
    pub name: Name,
    /// The labels that a node must have to be meant, all of them.
    pub labels: Labels,
    /// What its bytes say.
    pub manifest: Manifest,
    /// The bytes that are signed.
    pub bytes: Bytes,
    /// Who signed them.
    pub signatures: Vec<Signature>,
    /// Of manifest and signatures: tells this content from any other.
    pub fingerprint: Digest,
    /// Who made it, and how; for people, nothing depends on it.
    pub made: Option<Made>,
}

/// Who made a publication, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The user and the host.
    pub by: String,
    /// The command, and the version whose content it published again.
    pub how: String,
    /// Why, as the user put it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A file is no publication.
#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is not what a publication looks like.
    #[error("is no publication: {0}; `hotlist publish` writes one")]
    Json(#[from] serde_json::Error),
    /// Its manifest is not in base64.
    #[error("its manifest is not in base64; `hotlist publish` writes it so")]
    Base64,
    /// Its name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its name or mode is not that of its file.
    #[error("is the publication {name} for {mode}, but its file has another name; name it `{name}.{mode}.json`")]
    Misnamed {
        /// The name in it.
        name: Name,
        /// The mode in it.
        mode: Mode,
    },
    /// Its labels cannot be had by a node.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// It has too many signatures.
    #[error("has {0} signatures; {MAX_SIGNATURES} are the most")]
    Signatures(usize),
    /// What it publishes is no manifest.
    #[error("its manifest cannot be used: {0}")]
    Manifest(#[from] ManifestError),
}

/// Labels that are too many or too long.
#[derive(Debug, thiserror::Error)]
#[error(
    "labels: at most {MAX_LABELS}, with keys of 1 to {MAX_LABEL_BYTES} bytes and values of at most {MAX_LABEL_BYTES}, are taken"
)]
pub struct LabelsError;

/// Holds labels to their bounds.
///
/// # Errors
/// They are too many or too long.
pub fn check_labels<'a>(labels: impl ExactSizeIterator<Item = (&'a String, &'a String)>) -> Result<(), LabelsError> {
    let many = labels.len() > MAX_LABELS;
    let fits = |key: &str, value: &str| (1..=MAX_LABEL_BYTES).contains(&key.len()) && value.len() <= MAX_LABEL_BYTES;
    let mut labels = labels;
    if many || !labels.all(|(key, value)| fits(key, value)) { Err(LabelsError) } else { Ok(()) }
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    labels: Labels,
    /// In base64.
    manifest: String,
    signatures: Vec<Signature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<Made>,
}

impl Publication {
    /// A new one.
    ///
    /// # Errors
    /// It breaks a bound.
    pub fn new(name: Name, labels: Labels, signed: Signed) -> Result<Publication, PublicationError> {
        check_labels(labels.iter())?;
        if signed.signatures.len() > MAX_SIGNATURES {
            return Err(PublicationError::Signatures(signed.signatures.len()));
        }
        let manifest = Manifest::parse(&signed.manifest)?;
        let fingerprint = Digest::of(&serde_json::to_vec(&signed)?);
        let Signed { manifest: bytes, signatures } = signed;
        Ok(Publication { name, labels, manifest, bytes: bytes.into(), signatures, fingerprint, made: None })
    }

    /// Reads a file, whatever its name is.
    pub(super) fn read_any(path: &Path) -> Result<Publication, PublicationError> {
        Publication::parse(&files::read(path, MAX_FILE)?)
    }

    /// Reads a file, whose name must be that of what is in it.
    pub(super) fn read(path: &Path) -> Result<Publication, PublicationError> {
        let publication = Publication::read_any(path)?;
        if path.file_name().is_none_or(|name| name.to_string_lossy() != publication.file_name()) {
            let (name, mode) = (publication.name, publication.manifest.mode);
            return Err(PublicationError::Misnamed { name, mode });
        }
        Ok(publication)
    }

    /// Reads what [`Publication::to_json`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(content: &[u8]) -> Result<Publication, PublicationError> {
        let File { name, labels, manifest, signatures, made } = serde_json::from_slice(content)?;
        let manifest = STANDARD.decode(manifest).map_err(|_| PublicationError::Base64)?;
        let publication = Publication::new(Name::parse(&name)?, labels, Signed { manifest, signatures })?;
        Ok(Publication { made, ..publication })
    }

    /// The content of its file.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut content = serde_json::to_vec(&File {
            name: self.name.to_string(),
            labels: self.labels.clone(),
            manifest: STANDARD.encode(&self.bytes),
            signatures: self.signatures.clone(),
            made: self.made.clone(),
        })?;
        content.push(b'\n');
        Ok(content)
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}.{}.json", self.name, self.manifest.mode)
    }

    /// Whether a node with these labels is meant.
    pub fn targets(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Whether some node of this tenant can be meant.
    pub fn is_for_tenant(&self, tenant: &Name) -> bool {
        self.labels.get(TENANT).is_none_or(|of| of == tenant.as_str())
    }
}
