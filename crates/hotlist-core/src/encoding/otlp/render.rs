//! A log record as one JSON document on one line, for outputs that are not OTLP.

use jiff::Timestamp;
use serde_json::Value;

use super::tag::body;
use super::{AnyValue, field};
use crate::encoding::dialect::{Any, MalformedRecord, any, members, write_content, write_entries};
use crate::encoding::json;
use crate::encoding::lines::{RenderedRecord, put_attributes, write_record};
use crate::encoding::tag::{Entry, Rendered};
use crate::encoding::wire::{Fields, Payload};

/// A log record as the JSON document that it carries, without a line break in it.
///
/// - The document is the body where that is one (a key-value list or JSON text), with the attributes that it does not
///   have; tags in the attributes are merged into it. Else it is the attributes, with a text body as `message`
///   (`body` when there is a `message`, or when the body is not text).
/// - `@timestamp` is added from the record's time, else its observed time, when the document has none.
/// - Types stay; a double that JSON cannot say is null, bytes that are not UTF-8 are base64, text is made UTF-8, what
///   lies deeper than 127 levels is null.
/// - A record that cannot be read is kept whole: `{"hotlist":{"unreadable_record":"…base64…"}}`.
pub fn render_record(record: &[u8]) -> Vec<u8> {
    parts(record).document()
}

/// The same with what else the record has. Attributes whose names the document has are not lost: they stand there.
pub(in crate::encoding) fn parts(record: &[u8]) -> RenderedRecord {
    read(record).unwrap_or_else(|_| RenderedRecord::unreadable(record))
}

fn read(record: &[u8]) -> Result<RenderedRecord, MalformedRecord> {
    let attributes = members(record, field::ATTRIBUTES)?;
    let body = body(record)?.map_or(Any::Null, |body| body.content);
    let own = match body {
        Any::Map(_) => {
            let mut out = Vec::with_capacity(record.len() + record.len() / 4);
            write_content::<AnyValue>(&mut out, body, 0)?;
            Some(out)
        }
        Any::Text(text) | Any::Bytes(text) => json::one_line(text),
        _ => None,
    };
    let mut extra = Vec::new();
    write_record(&mut extra, record)?;
    let document = match own {
        Some(document) if attributes.is_empty() => document,
        Some(document) => with_attributes(document, &attributes, &mut extra)?,
        None => attribute_document(&attributes, body)?,
    };
    Ok(RenderedRecord { document, time: time_of(record)?, extra })
}

/// The record's time, else its observed time.
pub(crate) fn time_of(record: &[u8]) -> Result<Option<Timestamp>, MalformedRecord> {
    let (mut time, mut observed) = (0, 0);
    let mut fields = Fields::new(record);
    while let Some(found) = fields.next_field()? {
        match (found.number, found.payload) {
            (field::TIME, Payload::Fixed64(value)) => time = value,
            (field::OBSERVED_TIME, Payload::Fixed64(value)) => observed = value,
            _ => {}
        }
    }
    let nanoseconds = if time == 0 { observed } else { time };
    Ok(Timestamp::from_nanosecond(i128::from(nanoseconds)).ok().filter(|_| nanoseconds != 0))
}

/// A document with the attributes that it does not have; `threat.enrichments`, `tags`, and what OCSF has for them are
/// merged, and the others go to `extra`.
fn with_attributes(
    document: Vec<u8>,
    attributes: &[Entry<'_>],
    extra: &mut Vec<u8>,
) -> Result<Vec<u8>, MalformedRecord> {
    let mut keys: Vec<&[u8]> = attributes.iter().map(|member| &*member.key).collect();
    keys.extend([&b"threat"[..], b"class_uid"]);
    keys.sort_unstable();
    keys.dedup();
    let found = json::find(&document, &keys)?;
    let has = |key: &[u8]| keys.binary_search(&key).is_ok_and(|place| found.get(place) == Some(&true));
    let (mut enrichments, mut words) = (Vec::new(), Vec::new());
    let is_ocsf = has(b"class_uid");
    let (mut shared, mut osint, mut profiles) = (Vec::new(), Vec::new(), Vec::new());
    let (mut more, mut others) = (Vec::new(), Vec::new());
    let texts = |list: Vec<Value>| list.into_iter().filter_map(|word| word.as_str().map(str::to_owned));
    for entry in attributes {
        let rendered = || {
            let mut rendered = Vec::new();
            write_content::<AnyValue>(&mut rendered, any::<AnyValue>(entry.value)?, 1).map(|()| rendered)
        };
        match &*entry.key {
            b"threat.enrichments" => enrichments.extend(list_of(&rendered()?)),
            b"tags" => words.extend(texts(list_of(&rendered()?))),
            b"threat" if has(b"threat") => {
                if let Ok(threat) = serde_json::from_slice::<Value>(&rendered()?) {
                    enrichments.extend(threat.get("enrichments").cloned().map(elements_of).unwrap_or_default());
                }
            }
            b"enrichments" if is_ocsf && has(b"enrichments") => shared.extend(list_of(&rendered()?)),
            b"osint" if is_ocsf && has(b"osint") => osint.extend(list_of(&rendered()?)),
            b"metadata.profiles" if is_ocsf && has(b"metadata.profiles") => {
                profiles.extend(texts(list_of(&rendered()?)))
            }
            key if !has(key) => more.push((String::from_utf8_lossy(key).into_owned().into(), rendered()?)),
            key => others.push((key, entry.value)),
        }
    }
    put_attributes(extra, &others)?;
    let (words, profiles) = (words.iter().map(String::as_str), profiles.iter().map(String::as_str));
    let (words, profiles) = (Vec::from_iter(words), Vec::from_iter(profiles));
    let ecs = Rendered { enrichments: &enrichments, words: &words, ..Rendered::default() };
    let ocsf =
        Rendered { enrichments: &shared, osint: &osint, profiles: &profiles, is_ocsf: true, ..Rendered::default() };
    let mut document = document;
    for rendered in [ecs, ocsf] {
        if !rendered.is_empty() {
            document = json::merge(&document, &rendered)?;
        }
    }
    Ok(if more.is_empty() { document } else { json::append(&document, more)? })
}

/// The elements of rendered JSON that may be an array or one value.
fn list_of(rendered: &[u8]) -> Vec<Value> {
    serde_json::from_slice(rendered).map(elements_of).unwrap_or_default()
}

fn elements_of(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// The attributes as a document, with the body next to them.
fn attribute_document(attributes: &[Entry<'_>], body: Any<'_>) -> Result<Vec<u8>, MalformedRecord> {
    let bytes = attributes.iter().map(|member| member.key.len() + member.value.len() + 8).sum::<usize>();
    let mut out = Vec::with_capacity(bytes + bytes / 4);
    let mut rest = attributes.iter();
    write_entries::<AnyValue>(&mut out, 0, || Ok(rest.next().map(|member| (&*member.key, member.value))))?;
    if body == Any::Null {
        return Ok(out);
    }
    let key = match body {
        Any::Text(_) | Any::Bytes(_) if json::find(&out, &[b"message"])? == [false] => "message",
        _ => "body",
    };
    let mut rendered = Vec::new();
    write_content::<AnyValue>(&mut rendered, body, 1)?;
    Ok(json::append(&out, vec![(key.into(), rendered)])?)
}
