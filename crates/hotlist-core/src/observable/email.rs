//! E-mail addresses: lower case, the domain as for domains.
//!
//! The syntax is narrower than that of RFC 5322: no quoted local parts, and a domain of at least two labels.
//! That is what feeds and logs hold.

use super::malformed::Malformed;
use super::{domain, text};

/// Longer input is never read as one address, in octets: 64 before the `@` and 255 behind it (RFC 5321, sections
/// 4.5.3.1.1 and 4.5.3.1.2).
pub const LONGEST_ADDRESS: usize = 64 + 1 + 255;
/// The same before the mapping of an internationalised address, whose characters have at most 4 bytes.
const LONGEST_WIDE: usize = 4 * LONGEST_ADDRESS;
/// Longer input is never read as a list of addresses.
pub const LONGEST_LIST: usize = 128 * 1024;
/// The most addresses that are read from one value. Servers limit the recipients of a message to about as many.
pub const MOST_ADDRESSES: usize = 1000;

/// The address, trimmed, lower case, an internationalised domain as A-labels. `None` when the value is not exactly one
/// plain address. Copies only what is not canonical already.
#[inline]
pub fn canonical<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if value.len() > LONGEST_WIDE {
        return None;
    }
    let value = text::trimmed(value);
    // Cheap first: most values that are not addresses have no `@`.
    let at = memchr::memchr(b'@', value)?;
    if !value.is_ascii() {
        return canonical_wide(value, scratch);
    }
    if value.len() > LONGEST_ADDRESS || !is_address(value, at) {
        return None;
    }
    if !value.iter().any(u8::is_ascii_uppercase) {
        return Some(value);
    }
    text::lower_ascii(value, scratch);
    Some(scratch)
}

/// An address with characters outside ASCII.
fn canonical_wide<'a>(value: &[u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let mut lower = Vec::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        lower.extend_from_slice(chunk.valid().to_lowercase().as_bytes());
        lower.extend_from_slice(chunk.invalid());
    }
    let at = memchr::memchr(b'@', &lower)?;
    if !is_address(&lower, at) {
        return None;
    }
    let (local, host) = lower.split_at(at + 1);
    let mut name = Vec::new();
    let host = domain::canonical(host, &mut name).unwrap_or(host);
    scratch.clear();
    scratch.extend_from_slice(local);
    scratch.extend_from_slice(host);
    // The mapping of a domain may leave a single label; that is not an address any more.
    (scratch.len() <= LONGEST_ADDRESS && is_address(scratch, at)).then_some(scratch)
}

/// Hands over every address that an *event* value carries: the value itself, or each one inside a display form
/// (`Name <a@b.example>`), a `mailto:` or a list. Each is canonical. Gives why the value has no address, or why not all
/// of it is read.
pub fn event_addresses(value: &[u8], scratch: &mut Vec<u8>, found: &mut dyn FnMut(&[u8])) -> Option<Malformed> {
    if let Some(address) = canonical(value, scratch) {
        found(address);
        return None;
    }
    if value.len() > LONGEST_LIST {
        return Some(Malformed::TooLong);
    }
    let mut rest = value;
    let mut count = 0;
    while let Some(at) = memchr::memchr(b'@', rest) {
        let local = rest[..at].len() - word_before(&rest[..at]);
        let after = &rest[at + 1..];
        let host = word_length(after);
        if local == at || host == 0 {
            rest = after;
            continue;
        }
        let (word, following) = rest[local..].split_at(at - local + 1 + host);
        if let Some(address) = canonical(without_dots(word), scratch) {
            if count == MOST_ADDRESSES {
                return Some(Malformed::TooMany);
            }
            found(address);
            count += 1;
        }
        rest = following;
    }
    (count == 0).then_some(Malformed::NotEmail)
}

/// Whether the text is `local@domain.label`, each part of characters that an address has; `at` is its first `@`.
fn is_address(value: &[u8], at: usize) -> bool {
    let (local, host) = (&value[..at], &value[at + 1..]);
    let labels = memchr::memrchr(b'.', host).is_some_and(|dot| dot > 0 && dot + 1 < host.len());
    labels && !local.is_empty() && word_length(local) == local.len() && word_length(host) == host.len()
}

/// Length of the characters at the start that an address may have on one side of its `@`.
fn word_length(value: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        at += match byte {
            b'@' | b'<' | b'>' | b'"' | b'(' | b')' | b',' | b':' | b';' | b'[' | b']' | b'\\' | b'/' => break,
            0..=0x7f if text::is_blank(char::from(byte)) => break,
            0..=0x7f => 1,
            _ => match text::split_first_char(&value[at..]) {
                Some((character, _)) if text::is_blank(character) => break,
                Some((character, _)) => character.len_utf8(),
                None => 1,
            },
        };
    }
    at
}

