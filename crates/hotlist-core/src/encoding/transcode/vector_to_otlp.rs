//! A log event of Vector as an OTLP log record.

use super::otlp_to_vector::{BODY, BODY_KEY, OPENTELEMETRY, ROOT, TIMESTAMP_ADDED};
use super::parts::{self, RECORD, RESOURCE_LOGS, SCOPE_LOGS, converted_entries};
use crate::encoding::dialect::{Any, Dialect, VALUES, any, convert, members, timestamp};
use crate::encoding::otlp::{self, AnyValue};
use crate::encoding::tag::Entry;
use crate::encoding::vector::{Log, LogValue, TIMESTAMP, field};
use crate::encoding::wire::{Fields, Payload, put_bytes};
use crate::encoding::{MalformedRecord, json};
use crate::observable::time;

/// A record, with what is around it.
pub(super) struct Placed {
    /// `ResourceLogs` without its scopes.
    pub(super) resource: Vec<u8>,
    /// `ScopeLogs` without its records.
    pub(super) scope: Vec<u8>,
    pub(super) record: Vec<u8>,
}

/// The event as a `LogRecord`; `None` when it is a metric or a trace.
pub(super) fn record(event: &[u8]) -> Option<Placed> {
    match read(event) {
        Ok(placed) => placed,
        Err(_) => {
            let record = unreadable(event);
            Some(Placed { resource: Vec::new(), scope: Vec::new(), record })
        }
    }
}

/// A `LogRecord` that holds the bytes of one that cannot be read.
pub(super) fn unreadable(record: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_bytes(&mut body, AnyValue::NUMBERS.text, &json::unreadable(record));
    let mut out = Vec::new();
    put_bytes(&mut out, otlp::field::BODY, &body);
    out
}

fn read(event: &[u8]) -> Result<Option<Placed>, MalformedRecord> {
    let Some(log) = Log::read(event)? else { return Ok(None) };
    let metadata = metadata(log.message)?;
    let context = context(&metadata)?;
    let named: Vec<_> = context.iter().map(|member| (&*member.key, member.value)).collect();
    let text_of = |name: &str| {
        let value =
            named.iter().rev().find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| any::<LogValue>(value));
        match value {
            Some(Ok(Any::Text(text))) => Some(text),
            _ => None,
        }
    };
    let fields = members(log.message, field::FIELDS)?;
    let is_added = |member: &Entry<'_>| *member.key == *TIMESTAMP && text_of(TIMESTAMP_ADDED).is_some();
    let body_key = text_of(BODY_KEY);
    let is_body = |member: &Entry<'_>| body_key.is_some_and(|key| *member.key == *key);
    let rest = || {
        let rest = fields.iter().filter(|member| !is_added(member) && !is_body(member));
        converted_entries::<LogValue, AnyValue>(rest.map(|member| (&*member.key, member.value)))
    };
    let mut record = parts::write(&named, RECORD)?;
    if !named.iter().any(|(key, _)| *key == b"timestamp")
        && let Some(time) = time_of(&fields)
    {
        parts::put_time(&mut record, otlp::field::TIME, time);
    }
    let body = if let Some((_, value)) = &log.value {
        Some(convert::<LogValue, AnyValue>(value, 0)?)
    } else if text_of(ROOT) == Some(parts::ATTRIBUTES.as_bytes()) {
        rest()?.iter().for_each(|entry| put_bytes(&mut record, otlp::field::ATTRIBUTES, entry));
        let kept = named.iter().rev().find(|(key, _)| *key == BODY.as_bytes()).map(|(_, value)| *value);
        let value = fields.iter().rfind(|member| is_body(member)).map(|member| member.value).or(kept);
        value.map(|value| convert::<LogValue, AnyValue>(value, 1)).transpose()?
    } else {
        let mut list = Vec::new();
        rest()?.iter().for_each(|entry| put_bytes(&mut list, VALUES, entry));
        let mut body = Vec::new();
        put_bytes(&mut body, AnyValue::NUMBERS.map, &list);
        Some(body)
    };
    if let Some(body) = body {
        put_bytes(&mut record, otlp::field::BODY, &body);
    }
    let (resource, scope) = (parts::write(&named, RESOURCE_LOGS)?, parts::write(&named, SCOPE_LOGS)?);
    Ok(Some(Placed { resource, scope, record }))
}

/// `Metadata.value` of a log, empty for none.
fn metadata(log: &[u8]) -> Result<Vec<u8>, MalformedRecord> {
    let last = |message: &[u8], number| -> Result<Vec<u8>, MalformedRecord> {
        let mut fields = Fields::new(message);
        let mut content = Vec::new();
        while let Some(found) = fields.next_field()? {
            if let (true, Payload::Bytes(found)) = (found.number == number, found.payload) {
                content = found.to_vec();
            }
        }
        Ok(content)
    };
    last(&last(log, field::METADATA)?, field::METADATA_VALUE)
}

/// What OTLP has in addition to the document.
fn context(metadata: &[u8]) -> Result<Vec<Entry<'_>>, MalformedRecord> {
    let Any::Map(list) = any::<LogValue>(metadata)? else { return Ok(Vec::new()) };
    let found = members(list, VALUES)?;
    let Some(member) = found.iter().rfind(|member| *member.key == *OPENTELEMETRY) else { return Ok(Vec::new()) };
    match any::<LogValue>(member.value)? {
        Any::Map(list) => members(list, VALUES),
        _ => Ok(Vec::new()),
    }
}

/// When the event happened: the time that its document says, else the one that Vector's source gave it.
fn time_of(fields: &[Entry<'_>]) -> Option<jiff::Timestamp> {
    let at = |name: &[u8]| {
        let member = fields.iter().rfind(|member| *member.key == *name)?;
        match any::<LogValue>(member.value).ok()? {
            Any::Time(time) => timestamp(time),
            Any::Text(text) => time::parse(text),
            _ => None,
        }
    };
    at(b"@timestamp").or_else(|| at(TIMESTAMP))
}
