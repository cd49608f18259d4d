//! The scanner: reads the tokens of a JSON text and skips unwanted values.
//!
//! Inside a skipped array or object it reads only strings and brackets. A fault in there, such as a missing comma, is
//! not detected, and the bytes are forwarded unchanged.

use std::borrow::Cow;

use super::JsonError;
use crate::encoding::Value;

/// Scratch for one unescaped string; on the stack unless the string is long.
pub(in crate::encoding) type Scratch = smallvec::SmallVec<[u8; 256]>;

/// A position in a JSON text.
#[derive(Clone, Debug)]
pub(in crate::encoding) struct Scanner<'a> {
    pub(in crate::encoding) text: &'a [u8],
    pub(in crate::encoding) at: usize,
}

/// A string's content between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoding) struct RawString<'a> {
    pub(in crate::encoding) content: &'a [u8],
    pub(in crate::encoding) escaped: bool,
}

impl<'a> RawString<'a> {
    /// The content with its escapes resolved, into `scratch` when there are any.
    #[inline]
    pub(in crate::encoding) fn resolve<'s>(self, scratch: &'s mut Scratch) -> &'s [u8]
    where
        'a: 's,
    {
        if !self.escaped {
            return self.content;
        }
        scratch.clear();
        unescape(self.content, scratch);
        scratch
    }

    /// The content with its escapes resolved.
    pub(in crate::encoding) fn to_cow(self) -> Cow<'a, [u8]> {
        if !self.escaped {
            return Cow::Borrowed(self.content);
        }
        let mut scratch = Scratch::new();
        unescape(self.content, &mut scratch);
        Cow::Owned(scratch.into_vec())
    }
}

impl<'a> Scanner<'a> {
    pub(in crate::encoding) fn new(text: &'a [u8]) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// The next byte that is not white space, not yet taken.
    #[inline]
    pub(in crate::encoding) fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    pub(in crate::encoding) fn unexpected(&self, expected: &'static str) -> JsonError {
        if self.at >= self.text.len() {
            return JsonError::CutShort { at: self.text.len(), inside: expected };
        }
        JsonError::Unexpected { at: self.at, expected }
    }

    /// Takes `byte`, after white space.
    #[inline]
    pub(in crate::encoding) fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// After an element: whether another follows (a comma, taken) or `close` (taken).
    #[inline]
    pub(in crate::encoding) fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        let byte = self.peek();
        if byte == Some(b',') {
            self.at += 1;
            return Ok(true);
        }
        if byte == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        Err(self.unexpected("a comma or a closing bracket"))
    }

    /// Takes an opening bracket that was peeked; whether the container is not empty (else its end is taken too).
    #[inline]
    pub(in crate::encoding) fn open(&mut self, close: u8) -> bool {
        self.at += 1;
        if self.peek() == Some(close) {
            self.at += 1;
            return false;
        }
        true
    }

