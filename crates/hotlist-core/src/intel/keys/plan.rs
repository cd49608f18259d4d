//! Decides which keys the values of a field have, by the field's kind.
//!
//! The field's declared kind is where to begin; real data crosses kinds, so the value decides too. The snapshot leaves a
//! field out of its trie if none of the name spaces of its plan has keys.

use super::KeySpace;
use crate::observable::Kind;
use crate::schema::{Field, FieldKind};

/// The keys of the values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPlan {
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
    /// As [`KeyPlan::Email`], and a domain too (X.509 alternative names).
    EmailOrHost,
    /// A user name; its e-mail address and what follows the last backslash too.
    User,
    /// A Windows domain or realm: a user-name observable and a domain.
    UserDomain,
    /// Host, URL, hash or e-mail address.
    Auto,
    /// As [`KeyPlan::Auto`], and a user name.
    Any,
    /// A distinguished name, and the names and e-mail addresses in it.
    DistinguishedName,
    /// A document of its own; its fields have plans of theirs.
    Document,
    /// Part of a URL, which is looked up when its record ended.
    UrlPart,
    /// Not looked up.
    Nothing,
    /// Text in which addresses, names, URLs, hashes and e-mail addresses are found.
    Tokens,
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
const HOST: [KeySpace; 4] = [KeySpace::Ipv4, KeySpace::Ipv6, KeySpace::Domain, KeySpace::DomainSuffix];
const HASHES: [KeySpace; 5] = [KeySpace::Md5, KeySpace::Sha1, KeySpace::Sha256, KeySpace::Sha512, KeySpace::Ssdeep];

impl KeyPlan {
    /// Returns the plan of a field.
    pub fn of_field(field: &Field) -> KeyPlan {
        let means = |path: &str| field.stix_paths.iter().any(|known| known.contains(path));
        match field.kind {
            FieldKind::Hash => KeyPlan::Hash,
            FieldKind::Auto if means("display_name") => KeyPlan::EmailOrText,
            FieldKind::Auto if !field.stix_paths.is_empty() && !means("email-addr:") => KeyPlan::Host,
            FieldKind::Auto => KeyPlan::Auto,
            FieldKind::Any => KeyPlan::Any,
            FieldKind::DistinguishedName => KeyPlan::DistinguishedName,
            FieldKind::Json => KeyPlan::Document,
            FieldKind::UrlPart => KeyPlan::UrlPart,
            FieldKind::NotRead => KeyPlan::Nothing,
            FieldKind::Of(kind) => match kind {
                Kind::Ip => KeyPlan::Ip,
                Kind::Domain => KeyPlan::Host,
                Kind::Url => KeyPlan::Url,
                Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => KeyPlan::Hash,
                Kind::Email if field.meaning().split('.').any(|label| label == "x509") => KeyPlan::EmailOrHost,
                Kind::Email => KeyPlan::Email,
                Kind::User if means("x_domain") => KeyPlan::UserDomain,
                Kind::User => KeyPlan::User,
                Kind::Text if means("request_version") => KeyPlan::HttpVersion,
                Kind::Text => KeyPlan::Text,
                Kind::Name => KeyPlan::Name,
                Kind::DnsType => KeyPlan::DnsType,
                Kind::Path => KeyPlan::Path,
                Kind::Number => KeyPlan::Number,
                Kind::Time => KeyPlan::Time,
            },
        }
    }

    /// The name spaces that its values are looked up in. `url_hosts`: whether a URL yields its host.
    pub fn spaces(self, url_hosts: bool) -> Vec<KeySpace> {
        match self {
            KeyPlan::Ip => HOST[..2].to_vec(),
            KeyPlan::Host => HOST.to_vec(),
            KeyPlan::Url if url_hosts => [&[KeySpace::Url, KeySpace::UrlPrefix][..], &HOST].concat(),
            KeyPlan::Url => vec![KeySpace::Url, KeySpace::UrlPrefix],
            KeyPlan::Hash => HASHES.to_vec(),
            KeyPlan::Email => vec![KeySpace::Email],
            KeyPlan::EmailOrHost => [&[KeySpace::Email][..], &HOST].concat(),
            KeyPlan::Auto => [&[KeySpace::Email, KeySpace::Url, KeySpace::UrlPrefix][..], &HOST, &HASHES].concat(),
            KeyPlan::Any => [&KeyPlan::Auto.spaces(url_hosts)[..], &[KeySpace::User]].concat(),
            KeyPlan::DistinguishedName => [&[KeySpace::Text, KeySpace::Email][..], &HOST].concat(),
            KeyPlan::Document => KeySpace::ALL.to_vec(),
            KeyPlan::UrlPart => KeyPlan::Url.spaces(url_hosts),
            KeyPlan::Nothing => Vec::new(),
            KeyPlan::Tokens => KeySpace::ALL.to_vec(),
            KeyPlan::User => vec![KeySpace::User, KeySpace::Email],
            KeyPlan::UserDomain => [&[KeySpace::User][..], &HOST[2..]].concat(),
            KeyPlan::EmailOrText => vec![KeySpace::Email, KeySpace::Text],
            KeyPlan::Text | KeyPlan::HttpVersion => vec![KeySpace::Text],
            KeyPlan::Name => vec![KeySpace::Name],
            KeyPlan::DnsType => vec![KeySpace::DnsType],
            KeyPlan::Path => vec![KeySpace::Path],
            KeyPlan::Number => vec![KeySpace::Number],
            KeyPlan::Time => vec![KeySpace::Time],
        }
    }
}
