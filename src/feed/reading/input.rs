//! A feed's file as it is read: unpacked, within bounds, as lines or as one document.
//!
//! Files come from strangers. So lines are streamed and none is held beyond a limit, a JSON document has a largest
//! size, and what a compressed file may unpack to is bounded.

use std::io::{self, Cursor, ErrorKind, Read};

use crate::feed::reading::decode;
use crate::feed::reading::lines::{Lines, unreadable};
use crate::feed::{FeedError, Limits};

/// How much of a file is read to detect its format.
const HEAD_BYTES: u64 = 256 << 10;

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file of which only the beginning has been read.
pub(in crate::feed) struct Input<'r> {
    file: &'r str,
    limits: Limits,
    head: Vec<u8>,
    /// Whether the head is all there is.
    ended: bool,
    rest: Box<dyn Read + 'r>,
}

impl<'r> Input<'r> {
    /// Reads the beginning of a file, which may be packed with gzip or zstd, in UTF-8, UTF-16 or Latin-1.
    pub(in crate::feed) fn open(reader: impl Read + 'r, file: &'r str, limits: Limits) -> Result<Input<'r>, FeedError> {
        let mut input = Input::peek(Box::new(reader), file, limits)?;
        let unpacked: Option<Box<dyn Read + 'r>> = if input.head.starts_with(GZIP) {
            Some(Box::new(flate2::read::MultiGzDecoder::new(input.reader())))
        } else if input.head.starts_with(ZSTD) {
            let decoder = zstd::Decoder::new(input.reader()).map_err(|error| unreadable(file, 0, error))?;
            Some(Box::new(decoder))
        } else {
            None
        };
        if let Some(reader) = unpacked {
            input = Input::peek(Box::new(Bounded { reader, left: limits.unpacked_bytes }), file, limits)?;
        }
        if let Some(encoding) = decode::utf16(&input.head) {
            let text = decode::utf16_text(encoding, &input.bytes()?);
            input = Input::peek(Box::new(Cursor::new(text.into_bytes())), file, limits)?;
        }
        if let Some(what) = decode::binary(&input.head) {
            return Err(FeedError::Binary { file: file.to_owned(), what });
        }
        if input.head.starts_with(UTF8_MARK) {
            input.head.drain(..UTF8_MARK.len());
        }
        Ok(input)
    }

    fn peek(mut rest: Box<dyn Read + 'r>, file: &'r str, limits: Limits) -> Result<Input<'r>, FeedError> {
        let mut head = Vec::new();
        (&mut rest).take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| unreadable(file, 0, error))?;
        let ended = (head.len() as u64) < HEAD_BYTES;
        Ok(Input { file, limits, head, ended, rest })
    }

    /// The file's name, for messages.
    pub(in crate::feed) fn file(&self) -> &'r str {
        self.file
    }

    /// The bounds that hold for this file.
    pub(in crate::feed) fn limits(&self) -> Limits {
        self.limits
    }

    /// The complete lines at the beginning, each ended by a line feed; of a longer line its beginning.
    pub(in crate::feed) fn head(&self) -> String {
        let end = match memchr::memrchr2(b'\n', b'\r', &self.head) {
            Some(at) if !self.ended => at + 1,
            _ => self.head.len(),
        };
        let text = decode::text(self.head.get(..end).unwrap_or_default().to_vec());
        match text.contains('\r') {
            true => text.replace("\r\n", "\n").replace('\r', "\n"),
            false => text,
        }
    }

    /// Whether the file ends within the beginning that [`Input::head`] gives.
    pub(in crate::feed) fn is_whole(&self) -> bool {
        self.ended
    }

    /// The lines, from the first one. A line longer than `limit` bytes is not held.
    pub(in crate::feed) fn lines(&mut self, limit: usize) -> Lines<'r> {
        Lines::new(self.reader(), self.file, limit)
    }

    /// The whole file as text.
    pub(in crate::feed) fn document(&mut self) -> Result<String, FeedError> {
        self.bytes().map(decode::text)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, FeedError> {
        let limit = self.limits.document_bytes;
        let mut bytes = Vec::new();
        self.reader()
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(self.file, 0, error))?;
        if bytes.len() as u64 > limit {
            return Err(FeedError::TooLarge { file: self.file.to_owned(), limit });
        }
        Ok(bytes)
    }

    fn reader(&mut self) -> Box<dyn Read + 'r> {
        let rest = std::mem::replace(&mut self.rest, Box::new(io::empty()));
        Box::new(Cursor::new(self.head.clone()).chain(rest))
    }
}

/// Fails, instead of ending, when more comes than is allowed: a cut feed must not pass for a whole one.
struct Bounded<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(ErrorKind::FileTooLarge.into()),
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(bytes: &[u8], limits: Limits) -> Result<Vec<String>, FeedError> {
        let mut input = Input::open(bytes, "f", limits)?;
        let mut lines = input.lines(100);
        let mut all = Vec::new();
        while let Some((_, line)) = lines.next()? {
            all.push(line.text().to_owned());
        }
        Ok(all)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_files_and_every_encoding_give_the_same_lines() {
        let text = "evil.com\nbücher.de\n";
        let utf16: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let latin1 = b"evil.com\nb\xfccher.de\n".to_vec();
        let two_members = [gzip(b"evil.com\n"), gzip("bücher.de\n".as_bytes())].concat();
        let marked = [UTF8_MARK, text.as_bytes()].concat();
        for bytes in [
            text.as_bytes().to_vec(),
            gzip(text.as_bytes()),
            two_members,
            zstd::encode_all(text.as_bytes(), 1).unwrap(),
            gzip(&utf16),
            utf16,
            latin1,
            marked,
        ] {
            assert_eq!(lines(&bytes, Limits::default()).unwrap(), ["evil.com", "bücher.de"]);
        }
    }

    #[test]
    fn a_packed_file_that_ends_early_or_unpacks_to_too_much_is_refused_as_a_whole() {
        let text: String = (0..200_000).map(|number| format!("host{number}.example.com\n")).collect();
        for packed in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
            assert_eq!(lines(&packed, Limits::default()).unwrap().len(), 200_000);
            let cut = lines(&packed[..packed.len() / 2], Limits::default());
            assert!(matches!(cut, Err(FeedError::Unreadable { line: 1.., .. })), "{cut:?}");
            let bomb = lines(&packed, Limits { unpacked_bytes: 1 << 20, ..Limits::default() });
            assert!(matches!(bomb, Err(FeedError::UnpacksTooLarge { line: 1.., .. })), "{bomb:?}");
        }
        assert!(matches!(lines(b"\x1f\x8b\x08\0", Limits::default()), Err(FeedError::Unreadable { line: 0, .. })));
    }

    #[test]
    fn a_document_has_a_largest_size() {
        let limits = Limits { document_bytes: 8, ..Limits::default() };
        let document = |bytes: &'static [u8]| Input::open(bytes, "f", limits).unwrap().document();
        assert_eq!(document(b"12345678").unwrap(), "12345678");
        assert!(matches!(document(b"123456789"), Err(FeedError::TooLarge { limit: 8, .. })));
    }
}
