//! Converts values between dialects and JSON, with their types.

use super::json::write_content;
use super::{Any, Dialect, Elements, KEY, MalformedRecord, VALUE, VALUES, any, key_value, timestamp};
use crate::encoding::Value;
use crate::encoding::json::JsonError;
use crate::encoding::json::scan::Scanner;
use crate::encoding::wire::{put_bytes, put_fixed64, put_nested, put_number};

/// A value of dialect `F` in dialect `T`; `depth` containers are open around it. A container that lies deeper than `T`
/// allows becomes a text, which is its JSON.
pub(crate) fn convert<F: Dialect, T: Dialect>(value: &[u8], depth: usize) -> Result<Vec<u8>, MalformedRecord> {
    let mut out = Vec::with_capacity(value.len() + 8);
    put_converted::<F, T>(&mut out, value, depth)?;
    Ok(out)
}

fn put_converted<F: Dialect, T: Dialect>(out: &mut Vec<u8>, value: &[u8], depth: usize) -> Result<(), MalformedRecord> {
    let numbers = const { T::NUMBERS };
    match any::<F>(value)? {
        Any::Null | Any::Unknown => put_null::<T>(out),
        Any::Text(text) => put_text::<T>(out, text),
        Any::Bytes(bytes) if numbers.bytes != 0 => put_bytes(out, numbers.bytes, bytes),
        Any::Bytes(bytes) => put_bytes(out, numbers.text, bytes),
        Any::Bool(value) => put_number(out, numbers.boolean, u64::from(value)),
        Any::Int(value) => put_number(out, numbers.integer, value as u64),
        Any::Double(value) if value.is_nan() && !T::TAKES_NAN => put_bytes(out, numbers.text, b"NaN"),
        Any::Double(value) => put_fixed64(out, numbers.double, value.to_bits()),
        Any::Time(time) if numbers.time != 0 => put_bytes(out, numbers.time, time),
        Any::Time(time) => match timestamp(time) {
            Some(time) => put_bytes(out, numbers.text, time.to_string().as_bytes()),
            None => put_null::<T>(out),
        },
        content @ (Any::Array(_) | Any::Map(_)) if depth >= T::LEVELS => {
            put_nested(out, numbers.text, |out| write_content::<F>(out, content, 0))?;
        }
        Any::Array(list) => put_nested(out, numbers.array, |out| {
            let mut elements = Elements::new(list);
            while let Some(element) = elements.next_element()? {
                put_nested(out, VALUES, |out| put_converted::<F, T>(out, element, depth + 1))?;
            }
            Ok::<_, MalformedRecord>(())
        })?,
        Any::Map(list) => put_nested(out, numbers.map, |out| {
            let mut elements = Elements::new(list);
            while let Some(element) = elements.next_element()? {
                let (key, value) = key_value(element)?;
                put_entry(out, key, |out| put_converted::<F, T>(out, value, depth + 1))?;
            }
            Ok::<_, MalformedRecord>(())
        })?,
    }
    Ok(())
}

/// The members of a JSON document as encoded entries of a dialect, in order, duplicates included. What lies deeper than
/// the dialect allows becomes a text, which is its JSON.
///
/// # Errors
/// It is not a JSON object.
pub(crate) fn json_entries<T: Dialect>(document: &[u8]) -> Result<Vec<Vec<u8>>, JsonError> {
    let mut scanner = Scanner::new(document);
    if scanner.peek() != Some(b'{') {
        return Err(JsonError::NotAnObject { at: scanner.at });
    }
    let mut entries = Vec::new();
    if scanner.open(b'}') {
        loop {
            let key = scanner.key()?.to_cow();
            let mut entry = Vec::new();
            put_key_value(&mut entry, &key, |out| put_json_value::<T>(out, &mut scanner, 1))?;
            entries.push(entry);
            if !scanner.more(b'}')? {
                break;
            }
        }
    }
    scanner.end()?;
    Ok(entries)
}

fn put_json_value<T: Dialect>(out: &mut Vec<u8>, scanner: &mut Scanner<'_>, depth: usize) -> Result<(), JsonError> {
    let numbers = const { T::NUMBERS };
    let first = scanner.peek().ok_or_else(|| scanner.unexpected("a value"))?;
    match first {
        b'"' => put_text::<T>(out, &scanner.string()?.to_cow()),
        b'{' | b'[' if depth >= T::LEVELS => {
            let start = scanner.at;
            scanner.skip(first)?;
            put_text::<T>(out, scanner.text.get(start..scanner.at).unwrap_or_default());
        }
        b'[' => put_nested(out, numbers.array, |out| {
            let mut more = scanner.open(b']');
            while more {
                put_nested(out, VALUES, |out| put_json_value::<T>(out, scanner, depth + 1))?;
                more = scanner.more(b']')?;
            }
            Ok::<_, JsonError>(())
        })?,
        b'{' => put_nested(out, numbers.map, |out| {
            let mut more = scanner.open(b'}');
            while more {
                let key = scanner.key()?.to_cow();
                put_entry(out, &key, |out| put_json_value::<T>(out, scanner, depth + 1))?;
                more = scanner.more(b'}')?;
            }
            Ok::<_, JsonError>(())
        })?,
        _ => match scanner.scalar()? {
            Some(Value::Bool(value)) => put_number(out, numbers.boolean, u64::from(value)),
            Some(Value::Int(value)) => put_number(out, numbers.integer, value as u64),
            Some(Value::Double(value)) => put_fixed64(out, numbers.double, value.to_bits()),
            Some(Value::Text(_) | Value::Time(_)) | None => put_null::<T>(out),
        },
    }
    Ok(())
}

/// Appends an entry of a list, around a value that `put` appends. Keys are strings of protobuf in every dialect, and readers
/// refuse a whole request for one that is not UTF-8: what is none in a key is replaced.
fn put_entry<E>(out: &mut Vec<u8>, key: &[u8], put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    put_nested(out, VALUES, |out| put_key_value(out, key, put))
}

/// The same without the field around it.
fn put_key_value<E>(out: &mut Vec<u8>, key: &[u8], put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    put_bytes(out, KEY, String::from_utf8_lossy(key).as_bytes());
    put_nested(out, VALUE, put)
}

/// Appends the field `number`, an entry around a value of dialect `F`, in dialect `T`.
pub(crate) fn put_converted_entry<F: Dialect, T: Dialect>(
    out: &mut Vec<u8>,
    number: u32,
    key: &[u8],
    value: &[u8],
) -> Result<(), MalformedRecord> {
    put_nested(out, number, |out| put_key_value(out, key, |out| put_converted::<F, T>(out, value, 1)))
}

fn put_null<T: Dialect>(out: &mut Vec<u8>) {
    if T::NUMBERS.null != 0 {
        put_number(out, T::NUMBERS.null, 0);
    }
}

/// Text; as bytes if it is not UTF-8 and the dialect distinguishes them.
fn put_text<T: Dialect>(out: &mut Vec<u8>, text: &[u8]) {
    let is_bytes = T::NUMBERS.bytes != 0 && str::from_utf8(text).is_err();
    put_bytes(out, if is_bytes { T::NUMBERS.bytes } else { T::NUMBERS.text }, text);
}
