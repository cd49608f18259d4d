//! CSV records with the line where each begins, and without letting a stray quotation mark swallow the file.

use csv::{Reader, ReaderBuilder, StringRecord};

/// A quoted cell of more lines than this is a quotation mark that somebody forgot to close.
const MAX_LINES: u64 = 64;

/// The records of a text. Cells are as they stand in the file, untrimmed.
pub(super) struct Records<'a> {
    rest: &'a str,
    /// Line, from 1, at which `rest` begins.
    line: u64,
    delimiter: u8,
    reader: Reader<&'a [u8]>,
}

impl<'a> Records<'a> {
    /// Reads `text`, which begins at line `line` of its file.
    pub(super) fn new(text: &'a str, line: u64, delimiter: u8) -> Records<'a> {
        Records { rest: text, line, delimiter, reader: reader(text, delimiter, true) }
    }

    /// Reads the first line of `rest` without heeding quotation marks, and goes on behind it.
    fn unquoted(&mut self, rest: &'a str, line: u64) -> Option<(u64, StringRecord)> {
        let (first, behind) = rest.split_once('\n').unwrap_or((rest, ""));
        let mut record = StringRecord::new();
        reader(first, self.delimiter, false).read_record(&mut record).ok()?;
        *self = Records::new(behind, line + 1, self.delimiter);
        Some((line, record))
    }
}

impl Iterator for Records<'_> {
    type Item = (u64, StringRecord);

    fn next(&mut self) -> Option<(u64, StringRecord)> {
        let mut record = StringRecord::new();
        // Cells come from a `str` and rows may be of any length, so that the reader has nothing to complain about.
        if !self.reader.read_record(&mut record).ok()? {
            return None;
        }
        // The reader counts the end of the line before, and blank lines, to the record.
        let start = record.position()?;
        let rest = self.rest.get(usize::try_from(start.byte()).ok()?..)?;
        let blank = rest.len() - rest.trim_start_matches(['\r', '\n']).len();
        let line = self.line + start.line() - 1 + newlines(rest.get(..blank)?);
        let end = usize::try_from(self.reader.position().byte()).ok()?;
        let text = self.rest.get(self.rest.len() - rest.len() + blank..end)?;
        let breaks = newlines(text.trim_end_matches(['\r', '\n']));
        if breaks > 0 && (breaks >= MAX_LINES || text.matches('"').count() % 2 == 1) {
            return self.unquoted(rest.get(blank..)?, line);
        }
        Some((line, record))
    }
}

fn newlines(text: &str) -> u64 {
    memchr::memchr_iter(b'\n', text.as_bytes()).count() as u64
}

fn reader(text: &str, delimiter: u8, quoting: bool) -> Reader<&[u8]> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .quoting(quoting)
        .from_reader(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<(u64, Vec<String>)> {
        Records::new(text, 1, b',').map(|(line, record)| (line, record.iter().map(str::to_owned).collect())).collect()
    }

    #[test]
    fn quoted_cells_may_have_lines_and_the_next_record_knows_its_line() {
        let records = cells("a,\"b\r\nc\"\r\n\r\nd,e\r\n");
        assert_eq!(records[0], (1, vec!["a".into(), "b\r\nc".into()]));
        assert_eq!(records[1], (4, vec!["d".into(), "e".into()]));
    }

    #[test]
    fn an_open_quotation_mark_costs_its_own_line_only() {
        let records = cells("a,b\n\"c,d\ne,f\ng,h\n");
        let lines: Vec<_> = records.iter().map(|(line, cells)| (*line, cells.len())).collect();
        assert_eq!(lines, [(1, 2), (2, 2), (3, 2), (4, 2)]);
    }

    #[test]
    fn a_mark_that_closes_far_below_does_not_swallow_what_lies_between() {
        let text = format!("\"a,b\n{}x,\"y\nlast,one\n", "c,d\n".repeat(100));
        let records = cells(&text);
        assert_eq!(records.len(), 103);
        assert_eq!(records[102], (103, vec!["last".into(), "one".into()]));
    }
}
