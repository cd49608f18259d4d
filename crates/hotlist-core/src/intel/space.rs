//! Name spaces of keys, and the one keyed hash that the prefilter and the exact sets share.
//!
//! The same bytes mean different things in different spaces (`evil.com` as a domain, as the host of a URL), so the
//! space takes part in the hash. The hash is keyed, so that event authors cannot aim collisions.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use jiff::Timestamp;

use crate::observable::Kind;

/// What a key is looked up as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Space {
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
    /// The host of a URL indicator: tells whether parsing an event's URL can pay. Prefilter only.
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
}

impl Space {
    /// Every space, each at its number.
    pub const ALL: [Space; 20] = [
        Space::Ipv4,
        Space::Ipv6,
        Space::Domain,
        Space::DomainSuffix,
        Space::Url,
        Space::UrlHost,
        Space::UrlPrefix,
        Space::Md5,
        Space::Sha1,
        Space::Sha256,
        Space::Sha512,
        Space::Ssdeep,
        Space::Email,
        Space::User,
        Space::Text,
        Space::Name,
        Space::DnsType,
        Space::Path,
        Space::Number,
        Space::Time,
    ];

    /// Number of spaces.
    pub const COUNT: usize = Space::ALL.len();

    /// The word shown by `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Space::Ipv4 | Space::Ipv6 => "ip",
            Space::Domain => "domain",
            Space::DomainSuffix => "parent domain",
            Space::Url => "url",
            Space::UrlHost => "host of url indicators",
            Space::UrlPrefix => "url prefix",
            Space::Md5 => "md5",
            Space::Sha1 => "sha1",
            Space::Sha256 => "sha256",
            Space::Sha512 => "sha512",
            Space::Ssdeep => "ssdeep",
            Space::Email => "email",
            Space::User => "user",
            Space::Text => "text",
            Space::Name => "name",
            Space::DnsType => "dns-type",
            Space::Path => "path",
            Space::Number => "number",
            Space::Time => "time",
        }
    }

    /// The space of a hash kind's digests.
    pub fn of_hash(kind: Kind) -> Option<Space> {
        match kind {
            Kind::Md5 => Some(Space::Md5),
            Kind::Sha1 => Some(Space::Sha1),
            Kind::Sha256 => Some(Space::Sha256),
            Kind::Sha512 => Some(Space::Sha512),
            Kind::Ssdeep => Some(Space::Ssdeep),
            _ => None,
        }
    }

    /// The kind of indicator that a hit in this space is.
    pub fn kind(self) -> Kind {
        match self {
            Space::Ipv4 | Space::Ipv6 => Kind::Ip,
            Space::Domain | Space::DomainSuffix => Kind::Domain,
            Space::Url | Space::UrlHost | Space::UrlPrefix => Kind::Url,
            Space::Md5 => Kind::Md5,
            Space::Sha1 => Kind::Sha1,
            Space::Sha256 => Kind::Sha256,
            Space::Sha512 => Kind::Sha512,
            Space::Ssdeep => Kind::Ssdeep,
            Space::Email => Kind::Email,
            Space::User => Kind::User,
            Space::Text => Kind::Text,
            Space::Name => Kind::Name,
            Space::DnsType => Kind::DnsType,
            Space::Path => Kind::Path,
            Space::Number => Kind::Number,
            Space::Time => Kind::Time,
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
    pub fn hash(&self, space: Space, key: &[u8]) -> u64 {
        // The odd multiplier (2^64 over the golden ratio) spreads the few spaces over all bits of the seed.
        let seed = self.seed ^ (space as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut hasher = FoldHasher::with_seed(seed, &self.shared);
        hasher.write(key);
        hasher.finish()
    }
}
