//! From text to events, in blocks that can be matched in parallel.
//!
//! The forms, which may follow each other in one file: one JSON document per line; documents that are pretty-printed or
//! follow each other without a line end; arrays of documents; pages, which are objects around such an array
//! ([`structure::page`](super::structure::page)); records of RFC 7464 (`journalctl -o json-seq`); rows of Zeek's logs
//! ([`zeek`](super::zeek)); and any other line, which is an event that is not a document. Where blocks end has no influence on the events and their lines.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};

use super::MAX_EVENT;
use super::structure::{PAGE_HEAD, Page, Scan, Scanned, page};
use super::zeek::{Columns, Header, HeaderLine};

/// How many bytes of text a block has, if its last event is not longer.
pub const BLOCK: usize = 256 << 10;

/// How much is read at once, in bytes.
const READ: usize = 64 << 10;

/// Some events of a text.
#[derive(Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
    events: Vec<Place>,
    /// The headers whose rows are in the block.
    tables: Vec<Arc<Columns>>,
}

#[derive(Clone, Debug)]
struct Place {
    range: Range<usize>,
    line: u64,
    /// The place of the row's header in the block's.
    table: Option<usize>,
    fault: Option<Fault>,
}

/// One event of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'b> {
    /// The line in which the event begins, from 1.
    pub line: u64,
    /// The event, without white space around it.
    pub bytes: &'b [u8],
    /// The columns, if the event is a row of a table.
    pub columns: Option<&'b Columns>,
    /// The reason that the event is not whole, where the text shows it.
    pub fault: Option<Fault>,
}

/// The reason that an event is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The event is longer than [`MAX_EVENT`], and was cut there.
    TooLong,
    /// The array or page that begins at the event's line is not closed at the end of the text. The event is empty.
    OpenArray,
}

impl Block {
    /// The events, in the order of the text.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.events.iter().map(|Place { range, line, table, fault }| Event {
            line: *line,
            bytes: self.bytes.get(range.clone()).unwrap_or_default(),
            columns: table.and_then(|table| self.tables.get(table)).map(Arc::as_ref),
            fault: *fault,
        })
    }

    /// The number of bytes of text.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Splits a text.
pub struct Splitter<R> {
    input: R,
    /// Whether a block is made of each portion that arrives, because someone waits for it.
    is_live: bool,
    bytes: Vec<u8>,
    events: Vec<Place>,
    header: Header,
    /// The headers that rows of the next block have; the last one applies.
    tables: Vec<Arc<Columns>>,
    is_table_used: bool,
    /// The offset up to which the input is split.
    at: usize,
    /// The line of `at`.
    line: u64,
    has_ended: bool,
    /// The reason that the input ended early.
    failed: Option<io::Error>,
    state: State,
    /// How far the value at `at` was scanned.
    scan: Option<Scan>,
    /// How much of `bytes` from `at` on has no line end.
    searched: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Between events.
    Top,
    /// Between the elements of the array that begins in a line; of a page if so.
    Array { begins: u64, is_page: bool },
    /// Behind the array of a page.
    Page,
    /// In the rest of a line that is not read.
    Skip { then_array: Option<(u64, bool)> },
}

/// The state that a step of the splitter needs.
enum Step {
    Done,
    NeedsMore,
}

impl<R: Read> Splitter<R> {
    /// Splits what `input` gives. With `is_live` events are returned as they arrive, and not only in whole blocks.
    pub fn new(input: R, is_live: bool) -> Splitter<R> {
        let (bytes, events) = (Vec::new(), Vec::new());
        let (at, line, has_ended, state) = (0, 1, false, State::Top);
        let (header, tables, failed, scan, searched) = (Header::default(), Vec::new(), None, None, 0);
        let is_table_used = false;
        Splitter {
            input,
            is_live,
            bytes,
            events,
            header,
            tables,
            is_table_used,
            at,
            line,
            has_ended,
            failed,
            state,
            scan,
            searched,
        }
    }

    /// Returns the next block; `None` at the end.
    ///
    /// # Errors
    /// The input failed. All events before the fault were returned, the last of them cut there.
    pub fn next_block(&mut self) -> io::Result<Option<Block>> {
        loop {
            self.fill();
            while self.at < self.bytes.len() && matches!(self.step(), Step::Done) {}
            if self.has_ended {
                self.end();
            }
            let is_full = self.bytes.len() >= BLOCK || self.is_live || self.has_ended;
            if is_full && !self.events.is_empty() {
                return Ok(Some(self.take_block()));
            }
            if self.has_ended {
                return self.failed.take().map_or(Ok(None), Err);
            }
        }
    }

