//! The terms of indicators: one canonical value each, at the fields where it counts. Every importer and the STIX compiler
//! make them with [`value`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::expression::Expression;
use crate::observable::ip::AddressOrNetwork;
use crate::observable::url::CanonicalUrl;
use crate::observable::{Kind, domain, email, hash, ip, number, path, text, time, url, user};

/// One value to look for, and at which fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The value in canonical form.
    pub value: TermValue,
    /// At which fields it counts.
    pub target: Target,
}

/// Kind, value and place, for people: `number > 1024 at network-traffic:dst_port`.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.value.kind())?;
        match &self.value {
            TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. }
                if *comparison != Comparison::Equal =>
            {
                write!(f, "{} ", comparison.as_str())?;
            }
            TermValue::Domain { scope: NameScope::Below, .. } => f.write_str("*.")?,
            TermValue::Domain { scope: NameScope::AndBelow, .. } => f.write_str(".")?,
            _ => {}
        }
        self.value.fmt(f)?;
        match &self.target {
            Target::Kind => Ok(()),
            Target::StixPath(path) => write!(f, " at {path}"),
        }
    }
}

/// The fields at which a term is matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Every field whose value may be of the term's kind: `ipv4-addr:value`, or a plain list of addresses.
    Kind,
    /// Only the fields that carry this STIX object path in the field table, written as there
    /// (`network-traffic:dst_ref.value`).
    StixPath(Arc<str>),
}

/// The names that a domain indicator matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NameScope {
    /// The name itself.
    #[default]
    Exact,
    /// The names below it and not the name itself: `*.evil.example`, as a wildcard of DNS does (RFC 4592).
    Below,
    /// The name and the names below it.
    AndBelow,
}

impl NameScope {
    /// Whether names below it are found.
    pub fn has_below(self) -> bool {
        self != NameScope::Exact
    }

    /// The scope that also has the names below, where a feed says so of all its names. A wildcard stays one.
    #[must_use]
    pub fn with_below(self) -> NameScope {
        match self {
            NameScope::Exact | NameScope::AndBelow => NameScope::AndBelow,
            NameScope::Below => NameScope::Below,
        }
    }

    /// The common meaning of two entries of the same name.
    #[must_use]
    pub fn joined(self, other: NameScope) -> NameScope {
        if self == other { self } else { NameScope::AndBelow }
    }
}

/// A comparison with a number or an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// The sign of STIX patterns.
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// Whether `left OP right` holds, given how they order.
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// A canonical value, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum TermValue {
    /// One address. An IPv4-mapped IPv6 address stands here as its IPv4 address.
    Address(IpAddr),
    /// A network, host bits masked, narrower ones than a single address only.
    Network(IpNet),
    /// A DNS name in canonical form.
    Domain {
        /// Lower case, A-labels, no trailing dot.
        name: Box<str>,
        /// The names that it matches.
        scope: NameScope,
    },
    /// A URL in canonical form.
    Url(CanonicalUrl),
    /// A cryptographic or fuzzy hash; `kind` is one of the five hash kinds.
    Hash {
        /// The hash.
        kind: Kind,
        /// Lower-case hex; an ssdeep hash as it is.
        digest: Box<str>,
    },
    /// An e-mail address in canonical form.
    Email(Box<str>),
    /// A user name in canonical form.
    User(Box<str>),
    /// Text as it is.
    Text(Box<str>),
    /// A case-folded name; `kind` is [`Kind::Name`] or [`Kind::DnsType`].
    Name {
        /// Either of the two kinds.
        kind: Kind,
        /// The folded name.
        name: Box<str>,
    },
    /// A path in canonical form.
    Path(Box<str>),
    /// A number and how to compare with it.
    Number {
        /// The comparison: event value OP `value`.
        comparison: Comparison,
        /// The right-hand side.
        value: f64,
    },
    /// An instant and how to compare with it.
    Time {
        /// The comparison: event value OP `value`.
        comparison: Comparison,
        /// The right-hand side.
        value: Timestamp,
    },
    /// An expression that values match.
    Expression(Expression),
}

impl TermValue {
    /// The kind of the value.
    pub fn kind(&self) -> Kind {
        match self {
            TermValue::Address(_) | TermValue::Network(_) => Kind::Ip,
            TermValue::Domain { .. } => Kind::Domain,
            TermValue::Url(_) => Kind::Url,
            TermValue::Hash { kind, .. } | TermValue::Name { kind, .. } => *kind,
            TermValue::Email(_) => Kind::Email,
            TermValue::User(_) => Kind::User,
            TermValue::Text(_) => Kind::Text,
            TermValue::Path(_) => Kind::Path,
            TermValue::Number { .. } => Kind::Number,
            TermValue::Time { .. } => Kind::Time,
            TermValue::Expression(expression) => expression.of,
        }
    }
}

/// The canonical value as it is shown in hits (`indicator` of a hit line, `threat.indicator.name`).
impl fmt::Display for TermValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TermValue::Address(address) => address.fmt(f),
            TermValue::Network(network) => network.fmt(f),
            TermValue::Domain { name, .. } => f.write_str(name),
            TermValue::Url(url) => url.fmt(f),
            TermValue::Hash { digest, .. } => f.write_str(digest),
            TermValue::Email(text) | TermValue::User(text) | TermValue::Text(text) | TermValue::Path(text) => {
                f.write_str(text)
            }
            TermValue::Name { name, .. } => f.write_str(name),
            TermValue::Number { value, .. } => value.fmt(f),
            TermValue::Time { value, .. } => value.fmt(f),
            TermValue::Expression(expression) => expression.fmt(f),
        }
    }
}

