//! How tags enter a document, whatever its encoding: `threat.enrichments` and `tags` are added or merged.
//!
//! The rules stand here once; JSON and OTLP give a `Codec` each. A document is ordered entries of raw values, so
//! that nothing but the touched values is written anew: duplicates, order, unknown fields and odd strings survive.
//!
//! - No `threat.enrichments`: it is added, inside `threat` when that is an object, else at the end of the document.
//! - An existing one, nested or dotted, is extended where it stands; of several the last. An object or scalar becomes
//!   the first element of an array, a null gives way.
//! - A `threat` that is no object is left alone: the enrichments go to `hotlist.enrichments`.
//! - What an earlier pass added is not added again: equal `matched.id`, `matched.field` and `feed.name` is the same.

use std::borrow::Cow;

use serde_json::Value;

/// What tagging did, for counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagOutcome {
    /// Enrichments that were not there before.
    pub added: usize,
    /// `threat` is no object, so the enrichments went to `hotlist.enrichments`.
    pub threat_not_object: bool,
    /// The document's bytes differ from those that came in.
    pub changed: bool,
}

/// One member of an object: its key, and its value as it stands in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The key, unescaped.
    pub(crate) key: Cow<'a, [u8]>,
    /// The encoded value.
    pub(crate) value: &'a [u8],
}

/// A value, opened one level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape<'a> {
    /// Null, or nothing.
    Null,
    /// A string.
    Text(Cow<'a, [u8]>),
    /// Any other scalar.
    Scalar,
    /// The elements.
    Array(Vec<&'a [u8]>),
    /// The members.
    Object(Vec<Entry<'a>>),
}

/// What to change in an object: at most one value a place, then new members at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    /// New values, by index of the entry, ascending.
    pub(crate) replaced: Vec<(usize, Vec<u8>)>,
    /// New members.
    pub(crate) appended: Vec<(String, Vec<u8>)>,
}

impl Edits {
    fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.appended.is_empty()
    }

    /// One new value for one entry.
    pub(crate) fn replace(index: usize, value: Vec<u8>) -> Edits {
        Edits { replaced: vec![(index, value)], appended: Vec::new() }
    }

    /// One new member.
    fn append(key: &str, value: Vec<u8>) -> Edits {
        Edits { replaced: Vec::new(), appended: vec![(key.to_owned(), value)] }
    }

    fn merge(&mut self, other: Edits) {
        self.replaced.extend(other.replaced);
        self.replaced.sort_by_key(|(index, _)| *index);
        self.appended.extend(other.appended);
    }
}

/// How one encoding spells values.
pub(crate) trait Codec {
    /// Why a value cannot be read.
    type Error;
    /// Opens a value one level.
    fn shape(value: &[u8]) -> Result<Shape<'_>, Self::Error>;
    /// Encodes a value.
    fn encode(value: &Value) -> Vec<u8>;
    /// An array of encoded elements.
    fn array(elements: &[&[u8]]) -> Vec<u8>;
    /// An encoded array with more elements at its end, its own bytes as they are.
    fn extend(array: &[u8], elements: &[&[u8]]) -> Result<Vec<u8>, Self::Error>;
    /// An encoded object with edits, everything else as it is.
    fn edit(object: &[u8], edits: &Edits) -> Result<Vec<u8>, Self::Error>;
}

/// How a key that is not there yet is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// `threat: {enrichments: …}`, in documents.
    Nested,
    /// `threat.enrichments: …`, in OTLP attributes.
    Dotted,
}

