//! A dialect as a [`Codec`]: what tagging needs to open, make and rewrite values.

use std::borrow::Cow;

use serde_json::Value;

use super::members::place_of;
use super::{Any, Dialect, Elements, KEY, OddRecord, VALUE, VALUES, any, edit_members, members, with_field};
use crate::encoding::tag::{Codec, Edits, Shape};
use crate::encoding::wire::{put_bytes, put_fixed64, put_number};

impl<D: Dialect> Codec for D {
    type Error = OddRecord;

    fn shape(value: &[u8]) -> Result<Shape<'_>, OddRecord> {
        Ok(match any::<D>(value)? {
            Any::Null => Shape::Null,
            Any::Text(text) | Any::Bytes(text) => Shape::Text(Cow::Borrowed(text)),
            Any::Unknown | Any::Bool(_) | Any::Int(_) | Any::Double(_) | Any::Time(_) => Shape::Scalar,
            Any::Array(list) => {
                let mut elements = Elements::new(list);
                let mut found = Vec::new();
                while let Some(element) = elements.next_element()? {
                    found.push(element);
                }
                Shape::Array(found)
            }
            Any::Map(list) => Shape::Object(members(list, VALUES)?.into_iter().map(|member| member.entry).collect()),
        })
    }

    fn encode(value: &Value) -> Vec<u8> {
        encode_json::<D>(value)
    }

    fn array(elements: &[&[u8]]) -> Vec<u8> {
        let mut list = Vec::new();
        elements.iter().for_each(|element| put_bytes(&mut list, VALUES, element));
        let mut out = Vec::new();
        put_bytes(&mut out, D::NUMBERS.array, &list);
        out
    }

    fn extend(array: &[u8], new: &[&[u8]]) -> Result<Vec<u8>, OddRecord> {
        edit_list::<D>(array, D::NUMBERS.array, |list| {
            let mut list = list.to_vec();
            new.iter().for_each(|element| put_bytes(&mut list, VALUES, element));
            Ok(list)
        })
    }

    fn edit(object: &[u8], edits: &Edits) -> Result<Vec<u8>, OddRecord> {
        edit_list::<D>(object, D::NUMBERS.map, |list| edit_members(list, VALUES, &members(list, VALUES)?, edits))
    }
}

/// A value whose list (the member `number`) is written anew by `edit`.
fn edit_list<D: Dialect>(
    value: &[u8],
    number: u32,
    edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, OddRecord>,
) -> Result<Vec<u8>, OddRecord> {
    let (place, _) = place_of(value, |found| found == number)?.ok_or(OddRecord::WrongType("a value"))?;
    let (Any::Map(list) | Any::Array(list)) = any::<D>(value)? else { return Err(OddRecord::WrongType("a value")) };
    Ok(with_field(value, &place, number, &edit(list)?))
}

/// A JSON value in a dialect. An integer above `i64::MAX` is a double.
pub(crate) fn encode_json<D: Dialect>(document: &Value) -> Vec<u8> {
    let numbers = const { D::NUMBERS };
    let mut out = Vec::new();
    match document {
        Value::Null if numbers.null == 0 => {}
        Value::Null => put_number(&mut out, numbers.null, 0),
        Value::Bool(value) => put_number(&mut out, numbers.boolean, u64::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(value) => put_number(&mut out, numbers.integer, value as u64),
            None => put_fixed64(&mut out, numbers.double, number.as_f64().unwrap_or(f64::NAN).to_bits()),
        },
        Value::String(text) => put_bytes(&mut out, numbers.text, text.as_bytes()),
        Value::Array(elements) => {
            let mut list = Vec::new();
            elements.iter().for_each(|element| put_bytes(&mut list, VALUES, &encode_json::<D>(element)));
            put_bytes(&mut out, numbers.array, &list);
        }
        Value::Object(members) => {
            let mut list = Vec::new();
            for (key, value) in members {
                put_bytes(&mut list, VALUES, &encode_key_value(key.as_bytes(), &encode_json::<D>(value)));
            }
            put_bytes(&mut out, numbers.map, &list);
        }
    }
    out
}

/// An entry around an encoded value.
pub(crate) fn encode_key_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + value.len() + 8);
    put_bytes(&mut out, KEY, key);
    put_bytes(&mut out, VALUE, value);
    out
}

/// A value of text or bytes with another text.
pub(crate) fn replace_text<D: Dialect>(value: &[u8], text: &[u8]) -> Result<Vec<u8>, OddRecord> {
    let is_text = |number| number == D::NUMBERS.text || number == D::NUMBERS.bytes;
    let (place, number) = place_of(value, is_text)?.ok_or(OddRecord::WrongType("a value"))?;
    Ok(with_field(value, &place, number, text))
}
