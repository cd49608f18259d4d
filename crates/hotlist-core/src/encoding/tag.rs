//! How tags enter a document, whatever its encoding: `threat.enrichments` and `tags` are added or merged, and what arrived
//! there is marked, removed or kept.
//!
//! The rules stand here once; JSON and OTLP give a `Codec` each. A document is ordered entries of raw values, so
//! that nothing but the touched values is written again: duplicates, order, unknown fields and malformed strings survive.
//!
//! - No `threat.enrichments`: it is added, inside `threat` when that is an object, else at the end of the document.
//! - An existing one, nested or dotted, is extended where it stands; of several the last. An object or scalar becomes
//!   the first element of an array, a null gives way.
//! - A `threat` that is no object is left alone: the enrichments go to `hotlist.enrichments`.
//! - What cannot be read is left alone, too: the enrichments go to `hotlist.enrichments`, the word to `hotlist.tags`, as
//!   members of the document's own. Entries can always be added, so that tagging never fails for what stands in one.
//! - What arrived with equal `matched.id`, `matched.field` and `feed.name` is replaced, so that a second pass adds nothing
//!   twice and nothing forged stands for a hit; what else arrived is as [`Inbound`] says.

mod enrichment;
mod list;
mod path;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

pub use self::enrichment::{Brought, Enrichment, Frame, Node};
pub(crate) use self::list::holds_word;
use self::list::{Ours, Rewrite};
use super::TagInto;

/// The word that `tags` gets.
pub const WORD: &str = "threat-match";
/// What becomes of that word when it arrived with an event that does not hit.
pub const UNVERIFIED_WORD: &str = "threat-match-unverified";

/// What to do with enrichments, and with [`WORD`], that an event arrives with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Inbound {
    /// They stay as they are.
    Keep,
    /// Each enrichment gets `hotlist.verified: false`, the word becomes [`UNVERIFIED_WORD`].
    #[default]
    Mark,
    /// They are removed.
    Strip,
}

/// What to bring into a record.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    /// Where to, in a record that has more than one place.
    pub into: TagInto,
    /// Objects of `threat.enrichments`; none when the record does not hit.
    pub enrichments: Brought<'a>,
    /// What to do with those that are there.
    pub inbound: Inbound,
}

impl<'a> Tags<'a> {
    /// The words that go with the enrichments.
    pub(crate) fn words(&self) -> &'static [&'static str] {
        if self.enrichments.is_empty() { &[] } else { &[WORD] }
    }

    /// Enrichments, by the defaults.
    pub fn from_enrichments(enrichments: &'a [Value]) -> Tags<'a> {
        Tags { into: TagInto::Auto, enrichments: Brought::Values(enrichments), inbound: Inbound::Mark }
    }

    /// No enrichments: only what arrived is handled.
    pub(crate) fn without_enrichments(self) -> Tags<'static> {
        Tags { enrichments: Brought::NONE, into: self.into, inbound: self.inbound }
    }

    /// Whether there is nothing to do, whatever the record holds.
    pub(crate) fn is_nothing(self) -> bool {
        self.enrichments.is_empty() && self.inbound == Inbound::Keep
    }
}

/// What tagging did, for counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagOutcome {
    /// Enrichments that were not there before.
    pub added: usize,
    /// Enrichments that arrived as ours and gave way.
    pub replaced: usize,
    /// Enrichments and words that arrived and are marked.
    pub marked: usize,
    /// Enrichments and words that arrived and were removed.
    pub stripped: usize,
    /// `threat` is no object, so the enrichments went to `hotlist.enrichments`.
    pub threat_not_object: bool,
    /// What stands at the proper place cannot be read, so that the enrichments or the word went to a place of our own.
    pub own_place: bool,
    /// The document's bytes differ from those that came in.
    pub changed: bool,
}

impl TagOutcome {
    /// What was done to two parts of one record.
    pub(crate) fn and(self, other: TagOutcome) -> TagOutcome {
        TagOutcome {
            added: self.added + other.added,
            replaced: self.replaced + other.replaced,
            marked: self.marked + other.marked,
            stripped: self.stripped + other.stripped,
            threat_not_object: self.threat_not_object || other.threat_not_object,
            own_place: self.own_place || other.own_place,
            changed: self.changed || other.changed,
        }
    }
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

/// What to change in an object or, without the keys, in an array: at most one value a place, then new ones at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    /// New values by index of the entry, ascending; `None` removes the entry.
    pub(crate) replaced: Vec<(usize, Option<Vec<u8>>)>,
    /// New members.
    pub(crate) appended: Vec<(Cow<'static, str>, Vec<u8>)>,
}

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.appended.is_empty()
    }

    /// At least the bytes that they add, but for lengths that grow around them.
    pub(crate) fn bytes(&self) -> usize {
        let replaced: usize = self.replaced.iter().filter_map(|(_, value)| value.as_ref()).map(Vec::len).sum();
        let appended: usize = self.appended.iter().map(|(key, value)| key.len() + value.len() + AROUND_ENTRY).sum();
        replaced + appended
    }

    /// One new member.
    fn append(&mut self, key: &'static str, value: Vec<u8>) {
        self.appended.push((Cow::Borrowed(key), value));
    }
}

