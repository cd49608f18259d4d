//! Domain names: lower-case A-labels without a trailing dot.
//!
//! Logs hold single labels, underscores and internationalised names; all are accepted. A name that is not plain ASCII is
//! mapped label by label with UTS #46 (the crate `idna`), the mapping that browsers use.

mod tail;

use idna::AsciiDenyList;

use super::{eight, text};

pub use tail::tail;

/// The longest name without its trailing dot, in octets (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;
/// The longest label, in octets (RFC 1035, section 2.3.4).
const LONGEST_LABEL: usize = 63;
/// Longer input is never read as a name: 253 characters of at most 4 bytes before their mapping, and a trailing dot.
pub const LONGEST_INPUT: usize = 4 * LONGEST_NAME + 4;
/// Longer labels are never mapped: 63 characters of at most 4 bytes. The time of the mapping grows with the square of
/// the label's length.
pub(super) const LONGEST_WIDE_LABEL: usize = 4 * LONGEST_LABEL;

const INVALID: u8 = 0;
const PLAIN: u8 = 1;
const UPPER: u8 = 2;
const DOT: u8 = 4;
const WIDE: u8 = 8;

/// The class of each byte in a name.
const CLASS: [u8; 256] = {
    let mut class = [INVALID; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => PLAIN,
            b'A'..=b'Z' => UPPER,
            b'.' => DOT,
            0x80..=0xff => WIDE,
            _ => INVALID,
        };
        byte += 1;
    }
    class
};

/// The canonical name: trimmed, lower case, one trailing dot dropped, labels of `a-z 0-9 _ -`, at most 63 octets each
/// and 253 together. `None` when the value is not a name. Copies only what is not canonical already.
#[inline]
pub fn canonical<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if value.len() > LONGEST_INPUT {
        return None;
    }
    let value = text::trimmed(value);
    let name = value.strip_suffix(b".").unwrap_or(value);
    if is_plain(name) {
        return Some(name);
    }
    match classes(name)? {
        seen if seen & WIDE != 0 => canonical_wide(value, scratch),
        _ if name.len() > LONGEST_NAME => None,
        seen if seen & UPPER != 0 => {
            text::lower_ascii(name, scratch);
            Some(scratch)
        }
        _ => Some(name),
    }
}

/// Whether a name of eight octets or more is canonical, by eight of them at a time. `false` says nothing: ask [`classes`].
#[inline]
fn is_plain(name: &[u8]) -> bool {
    let (chunks, _) = name.as_chunks::<8>();
    // In a name that is no longer than a label, no label is too long.
    let Some(tail) = name.last_chunk::<8>().filter(|_| name.len() <= LONGEST_LABEL) else { return false };
    // A dot is wrong at the start and behind another; its mark is the upper bit of its byte.
    let (mut plain, mut wrong, mut before) = (u64::MAX, 0, 0x80);
    for chunk in chunks {
        let word = u64::from_le_bytes(*chunk);
        let dots = eight::between(word, b'.', b'.');
        plain &= in_name(word);
        wrong |= eight::wide(word) | dots & (dots << 8 | before);
        before = dots >> 56;
    }
    // The rest, with octets that were checked before.
    let word = u64::from_le_bytes(*tail);
    let dots = eight::between(word, b'.', b'.');
    plain &= in_name(word);
    wrong |= eight::wide(word) | dots & (dots << 8) | dots >> 56;
    wrong == 0 && eight::is_all(plain)
}

/// The octets that stand in a canonical name.
#[inline(always)]
fn in_name(word: u64) -> u64 {
    let letters = eight::between(word, b'a', b'z') | eight::between(word, b'_', b'_');
    letters | eight::between(word, b'0', b'9') | eight::between(word, b'-', b'.')
}

/// The classes that occur in a well-formed name, or `None` when it is not well formed. Label lengths of names that are
/// not ASCII are checked after their mapping.
#[inline]
fn classes(name: &[u8]) -> Option<u8> {
    let (mut seen, mut label, mut longest) = (0, 0, 0);
    for &byte in name {
        let class = CLASS[usize::from(byte)];
        match class {
            INVALID => return None,
            DOT if label == 0 => return None,
            DOT => {
                longest = longest.max(label);
                label = 0;
            }
            _ => label += 1,
        }
        seen |= class;
    }
    let fits = longest.max(label) <= LONGEST_LABEL || seen & WIDE != 0;
    (label > 0 && fits).then_some(seen)
}

/// A name with characters outside ASCII: each such label becomes its A-label.
fn canonical_wide<'a>(value: &[u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let name = std::str::from_utf8(value).ok()?;
    scratch.clear();
    for (at, label) in name.strip_suffix(is_dot).unwrap_or(name).split(is_dot).enumerate() {
        if at > 0 {
            scratch.push(b'.');
        }
        map_label(label, scratch)?;
        if scratch.len() > LONGEST_NAME {
            return None;
        }
    }
    (classes(scratch)? & !(PLAIN | DOT) == 0).then_some(scratch)
}

