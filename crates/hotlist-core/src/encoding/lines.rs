//! Records of a batch as lines of JSON: the document of each record, and below `opentelemetry` what its protocol has
//! besides. `docs/output.md` describes the shape; the names are those of [`transcode`](super::transcode()).

mod around;
mod extra;

use jiff::Timestamp;

use self::around::Around;
pub(super) use self::extra::{put_attributes, write_metadata, write_record};
use super::envelope::RecordSpan;
use super::{Format, json, otlp, vector};

/// Where everything besides the document stands in a line.
const OPENTELEMETRY: &str = "opentelemetry";
/// And where it stands when the event has a field of that name.
const OTHERWISE: &str = "hotlist.opentelemetry";

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

/// What is written for a record.
pub(super) struct Parts {
    pub(super) document: Vec<u8>,
    /// `@timestamp` for a document that has none.
    pub(super) time: Option<Timestamp>,
    /// The members of `opentelemetry` that are of this record alone.
    pub(super) extra: Vec<u8>,
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
        let Parts { document, time, mut extra } = match self.format {
            Format::Otlp => otlp::parts(record),
            Format::Vector => vector::parts(record),
            Format::Filter => {
                let document = json::one_line(record).unwrap_or_else(|| json::unreadable(record));
                Parts { document, time: None, extra: Vec::new() }
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

impl Parts {
    /// Of a record that cannot be read.
    pub(super) fn unreadable(record: &[u8]) -> Parts {
        Parts { document: json::unreadable(record), time: None, extra: Vec::new() }
    }

    /// The document with its `@timestamp`, and without the rest.
    pub(super) fn document(self) -> Vec<u8> {
        let mut out = Vec::new();
        match complete(&mut out, &self.document, self.time, &[]) {
            Ok(()) => out,
            Err(_) => self.document,
        }
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

/// Appends a document with what it does not have.
fn complete(out: &mut Vec<u8>, document: &[u8], time: Option<Timestamp>, extra: &[u8]) -> Result<(), json::JsonError> {
    let mut more = Vec::new();
    if time.is_some() || !extra.is_empty() {
        let found = json::find(document, &[b"@timestamp", OTHERWISE.as_bytes(), OPENTELEMETRY.as_bytes()])?;
        let is_free = |place: usize| found.get(place) == Some(&false);
        if let Some(time) = time.filter(|_| is_free(0)) {
            more.push(("@timestamp".into(), format!("\"{time:.9}\"").into_bytes()));
        }
        let free = [(2, OPENTELEMETRY), (1, OTHERWISE)].into_iter().find(|(place, _)| is_free(*place));
        if let Some((_, name)) = free.filter(|_| !extra.is_empty()) {
            more.push((name.into(), [b"{", extra, b"}"].concat()));
        }
    }
    match more.is_empty() {
        true => out.extend_from_slice(document),
        false => out.append(&mut json::append(document, more)?),
    }
    Ok(())
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
