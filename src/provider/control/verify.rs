//! Decides which manifests are accepted, from the control plane and from disk.

use std::sync::Arc;

use jiff::Timestamp;

use super::cache::HighestVersion;
use super::refusal::ManifestRefusal;
use super::settings::Settings;
use crate::intel::manifest::{Digest, Manifest, Mode, Signed, verify};

#[derive(Clone, Debug)]
pub(super) struct VerifiedManifest {
    pub(super) manifest: Arc<Manifest>,
    pub(super) signed: Arc<Signed>,
    /// The digest of its exact bytes.
    pub(super) digest: Digest,
}

impl VerifiedManifest {
    /// Returns its version and digest, to be recorded as the highest version.
    pub(super) fn as_highest(&self) -> HighestVersion {
        HighestVersion { version: self.manifest.version, manifest: self.digest }
    }
}

/// Verifies what holds for every manifest of a slot, new or kept: a trusted key signed its bytes, it is a manifest, and
/// it is for this slot of this node. Bytes without a trusted signature are not parsed, and a refusal quotes none of them.
pub(super) fn check_signed(
    signed: Signed,
    slot: Mode,
    settings: &Settings,
) -> Result<VerifiedManifest, ManifestRefusal> {
    if !settings.trusted.is_empty() {
        verify(&signed.manifest, &signed.signatures, &settings.trusted)?;
    }
    let manifest = Manifest::parse(&signed.manifest)?;
    if manifest.audience != settings.audience {
        return Err(ManifestRefusal::Audience { found: manifest.audience, own: settings.audience.clone() });
    }
    if manifest.mode != slot {
        return Err(ManifestRefusal::Mode { found: manifest.mode, slot });
    }
    let digest = Digest::sha256(&signed.manifest);
    Ok(VerifiedManifest { manifest: Arc::new(manifest), signed: Arc::new(signed), digest })
}

/// Checks a manifest that is not active yet: its version is not lower than the highest version, and it is not expired.
pub(super) fn check_fresh(
    verified: &VerifiedManifest,
    seen: Option<HighestVersion>,
    now: Timestamp,
) -> Result<(), ManifestRefusal> {
    let found = verified.manifest.version;
    match seen {
        Some(HighestVersion { version, .. }) if found < version => {
            return Err(ManifestRefusal::Older { found, highest: version });
        }
        Some(HighestVersion { version, manifest }) if found == version && manifest != verified.digest => {
            return Err(ManifestRefusal::Other(found));
        }
        _ => {}
    }
    match verified.manifest.expires {
        Some(expires) if verified.manifest.is_expired(now) => Err(ManifestRefusal::Expired(expires)),
        _ => Ok(()),
    }
}

