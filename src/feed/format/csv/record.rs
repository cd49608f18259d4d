//! CSV records with the line where each begins, read line by line, and without letting a stray quotation mark swallow
//! the file.

use std::borrow::Cow;
use std::collections::VecDeque;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::feed::FeedError;
use crate::feed::reading::lines::{Line, Lines};
use crate::feed::row::Cells;

/// A quoted cell of more lines than this is a quotation mark that somebody forgot to close.
const MAX_LINES: usize = 64;

/// The most comments that are kept to look for the header among them.
const MAX_COMMENTS: usize = 200;

/// The content of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Cells as they are in the file, untrimmed.
    Cells(Cells),
    /// The beginning of a line that is too long.
    TooLong(String),
}

/// A line that was read ahead, or what is left of one.
enum Ahead {
    Text(Text),
    TooLong(String),
}

/// The rest of a line in which a lone carriage return ended a record.
struct Text {
    line: String,
    from: usize,
    /// Whether quotation marks mean something. They do not behind one that nobody closes: each would be tried in vain
    /// up to the end of the line, which in a long line takes forever.
    quoting: bool,
}

impl Text {
    fn new(line: String) -> Text {
        Text { line, from: 0, quoting: true }
    }

    fn rest(&self) -> &str {
        self.line.get(self.from..).unwrap_or_default()
    }

    /// The rest after the next `read` bytes and the carriage returns there, if any.
    fn behind(self, read: usize) -> Option<Text> {
        let rest = self.rest().get(read..)?.trim_start_matches('\r');
        let from = self.line.len() - rest.len();
        (!rest.is_empty()).then_some(Text { from, ..self })
    }
}

/// The records of a file, behind its leading comments.
pub(super) struct Records<'r> {
    lines: Lines<'r>,
    ahead: VecDeque<(u64, Ahead)>,
    /// Whether all lines so far were comments or blank.
    leading: bool,
    comments: Vec<(u64, String)>,
    quoted: Parser,
    unquoted: Parser,
    delimiter: u8,
    spare: Cells,
}

impl<'r> Records<'r> {
    pub(super) fn new(lines: Lines<'r>, delimiter: u8) -> Records<'r> {
        Records {
            lines,
            ahead: VecDeque::new(),
            leading: true,
            comments: Vec::new(),
            quoted: Parser::new(delimiter, true),
            unquoted: Parser::new(delimiter, false),
            delimiter,
            spare: Cells::default(),
        }
    }

    /// The comments before the first record, without their `#`.
    pub(super) fn comments(&self) -> &[(u64, String)] {
        &self.comments
    }

    /// Takes cells back, so that the next record needs no memory of its own.
    pub(super) fn reuse(&mut self, cells: Cells) {
        self.spare = cells;
    }

    /// The next record with the line where it begins; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Record)>, FeedError> {
        loop {
            let Some((number, line)) = self.line()? else { return Ok(None) };
            let text = match line {
                Ahead::TooLong(beginning) => {
                    self.leading = false;
                    return Ok(Some((number, Record::TooLong(beginning))));
                }
                Ahead::Text(text) => text,
            };
            let rest = text.rest();
            let first = memchr::memchr(b'\r', rest.as_bytes()).unwrap_or(rest.len());
            if rest.get(..first).is_some_and(|first| first.trim().is_empty()) {
                self.put_back(number, text.behind(first));
                continue;
            }
            if self.leading {
                if let Some(comment) = rest.trim_start_matches('\u{feff}').trim().strip_prefix('#') {
                    if self.comments.len() < MAX_COMMENTS {
                        let comment = comment.trim_matches(|c: char| c.is_whitespace() || c == '#');
                        self.comments.push((number, comment.to_owned()));
                    }
                    continue;
                }
                self.leading = false;
            }
            return self.record(number, text).map(Some);
        }
    }

