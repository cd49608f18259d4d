//! The walk of one log record: body and attributes, in any order, without decoding what the trie does not want.

use super::field;
use crate::encoding::wire::{Fields, Malformed, Payload};
use crate::encoding::{MAX_DEPTH, Value, Visitor, json};
use crate::fields::{NodeId, PathTrie};

/// Where the event lives in its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Document {
    /// The body is a key-value list.
    Body,
    /// The body is a string (or bytes) that holds a JSON object.
    JsonBody,
    /// The attributes; the body is text or nothing.
    #[default]
    Attributes,
}

/// What a walk says about a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordInfo {
    /// When the event happened, in nanoseconds since 1970, 0 when unknown.
    pub time_unix_nano: u64,
    /// When the collector saw it, in nanoseconds since 1970, 0 when unknown.
    pub observed_time_unix_nano: u64,
    /// Where the event lives.
    pub document: Document,
    /// A wanted subtree lies deeper than [`MAX_DEPTH`] levels and was not visited.
    pub too_deep: bool,
}

/// Why a record cannot be walked. It is passed as it came, untagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OddRecord {
    /// A message inside cannot be read.
    #[error("a message of the log record cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// A field has another wire type than OTLP says.
    #[error("`{0}` of the log record has another type than OTLP says; check what sent it")]
    WrongType(&'static str),
    /// A field that may stand once stands twice; protobuf would merge them, a rewrite could not.
    #[error("`{0}` stands twice in one message of the log record; check what sent it")]
    Repeated(&'static str),
    /// A body that was taken for JSON is none.
    #[error("the log record's body cannot be rewritten: {0}")]
    Json(#[from] json::JsonError),
}

/// Visits every scalar of the body and of the attributes that `trie` wants.
///
/// # Errors
/// When the record is odd; the caller must then discard what was visited and pass the record as it is.
pub fn walk_record(record: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<RecordInfo, OddRecord> {
    let mut info = RecordInfo::default();
    let mut walker = Walker { trie, visitor, too_deep: false };
    let mut fields = Fields::new(record);
    let mut has_body = false;
    while let Some(found) = fields.next_field()? {
        match (found.number, found.payload) {
            (field::ATTRIBUTES, Payload::Bytes(attribute)) => walker.key_value(attribute, PathTrie::ROOT, 0)?,
            (field::BODY, Payload::Bytes(body)) => {
                if std::mem::replace(&mut has_body, true) {
                    return Err(OddRecord::Repeated("body"));
                }
                info.document = walker.body(body)?;
            }
            (field::TIME, Payload::Fixed64(time)) => info.time_unix_nano = time,
            (field::OBSERVED_TIME, Payload::Fixed64(time)) => info.observed_time_unix_nano = time,
            (field::ATTRIBUTES, _) => return Err(OddRecord::WrongType("attributes")),
            (field::BODY, _) => return Err(OddRecord::WrongType("body")),
            (field::TIME | field::OBSERVED_TIME, _) => return Err(OddRecord::WrongType("time_unix_nano")),
            _ => {}
        }
    }
    info.too_deep = walker.too_deep;
    Ok(info)
}

/// The one member of an `AnyValue` that is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Any<'a> {
    /// Nothing is set: null.
    Null,
    /// `string_value`.
    Text(&'a [u8]),
    /// `bytes_value`.
    Bytes(&'a [u8]),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// `array_value`, the bytes of an `ArrayValue`.
    Array(&'a [u8]),
    /// `kvlist_value`, the bytes of a `KeyValueList`.
    KvList(&'a [u8]),
}

/// The tag of a length-delimited field as one byte.
const fn tag(number: u32) -> u8 {
    (number << 3 | 2) as u8
}

/// Reads which member of an `AnyValue` is set.
#[inline]
pub(super) fn any(value: &[u8]) -> Result<Any<'_>, OddRecord> {
    const MEMBERS: [u8; 4] = [tag(field::STRING), tag(field::KVLIST), tag(field::ARRAY), tag(field::BYTES)];
    if let Some(&first) = value.first()
        && MEMBERS.contains(&first)
    {
        let mut fields = Fields::new(value);
        if let Some(content) = fields.take_short(first)
            && fields.is_at_end()
        {
            return Ok(match first {
                first if first == tag(field::STRING) => Any::Text(content),
                first if first == tag(field::KVLIST) => Any::KvList(content),
                first if first == tag(field::ARRAY) => Any::Array(content),
                _ => Any::Bytes(content),
            });
        }
    }
    any_in_full(value)
}

fn any_in_full(value: &[u8]) -> Result<Any<'_>, OddRecord> {
    let mut fields = Fields::new(value);
    let mut set = None;
    while let Some(found) = fields.next_field()? {
        let member = match (found.number, found.payload) {
            (field::STRING, Payload::Bytes(text)) => Any::Text(text),
            (field::BOOL, Payload::Varint(value)) => Any::Bool(value != 0),
            (field::INT, Payload::Varint(value)) => Any::Int(value as i64),
            (field::DOUBLE, Payload::Fixed64(bits)) => Any::Double(f64::from_bits(bits)),
            (field::ARRAY, Payload::Bytes(list)) => Any::Array(list),
            (field::KVLIST, Payload::Bytes(list)) => Any::KvList(list),
            (field::BYTES, Payload::Bytes(bytes)) => Any::Bytes(bytes),
            (field::STRING..=field::BYTES, _) => return Err(OddRecord::WrongType("AnyValue")),
            _ => continue,
        };
        if set.replace(member).is_some() {
            return Err(OddRecord::Repeated("AnyValue"));
        }
    }
    Ok(set.unwrap_or(Any::Null))
}

/// Reads key and value (the bytes of an `AnyValue`, empty for none) of a `KeyValue`, in either order.
#[inline]
pub(super) fn key_value(message: &[u8]) -> Result<(&[u8], &[u8]), OddRecord> {
    let mut fields = Fields::new(message);
    if let Some(key) = fields.take_short(tag(field::KEY))
        && let Some(value) = fields.take_short(tag(field::VALUE))
        && fields.is_at_end()
    {
        return Ok((key, value));
    }
    key_value_in_full(message)
}

fn key_value_in_full(message: &[u8]) -> Result<(&[u8], &[u8]), OddRecord> {
    let mut fields = Fields::new(message);
    let (mut key, mut value) = (None, None);
    while let Some(found) = fields.next_field()? {
        let slot = match found.number {
            field::KEY => &mut key,
            field::VALUE => &mut value,
            _ => continue,
        };
        let Payload::Bytes(content) = found.payload else { return Err(OddRecord::WrongType("KeyValue")) };
        if slot.replace(content).is_some() {
            return Err(OddRecord::Repeated("KeyValue"));
        }
    }
    Ok((key.unwrap_or_default(), value.unwrap_or_default()))
}

/// The elements of an `ArrayValue` or `KeyValueList`, one at a time.
pub(super) struct Elements<'a>(Fields<'a>);

impl<'a> Elements<'a> {
    #[inline]
    pub(super) fn new(list: &'a [u8]) -> Elements<'a> {
        Elements(Fields::new(list))
    }

    #[inline]
    pub(super) fn next_element(&mut self) -> Result<Option<&'a [u8]>, OddRecord> {
        match self.0.take_short(tag(field::VALUES)) {
            Some(element) => Ok(Some(element)),
            None => self.next_in_full(),
        }
    }

    fn next_in_full(&mut self) -> Result<Option<&'a [u8]>, OddRecord> {
        while let Some(found) = self.0.next_field()? {
            match (found.number, found.payload) {
                (field::VALUES, Payload::Bytes(element)) => return Ok(Some(element)),
                (field::VALUES, _) => return Err(OddRecord::WrongType("values")),
                _ => {}
            }
        }
        Ok(None)
    }
}

struct Walker<'t, V> {
    trie: &'t PathTrie,
    visitor: &'t mut V,
    too_deep: bool,
}

impl<V: Visitor> Walker<'_, V> {
    fn body(&mut self, body: &[u8]) -> Result<Document, OddRecord> {
        match any(body)? {
            Any::KvList(list) => {
                self.kvlist(list, PathTrie::ROOT, 0)?;
                Ok(Document::Body)
            }
            // Looked at twice, so that nothing is visited of a text that turns out not to be JSON.
            Any::Text(text) | Any::Bytes(text) if json::is_document(text, self.trie) => {
                self.too_deep |= json::walk(text, self.trie, self.visitor)?.too_deep;
                Ok(Document::JsonBody)
            }
            _ => Ok(Document::Attributes),
        }
    }

    fn kvlist(&mut self, list: &[u8], node: NodeId, depth: usize) -> Result<(), OddRecord> {
        let mut elements = Elements::new(list);
        while let Some(element) = elements.next_element()? {
            self.key_value(element, node, depth)?;
        }
        Ok(())
    }

    #[inline]
    fn key_value(&mut self, message: &[u8], node: NodeId, depth: usize) -> Result<(), OddRecord> {
        let (key, value) = key_value(message)?;
        match self.trie.step(node, key) {
            Some(child) => self.value(value, child, depth + 1),
            None => Ok(()),
        }
    }

    /// A value at a wanted node; `depth` containers are open around it.
    fn value(&mut self, value: &[u8], node: NodeId, depth: usize) -> Result<(), OddRecord> {
        let scalar = match any(value)? {
            Any::Text(text) | Any::Bytes(text) if !text.is_empty() => Value::Text(text),
            Any::Text(_) | Any::Bytes(_) | Any::Null => return Ok(()),
            Any::Int(value) => Value::Int(value),
            Any::Double(value) => Value::Double(value),
            Any::Bool(value) => Value::Bool(value),
            Any::KvList(_) if !self.trie.has_children(node) => return Ok(()),
            Any::KvList(_) | Any::Array(_) if depth >= MAX_DEPTH => {
                self.too_deep = true;
                return Ok(());
            }
            Any::KvList(list) => return self.kvlist(list, node, depth),
            Any::Array(list) => return self.array(list, node, depth),
        };
        if let Some(field) = self.trie.field(node) {
            self.visitor.value(field, scalar);
        }
        Ok(())
    }

    fn array(&mut self, list: &[u8], node: NodeId, depth: usize) -> Result<(), OddRecord> {
        let mut elements = Elements::new(list);
        while let Some(element) = elements.next_element()? {
            self.value(element, node, depth + 1)?;
        }
        Ok(())
    }
}
