//! An OTLP log record as a log event of Vector.

use std::sync::LazyLock;

use super::parts::{self, ATTRIBUTES, Named, RECORD, RESOURCE_LOGS, SCOPE_LOGS, converted_entries, instant, text};
use crate::encoding::dialect::{Any, Member, VALUES, convert, encode_key_value, members};
use crate::encoding::envelope::Span;
use crate::encoding::otlp::{self, AnyValue, body_message, body_of, time_of};
use crate::encoding::tag::Codec;
use crate::encoding::vector::{LogValue, MESSAGE, TIMESTAMP, field};
use crate::encoding::wire::{put_bytes, put_nested};
use crate::encoding::{MalformedRecord, json};

/// The key of Vector's metadata below which OTLP's stand, as Vector's own `opentelemetry` source has it.
pub(crate) const OPENTELEMETRY: &[u8] = OPENTELEMETRY_KEY.as_bytes();
const OPENTELEMETRY_KEY: &str = "opentelemetry";
/// Says which part of the record the event's fields are, when they are not its body.
pub(super) const ROOT: &str = "root";
/// Says which field of the event is the record's body.
pub(super) const BODY_KEY: &str = "body_key";
/// A body that has no place among the fields.
pub(super) const BODY: &str = "body";
/// Says that the event's `timestamp` is the record's time, and was no field of the document.
pub(super) const TIMESTAMP_ADDED: &str = "timestamp_added";

/// Says that what was around the record is left out.
pub(super) const CONTEXT_LEFT_OUT: &str = "context_left_out";
/// The keys that say how the record was laid out, and nothing of the event.
pub(crate) const HOW_TO_CONVERT: &[&[u8]] = &[ROOT.as_bytes(), BODY_KEY.as_bytes(), TIMESTAMP_ADDED.as_bytes()];

/// What is around the records that come next.
#[derive(Default)]
pub(super) struct Context {
    spans: Option<(Span, Span)>,
    named: Vec<Named>,
    len: usize,
}

/// What stands in the place of a context that is left out.
pub(super) static LEFT_OUT: LazyLock<Context> =
    LazyLock::new(|| Context { named: vec![(CONTEXT_LEFT_OUT, text(b"true"))], ..Context::default() });

impl Context {
    /// Whether something else is around a record than around the previous one.
    pub(super) fn is_other(&self, resource_logs: Span, scope_logs: Span) -> bool {
        self.spans != Some((resource_logs, scope_logs))
    }

    /// Reads what is around a record.
    pub(super) fn enter<'a>(&mut self, resource_logs: Span, scope_logs: Span, content: impl Fn(Span) -> &'a [u8]) {
        self.spans = Some((resource_logs, scope_logs));
        // What cannot be read of it is left out: it is not part of an event.
        self.named = parts::read(content(resource_logs), RESOURCE_LOGS).unwrap_or_default();
        self.named.extend(parts::read(content(scope_logs), SCOPE_LOGS).unwrap_or_default());
        self.len = self.named.iter().map(|(name, value)| name.len() + value.len()).sum();
    }

    /// Bytes that it adds to an event, but for some headers.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// The record as an `EventWrapper`.
pub(super) fn event(record: &[u8], context: &Context) -> Vec<u8> {
    let (fields, named) = read(record).unwrap_or_else(|_| (vec![unreadable(record)], Vec::new()));
    let mut out = Vec::with_capacity(record.len() + record.len() / 4 + context.len + TYPICAL);
    put_nested(&mut out, field::LOG, |log| {
        fields.iter().for_each(|entry| put_bytes(log, field::FIELDS, entry));
        if !named.is_empty() || !context.named.is_empty() {
            put_nested(log, field::METADATA, |out| {
                put_nested(out, field::METADATA_VALUE, |out| put_metadata(out, &named, &context.named));
            });
        }
    });
    out
}

/// Bytes that hold what is added to most records.
const TYPICAL: usize = 96;

fn put_metadata(out: &mut Vec<u8>, named: &[Named], around: &[Named]) {
    let put_named = |out: &mut Vec<u8>| {
        for (name, value) in named.iter().chain(around) {
            LogValue::put_member(out, name, |out| out.extend_from_slice(value));
        }
    };
    LogValue::put_object(out, |out| {
        LogValue::put_member(out, OPENTELEMETRY_KEY, |out| LogValue::put_object(out, put_named));
    });
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

/// The event's fields, encoded, and what else the record has.
fn read(record: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<Named>), MalformedRecord> {
    let mut named = parts::read(record, RECORD)?;
    let body = body_of(record)?;
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut fields;
    if let Any::Map(list) = body {
        let members = members(list, VALUES)?;
        keys.extend(members.iter().map(|member| member.entry.key.to_vec()));
        fields = converted_entries::<AnyValue, LogValue>(entries(&members))?;
    } else {
        let members = members(record, otlp::field::ATTRIBUTES)?;
        keys.extend(members.iter().map(|member| member.entry.key.to_vec()));
        fields = converted_entries::<AnyValue, LogValue>(entries(&members))?;
        named.retain(|(name, _)| *name != ATTRIBUTES);
        named.push((ROOT, text(ATTRIBUTES.as_bytes())));
        if body != Any::Null {
            let value = convert::<AnyValue, LogValue>(body_message(record)?.unwrap_or_default(), 1)?;
            if keys.iter().any(|key| key == MESSAGE) {
                named.push((BODY, value));
            } else {
                named.push((BODY_KEY, text(MESSAGE)));
                fields.push(encode_key_value(MESSAGE, &value));
            }
        }
    }
    // Vector's sinks look for the time of an event here.
    if let Some(time) = time_of(record)?
        && !keys.iter().any(|key| key == TIMESTAMP || key == b"@timestamp")
    {
        fields.push(encode_key_value(TIMESTAMP, &instant(time)));
        named.push((TIMESTAMP_ADDED, text(b"true")));
    }
    Ok((fields, named))
}

fn entries<'a>(members: &'a [Member<'a>]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    members.iter().map(|member| (&*member.entry.key, member.entry.value))
}
