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
    /// Where the value of the element around belongs, if the walk is in a list of named values.
    named: NodeId,
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
            named: PathTrie::NOWHERE,
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
        self.entries_of::<false>(list, node, depth);
    }

    /// The same. `ELEMENT`: it is an element of a list of named values, or part of one.
    fn entries_of<const ELEMENT: bool>(&mut self, list: &[u8], node: NodeId, depth: usize) {
        let mut elements = Elements::new(list);
        loop {
            match elements.next_element() {
                Ok(Some(element)) => self.entry_of::<ELEMENT>(element, node, depth),
                Ok(None) => return,
                Err(fault) => return self.record_fault(fault),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn entry(&mut self, message: &[u8], node: NodeId, depth: usize) {
        self.entry_of::<false>(message, node, depth);
    }

    #[inline(always)]
    fn entry_of<const ELEMENT: bool>(&mut self, message: &[u8], node: NodeId, depth: usize) {
        match key_value(message) {
            Ok((key, value)) => self.member_of::<ELEMENT>(key, value, node, depth),
            Err(fault) => self.repeated_entry::<ELEMENT>(message, fault, node, depth),
        }
    }

    /// An entry with several keys or values, or one that ends early. Readers of protobuf take the last key; each value
    /// before the fault is looked at.
    #[cold]
    fn repeated_entry<const ELEMENT: bool>(
        &mut self,
        message: &[u8],
        fault: MalformedRecord,
        node: NodeId,
        depth: usize,
    ) {
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
        content(VALUE).for_each(|value| self.member_of::<ELEMENT>(key, value, node, depth));
    }

    /// An entry that was read.
    #[inline(always)]
    pub(crate) fn member(&mut self, key: &[u8], value: &[u8], node: NodeId, depth: usize) {
        self.member_of::<false>(key, value, node, depth);
    }

    #[inline(always)]
    fn member_of<const ELEMENT: bool>(&mut self, key: &[u8], value: &[u8], node: NodeId, depth: usize) {
        if V::TEXTS {
            self.visitor.enter(key);
        }
        let child = match ELEMENT {
            true => self.trie.step_in_element(node, key, self.named, || matches!(any::<D>(value), Ok(Any::Map(_)))),
            false => self.trie.step(node, key),
        };
        match child {
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
            Any::Map(list) if self.trie.is_element(node) => return self.element(list, node, depth),
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

    /// An element of a list of named values, or a map inside of one.
    #[inline(never)]
    fn element(&mut self, list: &[u8], node: NodeId, depth: usize) {
        if !self.trie.is_list(node) {
            return self.entries_of::<true>(list, node, depth);
        }
        let named = self.name_in(list, node, node).unwrap_or(PathTrie::NOWHERE);
        let around = std::mem::replace(&mut self.named, named);
        self.entries_of::<true>(list, node, depth);
        self.named = around;
    }

    /// Where the value of an element of `list` belongs, by the first name among the entries at `node`.
    fn name_in(&self, entries: &[u8], node: NodeId, list: NodeId) -> Option<NodeId> {
        let mut elements = Elements::new(entries);
        while let Ok(Some(element)) = elements.next_element() {
            let Ok((key, value)) = key_value(element) else { continue };
            let Some(child) = self.trie.step(node, key) else { continue };
            match any::<D>(value) {
                Ok(Any::Text(name) | Any::Bytes(name)) if self.trie.is_name(child) => {
                    return Some(self.trie.named(list, name));
                }
                Ok(Any::Map(inner)) if self.trie.is_above(child) => {
                    if let Some(named) = self.name_in(inner, child, list) {
                        return Some(named);
                    }
                }
                _ => {}
            }
        }
        None
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
