//! The host of a URL without parsing it, so that only URLs whose host is known to some indicator are parsed.

use super::{SPECIAL, domain, ip, text};

/// The host of an event value as it is written, with or without a scheme before it.
///
/// `None` means that the slow path, [`event_url`](super::event_url), must decide: the value has percent-encoding,
/// characters outside ASCII, a backslash, a blank, brackets or anything else that a parser may read differently where
/// its host stands. Law: when both this and `event_url` give something, the host here in lower case, less one trailing
/// dot, is the host there.
pub fn raw_host(value: &[u8]) -> Option<&[u8]> {
    let value = text::trimmed(value);
    let (has_scheme, rest) = domain::split_scheme(value).map_or((false, value), |(_, rest)| (true, rest));
    let mut host_start = 0;
    let mut host_end = None;
    let mut end = rest.len();
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {}
            b'/' | b'?' | b'#' => {
                end = at;
                break;
            }
            b'@' if has_scheme => {
                host_start = at + 1;
                host_end = None;
            }
            b':' if host_end.is_none() => host_end = Some(at),
            // A colon in the user info is undone by the `@` that follows; a second one without is malformed.
            _ => return None,
        }
    }
    let host_end = host_end.unwrap_or(end);
    let host = rest.get(host_start..host_end)?;
    let port = rest.get(host_end..end)?;
    if port.len() > LONGEST_PORT || !port.iter().skip(1).all(u8::is_ascii_digit) {
        return None;
    }
    // `http:/host` and `http:80` are URLs, too.
    if !has_scheme && !port.is_empty() && (port.len() == 1 || is_special(host)) {
        return None;
    }
    is_plain_host(host).then_some(host)
}

/// A colon and five digits.
const LONGEST_PORT: usize = 6;

fn is_special(word: &[u8]) -> bool {
    SPECIAL.iter().any(|(known, _)| word.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether every parser reads these letters as the same host. A last label that starts with a digit may be read as a
/// number (`0x7f.1`), unless the host is a plain dotted quad.
fn is_plain_host(host: &[u8]) -> bool {
    let name = host.strip_suffix(b".").unwrap_or(host);
    let last = memchr::memrchr(b'.', name).map_or(name, |dot| &name[dot + 1..]);
    match last.first() {
        None => false,
        Some(b'0'..=b'9') => ip::canonical(name).is_some(),
        Some(_) => true,
    }
}
