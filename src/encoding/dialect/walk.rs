//! The walk of a document: every wanted scalar below a list of entries, and nothing that the trie does not want.

use super::{Any, Dialect, OddRecord, VALUES, any, key_value, tag, timestamp};
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{MAX_DEPTH, Value, Visitor};
use crate::fields::{NodeId, PathTrie};
use std::marker::PhantomData;

/// The elements of an array or the entries of a map, one at a time.
pub(crate) struct Elements<'a>(Fields<'a>);

impl<'a> Elements<'a> {
    #[inline]
    pub(crate) fn new(list: &'a [u8]) -> Elements<'a> {
        Elements(Fields::new(list))
    }

    #[inline]
    pub(crate) fn next_element(&mut self) -> Result<Option<&'a [u8]>, OddRecord> {
        match self.0.take_short(tag(VALUES)) {
            Some(element) => Ok(Some(element)),
            None => self.next_in_full(),
        }
    }

    fn next_in_full(&mut self) -> Result<Option<&'a [u8]>, OddRecord> {
        while let Some(found) = self.0.next_field()? {
            match (found.number, found.payload) {
                (VALUES, Payload::Bytes(element)) => return Ok(Some(element)),
                (VALUES, _) => return Err(OddRecord::WrongType("values")),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Walks documents of one dialect.
pub(crate) struct DocumentWalker<'t, D, V> {
    pub(crate) trie: &'t PathTrie,
    pub(crate) visitor: &'t mut V,
    /// A wanted subtree lies deeper than [`MAX_DEPTH`] levels and was not visited.
    pub(crate) too_deep: bool,
    dialect: PhantomData<D>,
}

impl<'t, D: Dialect, V: Visitor> DocumentWalker<'t, D, V> {
    pub(crate) fn new(trie: &'t PathTrie, visitor: &'t mut V) -> DocumentWalker<'t, D, V> {
        DocumentWalker { trie, visitor, too_deep: false, dialect: PhantomData }
    }

    /// The entries of a map at a node; `depth` containers are open around it.
    pub(crate) fn entries(&mut self, list: &[u8], node: NodeId, depth: usize) -> Result<(), OddRecord> {
        let mut elements = Elements::new(list);
        while let Some(element) = elements.next_element()? {
            self.entry(element, node, depth)?;
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn entry(&mut self, message: &[u8], node: NodeId, depth: usize) -> Result<(), OddRecord> {
        let (key, value) = key_value(message)?;
        self.member(key, value, node, depth)
    }

    /// An entry that was read.
    #[inline]
    pub(crate) fn member(&mut self, key: &[u8], value: &[u8], node: NodeId, depth: usize) -> Result<(), OddRecord> {
        match self.trie.step(node, key) {
            Some(child) => self.value(value, child, depth + 1),
            None => Ok(()),
        }
    }

    /// A value at a wanted node; `depth` containers are open around it.
    fn value(&mut self, value: &[u8], node: NodeId, depth: usize) -> Result<(), OddRecord> {
        let scalar = match any::<D>(value)? {
            Any::Text(text) | Any::Bytes(text) if !text.is_empty() => Value::Text(text),
            Any::Text(_) | Any::Bytes(_) | Any::Null | Any::Unknown => return Ok(()),
            Any::Int(value) => Value::Int(value),
            Any::Double(value) => Value::Double(value),
            Any::Bool(value) => Value::Bool(value),
            Any::Time(time) => match timestamp(time) {
                Some(time) => Value::Time(time),
                None => return Ok(()),
            },
            Any::Map(_) if !self.trie.has_children(node) => return Ok(()),
            Any::Map(_) | Any::Array(_) if depth >= MAX_DEPTH => {
                self.too_deep = true;
                return Ok(());
            }
            Any::Map(list) => return self.entries(list, node, depth),
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
