//! OTLP/JSON to OTLP: the text of an `Export…ServiceRequest` as the protobuf bytes of the same request.
//!
//! Rules: "JSON Protobuf Encoding" of the OTLP specification over the JSON mapping of proto3. The messages are data
//! ([`schema`]); what stands here steps through text and table side by side. A batch is not lost for one malformed value:
//! that is kept as text where there is room for text, else left out, and counted. Protobuf has no text that is not UTF-8,
//! and a next hop refuses a whole batch for it, so such bytes become U+FFFD, and are counted.
//!
//! Time is linear in the text: each byte is scanned once, and again where it belongs to an escape or a malformed value.
//! The output is copied twice, plus less than 128 bytes a message ([`tape`]). Only a duplicate key costs
//! more: what its message has after the first is moved, so that a byte is moved at most [`MAX_DEPTH`] times and a few.
//! The stack holds a bounded number of frames: only `AnyValue` nests, at most [`MAX_DEPTH`] levels are followed, and
//! stepping over a value does not recurse.

mod scalar;
mod schema;
mod tape;

use std::borrow::Cow;

use schema::{Field, Kind, Label, Message};
use tape::{Mark, Tape};

use super::AnyValue;
use crate::encoding::MAX_DEPTH;
use crate::encoding::dialect::Dialect;
use crate::encoding::json::JsonError;
use crate::encoding::json::scan::{RawString, Scanner, Scratch};
use crate::encoding::wire::put_bytes;

/// The content of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// An `ExportLogsServiceRequest`.
    Logs,
    /// An `ExportMetricsServiceRequest`.
    Metrics,
    /// An `ExportTraceServiceRequest`.
    Traces,
}

impl Export {
    fn schema(self) -> &'static Message {
        match self {
            Export::Logs => &schema::LOGS,
            Export::Metrics => &schema::METRICS,
            Export::Traces => &schema::TRACES,
        }
    }
}

/// The reasons why a text is not an OTLP/JSON request. Such a request can never succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FromJsonError {
    /// The text is not JSON.
    #[error("the request cannot be read: {0}")]
    Json(#[from] JsonError),
    /// The text is JSON, but not an object.
    #[error("no JSON object at byte {at}; a request is one object, e.g. `{{\"resourceLogs\":[…]}}`")]
    NotAnObject {
        /// Where the object should start.
        at: usize,
    },
    /// A list that leads to the records is something else.
    #[error(
        "`{name}` is not an array of objects at byte {at} of the request; is this an OTLP/JSON request of the signal in its path?"
    )]
    Envelope {
        /// Its name in OTLP/JSON.
        name: &'static str,
        /// Where something else stands.
        at: usize,
    },
    /// There is no room for the message.
    #[error("there is no memory for the request as protobuf: retry later, or raise `limits.in_flight_bytes`")]
    NoRoom,
    /// More follows after the request.
    #[error("more follows the request at byte {at}; send one request in a body, as in batches of one event")]
    Trailing {
        /// Where it starts.
        at: usize,
    },
}

/// Bytes of the longest key that may be that of a field: a name of 24 characters, each of them as an escape.
const LONGEST_KEY: usize = 256;

/// A request as protobuf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// The bytes of an `Export…ServiceRequest`: of logs at most four times as many as the text had, of metrics five times.
    pub message: Vec<u8>,
    /// How many values were not what OTLP/JSON says, and were kept as text or left out; and how many sequences of bytes
    /// were not UTF-8, and were replaced.
    pub malformed: u64,
    /// How many members of objects were left out because no field has their name.
    pub unknown: u64,
}

/// The protobuf bytes of an OTLP/JSON logs request.
///
/// - Names are lowerCamelCase, or snake_case as in the `.proto` files; unknown ones are left out and counted; null is absent.
/// - Integers and doubles may be numbers or strings, doubles also `"NaN"`, `"Infinity"` and `"-Infinity"`;
///   enums also the name. `traceId` and `spanId` are hexadecimal digits, `bytesValue` base64 of
///   either alphabet, padded or not.
/// - A member of `AnyValue` is written even when it is its type's default; of several, and of equal keys of a message,
///   the last one counts (malformed).
/// - Malformed values: what should be an `AnyValue`, one of its members or a string becomes a string, with the raw JSON text
///   unless it was a string; so does an `intValue` beyond 64 bits, and an array or list below [`MAX_DEPTH`] others.
///   What should be a `KeyValue` is kept as the value of an empty key. Other fields are left out.
/// - Each sequence of bytes that is not UTF-8 becomes U+FFFD (malformed).
///
/// # Errors
/// When the text is not JSON or its envelope not that of a logs request. What is wrong inside unknown and malformed values
/// passes, except that their strings and brackets must close.
pub fn from_json(text: &[u8]) -> Result<Converted, FromJsonError> {
    from_json_within(Export::Logs, text, &mut |_| true)
}

