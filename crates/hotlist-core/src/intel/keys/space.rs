//! Name spaces of keys, and the keyed hash of the prefilter.
//!
//! The same bytes mean different things in different spaces (`evil.com` as a domain, as the host of a URL), so the
//! space takes part in the hash. The hash is keyed, so that event authors cannot aim collisions.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use jiff::Timestamp;

use crate::observable::Kind;

/// The name space in which a key is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeySpace {
    /// Four bytes, network order.
    Ipv4,
    /// Sixteen bytes, network order.
    Ipv6,
    /// A DNS name.
    Domain,
    /// A DNS name whose subdomains count too.
    DomainSuffix,
    /// A URL without its scheme.
    Url,
    /// The host of a URL indicator: decides whether an event's URL is parsed. Prefilter only.
    UrlHost,
    /// Host and path of a URL whose longer paths count too.
    UrlPrefix,
    /// Lower-case hex.
    Md5,
    /// Lower-case hex.
    Sha1,
    /// Lower-case hex.
    Sha256,
    /// Lower-case hex.
    Sha512,
    /// As it is.
    Ssdeep,
    /// Canonical address.
    Email,
    /// Case-folded name.
    User,
    /// As it is.
    Text,
    /// Case-folded.
    Name,
    /// Case-folded.
    DnsType,
    /// Canonical path.
    Path,
    /// Bits of the number as IEEE 754 double, eight bytes.
    Number,
    /// Nanoseconds since the Unix epoch, sixteen bytes.
    Time,
    /// Kind, operator and text of a `LIKE` or `MATCHES`. No value has such a key.
    Expression,
}

impl KeySpace {
    /// Every space, each at its number.
    pub const ALL: [KeySpace; 21] = [
        KeySpace::Ipv4,
        KeySpace::Ipv6,
        KeySpace::Domain,
        KeySpace::DomainSuffix,
        KeySpace::Url,
        KeySpace::UrlHost,
        KeySpace::UrlPrefix,
        KeySpace::Md5,
        KeySpace::Sha1,
        KeySpace::Sha256,
        KeySpace::Sha512,
        KeySpace::Ssdeep,
        KeySpace::Email,
        KeySpace::User,
        KeySpace::Text,
        KeySpace::Name,
        KeySpace::DnsType,
        KeySpace::Path,
        KeySpace::Number,
        KeySpace::Time,
        KeySpace::Expression,
    ];

    /// Number of spaces.
    pub const COUNT: usize = KeySpace::ALL.len();

    /// The word shown by `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            KeySpace::Ipv4 | KeySpace::Ipv6 => "ip",
            KeySpace::Domain => "domain",
            KeySpace::DomainSuffix => "parent domain",
            KeySpace::Url => "url",
            KeySpace::UrlHost => "host of url indicators",
            KeySpace::UrlPrefix => "url prefix",
            KeySpace::Md5 => "md5",
            KeySpace::Sha1 => "sha1",
            KeySpace::Sha256 => "sha256",
            KeySpace::Sha512 => "sha512",
            KeySpace::Ssdeep => "ssdeep",
            KeySpace::Email => "email",
            KeySpace::User => "user",
            KeySpace::Text => "text",
            KeySpace::Name => "name",
            KeySpace::DnsType => "dns-type",
            KeySpace::Path => "path",
            KeySpace::Number => "number",
            KeySpace::Time => "time",
            KeySpace::Expression => "expression",
        }
    }

    /// The spaces in which a value of a kind has its own key.
    #[inline]
    pub fn of_kind(kind: Kind) -> &'static [KeySpace] {
        match kind {
            Kind::Ip => &[KeySpace::Ipv4, KeySpace::Ipv6],
            Kind::Domain => &[KeySpace::Domain],
            Kind::Url => &[KeySpace::Url],
            Kind::Md5 => &[KeySpace::Md5],
            Kind::Sha1 => &[KeySpace::Sha1],
            Kind::Sha256 => &[KeySpace::Sha256],
            Kind::Sha512 => &[KeySpace::Sha512],
            Kind::Ssdeep => &[KeySpace::Ssdeep],
            Kind::Email => &[KeySpace::Email],
            Kind::User => &[KeySpace::User],
            Kind::Text => &[KeySpace::Text],
            Kind::Name => &[KeySpace::Name],
            Kind::DnsType => &[KeySpace::DnsType],
            Kind::Path => &[KeySpace::Path],
            Kind::Number => &[KeySpace::Number],
            Kind::Time => &[KeySpace::Time],
        }
    }

    /// The kind of indicator that a hit in this space is. The key of an expression names its own kind
    /// ([`TableId::kind_of`](super::TableId::kind_of)).
    pub fn kind(self) -> Kind {
        match self {
            KeySpace::Ipv4 | KeySpace::Ipv6 => Kind::Ip,
            KeySpace::Domain | KeySpace::DomainSuffix => Kind::Domain,
            KeySpace::Url | KeySpace::UrlHost | KeySpace::UrlPrefix => Kind::Url,
            KeySpace::Md5 => Kind::Md5,
            KeySpace::Sha1 => Kind::Sha1,
            KeySpace::Sha256 => Kind::Sha256,
            KeySpace::Sha512 => Kind::Sha512,
            KeySpace::Ssdeep => Kind::Ssdeep,
            KeySpace::Email => Kind::Email,
            KeySpace::User => Kind::User,
            KeySpace::Text | KeySpace::Expression => Kind::Text,
            KeySpace::Name => Kind::Name,
            KeySpace::DnsType => Kind::DnsType,
            KeySpace::Path => Kind::Path,
            KeySpace::Number => Kind::Number,
            KeySpace::Time => Kind::Time,
        }
    }
}

/// The key of a number: the bits of its double, with one zero.
pub fn number_key(value: f64) -> [u8; 8] {
    (if value == 0.0 { 0.0 } else { value }).to_be_bytes()
}

/// The key of an instant: nanoseconds since the epoch.
pub fn time_key(value: Timestamp) -> [u8; 16] {
    value.as_nanosecond().to_be_bytes()
}

/// A keyed hash over (space, canonical bytes).
#[derive(Clone, Debug)]
pub struct KeyHasher {
    seed: u64,
    shared: SharedSeed,
}

impl KeyHasher {
    /// A hasher of this key. Take a random one for each process.
    pub fn new(seed: u64) -> KeyHasher {
        KeyHasher { seed, shared: SharedSeed::from_u64(seed.rotate_left(32)) }
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, space: KeySpace, key: &[u8]) -> u64 {
        // The multiplier (2^64 over the golden ratio) spreads the few spaces over all bits of the seed.
        let seed = self.seed ^ (space as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut hasher = FoldHasher::with_seed(seed, &self.shared);
        hasher.write(key);
        hasher.finish()
    }
}
