//! A table of the fields that OTLP has in addition to a document, with their names in Vector's metadata.

use std::fmt::Write as _;

use crate::encoding::MalformedRecord;
use crate::encoding::dialect::{
    Any, Dialect, FieldNumbers, VALUES, any, converted_len, encode_key_value, for_each_member, members,
    put_converted_entry, put_timestamp, timestamp,
};
use crate::encoding::otlp::AnyValue;
use crate::encoding::vector::LogValue;
use crate::encoding::wire::{Fields, Payload, put_bytes, put_fixed64, put_number, put_varint};

/// A field of a message.
pub(crate) struct OtlpField {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// How a field is encoded, and thereby what it becomes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// A varint.
    Number,
    /// A fixed32.
    Fixed32,
    /// A fixed64 of nanoseconds since 1970, 0 for none: an instant.
    Time,
    /// Bytes, as hexadecimal digits.
    Hex,
    /// Repeated entries: a map.
    Attributes,
    /// A message with parts of its own: a map.
    Message(&'static [OtlpField]),
}

const fn part(number: u32, name: &'static str, kind: Kind) -> OtlpField {
    OtlpField { number, name, kind }
}

/// The key of Vector's metadata below which OTLP's stand, as Vector's own `opentelemetry` source has it.
pub(crate) const OPENTELEMETRY: &[u8] = b"opentelemetry";
/// Says which part of the record the event's fields are, when they are not its body.
pub(super) const ROOT: &str = "root";
/// Says which field of the event is the record's body.
pub(super) const BODY_KEY: &str = "body_key";
/// A body that has no place among the fields.
pub(super) const BODY: &str = "body";
/// Says that the event's `timestamp` is the record's time, and was not a field of the document.
pub(super) const TIMESTAMP_ADDED: &str = "timestamp_added";

/// Says that what was around the record is left out.
pub(super) const CONTEXT_LEFT_OUT: &str = "context_left_out";
/// The keys that say how the record was laid out, and nothing of the event.
pub(crate) const HOW_TO_CONVERT: &[&[u8]] = &[ROOT.as_bytes(), BODY_KEY.as_bytes(), TIMESTAMP_ADDED.as_bytes()];

/// Name of the attributes, wherever they are.
pub(super) const ATTRIBUTES: &str = "attributes";

/// `LogRecord` without its body.
pub(super) const RECORD: &[OtlpField] = &[
    part(1, "timestamp", Kind::Time),
    part(2, "severity_number", Kind::Number),
    part(3, "severity_text", Kind::Text),
    part(7, "dropped_attributes_count", Kind::Number),
    part(8, "flags", Kind::Fixed32),
    part(9, "trace_id", Kind::Hex),
    part(10, "span_id", Kind::Hex),
    part(11, "observed_timestamp", Kind::Time),
    part(12, "event_name", Kind::Text),
    part(6, ATTRIBUTES, Kind::Attributes),
];

/// `LogRecord` without its body and its attributes, which stand last.
pub(crate) const RECORD_BESIDE: &[OtlpField] = RECORD.split_at(RECORD.len() - 1).0;

/// `ResourceLogs` without its scopes.
pub(crate) const RESOURCE_LOGS: &[OtlpField] = &[
    part(
        1,
        "resource",
        Kind::Message(&[part(1, ATTRIBUTES, Kind::Attributes), part(2, "dropped_attributes_count", Kind::Number)]),
    ),
    part(3, "resource_schema_url", Kind::Text),
];

/// `ScopeLogs` without its records.
pub(crate) const SCOPE_LOGS: &[OtlpField] = &[
    part(
        1,
        "scope",
        Kind::Message(&[
            part(1, "name", Kind::Text),
            part(2, "version", Kind::Text),
            part(3, ATTRIBUTES, Kind::Attributes),
            part(4, "dropped_attributes_count", Kind::Number),
        ]),
    ),
    part(3, "scope_schema_url", Kind::Text),
];

/// A name with an encoded `LogValue`.
pub(super) type Named = (&'static str, Vec<u8>);

/// The parts that a message of OTLP has, as values of Vector.
pub(super) fn read(message: &[u8], parts: &'static [OtlpField]) -> Result<Vec<Named>, MalformedRecord> {
    let mut named = Vec::new();
    for OtlpField { number, name, kind } in parts {
        if let Kind::Attributes = kind {
            let mut list = Vec::with_capacity(converted_len(message, *number));
            for_each_member(message, *number, |key, value| {
                put_converted_entry::<AnyValue, LogValue>(&mut list, VALUES, key, value)
            })?;
            if !list.is_empty() {
                named.push((*name, map(&list)));
            }
            continue;
        }
        let mut fields = Fields::new(message);
        let mut value = None;
        while let Some(found) = fields.next_field()? {
            if found.number == *number {
                value = read_one(*kind, found.payload)?;
            }
        }
        named.extend(value.map(|value| (*name, value)));
    }
    Ok(named)
}

/// A field's value; `None` for what says nothing.
fn read_one(kind: Kind, payload: Payload<'_>) -> Result<Option<Vec<u8>>, MalformedRecord> {
    let mut out = Vec::new();
    match (kind, payload) {
        (Kind::Text, Payload::Bytes(text)) => put_bytes(&mut out, NUMBERS.text, text),
        (Kind::Number, Payload::Varint(number)) => put_number(&mut out, NUMBERS.integer, number),
        (Kind::Fixed32, Payload::Fixed32(number)) => put_number(&mut out, NUMBERS.integer, u64::from(number)),
        (Kind::Time, Payload::Fixed64(nanoseconds)) => {
            let time = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).ok().filter(|_| nanoseconds != 0);
            let Some(time) = time else { return Ok(None) };
            out = instant(time);
        }
        (Kind::Hex, Payload::Bytes(bytes)) => {
            let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
                // Writing to a string never fails.
                let _ = write!(digits, "{byte:02x}");
                digits
            });
            put_bytes(&mut out, NUMBERS.text, digits.as_bytes());
        }
        (Kind::Message(parts), Payload::Bytes(message)) => out = map(&list_of(&read(message, parts)?)),
        _ => return Err(MalformedRecord::WrongType("a field")),
    }
    Ok(Some(out))
}

