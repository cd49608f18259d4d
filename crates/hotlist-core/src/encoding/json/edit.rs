//! Tagging of JSON documents: the rules of [`crate::encoding::tag`] over slices of the text.
//!
//! An edit copies the text around the touched values byte for byte, white space included.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::JsonError;
use super::repair::BYTE_ORDER_MARK;
use super::scan::{RawString, Scanner};
use super::write::write_text;
use crate::encoding::tag::{Codec, Edits, Entry, Rendered, Shape, Spelling, TagOutcome, Tags, join, plan};

/// Brings `tags` into a document; see [`crate::encoding::tag`] for where they go. A document that cannot be read to its
/// end takes them behind the last member before the fault.
///
/// # Errors
/// When the text does not begin like a document.
pub fn tag(document: &[u8], tags: &Tags<'_>) -> Result<(Vec<u8>, TagOutcome), JsonError> {
    let (object, _) = Items::scan(document, b'{')?;
    Ok(tag_object(document, &object, tags))
}

/// As [`tag`], of a text that must be a document throughout.
///
/// # Errors
/// When the text is not a JSON object.
pub(crate) fn tag_whole(document: &[u8], tags: &Tags<'_>) -> Result<(Vec<u8>, TagOutcome), JsonError> {
    Ok(tag_object(document, &Items::whole(document, b'{')?, tags))
}

fn tag_object(document: &[u8], object: &Items<'_>, tags: &Tags<'_>) -> (Vec<u8>, TagOutcome) {
    let (edits, outcome) = plan::<Json>(&object.entries, tags, Spelling::Nested);
    (edits.map_or_else(|| document.to_vec(), |edits| object.edit(&edits)), outcome)
}

/// A document with what another part of its record holds where tags go.
pub(crate) fn merge(document: &[u8], rendered: &Rendered<'_>) -> Result<Vec<u8>, JsonError> {
    let object = Items::whole(document, b'{')?;
    let edits = join::<Json>(&object.entries, rendered);
    Ok(edits.map_or_else(|| document.to_vec(), |edits| object.edit(&edits)))
}

/// A document with more members at its end, keys and encoded values.
pub(crate) fn append(document: &[u8], members: Vec<(Cow<'static, str>, Vec<u8>)>) -> Result<Vec<u8>, JsonError> {
    Json::edit(document, &Edits { replaced: Vec::new(), appended: members })
}

/// JSON as a [`Codec`].
pub(crate) struct Json;

impl Codec for Json {
    type Error = JsonError;

    fn shape(value: &[u8]) -> Result<Shape<'_>, JsonError> {
        let mut scanner = Scanner::new(value);
        let shape = match scanner.peek() {
            Some(b'{') => Shape::Object(Items::whole(value, b'{')?.entries),
            Some(b'[') => Shape::Array(Items::whole(value, b'[')?.values()),
            Some(b'"') => Shape::Text(scanner.string()?.to_cow()),
            _ => scanner.scalar()?.map_or(Shape::Null, |_| Shape::Scalar),
        };
        Ok(shape)
    }

    fn encode(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    fn put_text(out: &mut Vec<u8>, text: &str) {
        write_text(out, text.as_bytes());
    }

    fn put_true(out: &mut Vec<u8>) {
        out.extend_from_slice(b"true");
    }

    fn put_object(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
        put_container(out, b'{', put);
    }

    fn put_member(out: &mut Vec<u8>, key: &str, put: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        put(out);
    }

    fn put_array(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
        put_container(out, b'[', put);
    }

    fn put_element(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
        out.push(b',');
        put(out);
    }

    fn array(elements: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![b'['];
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(element);
        }
        out.push(b']');
        out
    }

    fn edit_array(array: &[u8], edits: &Edits) -> Result<Vec<u8>, JsonError> {
        Ok(Items::whole(array, b'[')?.edit(edits))
    }

    fn edit(object: &[u8], edits: &Edits) -> Result<Vec<u8>, JsonError> {
        Ok(Items::whole(object, b'{')?.edit(edits))
    }
}

/// Appends a container. `put` appends each of its items with a comma before it, of which the first gives way to the bracket.
fn put_container(out: &mut Vec<u8>, open: u8, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put(out);
    match out.get_mut(start) {
        Some(first) => *first = open,
        None => out.push(open),
    }
    // Both brackets are two apart in ASCII.
    out.push(open + 2);
}

/// The places of a member of an object or an element of an array in the text. Texts are shorter than 4 GiB.
struct Item {
    start: u32,
    value: Range<u32>,
}

/// The members of an object or the elements of an array. The lists are sized before they are filled, since a hostile text
/// has an element in every two bytes.
struct Items<'a> {
    text: &'a [u8],
    items: Vec<Item>,
    /// The members; none of an array.
    entries: Vec<Entry<'a>>,
    /// After the last value, or after the opening bracket: where new ones go.
    end: usize,
    has_keys: bool,
}

