//! Why a manifest is refused: what the control plane is told, and what the metrics call it.

use tonic::Code;

use super::cache::CacheError;
use crate::intel::manifest::{Digest, ManifestError, Mode, SignatureError};

/// Why a manifest is refused. The one before goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is none, or breaks a bound.
    #[error("{0}")]
    Format(#[from] ManifestError),
    /// Nobody vouches for it.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// It is for somebody else.
    #[error(
        "the manifest is for the audience `{found}`, and this node serves `{own}` (`intel.control.audience`); aim the publication at other nodes"
    )]
    Audience {
        /// Its audience.
        found: String,
        /// The node's.
        own: String,
    },
    /// It is for the other slot.
    #[error("the manifest's mode is `{found}`, and it came for the slot `{slot}`; publish it for that slot")]
    Mode {
        /// Its mode.
        found: Mode,
        /// The slot that it came for.
        slot: Mode,
    },
    /// The response is for no slot.
    #[error("there is no slot {0}; give SLOT_SERVE or SLOT_SHADOW")]
    Slot(i32),
    /// The slot cannot be emptied.
    #[error("the slot `serve` cannot be emptied; publish a manifest without segments to serve nothing")]
    Empty,
    /// Response and manifest say different versions.
    #[error("the response says version {response}, and the manifest in it {manifest}; send what was published")]
    Versions {
        /// The response's.
        response: u64,
        /// The manifest's.
        manifest: u64,
    },
    /// The version goes back.
    #[error(
        "version {found} is older than {highest}, which this node has seen; publish it again with a higher version"
    )]
    Older {
        /// Its version.
        found: u64,
        /// The highest that was ever seen.
        highest: u64,
    },
    /// The version is known with another content.
    #[error("version {0} came before with other content; publish it again with a higher version")]
    Other(u64),
    /// Its time is over.
    #[error("the manifest expired at {0}; publish a new one")]
    Expired(jiff::Timestamp),
    /// A segment is not what the manifest says.
    #[error("segment {digest}: {cause}; the store of the control plane is damaged, copy the segment there again")]
    Digest {
        /// Which.
        digest: Digest,
        /// What is wrong with it.
        cause: String,
    },
    /// A segment cannot be had.
    #[error("segment {digest} cannot be fetched: {cause}; see that the control plane has it, this node tries again")]
    Fetch {
        /// Which.
        digest: Digest,
        /// Why not.
        cause: String,
    },
    /// It does not fit, or the disk failed.
    #[error("{0}")]
    Cache(#[from] CacheError),
    /// No snapshot can be made of it.
    #[error("{0}")]
    Apply(String),
}

impl Refusal {
    /// The word in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Format(_) => "format",
            Refusal::Signature(_) => "signature",
            Refusal::Audience { .. } => "audience",
            Refusal::Mode { .. } | Refusal::Slot(_) | Refusal::Empty => "slot",
            Refusal::Versions { .. } | Refusal::Older { .. } | Refusal::Other(_) => "version",
            Refusal::Expired(_) => "expired",
            Refusal::Digest { .. } => "digest",
            Refusal::Fetch { .. } => "fetch",
            Refusal::Cache(_) => "cache",
            Refusal::Apply(_) => "apply",
        }
    }

    /// Whether the same manifest may be good later: nothing is wrong with it.
    pub fn may_pass(&self) -> bool {
        matches!(self, Refusal::Fetch { .. } | Refusal::Cache(_))
    }

    pub(super) fn code(&self) -> Code {
        match self {
            Refusal::Format(_) | Refusal::Slot(_) | Refusal::Versions { .. } => Code::InvalidArgument,
            Refusal::Signature(_) => Code::Unauthenticated,
            Refusal::Audience { .. } => Code::PermissionDenied,
            Refusal::Mode { .. } | Refusal::Empty | Refusal::Older { .. } | Refusal::Other(_) | Refusal::Expired(_) => {
                Code::FailedPrecondition
            }
            Refusal::Digest { .. } => Code::DataLoss,
            Refusal::Fetch { .. } => Code::Unavailable,
            Refusal::Cache(_) => Code::ResourceExhausted,
            Refusal::Apply(_) => Code::Internal,
        }
    }
}
