//! The key of the alert that a hit belongs to: the same for every hit with the same rule, indicator, asset and detection
//! type, whichever node, batch or feed it comes from. `docs/alert-key.md` has the layout of what is hashed.
//!
//! The hash is SipHash-2-4 with 128 bits and a key of zeros, which is cheap on a CPU without instructions for SHA-256, too.
//! Nobody gains by a collision: anyone who writes events can also write the asset that they name.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::asset::Asset;

/// The version of the layout, which is the first byte of what is hashed.
const VERSION: u8 = 1;
/// Digits of a key of 16 bytes.
const DIGITS: usize = 32;

/// A key, in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AlertKey([u8; DIGITS]);

impl AlertKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        // Digits are always text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Default for AlertKey {
    fn default() -> AlertKey {
        AlertKey([b'0'; DIGITS])
    }
}

impl fmt::Debug for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The part of a key that is the same for every event that an indicator hits.
#[derive(Clone, Debug)]
pub struct KeyStart(SipHasher24);

impl KeyStart {
    /// From the id of a rule, a detection type, and an indicator by its kind and its canonical form.
    pub fn new(rule: &str, detection: &str, kind: &str, indicator: &str) -> KeyStart {
        let mut hasher = SipHasher24::new_with_key(&[0; 16]);
        hasher.write(&[VERSION]);
        [rule, detection, kind, indicator].into_iter().for_each(|text| put(&mut hasher, text));
        KeyStart(hasher)
    }

    /// The key for an asset.
    pub fn key(&self, asset: Option<&Asset>) -> AlertKey {
        let mut hasher = self.0;
        let parts = asset.map_or(["", ""], |asset| [asset.asset_type.as_str(), &asset.name]);
        parts.into_iter().for_each(|text| put(&mut hasher, text));
        let mut digits = [0; DIGITS];
        for (byte, pair) in hasher.finish128().as_bytes().iter().zip(digits.chunks_exact_mut(2)) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        AlertKey(digits)
    }
}

/// A text after its length, so that no two lists of texts are the same bytes.
fn put(hasher: &mut SipHasher24, text: &str) {
    let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
    hasher.write(&bytes.to_be_bytes());
    hasher.write(text.as_bytes());
}

fn hex_digit(number: u8) -> u8 {
    number + if number < 10 { b'0' } else { b'a' - 10 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::asset::AssetType;

    fn key([rule, detection, kind, indicator]: [&str; 4], asset: Option<(AssetType, &str)>) -> String {
        let asset = asset.map(|(asset_type, name)| Asset { asset_type, name: name.into() });
        KeyStart::new(rule, detection, kind, indicator).key(asset.as_ref()).as_str().to_owned()
    }

    /// Made by an implementation in Python, which gives the vectors of the reference implementation of SipHash, from the
    /// layout of `docs/alert-key.md`.
    #[test]
    fn keys_are_those_of_the_documented_layout() {
        let domain = ["feed", "CTI", "domain", "evil.example"];
        let network = ["feed", "CTI", "ip", "203.0.113.0/24"];
        for (parts, asset, expected) in [
            (domain, Some((AssetType::Address, "10.1.2.3")), "95de054123e93043433fc357e446d465"),
            (domain, Some((AssetType::HostName, "ws1.corp.example")), "ab482983666e63840bd6f563fa5a23bd"),
            (domain, None, "79fa66470c1b951285c01b3cf6cf6263"),
            (network, Some((AssetType::Workload, "prod/shop/web")), "d3b1fcf3c0ed93a8638d94ec3eba7b1f"),
            (
                ["a rule", "CTI Retrohunt", "user", "zoë"],
                Some((AssetType::User, "zoë")),
                "5dea08534f43233239c8a86e82e2e665",
            ),
        ] {
            assert_eq!(key(parts, asset), expected, "{parts:?} {asset:?}");
        }
    }

    proptest! {
        /// Other texts, and the same texts divided in another way, have another key.
        #[test]
        fn no_two_alerts_share_a_key(one in prop::array::uniform5("[a-c]{0,3}"), other in prop::array::uniform5("[a-c]{0,3}")) {
            let of = |[rule, detection, kind, indicator, name]: &[String; 5]| {
                key([rule, detection, kind, indicator], Some((AssetType::User, name)))
            };
            prop_assert_eq!(one == other, of(&one) == of(&other));
        }
    }
}
