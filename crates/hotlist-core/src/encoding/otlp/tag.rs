//! Tagging of log records: the rules of [`crate::encoding::tag`] over key-value lists and attributes.

use std::ops::Range;

use super::{AnyValue, field};
use crate::encoding::TagInto;
use crate::encoding::dialect::{Any, Entries, MalformedRecord, any, tag_map, tag_text, with_field};
use crate::encoding::tag::{Spelling, TagOutcome, Tags, plan};
use crate::encoding::wire::{Fields, Payload};

/// Brings `tags` into a log record; see [`crate::encoding::tag`] for where they go. Body and attributes are both looked
/// at for what arrived with it. When the record holds all of it, it comes back as it is.
pub fn tag_record(record: &[u8], tags: &Tags<'_>) -> (Vec<u8>, TagOutcome) {
    if tags.is_nothing() {
        return (record.to_vec(), TagOutcome::default());
    }
    let (body, outcome, is_placed) = tag_body(record, tags);
    let record = body.as_deref().unwrap_or(record);
    let rest = if is_placed { tags.without_enrichments() } else { *tags };
    let (attributes, of_attributes) = tag_attributes(record, &rest);
    (attributes.or_else(|| body.clone()).unwrap_or_else(|| record.to_vec()), outcome.and(of_attributes))
}

/// The record with tags in its body, when that changes it, and whether our enrichments went there.
fn tag_body(record: &[u8], tags: &Tags<'_>) -> (Option<Vec<u8>>, TagOutcome, bool) {
    let nothing = (None, TagOutcome::default(), false);
    // Readers merge a duplicate body; the attributes are next to it.
    let Ok(Some(body)) = body(record) else { return nothing };
    let here = |wanted: bool| if wanted { *tags } else { tags.without_enrichments() };
    let (tagged, is_place) = match body.content {
        Any::Map(_) => {
            let is_place = tags.into != TagInto::Attributes;
            (tag_map::<AnyValue>(body.message, &here(is_place)).ok(), is_place)
        }
        Any::Text(_) | Any::Bytes(_) => {
            let is_place = tags.into == TagInto::Body;
            (tag_text::<AnyValue>(body.message, &here(is_place)), is_place)
        }
        _ => return nothing,
    };
    match tagged {
        Some((new, outcome)) => (new.map(|new| with_field(record, &body.place, field::BODY, &new)), outcome, is_place),
        None => nothing,
    }
}

/// The record with tags in its attributes, when that changes it.
fn tag_attributes(record: &[u8], tags: &Tags<'_>) -> (Option<Vec<u8>>, TagOutcome) {
    let entries = Entries::readable(record, field::ATTRIBUTES);
    let (edits, outcome) = plan::<AnyValue>(&entries.list, tags, Spelling::Dotted);
    let edited = edits.map(|edits| entries.edit(&edits));
    match edited {
        Some(Ok(record)) => (Some(record), outcome),
        Some(Err(_)) => (None, TagOutcome::default()),
        None => (None, outcome),
    }
}

/// A record's body: where its field stands, its `AnyValue`, and what that holds.
pub(super) struct Body<'a> {
    place: Range<usize>,
    message: &'a [u8],
    pub(super) content: Any<'a>,
}

pub(super) fn body(record: &[u8]) -> Result<Option<Body<'_>>, MalformedRecord> {
    let mut fields = Fields::new(record);
    let mut body = None;
    while let Some(found) = fields.next_field()? {
        if found.number == field::BODY {
            let Payload::Bytes(message) = found.payload else { return Err(MalformedRecord::WrongType("body")) };
            let found = Body { place: found.start..found.end, message, content: any::<AnyValue>(message)? };
            if body.replace(found).is_some() {
                return Err(MalformedRecord::Repeated("body"));
            }
        }
    }
    Ok(body)
}

pub(crate) fn body_of(record: &[u8]) -> Result<Any<'_>, MalformedRecord> {
    Ok(body(record)?.map_or(Any::Null, |body| body.content))
}

/// The `AnyValue` that is the body of a record.
pub(crate) fn body_message(record: &[u8]) -> Result<Option<&[u8]>, MalformedRecord> {
    Ok(body(record)?.map(|body| body.message))
}
