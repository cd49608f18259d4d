//! A record as a document, and what its protocol has besides.

use jiff::Timestamp;

use crate::encoding::json;

/// Where everything besides the document stands in a line.
const OPENTELEMETRY: &str = "opentelemetry";
/// And where it stands when the event has a field of that name.
const OTHERWISE: &str = "hotlist.opentelemetry";

/// The output for a record.
pub(in crate::encoding) struct RenderedRecord {
    pub(in crate::encoding) document: Vec<u8>,
    /// `@timestamp` for a document that has none.
    pub(in crate::encoding) time: Option<Timestamp>,
    /// The members of `opentelemetry` that are of this record alone.
    pub(in crate::encoding) extra: Vec<u8>,
}

impl RenderedRecord {
    /// Of a record that cannot be read.
    pub(in crate::encoding) fn unreadable(record: &[u8]) -> RenderedRecord {
        RenderedRecord { document: json::unreadable(record), time: None, extra: Vec::new() }
    }

    /// The document with its `@timestamp`, and without the rest.
    pub(in crate::encoding) fn document(self) -> Vec<u8> {
        let mut out = Vec::new();
        match complete(&mut out, &self.document, self.time, &[]) {
            Ok(()) => out,
            Err(_) => self.document,
        }
    }
}

/// Appends a document with what it does not have.
pub(super) fn complete(
    out: &mut Vec<u8>,
    document: &[u8],
    time: Option<Timestamp>,
    extra: &[u8],
) -> Result<(), json::JsonError> {
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
