//! One value of an indicator, as text, to its canonical term value. Every importer and the STIX compiler use it.

use ipnet::IpNet;

use super::indicator::{Comparison, NameScope, TermValue};
use crate::observable::ip::AddressOrNetwork;
use crate::observable::url::CanonicalUrl;
use crate::observable::{Kind, domain, email, hash, ip, number, path, text, time, url, user};

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
        // What a browser reads as a URL is one in a feed, too: `http:\\\\host`, `http:/host`.
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
