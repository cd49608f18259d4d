//! The reasons to refuse a manifest, as reported to the control plane and in metrics.

use tonic::Code;

use super::cache::CacheError;
use crate::intel::manifest::{Digest, ManifestError, Mode, SignatureError};

/// The reason that a manifest is refused. The previous version stays active.
#[derive(Debug, thiserror::Error)]
pub enum ManifestRefusal {
    /// The manifest is malformed, or exceeds a bound.
    #[error("{0}")]
    Format(#[from] ManifestError),
    /// The manifest has no valid signature of a trusted key.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// The manifest is for another audience.
    #[error(
        "the manifest is for the audience `{found}`, but this node has the audience `{own}` (`intel.control.audience`); target other nodes with this publication"
    )]
    Audience {
        /// The manifest's audience.
        found: String,
        /// The node's audience.
        own: String,
    },
    /// The manifest is for the other slot.
    #[error("the manifest has the mode `{found}`, but was sent for the slot `{slot}`; publish it for that slot")]
    Mode {
        /// The manifest's mode.
        found: Mode,
        /// The slot of the response.
        slot: Mode,
    },
    /// The response names an unknown slot.
    #[error("slot {0} does not exist; give SLOT_SERVE or SLOT_SHADOW")]
    Slot(i32),
    /// The slot cannot be emptied.
    #[error("the slot `serve` cannot be emptied; publish a manifest without segments to match nothing")]
    Empty,
    /// The versions of response and manifest differ.
    #[error(
        "the response has version {response}, but the manifest in it has version {manifest}; send the published version"
    )]
    Versions {
        /// The version in the response.
        response: u64,
        /// The version in the manifest.
        manifest: u64,
    },
    /// The version is lower than the highest version.
    #[error(
        "version {found} is older than {highest}, which this node has seen; publish it again with a higher version"
    )]
    Older {
        /// The manifest's version.
        found: u64,
        /// The highest version ever seen.
        highest: u64,
    },
    /// The version was seen with other content.
    #[error("version {0} was already received with other content; publish it again with a higher version")]
    Other(u64),
    #[error("the manifest expired at {0}; publish a new one")]
    Expired(jiff::Timestamp),
    /// A segment does not match the manifest.
    #[error("segment {digest}: {cause}; the store of the control plane is damaged: copy the segment there again")]
    Digest {
        /// The segment.
        digest: Digest,
        cause: String,
    },
    /// A segment cannot be fetched.
    #[error("segment {digest} cannot be fetched: {cause}; check that the control plane has it, this node will retry")]
    Fetch {
        /// The segment.
        digest: Digest,
        cause: String,
    },
    /// The segments do not fit into the cache, or the disk failed.
    #[error("{0}")]
    Cache(#[from] CacheError),
    /// The program cannot activate the manifest.
    #[error("{0}")]
    Apply(String),
}

impl ManifestRefusal {
    /// Returns the value of the metric's label.
    pub fn reason(&self) -> &'static str {
        match self {
            ManifestRefusal::Format(_) => "format",
            ManifestRefusal::Signature(_) => "signature",
            ManifestRefusal::Audience { .. } => "audience",
            ManifestRefusal::Mode { .. } | ManifestRefusal::Slot(_) | ManifestRefusal::Empty => "slot",
            ManifestRefusal::Versions { .. } | ManifestRefusal::Older { .. } | ManifestRefusal::Other(_) => "version",
            ManifestRefusal::Expired(_) => "expired",
            ManifestRefusal::Digest { .. } => "digest",
            ManifestRefusal::Fetch { .. } => "fetch",
            ManifestRefusal::Cache(_) => "cache",
            ManifestRefusal::Apply(_) => "apply",
        }
    }

    /// Returns whether the same manifest may be accepted later, because the cause is not in the manifest.
    pub fn may_pass(&self) -> bool {
        matches!(self, ManifestRefusal::Fetch { .. } | ManifestRefusal::Cache(_))
    }

    pub(super) fn code(&self) -> Code {
        match self {
            ManifestRefusal::Format(_) | ManifestRefusal::Slot(_) | ManifestRefusal::Versions { .. } => {
                Code::InvalidArgument
            }
            ManifestRefusal::Signature(_) => Code::Unauthenticated,
            ManifestRefusal::Audience { .. } => Code::PermissionDenied,
            ManifestRefusal::Mode { .. }
            | ManifestRefusal::Empty
            | ManifestRefusal::Older { .. }
            | ManifestRefusal::Other(_)
            | ManifestRefusal::Expired(_) => Code::FailedPrecondition,
            ManifestRefusal::Digest { .. } => Code::DataLoss,
            ManifestRefusal::Fetch { .. } => Code::Unavailable,
            ManifestRefusal::Cache(_) => Code::ResourceExhausted,
            ManifestRefusal::Apply(_) => Code::Internal,
        }
    }
}
