//! Values that describe themselves, as OTLP and Vector spell them in protobuf: one tree, two sets of field numbers.
//!
//! Both have a message with one member set (`AnyValue`, `Value`), a list of such messages, and a list of entries with
//! the key at 1 and the value at 2. A [`Dialect`] says at which field numbers the members are; reading, walking,
//! rewriting and rendering are the same.

mod codec;
mod convert;
mod json;
mod members;
mod walk;

use super::json::JsonError;
use super::wire::{Fields, Malformed, Payload, only_short, put_number};

pub(crate) use codec::{encode_json, tag_map, tag_text};
pub(crate) use convert::{convert, json_entries, put_converted_entry};
pub(crate) use json::{write_content, write_entries};
pub(crate) use members::{Elements, Entries, converted_len, encode_key_value, for_each_member, members, with_field};
pub(crate) use walk::DocumentWalker;

/// The key of an entry.
pub(crate) const KEY: u32 = 1;
/// The value of an entry.
pub(crate) const VALUE: u32 = 2;
/// The entries of a map, and the elements of an array, in the messages that hold them.
pub(crate) const VALUES: u32 = 1;

/// The field numbers of the members of a self-describing value; 0 for what a protocol does not have.
#[derive(Clone, Copy, Debug)]
pub struct FieldNumbers {
    /// Text.
    pub text: u32,
    /// Bytes that are not text, where there is a member of its own for them.
    pub bytes: u32,
    /// A boolean.
    pub boolean: u32,
    /// A 64-bit integer.
    pub integer: u32,
    /// A double.
    pub double: u32,
    /// A `google.protobuf.Timestamp`.
    pub time: u32,
    /// A message of elements.
    pub array: u32,
    /// A message of entries.
    pub map: u32,
    /// An enum whose one value says null, where null is not the absence of all others.
    pub null: u32,
}

/// How a protocol spells self-describing values.
pub trait Dialect {
    /// At which field numbers.
    const NUMBERS: FieldNumbers;
    /// How many containers may lie in each other before readers of the protocol give up.
    const LEVELS: usize;
    /// Whether a double may be NaN.
    const TAKES_NAN: bool;
}