    fn take_block(&mut self) -> Block {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut next = Vec::with_capacity(rest.len() + READ.max(BLOCK));
        next.extend_from_slice(rest);
        let mut bytes = std::mem::replace(&mut self.bytes, next);
        bytes.truncate(self.at);
        self.at = 0;
        let tables = std::mem::take(&mut self.tables);
        self.tables.extend(tables.last().cloned());
        self.is_table_used = false;
        Block { bytes, events: std::mem::take(&mut self.events), tables }
    }

    /// Reads the next portion.
    fn fill(&mut self) {
        if self.events.is_empty() && self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        while !self.has_ended {
            let before = self.bytes.len();
            self.bytes.resize(before + READ, 0);
            let read = self.input.read(self.bytes.get_mut(before..).unwrap_or_default());
            self.bytes.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.has_ended = true,
                Ok(_) if self.is_live || self.bytes.len() - self.at >= BLOCK => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => (self.failed, self.has_ended) = (Some(error), true),
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Continues behind the next `length` bytes.
    fn pass(&mut self, length: usize) {
        let passed = self.rest().get(..length).unwrap_or(self.rest());
        self.line += memchr_iter(b'\n', passed).count() as u64;
        self.at += length;
        (self.scan, self.searched) = (None, 0);
    }

    /// Makes an event of the next `length` bytes.
    fn event(&mut self, length: usize, fault: Option<Fault>) {
        self.place(length, fault);
        self.pass(length);
    }

    fn place(&mut self, length: usize, fault: Option<Fault>) {
        let bytes = self.rest().get(..length).unwrap_or(self.rest());
        let before = bytes.len() - bytes.trim_ascii_start().len();
        let trimmed = bytes.trim_ascii().len();
        if trimmed > 0 {
            let start = self.at + before;
            self.events.push(Place { range: start..start + trimmed, line: self.line, table: None, fault });
        }
    }

    /// One event, or one change of state.
    fn step(&mut self) -> Step {
        match self.state {
            State::Top => self.top(),
            State::Array { begins, is_page } => self.array(begins, is_page),
            State::Page => {
                let mut scan = self.scan.take().unwrap_or_else(Scan::inside);
                match scan.feed(self.rest()) {
                    Scanned::Closed(length) | Scanned::Cut(length) if length <= MAX_EVENT => {
                        self.pass(length);
                        self.state = State::Top;
                    }
                    Scanned::Open if self.rest().len() <= MAX_EVENT => {
                        self.scan = Some(scan);
                        return Step::NeedsMore;
                    }
                    _ => self.state = State::Skip { then_array: None },
                }
                Step::Done
            }
            State::Skip { then_array } => {
                match memchr(b'\n', self.rest()) {
                    Some(end) => {
                        self.pass(end + 1);
                        self.state = match then_array {
                            Some((begins, is_page)) => State::Array { begins, is_page },
                            None => State::Top,
                        };
                    }
                    None => self.pass(self.rest().len()),
                }
                Step::Done
            }
        }
    }

    fn top(&mut self) -> Step {
        let rest = self.rest();
        // Records of RFC 7464 begin with a record separator, and a byte order mark may be left from joined files.
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x1e;
        let blank = rest.iter().take_while(|byte| is_blank(byte)).count();
        if blank > 0 {
            self.pass(blank);
            return Step::Done;
        }
        if rest.starts_with(b"\xef\xbb\xbf") {
            self.pass(3);
            return Step::Done;
        }
        match rest.first() {
            Some(b'[') => {
                // The deciding bytes are the same however much has arrived.
                let inside = rest.get(1..rest.len().min(BLOCK)).unwrap_or_default().trim_ascii_start();
                match inside.first() {
                    Some(b'{' | b']') => {
                        self.state = State::Array { begins: self.line, is_page: false };
                        self.pass(1);
                        Step::Done
                    }
                    None if !self.has_ended && rest.len() < BLOCK => Step::NeedsMore,
                    _ => self.line_event(),
                }
            }
            Some(b'{') if self.scan.is_some() => self.value(),
            Some(b'{') => {
                let head = rest.get(..PAGE_HEAD).unwrap_or(rest);
                match page(head) {
                    Page::Events(length) => {
                        self.state = State::Array { begins: self.line, is_page: true };
                        self.pass(length);
                        return Step::Done;
                    }
                    Page::Unknown if !self.has_ended && head.len() < PAGE_HEAD => return Step::NeedsMore,
                    _ => {}
                }
                let line = match self.find_line_end().filter(|end| *end < BLOCK) {
                    Some(end) => rest.get(..end),
                    None if rest.len() >= BLOCK => None,
                    None if self.has_ended => Some(rest),
                    None => {
                        self.searched = rest.len();
                        return Step::NeedsMore;
                    }
                };
                match line {
                    Some(line) if line.trim_ascii_end().ends_with(b"}") => self.line_event(),
                    // It runs over several lines, or is cut, or many documents are in one line.
                    _ => self.value(),
                }
            }
            _ => self.line_event(),
        }
    }

    fn find_line_end(&self) -> Option<usize> {
        let unsearched = self.rest().get(self.searched..).unwrap_or_default();
        memchr(b'\n', unsearched).map(|at| self.searched + at)
    }

    /// The line at `at`.
    fn line_event(&mut self) -> Step {
        match self.find_line_end() {
            Some(end) if end <= MAX_EVENT => {
                self.line_of(end);
                self.at += end + 1;
                self.line += 1;
                self.searched = 0;
            }
            None if self.has_ended && self.rest().len() <= MAX_EVENT => {
                self.line_of(self.rest().len());
                self.pass(self.rest().len());
            }
            None if !self.has_ended && self.rest().len() <= MAX_EVENT => {
                self.searched = self.rest().len();
                return Step::NeedsMore;
            }
            _ => self.too_long(None),
        }
        Step::Done
    }

    /// Makes an event of a line of this length: a row if a header came before, and nothing of a header's own lines.
    fn line_of(&mut self, length: usize) {
        let line = self.rest().get(..length).unwrap_or(self.rest());
        let first = line.first().copied();
        if first == Some(b'#') {
            match self.header.line(self.bytes.get(self.at..self.at + length).unwrap_or_default()) {
                HeaderLine::No => {}
                HeaderLine::Part => return,
                HeaderLine::Columns(columns) => return self.set_columns(columns),
            }
        }
        self.place(length, None);
        let is_row = !matches!(first, Some(b'#' | b'{' | b'['));
        if is_row && let (Some(table), Some(place)) = (self.tables.len().checked_sub(1), self.events.last_mut()) {
            place.table = Some(table);
            self.is_table_used = true;
        }
    }

    /// Columns without rows are not kept: a text may have headers only.
    fn set_columns(&mut self, columns: Arc<Columns>) {
        match self.tables.last_mut() {
            Some(last) if !self.is_table_used => *last = columns,
            _ => self.tables.push(columns),
        }
        self.is_table_used = false;
    }

    fn too_long(&mut self, then_array: Option<(u64, bool)>) {
        self.event(MAX_EVENT, Some(Fault::TooLong));
        self.state = State::Skip { then_array };
    }

    /// The document at `at`, which may run over several lines.
    fn value(&mut self) -> Step {
        let mut scan = self.scan.take().unwrap_or_default();
        match scan.feed(self.rest()) {
            Scanned::Closed(length) | Scanned::Cut(length) if length <= MAX_EVENT => self.event(length, None),
            Scanned::Open if self.rest().len() <= MAX_EVENT => match self.has_ended {
                true => self.event(self.rest().len(), None),
                false => {
                    self.scan = Some(scan);
                    return Step::NeedsMore;
                }
            },
            _ => self.too_long(match self.state {
                State::Array { begins, is_page } => Some((begins, is_page)),
                _ => None,
            }),
        }
        Step::Done
    }

    fn array(&mut self, begins: u64, is_page: bool) -> Step {
        let rest = self.rest();
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
        if blank > 0 {
            self.pass(blank);
            return Step::Done;
        }
        match rest.first() {
            Some(b']') => {
                self.pass(1);
                self.state = if is_page { State::Page } else { State::Top };
                Step::Done
            }
            Some(b'{' | b'[') => self.value(),
            _ => {
                // A scalar is not an event, and is reported as a line that is not one.
                let end = rest.iter().position(|byte| matches!(byte, b',' | b']' | b'\n'));
                match end {
                    Some(end) if end <= MAX_EVENT => self.event(end, None),
                    None if self.has_ended && rest.len() <= MAX_EVENT => self.event(rest.len(), None),
                    None if !self.has_ended && rest.len() <= MAX_EVENT => return Step::NeedsMore,
                    _ => self.too_long(Some((begins, is_page))),
                }
                Step::Done
            }
        }
    }

    /// Reports what is open at the end of the text.
    fn end(&mut self) {
        if self.at < self.bytes.len() {
            return;
        }
        if let State::Array { begins, .. } = self.state
            && self.failed.is_none()
        {
            self.events.push(Place { range: 0..0, line: begins, table: None, fault: Some(Fault::OpenArray) });
            self.state = State::Top;
        }
    }
}

/// Splits documents that follow each other in one line. The last part is what is left, whatever it is.
pub fn documents(line: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), line.trim_ascii());
    while !rest.is_empty() {
        let length = match (rest.first(), Scan::default().feed(rest)) {
            (Some(b'{'), Scanned::Closed(length)) => length,
            _ => rest.len(),
        };
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after.trim_ascii_start();
    }
    parts
}
