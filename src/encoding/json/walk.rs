//! The walk: every wanted scalar of a JSON document, in whatever shape its path is spelled.

use super::JsonError;
use super::scan::{Scanner, Scratch};
use crate::encoding::{MAX_DEPTH, Value, Visitor};
use crate::fields::{FieldId, NodeId, PathTrie};

/// What a walk has to say beside what it visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// A wanted subtree lies deeper than [`MAX_DEPTH`] levels and was not visited.
    pub too_deep: bool,
}

/// Visits every scalar of `document` that `trie` wants. Of a duplicate key each occurrence is visited.
///
/// # Errors
/// When the bytes are not one JSON object; the caller must then discard what was visited. What lies in unwanted
/// subtrees is not judged, except that their strings and brackets close.
pub fn walk(document: &[u8], trie: &PathTrie, visitor: &mut impl Visitor) -> Result<Walked, JsonError> {
    let mut walker =
        Walker { scanner: Scanner::new(document), trie, visitor, scratch: Scratch::new(), too_deep: false };
    if walker.scanner.peek() != Some(b'{') {
        return Err(JsonError::NotAnObject { at: walker.scanner.at });
    }
    walker.object(PathTrie::ROOT, 0)?;
    walker.scanner.end()?;
    Ok(Walked { too_deep: walker.too_deep })
}

/// Whether `text` is a document that [`walk`] accepts. A text that does not begin and end with braces costs nothing.
pub(crate) fn is_document(text: &[u8], trie: &PathTrie) -> bool {
    let text = text.trim_ascii();
    text.starts_with(b"{") && text.ends_with(b"}") && walk(text, trie, &mut |_: FieldId, _: Value<'_>| {}).is_ok()
}

struct Walker<'a, 't, V> {
    scanner: Scanner<'a>,
    trie: &'t PathTrie,
    visitor: &'t mut V,
    scratch: Scratch,
    too_deep: bool,
}

impl<V: Visitor> Walker<'_, '_, V> {
    /// An object at `node`, its brace peeked. `depth` containers are open around it.
    fn object(&mut self, node: NodeId, depth: usize) -> Result<(), JsonError> {
        if !self.scanner.open(b'}') {
            return Ok(());
        }
        loop {
            let key = self.scanner.key()?;
            let first = self.first()?;
            match self.trie.step(node, key.resolve(&mut self.scratch)) {
                Some(child) => self.value(child, first, depth + 1)?,
                None => self.scanner.skip(first)?,
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
                Ok(())
            }
            b'{' if !self.trie.has_children(node) => self.scanner.skip(first),
            b'{' | b'[' if depth >= MAX_DEPTH => {
                self.too_deep = true;
                self.scanner.skip(first)
            }
            b'{' => self.object(node, depth),
            b'[' => self.array(node, depth),
            _ => {
                let value = self.scanner.scalar()?;
                if let (Some(field), Some(value)) = (self.trie.field(node), value) {
                    self.visitor.value(field, value);
                }
                Ok(())
            }
        }
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
