//! Ed25519 keys (RFC 8032), in the PEM files that openssl writes and reads (RFC 8410).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::digest::Digest;

/// The bytes before the 32 bytes of a private key in PKCS #8 (RFC 8410, section 7).
const PRIVATE_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// The bytes before the 32 bytes of a public key in SubjectPublicKeyInfo (RFC 8410, section 4).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// The reason that a key cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The random source failed.
    #[error("the system gave no random bytes; try again")]
    Random,
    /// The text is not a PEM file of a private key.
    #[error(
        "is not a PEM file of a private key; give one with `-----BEGIN PRIVATE KEY-----`, as `hotlist publish` makes it"
    )]
    PrivatePem,
    /// The text is not a PEM file of a public key.
    #[error("is not a PEM file of a public key; give one with `-----BEGIN PUBLIC KEY-----`, never the private key")]
    PublicPem,
    /// The key is of another algorithm, or damaged.
    #[error("is not an Ed25519 key; make one with `openssl genpkey -algorithm ed25519`")]
    Algorithm,
}

/// A private key: signs manifests.
pub struct Key {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// A public key: verifies what the private one signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// The source has no random bytes.
    pub fn generate(random: &dyn SecureRandom) -> Result<Key, KeyError> {
        let mut seed = [0; 32];
        random.fill(&mut seed).map_err(|_| KeyError::Random)?;
        Key::from_seed(seed)
    }

    /// The key that these 32 bytes are: RFC 8032, section 5.1.5.
    ///
    /// # Errors
    /// The library refuses them.
    pub fn from_seed(seed: [u8; 32]) -> Result<Key, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Algorithm)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Algorithm)?;
        Ok(Key { seed, pair, public: PublicKey(public) })
    }

    /// Reads the first private key of a PEM file.
    ///
    /// # Errors
    /// There is none, or it is of another algorithm.
    pub fn from_pem(pem: &[u8]) -> Result<Key, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::PrivatePem)?;
        // Version 2 has the public key behind the private one, which the library holds to each other.
        let der = der.secret_pkcs8_der();
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::Algorithm)?;
        let at = if der.starts_with(&PRIVATE_PREFIX) { PRIVATE_PREFIX.len() } else { seed_offset(der)? };
        let seed = der.get(at..at + 32).and_then(|seed| seed.try_into().ok()).ok_or(KeyError::Algorithm)?;
        Key::from_seed(seed)
    }

    /// The PEM file of it, `-----BEGIN PRIVATE KEY-----`. Anyone who can read that file can sign: give it mode 0600.
    pub fn to_pem(&self) -> String {
        pem("PRIVATE KEY", &PRIVATE_PREFIX, &self.seed)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The 64 bytes of the signature over these bytes.
    pub(super) fn sign_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }
}

/// Where the key begins in a document of version 2: behind the same fields, only lengths and version differ.
fn seed_offset(der: &[u8]) -> Result<usize, KeyError> {
    let inner = &PRIVATE_PREFIX[5..];
    der.windows(inner.len()).position(|window| window == inner).map(|at| at + inner.len()).ok_or(KeyError::Algorithm)
}

impl PublicKey {
    /// The key that these bytes are.
    pub fn new(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }

    /// Its 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the first public key of a PEM file.
    ///
    /// # Errors
    /// There is none, or it is of another algorithm.
    pub fn from_pem(pem: &[u8]) -> Result<PublicKey, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::PublicPem)?;
        let key = der.strip_prefix(&PUBLIC_PREFIX).and_then(|key| key.try_into().ok()).ok_or(KeyError::Algorithm)?;
        Ok(PublicKey(key))
    }

    /// The PEM file of it, `-----BEGIN PUBLIC KEY-----`.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &PUBLIC_PREFIX, &self.0)
    }

    /// The first 16 hexadecimal digits of the SHA-256 of its bytes.
    pub fn id(&self) -> String {
        let mut id = Digest::sha256(&self.0).to_string();
        id.truncate(16);
        id
    }

    /// Whether the private half signed exactly these bytes.
    pub fn signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, signature).is_ok()
    }
}

/// One line of base64 is enough: both kinds have less than 64 characters or exactly as many.
fn pem(label: &str, prefix: &[u8], key: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode([prefix, key].concat()))
}

/// Never the private half.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("public", &self.public).finish_non_exhaustive()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}
