//! The reasons why a manifest is not valid.

use super::limits::{MAX_AUDIENCE, MAX_BYTES, MAX_SEGMENT_BYTES};

/// The reason that a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is too long.
    #[error("the manifest has {0} bytes, and {MAX_BYTES} are allowed; merge segments, or move revocations into one")]
    TooLong(usize),
    /// It is not JSON of the right shape.
    #[error("the manifest is not as it should be at `{path}`: {cause}; write it with `hotlist publish`")]
    Json {
        /// Where, as a path in the document.
        path: String,
        /// The fault.
        cause: String,
    },
    /// The audience is not a usable name.
    #[error(
        "the manifest's `audience` is not a name of 1 to {MAX_AUDIENCE} characters of `[a-z0-9._/-]`; give it such a name"
    )]
    Audience,
    /// The version means that there is none.
    #[error("the manifest's `version` is 0, which means that there is none; count from 1")]
    Version,
    /// It was over before it began.
    #[error("the manifest `expires` no later than it was `issued`; give a later time, or none")]
    Expires,
    /// A list is too long.
    #[error("the manifest has {count} {what}, and {max} are allowed; {remedy}")]
    TooMany {
        /// The items of which there are too many.
        what: &'static str,
        /// How many.
        count: usize,
        /// The most that are allowed.
        max: usize,
        /// The remedy.
        remedy: &'static str,
    },
    /// A segment's length is impossible.
    #[error("segment {index} of the manifest has {bytes} bytes; give its length in bytes, 1 to {MAX_SEGMENT_BYTES}")]
    SegmentBytes {
        /// Its number, from 0.
        index: usize,
        /// What it says.
        bytes: u64,
    },
    /// One digest has two lengths.
    #[error(
        "segment {index} of the manifest has the digest of an earlier one and another length; give the file's length"
    )]
    SegmentLengths {
        /// Its number, from 0.
        index: usize,
    },
    /// A name or value has a length that is not allowed.
    #[error("`{path}` of the manifest has {bytes} bytes; give 1 to {max}")]
    Text {
        /// Where.
        path: String,
        /// How long it is.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// A feed has two rules.
    #[error("rule {index} of the manifest is the second one of its feed; keep one of the two")]
    RuleTwice {
        /// Its number, from 0.
        index: usize,
    },
}

/// The most bytes of a document that an error shows, escapes included.
const SHOWN: usize = 300;

impl ManifestError {
    pub(super) fn json(path: &str, cause: &str) -> ManifestError {
        ManifestError::Json { path: shown(path), cause: shown(cause) }
    }
}

/// A document may have any text in its keys and values.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if shown.len() >= SHOWN {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\'' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}