/// The unreadable part of a record. The rest of the record is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRecord {
    /// A message inside cannot be read.
    #[error("a message of the log record cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// A field has another wire type than the protocol says.
    #[error("`{0}` of the log record has another type than its protocol says; check what sent it")]
    WrongType(&'static str),
    /// A field that may occur only once occurs twice; protobuf would merge them, a rewrite could not.
    #[error("`{0}` is duplicated in one message of the log record; check its sender")]
    Repeated(&'static str),
    /// A text that was taken for JSON is none.
    #[error("the JSON in the log record cannot be rewritten: {0}")]
    Json(#[from] JsonError),
}

/// The one member of a value that is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Any<'a> {
    /// Null, or nothing is set.
    Null,
    /// A member that this version of the protocol does not know.
    Unknown,
    /// Text, not necessarily UTF-8.
    Text(&'a [u8]),
    /// Bytes that are not text.
    Bytes(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// The bytes of a `google.protobuf.Timestamp`.
    Time(&'a [u8]),
    /// The message that holds the elements.
    Array(&'a [u8]),
    /// The message that holds the entries.
    Map(&'a [u8]),
}

/// The tag of a length-delimited field as one byte, for a field number below 16.
pub(crate) const fn tag(number: u32) -> u8 {
    (number << 3 | 2) as u8
}

/// Reads which member of a value is set.
#[inline]
pub(crate) fn any<D: Dialect>(value: &[u8]) -> Result<Any<'_>, MalformedRecord> {
    let numbers = const { D::NUMBERS };
    let short = const { D::NUMBERS.short_tags() };
    if let Some(&first) = value.first()
        && short.contains(&first)
    {
        let mut fields = Fields::new(value);
        if let Some(content) = fields.take_short(first)
            && fields.is_at_end()
        {
            return Ok(match first {
                first if first == tag(numbers.text) => Any::Text(content),
                first if first == tag(numbers.map) => Any::Map(content),
                first if first == tag(numbers.array) => Any::Array(content),
                _ => Any::Bytes(content),
            });
        }
    }
    any_in_full::<D>(value)
}

#[inline(never)]
fn any_in_full<D: Dialect>(value: &[u8]) -> Result<Any<'_>, MalformedRecord> {
    let numbers = const { D::NUMBERS };
    let mut fields = Fields::new(value);
    let mut set = None;
    while let Some(found) = fields.next_field()? {
        let number = found.number;
        let member = match found.payload {
            Payload::Bytes(text) if number == numbers.text => Any::Text(text),
            Payload::Bytes(bytes) if number == numbers.bytes => Any::Bytes(bytes),
            Payload::Bytes(list) if number == numbers.array => Any::Array(list),
            Payload::Bytes(list) if number == numbers.map => Any::Map(list),
            Payload::Bytes(time) if number == numbers.time => Any::Time(time),
            Payload::Varint(value) if number == numbers.boolean => Any::Bool(value != 0),
            Payload::Varint(value) if number == numbers.integer => Any::Int(value as i64),
            Payload::Varint(_) if number == numbers.null => Any::Null,
            Payload::Fixed64(bits) if number == numbers.double => Any::Double(f64::from_bits(bits)),
            _ if numbers.has(number) => return Err(MalformedRecord::WrongType("a value")),
            _ => continue,
        };
        if set.replace(member).is_some() {
            return Err(MalformedRecord::Repeated("a value"));
        }
    }
    Ok(set.unwrap_or(if value.is_empty() { Any::Null } else { Any::Unknown }))
}

impl FieldNumbers {
    /// The tags of the members that have a length. What a protocol does not have gives way to the text.
    const fn short_tags(&self) -> [u8; 4] {
        let bytes = if self.bytes == 0 { self.text } else { self.bytes };
        [tag(self.text), tag(self.map), tag(self.array), tag(bytes)]
    }

    fn has(&self, number: u32) -> bool {
        let FieldNumbers { text, bytes, boolean, integer, double, time, array, map, null } = *self;
        [text, bytes, boolean, integer, double, time, array, map, null].contains(&number)
    }
}

/// Reads key and value (empty for none) of an entry, in either order.
#[inline]
pub(crate) fn key_value(message: &[u8]) -> Result<(&[u8], &[u8]), MalformedRecord> {
    match short_entry(message) {
        Some(entry) => Ok(entry),
        None => key_value_in_full(message),
    }
}

/// Key and value of an entry as nearly all are: a short key, and a value behind it. `None` says nothing: ask
/// [`key_value`].
#[inline(always)]
pub(crate) fn short_entry(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = message.split_first_chunk::<2>()?;
    if found != tag(KEY) || length >= 0x80 {
        return None;
    }
    let (key, rest) = rest.split_at_checked(usize::from(length))?;
    Some((key, only_short(rest, tag(VALUE))?))
}

/// The text that a value is, unless it is long. `None` says nothing: ask [`any`].
#[inline(always)]
pub(crate) fn short_text<D: Dialect>(value: &[u8]) -> Option<&[u8]> {
    only_short(value, const { tag(D::NUMBERS.text) })
}

#[inline(never)]
fn key_value_in_full(message: &[u8]) -> Result<(&[u8], &[u8]), MalformedRecord> {
    let mut fields = Fields::new(message);
    let (mut key, mut value) = (None, None);
    while let Some(found) = fields.next_field()? {
        let slot = match found.number {
            KEY => &mut key,
            VALUE => &mut value,
            _ => continue,
        };
        let Payload::Bytes(content) = found.payload else { return Err(MalformedRecord::WrongType("an entry")) };
        if slot.replace(content).is_some() {
            return Err(MalformedRecord::Repeated("an entry"));
        }
    }
    Ok((key.unwrap_or_default(), value.unwrap_or_default()))
}

/// Reads a `google.protobuf.Timestamp`; `None` when it is out of the range of years -9999 to 9999 or cannot be read.
pub(crate) fn timestamp(message: &[u8]) -> Option<jiff::Timestamp> {
    let mut fields = Fields::new(message);
    let (mut seconds, mut nanoseconds) = (0, 0);
    while let Some(found) = fields.next_field().ok()? {
        match (found.number, found.payload) {
            (1, Payload::Varint(value)) => seconds = value as i64,
            // An int32 is sign-extended to ten bytes.
            (2, Payload::Varint(value)) => nanoseconds = value as i32,
            _ => {}
        }
    }
    jiff::Timestamp::new(seconds, nanoseconds).ok()
}

/// Writes the content of a `google.protobuf.Timestamp`, whose nanoseconds count forward from the second below.
pub(crate) fn put_timestamp(out: &mut Vec<u8>, time: jiff::Timestamp) {
    let nanoseconds = time.as_nanosecond();
    let (seconds, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    if seconds != 0 {
        put_number(out, 1, seconds as u64);
    }
    if rest != 0 {
        put_number(out, 2, rest as u64);
    }
}