/// Appends one label in lower case, as its A-label when it has characters outside ASCII. The result is not checked.
fn map_label(label: &str, out: &mut Vec<u8>) -> Option<()> {
    if label.is_ascii() {
        out.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    } else if label.len() <= LONGEST_WIDE_LABEL {
        let mapped = idna::domain_to_ascii_cow(label.as_bytes(), AsciiDenyList::EMPTY).ok()?;
        out.extend_from_slice(mapped.as_bytes());
    } else {
        return None;
    }
    Some(())
}

/// The full stops that UTS #46 (section 2.3) takes for label separators.
pub(crate) fn is_dot(character: char) -> bool {
    matches!(character, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
}

/// The host inside an *event* value: what precedes `:port`, `/`, `?` or `#`; of a URL also what follows `scheme://` and
/// `user@`. A bare name is its own host. IPv6 keeps its brackets. `None` when the value has no such shape; what comes
/// back is not yet known to be a host.
pub fn event_host(value: &[u8]) -> Option<&[u8]> {
    let value = text::trimmed(value);
    match split_scheme(value) {
        Some((_, rest)) => {
            let authority = &rest[..authority_end(rest)];
            // Only blanks may stand between the authority and the path.
            let between = host_end(&rest[authority.len()..]);
            if !text::trimmed(&rest[authority.len()..][..between]).is_empty() {
                return None;
            }
            let host_and_port = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
            let host = without_port(host_and_port, 0)?;
            Some(host.strip_suffix(b".").unwrap_or(host))
        }
        None => without_port(&value[..host_end(value)], 1),
    }
    .filter(|host| !host.is_empty())
}

/// Where `/`, `?` or `#` ends what stands before the path.
fn host_end(value: &[u8]) -> usize {
    value.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(value.len())
}

/// The host of `host`, `host:port` or `[v6]:port`, when the port has at least `digits` and at most five digits.
fn without_port(value: &[u8], digits: usize) -> Option<&[u8]> {
    let host = match value.first()? {
        b'[' => memchr::memchr(b']', value)? + 1,
        _ => memchr::memchr(b':', value).unwrap_or(value.len()),
    };
    let (host, port) = value.split_at(host);
    match port {
        [] => Some(host),
        [b':', port @ ..] if (digits..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit) => Some(host),
        _ => None,
    }
}

/// Splits `scheme://rest` (RFC 3986, section 3.1 for the scheme's letters).
pub(crate) fn split_scheme(value: &[u8]) -> Option<(&[u8], &[u8])> {
    if !value.first()?.is_ascii_alphabetic() {
        return None;
    }
    let end = value.iter().position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-')))?;
    let (scheme, rest) = value.split_at(end);
    Some((scheme, rest.strip_prefix(b"://")?))
}

/// Where the authority at the start of `rest` ends: at `/`, `?`, `#`, a backslash or a blank.
pub(crate) fn authority_end(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        match byte {
            // The bytes of most authorities come first, before those that take longer to distinguish.
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':' => at += 1,
            b'/' | b'?' | b'#' | b'\\' => break,
            0..=0x7f if text::is_blank(char::from(byte)) => break,
            0..=0x7f => at += 1,
            _ => match text::split_first_char(&rest[at..]) {
                Some((character, _)) if text::is_blank(character) => break,
                Some((character, _)) => at += character.len_utf8(),
                None => at += 1,
            },
        }
    }
    at
}

/// The proper parents of a canonical name, longest first, down to two labels: `a.b.example.org` gives `b.example.org`
/// and `example.org`.
pub fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(name), |name| parent(name)).filter(|name| memchr::memchr(b'.', name).is_some())
}

fn parent(name: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'.', name).map(|dot| &name[dot + 1..])
}

/// Name spaces other than the DNS in which malware really resolves (Tor, I2P, Namecoin, EmerDNS, OpenNIC, ENS).
const OTHER_ROOTS: [&[u8]; 8] = [b"onion", b"i2p", b"bit", b"bazar", b"coin", b"emc", b"lib", b"eth"];

/// Names that never resolve, kept for documentation and tests (RFC 2606, section 2); examples and drills use them.
const RESERVED_ROOTS: [&[u8]; 3] = [b"example", b"test", b"invalid"];

/// The registered domain that a canonical name lies below, by the Public Suffix List; `None` for a registered domain itself,
/// and for a name without a known suffix.
pub fn registered(name: &[u8]) -> Option<&[u8]> {
    let registered = psl::domain(name).filter(|domain| domain.suffix().is_known())?.as_bytes();
    (registered.len() < name.len()).then_some(registered)
}