/// The same of any signal, where `take` is asked for room before memory is allocated. What it grants is of use
/// until the end; afterwards the message alone is left.
///
/// # Errors
/// As [`from_json`], or `take` grants no room.
pub fn from_json_within(
    export: Export,
    text: &[u8],
    take: &mut dyn FnMut(usize) -> bool,
) -> Result<Converted, FromJsonError> {
    let (text, replaced) = replace_invalid(text, take)?;
    let text = &*text;
    let mut converter = Converter {
        scanner: Scanner::new(text),
        tape: Tape::default(),
        take,
        written: Vec::new(),
        scratch: Scratch::new(),
        scratch_room: Scratch::new().capacity(),
        malformed: replaced,
        unknown: 0,
    };
    match converter.scanner.peek() {
        Some(b'{') => converter.members(export.schema(), 0)?,
        Some(_) => return Err(FromJsonError::NotAnObject { at: converter.scanner.at }),
        None => return Err(JsonError::CutShort { at: text.len(), inside: "the request" }.into()),
    }
    if converter.scanner.peek().is_some() {
        return Err(FromJsonError::Trailing { at: converter.scanner.at });
    }
    if !converter.tape.reserve_headers(converter.take) {
        return Err(FromJsonError::NoRoom);
    }
    Ok(Converted { message: converter.tape.into_message(), malformed: converter.malformed, unknown: converter.unknown })
}

/// The text with each sequence of bytes that is not UTF-8 as U+FFFD, and how many there were.
fn replace_invalid<'a>(
    text: &'a [u8],
    take: &mut dyn FnMut(usize) -> bool,
) -> Result<(Cow<'a, [u8]>, u64), FromJsonError> {
    if str::from_utf8(text).is_ok() {
        return Ok((Cow::Borrowed(text), 0));
    }
    let (mut count, mut len) = (0, 0);
    for chunk in text.utf8_chunks() {
        let is_invalid = !chunk.invalid().is_empty();
        count += u64::from(is_invalid);
        len += chunk.valid().len() + if is_invalid { REPLACEMENT.len() } else { 0 };
    }
    if !take(len) {
        return Err(FromJsonError::NoRoom);
    }
    let mut replaced = Vec::with_capacity(len);
    for chunk in text.utf8_chunks() {
        replaced.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            replaced.extend_from_slice(REPLACEMENT.as_bytes());
        }
    }
    Ok((Cow::Owned(replaced), count))
}

/// The replacement for bytes that are not text.
const REPLACEMENT: &str = "\u{fffd}";

/// A value that is taken for a scalar: a string's content, or the raw text of anything else.
#[derive(Clone, Copy)]
struct Token<'a> {
    text: RawString<'a>,
    quoted: bool,
}

/// Where a field of an open message stands on the tape.
struct Written {
    slot: u32,
    start: Mark,
    end: Mark,
}

struct Converter<'a, 't> {
    scanner: Scanner<'a>,
    tape: Tape,
    /// Grants memory.
    take: &'t mut dyn FnMut(usize) -> bool,
    /// The fields of all open messages, those of the innermost last.
    written: Vec<Written>,
    scratch: Scratch,
    /// Bytes that `scratch` has room for.
    scratch_room: usize,
    malformed: u64,
    unknown: u64,
}

