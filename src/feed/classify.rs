//! One value as a feed wrote it becomes one canonical value: of the type that the feed declares, or of the type that
//! its shape tells.
//!
//! An indicator keeps exactly one value. So unlike the values of events nothing is widened here: a URL that is
//! declared to be a domain is no domain, and is refused.

use std::borrow::Cow;

use super::declared::Declared;
use crate::intel::indicator::TermValue;
use crate::observable::ip::AddressOrNetwork;
use crate::observable::{Kind, domain, email, hash, ip, refang, url, user};

/// Longer values are prose or garbage.
const MAX_BYTES: usize = 4096;

/// Name spaces beside the DNS in which malware really resolves (Tor, I2P, Namecoin, EmerDNS, OpenNIC, ENS).
const OTHER_ROOTS: [&str; 8] = ["onion", "i2p", "bit", "bazar", "coin", "emc", "lib", "eth"];

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
    if let Some(found) = hash_value(&text).or_else(|| network(&text)).or_else(|| address(&text)) {
        return Some(found);
    }
    if text.contains("://") {
        return whole_url(&text);
    }
    email_value(&text).or_else(|| name(&text, known_root)).or_else(|| url_without_scheme(&text))
}

/// The value of a token that is declared to be of a type; an error says why it is not.
pub(super) fn typed(raw: &str, declared: Declared) -> Result<Found, String> {
    let is_no = |what: &str| format!("declared as `{what}`, which it is not");
    match declared {
        Declared::Of(Kind::User) => user_name(raw).ok_or_else(|| is_no("user")),
        Declared::Of(Kind::Url) => cleaned(raw).and_then(|text| whole_url(&text)).ok_or_else(|| is_no("url")),
        Declared::Of(Kind::Ip) => {
            token(raw).and_then(|text| network(&text).or_else(|| address(&text))).ok_or_else(|| is_no("ip"))
        }
        Declared::Of(Kind::Domain) => token(raw)
            .filter(|text| address(text).is_none())
            .and_then(|text| name(&text, |_| true))
            .ok_or_else(|| is_no("domain")),
        Declared::Of(Kind::Email) => token(raw).and_then(|text| email_value(&text)).ok_or_else(|| is_no("email")),
        Declared::Of(kind @ (Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep)) => token(raw)
            .and_then(|text| hash_value(&text))
            .filter(|found| found.value.kind() == kind)
            .ok_or_else(|| is_no(kind.as_str())),
        Declared::Hash => token(raw).and_then(|text| hash_value(&text)).ok_or_else(|| is_no("hash")),
        Declared::Host => {
            token(raw).and_then(|text| address(&text).or_else(|| name(&text, |_| true))).ok_or_else(|| is_no("host"))
        }
        Declared::Of(kind) => Err(format!("values of kind `{kind}` come in STIX patterns only")),
    }
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

fn hash_value(text: &str) -> Option<Found> {
    let mut scratch = Vec::new();
    let (kind, digest) = hash::canonical(text.as_bytes(), &mut scratch)?;
    Some(TermValue::Hash { kind, digest: std::str::from_utf8(digest).ok()?.into() }.into())
}

fn network(text: &str) -> Option<Found> {
    let (_, length) = text.split_once('/')?;
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(match ip::network(text)? {
        AddressOrNetwork::Address(address) => TermValue::Address(address).into(),
        AddressOrNetwork::Network(network) => TermValue::Network(network).into(),
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

fn whole_url(text: &str) -> Option<Found> {
    url::canonical(text.as_bytes()).map(|url| TermValue::Url(url).into())
}

fn email_value(text: &str) -> Option<Found> {
    // Display forms are for events; a feed's value is the address.
    if !text.contains('@') || text.contains(['<', '>', '/', ',']) {
        return None;
    }
    let mut scratch = Vec::new();
    let canonical = email::canonical(text.as_bytes(), &mut scratch)?;
    let canonical = std::str::from_utf8(canonical).ok()?;
    let (_, host) = canonical.rsplit_once('@')?;
    host.contains('.').then(|| TermValue::Email(canonical.into()).into())
}

fn user_name(raw: &str) -> Option<Found> {
    if raw.len() > MAX_BYTES {
        return None;
    }
    let mut scratch = Vec::new();
    let canonical = std::str::from_utf8(user::canonical(raw.as_bytes(), &mut scratch)?).ok()?;
    Some(TermValue::User(canonical.into()).into())
}

/// `evil.com`, `*.evil.com`, `.evil.com`, `evil.com:8080`.
fn name(text: &str, accept: impl Fn(&str) -> bool) -> Option<Found> {
    let wild = text.starts_with("*.") || text.starts_with('.');
    let host = if wild { text.trim_start_matches('*').trim_start_matches('.') } else { text };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, Some(port_number(port)?)),
        None => (host, None),
    };
    let name = host_name(host).filter(|name| accept(name))?;
    Some(Found { value: TermValue::Domain { name: name.into(), subdomains: wild }, port })
}

/// The canonical form of a bare host name.
fn host_name(host: &str) -> Option<String> {
    if host.contains(['/', '?', '#', '@', ':', '*', '\\']) {
        return None;
    }
    let mut scratch = Vec::new();
    let canonical = domain::canonical(host.as_bytes(), &mut scratch)?;
    std::str::from_utf8(canonical).ok().map(str::to_owned)
}

/// `evil.com/path`, `192.0.2.1:8080/path`.
fn url_without_scheme(text: &str) -> Option<Found> {
    let host = text.split(['/', '?', '#']).next()?;
    if host.len() == text.len() || text[host.len()..].starts_with('#') || host.contains('@') {
        return None;
    }
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) => port_number(port).map(|_| bare)?,
        None => host,
    };
    let is_host = ip::canonical(bare.as_bytes()).is_some() || host_name(bare).is_some_and(|name| known_root(&name));
    if is_host { whole_url(text) } else { None }
}

/// Whether a name has two labels or more and ends in a top-level domain that exists. Without a type only this tells
/// `setup.exe` and `evil.com` apart.
fn known_root(name: &str) -> bool {
    let Some((_, root)) = name.rsplit_once('.') else { return false };
    OTHER_ROOTS.contains(&root)
        || psl::suffix(root.as_bytes()).is_some_and(|suffix| suffix.is_known())
        || psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(found: Option<Found>) -> String {
        match found {
            None => "-".to_owned(),
            Some(Found { value, port }) => {
                let wild = matches!(value, TermValue::Domain { subdomains: true, .. });
                format!(
                    "{} {}{value}{}",
                    value.kind(),
                    if wild { "*." } else { "" },
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
            (".evil.com", "domain *.evil.com"),
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
