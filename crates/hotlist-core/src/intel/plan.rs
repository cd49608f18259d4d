//! How the values of a field are read: in which forms they are looked up, and therefore in which name spaces.
//!
//! The field's declared kind is where to begin; real data crosses kinds, so the value decides too.
//! The matcher follows this plan; the snapshot leaves a field out of its trie when no name space of its plan holds
//! anything for it.

use super::space::Space;
use crate::fields::{Field, FieldKind};
use crate::observable::Kind;

/// How values at one field are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// An address, with a port or in a URL too.
    Ip,
    /// A domain; an address or the host of a URL or `host:port` too.
    Host,
    /// A URL.
    Url,
    /// A hash, its kind by its length.
    Hash,
    /// An e-mail address, or several in display form.
    Email,
    /// As [`Reading::Email`], and a domain too (X.509 alternative names).
    EmailOrHost,
    /// A user name; its e-mail address and what follows the last backslash too.
    User,
    /// A Windows domain or realm: a user-name observable and a domain.
    UserDomain,
    /// Host, or e-mail address.
    Auto,
    /// E-mail address, or a name as text.
    EmailOrText,
    /// Text as it is.
    Text,
    /// A protocol version, without `HTTP/`.
    HttpVersion,
    /// A case-insensitive name.
    Name,
    /// A DNS record type.
    DnsType,
    /// A path.
    Path,
    /// A number.
    Number,
    /// An instant.
    Time,
}

/// Spaces of a host: an address or a domain.
const HOST: [Space; 4] = [Space::Ipv4, Space::Ipv6, Space::Domain, Space::DomainSuffix];
const HASHES: [Space; 5] = [Space::Md5, Space::Sha1, Space::Sha256, Space::Sha512, Space::Ssdeep];

impl Reading {
    /// The reading of a field.
    pub fn of(field: &Field) -> Reading {
        let means = |path: &str| field.stix_paths.iter().any(|known| known.contains(path));
        match field.kind {
            FieldKind::Hash => Reading::Hash,
            FieldKind::Auto if means("display_name") => Reading::EmailOrText,
            FieldKind::Auto if !field.stix_paths.is_empty() && !means("email-addr:") => Reading::Host,
            FieldKind::Auto => Reading::Auto,
            FieldKind::Of(kind) => match kind {
                Kind::Ip => Reading::Ip,
                Kind::Domain => Reading::Host,
                Kind::Url => Reading::Url,
                Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => Reading::Hash,
                Kind::Email if field.name.split('.').any(|label| label == "x509") => Reading::EmailOrHost,
                Kind::Email => Reading::Email,
                Kind::User if means("x_domain") => Reading::UserDomain,
                Kind::User => Reading::User,
                Kind::Text if means("request_version") => Reading::HttpVersion,
                Kind::Text => Reading::Text,
                Kind::Name => Reading::Name,
                Kind::DnsType => Reading::DnsType,
                Kind::Path => Reading::Path,
                Kind::Number => Reading::Number,
                Kind::Time => Reading::Time,
            },
        }
    }

    /// The name spaces that its values are looked up in. `url_hosts`: whether a URL yields its host.
    pub fn spaces(self, url_hosts: bool) -> Vec<Space> {
        match self {
            Reading::Ip => HOST[..2].to_vec(),
            Reading::Host => HOST.to_vec(),
            Reading::Url if url_hosts => [&[Space::Url, Space::UrlPrefix][..], &HOST].concat(),
            Reading::Url => vec![Space::Url, Space::UrlPrefix],
            Reading::Hash => HASHES.to_vec(),
            Reading::Email => vec![Space::Email],
            Reading::EmailOrHost | Reading::Auto => [&[Space::Email][..], &HOST].concat(),
            Reading::User => vec![Space::User, Space::Email],
            Reading::UserDomain => [&[Space::User][..], &HOST[2..]].concat(),
            Reading::EmailOrText => vec![Space::Email, Space::Text],
            Reading::Text | Reading::HttpVersion => vec![Space::Text],
            Reading::Name => vec![Space::Name],
            Reading::DnsType => vec![Space::DnsType],
            Reading::Path => vec![Space::Path],
            Reading::Number => vec![Space::Number],
            Reading::Time => vec![Space::Time],
        }
    }
}
