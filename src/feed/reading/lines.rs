//! The lines of a file, one after the other. A line that is longer than its limit is passed over without being held.
//!
//! A line ends with a line feed, a carriage return, or both; the other ends that Unicode knows are characters of a line.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use crate::feed::FeedError;
use crate::feed::collect::{Collector, line_number};
use crate::feed::reading::decode;

/// How much is kept of a line that is too long, to show what it was.
const EXCERPT_BYTES: usize = 400;

/// A line without its line break, its beginning when it is too long.
pub(in crate::feed) enum Line<'a> {
    Text(Cow<'a, str>),
    /// The beginning of a line that is longer than the limit.
    TooLong(Cow<'a, str>),
}

impl Line<'_> {
    #[cfg(test)]
    pub(in crate::feed) fn text(&self) -> &str {
        match self {
            Line::Text(text) | Line::TooLong(text) => text,
        }
    }
}

pub(in crate::feed) struct Lines<'r> {
    reader: BufReader<Box<dyn Read + 'r>>,
    file: &'r str,
    limit: usize,
    buffer: Vec<u8>,
    number: u64,
    /// Whether a line feed at the beginning of what is read next belongs to the carriage return before it.
    after_return: bool,
}

impl<'r> Lines<'r> {
    pub(in crate::feed) fn new(reader: Box<dyn Read + 'r>, file: &'r str, limit: usize) -> Lines<'r> {
        Lines { reader: buffered(reader), file, limit, buffer: Vec::new(), number: 0, after_return: false }
    }

    /// The longest line that is held, in bytes.
    pub(in crate::feed) fn limit(&self) -> usize {
        self.limit
    }

    /// The next line and its number from 1; `None` at the end.
    pub(in crate::feed) fn next(&mut self) -> Result<Option<(u64, Line<'_>)>, FeedError> {
        self.buffer.clear();
        let (mut any, mut too_long) = (false, false);
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(self.file, self.number, error)),
            };
            if available.is_empty() {
                break;
            }
            if std::mem::take(&mut self.after_return) && available.first() == Some(&b'\n') {
                self.reader.consume(1);
                continue;
            }
            any = true;
            let end = memchr::memchr2(b'\n', b'\r', available);
            self.after_return = end.is_some_and(|end| available.get(end) == Some(&b'\r'));
            let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            if !too_long && self.buffer.len() + piece.len() <= self.limit {
                self.buffer.extend_from_slice(piece);
            } else {
                too_long = true;
                let missing = EXCERPT_BYTES.saturating_sub(self.buffer.len()).min(piece.len());
                self.buffer.extend_from_slice(piece.get(..missing).unwrap_or_default());
            }
            let used = end.map_or(available.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        if too_long {
            self.buffer.truncate(EXCERPT_BYTES);
            return Ok(Some((self.number, Line::TooLong(String::from_utf8_lossy(&self.buffer)))));
        }
        Ok(Some((self.number, Line::Text(decode::line(&self.buffer)))))
    }

    /// Hands out every line with its number; lists those that are too long.
    pub(in crate::feed) fn each(
        &mut self,
        collector: &mut Collector,
        mut with: impl FnMut(u32, &str, &mut Collector),
    ) -> Result<(), FeedError> {
        let limit = self.limit;
        while let Some((number, line)) = self.next()? {
            match line {
                Line::Text(text) => with(line_number(number), &text, collector),
                Line::TooLong(beginning) => collector.unusable(line_number(number), too_long(limit), &beginning),
            }
        }
        Ok(())
    }
}

/// The consequence of a failed read for the file. `line` is the last one that was read, 0 when none was.
pub(super) fn unreadable(file: &str, line: u64, error: io::Error) -> FeedError {
    let file = file.to_owned();
    match error.kind() {
        ErrorKind::FileTooLarge => FeedError::UnpacksTooLarge { file, line },
        _ => FeedError::Unreadable { file, line, source: error },
    }
}

/// Wraps a reader so that lines can be looked for in what it has buffered.
fn buffered<'r>(reader: Box<dyn Read + 'r>) -> BufReader<Box<dyn Read + 'r>> {
    BufReader::with_capacity(64 << 10, reader)
}

/// The reason to pass over a line.
pub(in crate::feed) fn too_long(limit: usize) -> String {
    format!("longer than {limit} bytes, the most that a line may have")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn lines_end_at_line_feeds_and_the_last_needs_none() {
        let bytes: &[u8] = b"a\r\n\nb";
        let mut lines = Lines::new(Box::new(bytes), "f", 10);
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            all.push((number, line.text().to_owned()));
        }
        assert_eq!(all, [(1, "a".to_owned()), (2, String::new()), (3, "b".to_owned())]);
    }

    /// Guarantee: every mixture of line ends gives the same lines, wherever the reader's buffer ends.
    #[test]
    fn carriage_returns_end_lines_and_with_a_line_feed_they_are_one_end() {
        for ends in [["\n", "\n"], ["\r", "\r"], ["\r\n", "\r\n"], ["\r", "\n"], ["\r\n", "\r"], ["\n", "\r\n"]] {
            for width in 1..70_000 {
                if width > 3 && !(65_530..65_540).contains(&width) {
                    continue;
                }
                let first = "a".repeat(width);
                let text = format!("{first}{}b\u{85}\u{2028}c{}", ends[0], ends[1]);
                let mut lines = Lines::new(Box::new(text.as_bytes()), "f", 1 << 20);
                let mut all = Vec::new();
                while let Some((_, line)) = lines.next().unwrap() {
                    all.push(line.text().to_owned());
                }
                assert_eq!(all, [first, "b\u{85}\u{2028}c".to_owned()], "{ends:?}, {width}");
            }
        }
    }

    #[test]
    fn a_line_of_a_quarter_of_a_gigabyte_is_passed_over_without_being_held() {
        let text = io::repeat(b'a').take(1 << 28).chain(b"\nevil.com\n".as_slice());
        let mut lines = Lines::new(Box::new(text), "f", 1 << 20);
        assert!(
            matches!(lines.next().unwrap(), Some((1, Line::TooLong(beginning))) if beginning.len() == EXCERPT_BYTES)
        );
        assert!(matches!(lines.next().unwrap(), Some((2, Line::Text(text))) if text == "evil.com"));
        assert!(lines.next().unwrap().is_none());
        assert!(lines.buffer.capacity() <= 2 << 20, "{}", lines.buffer.capacity());
    }
}
