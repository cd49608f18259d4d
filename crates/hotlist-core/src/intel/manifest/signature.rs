//! Signatures over the exact bytes of a manifest, and the file in which both are kept together.

use serde::{Deserialize, Serialize};

use super::key::{Key, PublicKey};
use super::limits::MAX_SIGNATURES;

/// Digits of the id of a key.
const ID_DIGITS: usize = 16;
/// The most ids of a manifest that an error names.
const SHOWN_IDS: usize = 4;

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The id of the key that made it; see [`PublicKey::id`].
    pub key_id: String,
    /// 64 bytes, in JSON as base64.
    #[serde(with = "in_base64")]
    pub signature: Vec<u8>,
}

impl Key {
    /// Signs these bytes.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature { key_id: self.public().id(), signature: self.sign_bytes(bytes) }
    }
}

/// The exact bytes of a manifest with the signatures over them. As JSON: `{"manifest":"<base64>","signatures":[…]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The bytes.
    #[serde(with = "in_base64")]
    pub manifest: Vec<u8>,
    /// The signatures; there may be none.
    pub signatures: Vec<Signature>,
}

/// The reason that no trusted key vouches for a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It has none.
    #[error("the manifest is not signed; sign it with a key that is trusted here ({trusted})")]
    Unsigned {
        /// The ids of the trusted keys.
        trusted: String,
    },
    /// It has more than anyone needs.
    #[error("the manifest has {0} signatures, and {MAX_SIGNATURES} are allowed; leave out those of old keys")]
    TooMany(usize),
    /// None is by a trusted key.
    #[error(
        "the manifest is signed with {made} only, and trusted here are {trusted}; sign it with one of these, or trust its key"
    )]
    Untrusted {
        /// The ids that the signatures name.
        made: String,
        /// The ids of the trusted keys.
        trusted: String,
    },
    /// It names a trusted key, and is not by it.
    #[error(
        "the signature of the trusted key {key_id} does not fit the manifest; its bytes were changed after signing"
    )]
    Wrong {
        /// The key.
        key_id: String,
    },
}

/// Finds a trusted key that signed these bytes. With no trusted key nothing is ever signed well.
///
/// # Errors
/// None did.
pub fn verify(bytes: &[u8], signatures: &[Signature], trusted: &[PublicKey]) -> Result<PublicKey, SignatureError> {
    if signatures.len() > MAX_SIGNATURES {
        return Err(SignatureError::TooMany(signatures.len()));
    }
    let mut wrong = None;
    for signature in signatures {
        for key in trusted.iter().filter(|key| key.id() == signature.key_id) {
            if key.signed(bytes, &signature.signature) {
                return Ok(*key);
            }
            wrong = Some(key.id());
        }
    }
    let ids = |ids: Vec<String>| if ids.is_empty() { "no key".to_owned() } else { ids.join(", ") };
    let trusted = ids(trusted.iter().map(PublicKey::id).collect());
    Err(match wrong {
        Some(key_id) => SignatureError::Wrong { key_id },
        None if signatures.is_empty() => SignatureError::Unsigned { trusted },
        None => SignatureError::Untrusted { made: shown(signatures), trusted },
    })
}

/// The first few ids. A peer chose their text, so only what is an id is shown.
fn shown(signatures: &[Signature]) -> String {
    let is_id = |id: &str| id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let shown =
        signatures.iter().take(SHOWN_IDS).map(|of| if is_id(&of.key_id) { &of.key_id } else { "a malformed id" });
    let mut text = shown.collect::<Vec<&str>>().join(", ");
    if let Some(more) = signatures.len().checked_sub(SHOWN_IDS).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// How serde writes and reads bytes as base64.
mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(|error| de::Error::custom(format!("is not base64: {error}")))
    }
}
