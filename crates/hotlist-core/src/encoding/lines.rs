//! Records of a batch as lines of JSON: the document of each record, and below `opentelemetry` what its protocol has
//! besides. `docs/output.md` describes the shape; the names are those of [`transcode`](super::transcode()).

mod around;
mod extra;
mod rendered;

use self::around::Around;
pub(super) use self::extra::{put_attributes, write_metadata, write_record};
pub(super) use self::rendered::RenderedRecord;
use self::rendered::complete;
use super::envelope::RecordSpan;
use super::{Format, json, otlp, vector};

/// A line may repeat as many bytes of its resource, and of its scope, as this many records of its batch have on average,
/// so that a batch of small records does not become a file of copies.
const REPEATED_RECORDS: usize = 32;
/// The least and the most that it may repeat whatever the average is.
const REPEATED: (usize, usize) = (1 << 10, 1 << 16);

/// Writes the lines of one batch.
#[derive(Debug)]
pub struct LineWriter<'a> {
    format: Format,
    message: &'a [u8],
    around: Around,
}

impl<'a> LineWriter<'a> {
    /// For a batch of so many records. What each line repeats of the messages around its record is bounded by the
    /// average length of a record.
    pub fn new(format: Format, message: &'a [u8], records: usize) -> LineWriter<'a> {
        let average = message.len() / records.max(1);
        let most = average.saturating_mul(REPEATED_RECORDS).clamp(REPEATED.0, REPEATED.1);
        LineWriter { format, message, around: Around::new(most) }
    }

    /// Appends the line of a log record, with its end. `span` says where the record stands in the batch, whose bytes
    /// may be others by now.
    pub fn write(&mut self, out: &mut Vec<u8>, span: Option<&RecordSpan>, record: &[u8]) {
        let RenderedRecord { document, time, mut extra } = match self.format {
            Format::Otlp => otlp::parts(record),
            Format::Vector => vector::parts(record),
            Format::Filter => {
                let document = json::one_line(record).unwrap_or_else(|| json::unreadable(record));
                RenderedRecord { document, time: None, extra: Vec::new() }
            }
        };
        if self.format == Format::Otlp
            && let Some(span) = span
        {
            self.around.write(&mut extra, self.message, span.groups());
        }
        let first = out.len();
        if complete(out, &document, time, &extra).is_err() {
            // The document was made here: it can be scanned. It is written without the rest else.
            out.truncate(first);
            out.extend_from_slice(&document);
        }
        out.push(b'\n');
    }

    /// The most bytes that making a line of a record takes: the line, and its document again.
    pub fn weight(&self, record: &[u8]) -> usize {
        2 * (longest(record) + 2 * self.around.most())
    }
}

/// A record as a JSON document.
pub fn document_of(format: Format, record: &[u8]) -> Vec<u8> {
    let parts = match format {
        Format::Otlp => otlp::parts(record),
        Format::Vector => vector::parts(record),
        Format::Filter => return record.to_vec(),
    };
    parts.document()
}

/// An upper bound for a record as JSON. Escapes, and what is not UTF-8, make it longer; so does structure, whose tags
/// and lengths count as escapes while they are small, which empty messages are.
fn longest(record: &[u8]) -> usize {
    if record.len() < 1 << 14 {
        return 6 * record.len() + 64;
    }
    let escaped = record.iter().filter(|byte| **byte < 0x20 || **byte == b'"' || **byte == b'\\').count();
    let wide = record.iter().filter(|byte| **byte >= 0x80).count();
    record.len() + record.len() / 3 + 5 * escaped + 2 * wide + 64
}

/// Appends a comma unless nothing stands before it, then a key and its colon.
pub(super) fn put_key(out: &mut Vec<u8>, key: &str) {
    if !matches!(out.last(), None | Some(b'{')) {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}
