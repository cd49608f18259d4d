//! A log event as one JSON document on one line, for outputs that are neither OTLP nor Vector.

use super::{Log, LogValue, field};
use crate::encoding::dialect::{Any, MalformedRecord, any, members, write_content, write_entries};
use crate::encoding::json;
use crate::encoding::lines::{RenderedRecord, write_metadata};

/// A log event as the JSON document that it is, without a line break in it.
///
/// - The document is the event's fields; of an event that is not an object it is the document in its text, else
///   `{"message": …}`. Metadata is not part of it.
/// - Types stay; what JSON cannot say is written as for OTLP, and an instant is RFC 3339.
/// - A record that cannot be read, or is not a log event, is kept whole:
///   `{"hotlist":{"unreadable_record":"…base64…"}}`.
pub fn render_record(record: &[u8]) -> Vec<u8> {
    parts(record).document()
}

/// The same with what OpenTelemetry has of the event, which Vector keeps in its metadata.
pub(in crate::encoding) fn parts(record: &[u8]) -> RenderedRecord {
    match read(record) {
        Ok(Some(parts)) => parts,
        Ok(None) | Err(_) => RenderedRecord::unreadable(record),
    }
}

fn read(record: &[u8]) -> Result<Option<RenderedRecord>, MalformedRecord> {
    let Some(log) = Log::read(record)? else { return Ok(None) };
    let mut extra = Vec::new();
    write_metadata(&mut extra, log.message);
    let document = document(&log)?;
    Ok(Some(RenderedRecord { document, time: None, extra }))
}

fn document(log: &Log<'_>) -> Result<Vec<u8>, MalformedRecord> {
    let mut out = Vec::with_capacity(log.message.len() + log.message.len() / 4);
    let Some((_, value)) = log.value else {
        let members = members(log.message, field::FIELDS)?;
        let mut rest = members.iter();
        write_entries::<LogValue>(&mut out, 0, || Ok(rest.next().map(|member| (&*member.key, member.value))))?;
        return Ok(out);
    };
    match any::<LogValue>(value)? {
        map @ Any::Map(_) => write_content::<LogValue>(&mut out, map, 0)?,
        Any::Text(text) if let Some(document) = json::one_line(text) => out = document,
        content => {
            out.extend_from_slice(b"{\"message\":");
            write_content::<LogValue>(&mut out, content, 1)?;
            out.push(b'}');
        }
    }
    Ok(out)
}
