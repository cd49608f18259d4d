//! One value as a feed wrote it becomes one canonical value: of the type that the feed declares, or of the type that
//! its shape tells.
//!
//! An indicator keeps exactly one value. So unlike the values of events nothing is widened here: a URL that is
//! declared to be a domain is no domain, and is refused.

use std::borrow::Cow;

use super::declared::Declared;
use crate::intel::indicator::{NameScope, TermValue};
use crate::intel::term;
use crate::observable::{Kind, domain, ip, refang};

/// Longer values are prose or garbage.
const MAX_BYTES: usize = 4096;

/// A value, and the port that stood behind it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) value: TermValue,
    pub(super) port: Option<u16>,
}

impl From<TermValue> for Found {
    fn from(value: TermValue) -> Found {
        Found { value, port: None }
    }
}

/// The value of a token that comes without a type, `None` when its shape tells none.
pub(super) fn untyped(raw: &str) -> Option<Found> {
    let text = token(raw)?;
    if let Some(found) = hash(&text).or_else(|| network(&text)).or_else(|| address(&text)) {
        return Some(found);
    }
    if text.contains("://")
        && let Some(found) = value(Kind::Url, &text)
    {
        return Some(found);
    }
    email(&text)
        .or_else(|| name(&text, |name| domain::has_known_root(name.as_bytes())))
        .or_else(|| url_without_scheme(&text))
}

/// The value of a token that is declared to be of a type; an error says why it is not.
pub(super) fn typed(raw: &str, declared: Declared) -> Result<Found, String> {
    let found = match declared {
        Declared::Of(Kind::User) => value(Kind::User, raw).filter(|_| raw.len() <= MAX_BYTES),
        Declared::Of(Kind::Url) => cleaned(raw).and_then(|text| value(Kind::Url, &text)),
        Declared::Of(Kind::Ip) => token(raw).and_then(|text| network(&text).or_else(|| address(&text))),
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
    found.ok_or_else(|| format!("declared as `{}`, which it is not", declared.as_str()))
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

fn network(text: &str) -> Option<Found> {
    let (_, length) = text.split_once('/')?;
    let is_length = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    if is_length { value(Kind::Ip, text) } else { None }
}

/// `192.0.2.1`, `2001:db8::1`, `192.0.2.1:443`, `192.0.2.1|443`, `[2001:db8::1]:443`.
fn address(text: &str) -> Option<Found> {
    if let Some((host, port)) = text.rsplit_once([':', '|'])
        && (host.starts_with('[') == host.ends_with(']'))
        && (host.starts_with('[') || !host.contains(':'))
        && let Some(port) = port_number(port)
        && let Some(address) = ip::canonical(host.as_bytes())
    {
        return Some(Found { value: TermValue::Address(address), port: Some(port) });
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
    if !text.contains('@') || text.contains(['<', '>', '/', ',']) {
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
        TermValue::Domain { name, scope: NameScope::Exact } if accept(&name) => {
            Some(Found { value: TermValue::Domain { name, scope }, port })
        }
        _ => None,
    }
}

/// `evil.com/path`, `192.0.2.1:8080/path`. Without path it is a name or an address.
fn url_without_scheme(text: &str) -> Option<Found> {
    if text.contains(['/', '?']) { value(Kind::Url, text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(found: Option<Found>) -> String {
        match found {
            None => "-".to_owned(),
            Some(Found { value, port }) => {
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