/// Length of the same characters at the end of the value.
fn word_before(value: &[u8]) -> usize {
    let mut start = 0;
    while start < value.len() {
        let length = word_length(&value[start..]);
        if start + length == value.len() {
            return length;
        }
        // Past the character that stopped the word: an ASCII delimiter, or a whole blank.
        start += length;
        start += text::split_first_char(&value[start..]).map_or(1, |(character, _)| character.len_utf8());
    }
    0
}

fn without_dots(mut word: &[u8]) -> &[u8] {
    while let [b'.', rest @ ..] | [rest @ .., b'.'] = word {
        word = rest;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(value: &str) -> Option<String> {
        canonical(value.as_bytes(), &mut Vec::new()).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    fn addresses(value: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        event_addresses(value, &mut Vec::new(), &mut |text| all.push(String::from_utf8_lossy(text).into_owned()));
        all
    }

    #[test]
    fn a_plain_address_is_lowered_and_its_domain_mapped() {
        assert_eq!(address(" Alice.B@Example.ORG\n").as_deref(), Some("alice.b@example.org"));
        assert_eq!(address("Ümit@Bücher.example").as_deref(), Some("ümit@xn--bcher-kva.example"));
        for value in [
            "",
            "@",
            "a@",
            "@b.example",
            "a@b",
            "a@b.",
            "a@.b",
            "a b@c.example",
            "a@b@c.example",
            "<a@b.example>",
            "a@b.example.",
        ] {
            assert_eq!(address(value), None, "{value}");
        }
    }

    #[test]
    fn every_address_inside_an_event_value_is_found() {
        assert_eq!(addresses(b"Alice <A@b.example>"), ["a@b.example"]);
        assert_eq!(addresses(b"mailto:a@b.example"), ["a@b.example"]);
        assert_eq!(
            addresses(b"a@b.example, \"B\" <b@c.example>; c@d.example."),
            ["a@b.example", "b@c.example", "c@d.example"]
        );
        assert_eq!(addresses("x\u{a0}a@b.example\u{3000}".as_bytes()), ["a@b.example"]);
        assert_eq!(addresses(b"a@b.example@c.example"), ["a@b.example"]);
        assert!(addresses(b"<help@ @x a@b ANONYMIZED").is_empty());
    }

    #[test]
    fn addresses_and_lists_are_read_within_bounds() {
        let long = format!("{}@b.example", "a".repeat(LONGEST_ADDRESS));
        assert_eq!(address(&long), None);
        let read = |value: &str| {
            let mut count = 0;
            (event_addresses(value.as_bytes(), &mut Vec::new(), &mut |_| count += 1), count)
        };
        assert_eq!(read(&long), (Some(Malformed::NotEmail), 0));
        assert_eq!(read("nobody"), (Some(Malformed::NotEmail), 0));
        assert_eq!(read(&"a@b.example,".repeat(MOST_ADDRESSES)), (None, MOST_ADDRESSES));
        assert_eq!(read(&"a@b.example,".repeat(MOST_ADDRESSES + 1)), (Some(Malformed::TooMany), MOST_ADDRESSES));
        assert_eq!(read(&"a@b.example,".repeat(LONGEST_LIST / 12 + 1)), (Some(Malformed::TooLong), 0));
    }

    proptest! {
        /// A canonical address is its own canonical form, and arbitrary bytes do no harm.
        #[test]
        fn canonical_twice_is_canonical(value in "[a-bA-BüÜß]{1,3}@[a-bA-BüßΣ.。]{1,6}", noise in proptest::collection::vec(any::<u8>(), 0..40)) {
            for value in [value.as_bytes(), &noise] {
                let (mut one, mut two) = (Vec::new(), Vec::new());
                if let Some(once) = canonical(value, &mut one) {
                    prop_assert_eq!(canonical(once, &mut two), Some(once));
                }
                addresses(value);
            }
        }

        /// Whatever stands around a plain address, separated by what no address holds, the address is found.
        #[test]
        fn a_separated_address_is_always_found(before in "[a-c@<>, é]{0,6}", after in "[a-c@<>, é]{0,6}") {
            let value = format!("{before}<x@y.example>{after}");
            prop_assert!(addresses(value.as_bytes()).contains(&"x@y.example".to_owned()));
        }
    }
}
