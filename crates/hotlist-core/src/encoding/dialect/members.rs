//! The elements of a list, entries among the fields of a message, and rewriting some of them while everything else stays as it is.

use std::borrow::Cow;
use std::ops::Range;

use super::{KEY, MalformedRecord, VALUE, VALUES, key_value, tag};
use crate::encoding::tag::{Edits, Entry};
use crate::encoding::wire::{Fields, Payload, put_bytes, put_nested};

/// The elements of an array or the entries of a map, one at a time.
pub(crate) struct Elements<'a>(Fields<'a>);

impl<'a> Elements<'a> {
    #[inline]
    pub(crate) fn new(list: &'a [u8]) -> Elements<'a> {
        Elements(Fields::new(list))
    }

    #[inline]
    pub(crate) fn next_element(&mut self) -> Result<Option<&'a [u8]>, MalformedRecord> {
        match self.0.take_short(tag(VALUES)) {
            Some(element) => Ok(Some(element)),
            None if self.0.is_at_end() => Ok(None),
            None => self.next_in_full(),
        }
    }

    #[inline(never)]
    fn next_in_full(&mut self) -> Result<Option<&'a [u8]>, MalformedRecord> {
        while let Some(found) = self.0.next_field()? {
            match (found.number, found.payload) {
                (VALUES, Payload::Bytes(element)) => return Ok(Some(element)),
                (VALUES, _) => return Err(MalformedRecord::WrongType("values")),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// All entries that are the fields `number` of a message.
pub(crate) fn members(message: &[u8], number: u32) -> Result<Vec<Entry<'_>>, MalformedRecord> {
    let mut fields = Fields::new(message);
    let mut count = 0;
    while let Some(found) = fields.next_field()? {
        count += usize::from(found.number == number);
    }
    let mut members = Vec::with_capacity(count);
    for_each_member(message, number, |key, value| {
        members.push(Entry { key: Cow::Borrowed(key), value });
        Ok(())
    })?;
    Ok(members)
}

/// Calls `take` with key and value of each entry that is a field `number` of a message: without a list of them.
pub(crate) fn for_each_member<'a>(
    message: &'a [u8],
    number: u32,
    mut take: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), MalformedRecord>,
) -> Result<(), MalformedRecord> {
    let mut fields = Fields::new(message);
    while let Some(found) = fields.next_field()? {
        if found.number == number {
            let Payload::Bytes(entry) = found.payload else { return Err(MalformedRecord::WrongType("an entry")) };
            let (key, value) = key_value(entry)?;
            take(key, value)?;
        }
    }
    Ok(())
}

/// About the bytes of the entries that are the fields `number` of a message when they are written in another dialect: an
/// empty one grows by six.
pub(crate) fn converted_len(message: &[u8], number: u32) -> usize {
    let mut fields = Fields::new(message);
    let fields = std::iter::from_fn(|| fields.next_field().ok().flatten());
    fields.filter(|found| found.number == number).map(|found| found.end - found.start + 8).sum()
}

/// The entries among the fields of a message that tags may concern: those with a key. A list of them is sized before it is
/// filled, and holds no place twice, since a hostile message has an entry in every few bytes.
pub(crate) struct Entries<'a> {
    message: &'a [u8],
    number: u32,
    pub(crate) list: Vec<Entry<'a>>,
    /// Where the field of each entry stands. Messages are shorter than 4 GiB.
    places: Vec<Range<u32>>,
    /// Where new ones go: the end of what can be read.
    end: usize,
}

impl<'a> Entries<'a> {
    /// The fields `number` of a message that can be read throughout.
    pub(crate) fn whole(message: &'a [u8], number: u32) -> Result<Entries<'a>, MalformedRecord> {
        match Entries::read(message, number, true) {
            (entries, None) => Ok(entries),
            (_, Some(fault)) => Err(fault),
        }
    }

    /// The fields `number` of a message, as far as they can be read: up to the end, or to the first field whose length
    /// cannot be believed.
    pub(crate) fn readable(message: &'a [u8], number: u32) -> Entries<'a> {
        Entries::read(message, number, false).0
    }

    fn read(message: &'a [u8], number: u32, is_strict: bool) -> (Entries<'a>, Option<MalformedRecord>) {
        let mut count = 0;
        let (_, fault) = each_entry(message, number, is_strict, |_, _, _| count += 1);
        let (mut list, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (end, _) = each_entry(message, number, is_strict, |place, key, value| {
            list.push(Entry { key: Cow::Borrowed(key), value });
            places.push(place.start as u32..place.end as u32);
        });
        (Entries { message, number, list, places, end }, fault)
    }

    /// The message with edits to its entries, its other fields as they are.
    pub(crate) fn edit(&self, edits: &Edits) -> Result<Vec<u8>, MalformedRecord> {
        let (message, number) = (self.message, self.number);
        let mut out = Vec::with_capacity(message.len() + edits.bytes());
        let mut copied = 0;
        for (index, new) in &edits.replaced {
            let Some(place) = self.places.get(*index) else { continue };
            let (start, end) = (place.start as usize, place.end as usize);
            out.extend_from_slice(message.get(copied..start).unwrap_or_default());
            let field = Fields::new(message.get(start..end).unwrap_or_default()).next_field()?;
            if let (Some(new), Some(Payload::Bytes(entry))) = (new, field.map(|field| field.payload)) {
                put_bytes(&mut out, number, &with_value(entry, new)?);
            }
            copied = end;
        }
        out.extend_from_slice(message.get(copied..self.end).unwrap_or_default());
        for (key, value) in &edits.appended {
            put_nested(&mut out, number, |out| {
                put_bytes(out, KEY, key.as_bytes());
                put_bytes(out, VALUE, value);
            });
        }
        out.extend_from_slice(message.get(self.end..).unwrap_or_default());
        Ok(out)
    }
}

/// Calls `take` with place, key and value of each entry that has a key. Returns where that ends, and the first fault:
/// strict, it ends there; else what cannot be read is left out.
fn each_entry<'a>(
    message: &'a [u8],
    number: u32,
    is_strict: bool,
    mut take: impl FnMut(Range<usize>, &'a [u8], &'a [u8]),
) -> (usize, Option<MalformedRecord>) {
    let mut fields = Fields::new(message);
    let (mut end, mut first) = (0, None);
    loop {
        let found = match fields.next_field() {
            Ok(Some(found)) => found,
            Ok(None) => return (end, first),
            Err(fault) => return (end, first.or(Some(fault.into()))),
        };
        end = found.end;
        if found.number != number {
            continue;
        }
        let entry = match found.payload {
            Payload::Bytes(entry) => key_value(entry),
            _ => Err(MalformedRecord::WrongType("an entry")),
        };
        match entry {
            Ok((b"", _)) => {}
            Ok((key, value)) => take(found.start..found.end, key, value),
            Err(fault) if is_strict => return (end, Some(fault)),
            Err(fault) => first = first.or(Some(fault)),
        }
    }
}

/// An entry around an encoded value.
pub(crate) fn encode_key_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + value.len() + 8);
    put_bytes(&mut out, KEY, key);
    put_bytes(&mut out, VALUE, value);
    out
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
