//! One value as a feed wrote it becomes one canonical value: of the type that the feed declares, or of the type that
//! its shape has.
//!
//! An indicator keeps exactly what it was given. So unlike the values of events nothing is widened here: a URL that is
//! declared to be a domain is not a domain, and is refused. Nothing is narrowed either: a range of addresses becomes
//! the networks that hold it, and what stands for more than can be looked for (`http://evil.example/*`) is refused.

use std::borrow::Cow;

use ipnet::IpNet;

use super::declared::Declared;
use super::range;
use crate::intel::indicator::{NameScope, TermValue};
use crate::intel::term;
use crate::observable::{Kind, domain, ip, refang};

/// Longer values are prose or garbage.
const MAX_BYTES: usize = 4096;

/// A value, and the port that stood behind it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) value: TermValue,
    /// The other networks of a range of addresses.
    pub(super) more: Vec<TermValue>,
    pub(super) port: Option<u16>,
}

impl Found {
    /// All networks of a range, or the one value.
    pub(super) fn values(self) -> impl Iterator<Item = TermValue> {
        std::iter::once(self.value).chain(self.more)
    }

    /// The networks of a range.
    pub(super) fn networks(networks: impl IntoIterator<Item = IpNet>) -> Option<Found> {
        let mut values = networks.into_iter().map(TermValue::from);
        let value = values.next()?;
        Some(Found { value, more: values.collect(), port: None })
    }
}

impl From<TermValue> for Found {
    fn from(value: TermValue) -> Found {
        Found { value, more: Vec::new(), port: None }
    }
}

/// The value of a token that comes without a type, `None` if its shape is that of none.
pub(super) fn untyped(raw: &str) -> Option<Found> {
    let text = cleaned(raw)?;
    if text.contains(char::is_whitespace) {
        return several_addresses(&text);
    }
    if let Some(found) = hash(&text).or_else(|| network(&text)).or_else(|| address(&text)) {
        return Some(found);
    }
    if has_scheme(&text)
        && let Some(found) = url(&text)
    {
        return Some(found);
    }
    let known = |name: &str| domain::has_known_root(name.as_bytes());
    email(&text).or_else(|| name(&text, known)).or_else(|| protocol(&text, known)).or_else(|| url_without_scheme(&text))
}

/// The reason that a token without a type is not a value, more exactly than that it is not one.
pub(super) fn hint(raw: &str) -> Option<&'static str> {
    let text = cleaned(raw)?;
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    if has_scheme(&text) {
        return Some(match text.contains('*') {
            true => "a URL with a wildcard, which is not matched; name the host, or the URL without it",
            false if text.contains(char::is_whitespace) => "a URL with a blank in it; write `%20`",
            false => "a URL whose host or scheme no event can have",
        });
    }
    if text.contains('*') {
        return Some("a wildcard that is not matched; `*.name` means the names below a name, `10.1.*` for a network");
    }
    if text.starts_with('/') {
        return Some("a path without a host");
    }
    if text.contains('@') {
        return Some("no e-mail address that can be matched");
    }
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(found) = hash(&text) {
        return Some(match found.value.kind() {
            Kind::Md5 => "an MD5 hash",
            Kind::Sha1 => "a SHA-1 hash",
            Kind::Sha256 => "a SHA-256 hash",
            Kind::Sha512 => "a SHA-512 hash",
            _ => "a fuzzy hash",
        });
    }
    if is_hex && text.len() >= 16 {
        return Some("hex digits of no MD5, SHA-1, SHA-256 or SHA-512");
    }
    if super::when::instant(&text, None).is_some() {
        return Some("a date");
    }
    if letters == 0 && text.parse::<f64>().is_ok() {
        return Some("a number");
    }
    None
}