    fn line(&mut self) -> Result<Option<(u64, Ahead)>, FeedError> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        Ok(self.lines.next()?.map(|(number, line)| match line {
            Line::Text(text) => (number, Ahead::Text(Text::new(unblanked(text, self.delimiter).into_owned()))),
            Line::TooLong(beginning) => (number, Ahead::TooLong(beginning.into_owned())),
        }))
    }

    fn put_back(&mut self, number: u64, text: Option<Text>) {
        if let Some(text) = text {
            self.ahead.push_front((number, Ahead::Text(text)));
        }
    }

    /// The record that begins with a line. A quoted cell may continue on the next lines.
    fn record(&mut self, number: u64, text: Text) -> Result<(u64, Record), FeedError> {
        let mut cells = std::mem::take(&mut self.spare);
        cells.clear();
        let rest = text.rest();
        let special = memchr::memchr2(b'"', b'\r', rest.as_bytes()).unwrap_or(rest.len());
        let (plain, behind) = rest.split_at_checked(special).unwrap_or((rest, ""));
        if behind.bytes().all(|byte| byte == b'\r') {
            plain.split(char::from(self.delimiter)).for_each(|cell| cells.push(cell));
            return Ok((number, Record::Cells(cells)));
        }
        let mut taken = vec![text];
        let (mut bytes, mut marks) = (0, 0);
        self.quoted.start();
        while let Some(last) = taken.last().filter(|text| text.quoting).map(Text::rest) {
            bytes += last.len();
            if let Some(read) = self.quoted.feed(last) {
                marks += last.get(..read).unwrap_or(last).matches('"').count();
                if taken.len() > 1 && marks % 2 == 1 {
                    break;
                }
                let at = number + taken.len() as u64 - 1;
                self.put_back(at, taken.pop().and_then(|text| text.behind(read)));
                self.quoted.cells(&mut cells);
                return Ok((number, Record::Cells(cells)));
            }
            marks += last.matches('"').count();
            if taken.len() == MAX_LINES || bytes > self.lines.limit() {
                break;
            }
            match self.line()? {
                Some((_, Ahead::Text(text))) => taken.push(text),
                Some(line) => {
                    self.ahead.push_front(line);
                    break;
                }
                None => break,
            }
        }
        // Nobody closes that quotation mark: it is one character of its line, and the next lines are records again.
        for (at, text) in (1..).zip(taken.drain(1..)).collect::<Vec<(u64, Text)>>().into_iter().rev() {
            self.put_back(number + at, Some(text));
        }
        if let Some(text) = taken.pop() {
            self.unquoted.start();
            let read = self.unquoted.feed(text.rest()).unwrap_or(usize::MAX);
            self.unquoted.cells(&mut cells);
            self.put_back(number, Text { quoting: false, ..text }.behind(read));
        }
        Ok((number, Record::Cells(cells)))
    }
}

