//! The extension of CEF: `key=value` pairs whose values may hold blanks.
//!
//! A key is what stands between a blank and a `=`; so a value ends before the next blank that a key and a `=` follow. Any
//! other `=` is part of the value, escaped or not.

use std::ops::Range;

use memchr::memchr_iter;

use super::{Escapes, Pair, PairFormat, is_blank, is_key, trimmed};

/// Hands over the pairs of a part of a text.
pub(super) fn pairs<'t>(text: &'t [u8], at: Range<usize>, format: PairFormat, each: &mut impl FnMut(Pair<'t>)) {
    let part = text.get(at.clone()).unwrap_or_default();
    let escapes = if format == PairFormat::Cef { Escapes::Cef } else { Escapes::None };
    let pair = |(key, value): (Range<usize>, usize), end| Pair {
        format,
        key: &text[key],
        at: trimmed(text, value..end),
        escapes,
    };
    let mut last: Option<(Range<usize>, usize)> = None;
    for equals in memchr_iter(b'=', part).map(|found| at.start + found) {
        let key = text[at.start..equals].iter().rev().take_while(|byte| is_key(**byte)).count();
        let start = equals - key;
        if key == 0 || start > at.start && !is_blank(text[start - 1]) {
            continue;
        }
        if let Some(last) = last.replace((start..equals, equals + 1)) {
            each(pair(last, start));
        }
    }
    if let Some(last) = last {
        each(pair(last, at.end));
    }
}