/// The value of a token that is declared to be of a type; an error says why it is not.
pub(super) fn typed(raw: &str, declared: Declared) -> Result<Found, String> {
    let found = match declared {
        Declared::Of(Kind::User) => value(Kind::User, raw).filter(|_| raw.len() <= MAX_BYTES),
        Declared::Of(Kind::Url) => cleaned(raw).and_then(|text| url(&text)),
        Declared::Of(Kind::Ip) => cleaned(raw).and_then(|text| match text.contains(char::is_whitespace) {
            true => several_addresses(&text),
            false => network(&text)
                .or_else(|| address(&text))
                .or_else(|| protocol(&text, |_| false).filter(|found| found.value.kind() == Kind::Ip)),
        }),
        Declared::Of(Kind::Domain) => {
            token(raw).filter(|text| address(text).is_none()).and_then(|text| name(&text, |_| true))
        }
        Declared::Of(Kind::Email) => token(raw).and_then(|text| email(&text)),
        Declared::Of(kind) if declared.is_hash() => {
            token(raw).and_then(|text| hash(&text)).filter(|found| found.value.kind() == kind)
        }
        Declared::Hash => token(raw).and_then(|text| hash(&text)),
        Declared::Host => token(raw).and_then(|text| address(&text).or_else(|| name(&text, |_| true))),
        Declared::Of(kind) => return Err(format!("values of kind `{kind}` come in STIX patterns only")),
    };
    found.ok_or_else(|| match hint(raw) {
        Some(hint) => format!("declared as `{}`, which it is not: {hint}", declared.as_str()),
        None => format!("declared as `{}`, which it is not", declared.as_str()),
    })
}

/// Trimmed, without quotes, refanged; `None` when empty or too long.
fn cleaned(raw: &str) -> Option<Cow<'_, str>> {
    let raw = raw.trim().trim_matches(['"', '\'', '`']).trim();
    if raw.is_empty() || raw.len() > MAX_BYTES {
        return None;
    }
    Some(refang::refang(raw))
}

/// The same, and without blanks inside.
fn token(raw: &str) -> Option<Cow<'_, str>> {
    cleaned(raw).filter(|text| !text.contains(char::is_whitespace))
}

fn value(kind: Kind, text: &str) -> Option<Found> {
    term::value(kind, text).map(Found::from)
}

fn hash(text: &str) -> Option<Found> {
    // Of the hash kinds any will do: the digest's length decides.
    value(Kind::Sha256, text)
}

/// `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `192.0.2.1-192.0.2.9`, `10.1.*`.
fn network(text: &str) -> Option<Found> {
    let may_be = memchr::memchr3(b'/', b'-', b'*', text.as_bytes()).is_some() || !text.is_ascii();
    may_be.then(|| range::networks(text)).flatten().and_then(Found::networks)
}

/// `192.0.2.1 - 192.0.2.9`, `192.0.2.0 / 24`, `192.0.2.0 255.255.255.0`: with blanks, and as a whole.
fn several_addresses(text: &str) -> Option<Found> {
    if !text.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    if let Some(networks) = range::networks(text) {
        return Found::networks(networks);
    }
    let (address, mask) = text.split_once(char::is_whitespace)?;
    let mask = mask.trim();
    (range::is_mask(mask) || mask.starts_with('/')).then(|| Found::networks(range::masked(address, mask)))?
}

/// Whether a URL begins, with its scheme.
pub(super) fn has_scheme(text: &str) -> bool {
    memchr::memchr(b':', text.as_bytes()).is_some_and(|colon| {
        let behind = text.as_bytes().get(colon + 1..).unwrap_or_default();
        behind.starts_with(b"//") || (colon > 1 && behind.starts_with(b"/")) || behind.starts_with(b"\\\\")
    })
}

/// A URL that means itself, and that an event can have.
fn url(text: &str) -> Option<Found> {
    // Bytes that are not encoded are meant to be.
    let has_blank = memchr::memchr2(b' ', b'\t', text.trim().as_bytes()).is_some();
    let encoded = has_blank.then(|| text.trim().replace(' ', "%20").replace('\t', "%09"));
    let found = value(Kind::Url, encoded.as_deref().unwrap_or(text))?;
    let TermValue::Url(url) = &found.value else { return None };
    // Only WHATWG's form has a host that a browser visits; of others marks of defanging are left.
    let is_invalid = |c: char| {
        c.is_whitespace()
            || matches!(c, '*' | '<' | '>' | '(' | ')' | '{' | '}' | '"' | '\'' | '`' | ',' | ';' | '|' | '^')
    };
    let host = url.host();
    let has_invalid_host = host.contains(is_invalid) || (host.contains(['[', ']']) && !host.starts_with('['));
    (!has_invalid_host && !has_wildcard(url.rest())).then_some(found)
}

