//! An OTLP log record as a log event of Vector.

use std::sync::LazyLock;

use super::parts::{self, ATTRIBUTES, Named, RECORD, RESOURCE_LOGS, SCOPE_LOGS, converted_entries, instant, map, text};
use crate::encoding::dialect::{Any, Member, VALUES, convert, encode_key_value, members};
use crate::encoding::envelope::Span;
use crate::encoding::otlp::{self, AnyValue, body_message, body_of, time_of};
use crate::encoding::vector::{LogValue, MESSAGE, TIMESTAMP, field};
use crate::encoding::wire::put_bytes;
use crate::encoding::{OddRecord, json};

/// The key of Vector's metadata below which OTLP's stand, as Vector's own `opentelemetry` source has it.
pub(crate) const OPENTELEMETRY: &[u8] = b"opentelemetry";
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
    /// Whether something else is around a record than around the one before.
    pub(super) fn is_other(&self, resource_logs: Span, scope_logs: Span) -> bool {
        self.spans != Some((resource_logs, scope_logs))
    }

    /// Reads what is around a record.
    pub(super) fn enter<'a>(&mut self, resource_logs: Span, scope_logs: Span, content: impl Fn(Span) -> &'a [u8]) {
        self.spans = Some((resource_logs, scope_logs));
        // What cannot be read of it is left out: it is beside the events.
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
    let mut entries = parts::entries_of(&named);
    entries.extend(parts::entries_of(&context.named));
    let mut log = Vec::new();
    fields.iter().for_each(|entry| put_bytes(&mut log, field::FIELDS, entry));
    if !entries.is_empty() {
        let metadata = map(&[encode_key_value(OPENTELEMETRY, &map(&entries))]);
        let mut full = Vec::new();
        put_bytes(&mut full, field::METADATA_VALUE, &metadata);
        put_bytes(&mut log, field::METADATA, &full);
    }
    wrap(&log)
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
fn read(record: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<Named>), OddRecord> {
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