/// The edits that bring `enrichments` and tag `words` into a document of these entries. `None`: nothing to do.
pub(crate) fn plan<C: Codec>(
    entries: &[Entry<'_>],
    enrichments: &[Value],
    words: &[&str],
    spelling: Spelling,
) -> Result<(Option<Edits>, TagOutcome), C::Error> {
    let mut outcome = TagOutcome::default();
    let mut edits = Edits::default();
    if !enrichments.is_empty() {
        let place = match locate::<C>(entries, &THREAT)? {
            Place::Blocked => {
                outcome.threat_not_object = true;
                match locate::<C>(entries, &HOTLIST)? {
                    // Both names are taken by something else: the dotted key stands beside them and is found again.
                    Place::Blocked => Place::Absent(&HOTLIST, Spelling::Dotted),
                    place => place,
                }
            }
            place => place,
        };
        let (change, added) = put::<C>(entries, place, enrichments, spelling)?;
        outcome.added = added;
        edits.merge(change);
    }
    edits.merge(put_words::<C>(entries, words)?);
    outcome.changed = !edits.is_empty();
    Ok((outcome.changed.then_some(edits), outcome))
}

/// A place for enrichments: `parent.enrichments`.
struct Names {
    parent: &'static str,
    dotted: &'static str,
}

const THREAT: Names = Names { parent: "threat", dotted: "threat.enrichments" };
const HOTLIST: Names = Names { parent: "hotlist", dotted: "hotlist.enrichments" };
const ENRICHMENTS: &str = "enrichments";

enum Place<'e> {
    /// At an entry of the document, dotted.
    Dotted(usize),
    /// Inside the object at an entry, at an entry of that.
    Inside(usize, Vec<Entry<'e>>, usize),
    /// Not there, but the object that should hold it is.
    Parent(usize),
    /// Not there at all; a spelling of its own when the usual one is taken.
    Absent(&'static Names, Spelling),
    /// The parent is no object.
    Blocked,
}

/// Where the enrichments are: the last dotted key, or those in the last parent, whichever stands later.
fn locate<'e, C: Codec>(entries: &[Entry<'e>], names: &'static Names) -> Result<Place<'e>, C::Error> {
    let last = |key: &str| entries.iter().enumerate().rev().find(|(_, entry)| *entry.key == *key.as_bytes());
    let dotted = last(names.dotted).map(|(index, _)| index);
    let Some((parent, entry)) = last(names.parent) else {
        return Ok(dotted.map_or(Place::Absent(names, Spelling::Nested), Place::Dotted));
    };
    if let Some(dotted) = dotted.filter(|dotted| *dotted > parent) {
        return Ok(Place::Dotted(dotted));
    }
    let Shape::Object(members) = C::shape(entry.value)? else {
        return Ok(dotted.map_or(Place::Blocked, Place::Dotted));
    };
    Ok(match (members.iter().rposition(|member| *member.key == *ENRICHMENTS.as_bytes()), dotted) {
        (Some(index), _) => Place::Inside(parent, members, index),
        (None, Some(dotted)) => Place::Dotted(dotted),
        (None, None) => Place::Parent(parent),
    })
}

/// The edits that put `enrichments` at `place`, and how many are new.
fn put<C: Codec>(
    entries: &[Entry<'_>],
    place: Place<'_>,
    enrichments: &[Value],
    spelling: Spelling,
) -> Result<(Edits, usize), C::Error> {
    let value_at = |index: usize| entries.get(index).map_or(&[][..], |entry| entry.value);
    Ok(match place {
        Place::Dotted(index) => match merged::<C>(value_at(index), enrichments)? {
            Some((value, added)) => (Edits::replace(index, value), added),
            None => (Edits::default(), 0),
        },
        Place::Inside(parent, members, index) => {
            let existing = members.get(index).map_or(&[][..], |member| member.value);
            match merged::<C>(existing, enrichments)? {
                Some((value, added)) => {
                    let object = C::edit(value_at(parent), &Edits::replace(index, value))?;
                    (Edits::replace(parent, object), added)
                }
                None => (Edits::default(), 0),
            }
        }
        Place::Parent(parent) => {
            let ours = C::encode(&Value::Array(enrichments.to_vec()));
            let object = C::edit(value_at(parent), &Edits::append(ENRICHMENTS, ours))?;
            (Edits::replace(parent, object), enrichments.len())
        }
        Place::Absent(names, own) => {
            let list = Value::Array(enrichments.to_vec());
            let edits = match (spelling, own) {
                (Spelling::Nested, Spelling::Nested) => {
                    let object = Value::Object([(ENRICHMENTS.to_owned(), list)].into_iter().collect());
                    Edits::append(names.parent, C::encode(&object))
                }
                _ => Edits::append(names.dotted, C::encode(&list)),
            };
            (edits, enrichments.len())
        }
        Place::Blocked => (Edits::default(), 0),
    })
}

/// `existing` with those of `enrichments` that it does not hold yet, and how many; `None` when it holds all.
fn merged<C: Codec>(existing: &[u8], enrichments: &[Value]) -> Result<Option<(Vec<u8>, usize)>, C::Error> {
    let shape = C::shape(existing)?;
    let held: Vec<&[u8]> = match &shape {
        Shape::Null => Vec::new(),
        Shape::Array(elements) => elements.clone(),
        _ => vec![existing],
    };
    let mut known = Vec::with_capacity(held.len());
    for element in &held {
        known.extend(identity::<C>(element)?);
    }
    let mut new: Vec<Vec<u8>> = Vec::new();
    for enrichment in enrichments {
        let encoded = C::encode(enrichment);
        if identity::<C>(&encoded)?.is_none_or(|identity| !known.contains(&identity)) {
            new.push(encoded);
        }
    }
    if new.is_empty() {
        return Ok(None);
    }
    Ok(Some((extended::<C>(existing, &shape, &new)?, new.len())))
}

/// `existing` as an array with `new` at its end.
fn extended<C: Codec>(existing: &[u8], shape: &Shape<'_>, new: &[Vec<u8>]) -> Result<Vec<u8>, C::Error> {
    let new: Vec<&[u8]> = new.iter().map(Vec::as_slice).collect();
    Ok(match shape {
        Shape::Array(_) => C::extend(existing, &new)?,
        Shape::Null => C::array(&new),
        _ => C::array(&[&[existing], new.as_slice()].concat()),
    })
}

/// The edits that put tag words into `tags`.
fn put_words<C: Codec>(entries: &[Entry<'_>], words: &[&str]) -> Result<Edits, C::Error> {
    const TAGS: &str = "tags";
    let Some((index, entry)) = entries.iter().enumerate().rev().find(|(_, entry)| *entry.key == *TAGS.as_bytes())
    else {
        let words: Vec<Vec<u8>> = words.iter().map(|word| C::encode(&Value::from(*word))).collect();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        return Ok(if words.is_empty() { Edits::default() } else { Edits::append(TAGS, C::array(&words)) });
    };
    let shape = C::shape(entry.value)?;
    let mut new = Vec::new();
    for word in words {
        let is_word = |shape: &Shape<'_>| matches!(shape, Shape::Text(text) if **text == *word.as_bytes());
        let mut held = is_word(&shape);
        if let Shape::Array(elements) = &shape {
            for element in elements {
                held |= is_word(&C::shape(element)?);
            }
        }
        if !held {
            new.push(C::encode(&Value::from(*word)));
        }
    }
    if new.is_empty() {
        return Ok(Edits::default());
    }
    Ok(Edits::replace(index, extended::<C>(entry.value, &shape, &new)?))
}

/// What makes two enrichments the same.
type Identity = [Vec<u8>; 3];

/// The identity of an enrichment, `None` when it lacks a part (then it is like no other).
fn identity<C: Codec>(enrichment: &[u8]) -> Result<Option<Identity>, C::Error> {
    let Shape::Object(members) = C::shape(enrichment)? else { return Ok(None) };
    let part = |path| text_at::<C>(&members, path);
    Ok(match (part("matched.id")?, part("matched.field")?, part("feed.name")?) {
        (Some(id), Some(field), Some(feed)) => Some([id, field, feed]),
        _ => None,
    })
}

/// The string at a dotted path, nested or dotted at any of its dots; the last of duplicates.
fn text_at<C: Codec>(members: &[Entry<'_>], path: &str) -> Result<Option<Vec<u8>>, C::Error> {
    for member in members.iter().rev() {
        let Some(rest) = path.as_bytes().strip_prefix(&*member.key) else { continue };
        if rest.is_empty() {
            return Ok(match C::shape(member.value)? {
                Shape::Text(text) => Some(text.into_owned()),
                _ => None,
            });
        }
        if let Some(rest) = rest.strip_prefix(b".").and_then(|rest| str::from_utf8(rest).ok())
            && let Shape::Object(inner) = C::shape(member.value)?
            && let Some(text) = text_at::<C>(&inner, rest)?
        {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Whether something stands at a dotted path, nested or dotted at any of its dots.
pub(crate) fn has_path<C: Codec>(members: &[Entry<'_>], path: &[u8]) -> Result<bool, C::Error> {
    for member in members {
        let Some(rest) = path.strip_prefix(&*member.key) else { continue };
        if rest.is_empty() {
            return Ok(true);
        }
        if let Some(rest) = rest.strip_prefix(b".")
            && let Shape::Object(inner) = C::shape(member.value)?
            && has_path::<C>(&inner, rest)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
