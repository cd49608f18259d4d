//! Manifests: the signed list of what makes a version. It names segments by digest and in order, takes single
//! indicators back, and says which feeds are enabled.
//!
//! A manifest is JSON. Its exact bytes are what is signed, so they are kept and passed on as they are; nobody writes
//! them again to check them. Time is an argument.

mod bounds;
mod digest;
mod error;
mod key;
mod limits;
mod signature;

#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::indicator::Origin;
use crate::observable::Kind;

pub use bounds::is_audience;
pub use digest::{Digest, DigestError, Hasher};
pub use error::ManifestError;
pub use key::{Key, KeyError, PublicKey};
pub use limits::{
    MAX_AUDIENCE, MAX_BYTES, MAX_FEED, MAX_REVOCATIONS, MAX_RULES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, MAX_SIGNATURES,
    MAX_TEXT,
};
pub use signature::{Signature, SignatureError, Signed, verify};

/// The content of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Whom it is for: 1 to 128 characters of `[a-z0-9._/-]`. A node takes only manifests of its own audience.
    pub audience: String,
    /// Grows with every manifest of an audience and mode, from 1. 0 means none.
    pub version: u64,
    /// The purpose of the manifest.
    pub mode: Mode,
    /// When it was made.
    pub issued: Timestamp,
    /// From when on it is refused as new. `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Its segments. The order counts: a later segment takes indicators back from earlier ones.
    pub segments: Vec<SegmentRef>,
    /// Indicators that do not count, whatever the segments say.
    pub revocations: Vec<Revocation>,
    /// The rules that enable feeds. A feed without a rule is not enabled.
    pub rules: Vec<Rule>,
}

/// The purpose of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It matches events.
    Serve,
    /// It matches in addition to the active one, and its hits are only counted and sampled.
    Shadow,
}

/// A segment by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRef {
    /// SHA-256 of the whole file.
    pub digest: Digest,
    /// The length of the file in bytes.
    pub bytes: u64,
}

/// An indicator of a feed that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WrittenRevocation", into = "WrittenRevocation")]
pub enum Revocation {
    /// By the feed's own id of it.
    Id {
        /// The feed.
        feed: String,
        /// The id.
        id: String,
    },
    /// By what it looks for.
    Value {
        /// The feed.
        feed: String,
        /// The kind of the value.
        kind: Kind,
        /// The value in canonical form.
        value: String,
    },
}

/// Says whether the indicators of a feed count, and at which fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The feed. It has one rule at most.
    pub feed: String,
    /// Whether they count at all.
    pub enabled: bool,
    /// What they are.
    pub origin: Origin,
}

impl Manifest {
    /// Reads the bytes of a manifest and holds them to every bound. Whether it may be used, now and here, is a question
    /// of its own: see [`Manifest::is_expired`] and [`verify`].
    ///
    /// # Errors
    /// They are none, or break a bound; the text says which, where, and how to fix it.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        bounds::check_length(bytes.len())?;
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let manifest: Manifest = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| ManifestError::json(&error.path().to_string(), &error.inner().to_string()))?;
        json.end().map_err(|error| ManifestError::json(".", &error.to_string()))?;
        bounds::check(&manifest)?;
        Ok(manifest)
    }

    /// The bytes to sign: equal manifests have equal bytes, and [`Manifest::parse`] gives back an equal manifest.
    ///
    /// # Errors
    /// The manifest breaks a bound, so that no node would take it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        bounds::check(self)?;
        let bytes = serde_json::to_vec(self).map_err(|error| ManifestError::json(".", &error.to_string()))?;
        bounds::check_length(bytes.len())?;
        Ok(bytes)
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// The bytes of all segments, each file once.
    pub fn segment_bytes(&self) -> u64 {
        let mut seen = std::collections::HashSet::new();
        self.segments.iter().filter(|segment| seen.insert(segment.digest)).map(|segment| segment.bytes).sum()
    }
}

impl Mode {
    /// Both.
    pub const ALL: [Mode; 2] = [Mode::Serve, Mode::Shadow];

    /// The word for it in manifests, paths and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Serve => "serve",
            Mode::Shadow => "shadow",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Revocation {
    /// The feed whose indicator it is.
    pub fn feed(&self) -> &str {
        match self {
            Revocation::Id { feed, .. } | Revocation::Value { feed, .. } => feed,
        }
    }
}

/// A revocation as it is written: both shapes in one, so that an error can say what is wrong.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRevocation {
    feed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl TryFrom<WrittenRevocation> for Revocation {
    type Error = String;

    fn try_from(written: WrittenRevocation) -> Result<Revocation, String> {
        let WrittenRevocation { feed, id, kind, value } = written;
        match (id, kind, value) {
            (Some(id), None, None) => Ok(Revocation::Id { feed, id }),
            (None, Some(kind), Some(value)) => match Kind::parse(&kind) {
                Some(kind) => Ok(Revocation::Value { feed, kind, value }),
                None => {
                    let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::as_str).collect();
                    Err(format!("`{}` is not a kind of value; known are {}", kind.escape_debug(), kinds.join(", ")))
                }
            },
            _ => Err("a revocation has either an `id`, or a `kind` and a `value`".to_owned()),
        }
    }
}

impl From<Revocation> for WrittenRevocation {
    fn from(revocation: Revocation) -> WrittenRevocation {
        match revocation {
            Revocation::Id { feed, id } => WrittenRevocation { feed, id: Some(id), kind: None, value: None },
            Revocation::Value { feed, kind, value } => {
                WrittenRevocation { feed, id: None, kind: Some(kind.as_str().to_owned()), value: Some(value) }
            }
        }
    }
}
