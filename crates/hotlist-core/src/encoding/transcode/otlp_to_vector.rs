//! An OTLP log record as a log event of Vector.

use std::sync::LazyLock;

use super::parts::{
    self, ATTRIBUTES, BODY, BODY_KEY, CONTEXT_LEFT_OUT, Named, OPENTELEMETRY, RECORD, RECORD_BESIDE, RESOURCE_LOGS,
    ROOT, SCOPE_LOGS, TIMESTAMP_ADDED, instant, text,
};
use crate::encoding::dialect::{
    Any, Dialect, KEY, VALUE, VALUES, convert, converted_len, encode_key_value, for_each_member, put_converted_entry,
};
use crate::encoding::envelope::Span;
use crate::encoding::otlp::{self, AnyValue, body_message, body_of, time_of};
use crate::encoding::vector::{LogValue, MESSAGE, TIMESTAMP, field};
use crate::encoding::wire::{framed_len, put_bytes, put_header};
use crate::encoding::{MalformedRecord, json};

/// The envelope of the records that come next.
#[derive(Default)]
pub(super) struct Context {
    spans: Option<(Span, Span)>,
    /// The members that it adds to each event, encoded.
    members: Vec<u8>,
}

/// The replacement for a context that is left out.
pub(super) static LEFT_OUT: LazyLock<Context> =
    LazyLock::new(|| Context { spans: None, members: encoded(&[(CONTEXT_LEFT_OUT, text(b"true"))]) });

impl Context {
    /// Whether something else is around a record than around the previous one.
    pub(super) fn is_other(&self, resource_logs: Span, scope_logs: Span) -> bool {
        self.spans != Some((resource_logs, scope_logs))
    }

    /// Reads what is around a record.
    pub(super) fn enter<'a>(&mut self, resource_logs: Span, scope_logs: Span, content: impl Fn(Span) -> &'a [u8]) {
        self.spans = Some((resource_logs, scope_logs));
        // A part that cannot be read is left out, because it does not belong to an event.
        self.members = encoded(&parts::read(content(resource_logs), RESOURCE_LOGS).unwrap_or_default());
        self.members.extend(encoded(&parts::read(content(scope_logs), SCOPE_LOGS).unwrap_or_default()));
    }

    /// Bytes that it adds to an event, but for some headers.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }
}

/// Named values as members of an object.
fn encoded(named: &[Named]) -> Vec<u8> {
    let mut members = Vec::with_capacity(named.iter().map(|(name, value)| member_len(name.len(), value.len())).sum());
    named.iter().for_each(|(name, value)| put_member(&mut members, name, value));
    members
}

fn member_len(name: usize, value: usize) -> usize {
    framed_len(framed_len(name) + framed_len(value))
}

fn put_member(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put_header(out, VALUES, framed_len(name.len()) + framed_len(value.len()));
    put_bytes(out, KEY, name.as_bytes());
    put_bytes(out, VALUE, value);
}

/// A record as an `EventWrapper` that is not written yet. Every length in it is known, so each byte of what is around the
/// record, which may be much more than the record, is written once.
pub(super) struct Event<'c> {
    /// The entries of the document, encoded, as fields of the `Log`.
    fields: Vec<u8>,
    /// The other fields of the record.
    named: Vec<Named>,
    context: &'c Context,
    /// Bytes of the `Log`, of its `Metadata`, and of each message in that on the way to the members: see [`Event::put`].
    log: usize,
    metadata: usize,
    value: usize,
    map: usize,
    member: usize,
    object: usize,
    members: usize,
}

impl Event<'_> {
    pub(super) fn new<'c>(record: &[u8], context: &'c Context) -> Event<'c> {
        let (fields, named) = read(record).unwrap_or_else(|_| {
            let mut fields = Vec::new();
            put_bytes(&mut fields, field::FIELDS, &unreadable(record));
            (fields, Vec::new())
        });
        let own: usize = named.iter().map(|(name, value)| member_len(name.len(), value.len())).sum();
        let members = own + context.len();
        let object = framed_len(members);
        let member = framed_len(OPENTELEMETRY.len()) + framed_len(object);
        let map = framed_len(member);
        let value = framed_len(map);
        let metadata = framed_len(value);
        let log = fields.len() + if members > 0 { framed_len(metadata) } else { 0 };
        Event { fields, named, context, log, metadata, value, map, member, object, members }
    }

    /// Bytes of the `EventWrapper`.
    pub(super) fn len(&self) -> usize {
        framed_len(self.log)
    }

    /// Appends the `EventWrapper`.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_header(out, field::LOG, self.log);
        out.extend_from_slice(&self.fields);
        if self.members == 0 {
            return;
        }
        put_header(out, field::METADATA, self.metadata);
        put_header(out, field::METADATA_VALUE, self.value);
        put_header(out, LogValue::NUMBERS.map, self.map);
        put_header(out, VALUES, self.member);
        put_bytes(out, KEY, OPENTELEMETRY);
        put_header(out, VALUE, self.object);
        put_header(out, LogValue::NUMBERS.map, self.members);
        self.named.iter().for_each(|(name, value)| put_member(out, name, value));
        out.extend_from_slice(&self.context.members);
    }
}

/// A `Log` as an `EventWrapper`.
pub(super) fn wrap(log: &[u8]) -> Vec<u8> {
    let mut wrapper = Vec::with_capacity(log.len() + 6);
    put_bytes(&mut wrapper, field::LOG, log);
    wrapper
}

/// The field that holds a record that cannot be read.
pub(super) fn unreadable(record: &[u8]) -> Vec<u8> {
    encode_key_value(MESSAGE, &text(&json::unreadable(record)))
}

/// The event's fields, encoded, and what else the record has. The fields are written as they are read: a list of them would
/// be many times as large as those of a hostile record.
fn read(record: &[u8]) -> Result<(Vec<u8>, Vec<Named>), MalformedRecord> {
    let body = body_of(record)?;
    let (list, number, parts) = match body {
        Any::Map(list) => (list, VALUES, RECORD),
        _ => (record, otlp::field::ATTRIBUTES, RECORD_BESIDE),
    };
    let mut named = parts::read(record, parts)?;
    let mut fields = Vec::with_capacity(converted_len(list, number));
    let (mut has_message, mut has_time) = (false, false);
    for_each_member(list, number, |key, value| {
        has_message |= key == MESSAGE;
        has_time |= key == TIMESTAMP || key == b"@timestamp";
        put_converted_entry::<AnyValue, LogValue>(&mut fields, field::FIELDS, key, value)
    })?;
    if !matches!(body, Any::Map(_)) {
        named.push((ROOT, text(ATTRIBUTES.as_bytes())));
        if body != Any::Null {
            let value = convert::<AnyValue, LogValue>(body_message(record)?.unwrap_or_default(), 1)?;
            if has_message {
                named.push((BODY, value));
            } else {
                named.push((BODY_KEY, text(MESSAGE)));
                put_bytes(&mut fields, field::FIELDS, &encode_key_value(MESSAGE, &value));
            }
        }
    }
    // Vector's sinks look for the time of an event here.
    if let Some(time) = time_of(record)?.filter(|_| !has_time) {
        put_bytes(&mut fields, field::FIELDS, &encode_key_value(TIMESTAMP, &instant(time)));
        named.push((TIMESTAMP_ADDED, text(b"true")));
    }
    Ok((fields, named))
}
