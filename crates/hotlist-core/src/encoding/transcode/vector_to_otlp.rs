//! A log event of Vector as an OTLP log record.

use super::parts::{self, BODY, BODY_KEY, OPENTELEMETRY, RECORD, RESOURCE_LOGS, ROOT, SCOPE_LOGS, TIMESTAMP_ADDED};
use crate::encoding::dialect::{
    Any, Dialect, Entries, VALUES, any, convert, converted_len, for_each_member, put_converted_entry, timestamp,
};
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
    let (added, body_key) = (text_of(TIMESTAMP_ADDED).is_some(), text_of(BODY_KEY));
    let is_body = |key: &[u8]| body_key.is_some_and(|name| *key == *name);
    // Written as they are read: a list of them would be many times as large as those of a hostile event.
    let put_rest = |out: &mut Vec<u8>, number| {
        out.reserve(converted_len(log.message, field::FIELDS));
        for_each_member(log.message, field::FIELDS, |key, value| match is_body(key) || (added && key == TIMESTAMP) {
            true => Ok(()),
            false => put_converted_entry::<LogValue, AnyValue>(out, number, key, value),
        })
    };
    let mut record = parts::write(&named, RECORD)?;
    if !named.iter().any(|(key, _)| *key == b"timestamp")
        && let Some(time) = time_of(log.message)?
    {
        parts::put_time(&mut record, otlp::field::TIME, time);
    }
    let body = if let Some((_, value)) = &log.value {
        Some(convert::<LogValue, AnyValue>(value, 0)?)
    } else if text_of(ROOT) == Some(parts::ATTRIBUTES.as_bytes()) {
        put_rest(&mut record, otlp::field::ATTRIBUTES)?;
        let kept = named.iter().rev().find(|(key, _)| *key == BODY.as_bytes()).map(|(_, value)| *value);
        let value = last(log.message, is_body)?.or(kept);
        value.map(|value| convert::<LogValue, AnyValue>(value, 1)).transpose()?
    } else {
        let mut list = Vec::new();
        put_rest(&mut list, VALUES)?;
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

/// The fields of OTLP in addition to the document.
fn context(metadata: &[u8]) -> Result<Vec<Entry<'_>>, MalformedRecord> {
    let Any::Map(list) = any::<LogValue>(metadata)? else { return Ok(Vec::new()) };
    let mut value = None;
    for_each_member(list, VALUES, |key, found| {
        value = if key == OPENTELEMETRY { Some(found) } else { value };
        Ok(())
    })?;
    match value.map(any::<LogValue>).transpose()? {
        Some(Any::Map(list)) => Ok(Entries::whole(list, VALUES)?.list),
        _ => Ok(Vec::new()),
    }
}

/// The last field of a log with a key.
fn last(log: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> Result<Option<&[u8]>, MalformedRecord> {
    let mut found = None;
    for_each_member(log, field::FIELDS, |key, value| {
        found = if is_wanted(key) { Some(value) } else { found };
        Ok(())
    })?;
    Ok(found)
}

/// When the event happened: the time that its document says, else the one that Vector's source gave it.
fn time_of(log: &[u8]) -> Result<Option<jiff::Timestamp>, MalformedRecord> {
    for name in [&b"@timestamp"[..], TIMESTAMP] {
        let time = match last(log, |key| key == name)?.map(any::<LogValue>) {
            Some(Ok(Any::Time(time))) => timestamp(time),
            Some(Ok(Any::Text(text))) => time::parse(text),
            _ => None,
        };
        if time.is_some() {
            return Ok(time);
        }
    }
    Ok(None)
}
