//! URLs: the WHATWG form, with and without its scheme.
//!
//! `http`, `https`, `ws`, `wss` and `ftp` are parsed as browsers do (the crate `url`). What WHATWG refuses, and every
//! other scheme (`hxxp` in a log is kept as the log has it), keeps a syntactic form: scheme and host in lower case, the
//! default port and the fragment dropped. Behind the host percent-encoding has the normal form of RFC 3986.

mod event;
mod percent;
mod quick;

use std::borrow::Cow;
use std::fmt;

use ::url::{Position, Url};

use super::{domain, ip, text};

pub use event::{event_url, is_reference};
pub use quick::raw_host;

/// A URL in canonical form. A feed or an event may leave the scheme out; then only the rest is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CanonicalUrl {
    text: Box<str>,
    /// Length of the scheme's name, 0 when there is none.
    scheme: u16,
}

/// Schemes whose URLs WHATWG parses with a host, and their default ports. `file` has none.
const SPECIAL: [(&str, &str); 5] = [("http", "80"), ("https", "443"), ("ws", "80"), ("wss", "443"), ("ftp", "21")];

/// The canonical form of a URL, or of `host[:port][/path]` without a scheme when the host is an IPv4 address or a name
/// under a known top-level domain. `None` when the value is neither. Bytes that are not UTF-8 are percent-encoded.
pub fn canonical(value: &[u8]) -> Option<CanonicalUrl> {
    let value = text::trimmed(value);
    let text = percent_encode_invalid(value);
    match domain::split_scheme(text.as_bytes()) {
        Some((scheme, _)) => {
            let scheme = text.get(..scheme.len())?.to_ascii_lowercase();
            match SPECIAL.iter().any(|(known, _)| *known == scheme) {
                true => with_special_scheme(&text, &scheme),
                false => syntactic(&text, &scheme),
            }
        }
        None => without_scheme(&text),
    }
}

/// UTF-8 text; every byte that is not UTF-8 becomes `%XX`, as WHATWG encodes bytes.
fn percent_encode_invalid(value: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(value) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(value.len() + 8);
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
            text.extend(['%', digit(byte >> 4), digit(*byte)]);
        }
    }
    Cow::Owned(text)
}

/// The form of WHATWG, or the syntactic one where WHATWG refuses. Both read past tabs and line breaks, as WHATWG does.
fn with_special_scheme(text: &str, scheme: &str) -> Option<CanonicalUrl> {
    let breaks = ['\t', '\n', '\r'];
    let text = if text.contains(breaks) { Cow::Owned(text.replace(breaks, "")) } else { Cow::Borrowed(text) };
    whatwg(&text).or_else(|| {
        let kept = syntactic(&text, scheme)?;
        // Dropping the fragment or the default port may have fixed it.
        whatwg(kept.as_str()).or(Some(kept))
    })
}

/// The form of the WHATWG URL standard, less the fragment and one trailing dot of the host.
fn whatwg(text: &str) -> Option<CanonicalUrl> {
    let url = Some(text).filter(|text| has_short_labels(text)).and_then(|text| Url::parse(text).ok())?;
    let host = without_dot(url.host_str().filter(|host| !host.is_empty())?);
    let user = &url[Position::BeforeUsername..Position::BeforeHost];
    let rest = &url[Position::AfterHost..Position::AfterQuery];
    CanonicalUrl::new(url.scheme(), &format!("{user}{host}{rest}"))
}

