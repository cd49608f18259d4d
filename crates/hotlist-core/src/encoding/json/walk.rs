//! The walk: every wanted scalar of a JSON document, in whatever shape its path is spelled.

use super::JsonError;
use super::edit::Json;
use super::repair::{BYTE_ORDER_MARK, Malformation, Repaired, repair};
use super::scan::{Scanner, Scratch};
use crate::encoding::tag::is_inbound;
use crate::encoding::{MAX_DEPTH, Value, Visitor};
use crate::schema::{NodeId, PathTrie};

/// What a walk reports in addition to what it visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// A wanted subtree lies deeper than [`MAX_DEPTH`] levels and was not visited.
    pub too_deep: bool,
    /// Something stands where Hotlist writes: enrichments, or its word among the tags.
    pub inbound: bool,
    /// Why the text is not one JSON document; [`walk`] has an error instead.
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
pub(crate) fn begins_document(text: &[u8]) -> bool {
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
}

impl<'a, 't, V: Visitor> Walker<'a, 't, V> {
    fn new(text: &'a [u8], trie: &'t PathTrie, visitor: &'t mut V) -> Walker<'a, 't, V> {
        let scanner = Scanner::new(text);
        Walker { scanner, trie, visitor, scratch: Scratch::new(), too_deep: false, inbound: false, is_own: false }
    }

    fn walked(&self) -> Walked {
        Walked { too_deep: self.too_deep, inbound: self.inbound, malformed: None }
    }

    fn root(&mut self) -> Result<(), JsonError> {
        if self.scanner.peek() != Some(b'{') {
            return Err(JsonError::NotAnObject { at: self.scanner.at });
        }
        self.object(PathTrie::ROOT, 0)
    }

    /// An object at `node`, its brace peeked. `depth` containers are open around it.
    fn object(&mut self, node: NodeId, depth: usize) -> Result<(), JsonError> {
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
            match self.trie.step(node, key) {
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
            b'{' => self.object(node, depth),
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
