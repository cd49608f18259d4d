//! The attributes of LEEF: `key=value` pairs between tabs, or between the delimiter that the header of LEEF 2.0 names.

use std::ops::Range;

use memchr::{memchr, memmem};

use super::{Escapes, Pair, PairFormat, extension, is_key, trimmed};

const TAB: &[u8] = b"\t";
/// A tab as rsyslog writes it when it escapes control characters on receipt, which is its default.
const ESCAPED_TAB: &[u8] = b"#011";

/// Hands over the pairs behind a header. Where tabs should stand between them and there are none, because something on the
/// way made blanks of them, the pairs are those of a CEF extension.
pub(super) fn pairs<'t>(text: &'t [u8], at: Range<usize>, may_name: bool, each: &mut impl FnMut(Pair<'t>)) {
    let part = text.get(at.clone()).unwrap_or_default();
    let (named, length) = if may_name { delimiter(part) } else { (None, 0) };
    let at = at.start + length..at.end;
    let part = text.get(at.clone()).unwrap_or_default();
    let mut encoded = [0; 4];
    let delimiter = match named {
        Some(named) if named != '\t' => named.encode_utf8(&mut encoded).as_bytes(),
        _ if memchr(b'\t', part).is_some() => TAB,
        _ if memmem::find(part, ESCAPED_TAB).is_some() => ESCAPED_TAB,
        _ => return extension::pairs(text, at, PairFormat::Leef, each),
    };
    let mut from = at.start;
    for next in memmem::find_iter(part, delimiter).map(|found| at.start + found).chain([at.end]) {
        attribute(text, from..next, each);
        from = next + delimiter.len();
    }
}

/// The delimiter that a header names, and the length of the field that names it: one character, or its number as `x5E` or
/// `0x5E`; nothing stands for a tab. Many senders of LEEF 2.0 leave the field out.
fn delimiter(part: &[u8]) -> (Option<char>, usize) {
    let Some(end) = part.iter().take(LONGEST + 1).position(|byte| *byte == b'|') else { return (None, 0) };
    let Ok(field) = std::str::from_utf8(&part[..end]) else { return (None, 0) };
    let mut characters = field.chars();
    let named = match (characters.next(), characters.next()) {
        (None, _) => return (None, end + 1),
        (first, None) => first,
        _ => {
            let digits = field.strip_prefix("0x").or_else(|| field.strip_prefix('x'));
            let digits =
                digits.filter(|digits| digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32)
        }
    };
    match named {
        Some(named) if !named.is_ascii_alphanumeric() && named != '=' => (Some(named), end + 1),
        _ => (None, 0),
    }
}

/// The longest field that names a delimiter.
const LONGEST: usize = 6;

fn attribute<'t>(text: &'t [u8], at: Range<usize>, each: &mut impl FnMut(Pair<'t>)) {
    let Some(equals) = memchr(b'=', &text[at.clone()]).map(|found| at.start + found) else { return };
    let key = text[at.start..equals].trim_ascii();
    if key.is_empty() || !key.iter().all(|byte| is_key(*byte)) {
        return;
    }
    let at = trimmed(text, equals + 1..at.end);
    each(Pair { format: PairFormat::Leef, key, at, escapes: Escapes::None });
}