/// Whether no label of the host is longer than one that can be mapped. The time of the mapping grows with the square of
/// the label's length, so longer ones are not parsed.
fn has_short_labels(text: &str) -> bool {
    let rest = text.as_bytes().splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default();
    let slashes = rest.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    let authority = rest[slashes..].split(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#')).next().unwrap_or_default();
    let authority = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
    let is_plain = authority.iter().all(|byte| byte.is_ascii() && *byte != b'%');
    // Percent-encoding makes three octets of one.
    let octets = |label: &[u8]| label.iter().map(|byte| if byte.is_ascii() { 1 } else { 3 }).sum::<usize>();
    is_plain || authority.split(|byte| *byte == b'.').all(|label| octets(label) <= 3 * domain::LONGEST_WIDE_LABEL)
}

/// The form that needs no parser to accept the URL. `scheme` is its scheme in lower case.
fn syntactic(text: &str, scheme: &str) -> Option<CanonicalUrl> {
    let rest = text.get(scheme.len() + "://".len()..)?;
    let (authority, rest) = rest.split_at_checked(domain::authority_end(rest.as_bytes()))?;
    if authority.is_empty() {
        return None;
    }
    let rest = rest.split('#').next().unwrap_or("").trim_end_matches(text::is_blank);
    let (user, host_and_port) = authority.split_at_checked(authority.rfind('@').map_or(0, |at| at + 1))?;
    let host_end = match host_and_port.starts_with('[') {
        true => host_and_port.find(']').map_or(host_and_port.len(), |close| close + 1),
        false => host_and_port.find(':').unwrap_or(host_and_port.len()),
    };
    let (host, port) = host_and_port.split_at_checked(host_end)?;
    if host.is_empty() {
        return None;
    }
    let host = host.to_lowercase();
    let mut scratch = Vec::new();
    let ascii = (!host.is_ascii()).then(|| domain::canonical(host.as_bytes(), &mut scratch)).flatten();
    let host = ascii.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_else(|| without_dot(&host));
    let port = port.trim_start_matches(':');
    let default = SPECIAL.iter().any(|(known, default)| *known == scheme && *default == port);
    let colon = if port.is_empty() || default { "" } else { ":" };
    let port = if default { "" } else { port };
    let path = if rest.is_empty() || rest.starts_with('?') { "/" } else { "" };
    CanonicalUrl::new(scheme, &format!("{user}{host}{colon}{port}{path}{rest}"))
}

/// `host[:port][/path][?query]`, compared with the rest of URLs that have a scheme, as if it were `http`.
fn without_scheme(text: &str) -> Option<CanonicalUrl> {
    let end = text.find(|c| matches!(c, '/' | '?' | '#' | '@' | ':') || text::is_blank(c)).unwrap_or(text.len());
    let (host, rest) = text.split_at_checked(end)?;
    let path = match rest.strip_prefix(':') {
        Some(port) => {
            let digits = port.bytes().take_while(u8::is_ascii_digit).count();
            port.get(digits..).filter(|_| (1..=5).contains(&digits))?
        }
        None => rest,
    };
    let path_follows = path.is_empty() || path.starts_with(['/', '?']);
    if !path_follows || path.contains('\n') || !is_plausible_host(host) {
        return None;
    }
    let url = with_special_scheme(&format!("http://{text}"), "http")?;
    CanonicalUrl::new("", url.rest())
}

/// Whether text without a scheme before it looks like a host: an IPv4 address, or a name of two labels or more under a
/// top-level domain that exists.
fn is_plausible_host(host: &str) -> bool {
    if ip::canonical(host.as_bytes()).is_some() {
        return true;
    }
    let mut scratch = Vec::new();
    let Some(name) = domain::canonical(host.as_bytes(), &mut scratch) else { return false };
    domain::has_known_root(name)
}

/// The host without its trailing dot, when it has just one.
fn without_dot(host: &str) -> &str {
    match host.strip_suffix('.') {
        Some(name) if !name.is_empty() && !name.ends_with(domain::is_dot) => name,
        _ => host,
    }
}

impl CanonicalUrl {
    /// `None` when the scheme's name is absurdly long.
    fn new(scheme: &str, rest: &str) -> Option<CanonicalUrl> {
        let separator = if scheme.is_empty() { "" } else { "://" };
        let length = u16::try_from(scheme.len()).ok()?;
        let (authority, path) = rest.split_at_checked(domain::authority_end(rest.as_bytes()))?;
        let path = percent::normal(path);
        // Written without the machinery of `format!`: feeds have millions of URLs.
        let mut text = String::with_capacity(scheme.len() + separator.len() + authority.len() + path.len());
        [scheme, separator, authority, &path].into_iter().for_each(|part| text.push_str(part));
        Some(CanonicalUrl { text: text.into(), scheme: length })
    }

    /// The whole text, as it is displayed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme's name, lower case, when the URL has one.
    pub fn scheme(&self) -> Option<&str> {
        (self.scheme > 0).then(|| &self.text[..usize::from(self.scheme)])
    }

    /// The text after `scheme://`: user info, host, port, path and query. Starts with the host when there is no user
    /// info. Never without a path: the empty path is `/`.
    pub fn rest(&self) -> &str {
        match self.scheme {
            0 => &self.text,
            scheme => &self.text[usize::from(scheme) + "://".len()..],
        }
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        host_of_rest(self.rest())
    }

    /// The prefixes of [`rest`](Self::rest) at the boundaries of path segments, without the query, longest first, each
    /// with and without its closing slash: `h/a/b?q` gives `h/a/b`, `h/a/`, `h/a`, `h/`.
    pub fn path_prefixes(&self) -> impl Iterator<Item = &str> {
        let rest = self.rest();
        let path = &rest[..rest.find('?').unwrap_or(rest.len())];
        let root = domain::authority_end(rest.as_bytes());
        std::iter::successors(Some(path), move |prefix| match prefix.strip_suffix('/') {
            Some(without) => (without.len() > root).then_some(without),
            None => prefix.get(root..)?.rfind('/').map(|slash| &prefix[..root + slash + 1]),
        })
    }
}

/// The host in what [`CanonicalUrl::rest`] gives.
pub fn host_of_rest(rest: &str) -> &str {
    let authority = &rest[..domain::authority_end(rest.as_bytes())];
    let host = &authority[authority.rfind('@').map_or(0, |at| at + 1)..];
    match host.starts_with('[') {
        true => &host[..host.find(']').map_or(host.len(), |close| close + 1)],
        false => &host[..host.find(':').unwrap_or(host.len())],
    }
}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