impl<'a> Converter<'a, '_> {
    /// The members of an object whose brace was peeked; `depth` arrays and lists are open around it.
    fn members(&mut self, message: &'static Message, depth: usize) -> Result<(), FromJsonError> {
        if !self.scanner.open(b'}') {
            return Ok(());
        }
        let base = self.written.len();
        loop {
            let key = self.scanner.key()?;
            let first = self.first()?;
            // A longer key is that of no field, whatever its escapes stand for.
            let known = key.content.len() <= LONGEST_KEY;
            match known.then(|| key.resolve(&mut self.scratch)).and_then(|key| message.field(key)) {
                Some(field) => self.field(field, first, base, depth)?,
                None => {
                    self.unknown += 1;
                    self.scanner.skip(first)?;
                }
            }
            if !self.scanner.more(b'}')? {
                self.written.truncate(base);
                return Ok(());
            }
        }
    }

    /// A field of the message whose fields begin at `base`, the first byte of its value peeked.
    fn field(&mut self, field: &'static Field, first: u8, base: usize, depth: usize) -> Result<(), FromJsonError> {
        if first == b'n' {
            self.scanner.skip(first)?;
            return Ok(());
        }
        let slot = field.slot();
        if let Some(place) = self.written.iter().skip(base).position(|written| written.slot == slot) {
            let Written { start, end, .. } = self.written.remove(base + place);
            self.tape.discard(start, end);
            for later in self.written.iter_mut().skip(base + place) {
                (later.start, later.end) = (later.start.without(start, end), later.end.without(start, end));
            }
            self.malformed += 1;
        }
        let start = self.tape.mark();
        match field.label {
            Label::Envelope | Label::Repeated if first == b'[' => self.elements(field, depth)?,
            Label::Envelope => return Err(FromJsonError::Envelope { name: field.name, at: self.scanner.at }),
            Label::Repeated => self.keep(field, first)?,
            Label::Single | Label::Optional | Label::Member | Label::Choice => self.value(field, first, depth)?,
        }
        self.written.push(Written { slot, start, end: self.tape.mark() });
        Ok(())
    }

    /// An array whose bracket was peeked.
    fn elements(&mut self, field: &'static Field, depth: usize) -> Result<(), FromJsonError> {
        if !self.scanner.open(b']') {
            return Ok(());
        }
        loop {
            let first = self.first()?;
            if first == b'n' {
                self.scanner.skip(first)?;
                self.room_for(0)?;
                self.malformed += 1;
                // The elements after it must keep their places.
                if matches!(field.kind, Kind::Message(message) if message.is_any()) {
                    let opened = self.tape.open(field.number);
                    self.tape.close(opened);
                }
            } else {
                self.value(field, first, depth)?;
            }
            if !self.scanner.more(b']')? {
                return Ok(());
            }
        }
    }

    /// One value, its first byte peeked.
    fn value(&mut self, field: &'static Field, first: u8, depth: usize) -> Result<(), FromJsonError> {
        if let Kind::Message(message) = field.kind
            && first == b'{'
            && (field.label != Label::Member || depth < MAX_DEPTH)
        {
            self.room_for(0)?;
            let opened = self.tape.open(field.number);
            self.members(message, depth + usize::from(field.label == Label::Member))?;
            self.tape.close(opened);
            return Ok(());
        }
        if field.label == Label::Envelope {
            return Err(FromJsonError::Envelope { name: field.name, at: self.scanner.at });
        }
        let token = self.token(first)?;
        self.room_for_text(token.text)?;
        let text = token.text.resolve(&mut self.scratch);
        if !scalar::put(self.tape.bytes(), field, text, token.quoted) {
            self.malformed += 1;
            keep_text(&mut self.tape, field, text);
        }
        Ok(())
    }

    /// One value in the place of an array, its first byte peeked.
    fn keep(&mut self, field: &Field, first: u8) -> Result<(), FromJsonError> {
        self.malformed += 1;
        let token = self.token(first)?;
        self.room_for_text(token.text)?;
        keep_text(&mut self.tape, field, token.text.resolve(&mut self.scratch));
        Ok(())
    }

    /// Makes room on the tape for a value of so many bytes of text.
    fn room_for(&mut self, text: usize) -> Result<(), FromJsonError> {
        if self.tape.reserve(text, self.scanner.text.len(), self.take) { Ok(()) } else { Err(FromJsonError::NoRoom) }
    }

    /// The same for a text, and for what its escapes stand for.
    fn room_for_text(&mut self, text: RawString<'_>) -> Result<(), FromJsonError> {
        let len = text.content.len();
        if text.escaped && len > self.scratch_room {
            // It grows to a power of two, and there are two of them for a moment.
            let needed = len.next_power_of_two();
            if !(self.take)(needed + self.scratch_room) {
                return Err(FromJsonError::NoRoom);
            }
            self.scratch_room = needed;
        }
        self.room_for(len)
    }

    /// Takes the value that was peeked, whatever it is.
    fn token(&mut self, first: u8) -> Result<Token<'a>, JsonError> {
        if first == b'"' {
            return Ok(Token { text: self.scanner.string()?, quoted: true });
        }
        let start = self.scanner.at;
        self.scanner.skip(first)?;
        let content = self.scanner.text.get(start..self.scanner.at).unwrap_or_default();
        Ok(Token { text: RawString { content, escaped: false }, quoted: false })
    }

    fn first(&mut self) -> Result<u8, JsonError> {
        self.scanner.peek().ok_or_else(|| self.scanner.unexpected("a value"))
    }
}

/// Keeps a value that `field` cannot hold as text, where the field or its message has room for text.
fn keep_text(tape: &mut Tape, field: &Field, text: &[u8]) {
    match field.kind {
        _ if field.label == Label::Member => put_bytes(tape.bytes(), AnyValue::NUMBERS.text, text),
        Kind::Text => put_bytes(tape.bytes(), field.number, text),
        Kind::Message(message) => {
            let Some((&last, messages)) = message.text_at.split_last() else { return };
            let opened = tape.open(field.number);
            let inner: Vec<_> = messages.iter().map(|number| tape.open(*number)).collect();
            put_bytes(tape.bytes(), last, text);
            inner.into_iter().rev().for_each(|opened| tape.close(opened));
            tape.close(opened);
        }
        _ => {}
    }
}
