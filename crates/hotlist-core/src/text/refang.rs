//! Defanged forms in text (`hxxp://evil[.]example`): a copy of the text in which they are written plainly, and where each part
//! of it stands in the text.
//!
//! Only forms that have no other meaning in a text are read; [`crate::observable::refang`] reads more of them in indicators.

use std::ops::Range;

use memchr::memchr3_iter;

use super::class::{word_at, word_before};

/// A copy of a text without defanged forms.
#[derive(Clone, Debug, Default)]
pub struct Refanged {
    text: Vec<u8>,
    changes: Vec<Change>,
}

/// Text that is not defanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    /// Where it begins in the copy, and in the text.
    starts: (u32, u32),
    /// The lengths of both.
    lengths: (u8, u8),
}

impl Change {
    /// In the copy.
    fn at(self) -> Range<usize> {
        let start = self.starts.0 as usize;
        start..start + usize::from(self.lengths.0)
    }

    fn from(self) -> Range<usize> {
        let start = self.starts.1 as usize;
        start..start + usize::from(self.lengths.1)
    }
}

/// The longest part of a text that is read at once: so many bytes of copy, and three times as many for its changes, are kept.
const LONGEST_PART: usize = 64 << 10;

/// The parts of a text that [`Refanged::read`] reads one after the other. They are cut at blanks, so that no token is cut
/// that is shorter than a part.
pub fn refang_parts(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..).filter(|rest| !rest.is_empty())?;
        let length = match rest.get(..LONGEST_PART) {
            Some(part) => part.iter().rposition(u8::is_ascii_whitespace).map_or(LONGEST_PART, |blank| blank + 1),
            None => rest.len(),
        };
        let part = from..from + length;
        from = part.end;
        Some(part)
    })
}

/// Marks, and what they stand for. Words may be in upper case.
const MARKS: [(&[u8], &[u8]); 9] = [
    (b"[.]", b"."),
    (b"(.)", b"."),
    (b"[dot]", b"."),
    (b"(dot)", b"."),
    (b"[at]", b"@"),
    (b"(at)", b"@"),
    (b"[@]", b"@"),
    (b"[:]", b":"),
    (b"[://]", b"://"),
];

/// Schemes, and what stands for as many of their letters behind the first.
const SCHEMES: [(&[u8], &[u8]); 3] = [(b"hxxp", b"tt"), (b"hxxps", b"tt"), (b"fxp", b"t")];

impl Refanged {
    /// Reads a text of one of [`refang_parts`]. Returns whether it has defanged forms.
    pub fn read(&mut self, text: &[u8]) -> bool {
        self.text.clear();
        self.changes.clear();
        let mut copied = 0;
        for at in memchr3_iter(b'[', b'(', b':', text) {
            if at < copied {
                continue;
            }
            let mark = mark(text, at);
            let is_separator = text[at] == b':' || mark.is_some_and(|(_, means)| means.starts_with(b":"));
            if is_separator && let Some((start, means)) = scheme(text, at).filter(|(start, _)| *start >= copied) {
                self.change(text, &mut copied, start..start + means.len(), means);
            }
            if let Some((length, means)) = mark {
                self.change(text, &mut copied, at..at + length, means);
            }
        }
        if self.changes.is_empty() {
            return false;
        }
        self.text.extend_from_slice(&text[copied..]);
        true
    }

    fn change(&mut self, text: &[u8], copied: &mut usize, from: Range<usize>, means: &[u8]) {
        self.text.extend_from_slice(&text[*copied..from.start]);
        let start = self.text.len();
        self.text.extend_from_slice(means);
        *copied = from.end;
        self.changes
            .push(Change { starts: (start as u32, from.start as u32), lengths: (means.len() as u8, from.len() as u8) });
    }

    /// The copy.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where a part of the copy stands in the text, if it was defanged there.
    pub fn origin(&self, part: &Range<usize>) -> Option<Range<usize>> {
        let before = self.changes.partition_point(|change| change.at().start < part.end);
        let last = self.changes[..before].last().filter(|change| part.start < change.at().end)?;
        let (last_at, last_from) = (last.at(), last.from());
        let end = if part.end <= last_at.end { last_from.end } else { last_from.end + (part.end - last_at.end) };
        let first = self.changes.partition_point(|change| change.at().end <= part.start);
        let start = match first.checked_sub(1).and_then(|before| self.changes.get(before)) {
            Some(change) => change.from().end + (part.start - change.at().end),
            None => part.start,
        };
        // A part that begins inside a change begins with all of it.
        let inside = self.changes.get(first).filter(|change| change.at().start < part.start);
        Some(inside.map_or(start, |change| change.from().start)..end)
    }
}

