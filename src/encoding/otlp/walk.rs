//! The walk of one log record: body and attributes, in any order, without decoding what the trie does not want.

use super::{AnyValue, field};
use crate::encoding::dialect::{Any, DocumentWalker, OddRecord, any};
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{Document, RecordInfo, Visitor, json};
use crate::fields::PathTrie;

/// Visits every scalar of the body and of the attributes that `trie` wants.
///
/// # Errors
/// When the record is odd; the caller must then discard what was visited and pass the record as it is.
pub fn walk_record(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, OddRecord> {
    let mut info = RecordInfo::default();
    let mut walker = DocumentWalker::<AnyValue, _>::new(trie, visitor);
    let mut fields = Fields::new(record);
    let mut has_body = false;
    while let Some(found) = fields.next_field()? {
        match (found.number, found.payload) {
            (field::ATTRIBUTES, Payload::Bytes(attribute)) => walker.entry(attribute, PathTrie::ROOT, 0)?,
            (field::BODY, Payload::Bytes(content)) => {
                if std::mem::replace(&mut has_body, true) {
                    return Err(OddRecord::Repeated("body"));
                }
                info.document = body(&mut walker, content)?;
            }
            (field::TIME, Payload::Fixed64(time)) => info.time_unix_nano = time,
            (field::OBSERVED_TIME, Payload::Fixed64(time)) => info.observed_time_unix_nano = time,
            (field::ATTRIBUTES, _) => return Err(OddRecord::WrongType("attributes")),
            (field::BODY, _) => return Err(OddRecord::WrongType("body")),
            (field::TIME | field::OBSERVED_TIME, _) => return Err(OddRecord::WrongType("time_unix_nano")),
            _ => {}
        }
    }
    info.too_deep = walker.too_deep;
    Ok(info)
}

fn body<V: Visitor>(walker: &mut DocumentWalker<'_, AnyValue, V>, body: &[u8]) -> Result<Document, OddRecord> {
    match any::<AnyValue>(body)? {
        Any::Map(list) => {
            walker.entries(list, PathTrie::ROOT, 0)?;
            Ok(Document::Body)
        }
        // Looked at twice, so that nothing is visited of a text that turns out not to be JSON.
        Any::Text(text) | Any::Bytes(text) if json::is_document(text, walker.trie) => {
            walker.too_deep |= json::walk(text, walker.trie, walker.visitor)?.too_deep;
            Ok(Document::JsonBody)
        }
        _ => Ok(Document::Attributes),
    }
}