/// What stands around the key and the value of a new member, at most: tags and lengths, or a comma, quotes and a colon.
const AROUND_ENTRY: usize = 20;

/// How one encoding spells values.
pub(crate) trait Codec {
    /// Why a value cannot be read.
    type Error;
    /// Opens a value one level.
    fn shape(value: &[u8]) -> Result<Shape<'_>, Self::Error>;
    /// Encodes a value.
    fn encode(value: &Value) -> Vec<u8>;
    /// Appends a text.
    fn put_text(out: &mut Vec<u8>, text: &str);
    /// Appends the boolean.
    fn put_true(out: &mut Vec<u8>);
    /// Appends an object whose members `put` appends with [`Codec::put_member`].
    fn put_object(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>));
    /// Appends a member whose value `put` appends. The key has nothing that JSON escapes.
    fn put_member(out: &mut Vec<u8>, key: &str, put: impl FnOnce(&mut Vec<u8>));
    /// Appends an array whose elements `put` appends with [`Codec::put_element`].
    fn put_array(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>));
    /// Appends an element that `put` appends.
    fn put_element(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>));
    /// An array of encoded elements.
    fn array(elements: &[&[u8]]) -> Vec<u8>;
    /// An encoded array with edits, everything else as it is.
    fn edit_array(array: &[u8], edits: &Edits) -> Result<Vec<u8>, Self::Error>;
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

/// A place for enrichments: `parent.enrichments`.
struct Names {
    parent: &'static str,
    dotted: &'static str,
}

