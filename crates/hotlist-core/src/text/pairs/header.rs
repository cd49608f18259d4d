//! The headers of CEF (`CEF:0|vendor|product|version|class|name|severity|`) and LEEF (`LEEF:2.0|vendor|product|version|id|`).

use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr, memchr2, memmem};

use super::PairFormat;
use crate::text::class::word_before;

/// The common end of `CEF:` and `LEEF:`.
static MARK: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"EF:"));

/// The fields behind the version of the format.
const CEF_FIELDS: usize = 6;
const LEEF_FIELDS: usize = 4;
/// The place of the version of the product among them.
const VERSION: usize = 2;

pub(super) struct Header {
    pub(super) format: PairFormat,
    /// Whether it is of the second version of LEEF, which may name a delimiter.
    pub(super) is_second: bool,
    /// The version of the product.
    pub(super) version: Range<usize>,
    /// The offset of the text after it.
    pub(super) end: usize,
}

/// The first header in a line.
pub(super) fn find(text: &[u8], line: Range<usize>) -> Option<Header> {
    let within = text.get(line.clone())?;
    // Most lines with a `=` have no `|`, which is found sooner.
    memchr(b'|', within)?;
    MARK.find_iter(within).find_map(|at| at_mark(text, line.start + at, &line))
}

/// The header whose name ends with the mark at a place. Headers contain separators, and a header is searched for a few of
/// them only, so that it does not matter how many begin one inside the other.
fn at_mark(text: &[u8], mark: usize, line: &Range<usize>) -> Option<Header> {
    let before = &text[line.start..mark];
    let (format, name) = match before {
        [.., b'L', b'E'] => (PairFormat::Leef, 2),
        [.., b'C'] => (PairFormat::Cef, 1),
        _ => return None,
    };
    if word_before(before, before.len() - name) > 0 {
        return None;
    }
    let from = mark + 3;
    let digits = text[from..line.end].iter().take(MOST_DIGITS).take_while(|byte| is_version(format, **byte)).count();
    let number = &text[from..from + digits];
    let is_known = match format {
        PairFormat::Leef => matches!(number, [b'1' | b'2'] | [b'1' | b'2', b'.', ..]),
        _ => !number.is_empty(),
    };
    if !is_known || text[from + digits..line.end].first() != Some(&b'|') {
        return None;
    }
    let is_second = number.first() == Some(&b'2');
    let (mut at, mut version) = (from + digits + 1, 0..0);
    let fields = if format == PairFormat::Leef { LEEF_FIELDS } else { CEF_FIELDS };
    for field in 0..fields {
        let end = separator(text, at..line.end, format)?;
        if field == VERSION {
            version = at..end;
        }
        at = end + 1;
    }
    Some(Header { format, is_second, version, end: at })
}

/// The most characters of the version of a format.
const MOST_DIGITS: usize = 4;

fn is_version(format: PairFormat, byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.' && format == PairFormat::Leef
}

/// The next separator; of CEF one that is not escaped.
fn separator(text: &[u8], within: Range<usize>, format: PairFormat) -> Option<usize> {
    let mut at = within.start;
    loop {
        let rest = text.get(at..within.end)?;
        if format == PairFormat::Leef {
            return memchr(b'|', rest).map(|found| at + found);
        }
        let found = memchr2(b'|', b'\\', rest)?;
        if rest[found] == b'|' {
            return Some(at + found);
        }
        at += found + 2;
    }
}