const NUMBERS: FieldNumbers = LogValue::NUMBERS;

/// The message of OTLP whose parts have these values of Vector. What has no part, or is not of its type, is left out.
pub(super) fn write<'a>(entries: &[(&'a [u8], &'a [u8])], parts: &[OtlpField]) -> Result<Vec<u8>, MalformedRecord> {
    let mut out = Vec::new();
    for OtlpField { number, name, kind } in parts {
        let Some((_, value)) = entries.iter().rev().find(|(key, _)| *key == name.as_bytes()) else { continue };
        match (kind, any::<LogValue>(value)?) {
            // A string of protobuf, for which readers refuse a whole request when it is not UTF-8.
            (Kind::Text, Any::Text(text)) => put_bytes(&mut out, *number, String::from_utf8_lossy(text).as_bytes()),
            (Kind::Number, Any::Int(value)) => put_number(&mut out, *number, value as u64),
            (Kind::Fixed32, Any::Int(value)) => {
                put_varint(&mut out, u64::from(*number) << 3 | 5);
                out.extend_from_slice(&(value as u32).to_le_bytes());
            }
            (Kind::Time, Any::Time(time)) => {
                if let Some(time) = timestamp(time) {
                    put_time(&mut out, *number, time);
                }
            }
            (Kind::Hex, Any::Text(digits)) => {
                if let Some(bytes) = unhex(digits) {
                    put_bytes(&mut out, *number, &bytes);
                }
            }
            (Kind::Attributes, Any::Map(list)) => {
                for_each_member(list, VALUES, |key, value| {
                    put_converted_entry::<LogValue, AnyValue>(&mut out, *number, key, value)
                })?;
            }
            (Kind::Message(parts), Any::Map(list)) => {
                let members = members(list, VALUES)?;
                let entries: Vec<_> = members.iter().map(|member| (&*member.key, member.value)).collect();
                put_bytes(&mut out, *number, &write(&entries, parts)?);
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Writes an instant as OTLP does; one before 1970 or after 2554 has no place there.
pub(super) fn put_time(out: &mut Vec<u8>, number: u32, time: jiff::Timestamp) {
    if let Ok(nanoseconds) = u64::try_from(time.as_nanosecond()) {
        put_fixed64(out, number, nanoseconds);
    }
}

/// The entries of names with values, as the list of a map.
fn list_of(named: &[Named]) -> Vec<u8> {
    let mut list = Vec::new();
    named.iter().for_each(|(name, value)| put_bytes(&mut list, VALUES, &encode_key_value(name.as_bytes(), value)));
    list
}

/// A `LogValue` that is the map of a list of entries.
fn map(list: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(list.len() + 8);
    put_bytes(&mut out, NUMBERS.map, list);
    out
}

/// A `LogValue` that is a text.
pub(super) fn text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, NUMBERS.text, text);
    out
}

/// A `LogValue` that is an instant.
pub(super) fn instant(time: jiff::Timestamp) -> Vec<u8> {
    let mut content = Vec::new();
    put_timestamp(&mut content, time);
    let mut out = Vec::new();
    put_bytes(&mut out, NUMBERS.time, &content);
    out
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}