/// Whether a star of a path is a wildcard: a whole part of it, its end, or the name before an ending. Elsewhere it
/// is a character, and so it is behind a question mark, which some logs encode.
fn has_wildcard(rest: &str) -> bool {
    if !rest.as_bytes().contains(&b'*') {
        return false;
    }
    let path = rest.split('?').next().unwrap_or_default();
    let path = path.split("%3F").next().unwrap_or_default();
    path.ends_with('*') || path.contains("/*/") || path.contains("/*.")
}

/// `192.0.2.1/tcp`, `192.0.2.1:443/tcp`, `evil.example:443/udp`: the protocol behind the slash is not a path.
fn protocol(text: &str, accept: impl Fn(&str) -> bool) -> Option<Found> {
    const PROTOCOLS: [&str; 10] = ["tcp", "udp", "tcp/udp", "icmp", "sctp", "tls", "ssl", "http", "https", "dns"];
    let (host, word) = text.split_once('/')?;
    if !PROTOCOLS.iter().any(|known| word.eq_ignore_ascii_case(known)) {
        return None;
    }
    address(host).or_else(|| {
        let is_protocol = host.contains(':') || word.eq_ignore_ascii_case("tcp") || word.eq_ignore_ascii_case("udp");
        name(host, accept).filter(|_| is_protocol)
    })
}

/// `192.0.2.1`, `2001:db8::1`, `192.0.2.1:443`, `192.0.2.1|443`, `[2001:db8::1]:443`.
fn address(text: &str) -> Option<Found> {
    if let Some((host, port)) = text.rsplit_once([':', '|'])
        && (host.starts_with('[') == host.ends_with(']'))
        && (host.starts_with('[') || !host.contains(':'))
        && let Some(port) = port_number(port)
        && let Some(address) = ip::canonical(host.as_bytes())
    {
        return Some(Found { port: Some(port), ..TermValue::Address(address).into() });
    }
    ip::canonical(text.as_bytes()).map(|address| TermValue::Address(address).into())
}

fn port_number(text: &str) -> Option<u16> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn email(text: &str) -> Option<Found> {
    // Display forms are for events; a feed's value is the address.
    if !text.contains('@') || text.contains(['<', '>', '/', ',', '*', '[', ']', '{', '}', '(', ')', ';', '|']) {
        return None;
    }
    let found = value(Kind::Email, text)?;
    let host = text.rsplit_once('@').map_or("", |(_, host)| host);
    host.trim_end_matches('.').contains('.').then_some(found)
}

/// `evil.com`, `*.evil.com`, `.evil.com`, `evil.com:8080`.
fn name(text: &str, accept: impl Fn(&str) -> bool) -> Option<Found> {
    let (host, scope) = match (text.strip_prefix("*."), text.strip_prefix('.')) {
        (Some(name), _) => (name, NameScope::Below),
        (None, Some(name)) => (name, NameScope::AndBelow),
        (None, None) => (text, NameScope::Exact),
    };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, Some(port_number(port)?)),
        None => (host, None),
    };
    match term::value(Kind::Domain, host)? {
        TermValue::Domain { name, scope: NameScope::Exact } if accept(&name) && !is_number(&name) => {
            Some(Found { port, ..TermValue::Domain { name, scope }.into() })
        }
        _ => None,
    }
}

