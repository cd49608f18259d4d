//! Text that is fields: lines of CEF, LEEF and `key=value` words (logfmt) as pairs of a key and a value.
//!
//! The formats are those of the ArcSight CEF Implementation Standard (version 26, chapter "Header Information" and "Character
//! Encoding"), of IBM's "LEEF event components", and of logfmt (<https://brandur.org/logfmt>). A CEF or LEEF header may stand
//! anywhere in a line, behind a syslog header; its pairs end with the line. A line without such a header is read as
//! `key=value` words if enough of its words are pairs. Each byte is read a constant number of times, and nothing is allocated
//! but the unescaped form of a value. The property tests compare the pairs with those of slow parsers.

mod extension;
mod header;
mod leef;
mod words;

#[cfg(test)]
mod tests;

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::class::{DOT, WORD, class};

/// The most pairs of a text that are read.
pub const MOST_PAIRS: usize = 16 << 10;

/// How the pairs of a line are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PairFormat {
    /// Common Event Format.
    Cef,
    /// Log Event Extended Format.
    Leef,
    /// Words of `key=value` and `key="quoted value"`.
    KeyValue,
}

/// A key and where its value stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<'t> {
    /// How it is written.
    pub format: PairFormat,
    /// The key.
    pub key: &'t [u8],
    /// The bytes of the value in the text, without quotation marks, and not empty.
    pub at: Range<usize>,
    /// The meaning of a backslash in the value.
    escapes: Escapes,
}

/// The meaning of a backslash in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escapes {
    None,
    /// `\\`, `\=`, `\|`, `\n` and `\r`.
    Cef,
    /// `\\`, `\"`, `\n`, `\r` and `\t`.
    Quoted,
}

/// The value has escapes and is longer than what is unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Pair<'_> {
    /// The value: a part of `text`, or its unescaped form in `scratch`.
    ///
    /// # Errors
    /// It has escapes and more than `longest` bytes.
    pub fn value<'v>(&self, text: &'v [u8], longest: usize, scratch: &'v mut Vec<u8>) -> Result<&'v [u8], TooLong> {
        let raw = text.get(self.at.clone()).unwrap_or_default();
        if self.escapes == Escapes::None || memchr(b'\\', raw).is_none() {
            return Ok(raw);
        }
        if raw.len() > longest {
            return Err(TooLong);
        }
        scratch.clear();
        self.escapes.resolve(raw, scratch);
        Ok(scratch)
    }
}

impl Escapes {
    /// Writes the unescaped form of a value. A backslash before any other byte stays.
    fn resolve(self, raw: &[u8], into: &mut Vec<u8>) {
        let mut rest = raw;
        while let Some(at) = memchr(b'\\', rest) {
            into.extend_from_slice(&rest[..at]);
            let byte = match (self, rest.get(at + 1)) {
                (Escapes::Cef, Some(byte @ (b'\\' | b'=' | b'|'))) => Some(*byte),
                (Escapes::Quoted, Some(byte @ (b'\\' | b'"'))) => Some(*byte),
                (Escapes::Quoted, Some(b't')) => Some(b'\t'),
                (Escapes::Cef | Escapes::Quoted, Some(b'n')) => Some(b'\n'),
                (Escapes::Cef | Escapes::Quoted, Some(b'r')) => Some(b'\r'),
                _ => None,
            };
            into.push(byte.unwrap_or(b'\\'));
            rest = &rest[at + 1 + usize::from(byte.is_some())..];
        }
        into.extend_from_slice(rest);
    }
}

/// Hands each pair of a text to `each`, in the order of the text. Returns whether those were all: at most [`MOST_PAIRS`] are
/// read.
pub fn pairs<'t>(text: &'t [u8], each: &mut impl FnMut(Pair<'t>)) -> bool {
    let (mut left, mut is_complete) = (MOST_PAIRS, true);
    let mut counted = |pair: Pair<'t>| match left {
        0 => is_complete = false,
        _ if pair.at.is_empty() => {}
        _ => {
            left -= 1;
            each(pair);
        }
    };
    let mut from = 0;
    // Without a `=` there is no pair, whatever the format.
    while let Some(equals) = memchr(b'=', &text[from..]).map(|at| from + at) {
        let start = memrchr(b'\n', &text[from..equals]).map_or(from, |at| from + at + 1);
        let end = memchr(b'\n', &text[equals..]).map_or(text.len(), |at| equals + at);
        line(text, start..end, &mut counted);
        from = end;
    }
    is_complete
}

fn line<'t>(text: &'t [u8], line: Range<usize>, each: &mut impl FnMut(Pair<'t>)) {
    match header::find(text, line.clone()) {
        Some(header) => {
            let (format, key, escapes) = (header.format, &b"deviceVersion"[..], Escapes::None);
            each(Pair { format, key, at: trimmed(text, header.version), escapes });
            match format {
                PairFormat::Leef => leef::pairs(text, header.end..line.end, header.is_second, each),
                _ => extension::pairs(text, header.end..line.end, format, each),
            }
        }
        None => words::pairs(text, line, each),
    }
}

/// Whether a key may have a byte, in every format: a letter, a digit, `-`, `_` or `.`.
#[inline]
fn is_key(byte: u8) -> bool {
    class(byte) & (WORD | DOT) != 0
}

#[inline]
fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A part of a text without the white space at its ends.
fn trimmed(text: &[u8], at: Range<usize>) -> Range<usize> {
    let part = text.get(at.clone()).unwrap_or_default();
    let start = at.start + part.len() - part.trim_ascii_start().len();
    start..start + part.trim_ascii().len()
}
