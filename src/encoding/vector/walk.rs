//! The walk of one event: the fields of a log, without decoding what the trie does not want.

use super::log::kind;
use super::{LogValue, MESSAGE, TIMESTAMP, field};
use crate::encoding::dialect::{Any, DocumentWalker, OddRecord, any, key_value, timestamp};
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{Document, RecordInfo, Signal, Visitor, json};
use crate::fields::PathTrie;

/// Visits every scalar of a log event that `trie` wants. An event that is no object, and the field `message`, are
/// documents too where they are texts that hold one. Metrics and traces are not visited.
///
/// # Errors
/// When the record is odd; the caller must then discard what was visited and pass the record as it is.
pub fn walk_record(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, OddRecord> {
    let (signal, _, log) = kind(record)?;
    let mut info = RecordInfo { signal, document: Document::Body, ..RecordInfo::default() };
    if signal != Signal::Logs {
        return Ok(info);
    }
    let mut walker = DocumentWalker::<LogValue, _>::new(trie, visitor);
    let mut fields = Fields::new(log);
    let mut has_value = false;
    while let Some(found) = fields.next_field()? {
        match (found.number, found.payload) {
            (field::FIELDS, Payload::Bytes(entry)) => {
                let (key, value) = key_value(entry)?;
                walker.member(key, value, PathTrie::ROOT, 0)?;
                match key {
                    MESSAGE if json_text(&mut walker, any::<LogValue>(value)?)? => info.document = Document::JsonBody,
                    TIMESTAMP => info.time_unix_nano = time(any::<LogValue>(value)?),
                    _ => {}
                }
            }
            (field::VALUE, Payload::Bytes(value)) => {
                if std::mem::replace(&mut has_value, true) {
                    return Err(OddRecord::Repeated("value"));
                }
                let content = any::<LogValue>(value)?;
                if let Any::Map(list) = content {
                    walker.entries(list, PathTrie::ROOT, 0)?;
                } else if json_text(&mut walker, content)? {
                    info.document = Document::JsonBody;
                }
            }
            (field::FIELDS, _) => return Err(OddRecord::WrongType("fields")),
            (field::VALUE, _) => return Err(OddRecord::WrongType("value")),
            _ => {}
        }
    }
    info.too_deep = walker.too_deep;
    Ok(info)
}

/// Walks a text that holds a document; whether it does.
fn json_text<V: Visitor>(walker: &mut DocumentWalker<'_, LogValue, V>, content: Any<'_>) -> Result<bool, OddRecord> {
    // Looked at twice, so that nothing is visited of a text that turns out not to be JSON.
    match content {
        Any::Text(text) if json::is_document(text, walker.trie) => {
            walker.too_deep |= json::walk(text, walker.trie, walker.visitor)?.too_deep;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Nanoseconds since 1970; 0 for what is no instant or lies before.
fn time(value: Any<'_>) -> u64 {
    let Any::Time(time) = value else { return 0 };
    timestamp(time).and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
}
