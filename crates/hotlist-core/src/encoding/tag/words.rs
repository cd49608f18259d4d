//! Rewriting of lists of words: `tags`, and `metadata.profiles` of OCSF.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::Value;

use super::rewrite::{Change, LEVELS, Rewrite, edited, treat};
use super::{Codec, Edits, Inbound, Shape, UNVERIFIED_WORD, WORD};

impl Rewrite<'_> {
    /// A list of words with ours in it; `None` when it cannot be read.
    pub(super) fn put_words<C: Codec>(&mut self, existing: &[u8], words: &[&str]) -> Option<Change> {
        let shape = C::shape(existing).ok()?;
        let is_word = |shape: &Shape<'_>, word: &str| matches!(shape, Shape::Text(text) if **text == *word.as_bytes());
        let mut held: Vec<bool> = words.iter().map(|word| is_word(&shape, word)).collect();
        if let Shape::Array(elements) = &shape {
            for element in elements {
                let Ok(element @ Shape::Text(_)) = C::shape(element) else { continue };
                held.iter_mut().zip(words).for_each(|(held, word)| *held |= is_word(&element, word));
            }
        }
        let mut edits = Edits::default();
        for (word, _) in words.iter().zip(held).filter(|(_, held)| !held) {
            edits.append("", C::encode(&Value::from(*word)));
        }
        match edited::<C>(existing, &shape, edits) {
            Change::Unreadable => None,
            change => Some(change),
        }
    }

    /// A list of words of an event that does not hit, or that has its word elsewhere.
    pub(super) fn words<C: Codec>(&mut self, existing: &[u8], depth: usize) -> Change {
        if self.inbound == Inbound::Keep {
            return Change::Stays;
        }
        match C::shape(existing) {
            Ok(Shape::Text(text)) if *text == *WORD.as_bytes() => {
                treat(self.inbound, &mut self.outcome, || Some(C::encode(&Value::from(UNVERIFIED_WORD))))
            }
            Ok(shape @ Shape::Array(_)) if depth < LEVELS => {
                let Shape::Array(elements) = &shape else { return Change::Stays };
                let mut edits = Edits::default();
                for (index, element) in elements.iter().enumerate() {
                    match self.words::<C>(element, depth + 1) {
                        Change::New(value) => edits.replaced.push((index, Some(value))),
                        Change::Gone => edits.replaced.push((index, None)),
                        Change::Stays | Change::Unreadable => {}
                    }
                }
                edited::<C>(existing, &shape, edits)
            }
            Ok(_) => Change::Stays,
            Err(_) => Change::Unreadable,
        }
    }
}

/// A list of words, encoded.
pub(super) fn list_of_words<C: Codec>(words: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    C::put_array(&mut list, |out| {
        words.iter().for_each(|word| C::put_element(out, |out| C::put_text(out, word)));
    });
    list
}

/// Whether a value is the word of a hit, or a list that holds it. Most events have a list of tags without it, so the bytes
/// are searched first. Only JSON can write the word otherwise than it is, with a backslash.
pub(super) fn holds_word<C: Codec>(value: &[u8]) -> bool {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(WORD));
    fn holds<C: Codec>(value: &[u8], depth: usize) -> bool {
        match C::shape(value) {
            Ok(Shape::Text(text)) => *text == *WORD.as_bytes(),
            Ok(Shape::Array(elements)) if depth < LEVELS => {
                elements.iter().any(|element| holds::<C>(element, depth + 1))
            }
            _ => false,
        }
    }
    (FINDER.find(value).is_some() || memchr::memchr(b'\\', value).is_some()) && holds::<C>(value, 0)
}
