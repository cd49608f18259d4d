//! Words of `key=value` and `key="quoted value"`, as logfmt and many programs write them.
//!
//! A line is read so if it has at least three such words, and behind the first of them not more other words than pairs: a
//! sentence with a few assignments in it is text.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2};

use super::{Escapes, Pair, PairFormat, is_blank, is_key};

/// The fewest pairs of a line that is read as pairs.
const FEWEST: usize = 3;

/// Whether a line is read as pairs.
pub(super) fn are_pairs(text: &[u8], line: Range<usize>) -> bool {
    if memchr_iter(b'=', &text[line.clone()]).take(FEWEST).count() < FEWEST {
        return false;
    }
    let (mut pairs, mut others) = (0, 0);
    words(text, line, |word| match word {
        Some(_) => pairs += 1,
        None if pairs > 0 => others += 1,
        None => {}
    });
    pairs >= FEWEST && pairs >= others
}

/// Hands over the pairs of a line.
pub(super) fn pairs<'t>(text: &'t [u8], line: Range<usize>, each: &mut impl FnMut(Pair<'t>)) {
    words(text, line, |word| {
        if let Some(pair) = word {
            each(pair);
        }
    });
}

/// Hands over each word of a line from the first with a `=` on: a pair, or nothing for any other word.
#[inline]
fn words<'t>(text: &'t [u8], line: Range<usize>, mut each: impl FnMut(Option<Pair<'t>>)) {
    let first = memchr(b'=', &text[line.clone()]).map_or(line.end, |found| line.start + found);
    let before = text[line.start..first].iter().rev().take_while(|byte| !ends_word(**byte)).count();
    let mut at = first - before;
    while let Some(byte) = text[at..line.end].first() {
        if ends_word(*byte) {
            at += 1;
            continue;
        }
        let (word, end) = word(text, at..line.end);
        each(word);
        at = end;
    }
}

/// The word at the start of a part of a text, and where it ends.
#[inline]
fn word(text: &[u8], rest: Range<usize>) -> (Option<Pair<'_>>, usize) {
    let start = rest.start;
    let length = text[rest.clone()].iter().take_while(|byte| is_key(**byte) || **byte == b'@').count();
    let (key, equals) = (&text[start..start + length], start + length);
    let is_name = key.first().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'_' | b'@'));
    if !is_name || text[equals..rest.end].first() != Some(&b'=') {
        return (None, word_end(text, equals..rest.end));
    }
    let pair = |at, escapes| Some(Pair { format: PairFormat::KeyValue, key, at, escapes });
    let from = equals + 1;
    if text[from..rest.end].first() != Some(&b'"') {
        let end = word_end(text, from..rest.end);
        // The comma of a list of pairs is not part of its values.
        let commas = text[from..end].iter().rev().take_while(|byte| matches!(byte, b',' | b';')).count();
        return (pair(from..end - commas, Escapes::None), end);
    }
    match closing(text, from + 1..rest.end) {
        // The line was cut short.
        None => (pair(from + 1..rest.end, Escapes::Quoted), rest.end),
        Some(close) => {
            let end = word_end(text, close + 1..rest.end);
            let is_end = text[close + 1..end].iter().all(|byte| matches!(byte, b',' | b';'));
            (if is_end { pair(from + 1..close, Escapes::Quoted) } else { None }, end)
        }
    }
}

/// Where the next blank stands, or the end.
#[inline]
fn word_end(text: &[u8], rest: Range<usize>) -> usize {
    // Words are short: a search that compares blocks would take longer to begin.
    text[rest.clone()].iter().position(|byte| ends_word(*byte)).map_or(rest.end, |found| rest.start + found)
}

#[inline]
fn ends_word(byte: u8) -> bool {
    is_blank(byte) || byte == b'\r'
}

/// The quotation mark that ends a value.
fn closing(text: &[u8], rest: Range<usize>) -> Option<usize> {
    let mut at = rest.start;
    loop {
        let within = text.get(at..rest.end)?;
        let found = memchr2(b'"', b'\\', within)?;
        if within[found] == b'"' {
            return Some(at + found);
        }
        at += found + 2;
    }
}
