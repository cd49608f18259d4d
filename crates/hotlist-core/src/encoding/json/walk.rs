//! The walk: every wanted scalar of a JSON document, in whatever shape its path is spelled.

use super::JsonError;
use super::edit::Json;
use super::repair::{BYTE_ORDER_MARK, Malformation, Repaired, repair};
use super::scan::{Scanner, Scratch};
use crate::encoding::tag::is_inbound;
use crate::encoding::{MAX_DEPTH, Value, Visitor};
use crate::schema::{NodeId, PathTrie};

/// The report of a walk in addition to its visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// A wanted subtree lies deeper than [`MAX_DEPTH`] levels and was not visited.
    pub too_deep: bool,
    /// Something stands where Hotlist writes: enrichments, or its word among the tags.
    pub inbound: bool,
    /// The reason that the text is not one JSON document; [`walk`] has an error instead.
    pub malformed: Option<Malformation>,
}

/// Visits every scalar of `document` that `trie` wants. Of a duplicate key each occurrence is visited.
///
/// # Errors
/// When the bytes are not one JSON object; what stands before the fault was visited. What lies in unwanted subtrees is
/// not checked, except that their strings and brackets close.
pub fn walk(document: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<Walked, JsonError> {
    let mut walker = Walker::new(document, trie, visitor);
    walker.root()?;
    walker.scanner.end()?;
    Ok(walker.walked())
}

/// As [`walk`], and reads what can be read of a text that only begins like a document: members of it may be visited twice.
///
/// # Errors
/// When the text does not begin like a document; nothing was visited.
#[inline]
pub fn read(text: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<Walked, JsonError> {
    match walk(text, trie, visitor) {
        Err(error) => read_repaired(text, error, trie, visitor),
        walked => walked,
    }
}

#[cold]
fn read_repaired(
    text: &[u8],
    error: JsonError,
    trie: &PathTrie,
    visitor: &mut impl Visitor,
) -> Result<Walked, JsonError> {
    let Some(Repaired { documents, malformation }) = repair(text) else { return Err(error) };
    let mut walker = Walker::new(&documents, trie, visitor);
    while walker.scanner.peek().is_some() {
        walker.root()?;
    }
    Ok(Walked { malformed: Some(malformation), ..walker.walked() })
}

/// Whether `text` begins like a document or a list of them.
#[inline]
pub fn begins_document(text: &[u8]) -> bool {
    match text.first() {
        Some(b'{') => true,
        Some(b' ' | b'\t' | b'\n' | b'\r' | b'[' | 0xef) => begins_later(text),
        _ => false,
    }
}

fn begins_later(text: &[u8]) -> bool {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii_start();
    let text = text.strip_prefix(b"[").map_or(text, <[u8]>::trim_ascii_start);
    text.starts_with(b"{")
}

struct Walker<'a, 't, V> {
    scanner: Scanner<'a>,
    trie: &'t PathTrie,
    visitor: &'t mut V,
    scratch: Scratch,
    too_deep: bool,
    inbound: bool,
    /// The walk is where Hotlist writes: strings there are not text of the event.
    is_own: bool,
    /// Where the value of the element around belongs, if the walk is in a list of named values.
    named: NodeId,
}

impl<'a, 't, V: Visitor> Walker<'a, 't, V> {
    fn new(text: &'a [u8], trie: &'t PathTrie, visitor: &'t mut V) -> Walker<'a, 't, V> {
        let scanner = Scanner::new(text);
        let (scratch, named) = (Scratch::new(), PathTrie::NOWHERE);
        Walker { scanner, trie, visitor, scratch, too_deep: false, inbound: false, is_own: false, named }
    }

    fn walked(&self) -> Walked {
        Walked { too_deep: self.too_deep, inbound: self.inbound, malformed: None }
    }

    fn root(&mut self) -> Result<(), JsonError> {
        if self.scanner.peek() != Some(b'{') {
            return Err(JsonError::NotAnObject { at: self.scanner.at });
        }
        self.object::<false>(PathTrie::ROOT, 0)
    }

    /// An object at `node`, its brace peeked. `depth` containers are open around it. `ELEMENT`: it is an element of a list of
    /// named values, or part of one.
    fn object<const ELEMENT: bool>(&mut self, node: NodeId, depth: usize) -> Result<(), JsonError> {
        if !self.scanner.open(b'}') {
            return Ok(());
        }
        loop {
            let key = self.scanner.key()?;
            let first = self.first()?;
            let key = key.resolve(&mut self.scratch);
            if V::TEXTS {
                self.visitor.enter(key);
            }
            let child = match ELEMENT {
                true => self.trie.step_in_element(node, key, self.named, || first == b'{'),
                false => self.trie.step(node, key),
            };
            match child {
                Some(child) if child.is_own() => self.own(child, first, depth + 1)?,
                Some(child) => self.value(child, first, depth + 1)?,
                None if V::TEXTS && matches!(first, b'"' | b'{' | b'[') => {
                    self.value(PathTrie::NOWHERE, first, depth + 1)?;
                }
                None => self.scanner.skip(first)?,
            }
            if V::TEXTS {
                self.visitor.leave();
            }
            if !self.scanner.more(b'}')? {
                return Ok(());
            }
        }
    }

    /// A value at a wanted node, its first byte peeked.
    fn value(&mut self, node: NodeId, first: u8, depth: usize) -> Result<(), JsonError> {
        match first {
            b'"' => {
                let text = self.scanner.string()?;
                if let Some(field) = self.trie.field(node)
                    && !text.content.is_empty()
                {
                    self.visitor.value(field, Value::Text(text.resolve(&mut self.scratch)));
                }
                if V::TEXTS && !self.is_own {
                    self.visitor.text(text.resolve(&mut self.scratch));
                }
                Ok(())
            }
            b'{' if !V::TEXTS && !self.trie.has_children(node) => self.scanner.skip(first),
            b'{' | b'[' if depth >= MAX_DEPTH => {
                self.too_deep = true;
                self.scanner.skip(first)
            }
            b'{' if self.trie.is_element(node) => self.element(node, depth),
            b'{' => self.object::<false>(node, depth),
            b'[' => self.array(node, depth),
            _ => {
                let value = self.scanner.scalar()?;
                // A number that is cut short, or continues with something else, is another value.
                if !matches!(
                    self.scanner.text.get(self.scanner.at),
                    Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                ) {
                    return Err(self.scanner.unexpected("a comma or a closing bracket"));
                }
                if let (Some(field), Some(value)) = (self.trie.field(node), value) {
                    self.visitor.value(field, value);
                }
                Ok(())
            }
        }
    }

    /// An element of a list of named values, or an object inside of one, its brace peeked. Most documents have none.
    #[cold]
    fn element(&mut self, node: NodeId, depth: usize) -> Result<(), JsonError> {
        if !self.trie.is_list(node) {
            return self.object::<true>(node, depth);
        }
        // Of what cannot be read the walk itself says where.
        let named = self.name_in(&mut self.scanner.clone(), node, node).ok().flatten();
        let around = std::mem::replace(&mut self.named, named.unwrap_or(PathTrie::NOWHERE));
        let walked = self.object::<true>(node, depth);
        self.named = around;
        walked
    }

    /// Where the value of an element of `list` belongs, by the first name that stands in the object at `node`, whose brace
    /// `ahead` peeked. Reads no further than to the name.
    fn name_in(&mut self, ahead: &mut Scanner<'a>, node: NodeId, list: NodeId) -> Result<Option<NodeId>, JsonError> {
        if !ahead.open(b'}') {
            return Ok(None);
        }
        loop {
            let key = ahead.key()?;
            let first = ahead.peek().ok_or_else(|| ahead.unexpected("a value"))?;
            match (first, self.trie.step(node, key.resolve(&mut self.scratch))) {
                (b'"', Some(child)) if self.trie.is_name(child) => {
                    let name = ahead.string()?;
                    return Ok(Some(self.trie.named(list, name.resolve(&mut self.scratch))));
                }
                (b'{', Some(child)) if self.trie.is_above(child) => {
                    if let Some(named) = self.name_in(ahead, child, list)? {
                        return Ok(Some(named));
                    }
                }
                _ => ahead.skip(first)?,
            }
            if !ahead.more(b'}')? {
                return Ok(None);
            }
        }
    }

    /// A value where Hotlist writes, its first byte peeked.
    #[cold]
    fn own(&mut self, node: NodeId, first: u8, depth: usize) -> Result<(), JsonError> {
        let start = self.scanner.at;
        let mut ahead = self.scanner.clone();
        let skipped = ahead.skip(first);
        let value = self.scanner.text.get(start..ahead.at).unwrap_or_default();
        self.inbound |= is_inbound::<Json>(node.own_place(), value);
        if self.trie.field(node).is_some() || self.trie.has_children(node) {
            let is_own = std::mem::replace(&mut self.is_own, true);
            let walked = self.value(node, first, depth);
            self.is_own = is_own;
            return walked;
        }
        self.scanner = ahead;
        skipped
    }

    /// An array at a wanted node, its bracket peeked: every element stands at the same node.
    fn array(&mut self, node: NodeId, depth: usize) -> Result<(), JsonError> {
        if !self.scanner.open(b']') {
            return Ok(());
        }
        loop {
            let first = self.first()?;
            self.value(node, first, depth + 1)?;
            if !self.scanner.more(b']')? {
                return Ok(());
            }
        }
    }

    #[inline]
    fn first(&mut self) -> Result<u8, JsonError> {
        self.scanner.peek().ok_or_else(|| self.scanner.unexpected("a value"))
    }
}
