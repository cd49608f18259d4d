//! Tagging of log records: the rules of [`crate::encoding::tag`] over key-value lists and attributes.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::field;
use super::value::{encode_json, encode_key_value};
use super::walk::{Any, Elements, OddRecord, any, key_value};
use crate::encoding::json;
use crate::encoding::tag::{Codec, Edits, Entry, Shape, Spelling, TagOutcome, plan};
use crate::encoding::wire::{Fields, Payload, put_bytes};

/// Which part of a record takes the tags (`tag_into` of the configuration).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagInto {
    /// The body where it is a document of its own, else the attributes.
    #[default]
    Auto,
    /// The body, JSON text included; the attributes when the body is no document.
    Body,
    /// The attributes.
    Attributes,
}

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
        (TagInto::Auto | TagInto::Body, Some((body, Any::KvList(_)))) => {
            let Shape::Object(entries) = AnyValue::shape(body.message)? else {
                return Err(OddRecord::WrongType("body"));
            };
            let (edits, outcome) = plan::<AnyValue>(&entries, enrichments, &[tag_word], Spelling::Nested)?;
            (edits.map(|edits| AnyValue::edit(body.message, &edits)).transpose()?, outcome)
        }
        (TagInto::Body, Some((body, Any::Text(text) | Any::Bytes(text)))) if text.trim_ascii().starts_with(b"{") => {
            match json::tag(text, enrichments, tag_word) {
                Ok((text, outcome)) => (Some(replace_text(body.message, &text)?), outcome),
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
            let found = Body { place: found.start..found.end, message, content: any(message)? };
            if body.replace(found).is_some() {
                return Err(OddRecord::Repeated("body"));
            }
        }
    }
    Ok(body)
}

/// A `KeyValue` among the fields of a message.
pub(super) struct Member<'a> {
    /// Where the field stands.
    place: Range<usize>,
    /// The `KeyValue`.
    message: &'a [u8],
    pub(super) entry: Entry<'a>,
}

/// The `KeyValue`s that are the fields `number` of a message.
pub(super) fn members(message: &[u8], number: u32) -> Result<Vec<Member<'_>>, OddRecord> {
    let mut fields = Fields::new(message);
    let mut members = Vec::new();
    while let Some(found) = fields.next_field()? {
        if found.number == number {
            let Payload::Bytes(message) = found.payload else { return Err(OddRecord::WrongType("KeyValue")) };
            let (key, value) = key_value(message)?;
            let entry = Entry { key: Cow::Borrowed(key), value };
            members.push(Member { place: found.start..found.end, message, entry });
        }
    }
    Ok(members)
}

/// `message` with edits to its `members`, its other fields as they are.
fn edit_members(message: &[u8], number: u32, members: &[Member<'_>], edits: &Edits) -> Result<Vec<u8>, OddRecord> {
    let mut out = Vec::with_capacity(message.len() + 512);
    let mut copied = 0;
    for (index, new) in &edits.replaced {
        if let Some(member) = members.get(*index) {
            out.extend_from_slice(message.get(copied..member.place.start).unwrap_or_default());
            put_bytes(&mut out, number, &with_value(member.message, new)?);
            copied = member.place.end;
        }
    }
    out.extend_from_slice(message.get(copied..).unwrap_or_default());
    for (key, value) in &edits.appended {
        put_bytes(&mut out, number, &encode_key_value(key, value));
    }
    Ok(out)
}

/// A `KeyValue` with another value, its other fields as they are.
fn with_value(key_value: &[u8], value: &[u8]) -> Result<Vec<u8>, OddRecord> {
    let place = place_of(key_value, |number| number == field::VALUE)?;
    let place = place.map_or(key_value.len()..key_value.len(), |(place, _)| place);
    Ok(with_field(key_value, &place, field::VALUE, value))
}

/// Where the first field of a number that `wanted` accepts stands, with its number.
fn place_of(message: &[u8], wanted: impl Fn(u32) -> bool) -> Result<Option<(Range<usize>, u32)>, OddRecord> {
    let mut fields = Fields::new(message);
    while let Some(found) = fields.next_field()? {
        if wanted(found.number) {
            return Ok(Some((found.start..found.end, found.number)));
        }
    }
    Ok(None)
}

/// `message` with the field at `place` written anew.
fn with_field(message: &[u8], place: &Range<usize>, number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + content.len() + 8);
    out.extend_from_slice(message.get(..place.start).unwrap_or_default());
    put_bytes(&mut out, number, content);
    out.extend_from_slice(message.get(place.end..).unwrap_or_default());
    out
}

/// An `AnyValue` of text or bytes with another text.
fn replace_text(value: &[u8], text: &[u8]) -> Result<Vec<u8>, OddRecord> {
    let (place, number) = place_of(value, |number| number == field::STRING || number == field::BYTES)?
        .ok_or(OddRecord::WrongType("body"))?;
    Ok(with_field(value, &place, number, text))
}

/// `AnyValue` as a [`Codec`].
pub(super) struct AnyValue;

impl AnyValue {
    /// An `AnyValue` whose list (member `number`) is written anew by `edit`.
    fn edit_list(
        value: &[u8],
        number: u32,
        edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, OddRecord>,
    ) -> Result<Vec<u8>, OddRecord> {
        let (place, _) = place_of(value, |found| found == number)?.ok_or(OddRecord::WrongType("AnyValue"))?;
        let (Any::KvList(list) | Any::Array(list)) = any(value)? else { return Err(OddRecord::WrongType("AnyValue")) };
        Ok(with_field(value, &place, number, &edit(list)?))
    }
}

impl Codec for AnyValue {
    type Error = OddRecord;

    fn shape(value: &[u8]) -> Result<Shape<'_>, OddRecord> {
        Ok(match any(value)? {
            // A member that this version of OTLP does not know is something, too.
            Any::Null if !value.is_empty() => Shape::Scalar,
            Any::Null => Shape::Null,
            Any::Text(text) | Any::Bytes(text) => Shape::Text(Cow::Borrowed(text)),
            Any::Bool(_) | Any::Int(_) | Any::Double(_) => Shape::Scalar,
            Any::Array(list) => {
                let mut elements = Elements::new(list);
                let mut found = Vec::new();
                while let Some(element) = elements.next_element()? {
                    found.push(element);
                }
                Shape::Array(found)
            }
            Any::KvList(list) => {
                Shape::Object(members(list, field::VALUES)?.into_iter().map(|member| member.entry).collect())
            }
        })
    }

    fn encode(value: &Value) -> Vec<u8> {
        encode_json(value)
    }

    fn array(elements: &[&[u8]]) -> Vec<u8> {
        let mut list = Vec::new();
        elements.iter().for_each(|element| put_bytes(&mut list, field::VALUES, element));
        let mut out = Vec::new();
        put_bytes(&mut out, field::ARRAY, &list);
        out
    }

    fn extend(array: &[u8], new: &[&[u8]]) -> Result<Vec<u8>, OddRecord> {
        AnyValue::edit_list(array, field::ARRAY, |list| {
            let mut list = list.to_vec();
            new.iter().for_each(|element| put_bytes(&mut list, field::VALUES, element));
            Ok(list)
        })
    }

    fn edit(object: &[u8], edits: &Edits) -> Result<Vec<u8>, OddRecord> {
        AnyValue::edit_list(object, field::KVLIST, |list| {
            edit_members(list, field::VALUES, &members(list, field::VALUES)?, edits)
        })
    }
}
