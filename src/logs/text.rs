//! From the bytes of a log file to UTF-8 lines that end with a line feed.
//!
//! A byte order mark decides: UTF-16 is converted, the mark of UTF-8 is removed. A file whose first line ends with a
//! carriage return alone has all its lines end so. Other bytes pass unchanged: invalid UTF-8 is not a reason to lose an
//! event.

use std::io::{self, BufRead, Read};

use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE};

/// How far the end of the first line is searched, in bytes.
const FIRST_LINE: usize = 64 << 10;

/// Reads UTF-8 lines from `input`, whose beginning is `head`: at least its first three bytes.
pub fn lines<'r>(input: impl BufRead + 'r, head: &[u8]) -> io::Result<Box<dyn Read + 'r>> {
    let encoding = match head {
        [0xff, 0xfe, ..] => Some(UTF_16LE),
        [0xfe, 0xff, ..] => Some(UTF_16BE),
        _ => None,
    };
    let Some(encoding) = encoding else {
        let mut input = input;
        if head.starts_with(b"\xef\xbb\xbf") {
            io::copy(&mut (&mut input).take(3), &mut io::sink())?;
        }
        return line_feeds(input);
    };
    let decoder = encoding.new_decoder_with_bom_removal();
    line_feeds(io::BufReader::new(Utf16 { input, decoder, has_ended: false }))
}

fn line_feeds<'r>(mut input: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let head = input.fill_buf()?;
    let head = head.get(..FIRST_LINE).unwrap_or(head);
    // The last byte may be a carriage return whose line feed has not arrived.
    let end = memchr::memchr2(b'\n', b'\r', head);
    let is_cr =
        end.is_some_and(|at| head.get(at) == Some(&b'\r') && head.get(at + 1).is_some_and(|next| *next != b'\n'));
    if is_cr { Ok(Box::new(CarriageReturns { input, was_cr: false })) } else { Ok(Box::new(input)) }
}

/// Converts UTF-16 to UTF-8. What is not valid becomes U+FFFD.
struct Utf16<R> {
    input: R,
    decoder: Decoder,
    has_ended: bool,
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // The decoder writes whole characters only.
        if into.len() < 4 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer is too small for a character"));
        }
        while !self.has_ended {
            let input = self.input.fill_buf()?;
            let is_last = input.is_empty();
            let (result, read, written, _) = self.decoder.decode_to_utf8(input, into, is_last);
            self.input.consume(read);
            self.has_ended = is_last && result == CoderResult::InputEmpty;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

/// Makes a line feed of each carriage return, and of one with a line feed behind it.
struct CarriageReturns<R> {
    input: R,
    was_cr: bool,
}

impl<R: Read> Read for CarriageReturns<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.input.read(into)?;
            let mut kept = 0;
            for at in 0..read {
                let Some(&byte) = into.get(at) else { break };
                let is_second = byte == b'\n' && self.was_cr;
                self.was_cr = byte == b'\r';
                if !is_second && let Some(place) = into.get_mut(kept) {
                    *place = if byte == b'\r' { b'\n' } else { byte };
                    kept += 1;
                }
            }
            if kept > 0 || read == 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn read(bytes: &[u8]) -> String {
        // The smallest buffer that the decoder of UTF-16 takes, so that characters and line ends are split.
        let mut text = Vec::new();
        let mut reader = lines(BufReader::with_capacity(5, bytes), bytes).unwrap();
        let mut piece = [0; 5];
        loop {
            match reader.read(&mut piece).unwrap() {
                0 => return String::from_utf8(text).unwrap(),
                length => text.extend_from_slice(&piece[..length]),
            }
        }
    }

    #[test]
    fn byte_order_marks_are_removed_and_utf_16_is_converted() {
        let text = "{\"a\":\"bücher 😀\"}\r\nb\n";
        assert_eq!(read(format!("\u{feff}{text}").as_bytes()), text);
        assert_eq!(read(text.as_bytes()), text);
        for to_bytes in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
            let bytes: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect();
            assert_eq!(read(&bytes), text);
            assert_eq!(read(&bytes[..bytes.len() - 1]), format!("{}\u{fffd}", text.trim_end_matches('\n')));
        }
    }

    #[test]
    fn carriage_returns_end_lines_if_the_first_line_ends_so() {
        assert_eq!(read(b"a\rb\r\nc\r\r"), "a\nb\nc\n\n");
        assert_eq!(read(b"a\r\nb\rc\n"), "a\r\nb\rc\n");
        assert_eq!(read(b"a\nb\rc"), "a\nb\rc");
    }
}
