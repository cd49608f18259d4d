//! From a file to the text in it: gzip, zstd and zip are detected by content, whatever the file's name.
//!
//! Nothing is inflated into memory and nothing is written to disk: each stream is decompressed while it is read, so a
//! small file that decompresses to terabytes takes time, and no memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use zip::ZipArchive;
use zip::result::ZipError;

use super::files::is_hidden;
use super::text;

/// How many layers of compression a text may have: a member of an archive, in zstd, in gzip.
pub const MAX_LAYERS: usize = 4;

/// The largest window of zstd, as a power of two: 128 MiB, which is what `zstd -d` accepts.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How much is read at once.
const BUFFER: usize = 64 << 10;

/// How much of a stream its format is detected from, in bytes: a tar archive has its magic at byte 257.
const HEAD: usize = 512;

/// How much of a stream is always read to detect its format, in bytes.
const LEAST_HEAD: usize = 8;

/// Formats of files that are not read, by their first bytes, and what to do.
const OTHERS: [(&[u8], &str, &str); 9] = [
    (b"\xfd7zXZ\0", "xz", "decompress it, as with `xz -dc FILE | hotlist scan -e -`"),
    (b"BZh", "bzip2", "decompress it, as with `bzip2 -dc FILE | hotlist scan -e -`"),
    (b"\x04\x22\x4d\x18", "lz4", "decompress it, as with `lz4 -dc FILE | hotlist scan -e -`"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "extract it"),
    (b"ElfFile\0", "evtx", "export its events as JSON"),
    (b"LPKSHHRH", "systemd journal", "export its events, as with `journalctl --file FILE -o json | hotlist scan -e -`"),
    (b"PAR1", "Parquet", "export its rows as JSON"),
    (b"SQLite format 3\0", "SQLite", "export its rows as JSON"),
    (b"\x7fELF", "ELF", "give a log file"),
];

/// The reason that the text of a file cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The file cannot be opened, or the disk fails.
    #[error("{file}: cannot read events: {source}; check the path and its permissions")]
    Read { file: String, source: io::Error },
    /// The compressed stream is damaged or ends too early.
    #[error(
        "{file}: {format} is corrupt or truncated at byte {offset}: {source}; what is before it was matched, get the file again"
    )]
    Corrupt {
        /// The file, with the member of an archive.
        file: String,
        /// The format of the stream.
        format: &'static str,
        /// Where in the stream decompression stopped.
        offset: u64,
        source: io::Error,
    },
    /// The directory of an archive or a member of it cannot be read.
    #[error("{file}: the zip archive is corrupt or not supported: {source}; extract it with another program")]
    Archive {
        /// The file, with the member.
        file: String,
        source: ZipError,
    },
    /// A member of an archive is encrypted.
    #[error("{file}: the member of the zip archive is encrypted; extract the archive")]
    Encrypted {
        /// The file, with the member.
        file: String,
    },
    /// An archive is inside an archive or comes from a pipe, and its directory at the end cannot be read first.
    #[error("{file}: a zip archive can only be read from a file of its own; save or extract it")]
    NestedArchive { file: String },
    /// The file is in a format that is not read.
    #[error("{file}: is a file in the format {format}, which is not read; {fix}")]
    Format { file: String, format: &'static str, fix: &'static str },
    /// The text is compressed too often.
    #[error("{file}: has more than {MAX_LAYERS} layers of compression; decompress it")]
    Layers { file: String },
}

/// Receives the texts of a file: the name, with the member of an archive behind a `!`, and the text, to be read to its
/// end. Returns whether to continue.
pub trait TextSink {
    /// Called for each text. An error of `text` is returned as it is.
    fn text(&mut self, name: &str, text: &mut dyn Read) -> io::Result<bool>;
    /// Called for each error; the rest of the file is still read as far as possible.
    fn error(&mut self, error: UnpackError);
    /// Called for each member of an archive that is left out because its name starts with a dot.
    fn hidden(&mut self);
}

/// Reads the texts of `file`, and adds the number of its bytes that were read to `progress`. Returns whether to continue
/// with other files.
pub fn file(name: &str, mut file: File, progress: &AtomicU64, sink: &mut dyn TextSink) -> bool {
    let mut magic = [0; 4];
    // Reading the magic of a pipe would take its bytes away.
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if is_regular {
        let read = read_full(&mut file, &mut magic).and_then(|_| file.rewind());
        if let Err(source) = read {
            sink.error(UnpackError::Read { file: name.to_owned(), source });
            return true;
        }
        if is_zip(&magic) {
            return archive(name, Progress { inner: file, progress }, sink);
        }
    }
    stream(name, Progress { inner: file, progress }, sink)
}

/// Reads the text of a stream that cannot be read twice, such as standard input.
pub fn stream(name: &str, input: impl Read, sink: &mut dyn TextSink) -> bool {
    let input = BufReader::with_capacity(BUFFER, input);
    layer(name, Box::new(input), &Position { format: None, count: Rc::default() }, 0, sink)
}

