//! The walk of one event: the fields of a log, without decoding what the trie does not want.

use super::log::kind;
use super::{LogValue, MESSAGE, TIMESTAMP, field};
use crate::encoding::dialect::{Any, DocumentWalker, MalformedRecord, any, key_value, timestamp};
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{Document, RecordInfo, Signal, Visitor, json};
use crate::schema::PathTrie;

/// Visits every scalar of a log event that `trie` wants. An event that is not an object, and the field `message`, are
/// documents too where they are texts that hold one. Metrics and traces are not visited. A fault costs only what cannot
/// be read: [`RecordInfo::fault`] names the first, and what was visited counts.
///
/// # Errors
/// If it is unknown which event the record holds; nothing was visited.
pub fn walk_record<V: Visitor>(record: &[u8], trie: &PathTrie, visitor: &mut V) -> Result<RecordInfo, MalformedRecord> {
    let (signal, _, log) = kind(record)?;
    let mut info = RecordInfo { signal, document: Document::Body, ..RecordInfo::default() };
    if signal != Signal::Logs {
        return Ok(info);
    }
    let mut walker = DocumentWalker::<LogValue, _>::new(trie, visitor);
    let mut fields = Fields::new(log);
    let mut has_value = false;
    loop {
        let found = match fields.next_field() {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(fault) => {
                walker.record_fault(fault.into());
                break;
            }
        };
        match (found.number, found.payload) {
            (field::FIELDS, Payload::Bytes(entry)) => match key_value(entry) {
                Ok((key, value)) => {
                    if !V::TEXTS || key != MESSAGE || !holds_document(value) {
                        walker.member(key, value, PathTrie::ROOT, 0);
                    }
                    match key {
                        MESSAGE => json_text(&mut walker, value, &mut info),
                        TIMESTAMP => info.time_unix_nano = time(value),
                        _ => {}
                    }
                }
                Err(_) => walker.entry(entry, PathTrie::ROOT, 0),
            },
            (field::VALUE, Payload::Bytes(value)) => {
                if std::mem::replace(&mut has_value, true) {
                    walker.record_fault(MalformedRecord::Repeated("value"));
                }
                match any::<LogValue>(value) {
                    Ok(Any::Map(list)) => walker.entries(list, PathTrie::ROOT, 0),
                    Ok(Any::Text(text)) if !json::begins_document(text) => walker.plain_text(MESSAGE, text),
                    _ => json_text(&mut walker, value, &mut info),
                }
            }
            (field::FIELDS, _) => walker.record_fault(MalformedRecord::WrongType("fields")),
            (field::VALUE, _) => walker.record_fault(MalformedRecord::WrongType("value")),
            _ => {}
        }
    }
    walker.finish(&mut info);
    Ok(info)
}

/// Whether a value is a text that begins like a document, so that it is read as one and not as text.
fn holds_document(value: &[u8]) -> bool {
    matches!(any::<LogValue>(value), Ok(Any::Text(text)) if json::begins_document(text))
}

fn json_text<V: Visitor>(walker: &mut DocumentWalker<'_, LogValue, V>, value: &[u8], info: &mut RecordInfo) {
    match any::<LogValue>(value) {
        Ok(Any::Text(text)) => {
            if walker.text(text, info) {
                info.document = Document::JsonBody;
            }
        }
        Ok(_) => {}
        Err(fault) => walker.record_fault(fault),
    }
}

/// Nanoseconds since 1970; 0 for what is not an instant or lies before.
fn time(value: &[u8]) -> u64 {
    let Ok(Any::Time(time)) = any::<LogValue>(value) else { return 0 };
    timestamp(time).and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
}
