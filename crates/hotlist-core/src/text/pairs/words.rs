//! Words of `key=value` and `key="quoted value"`, as logfmt and many programs write them.
//!
//! A line is read so if it has at least three such words, and behind the first of them not more other words than pairs: a
//! sentence with a few assignments in it is text.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2};
use smallvec::SmallVec;

use super::{Escapes, Pair, PairFormat, is_key};

/// The fewest pairs of a line that is read as pairs.
const FEWEST: usize = 3;

/// So many pairs of a line are kept from the count that decides whether the line is read as pairs. A line with more of them
/// is read a second time.
const KEPT: usize = 32;

/// Hands over the pairs of a line, if it is read as pairs.
pub(super) fn pairs<'t>(text: &'t [u8], line: Range<usize>, each: &mut impl FnMut(Pair<'t>)) {
    if memchr_iter(b'=', &text[line.clone()]).take(FEWEST).count() < FEWEST {
        return;
    }
    let (mut kept, mut pairs) = (SmallVec::<[Pair<'t>; KEPT]>::new(), 0);
    let others = words(text, line.clone(), |pair| {
        pairs += 1;
        if kept.len() < KEPT {
            kept.push(pair);
        }
    });
    if pairs < FEWEST || pairs < others {
        return;
    }
    if pairs <= KEPT {
        // Not `into_iter`, which would copy the whole array.
        kept.drain(..).for_each(each);
    } else {
        words(text, line, each);
    }
}

/// Hands over each pair of a line, and returns how many other words follow the first one.
#[inline]
fn words<'t>(text: &'t [u8], line: Range<usize>, mut each: impl FnMut(Pair<'t>)) -> usize {
    let (mut others, mut has_pairs) = (0, false);
    let Some(mut at) = next_assignment(text, line.clone()) else { return 0 };
    while let Some(byte) = text[at..line.end].first() {
        if ends_word(*byte) {
            at += 1;
            continue;
        }
        let (pair, end) = word(text, at..line.end);
        at = end;
        if let Some(pair) = pair {
            has_pairs = true;
            each(pair);
            continue;
        }
        // Words that are not pairs are only counted, up to the next that may be one.
        let next = next_assignment(text, at..line.end).unwrap_or(line.end);
        if has_pairs {
            others += 1 + count_words(&text[at..next]);
        }
        at = next;
    }
    others
}

/// Where the next word with a `=` begins.
#[inline]
fn next_assignment(text: &[u8], rest: Range<usize>) -> Option<usize> {
    let equals = rest.start + memchr(b'=', &text[rest.clone()])?;
    Some(equals - text[rest.start..equals].iter().rev().take_while(|byte| !ends_word(**byte)).count())
}

/// Counts the words of a part of a text that begins where one may begin. Blocks are compared as a whole, which compiles to
/// vector instructions.
fn count_words(part: &[u8]) -> usize {
    let Some(first) = part.first() else { return 0 };
    let begins = |(before, byte): (&u8, &u8)| u8::from(ends_word(*before) & !ends_word(*byte));
    let pairs = |before: &[u8], block: &[u8]| before.iter().zip(block).map(begins).sum::<u8>();
    let blocks = part.chunks(BLOCK).zip(part[1..].chunks(BLOCK));
    usize::from(!ends_word(*first)) + blocks.map(|(before, block)| usize::from(pairs(before, block))).sum::<usize>()
}

/// Fewer than a byte can count.
const BLOCK: usize = 128;

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
    (byte == b' ') | (byte == b'\t') | (byte == b'\r')
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