/// The mark at a place, and what it stands for. A dot or an `@` is one between two words only, a colon behind one.
fn mark(text: &[u8], at: usize) -> Option<(usize, &'static [u8])> {
    let rest = &text[at..];
    let is_mark = |mark: &[u8]| rest.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    let (mark, means) = MARKS.iter().find(|(mark, _)| is_mark(mark))?;
    let is_between = word_before(text, at) > 0 && (means.starts_with(b":") || word_at(text, at + mark.len()) > 0);
    is_between.then_some((mark.len(), *means))
}

/// The letters of a defanged scheme before a place: where they are, and what they stand for.
fn scheme(text: &[u8], end: usize) -> Option<(usize, &'static [u8])> {
    SCHEMES.iter().find_map(|(scheme, means)| {
        let start = end.checked_sub(scheme.len())?;
        let is_scheme = text[start..end].eq_ignore_ascii_case(scheme) && word_before(text, start) == 0;
        is_scheme.then_some((start + 1, *means))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refanged(text: &str) -> Option<String> {
        let mut refanged = Refanged::default();
        refanged.read(text.as_bytes()).then(|| String::from_utf8(refanged.text).unwrap())
    }

    #[test]
    fn defanged_forms_are_read_and_others_are_not() {
        for (text, expected) in [
            ("see hxxp://evil[.]example/x (now)", Some("see http://evil.example/x (now)")),
            ("HXXPS[:]//evil(dot)example[:]443", Some("HttPS://evil.example:443")),
            ("hxxp[://]evil[DOT]example", Some("http://evil.example")),
            ("fxp://a[.]b", Some("ftp://a.b")),
            ("mallory[at]evil[.]example 203[.]0(.)113[.]7", Some("mallory@evil.example 203.0.113.7")),
            ("array[.] [.]x f(at) 12:34:56 xhxxp: hxx:", None),
            ("http://evil.example", None),
        ] {
            assert_eq!(refanged(text).as_deref(), expected, "{text}");
        }
    }

    /// Guarantee: the parts are the whole text, in order, none is longer than allowed, and no token is cut that is shorter.
    #[test]
    fn parts_are_cut_at_blanks() {
        for (piece, is_cut_at_blanks) in [("mallory[at]evil[.]example\t", true), ("evil[.]example,", false)] {
            let text = piece.repeat(20_000);
            let (mut end, mut parts) = (0, 0);
            for part in refang_parts(text.as_bytes()) {
                assert!(part.start == end && part.len() <= LONGEST_PART && !part.is_empty());
                (end, parts) = (part.end, parts + 1);
                assert_eq!(text[part].ends_with('\t'), is_cut_at_blanks);
            }
            assert!(end == text.len() && parts > 2);
        }
    }

    const PIECES: [&str; 16] =
        ["a", "1", ".", "[.]", "(dot)", "[AT]", "@", "[:]", "[://]", ":", "//", "hxxp", "fxp", " ", "é", "("];

    proptest! {
        /// Every part of the copy stands in the text where it says: what was not changed is the same there, and what was is a
        /// form that means it.
        #[test]
        fn parts_of_the_copy_have_their_places(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..16), from in any::<prop::sample::Index>(), length in any::<prop::sample::Index>()) {
            let text = pieces.concat();
            let mut copy = Refanged::default();
            if !copy.read(text.as_bytes()) {
                return Ok(());
            }
            // The slow way: for each byte of the copy the bytes of the text that it is from.
            let mut places: Vec<(Range<usize>, bool)> = Vec::new();
            let mut at = 0;
            for change in &copy.changes {
                places.extend((at..change.from().start).map(|at| (at..at + 1, false)));
                places.extend(change.at().map(|_| (change.from(), true)));
                at = change.from().end;
            }
            places.extend((at..text.len()).map(|at| (at..at + 1, false)));
            prop_assert_eq!(places.len(), copy.text().len());
            for ((place, is_changed), byte) in places.iter().zip(copy.text()) {
                let origin = &text.as_bytes()[place.clone()];
                let means = |(mark, means): &(&[u8], &[u8])| origin.eq_ignore_ascii_case(mark) && means.contains(byte);
                let is_scheme = origin.eq_ignore_ascii_case(b"xx") || origin == b"x";
                let fits = if *is_changed { is_scheme || MARKS.iter().any(means) } else { origin == [*byte] };
                prop_assert!(fits, "{:?} of {text}", place);
            }
            let start = from.index(places.len());
            let end = start + 1 + length.index(places.len() - start);
            let part = &places[start..end];
            let expected = part.iter().any(|(_, is_changed)| *is_changed).then(|| part[0].0.start..part[part.len() - 1].0.end);
            prop_assert_eq!(copy.origin(&(start..end)), expected);
        }
    }
}
