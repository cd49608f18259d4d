//! The walk of a document: every wanted scalar below a list of entries, and nothing that the trie does not want.

use super::{Any, Dialect, Elements, KEY, MalformedRecord, VALUE, any, key_value, short_text, timestamp};
use crate::encoding::tag::is_inbound;
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{MAX_DEPTH, RecordInfo, Value, Visitor, json};
use crate::schema::{NodeId, PathTrie};
use std::marker::PhantomData;

/// Walks documents of one dialect. A fault inside a document costs only what cannot be read: the walk continues behind it
/// as far as the lengths around it allow.
pub(crate) struct DocumentWalker<'t, D, V> {
    pub(crate) trie: &'t PathTrie,
    pub(crate) visitor: &'t mut V,
    /// A wanted subtree lies deeper than [`MAX_DEPTH`] levels and was not visited.
    pub(crate) too_deep: bool,
    /// Something stands where Hotlist writes: enrichments, or its word among the tags.
    pub(crate) inbound: bool,
    /// The walk is where Hotlist writes: strings there are not text of the event.
    is_own: bool,
    /// The first fault.
    pub(crate) fault: Option<MalformedRecord>,
    dialect: PhantomData<D>,
}

impl<'t, D: Dialect, V: Visitor> DocumentWalker<'t, D, V> {
    pub(crate) fn new(trie: &'t PathTrie, visitor: &'t mut V) -> DocumentWalker<'t, D, V> {
        DocumentWalker {
            trie,
            visitor,
            too_deep: false,
            inbound: false,
            is_own: false,
            fault: None,
            dialect: PhantomData,
        }
    }

    #[cold]
    pub(crate) fn record_fault(&mut self, fault: MalformedRecord) {
        self.fault.get_or_insert(fault);
    }

    /// Walks a text that is a JSON document, or begins like one. Says whether it does.
    #[inline]
    pub(crate) fn text(&mut self, text: &[u8], info: &mut RecordInfo) -> bool {
        json::begins_document(text) && self.document(text, info)
    }

    fn document(&mut self, text: &[u8], info: &mut RecordInfo) -> bool {
        let Ok(walked) = json::read(text, self.trie, self.visitor) else { return false };
        self.too_deep |= walked.too_deep;
        self.inbound |= walked.inbound;
        info.malformed = info.malformed.or(walked.malformed);
        walked.malformed.is_none()
    }

    /// Adds what was noted on the way.
    pub(crate) fn finish(self, info: &mut RecordInfo) {
        info.too_deep = self.too_deep;
        info.inbound = self.inbound;
        info.fault = self.fault;
    }

    /// The entries of a map at a node; `depth` containers are open around it.
    pub(crate) fn entries(&mut self, list: &[u8], node: NodeId, depth: usize) {
        let mut elements = Elements::new(list);
        loop {
            match elements.next_element() {
                Ok(Some(element)) => self.entry(element, node, depth),
                Ok(None) => return,
                Err(fault) => return self.record_fault(fault),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn entry(&mut self, message: &[u8], node: NodeId, depth: usize) {
        match key_value(message) {
            Ok((key, value)) => self.member(key, value, node, depth),
            Err(fault) => self.repeated_entry(message, fault, node, depth),
        }
    }

    /// An entry with several keys or values, or one that ends early. Readers of protobuf take the last key; each value
    /// before the fault is looked at.
    #[cold]
    fn repeated_entry(&mut self, message: &[u8], fault: MalformedRecord, node: NodeId, depth: usize) {
        self.record_fault(fault);
        let parts = || {
            std::iter::from_fn({
                let mut fields = Fields::new(message);
                move || fields.next_field().ok().flatten()
            })
        };
        let content = |number: u32| {
            parts().filter_map(move |found| match found.payload {
                Payload::Bytes(content) if found.number == number => Some(content),
                _ => None,
            })
        };
        let key = content(KEY).last().unwrap_or_default();
        content(VALUE).for_each(|value| self.member(key, value, node, depth));
    }

    /// An entry that was read.
    #[inline(always)]
    pub(crate) fn member(&mut self, key: &[u8], value: &[u8], node: NodeId, depth: usize) {
        if V::TEXTS {
            self.visitor.enter(key);
        }
        match self.trie.step(node, key) {
            Some(child) if child.is_own() => self.own(value, child, depth + 1),
            Some(child) => self.short(value, child, depth + 1),
            None if V::TEXTS => self.value(value, PathTrie::NOWHERE, depth + 1),
            None => {}
        }
        if V::TEXTS {
            self.visitor.leave();
        }
    }

    /// A string of the record that is not a document, at a path of its own.
    pub(crate) fn plain_text(&mut self, key: &[u8], text: &[u8]) {
        if V::TEXTS {
            self.visitor.enter(key);
            self.visitor.text(text);
            self.visitor.leave();
        }
    }

    /// A value at a wanted node; most are short texts.
    #[inline(always)]
    fn short(&mut self, value: &[u8], node: NodeId, depth: usize) {
        match short_text::<D>(value) {
            Some(text) if !V::TEXTS => self.wanted(node, text),
            _ => self.value(value, node, depth),
        }
    }

    #[inline(always)]
    fn wanted(&mut self, node: NodeId, text: &[u8]) {
        if let Some(field) = self.trie.field(node)
            && !text.is_empty()
        {
            self.visitor.value(field, Value::Text(text));
        }
    }

    /// A value at a wanted node; `depth` containers are open around it.
    fn value(&mut self, value: &[u8], node: NodeId, depth: usize) {
        let any = match any::<D>(value) {
            Ok(any) => any,
            Err(fault) => return self.repeated_value(value, fault, node, depth),
        };
        let scalar = match any {
            Any::Text(text) | Any::Bytes(text) if !text.is_empty() => Value::Text(text),
            Any::Text(_) | Any::Bytes(_) | Any::Null | Any::Unknown => return,
            Any::Int(value) => Value::Int(value),
            Any::Double(value) => Value::Double(value),
            Any::Bool(value) => Value::Bool(value),
            Any::Time(time) => match timestamp(time) {
                Some(time) => Value::Time(time),
                None => return,
            },
            Any::Map(_) if !V::TEXTS && !self.trie.has_children(node) => return,
            Any::Map(_) | Any::Array(_) if depth >= MAX_DEPTH => {
                self.too_deep = true;
                return;
            }
            Any::Map(list) => return self.entries(list, node, depth),
            Any::Array(list) => return self.array(list, node, depth),
        };
        if let Some(field) = self.trie.field(node) {
            self.visitor.value(field, scalar);
        }
        if V::TEXTS
            && !self.is_own
            && let Value::Text(text) = scalar
        {
            self.visitor.text(text);
        }
    }

    /// A value of several members, of which readers may take any: each is looked at, up to where it cannot be read.
    #[cold]
    fn repeated_value(&mut self, value: &[u8], fault: MalformedRecord, node: NodeId, depth: usize) {
        self.record_fault(fault);
        let mut fields = Fields::new(value);
        while let Ok(Some(found)) = fields.next_field() {
            let member = value.get(found.start..found.end).unwrap_or_default();
            // One that cannot be read alone has another type than the protocol says.
            if any::<D>(member).is_ok() {
                self.value(member, node, depth);
            }
        }
    }

    /// A value where Hotlist writes.
    #[cold]
    fn own(&mut self, value: &[u8], node: NodeId, depth: usize) {
        self.inbound |= is_inbound::<D>(node.own_place(), value);
        if self.trie.field(node).is_some() || self.trie.has_children(node) {
            let is_own = std::mem::replace(&mut self.is_own, true);
            self.value(value, node, depth);
            self.is_own = is_own;
        }
    }

    fn array(&mut self, list: &[u8], node: NodeId, depth: usize) {
        let mut elements = Elements::new(list);
        loop {
            match elements.next_element() {
                Ok(Some(element)) => self.short(element, node, depth + 1),
                Ok(None) => return,
                Err(fault) => return self.record_fault(fault),
            }
        }
    }
}