/// A line without the blanks and tabs between a delimiter and the quotation mark that opens a cell: to many programs the
/// mark opens the cell despite them.
fn unblanked(line: Cow<'_, str>, delimiter: u8) -> Cow<'_, str> {
    let bytes = line.as_bytes();
    let is_blank = |byte: u8| byte != delimiter && matches!(byte, b' ' | b'\t');
    let opens = |at: usize| {
        let before = bytes.get(..at).unwrap_or_default();
        let blanks = before.iter().rev().take_while(|byte| is_blank(**byte)).count();
        let is_first = blanks == before.len() || before.get(before.len() - blanks - 1) == Some(&delimiter);
        (blanks > 0 && is_first).then_some(blanks)
    };
    let mut cuts = memchr::memchr_iter(b'"', bytes).filter_map(|at| Some((at, opens(at)?))).peekable();
    if cuts.peek().is_none() {
        drop(cuts);
        return line;
    }
    let (mut out, mut from) = (String::with_capacity(line.len()), 0);
    for (at, blanks) in cuts {
        out.push_str(line.get(from..at - blanks).unwrap_or_default());
        from = at;
    }
    out.push_str(line.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

pub(super) fn parse(line: &str, delimiter: u8) -> Option<Cells> {
    let mut parser = Parser::new(delimiter, true);
    let mut cells = Cells::default();
    parser.feed(&unblanked(Cow::Borrowed(line), delimiter))?;
    parser.cells(&mut cells);
    Some(cells)
}

/// Reads one record out of one line or several.
struct Parser {
    reader: Reader,
    /// The text of all cells, and where each ends.
    output: Vec<u8>,
    ends: Vec<usize>,
    filled: usize,
    ended: usize,
}

impl Parser {
    fn new(delimiter: u8, quoting: bool) -> Parser {
        let reader = ReaderBuilder::new().delimiter(delimiter).quoting(quoting).build();
        Parser { reader, output: vec![0; 1024], ends: vec![0; 64], filled: 0, ended: 0 }
    }

    fn start(&mut self) {
        self.reader.reset();
        (self.filled, self.ended) = (0, 0);
    }

    /// Reads a line. Says how many bytes of it belong to the record; `None` when it does not end in this line.
    fn feed(&mut self, line: &str) -> Option<usize> {
        let mut used = 0;
        loop {
            // The line break is not part of the line.
            let input = if used < line.len() { &line.as_bytes()[used..] } else { b"\n" };
            let (output, ends) = (self.output.get_mut(self.filled..)?, self.ends.get_mut(self.ended..)?);
            let (result, read, wrote, wrote_ends) = self.reader.read_record(input, output, ends);
            self.filled += wrote;
            self.ended += wrote_ends;
            let at_break = used >= line.len() && read > 0;
            used += read;
            match result {
                ReadRecordResult::Record => return Some(used.min(line.len())),
                ReadRecordResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if at_break => return None,
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::End => return None,
            }
        }
    }

    fn cells(&self, cells: &mut Cells) {
        cells.clear();
        let mut start = 0;
        for &end in self.ends.get(..self.ended).unwrap_or_default() {
            // Cells are cut at ASCII characters, so that they are text as the lines were.
            let cell = self.output.get(start..end).unwrap_or_default();
            cells.push(std::str::from_utf8(cell).unwrap_or_default());
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<(u64, Vec<String>)> {
        let mut records = Records::new(Lines::new(Box::new(text.as_bytes()), "f", 1000), b',');
        let mut all = Vec::new();
        while let Some((line, record)) = records.next().unwrap() {
            let Record::Cells(cells) = record else { panic!() };
            all.push((line, cells.iter().map(str::to_owned).collect()));
        }
        all
    }

    #[test]
    fn quoted_cells_may_have_lines_and_the_next_record_knows_its_line() {
        let records = cells("a,\"b\r\nc\"\r\n\r\nd,e\r\n");
        assert_eq!(records[0], (1, vec!["a".into(), "b\nc".into()]));
        assert_eq!(records[1], (4, vec!["d".into(), "e".into()]));
    }

    #[test]
    fn marks_inside_quotes_are_doubled_and_an_empty_cell_is_one() {
        assert_eq!(cells("\"a \"\"b\"\"\",,\"\"\n")[0].1, ["a \"b\"", "", ""]);
        assert_eq!(cells("a,b,\n")[0].1, ["a", "b", ""]);
    }

    #[test]
    fn blanks_before_a_quotation_mark_do_not_hide_it() {
        assert_eq!(cells("a, \"b,c\" ,\t\"d\"\n")[0].1, ["a", "b,c ", "d"]);
        assert_eq!(cells("  \"a,b\",c\n")[0].1, ["a,b", "c"]);
        assert_eq!(cells("a, b \"c\" d\n")[0].1, ["a", " b \"c\" d"]);
    }

    #[test]
    fn a_lone_carriage_return_ends_a_line_too() {
        let records = cells("a,b\rc,d\r\ne,f\n");
        assert_eq!(records.iter().map(|(_, cells)| cells.len()).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(records[2], (3, vec!["e".into(), "f".into()]));
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

    /// Scenario: a quotation mark that nobody closes, in a line that a lone carriage return ends in its middle.
    /// Guarantee: it costs neither what is behind it in that line nor the next line.
    #[test]
    fn an_open_quotation_mark_costs_nothing_behind_a_carriage_return() {
        let records = cells("\"a,b\rc,d\re,f\ng,\"h\"\n");
        let expected = [(1, ["\"a", "b"]), (2, ["c", "d"]), (3, ["e", "f"]), (4, ["g", "h"])];
        assert_eq!(records, expected.map(|(line, cells)| (line, cells.map(str::to_owned).to_vec())));
    }

    /// Scenario: lines of megabytes in which carriage returns end hundreds of thousands of records, plain, blank, or
    /// each with a mark that opens a cell which the next one's mark does not close.
    /// Guarantee: every record is found. The time grows with the length of a line: with its square, this test would
    /// take minutes and run into the limit of the test run.
    #[test]
    fn a_long_line_of_many_records_is_read_in_a_moment() {
        for (piece, expected) in [("a,b\r", 300_001), (" \r", 1), ("a\"b,\"\r", 3_001)] {
            // Each mark that nobody closes is looked for in the lines behind it.
            let times = if piece.contains('"') { 3_000 } else { 300_000 };
            let text = format!("{}last", piece.repeat(times));
            let mut records = Records::new(Lines::new(Box::new(text.as_bytes()), "f", 1 << 22), b',');
            let mut found = 0;
            while records.next().unwrap().is_some() {
                found += 1;
            }
            assert_eq!(found, expected, "{piece:?}");
        }
    }
}
