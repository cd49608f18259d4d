//! The fields of OTLP's messages as members of a JSON object, by the tables that transcoding has.

use std::fmt::Write as _;

use super::put_key;
use crate::encoding::MalformedRecord;
use crate::encoding::dialect::{Any, VALUES, any, members, write_content, write_entries};
use crate::encoding::json::write_text;
use crate::encoding::otlp::AnyValue;
use crate::encoding::transcode::{HOW_TO_CONVERT, Kind, OPENTELEMETRY, OtlpField, RECORD_BESIDE};
use crate::encoding::vector::{self, LogValue};
use crate::encoding::wire::{Fields, Payload};

/// Containers that are open around the attributes of a resource or a scope in a line.
const DEPTH: usize = 3;

/// Appends the members that a message has, as far as they take no more than `most` bytes. Returns whether any was left
/// out.
pub(super) fn write(
    out: &mut Vec<u8>,
    message: &[u8],
    parts: &[OtlpField],
    most: usize,
    order: Order,
) -> Result<bool, MalformedRecord> {
    let end = out.len().saturating_add(most);
    let mut last: [Option<Payload<'_>>; 16] = [None; 16];
    let mut fields = Fields::new(message);
    while let Some(found) = fields.next_field()? {
        if let Some(place) = parts.iter().position(|part| part.number == found.number)
            && let Some(slot) = last.get_mut(place)
        {
            *slot = Some(found.payload);
        }
    }
    let mut left_out = false;
    for (part, payload) in parts.iter().zip(last) {
        let Some(payload) = payload else { continue };
        let before = out.len();
        let room = end.saturating_sub(before);
        if let Payload::Bytes(bytes) = payload
            && !matches!(part.kind, Kind::Attributes | Kind::Message(_))
            && bytes.len() > room
        {
            left_out = true;
            continue;
        }
        put_key(out, part.name);
        match (part.kind, payload) {
            (Kind::Text, Payload::Bytes(text)) => write_text(out, text),
            (Kind::Number, Payload::Varint(number)) => put_integer(out, number as i64),
            (Kind::Fixed32, Payload::Fixed32(number)) => put_integer(out, i64::from(number)),
            (Kind::Time, Payload::Fixed64(nanoseconds)) => {
                match jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).ok().filter(|_| nanoseconds != 0) {
                    Some(time) => write_text(out, time.to_string().as_bytes()),
                    None => out.truncate(before),
                }
            }
            (Kind::Hex, Payload::Bytes(bytes)) => {
                let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
                    // Writing to a string never fails.
                    let _ = write!(digits, "{byte:02x}");
                    digits
                });
                write_text(out, digits.as_bytes());
            }
            (Kind::Attributes, _) => {
                left_out |= attributes(out, message, part.number, end, order)?;
                continue;
            }
            (Kind::Message(parts), Payload::Bytes(message)) => {
                out.push(b'{');
                left_out |= write(out, message, parts, end.saturating_sub(out.len()), order)?;
                out.push(b'}');
                continue;
            }
            _ => return Err(MalformedRecord::WrongType("a field")),
        }
        if out.len() > end {
            out.truncate(before);
            left_out = true;
        }
    }
    Ok(left_out)
}

/// Appends the members that a log record has besides its document.
pub(in crate::encoding) fn write_record(out: &mut Vec<u8>, record: &[u8]) -> Result<(), MalformedRecord> {
    write(out, record, RECORD_BESIDE, usize::MAX, Order::AsTheyCome).map(drop)
}

/// Appends what the metadata of a Vector event says of OpenTelemetry. What cannot be read of it is left out: it is not
/// of the event.
pub(in crate::encoding) fn write_metadata(out: &mut Vec<u8>, log: &[u8]) {
    let before = out.len();
    if try_write_metadata(out, log).is_err() {
        out.truncate(before);
    }
}

fn try_write_metadata(out: &mut Vec<u8>, log: &[u8]) -> Result<(), MalformedRecord> {
    let Some(metadata) = last_message(log, vector::field::METADATA)? else { return Ok(()) };
    let Some(value) = last_message(metadata, vector::field::METADATA_VALUE)? else { return Ok(()) };
    let Any::Map(list) = any::<LogValue>(value)? else { return Ok(()) };
    let members = members(list, VALUES)?;
    let Some(ours) = members.iter().rev().find(|member| *member.key == *OPENTELEMETRY) else { return Ok(()) };
    let Any::Map(list) = any::<LogValue>(ours.value)? else { return Ok(()) };
    let members = self::members(list, VALUES)?;
    // How to make the record again is nothing that is known of the event.
    let mut rest = members.iter().filter(|member| !HOW_TO_CONVERT.contains(&&*member.key));
    let before = out.len();
    write_entries::<LogValue>(out, 1, || Ok(rest.next().map(|member| (&*member.key, member.value))))?;
    // Without its braces: these are members of an object that the line opens.
    out.pop();
    out.remove(before);
    Ok(())
}

/// The content of the last field of a number.
fn last_message(message: &[u8], number: u32) -> Result<Option<&[u8]>, MalformedRecord> {
    let mut fields = Fields::new(message);
    let mut last = None;
    while let Some(found) = fields.next_field()? {
        if found.number == number {
            let Payload::Bytes(content) = found.payload else { return Err(MalformedRecord::WrongType("a field")) };
            last = Some(content);
        }
    }
    Ok(last)
}

/// The attributes that come first when not all of them fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// They stay in order.
    AsTheyCome,
    /// Those that say which service, host or pod it was.
    WhoFirst,
}

/// Appends entries as an object, as many as end before `end`.
fn attributes(
    out: &mut Vec<u8>,
    message: &[u8],
    number: u32,
    end: usize,
    order: Order,
) -> Result<bool, MalformedRecord> {
    let mut members = members(message, number)?;
    if order == Order::WhoFirst {
        let names: [&[u8]; 3] = [b"service.", b"host.", b"k8s."];
        members.sort_by_key(|member| !names.iter().any(|name| member.key.starts_with(name)));
    }
    let mut left_out = false;
    out.push(b'{');
    for member in &members {
        let before = out.len();
        if member.key.len() + member.value.len() <= end.saturating_sub(before) {
            if !out.ends_with(b"{") {
                out.push(b',');
            }
            write_text(out, &member.key);
            out.push(b':');
            write_content::<AnyValue>(out, any::<AnyValue>(member.value)?, DEPTH)?;
            if out.len() <= end {
                continue;
            }
        }
        out.truncate(before);
        left_out = true;
    }
    out.push(b'}');
    Ok(left_out)
}

/// Appends entries as the member `attributes`, unless there are none.
pub(in crate::encoding) fn put_attributes(
    out: &mut Vec<u8>,
    entries: &[(&[u8], &[u8])],
) -> Result<(), MalformedRecord> {
    if entries.is_empty() {
        return Ok(());
    }
    put_key(out, "attributes");
    let mut rest = entries.iter();
    write_entries::<AnyValue>(out, 2, || Ok(rest.next().copied()))
}

fn put_integer(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(number.to_string().as_bytes());
}
