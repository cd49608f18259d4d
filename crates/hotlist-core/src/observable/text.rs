//! Plain text and names: trimming, and comparison without case. The other kinds build on both.

use icu_casemap::CaseMapperBorrowed;

/// Whether a character counts as a blank at the ends of a value: Unicode `White_Space`, and the four ASCII separators
/// that Python and many log shippers also strip.
pub fn is_blank(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// The value without blanks at its ends.
#[inline]
pub fn trimmed(value: &[u8]) -> &[u8] {
    match (value.first(), value.last()) {
        (Some(0x21..=0x7e), Some(0x21..=0x7e)) => value,
        _ => trim_slowly(value),
    }
}

fn trim_slowly(mut value: &[u8]) -> &[u8] {
    while let Some((character, rest)) = split_first_char(value)
        && is_blank(character)
    {
        value = rest;
    }
    while let Some((character, rest)) = split_last_char(value)
        && is_blank(character)
    {
        value = rest;
    }
    value
}

/// The first character and what follows; `None` at the end or when the bytes are not UTF-8 there.
pub(crate) fn split_first_char(value: &[u8]) -> Option<(char, &[u8])> {
    let head = value.get(..value.len().min(4))?;
    let character = head.utf8_chunks().next()?.valid().chars().next()?;
    Some((character, value.get(character.len_utf8()..)?))
}

fn split_last_char(value: &[u8]) -> Option<(char, &[u8])> {
    let start = (1..=value.len().min(4)).map(|back| value.len() - back).find(|&at| (value[at] as i8) >= -0x40)?;
    let character = std::str::from_utf8(&value[start..]).ok()?.chars().next_back()?;
    Some((character, &value[..value.len() - character.len_utf8()]))
}

/// Free text: as it is, without blanks at its ends. `None` when nothing is left.
pub fn canonical(value: &[u8]) -> Option<&[u8]> {
    Some(trimmed(value)).filter(|text| !text.is_empty())
}

/// A name or a DNS record type: trimmed and case-folded. `None` when nothing is left.
pub fn name<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    canonical(value).map(|text| fold(text, scratch))
}

/// An HTTP version as STIX and ECS differ on it: `HTTP/1.1` becomes `1.1`. Takes and gives canonical text.
pub fn http_version(text: &[u8]) -> &[u8] {
    match text.split_at_checked(5) {
        Some((prefix, version)) if prefix.eq_ignore_ascii_case(b"HTTP/") && !version.is_empty() => version,
        _ => text,
    }
}

/// Full Unicode case folding (`ß` becomes `ss`), locale-free; bytes that are not UTF-8 stay. Folding twice changes
/// nothing more.
pub(crate) fn fold<'a>(text: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if text.is_ascii() {
        if !text.iter().any(u8::is_ascii_uppercase) {
            return text;
        }
        lower_ascii(text, scratch);
        return scratch;
    }
    scratch.clear();
    let folder = CaseMapperBorrowed::new();
    for chunk in text.utf8_chunks() {
        scratch.extend_from_slice(folder.fold_string(chunk.valid()).as_bytes());
        scratch.extend_from_slice(chunk.invalid());
    }
    scratch
}

/// Writes the text in ASCII lower case.
pub(crate) fn lower_ascii(text: &[u8], scratch: &mut Vec<u8>) {
    scratch.clear();
    scratch.extend_from_slice(text);
    scratch.make_ascii_lowercase();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blanks_at_the_ends_go_and_inner_ones_stay() {
        assert_eq!(canonical(b" a b\r\n"), Some(&b"a b"[..]));
        assert_eq!(canonical("\u{3000}a\u{a0}".as_bytes()), Some(&b"a"[..]));
        assert_eq!(canonical(b" \x1f\t"), None);
        assert_eq!(canonical(b"\xffa\xff"), Some(&b"\xffa\xff"[..]));
    }

    #[test]
    fn names_fold_case_and_http_versions_lose_their_prefix() {
        let mut scratch = Vec::new();
        assert_eq!(name(b" TCP", &mut scratch), Some(&b"tcp"[..]));
        assert_eq!(name("STRAßE".as_bytes(), &mut scratch), Some(&b"strasse"[..]));
        assert_eq!(http_version(b"HTTP/1.1"), b"1.1");
        assert_eq!(http_version(b"http/2"), b"2");
        assert_eq!(http_version(b"2"), b"2");
        assert_eq!(http_version(b"HTTP/"), b"HTTP/");
    }

    proptest! {
        /// Trimming agrees with the standard library plus the four ASCII separators.
        #[test]
        fn trimming_is_what_str_trim_matches_does(text in "[ \t\u{a0}\u{85}\u{1c}x\u{e9}]{0,8}") {
            prop_assert_eq!(trimmed(text.as_bytes()), text.trim_matches(is_blank).as_bytes());
        }

        /// A canonical name is its own canonical form, for any bytes.
        #[test]
        fn folding_twice_changes_nothing(value in proptest::collection::vec(any::<u8>(), 0..24), text in "\\PC{0,8}") {
            for value in [value.as_slice(), text.as_bytes()] {
                let (mut one, mut two) = (Vec::new(), Vec::new());
                if let Some(once) = name(value, &mut one) {
                    prop_assert_eq!(name(once, &mut two), Some(once));
                }
            }
        }
    }
}
