//! URLs: from the first letter of their scheme to a blank, a quote, or another character that no URL has.

use std::ops::Range;

use super::class::{DIGIT, DOT, HEX, LETTER, MARK, WIDE, class, may_begin, wide_at, word_at};
use super::name::{DottedWord, of_host};
use super::{Scan, Token, TokenKind};

/// Longer words before `://` are not a scheme.
const LONGEST_SCHEME: usize = 32;
/// The most bytes of URLs, for each byte of an unbroken text in which they begin one inside the other.
const NESTED_BYTES: usize = 16;

/// An unbroken text without a character that no URL has. URLs inside it begin at different places and end together.
#[derive(Default)]
pub(super) struct Region {
    end: usize,
    /// How many bytes of URLs it may still give.
    budget: usize,
    is_curtailed: bool,
}

impl Region {
    /// Whether no URL was left out.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_curtailed
    }
}

impl Scan<'_> {
    /// The URL whose `://` is at `at`.
    pub(super) fn url(&mut self, at: usize, each: &mut impl FnMut(Token)) {
        let text = self.text;
        let Some(start) = scheme_start(text, at) else { return };
        let host = at + 3;
        if self.urls.end <= host {
            let end = region_end(text, host);
            self.urls = Region { end, budget: (end - start) * NESTED_BYTES, ..self.urls };
        }
        self.authority(host, each);
        if word_at(text, host) == 0 && text.get(host) != Some(&b'[') {
            return;
        }
        let length = self.urls.end - start;
        match self.urls.budget.checked_sub(length) {
            Some(left) => self.urls.budget = left,
            None => {
                self.urls.is_curtailed = true;
                return;
            }
        }
        let whole = trimmed(text, start..self.urls.end);
        if whole.end <= host {
            return;
        }
        // What stands around the URL may follow it without a blank: the next of a list, the end of a quotation.
        let shorter = trimmed(text, start..stop(text, host..self.urls.end));
        if shorter.end > host && shorter.end < whole.end {
            each(Token::new(TokenKind::Url, shorter));
        }
        each(Token::new(TokenKind::Url, whole));
    }

    /// The host behind user information: an `@` stands before it, so that it is not a token otherwise.
    fn authority(&mut self, host: usize, each: &mut impl FnMut(Token)) {
        let text = self.text;
        let authority = text[host..self.urls.end].iter().take_while(|byte| !matches!(byte, b'/' | b'?' | b'#')).count();
        let Some(user) = memchr::memrchr(b'@', &text[host..host + authority]) else { return };
        let start = host + user + 1;
        if word_at(text, start) == 0 {
            return;
        }
        let word = DottedWord::read(text, start);
        if let Some(kind) = word.kind(text, start) {
            each(of_host(text, kind, start..word.end));
        }
    }
}

/// The first character behind `://` at which a URL may be over. The brackets of an IPv6 address are part of it.
fn stop(text: &[u8], Range { start, end }: Range<usize>) -> usize {
    let from = match text.get(start) {
        Some(b'[') => memchr::memchr(b']', &text[start..end]).map_or(start, |close| start + close + 1),
        _ => start,
    };
    let is_stop = |byte: &u8| matches!(byte, b'\'' | b',' | b';' | b')' | b']');
    text[from..end].iter().position(is_stop).map_or(end, |stop| from + stop)
}

/// Where the scheme begins whose `://` is at `end`: a word of letters, digits, `-` and `.` that begins with a letter.
fn scheme_start(text: &[u8], end: usize) -> Option<usize> {
    let is_letter = |byte: u8| class(byte) & (DIGIT | HEX | LETTER | MARK | DOT) != 0 && byte != b'_';
    let length = text[..end].iter().rev().take(LONGEST_SCHEME + 1).take_while(|byte| is_letter(**byte)).count();
    let start = end - length;
    let is_scheme = length <= LONGEST_SCHEME && text[start..end].first().is_some_and(u8::is_ascii_alphabetic);
    (is_scheme && may_begin(text, start)).then_some(start)
}

/// Where a character stands that no URL has (RFC 3986, section 2), or one outside ASCII that is not a letter or digit.
fn region_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(&byte) = text.get(at) {
        at += match byte {
            0..=0x20 | 0x7f | b'"' | b'<' | b'>' | b'`' | b'\\' | b'^' | b'{' | b'}' | b'|' => break,
            _ if class(byte) == WIDE => match wide_at(text, at) {
                0 => break,
                length => length,
            },
            _ => 1,
        };
    }
    at
}

/// Without the punctuation at the end that belongs to the sentence around, and without brackets that are only closed.
fn trimmed(text: &[u8], url: Range<usize>) -> Range<usize> {
    let opens = |open| memchr::memchr(open, &text[url.clone()]).is_some();
    let (mut has_round, mut has_square) = (None, None);
    let is_around = |byte: &&u8| match byte {
        b'.' | b',' | b';' | b':' | b'!' | b'?' | b'\'' | b'*' => true,
        b')' => !*has_round.get_or_insert_with(|| opens(b'(')),
        b']' => !*has_square.get_or_insert_with(|| opens(b'[')),
        _ => false,
    };
    let around = text[url.clone()].iter().rev().take_while(is_around).count();
    url.start..url.end - around
}