/// Checks a manifest that was kept on disk. It was valid once, so it may have expired; it is not newer than the highest
/// version, unless that record is missing.
pub(super) fn check_kept(verified: &VerifiedManifest, seen: Option<HighestVersion>) -> Result<(), ManifestRefusal> {
    match seen {
        Some(HighestVersion { version, manifest })
            if version == verified.manifest.version && manifest != verified.digest =>
        {
            Err(ManifestRefusal::Other(version))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Endpoint;
    use crate::intel::manifest::{Key, Signature};
    use crate::provider::control::Timing;

    fn settings(trusted: &[&Key]) -> Settings {
        Settings {
            endpoint: Endpoint::parse("unix:/c").unwrap(),
            tls: None,
            node: "n".to_owned(),
            labels: std::collections::BTreeMap::new(),
            audience: "a".to_owned(),
            trusted: trusted.iter().map(|key| key.public()).collect(),
            cache: "cache".into(),
            cache_bytes: 1,
            timing: Timing::default(),
        }
    }

    fn refused(manifest: &[u8], signatures: Vec<Signature>, settings: &Settings) -> ManifestRefusal {
        let signed = Signed { manifest: manifest.to_vec(), signatures };
        check_signed(signed, Mode::Serve, settings).expect_err("it is taken")
    }

    fn verified(version: u64, content: u8, expires: Option<i64>) -> VerifiedManifest {
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
        VerifiedManifest { manifest: Arc::new(manifest), signed: Arc::new(signed), digest: Digest([content; 32]) }
    }

    /// Text that could start a new line in a log, or colour a terminal.
    const HOSTILE: &str = "{\"x\\n2026-11-29T00:00:00Z ERROR forged\\u001b[31m\": 1}";

    proptest! {
        /// Guarantee: a refusal of bytes that no trusted key signed is the same text whatever the bytes are, and has
        /// neither control characters nor text that a peer chose, however the signatures are wrong.
        #[test]
        fn nothing_is_said_of_bytes_that_no_trusted_key_signed(
            mut bytes in prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), Just(HOSTILE.as_bytes().to_vec())],
            ids in proptest::collection::vec(".{0,40}", 0..5), stranger in any::<bool>(), flip in any::<u8>(),
        ) {
            let (trusted, other) = (Key::from_seed([1; 32]).unwrap(), Key::from_seed([2; 32]).unwrap());
            let settings = settings(&[&trusted]);
            let with = |bytes: &[u8]| {
                let named = ids.iter().map(|id| Signature { key_id: id.clone(), signature: vec![1; 64] });
                named.chain(stranger.then(|| other.sign(bytes))).collect::<Vec<_>>()
            };
            let refusal = refused(&bytes, with(&bytes), &settings);
            prop_assert_eq!(refusal.reason(), "signature");
            let text = refusal.to_string();
            prop_assert_eq!(&text, &refused(b"", with(b""), &settings).to_string());
            prop_assert!(text.chars().all(|character| (' '..='~').contains(&character)), "{}", text);
            prop_assert!(text.len() < 400, "{}", text);
            // The same text for bytes that were changed under a valid signature.
            bytes.push(0);
            let signed = trusted.sign(&bytes);
            bytes[0] ^= flip | 1;
            let refusal = refused(&bytes, vec![signed.clone()], &settings).to_string();
            prop_assert_eq!(refusal, refused(b"", vec![signed], &settings).to_string());
        }

        /// Guarantee: without trusted keys, a refusal of a peer's bytes is also one short line.
        #[test]
        fn what_is_said_of_a_malformed_manifest_stays_on_its_line(
            key in "\\PC{0,30}|[\\x00-\\x1f\\x7f\u{202e}\u{2028}]{1,30}", long in any::<bool>(),
        ) {
            let key = if long { key.repeat(1000) } else { key };
            let json = serde_json::to_vec(&serde_json::json!({ key.clone(): 1, "audience": key })).unwrap();
            let refusal = refused(&json, Vec::new(), &settings(&[]));
            let text = refusal.to_string();
            let breaks_out = |character: char| character.is_control() || matches!(character, '\u{202e}' | '\u{2028}');
            prop_assert!(!text.chars().any(breaks_out));
            prop_assert!(text.len() < 1000, "{}", text.len());
        }

        /// Guarantee: a fresh manifest has the highest version or the same manifest, and is not expired; whatever was fresh
        /// and is kept may be activated again, until another content of its version was seen.
        #[test]
        fn nothing_old_is_fresh(
            version in 1..5u64, content in 0..3u8, expires in proptest::option::of(1..5i64),
            seen in proptest::option::of((1..5u64, 0..3u8)), now in 0..5i64,
        ) {
            let verified = verified(version, content, expires);
            let seen = seen.map(|(version, content)| HighestVersion { version, manifest: Digest([content; 32]) });
            let is_newer = seen.is_none_or(|seen| version > seen.version || seen == verified.as_highest());
            let is_in_time = expires.is_none_or(|expires| now < expires);
            let result = check_fresh(&verified, seen, Timestamp::from_second(now).unwrap());
            prop_assert_eq!(result.is_ok(), is_newer && is_in_time, "{:?}", result);
            let is_other = seen.is_some_and(|seen| seen.version == version && seen.manifest != verified.digest);
            prop_assert_eq!(check_kept(&verified, seen).is_ok(), !is_other);
        }
    }
}
