//! Files of JSON: one document, or one value a line, cut into raw pieces that know their line.
//!
//! Pieces stay text until somebody reads one, so that a malformed object costs only itself and no document becomes a tree.

use serde_json::value::RawValue;

use crate::encoding::json::reason_without_place;
use crate::feed::FeedError;
use crate::feed::collect::{Collector, line_number};
use crate::feed::reading::input::Input;

/// Arrays in arrays and bundles in bundles are followed this deep; real feeds need three.
pub(in crate::feed) const MAX_DEPTH: usize = 8;

/// A JSON value as it is written in the file.
#[derive(Clone, Copy)]
pub(in crate::feed) struct Piece<'a> {
    /// The line at which it begins.
    pub(in crate::feed) line: u32,
    pub(in crate::feed) json: &'a str,
}

impl<'a> Piece<'a> {
    /// The pieces of which this one consists: the elements of an array, the fields of an object, given in their order.
    pub(in crate::feed) fn parts(
        self,
        parts: impl IntoIterator<Item = &'a RawValue>,
    ) -> impl Iterator<Item = Piece<'a>> {
        let (mut at, mut line) = (0, self.line);
        parts.into_iter().map(move |part| {
            let json = part.get();
            let start = json.as_ptr().addr().wrapping_sub(self.json.as_ptr().addr());
            if let Some(between) = self.json.get(at..start) {
                line = line.saturating_add(line_number(memchr::memchr_iter(b'\n', between.as_bytes()).count() as u64));
                at = start;
            }
            Piece { line, json }
        })
    }

    pub(in crate::feed) fn part(self, part: &'a RawValue) -> Piece<'a> {
        self.parts([part]).next().unwrap_or(self)
    }

    /// The elements of an array; `None` when it is none.
    pub(in crate::feed) fn elements(self) -> Option<impl Iterator<Item = Piece<'a>>> {
        let parts = self.json.starts_with('[').then(|| serde_json::from_str::<Vec<&RawValue>>(self.json).ok())??;
        Some(self.parts(parts))
    }
}

/// Passes on every top-level value of a file: the one document that it is, or the value of each line.
///
/// # Errors
/// The file is neither, or cannot be read.
pub(in crate::feed) fn each(
    mut input: Input<'_>,
    collector: &mut Collector,
    mut with: impl FnMut(Piece<'_>, &mut Collector),
) -> Result<(), FeedError> {
    let mut one_line = |line: u32, text: &str, collector: &mut Collector| match serde_json::from_str::<&RawValue>(text)
    {
        Ok(json) => with(Piece { line, json: json.get() }, collector),
        Err(_) if text.trim().is_empty() => {}
        Err(error) => {
            let (column, reason) = (error.column(), reason_without_place(&error));
            collector.unusable(line, format!("not valid JSON at column {column}: {reason}"), text);
        }
    };
    if is_lines(&input) {
        let limit = input.limits().json_line_bytes;
        return input.lines(limit).each(collector, one_line);
    }
    let file = input.file();
    let text = input.document()?;
    if text.trim().is_empty() {
        return Ok(());
    }
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(json) => {
            let before = text.len() - text.trim_start().len();
            let newlines = text.bytes().take(before).filter(|&byte| byte == b'\n').count() as u64;
            with(Piece { line: line_number(newlines + 1), json: json.get() }, collector);
            Ok(())
        }
        Err(error) => {
            // Not one document: one value a line, if most lines are one. Of a document that was cut off they are not.
            let lines = || text.lines().filter(|line| !line.trim().is_empty());
            let good = lines().filter(|line| is_object(line)).count();
            if good * 2 <= lines().count() {
                return Err(FeedError::Json {
                    file: file.to_owned(),
                    line: error.line(),
                    column: error.column(),
                    reason: reason_without_place(&error),
                });
            }
            (1..).zip(text.lines()).for_each(|(number, line)| one_line(line_number(number), line, collector));
            Ok(())
        }
    }
}

/// Whether the first line is an object, and others follow.
fn is_lines(input: &Input<'_>) -> bool {
    let head = input.head();
    let mut lines = head.lines().filter(|line| !line.trim().is_empty());
    lines.next().is_some_and(is_object) && (lines.next().is_some() || !input.is_whole())
}

fn is_object(line: &str) -> bool {
    serde_json::from_str::<&RawValue>(line).is_ok_and(|value| value.get().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{FeedFormat, Limits};

    fn pieces(text: &str) -> Result<Vec<(u32, String)>, FeedError> {
        let mut found = Vec::new();
        let mut collector = Collector::new(FeedFormat::Json, false);
        let input = Input::open(text.as_bytes(), "f", Limits::default())?;
        each(input, &mut collector, |piece, _| match piece.elements() {
            Some(elements) => found.extend(elements.map(|piece| (piece.line, piece.json.to_owned()))),
            None => found.push((piece.line, piece.json.to_owned())),
        })?;
        found.extend(collector.finish().unusable.into_iter().map(|unusable| (unusable.line, "bad".to_owned())));
        Ok(found)
    }

    #[test]
    fn each_piece_knows_the_line_at_which_it_begins() {
        let found = pieces("\n[\n {\"a\":\n1},\n\n {\"b\":2}, 3]\n").unwrap();
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 6, 6]);
        assert_eq!(found[1].1, "{\"b\":2}");
    }

    #[test]
    fn one_value_a_line_is_read_also_with_broken_lines_between_or_first() {
        for text in ["{\"a\":1}\nbroken\n\n{\"b\":2}\n{\"c\":3}", "broken\n{\"a\":1}\n{\"b\":2}\n{\"c\":3}"] {
            let found = pieces(text).unwrap();
            assert_eq!(found.len(), 4, "{found:?}");
            assert_eq!(found.last().unwrap().1, "bad");
        }
    }

    #[test]
    fn a_document_that_was_cut_off_is_refused_as_a_whole() {
        for text in ["{\"a\":[{\"b\":1},", "[\n{\"a\":1},\n{\"b\":2}\n", "[\n{\"a\":1},\n{\"b\":"] {
            assert!(matches!(pieces(text), Err(FeedError::Json { .. })), "{text}");
        }
        assert!(pieces(" \n").unwrap().is_empty());
    }
}
