//! Tagging of log records: the rules of [`crate::encoding::tag`] over key-value lists and attributes.

use std::ops::Range;

use serde_json::Value;

use super::{AnyValue, field};
use crate::encoding::dialect::{Any, OddRecord, any, edit_members, members, replace_text, with_field};
use crate::encoding::tag::{Codec, Entry, Shape, Spelling, TagOutcome, plan};
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{TagInto, json};

/// Adds `enrichments` (objects of `threat.enrichments`) and `tag_word` to a log record; see [`crate::encoding::tag`]
/// for where they go. With no enrichments, or when the record holds them all, it comes back as it is.
///
/// # Errors
/// When the record cannot be read; pass it as it is.
pub fn tag_record(
    record: &[u8],
    into: TagInto,
    enrichments: &[Value],
    tag_word: &str,
) -> Result<(Vec<u8>, TagOutcome), OddRecord> {
    if enrichments.is_empty() {
        return Ok((record.to_vec(), TagOutcome::default()));
    }
    let body = body(record)?;
    let (new_body, outcome) = match (into, body.as_ref().map(|body| (body, &body.content))) {
        (TagInto::Auto | TagInto::Body, Some((body, Any::Map(_)))) => {
            let Shape::Object(entries) = AnyValue::shape(body.message)? else {
                return Err(OddRecord::WrongType("body"));
            };
            let (edits, outcome) = plan::<AnyValue>(&entries, enrichments, &[tag_word], Spelling::Nested)?;
            (edits.map(|edits| AnyValue::edit(body.message, &edits)).transpose()?, outcome)
        }
        (TagInto::Body, Some((body, Any::Text(text) | Any::Bytes(text)))) if text.trim_ascii().starts_with(b"{") => {
            match json::tag(text, enrichments, tag_word) {
                Ok((text, outcome)) => (Some(replace_text::<AnyValue>(body.message, &text)?), outcome),
                // It only looked like a document.
                Err(_) => return tag_attributes(record, enrichments, tag_word),
            }
        }
        _ => return tag_attributes(record, enrichments, tag_word),
    };
    match (body, new_body) {
        (Some(body), Some(new)) if outcome.changed => Ok((with_field(record, &body.place, field::BODY, &new), outcome)),
        _ => Ok((record.to_vec(), outcome)),
    }
}

fn tag_attributes(record: &[u8], enrichments: &[Value], tag_word: &str) -> Result<(Vec<u8>, TagOutcome), OddRecord> {
    let members = members(record, field::ATTRIBUTES)?;
    let entries: Vec<Entry<'_>> = members.iter().map(|member| member.entry.clone()).collect();
    let (edits, outcome) = plan::<AnyValue>(&entries, enrichments, &[tag_word], Spelling::Dotted)?;
    let record = match edits {
        Some(edits) => edit_members(record, field::ATTRIBUTES, &members, &edits)?,
        None => record.to_vec(),
    };
    Ok((record, outcome))
}

/// A record's body: where its field stands, its `AnyValue`, and what that holds.
pub(super) struct Body<'a> {
    place: Range<usize>,
    message: &'a [u8],
    pub(super) content: Any<'a>,
}

pub(super) fn body(record: &[u8]) -> Result<Option<Body<'_>>, OddRecord> {
    let mut fields = Fields::new(record);
    let mut body = None;
    while let Some(found) = fields.next_field()? {
        if found.number == field::BODY {
            let Payload::Bytes(message) = found.payload else { return Err(OddRecord::WrongType("body")) };
            let found = Body { place: found.start..found.end, message, content: any::<AnyValue>(message)? };
            if body.replace(found).is_some() {
                return Err(OddRecord::Repeated("body"));
            }
        }
    }
    Ok(body)
}

/// What the body of a record holds.
pub(crate) fn body_of(record: &[u8]) -> Result<Any<'_>, OddRecord> {
    Ok(body(record)?.map_or(Any::Null, |body| body.content))
}

/// The `AnyValue` that is the body of a record.
pub(crate) fn body_message(record: &[u8]) -> Result<Option<&[u8]>, OddRecord> {
    Ok(body(record)?.map(|body| body.message))
}
