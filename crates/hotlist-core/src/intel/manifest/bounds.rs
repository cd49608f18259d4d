//! The bounds of a manifest: what a node keeps in memory, and what a name may look like.

use std::collections::{HashMap, HashSet};

use super::{Manifest, ManifestError, Revocation};

/// The longest manifest, in bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// The most segments; a merge makes few of many.
pub const MAX_SEGMENTS: usize = 4096;
/// The most revocations; more belong into a segment.
pub const MAX_REVOCATIONS: usize = 100_000;
/// The most rules, one a feed.
pub const MAX_RULES: usize = 10_000;
/// The longest audience, in characters.
pub const MAX_AUDIENCE: usize = 128;
/// The longest name of a feed, in bytes.
pub const MAX_FEED: usize = 255;
/// The longest id or value of a revocation, in bytes.
pub const MAX_TEXT: usize = 16 << 10;
/// The longest segment, in bytes: 1 TiB. The sum over all segments cannot overflow.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 40;
/// The most signatures that are looked at.
pub const MAX_SIGNATURES: usize = 64;

/// Whether a text can be an audience.
pub fn is_audience(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-');
    (1..=MAX_AUDIENCE).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) fn check_length(bytes: usize) -> Result<(), ManifestError> {
    if bytes > MAX_BYTES { Err(ManifestError::TooLong(bytes)) } else { Ok(()) }
}

/// Everything but the length.
pub(super) fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    if !is_audience(&manifest.audience) {
        return Err(ManifestError::Audience);
    }
    if manifest.version == 0 {
        return Err(ManifestError::Version);
    }
    if manifest.is_expired(manifest.issued) {
        return Err(ManifestError::Expires);
    }
    check_count("segments", manifest.segments.len(), MAX_SEGMENTS, "merge some")?;
    check_count("revocations", manifest.revocations.len(), MAX_REVOCATIONS, "move them into a segment")?;
    check_count("rules", manifest.rules.len(), MAX_RULES, "leave out those of feeds that are not enabled")?;
    check_segments(manifest)?;
    for (index, revocation) in manifest.revocations.iter().enumerate() {
        let path = |key: &str| format!("revocations[{index}].{key}");
        check_text(revocation.feed(), MAX_FEED, || path("feed"))?;
        match revocation {
            Revocation::Id { id, .. } => check_text(id, MAX_TEXT, || path("id"))?,
            Revocation::Value { value, .. } => check_text(value, MAX_TEXT, || path("value"))?,
        }
    }
    let mut feeds = HashSet::new();
    for (index, rule) in manifest.rules.iter().enumerate() {
        check_text(&rule.feed, MAX_FEED, || format!("rules[{index}].feed"))?;
        if !feeds.insert(rule.feed.as_str()) {
            return Err(ManifestError::RuleTwice { index });
        }
    }
    Ok(())
}

/// The same segment may come twice: a later one takes back what an earlier one brought, and brings it again.
fn check_segments(manifest: &Manifest) -> Result<(), ManifestError> {
    let mut lengths = HashMap::new();
    for (index, segment) in manifest.segments.iter().enumerate() {
        let bytes = segment.bytes;
        if !(1..=MAX_SEGMENT_BYTES).contains(&bytes) {
            return Err(ManifestError::SegmentBytes { index, bytes });
        }
        if *lengths.entry(segment.digest).or_insert(bytes) != bytes {
            return Err(ManifestError::SegmentLengths { index });
        }
    }
    Ok(())
}

fn check_count(what: &'static str, count: usize, max: usize, remedy: &'static str) -> Result<(), ManifestError> {
    if count > max { Err(ManifestError::TooMany { what, count, max, remedy }) } else { Ok(()) }
}

fn check_text(text: &str, max: usize, path: impl FnOnce() -> String) -> Result<(), ManifestError> {
    match text.len() {
        bytes if (1..=max).contains(&bytes) => Ok(()),
        bytes => Err(ManifestError::Text { path: path(), bytes, max }),
    }
}