/// Whether a name is a number, such as a rating of 4.5 in a column that should hold hosts.
fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// `evil.com/path`, `192.0.2.1:8080/path`. Without path it is a name or an address.
fn url_without_scheme(text: &str) -> Option<Found> {
    if text.contains(['/', '?']) && !has_scheme(text) { url(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(found: Option<Found>) -> String {
        match found {
            None => "-".to_owned(),
            Some(Found { value, port, .. }) => {
                let scope = match value {
                    TermValue::Domain { scope: NameScope::Below, .. } => "*.",
                    TermValue::Domain { scope: NameScope::AndBelow, .. } => ".",
                    _ => "",
                };
                format!(
                    "{} {scope}{value}{}",
                    value.kind(),
                    port.map(|port| format!(" port {port}")).unwrap_or_default()
                )
            }
        }
    }

    #[test]
    fn a_value_without_type_is_what_its_shape_tells() {
        for (raw, expected) in [
            ("evil[.]COM", "domain evil.com"),
            ("*.evil.com", "domain *.evil.com"),
            (".evil.com", "domain .evil.com"),
            ("evil.com:8080", "domain evil.com port 8080"),
            ("abcdefghijklmnop.onion", "domain abcdefghijklmnop.onion"),
            ("setup.exe", "-"),
            ("helmut0.dll", "-"),
            (".onion", "-"),
            ("localhost", "-"),
            ("203.0.113.9", "ip 203.0.113.9"),
            ("203.0.113.9:443", "ip 203.0.113.9 port 443"),
            ("203.0.113.9|443", "ip 203.0.113.9 port 443"),
            ("203.0.113.9:99999", "-"),
            ("[2001:DB8::1]:443", "ip 2001:db8::1 port 443"),
            ("2001:db8::1", "ip 2001:db8::1"),
            ("::ffff:203.0.113.9", "ip 203.0.113.9"),
            ("203.0.113.9/24", "ip 203.0.113.0/24"),
            ("203.0.113.9/32", "ip 203.0.113.9"),
            ("hxxps://Evil.com:443/A?b#c", "url https://evil.com/A?b"),
            ("evil.com/a", "url evil.com/a"),
            ("203.0.113.9:8080/a", "url 203.0.113.9:8080/a"),
            ("and/or", "-"),
            ("Bad@Evil.com", "email bad@evil.com"),
            ("bad@evil", "-"),
            ("D41D8CD98F00B204E9800998ECF8427E", "md5 d41d8cd98f00b204e9800998ecf8427e"),
            ("\"evil.com\"", "domain evil.com"),
            ("two words.com", "-"),
            ("198.51.100.0 - 198.51.100.63", "ip 198.51.100.0/26"),
            ("198.51.100.0 255.255.255.128", "ip 198.51.100.0/25"),
            ("198.51.100.128/255.255.255.128", "ip 198.51.100.128/25"),
            ("10.1.*", "ip 10.1.0.0/16"),
            ("198.51.100.7/tcp", "ip 198.51.100.7"),
            ("198.51.100.7:443/tcp", "ip 198.51.100.7 port 443"),
            ("evil.com/tcp", "domain evil.com"),
            ("evil.com/https", "url evil.com/https"),
            ("http:\\\\evil.com\\a", "url http://evil.com/a"),
            ("http:/evil.com/a", "url http://evil.com/a"),
            ("http://evil.com/*", "-"),
            ("http://*.evil.com/", "-"),
            ("http://evil.com/a?b=*", "url http://evil.com/a?b=*"),
            ("http://evil.com/a*b%3fc=*", "url http://evil.com/a*b%3Fc=*"),
            ("http://evil.com/a/*.jpeg", "-"),
            ("http://evil]com/", "-"),
            ("evil.com/*", "-"),
            ("*@evil.com", "-"),
            ("bad{@}evil.com", "email bad@evil.com"),
            ("meow://evil.com/a", "url http://evil.com/a"),
            ("", "-"),
        ] {
            assert_eq!(show(untyped(raw)), expected, "{raw}");
        }
    }

    #[test]
    fn a_declared_type_is_honoured_and_its_value_kept_whole() {
        let of = Declared::Of;
        for (raw, declared, expected) in [
            ("http://evil.com/", of(Kind::Domain), "-"),
            ("203.0.113.9", of(Kind::Domain), "-"),
            ("localhost", of(Kind::Domain), "domain localhost"),
            ("file.exe", of(Kind::Domain), "domain file.exe"),
            ("evil.com", of(Kind::Ip), "-"),
            ("203.0.113.9:443", of(Kind::Ip), "ip 203.0.113.9 port 443"),
            ("evil.com", of(Kind::Url), "url evil.com/"),
            ("d41d8cd98f00b204e9800998ecf8427e", of(Kind::Sha1), "-"),
            ("d41d8cd98f00b204e9800998ecf8427e", Declared::Hash, "md5 d41d8cd98f00b204e9800998ecf8427e"),
            (" John Doe ", of(Kind::User), "user john doe"),
            ("evil.com", of(Kind::Email), "-"),
            ("203.0.113.9", Declared::Host, "ip 203.0.113.9"),
            ("evil.com", Declared::Host, "domain evil.com"),
        ] {
            assert_eq!(show(typed(raw, declared).ok()), expected, "{raw} as {declared:?}");
        }
        assert!(typed("http://evil.com/", of(Kind::Domain)).unwrap_err().contains("`domain`"));
    }
}