fn is_zip(head: &[u8]) -> bool {
    // An archive without members has only the end of its directory.
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

/// Reads the members of a zip archive. Returns whether to continue with other files.
pub fn archive(name: &str, file: impl Read + Seek, sink: &mut dyn TextSink) -> bool {
    let mut archive = match ZipArchive::new(BufReader::with_capacity(BUFFER, file)) {
        Ok(archive) => archive,
        Err(source) => {
            sink.error(UnpackError::Archive { file: name.to_owned(), source });
            return true;
        }
    };
    for index in 0..archive.len() {
        let file = format!("{name}!{}", archive.name_for_index(index).unwrap_or_default());
        let member = match archive.by_index(index) {
            Ok(member) => member,
            Err(source) => {
                sink.error(match source {
                    ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => UnpackError::Encrypted { file },
                    source => UnpackError::Archive { file, source },
                });
                continue;
            }
        };
        if member.is_dir() {
            continue;
        }
        let path = member.name();
        // A name is only shown; `..` and `/` in it have no meaning here.
        if path.split(['/', '\\']).any(|part| is_hidden(part) && part != "." && part != "..")
            || path.starts_with("__MACOSX/")
        {
            sink.hidden();
            continue;
        }
        let count = Rc::new(Cell::new(0));
        let input = Counted { inner: BufReader::with_capacity(BUFFER, member), count: Rc::clone(&count) };
        let position = Position { format: Some("zip"), count };
        if !layer(&file, Box::new(input), &position, 1, sink) {
            return false;
        }
    }
    true
}

/// The progress of the innermost decompressor.
struct Position {
    format: Option<&'static str>,
    count: Rc<Cell<u64>>,
}

fn layer(
    name: &str,
    mut input: Box<dyn BufRead + '_>,
    position: &Position,
    depth: usize,
    sink: &mut dyn TextSink,
) -> bool {
    let failed = |source: io::Error, position: &Position| match position.format {
        Some(format) => UnpackError::Corrupt { file: name.to_owned(), format, offset: position.count.get(), source },
        None => UnpackError::Read { file: name.to_owned(), source },
    };
    let mut head = match input.fill_buf() {
        Ok(head) => head.get(..HEAD).unwrap_or(head).to_vec(),
        Err(source) => {
            sink.error(failed(source, position));
            return true;
        }
    };
    // A pipe may have delivered fewer bytes than the formats are detected from.
    if (1..LEAST_HEAD).contains(&head.len()) {
        head.resize(LEAST_HEAD, 0);
        match read_full(&mut input, &mut head) {
            Ok(read) => head.truncate(read),
            Err(source) => {
                sink.error(failed(source, position));
                return true;
            }
        }
        input = Box::new(Cursor::new(head.clone()).chain(input));
    }
    let is_gzip = head.starts_with(b"\x1f\x8b");
    // Parallel compressors begin with a skippable frame (RFC 8878, section 3.1.2).
    let is_zstd = matches!(head[..], [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    let error = if is_zip(&head) {
        Some(UnpackError::NestedArchive { file: name.to_owned() })
    } else if (is_gzip || is_zstd) && depth == MAX_LAYERS {
        Some(UnpackError::Layers { file: name.to_owned() })
    } else {
        other(name, &head)
    };
    if let Some(error) = error {
        sink.error(error);
        return true;
    }
    if is_gzip || is_zstd {
        // The decompressor fails at the bytes that it has taken, not at those that were read ahead.
        let taken = Rc::new(Cell::new(0));
        let position = Position { format: Some(if is_gzip { "gzip" } else { "zstd" }), count: Rc::clone(&taken) };
        let input = Counted { inner: input, count: taken };
        let decoder: Box<dyn Read + '_> = if is_gzip {
            Box::new(MultiGzDecoder::new(input))
        } else {
            let decoder = zstd::stream::read::Decoder::with_buffer(input);
            match decoder.and_then(|mut decoder| decoder.window_log_max(ZSTD_WINDOW_LOG).map(|()| decoder)) {
                Ok(decoder) => Box::new(decoder),
                Err(source) => {
                    sink.error(failed(source, &position));
                    return true;
                }
            }
        };
        return layer(name, Box::new(BufReader::with_capacity(BUFFER, decoder)), &position, depth + 1, sink);
    }
    let done = text::lines(input, &head).and_then(|mut text| sink.text(name, &mut text));
    match done {
        Ok(goes_on) => goes_on,
        Err(source) => {
            sink.error(failed(source, position));
            true
        }
    }
}

fn other(name: &str, head: &[u8]) -> Option<UnpackError> {
    let known = OTHERS.iter().find(|(magic, ..)| head.starts_with(magic)).map(|(_, format, fix)| (*format, *fix));
    let is_tar = head.get(257..262) == Some(b"ustar");
    let (format, fix) =
        known.or(is_tar.then_some(("tar", "extract it, as with `tar -xOf FILE | hotlist scan -e -`")))?;
    Some(UnpackError::Format { file: name.to_owned(), format, fix })
}

/// Fills `into` as far as there are bytes.
fn read_full(input: &mut dyn Read, mut into: &mut [u8]) -> io::Result<usize> {
    let length = into.len();
    while !into.is_empty() {
        match input.read(into) {
            Ok(0) => break,
            Ok(read) => into = into.get_mut(read..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length - into.len())
}

/// Counts the bytes that are consumed, not those that are buffered.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.count.set(self.count.get() + amount as u64);
    }
}

/// Adds the bytes that are read to a counter.
struct Progress<'p, R> {
    inner: R,
    progress: &'p AtomicU64,
}

impl<R: Read> Read for Progress<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.progress.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: Seek> Seek for Progress<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