/// Whether a canonical name ends in a top level that exists, so that a token which nobody called a domain is one:
/// `setup.exe` is not.
pub fn has_known_root(name: &[u8]) -> bool {
    let Some(dot) = memchr::memrchr(b'.', name) else { return false };
    let root = &name[dot + 1..];
    root.starts_with(b"xn--")
        || OTHER_ROOTS.contains(&root)
        || RESERVED_ROOTS.contains(&root)
        || psl::suffix(name).is_some_and(|suffix| suffix.is_known())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(value: &str) -> Option<String> {
        canonical(value.as_bytes(), &mut Vec::new()).map(|name| String::from_utf8(name.to_vec()).unwrap())
    }

    #[test]
    fn every_spelling_of_a_name_becomes_the_same_name() {
        for value in ["example.org", "EXAMPLE.org", " example.org.\n", "Example.Org."] {
            assert_eq!(name(value).as_deref(), Some("example.org"), "{value}");
        }
        for value in ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.example", "bücher。example"] {
            assert_eq!(name(value).as_deref(), Some("xn--bcher-kva.example"), "{value}");
        }
        assert_eq!(name("_dmarc.a-b.example").as_deref(), Some("_dmarc.a-b.example"));
        assert_eq!(name("localhost").as_deref(), Some("localhost"));
        assert_eq!(name("xn--not-punycode-.example").as_deref(), Some("xn--not-punycode-.example"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let label = "a".repeat(64);
        let long = format!("{}.example", "abcdefg.".repeat(31));
        for value in
            ["", ".", "..", "a..b", ".a", "a..", "a b", "a@b.example", "a:1", "a/b", "*.a", &label, &long, "\u{1f}"]
        {
            assert_eq!(name(value), None, "{value}");
        }
        assert_eq!(name("。a.example"), None);
        assert_eq!(canonical(b"a\xff.example", &mut Vec::new()), None);
    }

    #[test]
    fn an_event_value_yields_its_host_whatever_surrounds_it() {
        for (value, host) in [
            ("example.org:443", "example.org"),
            ("https://example.org/a@b", "example.org"),
            ("https://user:p@ss@example.org:8443?x", "example.org"),
            ("http://example.org:/", "example.org"),
            ("http://example.org.", "example.org"),
            ("http://example.org /a", "example.org"),
            ("example.org/path:1", "example.org"),
            ("[2001:db8::1]:53", "[2001:db8::1]"),
            ("example.org#x", "example.org"),
            ("u@example.org", "u@example.org"),
        ] {
            assert_eq!(event_host(value.as_bytes()), Some(host.as_bytes()), "{value}");
        }
        for value in
            ["", "/path", "example.org:", "example.org:x", "a:1:2", "http://", "http:///x", "http://a b/", "[::1"]
        {
            assert_eq!(event_host(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn parents_stop_at_two_labels() {
        let all =
            |name: &'static str| parents(name.as_bytes()).map(|p| std::str::from_utf8(p).unwrap()).collect::<Vec<_>>();
        assert_eq!(all("a.b.example.org"), ["b.example.org", "example.org"]);
        assert!(all("example.org").is_empty() && all("org").is_empty() && all("").is_empty());
    }

    proptest! {
        /// A canonical name is its own canonical form, and arbitrary bytes do no harm.
        #[test]
        fn canonical_twice_is_canonical(value in "[a-zA-Z0-9._üß中。 -]{0,20}", noise in proptest::collection::vec(any::<u8>(), 0..40)) {
            for value in [value.as_bytes(), &noise] {
                let (mut one, mut two) = (Vec::new(), Vec::new());
                if let Some(once) = canonical(value, &mut one) {
                    prop_assert_eq!(canonical(once, &mut two), Some(once));
                }
                if let Some(host) = event_host(value) {
                    prop_assert!(!host.is_empty());
                }
            }
        }

        /// The look at eight octets at a time finds what the look at each finds, or nothing.
        #[test]
        fn a_plain_name_is_a_canonical_one(name in "([a-z0-9._-]{1,30}|[a-z]{1,20}\\.){1,4}[A-Z /`{:ü\u{0}]?[a-z.]{0,9}") {
            let name = name.as_bytes();
            let is_canonical = classes(name).is_some_and(|seen| seen & !(PLAIN | DOT) == 0);
            prop_assert_eq!(is_plain(name), is_canonical && (8..=LONGEST_LABEL).contains(&name.len()));
        }

        /// For ASCII the table-driven check is: lower, drop one dot, every label of the allowed letters and lengths.
        #[test]
        fn the_fast_path_agrees_with_the_definition(value in "[a-cA-C0-1._ /-]{0,12}") {
            let lower = value.trim().to_ascii_lowercase();
            let plain = lower.strip_suffix('.').unwrap_or(&lower);
            let well_formed = plain.split('.').all(|label| {
                (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            });
            prop_assert_eq!(name(&value), well_formed.then(|| plain.to_owned()));
        }
    }
}
