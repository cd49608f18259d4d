//! A publication: the signed bytes of a manifest, and the labels of its target nodes.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::files;
use crate::intel::manifest::{Digest, MAX_BYTES, MAX_SIGNATURES, Manifest, ManifestError, Mode, Signature, Signed};
use crate::names::{Name, NameError};

/// The maximum number of labels of a node or a publication.
pub const MAX_LABELS: usize = 32;
/// The maximum length of a label's key, and of its value, in bytes.
pub const MAX_LABEL_BYTES: usize = 63;
/// The label of the tenant.
pub const TENANT: &str = "tenant";
/// The maximum file size: a manifest in base64, its signatures and labels.
const MAX_FILE: u64 = 2 * MAX_BYTES as u64;

/// The labels of a node or a publication.
pub type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub struct Publication {
    pub name: Name,
    /// The labels that a node must have to be targeted, all of them.
    pub labels: Labels,
    /// The parsed manifest.
    pub manifest: Manifest,
    /// The signed bytes.
    pub bytes: Bytes,
    pub signatures: Vec<Signature>,
    /// The digest of manifest and signatures.
    pub fingerprint: Digest,
    /// Its author and command, for people only.
    pub made: Option<Provenance>,
}

/// The author and the command of a publication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The user and the host.
    pub by: String,
    /// The command, and the version whose content it published again.
    pub how: String,
    /// The user's note.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The reason that a file is not a valid publication.
#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// The file does not have the format of a publication.
    #[error("is not a publication: {0}; create one with `hotlist publish`")]
    Json(#[from] serde_json::Error),
    /// The manifest is not base64.
    #[error("its manifest is not base64; create the publication with `hotlist publish`")]
    Base64,
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name or mode differs from the file name.
    #[error("is the publication {name} for {mode}, but its file has another name; name it `{name}.{mode}.json`")]
    Misnamed { name: Name, mode: Mode },
    /// The labels are not valid.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// There are too many signatures.
    #[error("has {0} signatures; give at most {MAX_SIGNATURES}")]
    Signatures(usize),
    /// The manifest is not valid.
    #[error("its manifest cannot be used: {0}")]
    Manifest(#[from] ManifestError),
}

/// There are too many labels, or they are too long.
#[derive(Debug, thiserror::Error)]
#[error(
    "labels: give at most {MAX_LABELS}, with keys of 1 to {MAX_LABEL_BYTES} bytes and values of at most {MAX_LABEL_BYTES} bytes"
)]
pub struct LabelsError;

/// Checks the number and length of labels.
///
/// # Errors
/// There are too many labels, or they are too long.
pub fn check_labels<'a>(labels: impl ExactSizeIterator<Item = (&'a String, &'a String)>) -> Result<(), LabelsError> {
    let many = labels.len() > MAX_LABELS;
    let fits = |key: &str, value: &str| (1..=MAX_LABEL_BYTES).contains(&key.len()) && value.len() <= MAX_LABEL_BYTES;
    let mut labels = labels;
    if many || !labels.all(|(key, value)| fits(key, value)) { Err(LabelsError) } else { Ok(()) }
}

/// The file format.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    labels: Labels,
    /// In base64.
    manifest: String,
    signatures: Vec<Signature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<Provenance>,
}

impl Publication {
    /// Creates a publication.
    ///
    /// # Errors
    /// A bound is exceeded.
    pub fn new(name: Name, labels: Labels, signed: Signed) -> Result<Publication, PublicationError> {
        check_labels(labels.iter())?;
        if signed.signatures.len() > MAX_SIGNATURES {
            return Err(PublicationError::Signatures(signed.signatures.len()));
        }
        let manifest = Manifest::parse(&signed.manifest)?;
        let fingerprint = Digest::sha256(&serde_json::to_vec(&signed)?);
        let Signed { manifest: bytes, signatures } = signed;
        Ok(Publication { name, labels, manifest, bytes: bytes.into(), signatures, fingerprint, made: None })
    }

    /// Reads a file with any name.
    pub(super) fn read_any(path: &Path) -> Result<Publication, PublicationError> {
        Publication::parse(&files::read(path, MAX_FILE)?)
    }

    /// Reads a file whose name must match its content.
    pub(super) fn read(path: &Path) -> Result<Publication, PublicationError> {
        let publication = Publication::read_any(path)?;
        if path.file_name().is_none_or(|name| name.to_string_lossy() != publication.file_name()) {
            let (name, mode) = (publication.name, publication.manifest.mode);
            return Err(PublicationError::Misnamed { name, mode });
        }
        Ok(publication)
    }

    /// Parses the output of [`Publication::to_json`].
    ///
    /// # Errors
    /// The content is not a publication.
    pub fn parse(content: &[u8]) -> Result<Publication, PublicationError> {
        let File { name, labels, manifest, signatures, made } = serde_json::from_slice(content)?;
        let manifest = STANDARD.decode(manifest).map_err(|_| PublicationError::Base64)?;
        let publication = Publication::new(Name::parse(&name)?, labels, Signed { manifest, signatures })?;
        Ok(Publication { made, ..publication })
    }

    /// Returns the content of its file.
    ///
    /// # Errors
    /// None are known.
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

    pub fn file_name(&self) -> String {
        format!("{}.{}.json", self.name, self.manifest.mode)
    }

    /// Returns whether a node with these labels is targeted.
    pub fn targets(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Returns whether a node of this tenant may be targeted.
    pub fn is_for_tenant(&self, tenant: &Name) -> bool {
        self.labels.get(TENANT).is_none_or(|of| of == tenant.as_str())
    }
}