impl From<AddressOrNetwork> for TermValue {
    fn from(value: AddressOrNetwork) -> TermValue {
        match value {
            AddressOrNetwork::Address(address) => TermValue::Address(address),
            AddressOrNetwork::Network(network) => TermValue::Network(network),
        }
    }
}

impl From<IpNet> for TermValue {
    fn from(network: IpNet) -> TermValue {
        let network = network.trunc();
        match network.prefix_len() == network.max_prefix_len() {
            true => TermValue::Address(network.addr()),
            false => TermValue::Network(network),
        }
    }
}

impl From<CanonicalUrl> for TermValue {
    fn from(url: CanonicalUrl) -> TermValue {
        TermValue::Url(url)
    }
}

/// The term value of one refanged text of a known kind, compared by equality. `None` when the text is not exactly one
/// value of that kind: an indicator is never split or widened.
///
/// A domain may start with `*.`, which means the names below it and not the name itself. For the hash kinds the digest's length decides
/// which hash it is, whatever `kind` says.
pub fn value(kind: Kind, written: &str) -> Option<TermValue> {
    let bytes = written.as_bytes();
    let mut scratch = Vec::new();
    Some(match kind {
        Kind::Ip => ip::network(written)?.into(),
        Kind::Domain => {
            let plain = written.trim();
            let below = plain.strip_prefix("*.");
            let (name, scope) = below.map_or((plain, NameScope::Exact), |name| (name, NameScope::Below));
            TermValue::Domain { name: boxed(domain::canonical(name.as_bytes(), &mut scratch)?)?, scope }
        }
        // A feed's URL is read as browsers read it, too: `http:\\\\host`, `http:/host`.
        Kind::Url => TermValue::Url(
            url::canonical(bytes).or_else(|| url::event_url(bytes).filter(|url| url.scheme().is_some()))?,
        ),
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => {
            let (kind, digest) = hash::canonical(bytes, &mut scratch)?;
            TermValue::Hash { kind, digest: boxed(digest)? }
        }
        Kind::Email => TermValue::Email(boxed(email::canonical(bytes, &mut scratch)?)?),
        Kind::User => TermValue::User(boxed(user::canonical(bytes, &mut scratch)?)?),
        Kind::Text => TermValue::Text(boxed(text::canonical(bytes)?)?),
        Kind::Name | Kind::DnsType => TermValue::Name { kind, name: boxed(text::name(bytes, &mut scratch)?)? },
        Kind::Path => TermValue::Path(boxed(path::canonical(bytes, &mut scratch)?)?),
        Kind::Number => TermValue::Number { comparison: Comparison::Equal, value: number::parse(bytes)? },
        Kind::Time => TermValue::Time { comparison: Comparison::Equal, value: time::parse(bytes)? },
    })
}

/// The canonical bytes as text; they are UTF-8 because the input was.
fn boxed(canonical: &[u8]) -> Option<Box<str>> {
    std::str::from_utf8(canonical).ok().map(Box::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_a_value_and_shows_its_canonical_form() {
        for (kind, written, shown) in [
            (Kind::Ip, "192.0.2.77/24", "192.0.2.0/24"),
            (Kind::Ip, " ::ffff:192.0.2.1", "192.0.2.1"),
            (Kind::Domain, "*.Example.ORG.", "example.org"),
            (Kind::Url, "HTTP://Example.org", "http://example.org/"),
            (Kind::Sha1, &"AB".repeat(16), &"ab".repeat(16)),
            (Kind::Email, "A@B.example", "a@b.example"),
            (Kind::User, "Alice", "alice"),
            (Kind::Text, " X ", "X"),
            (Kind::Name, "TCP", "tcp"),
            (Kind::DnsType, "TXT", "txt"),
            (Kind::Path, r"C:\A", r"c:\a"),
            (Kind::Number, "443", "443"),
            (Kind::Time, "2024-01-31", "2024-01-31T00:00:00Z"),
        ] {
            let value = value(kind, written).unwrap();
            assert_eq!(value.to_string(), shown, "{written}");
        }
    }

    #[test]
    fn an_indicator_is_never_split_or_widened() {
        for (kind, written) in [
            (Kind::Ip, "192.0.2.1:443"),
            (Kind::Domain, "http://example.org/"),
            (Kind::Domain, "*."),
            (Kind::Email, "A <a@b.example>"),
            (Kind::Md5, "abc"),
            (Kind::Number, "NaN"),
            (Kind::Time, "soon"),
            (Kind::User, " "),
        ] {
            assert_eq!(value(kind, written), None, "{written}");
        }
    }

    #[test]
    fn the_star_means_the_names_below_and_the_length_tells_the_hash() {
        assert!(matches!(value(Kind::Domain, "*.a.example"), Some(TermValue::Domain { scope: NameScope::Below, .. })));
        assert!(matches!(value(Kind::Domain, "a.example"), Some(TermValue::Domain { scope: NameScope::Exact, .. })));
        assert_eq!(value(Kind::Md5, &"a".repeat(40)).unwrap().kind(), Kind::Sha1);
    }
}
