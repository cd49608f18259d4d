//! Tagging of JSON documents: the rules of [`crate::encoding::tag`] over slices of the text.
//!
//! An edit copies the text around the touched values byte for byte, white space included.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::JsonError;
use super::scan::Scanner;
use crate::encoding::tag::{Codec, Edits, Entry, Shape, Spelling, TagOutcome, has_path, plan};

/// Adds `enrichments` (objects of `threat.enrichments`) and `tag_word` to a document; see [`crate::encoding::tag`] for
/// where they go. With no enrichments, or when the document holds them all, it comes back as it is.
///
/// # Errors
/// When the document is not a JSON object.
pub fn tag(document: &[u8], enrichments: &[Value], tag_word: &str) -> Result<(Vec<u8>, TagOutcome), JsonError> {
    let words: &[&str] = if enrichments.is_empty() { &[] } else { &[tag_word] };
    merge(document, enrichments, words)
}

/// As [`tag`], with any number of tag words.
pub(crate) fn merge(
    document: &[u8],
    enrichments: &[Value],
    words: &[&str],
) -> Result<(Vec<u8>, TagOutcome), JsonError> {
    let object = Object::scan(document)?;
    let (edits, outcome) = plan::<Json>(&object.entries(), enrichments, words, Spelling::Nested)?;
    Ok((edits.map_or_else(|| document.to_vec(), |edits| object.edit(&edits)), outcome))
}

/// A document with more members at its end, keys and encoded values.
pub(crate) fn append(document: &[u8], members: Vec<(String, Vec<u8>)>) -> Result<Vec<u8>, JsonError> {
    Json::edit(document, &Edits { replaced: Vec::new(), appended: members })
}

/// Whether a document has something at a dotted path, nested or dotted.
pub(crate) fn has(document: &[u8], path: &[u8]) -> Result<bool, JsonError> {
    has_path::<Json>(&Object::scan(document)?.entries(), path)
}

/// JSON as a [`Codec`].
struct Json;

impl Codec for Json {
    type Error = JsonError;

    fn shape(value: &[u8]) -> Result<Shape<'_>, JsonError> {
        let mut scanner = Scanner::new(value);
        let shape = match scanner.peek() {
            Some(b'{') => Shape::Object(Object::scan(value)?.entries()),
            Some(b'[') => Shape::Array(elements(value)?.into_iter().filter_map(|range| value.get(range)).collect()),
            Some(b'"') => Shape::Text(scanner.string()?.to_cow()),
            _ => scanner.scalar()?.map_or(Shape::Null, |_| Shape::Scalar),
        };
        Ok(shape)
    }

    fn encode(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    fn array(elements: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![b'['];
        join(&mut out, elements);
        out.push(b']');
        out
    }

    fn extend(array: &[u8], new: &[&[u8]]) -> Result<Vec<u8>, JsonError> {
        // After the last element rather than before the bracket, so that white space stays where it was.
        let Some(last) = elements(array)?.last().cloned() else { return Ok(Json::array(new)) };
        let (head, tail) = array.split_at(last.end);
        let mut out = head.to_vec();
        out.push(b',');
        join(&mut out, new);
        out.extend_from_slice(tail);
        Ok(out)
    }

    fn edit(object: &[u8], edits: &Edits) -> Result<Vec<u8>, JsonError> {
        Ok(Object::scan(object)?.edit(edits))
    }
}

fn join(out: &mut Vec<u8>, elements: &[&[u8]]) {
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(element);
    }
}

/// Where the elements of an array stand in its text.
fn elements(array: &[u8]) -> Result<Vec<Range<usize>>, JsonError> {
    let mut scanner = Scanner::new(array);
    let mut found = Vec::new();
    scanner.peek();
    if scanner.open(b']') {
        loop {
            found.push(value(&mut scanner)?);
            if !scanner.more(b']')? {
                break;
            }
        }
    }
    scanner.end()?;
    Ok(found)
}

/// Steps over a value and tells where it stood.
fn value(scanner: &mut Scanner<'_>) -> Result<Range<usize>, JsonError> {
    let first = scanner.peek().ok_or_else(|| scanner.unexpected("a value"))?;
    let start = scanner.at;
    scanner.skip(first)?;
    Ok(start..scanner.at)
}

/// An object's members by their places in its text.
struct Object<'a> {
    text: &'a [u8],
    members: Vec<(Cow<'a, [u8]>, Range<usize>)>,
    /// After the last value, or after the opening brace: where new members go.
    end: usize,
}

impl<'a> Object<'a> {
    fn scan(text: &'a [u8]) -> Result<Object<'a>, JsonError> {
        let mut scanner = Scanner::new(text);
        if scanner.peek() != Some(b'{') {
            return Err(JsonError::NotAnObject { at: scanner.at });
        }
        let mut object = Object { text, members: Vec::new(), end: scanner.at + 1 };
        if scanner.open(b'}') {
            loop {
                let key = scanner.key()?.to_cow();
                let place = value(&mut scanner)?;
                object.end = place.end;
                object.members.push((key, place));
                if !scanner.more(b'}')? {
                    break;
                }
            }
        }
        scanner.end()?;
        Ok(object)
    }

    fn entries(&self) -> Vec<Entry<'a>> {
        let entry = |(key, place): &(Cow<'a, [u8]>, Range<usize>)| Entry {
            key: key.clone(),
            value: self.text.get(place.clone()).unwrap_or_default(),
        };
        self.members.iter().map(entry).collect()
    }

    fn edit(&self, edits: &Edits) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 512);
        let mut copied = 0;
        let mut copy_to = |out: &mut Vec<u8>, end: usize, next: usize| {
            out.extend_from_slice(self.text.get(copied..end).unwrap_or_default());
            copied = next;
        };
        for (index, new) in &edits.replaced {
            if let Some((_, place)) = self.members.get(*index) {
                copy_to(&mut out, place.start, place.end);
                out.extend_from_slice(new);
            }
        }
        copy_to(&mut out, self.end, self.end);
        for (index, (key, new)) in edits.appended.iter().enumerate() {
            if index > 0 || !self.members.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(&Json::encode(&Value::from(key.as_str())));
            out.push(b':');
            out.extend_from_slice(new);
        }
        copy_to(&mut out, self.text.len(), self.text.len());
        out
    }
}
