//! Words with dots: names, and IPv4 addresses.

use super::class::{DIGIT, DOT, HEX, LETTER, WIDE, WORD, class, may_begin, wide_at, word_at, word_before};
use super::{Scan, Token, TokenKind};
use crate::observable::{domain, ip};

/// The longest label, in octets (RFC 1035, section 2.3.4).
const LONGEST_LABEL: usize = 63;
/// The longest name (same section).
const LONGEST_NAME: usize = 253;
/// The longest top-level domain in use, in letters; longer ones are in A-label form.
const LONGEST_ROOT: usize = 24;
/// How much of the word before a slash is read.
const WORD_BEFORE_SLASH: usize = 32;

/// The word with dots that begins at some place.
pub(super) struct DottedWord {
    /// Where it ends: before a dot that no word character follows, at the latest.
    pub(super) end: usize,
    /// The classes of its characters.
    classes: u8,
    dots: usize,
    /// The longest label in octets, and the last one.
    longest: usize,
    last: usize,
}

impl DottedWord {
    /// Reads the word at `start`, where a word character stands.
    #[inline]
    pub(super) fn read(text: &[u8], start: usize) -> DottedWord {
        DottedWord { end: start, classes: 0, dots: 0, longest: 0, last: start }.read_on(text)
    }

    /// Reads the word around the dot at `dot`, and returns its start, too. The start is not looked for before `floor`.
    #[inline]
    fn around(text: &[u8], dot: usize, floor: usize) -> (usize, DottedWord) {
        let (mut start, mut classes) = (dot, 0);
        while start > floor {
            let found = class(text[start - 1]);
            let length = if found & WORD != 0 { 1 } else { word_before(text, start) };
            if length == 0 {
                break;
            }
            classes |= found;
            start -= length;
        }
        (start, DottedWord { end: dot, classes, dots: 0, longest: 0, last: start }.read_on(text))
    }

    /// Reads on behind what was read, which is part of the first label.
    #[inline]
    fn read_on(mut self, text: &[u8]) -> DottedWord {
        let mut at = self.end;
        let word = &mut self;
        loop {
            let byte = text.get(at).copied().unwrap_or(b' ');
            let found = class(byte);
            if found & WORD != 0 {
                word.classes |= found;
                at += 1;
            } else if byte == b'.' && at > word.last {
                if word_at(text, at + 1) == 0 {
                    break;
                }
                word.dots += 1;
                word.longest = word.longest.max(at - word.last);
                word.last = at + 1;
                at += 1;
            } else if found == WIDE {
                let length = wide_at(text, at);
                if length == 0 {
                    break;
                }
                word.classes |= WIDE;
                at += length;
            } else {
                break;
            }
        }
        word.longest = word.longest.max(at - word.last);
        word.end = at;
        self
    }

    /// Whether it has two labels or more.
    pub(super) fn has_dots(&self) -> bool {
        self.dots > 0
    }

    /// The address or name that the word is.
    #[inline]
    pub(super) fn kind(&self, text: &[u8], start: usize) -> Option<TokenKind> {
        if self.dots == 0 {
            return None;
        }
        let word = &text[start..self.end];
        if self.classes == DIGIT {
            return (self.dots == 3 && ip::canonical(word).is_some()).then_some(TokenKind::Ip);
        }
        if self.classes & WIDE != 0 {
            return domain::canonical(word, &mut Vec::new()).map(|_| TokenKind::Domain);
        }
        let root = &text[self.last..self.end];
        let is_word =
            (2..=LONGEST_ROOT).contains(&root.len()) && root.iter().all(|byte| class(*byte) & (HEX | LETTER) != 0);
        let is_root = is_word || root.len() > 4 && root[..4].eq_ignore_ascii_case(b"xn--");
        (is_root && self.longest <= LONGEST_LABEL && word.len() <= LONGEST_NAME).then_some(TokenKind::Domain)
    }
}

impl Scan<'_> {
    /// The word around the dot at `at`.
    #[inline]
    pub(super) fn name(&mut self, at: usize, each: &mut impl FnMut(Token)) {
        if at < self.names_end {
            return;
        }
        let text = self.text;
        let (start, word) = DottedWord::around(text, at, self.names_end);
        if start == at {
            // A word behind a dot is not a token, nor are those behind further dots of it.
            self.names_end = dotted_end(text, at);
            return;
        }
        self.names_end = dotted_end(text, word.end);
        if may_begin(text, start)
            && let Some(kind) = word.kind(text, start)
        {
            each(of_host(text, kind, start..word.end));
        }
    }
}

/// The token of an address or a name at its place.
pub(super) fn of_host(text: &[u8], kind: TokenKind, at: std::ops::Range<usize>) -> Token {
    let is_version = kind == TokenKind::Ip && follows_word(text, at.start);
    Token { is_version, ..Token::new(kind, at) }
}

/// Whether `word/` stands before a place: a slash, and before it word characters and dots with a letter among them.
pub(super) fn follows_word(text: &[u8], start: usize) -> bool {
    let Some((b'/', before)) = text[..start].split_last() else { return false };
    let word = before.iter().rev().take(WORD_BEFORE_SLASH).map(|byte| class(*byte));
    word.take_while(|found| found & (WORD | DOT) != 0).any(|found| found & (HEX | LETTER) != 0)
}

/// Where word characters and dots end.
#[inline]
fn dotted_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        match word_at(text, at) {
            0 if text.get(at) == Some(&b'.') => at += 1,
            0 => return at,
            length => at += length,
        }
    }
}
