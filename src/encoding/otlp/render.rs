//! A log record as one JSON document on one line, for outputs that are not OTLP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::Value;

use super::field;
use super::tag::{Member, body, members};
use super::walk::{Any, Elements, OddRecord, any, key_value};
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{MAX_DEPTH, json};

/// Levels of a rendered document. Readers of JSON have a bound, too: `serde_json`'s, with which many are made, ends at
/// 127, one level before the walk's.
const RENDERED_LEVELS: usize = MAX_DEPTH - 1;

/// A log record as the JSON document that it carries, without a line break in it.
///
/// - The document is the body where that is one (a key-value list or JSON text), with the attributes that it does not
///   have; tags in the attributes are merged into it. Else it is the attributes, with a text body as `message`
///   (`body` when there is a `message`, or when the body is no text).
/// - `@timestamp` is added from the record's time, else its observed time, when the document has none.
/// - Types stay; a double that JSON cannot say is null, bytes that are no UTF-8 are base64, text is made UTF-8, what
///   lies deeper than 127 levels is null.
/// - A record that cannot be read is kept whole: `{"hotlist":{"unreadable_record":"…base64…"}}`.
pub fn render_record(record: &[u8]) -> Vec<u8> {
    render(record).unwrap_or_else(|_| {
        format!(r#"{{"hotlist":{{"unreadable_record":"{}"}}}}"#, BASE64.encode(record)).into_bytes()
    })
}

fn render(record: &[u8]) -> Result<Vec<u8>, OddRecord> {
    let attributes = members(record, field::ATTRIBUTES)?;
    let body = body(record)?.map_or(Any::Null, |body| body.content);
    let own = match body {
        Any::KvList(list) => {
            let mut out = Vec::new();
            write_kvlist(&mut out, list, 0)?;
            Some(out)
        }
        Any::Text(text) | Any::Bytes(text) => json_line(text),
        _ => None,
    };
    let mut document = match own {
        Some(document) if attributes.is_empty() => document,
        Some(document) => with_attributes(document, &attributes)?,
        None => attribute_document(&attributes, body)?,
    };
    if let Some(time) = time(record)?
        && !json::has(&document, b"@timestamp")?
    {
        document = json::append(&document, vec![("@timestamp".to_owned(), format!("\"{time:.9}\"").into_bytes())])?;
    }
    Ok(document)
}

/// The record's time, else its observed time.
fn time(record: &[u8]) -> Result<Option<Timestamp>, OddRecord> {
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

/// A text that is a JSON object, as valid UTF-8 on one line; `None` when it is something else.
fn json_line(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    if !text.starts_with(b"{") {
        return None;
    }
    let text = String::from_utf8_lossy(text);
    // Stricter than the walk: what goes into a JSON file must be JSON throughout. Valid JSON has no line break inside
    // a string, so each one is white space.
    serde_json::from_str::<serde::de::IgnoredAny>(&text).ok()?;
    Some(text.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }).collect())
}

/// A document with the attributes that it does not have; `threat.enrichments` and `tags` are merged.
fn with_attributes(document: Vec<u8>, attributes: &[Member<'_>]) -> Result<Vec<u8>, OddRecord> {
    let (mut enrichments, mut words, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for Member { entry, .. } in attributes {
        let mut rendered = Vec::new();
        write_any(&mut rendered, entry.value, 1)?;
        match &*entry.key {
            b"threat.enrichments" => enrichments.extend(list_of(&rendered)),
            b"tags" => {
                words.extend(list_of(&rendered).into_iter().filter_map(|word| word.as_str().map(str::to_owned)));
            }
            b"threat" if json::has(&document, b"threat")? => {
                if let Ok(threat) = serde_json::from_slice::<Value>(&rendered) {
                    enrichments.extend(threat.get("enrichments").cloned().map(elements_of).unwrap_or_default());
                }
            }
            key if !json::has(&document, key)? => more.push((String::from_utf8_lossy(key).into_owned(), rendered)),
            _ => {}
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (document, _) = json::merge(&document, &enrichments, &words)?;
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

/// The attributes as a document, with the body beside them.
fn attribute_document(attributes: &[Member<'_>], body: Any<'_>) -> Result<Vec<u8>, OddRecord> {
    let mut out = vec![b'{'];
    for (index, Member { entry, .. }) in attributes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(&mut out, &entry.key);
        out.push(b':');
        write_any(&mut out, entry.value, 1)?;
    }
    out.push(b'}');
    if body == Any::Null {
        return Ok(out);
    }
    let key = match body {
        Any::Text(_) | Any::Bytes(_) if !json::has(&out, b"message")? => "message",
        _ => "body",
    };
    let mut rendered = Vec::new();
    write_content(&mut rendered, body, 1)?;
    Ok(json::append(&out, vec![(key.to_owned(), rendered)])?)
}

fn write_any(out: &mut Vec<u8>, value: &[u8], depth: usize) -> Result<(), OddRecord> {
    write_content(out, any(value)?, depth)
}

fn write_content(out: &mut Vec<u8>, content: Any<'_>, depth: usize) -> Result<(), OddRecord> {
    match content {
        Any::Array(_) | Any::KvList(_) if depth >= RENDERED_LEVELS => out.extend_from_slice(b"null"),
        Any::Array(list) => {
            out.push(b'[');
            let mut elements = Elements::new(list);
            let mut first = true;
            while let Some(element) = elements.next_element()? {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                write_any(out, element, depth + 1)?;
            }
            out.push(b']');
        }
        Any::KvList(list) => write_kvlist(out, list, depth)?,
        Any::Null => out.extend_from_slice(b"null"),
        Any::Text(text) => write_text(out, text),
        Any::Bytes(bytes) if str::from_utf8(bytes).is_ok() => write_text(out, bytes),
        Any::Bytes(bytes) => write_json(out, &BASE64.encode(bytes)),
        Any::Bool(value) => write_json(out, &value),
        Any::Int(value) => write_json(out, &value),
        Any::Double(value) => write_json(out, &value),
    }
    Ok(())
}

fn write_kvlist(out: &mut Vec<u8>, list: &[u8], depth: usize) -> Result<(), OddRecord> {
    out.push(b'{');
    let mut elements = Elements::new(list);
    let mut first = true;
    while let Some(element) = elements.next_element()? {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        let (key, value) = key_value(element)?;
        write_text(out, key);
        out.push(b':');
        write_any(out, value, depth + 1)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_json(out, &*String::from_utf8_lossy(text));
}

/// Scalars always serialise; `Display` of a JSON value spells a double that JSON cannot say as null.
fn write_json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}
