//! Values of one dialect, or of JSON, in another, with their types.

use super::json::write_content;
use super::{Any, Dialect, Elements, OddRecord, VALUES, any, encode_key_value, key_value, timestamp};
use crate::encoding::Value;
use crate::encoding::json::JsonError;
use crate::encoding::json::scan::Scanner;
use crate::encoding::wire::{put_bytes, put_fixed64, put_number};

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
        Any::Double(value) => put_fixed64(&mut out, numbers.double, value.to_bits()),
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
                put_bytes(&mut converted, VALUES, &entry(key, &convert::<F, T>(value, depth + 1)?));
            }
            put_bytes(&mut out, numbers.map, &converted);
        }
    }
    Ok(out)
}

/// The members of a JSON document as encoded entries of a dialect, in order, duplicates included. What lies deeper than
/// the dialect allows becomes a text, which is its JSON.
///
/// # Errors
/// It is no JSON object.
pub(crate) fn json_entries<T: Dialect>(document: &[u8]) -> Result<Vec<Vec<u8>>, JsonError> {
    let mut scanner = Scanner::new(document);
    if scanner.peek() != Some(b'{') {
        return Err(JsonError::NotAnObject { at: scanner.at });
    }
    let mut entries = Vec::new();
    if scanner.open(b'}') {
        loop {
            let key = scanner.key()?.to_cow();
            entries.push(entry(&key, &json_value::<T>(&mut scanner, 1)?));
            if !scanner.more(b'}')? {
                break;
            }
        }
    }
    scanner.end()?;
    Ok(entries)
}

fn json_value<T: Dialect>(scanner: &mut Scanner<'_>, depth: usize) -> Result<Vec<u8>, JsonError> {
    let numbers = const { T::NUMBERS };
    let mut out = Vec::new();
    let first = scanner.peek().ok_or_else(|| scanner.unexpected("a value"))?;
    match first {
        b'"' => put_text::<T>(&mut out, &scanner.string()?.to_cow()),
        b'{' | b'[' if depth >= T::LEVELS => {
            let start = scanner.at;
            scanner.skip(first)?;
            put_text::<T>(&mut out, scanner.text.get(start..scanner.at).unwrap_or_default());
        }
        b'[' => {
            let mut list = Vec::new();
            if scanner.open(b']') {
                loop {
                    put_bytes(&mut list, VALUES, &json_value::<T>(scanner, depth + 1)?);
                    if !scanner.more(b']')? {
                        break;
                    }
                }
            }
            put_bytes(&mut out, numbers.array, &list);
        }
        b'{' => {
            let mut list = Vec::new();
            if scanner.open(b'}') {
                loop {
                    let key = scanner.key()?.to_cow();
                    put_bytes(&mut list, VALUES, &entry(&key, &json_value::<T>(scanner, depth + 1)?));
                    if !scanner.more(b'}')? {
                        break;
                    }
                }
            }
            put_bytes(&mut out, numbers.map, &list);
        }
        _ => match scanner.scalar()? {
            Some(Value::Bool(value)) => put_number(&mut out, numbers.boolean, u64::from(value)),
            Some(Value::Int(value)) => put_number(&mut out, numbers.integer, value as u64),
            Some(Value::Double(value)) => put_fixed64(&mut out, numbers.double, value.to_bits()),
            Some(Value::Text(_) | Value::Time(_)) | None => put_null::<T>(&mut out),
        },
    }
    Ok(out)
}

/// An entry around a converted value. Keys are strings of protobuf in every dialect, and readers refuse a whole request for
/// one that is no UTF-8: what is none in a key is replaced.
pub(crate) fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    encode_key_value(String::from_utf8_lossy(key).as_bytes(), value)
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
