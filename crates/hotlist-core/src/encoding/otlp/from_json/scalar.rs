//! Scalars of OTLP/JSON as protobuf fields: proto3's JSON mapping, and OTLP's hexadecimal identifiers.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::schema::{Field, Kind, Label};
use crate::encoding::Value;
use crate::encoding::json::scan::number;
use crate::encoding::wire::{put_bytes, put_fixed32, put_fixed64, put_number};

/// Padding may stand or not.
const PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, PADDING);

/// Appends `text`, the content of a string when `quoted`, as a field. Whether it is a value of the field's type; when
/// not, nothing is appended.
pub(super) fn put(out: &mut Vec<u8>, field: &Field, text: &[u8], quoted: bool) -> bool {
    put_some(out, field, text, quoted).is_some()
}

fn put_some(out: &mut Vec<u8>, field: &Field, text: &[u8], quoted: bool) -> Option<()> {
    let number = field.number;
    // A default is written where it says something: that the member is set, that there is an element.
    let written = |is_default: bool| !is_default || field.label != Label::Single;
    match field.kind {
        Kind::Text => {
            if written(quoted.then_some(text)?.is_empty()) {
                put_bytes(out, number, text);
            }
        }
        Kind::Bool => {
            let value = match text {
                b"true" if !quoted => true,
                b"false" if !quoted => false,
                _ => return None,
            };
            if written(!value) {
                put_number(out, number, value.into());
            }
        }
        Kind::Int64 => {
            let value = i64::try_from(integer(text)?).ok()?;
            if written(value == 0) {
                put_number(out, number, value as u64);
            }
        }
        Kind::Uint32 => {
            let value = u32::try_from(integer(text)?).ok()?;
            if written(value == 0) {
                put_number(out, number, value.into());
            }
        }
        Kind::Uint64 => {
            let value = u64::try_from(integer(text)?).ok()?;
            if written(value == 0) {
                put_number(out, number, value);
            }
        }
        Kind::Sint32 => {
            let value = i32::try_from(integer(text)?).ok()?;
            if written(value == 0) {
                // ZigZag.
                put_number(out, number, u64::from((value << 1 ^ value >> 31) as u32));
            }
        }
        Kind::Enum(named) => {
            let name = || named(str::from_utf8(text).ok()?);
            let value = integer(text).and_then(|value| i32::try_from(value).ok()).or_else(name)?;
            if written(value == 0) {
                put_number(out, number, i64::from(value) as u64);
            }
        }
        Kind::Fixed32 => {
            let value = u32::try_from(integer(text)?).ok()?;
            if written(value == 0) {
                put_fixed32(out, number, value);
            }
        }
        Kind::Fixed64 => {
            let value = u64::try_from(integer(text)?).ok()?;
            if written(value == 0) {
                put_fixed64(out, number, value);
            }
        }
        Kind::Sfixed64 => {
            let value = i64::try_from(integer(text)?).ok()?;
            if written(value == 0) {
                put_fixed64(out, number, value as u64);
            }
        }
        Kind::Double => {
            let value = double(text, quoted)?;
            if written(value.to_bits() == 0) {
                put_fixed64(out, number, value.to_bits());
            }
        }
        Kind::Base64 => {
            let engine = if text.iter().any(|byte| matches!(byte, b'-' | b'_')) { BASE64_URL } else { BASE64 };
            let value = engine.decode(quoted.then_some(text)?).ok()?;
            if written(value.is_empty()) {
                put_bytes(out, number, &value);
            }
        }
        Kind::Hex(length) => {
            let value = hex(quoted.then_some(text)?)?;
            if !value.is_empty() && value.len() != length {
                return None;
            }
            if written(value.is_empty()) {
                put_bytes(out, number, &value);
            }
        }
        Kind::Message(_) => return None,
    }
    Some(())
}

/// An integer, also when it is written as a double without a fraction.
fn integer(text: &[u8]) -> Option<i128> {
    match number(text)? {
        Value::Int(value) => Some(value.into()),
        Value::Double(value) => {
            let exact = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            // Beyond that no type has integers.
            let whole = value.fract() == 0.0 && value.abs() <= u64::MAX as f64;
            exact.or_else(|| whole.then_some(value as i128))
        }
        Value::Text(_) | Value::Bool(_) | Value::Time(_) => None,
    }
}

fn double(text: &[u8], quoted: bool) -> Option<f64> {
    match text {
        b"NaN" if quoted => Some(f64::NAN),
        b"Infinity" if quoted => Some(f64::INFINITY),
        b"-Infinity" if quoted => Some(f64::NEG_INFINITY),
        _ => {
            number(text)?;
            // Parsed again, for an integer has no negative zero. Digits that come to infinity are more than it says.
            str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
        }
    }
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}