impl<'a> Items<'a> {
    /// Reads a container up to its end, or to the first fault.
    fn scan(text: &'a [u8], open: u8) -> Result<(Items<'a>, Option<JsonError>), JsonError> {
        let mut scanner = Scanner::new(text);
        if text.starts_with(BYTE_ORDER_MARK) {
            scanner.at = BYTE_ORDER_MARK.len();
        }
        if scanner.peek() != Some(open) {
            return Err(JsonError::NotAnObject { at: scanner.at });
        }
        let (at, has_keys) = (scanner.at, open == b'{');
        let mut count = 0;
        let _ = each_item(&mut scanner, open, |_, _, _| count += 1);
        scanner.at = at;
        let mut items = Items {
            text,
            items: Vec::with_capacity(count),
            entries: Vec::with_capacity(if has_keys { count } else { 0 }),
            end: at + 1,
            has_keys,
        };
        let Items { items: places, entries, end, .. } = &mut items;
        let fault = each_item(&mut scanner, open, |key, start, value| {
            if let Some(key) = key {
                let value = text.get(value.clone()).unwrap_or_default();
                entries.push(Entry { key: key.to_cow(), value });
            }
            *end = value.end;
            places.push(Item { start: start as u32, value: value.start as u32..value.end as u32 });
        });
        Ok((items, fault.err()))
    }

    /// A container that is well-formed as far as it is looked at.
    fn whole(text: &'a [u8], open: u8) -> Result<Items<'a>, JsonError> {
        match Items::scan(text, open)? {
            (items, None) if !text.starts_with(BYTE_ORDER_MARK) => Ok(items),
            (_, None) => Err(JsonError::NotAnObject { at: 0 }),
            (_, Some(fault)) => Err(fault),
        }
    }

    fn slice(&self, range: Range<usize>) -> &'a [u8] {
        self.text.get(range).unwrap_or_default()
    }

    fn values(&self) -> Vec<&'a [u8]> {
        self.items.iter().map(|item| self.slice(widen(&item.value))).collect()
    }

    fn edit(&self, edits: &Edits) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + edits.bytes());
        let first = self.items.first().map_or(self.end, |item| item.start as usize);
        out.extend_from_slice(self.slice(0..first));
        let (mut replaced, mut before, mut is_empty) = (edits.replaced.iter().peekable(), first, true);
        for (index, item) in self.items.iter().enumerate() {
            let edit = replaced.next_if(|(at, _)| *at == index).map(|(_, value)| value);
            // The text between an item and the previous one is removed with the item.
            let (start, value) = (item.start as usize, widen(&item.value));
            let gap = std::mem::replace(&mut before, value.end)..start;
            if matches!(edit, Some(None)) {
                continue;
            }
            if !is_empty {
                out.extend_from_slice(self.slice(gap));
            }
            is_empty = false;
            out.extend_from_slice(self.slice(start..value.start));
            out.extend_from_slice(edit.and_then(Option::as_deref).unwrap_or_else(|| self.slice(value)));
        }
        for (key, value) in &edits.appended {
            if !std::mem::take(&mut is_empty) {
                out.push(b',');
            }
            if self.has_keys {
                write_text(&mut out, key.as_bytes());
                out.push(b':');
            }
            out.extend_from_slice(value);
        }
        let rest = self.slice(self.end..self.text.len());
        // Behind a fault more may follow than the closing bracket.
        if self.items.is_empty() && !is_empty && !matches!(rest.trim_ascii_start().first(), None | Some(b'}' | b']')) {
            out.push(b',');
        }
        out.extend_from_slice(rest);
        out
    }
}

fn widen(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// Calls `take` with key, start and place of the value of each item of the container that the scanner is at, up to its end
/// or to the first fault.
fn each_item<'a>(
    scanner: &mut Scanner<'a>,
    open: u8,
    mut take: impl FnMut(Option<RawString<'a>>, usize, Range<usize>),
) -> Result<(), JsonError> {
    // Both brackets are two apart in ASCII.
    let (has_keys, close) = (open == b'{', open + 2);
    if scanner.open(close) {
        loop {
            let first = scanner.peek().ok_or_else(|| scanner.unexpected("a value"))?;
            let start = scanner.at;
            let key = if has_keys { Some(scanner.key()?) } else { None };
            let first = if has_keys { scanner.peek().ok_or_else(|| scanner.unexpected("a value"))? } else { first };
            let at = scanner.at;
            scanner.skip(first)?;
            take(key, start, at..scanner.at);
            if !scanner.more(close)? {
                break;
            }
        }
    }
    scanner.end()
}
