//! A dialect as a [`Codec`]: the functions that open, make and rewrite values for tagging.

use std::borrow::Cow;

use serde_json::Value;

use super::members::place_of;
use super::{Any, Dialect, Elements, Entries, KEY, MalformedRecord, VALUE, VALUES, any, with_field};
use crate::encoding::json;
use crate::encoding::tag::{Codec, Edits, Shape, Spelling, TagOutcome, Tags, plan};
use crate::encoding::wire::{Fields, put_bytes, put_fixed64, put_nested, put_number};

impl<D: Dialect> Codec for D {
    type Error = MalformedRecord;

    fn shape(value: &[u8]) -> Result<Shape<'_>, MalformedRecord> {
        Ok(match any::<D>(value)? {
            Any::Null => Shape::Null,
            Any::Text(text) | Any::Bytes(text) => Shape::Text(Cow::Borrowed(text)),
            Any::Unknown | Any::Bool(_) | Any::Int(_) | Any::Double(_) | Any::Time(_) => Shape::Scalar,
            Any::Array(list) => {
                // The list is sized before it is filled: a hostile one has an element in every two bytes.
                let mut elements = Elements::new(list);
                let mut count = 0;
                while elements.next_element()?.is_some() {
                    count += 1;
                }
                let mut elements = Elements::new(list);
                let mut found = Vec::with_capacity(count);
                while let Some(element) = elements.next_element()? {
                    found.push(element);
                }
                Shape::Array(found)
            }
            Any::Map(list) => Shape::Object(Entries::whole(list, VALUES)?.list),
        })
    }

    fn encode(value: &Value) -> Vec<u8> {
        encode_json::<D>(value)
    }

    fn put_text(out: &mut Vec<u8>, text: &str) {
        put_bytes(out, D::NUMBERS.text, text.as_bytes());
    }

    fn put_true(out: &mut Vec<u8>) {
        put_number(out, D::NUMBERS.boolean, 1);
    }

    fn put_object(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
        put_nested(out, D::NUMBERS.map, put);
    }

    fn put_member(out: &mut Vec<u8>, key: &str, put: impl FnOnce(&mut Vec<u8>)) {
        put_nested(out, VALUES, |out| {
            put_bytes(out, KEY, key.as_bytes());
            put_nested(out, VALUE, put);
        });
    }

    fn put_array(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
        put_nested(out, D::NUMBERS.array, put);
    }

    fn put_element(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
        put_nested(out, VALUES, put);
    }

    fn array(elements: &[&[u8]]) -> Vec<u8> {
        let mut list = Vec::new();
        elements.iter().for_each(|element| put_bytes(&mut list, VALUES, element));
        let mut out = Vec::new();
        put_bytes(&mut out, D::NUMBERS.array, &list);
        out
    }

    fn edit_array(array: &[u8], edits: &Edits) -> Result<Vec<u8>, MalformedRecord> {
        edit_list::<D>(array, D::NUMBERS.array, |list| edit_elements(list, edits))
    }

    fn edit(object: &[u8], edits: &Edits) -> Result<Vec<u8>, MalformedRecord> {
        edit_list::<D>(object, D::NUMBERS.map, |list| Entries::whole(list, VALUES)?.edit(edits))
    }
}

fn edit_elements(list: &[u8], edits: &Edits) -> Result<Vec<u8>, MalformedRecord> {
    let mut out = Vec::with_capacity(list.len() + edits.bytes());
    let mut replaced = edits.replaced.iter().peekable();
    let mut fields = Fields::new(list);
    let mut index = 0;
    while let Some(found) = fields.next_field()? {
        let mut edit = None;
        if found.number == VALUES {
            edit = replaced.next_if(|(at, _)| *at == index).map(|(_, value)| value);
            index += 1;
        }
        match edit {
            Some(Some(value)) => put_bytes(&mut out, VALUES, value),
            Some(None) => {}
            None => out.extend_from_slice(list.get(found.start..found.end).unwrap_or_default()),
        }
    }
    edits.appended.iter().for_each(|(_, element)| put_bytes(&mut out, VALUES, element));
    Ok(out)
}

/// A map with edits, whose entries are read as far as they can be.
pub(crate) fn tag_map<D: Dialect>(
    value: &[u8],
    tags: &Tags<'_>,
) -> Result<(Option<Vec<u8>>, TagOutcome), MalformedRecord> {
    let Any::Map(list) = any::<D>(value)? else { return Err(MalformedRecord::WrongType("a value")) };
    let entries = Entries::readable(list, VALUES);
    let (edits, outcome) = plan::<D>(&entries.list, tags, Spelling::Nested);
    let Some(edits) = edits else { return Ok((None, outcome)) };
    let edited = edit_list::<D>(value, D::NUMBERS.map, |_| entries.edit(&edits))?;
    Ok((Some(edited), outcome))
}

/// A text that holds a document, with tags in it; `None` when nothing changes, or the text is not a document.
pub(crate) fn tag_text<D: Dialect>(value: &[u8], tags: &Tags<'_>) -> Option<(Option<Vec<u8>>, TagOutcome)> {
    let (Any::Text(text) | Any::Bytes(text)) = any::<D>(value).ok()? else { return None };
    if !json::begins_document(text) {
        return None;
    }
    // A text that only looks like a document is tagged in the fields next to it.
    let (text, outcome) = json::tag_whole(text, tags).ok()?;
    match outcome.changed {
        true => Some((Some(replace_text::<D>(value, &text).ok()?), outcome)),
        false => Some((None, outcome)),
    }
}

/// A value whose list (the member `number`) is written again by `edit`.
fn edit_list<D: Dialect>(
    value: &[u8],
    number: u32,
    edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, MalformedRecord>,
) -> Result<Vec<u8>, MalformedRecord> {
    let (place, _) = place_of(value, |found| found == number)?.ok_or(MalformedRecord::WrongType("a value"))?;
    let (Any::Map(list) | Any::Array(list)) = any::<D>(value)? else {
        return Err(MalformedRecord::WrongType("a value"));
    };
    Ok(with_field(value, &place, number, &edit(list)?))
}

/// A JSON value in a dialect. An integer above `i64::MAX` is a double.
pub(crate) fn encode_json<D: Dialect>(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_json::<D>(&mut out, document);
    out
}

fn put_json<D: Dialect>(out: &mut Vec<u8>, document: &Value) {
    let numbers = const { D::NUMBERS };
    match document {
        Value::Null if numbers.null == 0 => {}
        Value::Null => put_number(out, numbers.null, 0),
        Value::Bool(value) => put_number(out, numbers.boolean, u64::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(value) => put_number(out, numbers.integer, value as u64),
            None => put_fixed64(out, numbers.double, number.as_f64().unwrap_or(f64::NAN).to_bits()),
        },
        Value::String(text) => D::put_text(out, text),
        Value::Array(elements) => D::put_array(out, |out| {
            elements.iter().for_each(|element| D::put_element(out, |out| put_json::<D>(out, element)));
        }),
        Value::Object(members) => D::put_object(out, |out| {
            members.iter().for_each(|(key, value)| D::put_member(out, key, |out| put_json::<D>(out, value)));
        }),
    }
}

/// A value of text or bytes with another text.
fn replace_text<D: Dialect>(value: &[u8], text: &[u8]) -> Result<Vec<u8>, MalformedRecord> {
    let is_text = |number| number == D::NUMBERS.text || number == D::NUMBERS.bytes;
    let (place, number) = place_of(value, is_text)?.ok_or(MalformedRecord::WrongType("a value"))?;
    Ok(with_field(value, &place, number, text))
}
