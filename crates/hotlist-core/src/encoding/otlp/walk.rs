//! The walk of one log record: body and attributes, in any order, without decoding what the trie does not want; and of the
//! attributes of its resource.

use super::{AnyValue, field};
use crate::encoding::dialect::{Any, DocumentWalker, MalformedRecord, any};
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{Document, RecordInfo, Visitor, json};
use crate::schema::PathTrie;

/// The path of a body that is text.
const BODY: &[u8] = b"body";

/// Visits every scalar of the body and of the attributes that `trie` wants. A fault costs only what cannot be read:
/// [`RecordInfo::fault`] names the first, and what was visited counts.
pub fn walk_record(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> RecordInfo {
    let mut info = RecordInfo::default();
    let mut walker = DocumentWalker::<AnyValue, _>::new(trie, visitor);
    let mut fields = Fields::new(record);
    let mut has_body = false;
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
            (field::ATTRIBUTES, Payload::Bytes(attribute)) => walker.entry(attribute, PathTrie::ROOT, 0),
            (field::BODY, Payload::Bytes(content)) => {
                if std::mem::replace(&mut has_body, true) {
                    walker.record_fault(MalformedRecord::Repeated("body"));
                }
                body(&mut walker, content, &mut info);
            }
            (field::TIME, Payload::Fixed64(time)) => info.time_unix_nano = time,
            (field::OBSERVED_TIME, Payload::Fixed64(time)) => info.observed_time_unix_nano = time,
            (field::ATTRIBUTES, _) => walker.record_fault(MalformedRecord::WrongType("attributes")),
            (field::BODY, _) => walker.record_fault(MalformedRecord::WrongType("body")),
            (field::TIME | field::OBSERVED_TIME, _) => {
                walker.record_fault(MalformedRecord::WrongType("time_unix_nano"))
            }
            _ => {}
        }
    }
    walker.finish(&mut info);
    info
}

/// Visits every scalar of the attributes of the resource of a `ResourceLogs` that `trie` wants, as far as it can be read.
pub fn walk_resource(resource_logs: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) {
    let mut walker = DocumentWalker::<AnyValue, _>::new(trie, visitor);
    each_message(resource_logs, field::RESOURCE, |resource| {
        each_message(resource, field::RESOURCE_ATTRIBUTES, |attribute| walker.entry(attribute, PathTrie::ROOT, 0));
    });
}

fn each_message(message: &[u8], number: u32, mut each: impl FnMut(&[u8])) {
    let mut fields = Fields::new(message);
    while let Ok(Some(found)) = fields.next_field() {
        if let (true, Payload::Bytes(content)) = (found.number == number, found.payload) {
            each(content);
        }
    }
}

fn body<V: Visitor>(walker: &mut DocumentWalker<'_, AnyValue, V>, body: &[u8], info: &mut RecordInfo) {
    match any::<AnyValue>(body) {
        Ok(Any::Map(list)) => {
            walker.entries(list, PathTrie::ROOT, 0);
            info.document = Document::Body;
        }
        Ok(Any::Text(text) | Any::Bytes(text)) => {
            if walker.text(text, info) {
                info.document = Document::JsonBody;
            } else if !json::begins_document(text) {
                walker.plain_text(BODY, text);
            }
        }
        Ok(_) => {}
        Err(fault) => walker.record_fault(fault),
    }
}
