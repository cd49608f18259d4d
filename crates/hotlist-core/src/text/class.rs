//! The characters of words, which continue a token.

use crate::observable::text::split_first_char;

pub(super) const DIGIT: u8 = 1;
/// A letter that is a hexadecimal digit.
pub(super) const HEX: u8 = 2;
/// Any other ASCII letter.
pub(super) const LETTER: u8 = 4;
/// `-`, `_`.
pub(super) const MARK: u8 = 8;
pub(super) const DOT: u8 = 16;
/// A byte of a character outside ASCII.
pub(super) const WIDE: u8 = 32;
/// `+`, `%`, `&`, `~`: what else the local part of an e-mail address may have.
pub(super) const LOCAL: u8 = 64;

/// ASCII characters of a word.
pub(super) const WORD: u8 = DIGIT | HEX | LETTER | MARK;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => HEX,
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'-' | b'_' => MARK,
            b'.' => DOT,
            b'+' | b'%' | b'&' | b'~' => LOCAL,
            0x80..=0xff => WIDE,
            _ => 0,
        };
        byte += 1;
    }
    class
};

#[inline]
pub(super) fn class(byte: u8) -> u8 {
    CLASS[usize::from(byte)]
}

/// Whether a character outside ASCII belongs to a word: a letter or digit of a script that puts blanks between words.
/// Chinese, Japanese, Thai and some others do not, and their text continues where a token ends.
pub(super) fn is_wide_letter(character: char) -> bool {
    (character < '\u{e00}' || ('\u{1e00}'..'\u{2000}').contains(&character)) && character.is_alphanumeric()
}

/// The length of the word character that begins at a place outside ASCII, 0 if there is none.
#[cold]
pub(super) fn wide_at(text: &[u8], at: usize) -> usize {
    match split_first_char(&text[at..]) {
        Some((character, _)) if is_wide_letter(character) => character.len_utf8(),
        _ => 0,
    }
}

/// The length of the word character that ends before a place, behind a byte outside ASCII; 0 if there is none.
#[cold]
pub(super) fn wide_before(text: &[u8], end: usize) -> usize {
    let back = (1..=end.min(4)).find(|back| text[end - back] & 0xc0 != 0x80);
    let character = back.and_then(|back| std::str::from_utf8(&text[end - back..end]).ok()?.chars().next());
    character.filter(|character| is_wide_letter(*character)).map_or(0, char::len_utf8)
}

/// The length of the word character at a place; 0 if there is none.
#[inline]
pub(super) fn word_at(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(byte) if class(*byte) & WORD != 0 => 1,
        Some(0x80..) => wide_at(text, at),
        _ => 0,
    }
}

/// The length of the word character that ends before a place; 0 if there is none.
#[inline]
pub(super) fn word_before(text: &[u8], end: usize) -> usize {
    match text[..end].last() {
        Some(byte) if class(*byte) & WORD != 0 => 1,
        Some(0x80..) => wide_before(text, end),
        _ => 0,
    }
}

/// Whether a token may end at a place: no word character follows, and no dot that one follows.
#[inline]
pub(super) fn may_end(text: &[u8], end: usize) -> bool {
    word_at(text, end) == 0 && (text.get(end) != Some(&b'.') || word_at(text, end + 1) == 0)
}

/// Whether a token may begin at a place: no word character stands before it, and neither `.` nor `@`.
#[inline]
pub(super) fn may_begin(text: &[u8], start: usize) -> bool {
    word_before(text, start) == 0 && !matches!(text[..start].last(), Some(b'.' | b'@'))
}