    /// Takes a key and its colon.
    #[inline]
    pub(in crate::encoding) fn key(&mut self) -> Result<RawString<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a key in quotes"));
        }
        // Most keys have no escape, and the colon stands at their end.
        let start = self.at + 1;
        let rest = self.text.get(start..).unwrap_or_default();
        if let Some(end) = quote_or_backslash(rest)
            && let Some(b"\":") = rest.get(end..end + 2)
        {
            self.at = start + end + 2;
            return Ok(RawString { content: rest.get(..end).unwrap_or_default(), escaped: false });
        }
        self.key_in_full()
    }

    #[inline(never)]
    fn key_in_full(&mut self) -> Result<RawString<'a>, JsonError> {
        let key = self.string()?;
        self.take(b':', "a colon after a key")?;
        Ok(key)
    }

    /// Takes a string whose opening quote was peeked.
    #[inline]
    pub(in crate::encoding) fn string(&mut self) -> Result<RawString<'a>, JsonError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = quote_or_backslash(rest) else {
                return Err(JsonError::CutShort { at: self.text.len(), inside: "a string" });
            };
            let at = self.at + found;
            if rest.get(found) == Some(&b'"') {
                self.at = at + 1;
                return Ok(RawString { content: self.text.get(start..at).unwrap_or_default(), escaped });
            }
            escaped = true;
            self.at = at + 2;
        }
    }

    /// Takes a number, `true`, `false` or `null` (which is `None`).
    pub(in crate::encoding) fn scalar(&mut self) -> Result<Option<Value<'a>>, JsonError> {
        let literals: [(&[u8], Option<Value<'a>>); 3] =
            [(b"true", Some(Value::Bool(true))), (b"false", Some(Value::Bool(false))), (b"null", None)];
        let rest = self.text.get(self.at..).unwrap_or_default();
        for (word, value) in literals {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        let length = rest.iter().position(|byte| !is_number_byte(*byte)).unwrap_or(rest.len());
        let digits = rest.get(..length).unwrap_or_default();
        let value = number(digits).ok_or_else(|| self.unexpected("a value"))?;
        self.at += length;
        Ok(Some(value))
    }

    /// Steps over the value that was peeked.
    #[inline]
    pub(in crate::encoding) fn skip(&mut self, first: u8) -> Result<(), JsonError> {
        match first {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_container(first),
            _ => self.scalar().map(drop),
        }
    }

    /// Steps over an array or object: brackets are counted, strings respected, nothing else is looked at.
    fn skip_container(&mut self, open: u8) -> Result<(), JsonError> {
        // Both brackets are two apart in ASCII.
        let close = open + 2;
        let mut depth = 0usize;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        if byte != close {
                            return Err(self.unexpected("the other closing bracket"));
                        }
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        Err(JsonError::CutShort { at: self.text.len(), inside: "an array or object" })
    }

    /// Nothing but white space may follow.
    pub(in crate::encoding) fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonError::Trailing { at: self.at }),
        }
    }
}

/// The first quote or backslash. Strings of events are short (median 10 bytes), where a call of `memchr2` costs more
/// than a look at one word; it takes over after that.
#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut at = 0;
    while at < 32 {
        let Some(chunk) = bytes.get(at..).unwrap_or_default().first_chunk::<8>() else { break };
        let word = u64::from_le_bytes(*chunk);
        let hits = zero_bytes(word ^ (ONES * u64::from(b'"'))) | zero_bytes(word ^ (ONES * u64::from(b'\\')));
        if hits != 0 {
            // The lowest hit is exact; only bits above a true one can be wrong.
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr::memchr2(b'"', b'\\', bytes.get(at..)?).map(|found| at + found)
}

fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// A number of RFC 8259 section 6: an integer when it is written as one and fits 64 bits.
pub(in crate::encoding) fn number(digits: &[u8]) -> Option<Value<'static>> {
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let integer = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if integer == 0 || (integer > 1 && unsigned.first() == Some(&b'0')) {
        return None;
    }
    let text = str::from_utf8(digits).ok()?;
    if integer == unsigned.len()
        && let Ok(value) = text.parse()
    {
        return Some(Value::Int(value));
    }
    // Rust's float syntax is wider than JSON's in one way that the bytes allow: `1.` and `1.e5`.
    if let Some(dot) = text.find('.')
        && !text.as_bytes().get(dot + 1).is_some_and(u8::is_ascii_digit)
    {
        return None;
    }
    text.parse().ok().map(Value::Double)
}

/// Resolves the escapes of a string (RFC 8259 section 7). A lone surrogate becomes U+FFFD; an escape that JSON does
/// not know stays as it is.
fn unescape(mut content: &[u8], out: &mut Scratch) {
    while let Some(backslash) = memchr::memchr(b'\\', content) {
        let (plain, escape) = content.split_at(backslash);
        out.extend_from_slice(plain);
        let simple = match escape.get(1) {
            Some(b'"') => b'"',
            Some(b'\\') => b'\\',
            Some(b'/') => b'/',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                content = unescape_unicode(escape, out);
                continue;
            }
            _ => {
                out.push(b'\\');
                content = escape.get(1..).unwrap_or_default();
                continue;
            }
        };
        out.push(simple);
        content = escape.get(2..).unwrap_or_default();
    }
    out.extend_from_slice(content);
}

