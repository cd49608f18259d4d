//! Entries among the fields of a message, and rewriting some of them while everything else stays as it is.

use std::borrow::Cow;
use std::ops::Range;

use super::{KEY, MalformedRecord, VALUE, key_value};
use crate::encoding::tag::{Edits, Entry};
use crate::encoding::wire::{Fields, Payload, put_bytes, put_nested};

/// An entry among the fields of a message.
pub(crate) struct Member<'a> {
    /// Where the field stands.
    pub(crate) place: Range<usize>,
    /// The entry's message.
    message: &'a [u8],
    pub(crate) entry: Entry<'a>,
}

/// The entries that are the fields `number` of a message.
pub(crate) fn members(message: &[u8], number: u32) -> Result<Vec<Member<'_>>, MalformedRecord> {
    let mut fields = Fields::new(message);
    let mut members = Vec::new();
    while let Some(found) = fields.next_field()? {
        if found.number == number {
            let Payload::Bytes(message) = found.payload else { return Err(MalformedRecord::WrongType("an entry")) };
            let (key, value) = key_value(message)?;
            let entry = Entry { key: Cow::Borrowed(key), value };
            members.push(Member { place: found.start..found.end, message, entry });
        }
    }
    Ok(members)
}

/// The entries that are the fields `number` of a message, as far as they can be read, and where that ends: at the end of
/// the message, or at the first field whose length cannot be believed.
pub(crate) fn readable_members(message: &[u8], number: u32) -> (Vec<Member<'_>>, usize) {
    let mut fields = Fields::new(message);
    let (mut members, mut end) = (Vec::new(), 0);
    while let Ok(Some(found)) = fields.next_field() {
        end = found.end;
        if found.number == number
            && let Payload::Bytes(message) = found.payload
            && let Ok((key, value)) = key_value(message)
        {
            let entry = Entry { key: Cow::Borrowed(key), value };
            members.push(Member { place: found.start..found.end, message, entry });
        }
    }
    (members, end)
}

/// An entry around an encoded value.
pub(crate) fn encode_key_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + value.len() + 8);
    put_bytes(&mut out, KEY, key);
    put_bytes(&mut out, VALUE, value);
    out
}

/// `message` with edits to its `members`, its other fields as they are. New ones go to `end`.
pub(crate) fn edit_members(
    message: &[u8],
    number: u32,
    members: &[Member<'_>],
    end: usize,
    edits: &Edits,
) -> Result<Vec<u8>, MalformedRecord> {
    let mut out = Vec::with_capacity(message.len() + edits.bytes());
    let mut copied = 0;
    for (index, new) in &edits.replaced {
        if let Some(member) = members.get(*index) {
            out.extend_from_slice(message.get(copied..member.place.start).unwrap_or_default());
            if let Some(new) = new {
                put_bytes(&mut out, number, &with_value(member.message, new)?);
            }
            copied = member.place.end;
        }
    }
    out.extend_from_slice(message.get(copied..end).unwrap_or_default());
    for (key, value) in &edits.appended {
        put_nested(&mut out, number, |out| {
            put_bytes(out, KEY, key.as_bytes());
            put_bytes(out, VALUE, value);
        });
    }
    out.extend_from_slice(message.get(end..).unwrap_or_default());
    Ok(out)
}

/// An entry with another value, its other fields as they are.
fn with_value(key_value: &[u8], value: &[u8]) -> Result<Vec<u8>, MalformedRecord> {
    let place = place_of(key_value, |number| number == VALUE)?;
    let place = place.map_or(key_value.len()..key_value.len(), |(place, _)| place);
    Ok(with_field(key_value, &place, VALUE, value))
}

/// Where the first field of a number that `wanted` accepts stands, with its number.
pub(super) fn place_of(
    message: &[u8],
    wanted: impl Fn(u32) -> bool,
) -> Result<Option<(Range<usize>, u32)>, MalformedRecord> {
    let mut fields = Fields::new(message);
    while let Some(found) = fields.next_field()? {
        if wanted(found.number) {
            return Ok(Some((found.start..found.end, found.number)));
        }
    }
    Ok(None)
}

/// `message` with the field at `place` written again.
pub(crate) fn with_field(message: &[u8], place: &Range<usize>, number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + content.len() + 8);
    out.extend_from_slice(message.get(..place.start).unwrap_or_default());
    put_bytes(&mut out, number, content);
    out.extend_from_slice(message.get(place.end..).unwrap_or_default());
    out
}