const THREAT: Names = Names { parent: "threat", dotted: "threat.enrichments" };
const HOTLIST: Names = Names { parent: "hotlist", dotted: "hotlist.enrichments" };
const ENRICHMENTS: &str = "enrichments";
const TAGS: &str = "tags";
/// The word's place when `tags` cannot be read.
const OWN_TAGS: &str = "hotlist.tags";
/// The edits that bring tags into a document of these entries. `None`: nothing to do.
pub(crate) fn plan<C: Codec>(
    entries: &[Entry<'_>],
    tags: &Tags<'_>,
    words: &[&str],
    spelling: Spelling,
) -> (Option<Edits>, TagOutcome) {
    place::<C>(entries, Ours::new(tags.enrichments, true), tags.inbound, words, spelling)
}

/// As [`plan`], for enrichments that another part of the same record holds: nothing there is forged by being the same.
pub(crate) fn join<C: Codec>(entries: &[Entry<'_>], enrichments: &[Value], words: &[&str]) -> Option<Edits> {
    let ours = Ours::new(Brought::Values(enrichments), false);
    place::<C>(entries, ours, Inbound::Keep, words, Spelling::Nested).0
}

fn place<C: Codec>(
    entries: &[Entry<'_>],
    ours: Ours<'_>,
    inbound: Inbound,
    words: &[&str],
    spelling: Spelling,
) -> (Option<Edits>, TagOutcome) {
    let mut rewrite = Rewrite { ours, inbound, outcome: TagOutcome::default() };
    let mut edits = Edits::default();
    let target = if rewrite.ours.is_empty() { None } else { Some(target::<C>(entries, &mut rewrite.outcome)) };
    let tags_at = entries.iter().rposition(|entry| *entry.key == *TAGS.as_bytes());
    let words_at = match tags_at.and_then(|at| entries.get(at)) {
        Some(entry) if C::shape(entry.value).is_err() => {
            entries.iter().rposition(|entry| *entry.key == *OWN_TAGS.as_bytes())
        }
        _ => tags_at,
    };
    let (mut is_placed, mut are_words_placed) = (false, words.is_empty());
    for (index, entry) in entries.iter().enumerate() {
        let here = match target {
            Some(Place::Dotted(at) | Place::Parent(at)) if at == index => Here::Itself,
            Some(Place::Inside(at, member)) if at == index => Here::Member(member),
            _ => Here::No,
        };
        let mut holds = here != Here::No;
        let change = match &*entry.key {
            b"threat.enrichments" | b"hotlist.enrichments" => rewrite.list::<C>(entry.value, holds),
            b"threat" => rewrite.parent::<C>(entry.value, here, false),
            b"hotlist" => rewrite.parent::<C>(entry.value, here, true),
            b"tags" | b"hotlist.tags" => {
                let is_place = Some(index) == words_at && !are_words_placed;
                let put = if is_place { rewrite.put_words::<C>(entry.value, words) } else { None };
                are_words_placed |= put.is_some();
                holds = false;
                put.unwrap_or_else(|| rewrite.words::<C>(entry.value, 0))
            }
            b"hotlist.truncated" if inbound == Inbound::Strip => Change::Gone,
            _ => continue,
        };
        // What the place cannot take goes to one of our own.
        is_placed |= holds && change != Change::Unreadable;
        match change {
            Change::Stays | Change::Unreadable => {}
            Change::New(value) => edits.replaced.push((index, Some(value))),
            Change::Gone => edits.replaced.push((index, None)),
        }
    }
    if let Some(target) = target
        && !is_placed
    {
        rewrite.append::<C>(&mut edits, &target, spelling);
    }
    if !are_words_placed {
        let key = if tags_at.is_some() { OWN_TAGS } else { TAGS };
        rewrite.outcome.own_place |= tags_at.is_some();
        let mut list = Vec::new();
        C::put_array(&mut list, |out| {
            words.iter().for_each(|word| C::put_element(out, |out| C::put_text(out, word)));
        });
        edits.append(key, list);
    }
    rewrite.outcome.changed = !edits.is_empty();
    (rewrite.outcome.changed.then_some(edits), rewrite.outcome)
}

#[derive(Clone, Copy)]
enum Place {
    /// At an entry of the document, dotted.
    Dotted(usize),
    /// Inside the object at an entry, at a member of that.
    Inside(usize, usize),
    /// Not there, but the object that should hold it is.
    Parent(usize),
    /// Not there at all; a spelling of its own when the usual one is taken.
    Absent(&'static Names, Spelling),
    /// The parent is no object.
    Blocked,
}

/// Whether our enrichments belong to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Here {
    No,
    /// To the list that it is, or as a new member of the object that it is.
    Itself,
    /// To a member of the object that it is.
    Member(usize),
}

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Stays,
    New(Vec<u8>),
    Gone,
    /// It cannot be read, and stays.
    Unreadable,
}

/// Where our enrichments go.
fn target<C: Codec>(entries: &[Entry<'_>], outcome: &mut TagOutcome) -> Place {
    match locate::<C>(entries, &THREAT) {
        Ok(Place::Blocked) => outcome.threat_not_object = true,
        Ok(place) => return place,
        Err(_) => outcome.own_place = true,
    }
    match locate::<C>(entries, &HOTLIST) {
        // Both names are taken by something else: the dotted key is added next to them and is found again.
        Ok(Place::Blocked) | Err(_) => Place::Absent(&HOTLIST, Spelling::Dotted),
        Ok(place) => place,
    }
}

/// Where the enrichments are: the last dotted key, or those in the last parent, whichever stands later.
fn locate<C: Codec>(entries: &[Entry<'_>], names: &'static Names) -> Result<Place, C::Error> {
    let last = |key: &str| entries.iter().enumerate().rev().find(|(_, entry)| *entry.key == *key.as_bytes());
    let dotted = last(names.dotted);
    let at_dotted = |(index, entry): (usize, &Entry<'_>)| C::shape(entry.value).map(|_| Place::Dotted(index));
    let Some((parent, entry)) = last(names.parent) else {
        return dotted.map_or(Ok(Place::Absent(names, Spelling::Nested)), at_dotted);
    };
    if let Some(dotted) = dotted.filter(|(index, _)| *index > parent) {
        return at_dotted(dotted);
    }
    let Shape::Object(members) = C::shape(entry.value)? else {
        return dotted.map_or(Ok(Place::Blocked), at_dotted);
    };
    match (members.iter().enumerate().rev().find(|(_, member)| *member.key == *ENRICHMENTS.as_bytes()), dotted) {
        (Some((index, member)), _) => C::shape(member.value).map(|_| Place::Inside(parent, index)),
        (None, Some(dotted)) => at_dotted(dotted),
        (None, None) => Ok(Place::Parent(parent)),
    }
}
