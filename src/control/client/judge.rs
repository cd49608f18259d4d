//! Which manifests are taken: what the control plane sends, and what the disk has kept.

use std::sync::Arc;

use jiff::Timestamp;

use super::cache::Highest;
use super::refusal::Refusal;
use super::settings::Settings;
use crate::intel::manifest::{Digest, Manifest, Mode, Signed, verify};

/// A manifest that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) manifest: Arc<Manifest>,
    pub(super) signed: Arc<Signed>,
    /// Of its exact bytes.
    pub(super) digest: Digest,
}

impl Judged {
    /// As the highest version.
    pub(super) fn as_highest(&self) -> Highest {
        Highest { version: self.manifest.version, manifest: self.digest }
    }
}

/// What holds for every manifest of a slot, new or kept: it is one, somebody vouches for it, and it is for this slot of
/// this node.
pub(super) fn sound(signed: Signed, slot: Mode, settings: &Settings) -> Result<Judged, Refusal> {
    let manifest = Manifest::parse(&signed.manifest)?;
    if !settings.trusted.is_empty() {
        verify(&signed.manifest, &signed.signatures, &settings.trusted)?;
    }
    if manifest.audience != settings.audience {
        return Err(Refusal::Audience { found: manifest.audience, own: settings.audience.clone() });
    }
    if manifest.mode != slot {
        return Err(Refusal::Mode { found: manifest.mode, slot });
    }
    let digest = Digest::of(&signed.manifest);
    Ok(Judged { manifest: Arc::new(manifest), signed: Arc::new(signed), digest })
}

/// What holds for a manifest that does not serve yet: its version does not go back, and its time is not over.
pub(super) fn fresh(judged: &Judged, seen: Option<Highest>, now: Timestamp) -> Result<(), Refusal> {
    let found = judged.manifest.version;
    match seen {
        Some(Highest { version, .. }) if found < version => {
            return Err(Refusal::Older { found, highest: version });
        }
        Some(Highest { version, manifest }) if found == version && manifest != judged.digest => {
            return Err(Refusal::Other(found));
        }
        _ => {}
    }
    match judged.manifest.expires {
        Some(expires) if judged.manifest.is_expired(now) => Err(Refusal::Expired(expires)),
        _ => Ok(()),
    }
}

/// What holds for a manifest that the disk has kept. It was good once, so it may have expired; it is no newer than what
/// was seen, unless the file that says so is gone.
pub(super) fn kept(judged: &Judged, seen: Option<Highest>) -> Result<(), Refusal> {
    match seen {
        Some(Highest { version, manifest }) if version == judged.manifest.version && manifest != judged.digest => {
            Err(Refusal::Other(version))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(version: u64, content: u8, expires: Option<i64>) -> Judged {
        let manifest = Manifest {
            audience: "a".to_owned(),
            version,
            mode: Mode::Serve,
            issued: Timestamp::from_second(0).unwrap(),
            expires: expires.map(|second| Timestamp::from_second(second).unwrap()),
            segments: Vec::new(),
            revocations: Vec::new(),
            rules: Vec::new(),
        };
        let signed = Signed { manifest: Vec::new(), signatures: Vec::new() };
        Judged { manifest: Arc::new(manifest), signed: Arc::new(signed), digest: Digest([content; 32]) }
    }

    proptest! {
        /// Guarantee: a fresh manifest is higher than what was seen or the same, and its time is not over; whatever was
        /// fresh and is kept may be served again, until another content of its version was seen.
        #[test]
        fn nothing_old_is_fresh(
            version in 1..5u64, content in 0..3u8, expires in proptest::option::of(1..5i64),
            seen in proptest::option::of((1..5u64, 0..3u8)), now in 0..5i64,
        ) {
            let judged = judged(version, content, expires);
            let seen = seen.map(|(version, content)| Highest { version, manifest: Digest([content; 32]) });
            let is_newer = seen.is_none_or(|seen| version > seen.version || seen == judged.as_highest());
            let is_in_time = expires.is_none_or(|expires| now < expires);
            let result = fresh(&judged, seen, Timestamp::from_second(now).unwrap());
            prop_assert_eq!(result.is_ok(), is_newer && is_in_time, "{:?}", result);
            let is_other = seen.is_some_and(|seen| seen.version == version && seen.manifest != judged.digest);
            prop_assert_eq!(kept(&judged, seen).is_ok(), !is_other);
        }
    }
}
