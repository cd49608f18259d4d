//! Values as JSON text, for outputs that are neither OTLP nor Vector.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Any, Dialect, Elements, MalformedRecord, any, key_value, timestamp};
use crate::encoding::MAX_DEPTH;
use crate::encoding::json::{write_text, write_value};

/// Levels of a rendered document. Readers of JSON have a bound, too: `serde_json`'s, with which many are made, ends at
/// 127, one level before the walk's.
const RENDERED_LEVELS: usize = MAX_DEPTH - 1;

/// Writes a value. Types stay; a double that JSON cannot say is null, bytes that are not UTF-8 are base64, text is made
/// UTF-8, an instant is RFC 3339, what lies deeper than 127 levels is null. `depth` containers are open around it.
pub(crate) fn write_content<D: Dialect>(
    out: &mut Vec<u8>,
    content: Any<'_>,
    depth: usize,
) -> Result<(), MalformedRecord> {
    match content {
        Any::Array(_) | Any::Map(_) if depth >= RENDERED_LEVELS => out.extend_from_slice(b"null"),
        Any::Array(list) => {
            out.push(b'[');
            let mut elements = Elements::new(list);
            let mut first = true;
            while let Some(element) = elements.next_element()? {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                write_content::<D>(out, any::<D>(element)?, depth + 1)?;
            }
            out.push(b']');
        }
        Any::Map(list) => write_map::<D>(out, list, depth)?,
        Any::Null | Any::Unknown => out.extend_from_slice(b"null"),
        Any::Text(text) => write_text(out, text),
        Any::Bytes(bytes) if str::from_utf8(bytes).is_ok() => write_text(out, bytes),
        Any::Bytes(bytes) => write_value(out, &BASE64.encode(bytes)),
        Any::Bool(value) => write_value(out, &value),
        Any::Int(value) => write_value(out, &value),
        Any::Double(value) => write_value(out, &value),
        Any::Time(time) => match timestamp(time) {
            Some(time) => write_value(out, &time.to_string()),
            None => out.extend_from_slice(b"null"),
        },
    }
    Ok(())
}

fn write_map<D: Dialect>(out: &mut Vec<u8>, list: &[u8], depth: usize) -> Result<(), MalformedRecord> {
    let mut elements = Elements::new(list);
    write_entries::<D>(out, depth, || elements.next_element()?.map(key_value).transpose())
}

/// Writes an object of the keys and values that `next` gives.
pub(crate) fn write_entries<'a, D: Dialect>(
    out: &mut Vec<u8>,
    depth: usize,
    mut next: impl FnMut() -> Result<Option<(&'a [u8], &'a [u8])>, MalformedRecord>,
) -> Result<(), MalformedRecord> {
    out.push(b'{');
    let mut first = true;
    while let Some((key, value)) = next()? {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_text(out, key);
        out.push(b':');
        write_content::<D>(out, any::<D>(value)?, depth + 1)?;
    }
    out.push(b'}');
    Ok(())
}
