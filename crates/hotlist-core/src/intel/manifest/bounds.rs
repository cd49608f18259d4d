//! Checks a manifest: its limits, and what a name may look like.

use std::collections::{HashMap, HashSet};

use super::limits::{
    MAX_AUDIENCE, MAX_BYTES, MAX_FEED, MAX_REVOCATIONS, MAX_RULES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, MAX_TEXT,
};
use super::{Manifest, ManifestError, Revocation};

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
