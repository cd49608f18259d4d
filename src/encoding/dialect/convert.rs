//! Values of one dialect, or of JSON, in another, with their types.

use std::borrow::Cow;

use super::json::write_content;
use super::{
    Any, Dialect, Elements, OddRecord, VALUES, any, encode_key_value, key_value, put_double, put_number, timestamp,
};
use crate::encoding::Value;
use crate::encoding::json::{JsonError, JsonToken, JsonValues};
use crate::encoding::wire::put_bytes;

/// A value of dialect `F` in dialect `T`; `depth` containers are open around it. A container that lies deeper than `T`
/// allows becomes a text, which is its JSON.
pub(crate) fn convert<F: Dialect, T: Dialect>(value: &[u8], depth: usize) -> Result<Vec<u8>, OddRecord> {
    let numbers = const { T::NUMBERS };
    let mut out = Vec::new();
    match any::<F>(value)? {
        Any::Null | Any::Unknown => put_null::<T>(&mut out),
        Any::Text(text) => put_text::<T>(&mut out, text),
        Any::Bytes(bytes) if numbers.bytes != 0 => put_bytes(&mut out, numbers.bytes, bytes),
        Any::Bytes(bytes) => put_bytes(&mut out, numbers.text, bytes),
        Any::Bool(value) => put_number(&mut out, numbers.boolean, u64::from(value)),
        Any::Int(value) => put_number(&mut out, numbers.integer, value as u64),
        Any::Double(value) if value.is_nan() && !T::TAKES_NAN => put_bytes(&mut out, numbers.text, b"NaN"),
        Any::Double(value) => put_double(&mut out, numbers.double, value),
        Any::Time(time) if numbers.time != 0 => put_bytes(&mut out, numbers.time, time),
        Any::Time(time) => match timestamp(time) {
            Some(time) => put_bytes(&mut out, numbers.text, time.to_string().as_bytes()),
            None => put_null::<T>(&mut out),
        },
        content @ (Any::Array(_) | Any::Map(_)) if depth >= T::LEVELS => {
            let mut text = Vec::new();
            write_content::<F>(&mut text, content, 0)?;
            put_bytes(&mut out, numbers.text, &text);
        }
        Any::Array(list) => {
            let mut elements = Elements::new(list);
            let mut converted = Vec::with_capacity(list.len());
            while let Some(element) = elements.next_element()? {
                put_bytes(&mut converted, VALUES, &convert::<F, T>(element, depth + 1)?);
            }
            put_bytes(&mut out, numbers.array, &converted);
        }
        Any::Map(list) => {
            let mut elements = Elements::new(list);
            let mut converted = Vec::with_capacity(list.len());
            while let Some(element) = elements.next_element()? {
                let (key, value) = key_value(element)?;
                put_bytes(&mut converted, VALUES, &encode_key_value(key, &convert::<F, T>(value, depth + 1)?));
            }
            put_bytes(&mut out, numbers.map, &converted);
        }
    }
    Ok(out)
}

/// The members of a JSON document as keys and values of a dialect, in order, duplicates included.
///
/// # Errors
/// It is no JSON object.
pub(crate) fn json_entries<T: Dialect>(document: &[u8]) -> Result<Vec<(Cow<'_, [u8]>, Vec<u8>)>, JsonError> {
    let mut values = JsonValues::new(document)?;
    let mut entries = Vec::new();
    while let Some(key) = values.next_key()? {
        entries.push((key, json_value::<T>(&mut values, 1)?));
    }
    values.end()?;
    Ok(entries)
}

fn json_value<T: Dialect>(values: &mut JsonValues<'_>, depth: usize) -> Result<Vec<u8>, JsonError> {
    let numbers = const { T::NUMBERS };
    let mut out = Vec::new();
    match values.next_value(depth < T::LEVELS)? {
        JsonToken::Null => put_null::<T>(&mut out),
        JsonToken::Text(text) => put_text::<T>(&mut out, &text),
        JsonToken::Scalar(Value::Bool(value)) => put_number(&mut out, numbers.boolean, u64::from(value)),
        JsonToken::Scalar(Value::Int(value)) => put_number(&mut out, numbers.integer, value as u64),
        JsonToken::Scalar(Value::Double(value)) => put_double(&mut out, numbers.double, value),
        JsonToken::Scalar(Value::Text(_) | Value::Time(_)) => put_null::<T>(&mut out),
        JsonToken::Raw(text) => put_text::<T>(&mut out, text),
        JsonToken::Array => {
            let mut list = Vec::new();
            while values.next_element()? {
                put_bytes(&mut list, VALUES, &json_value::<T>(values, depth + 1)?);
            }
            put_bytes(&mut out, numbers.array, &list);
        }
        JsonToken::Object => {
            let mut list = Vec::new();
            while let Some(key) = values.next_key()? {
                put_bytes(&mut list, VALUES, &encode_key_value(&key, &json_value::<T>(values, depth + 1)?));
            }
            put_bytes(&mut out, numbers.map, &list);
        }
    }
    Ok(out)
}

fn put_null<T: Dialect>(out: &mut Vec<u8>) {
    if T::NUMBERS.null != 0 {
        put_number(out, T::NUMBERS.null, 0);
    }
}

/// Text; as bytes when it is no UTF-8 and the dialect tells them apart.
fn put_text<T: Dialect>(out: &mut Vec<u8>, text: &[u8]) {
    let is_bytes = T::NUMBERS.bytes != 0 && str::from_utf8(text).is_err();
    put_bytes(out, if is_bytes { T::NUMBERS.bytes } else { T::NUMBERS.text }, text);
}