/// Resolves the Unicode escape (or pair of surrogates) that `escape` starts with, and gives what follows it.
fn unescape_unicode<'a>(escape: &'a [u8], out: &mut Scratch) -> &'a [u8] {
    let Some(first) = unit(escape) else {
        out.extend_from_slice(b"\\u");
        return escape.get(2..).unwrap_or_default();
    };
    let mut rest = escape.get(6..).unwrap_or_default();
    let mut scalar = u32::from(first);
    if (0xd800..0xdc00).contains(&scalar)
        && let Some(low @ 0xdc00..0xe000) = unit(rest)
    {
        scalar = 0x1_0000 + ((scalar - 0xd800) << 10) + (u32::from(low) - 0xdc00);
        rest = rest.get(6..).unwrap_or_default();
    }
    let character = char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// The UTF-16 code unit of the `\u` escape that `escape` starts with.
fn unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8]) -> Result<Vec<u8>, JsonError> {
        Ok(Scanner::new(text).string()?.to_cow().into_owned())
    }

    #[test]
    fn escapes_resolve_surrogates_pair_and_what_is_malformed_stays() {
        let cases: [(&[u8], &[u8]); 9] = [
            (br#""plain""#, b"plain"),
            (br#""a\"b\\c\/d\b\f\n\r\t""#, b"a\"b\\c/d\x08\x0c\n\r\t"),
            (br#""\u0041\u00e9\u20AC""#, "Aé€".as_bytes()),
            (br#""\ud83d\ude00!""#, "😀!".as_bytes()),
            (br#""\ud83d""#, "\u{fffd}".as_bytes()),
            (br#""\ude00\ud83dx\ud83d\u0041""#, "\u{fffd}\u{fffd}x\u{fffd}A".as_bytes()),
            (br#""\x\u12""#, br"\x\u12"),
            (b"\"\xff\xfe\"", b"\xff\xfe"),
            (
                br#""a long string, longer than the thirty-two bytes of the first look \\ and on""#,
                br"a long string, longer than the thirty-two bytes of the first look \ and on",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(string(text).unwrap(), expected, "{}", String::from_utf8_lossy(text));
        }
        for cut in [&br#""abc"#[..], br#""abc\""#, br#""abc\"#, b"\""] {
            assert!(matches!(string(cut), Err(JsonError::CutShort { .. })));
        }
    }

    #[test]
    fn numbers_are_integers_when_they_fit_and_nothing_but_json_numbers() {
        let scalar = |text: &'static str| Scanner::new(text.as_bytes()).scalar();
        assert_eq!(scalar("0"), Ok(Some(Value::Int(0))));
        assert_eq!(scalar("-9223372036854775808"), Ok(Some(Value::Int(i64::MIN))));
        assert_eq!(scalar("9223372036854775808"), Ok(Some(Value::Double(9_223_372_036_854_775_808.0))));
        assert_eq!(scalar("1.5e3,"), Ok(Some(Value::Double(1500.0))));
        assert_eq!(scalar("null"), Ok(None));
        for wrong in ["01", "-", "+1", ".5", "1.", "1.e5", "1e", "--1", "1-2", "tru", "nul", "NaN", ""] {
            assert!(scalar(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_quote_or_backslash_is_found_at_every_place() {
        for at in 0..70 {
            for mark in [b'"', b'\\'] {
                let mut bytes = vec![b'#'; 80];
                bytes[at] = mark;
                bytes[75] = b'"';
                assert_eq!(quote_or_backslash(&bytes), Some(at));
            }
        }
        assert_eq!(quote_or_backslash(&[b'!'; 50]), None);
    }
}
