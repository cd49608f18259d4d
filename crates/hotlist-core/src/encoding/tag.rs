//! The rules of tagging for all encodings: `threat.enrichments` and `tags` are added or merged, and what arrived there
//! is marked, removed or kept.
//!
//! The rules stand here once; JSON and OTLP give a `Codec` each. A document is ordered entries of raw values, so
//! that nothing but the touched values is written again: duplicates, order, unknown fields and malformed strings survive.
//!
//! - No `threat.enrichments`: it is added, inside `threat` when that is an object, else at the end of the document.
//! - An existing one, nested or dotted, is extended where it stands; of several the last. An object or scalar becomes
//!   the first element of an array, a null gives way.
//! - A `threat` that is not an object is left alone: the enrichments go to `hotlist.enrichments`.
//! - What cannot be read is left alone, too: the enrichments go to `hotlist.enrichments`, the word to `hotlist.tags`, as
//!   members of the document's own. Entries can always be added, so that tagging never fails for what stands in one.
//! - An event of OCSF has `enrichments` and `osint` at its root instead, where others write, too: of what arrived there only
//!   what claims to be ours is marked or removed. A text, a number or a boolean there is left alone, and ours go to
//!   `hotlist.enrichments` and `hotlist.osint`.
//! - What arrived with equal `matched.id`, `matched.field` and `feed.name` is replaced, so that a second pass adds nothing
//!   twice and nothing forged stands for a hit; what else arrived is as [`Inbound`] says.

mod enrichment;
mod flat;
mod identity;
mod list;
mod mark;
mod ocsf;
mod path;
mod place;
mod plan;
mod rewrite;
mod words;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

pub use self::enrichment::{Brought, Enrichment, FlatValues, Frame, Node};
pub(crate) use self::mark::is_inbound;
pub(crate) use self::plan::{Rendered, join, plan};
use super::{Flat, TagInto};

/// The word that `tags` gets.
pub const WORD: &str = "threat-match";
/// The replacement of that word if it arrived with an event that does not hit.
pub const UNVERIFIED_WORD: &str = "threat-match-unverified";

/// The treatment of enrichments, and of [`WORD`], that an event arrives with.
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

/// The additions to a record.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    /// Where to, in a record that has more than one place.
    pub into: TagInto,
    /// Elements of `threat.enrichments` or, in OCSF, of `enrichments`; none when the record does not hit.
    pub enrichments: Brought<'a>,
    /// They are those of an event of OCSF.
    pub is_ocsf: bool,
    /// Whether flat values come with them.
    pub flat: Flat,
    /// The treatment of those that are there.
    pub inbound: Inbound,
}

impl<'a> Tags<'a> {
    /// The words for `tags` that go with the enrichments.
    pub(crate) fn words(&self) -> &'static [&'static str] {
        if self.enrichments.is_empty() || self.is_ocsf { &[] } else { &[WORD] }
    }

    /// The names for `metadata.profiles` that go with the enrichments (OCSF `profiles/osint.json`).
    fn profiles(&self) -> &'static [&'static str] {
        if !self.is_ocsf || self.enrichments.count(enrichment::HitElement::Osint) == 0 { &[] } else { &["osint"] }
    }

    /// Enrichments, by the defaults.
    pub fn from_enrichments(enrichments: &'a [Value]) -> Tags<'a> {
        Tags { enrichments: Brought::Values(enrichments), ..Tags::NONE }
    }

    /// No enrichments, by the defaults.
    pub const NONE: Tags<'static> = Tags {
        into: TagInto::Auto,
        enrichments: Brought::NONE,
        is_ocsf: false,
        flat: Flat::Auto,
        inbound: Inbound::Mark,
    };

    /// No enrichments: only what arrived is handled.
    pub(crate) fn without_enrichments(self) -> Tags<'static> {
        let Tags { into, inbound, is_ocsf, flat, .. } = self;
        Tags { into, enrichments: Brought::NONE, is_ocsf, flat, inbound }
    }

    /// Whether there is nothing to do, whatever the record holds.
    pub(crate) fn is_nothing(self) -> bool {
        self.enrichments.is_empty() && self.inbound == Inbound::Keep
    }
}

/// The counters of tagging.
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
    /// `threat` is not an object, so the enrichments went to `hotlist.enrichments`.
    pub threat_not_object: bool,
    /// The value at the proper place cannot be read, so the enrichments or the word went to a place of our own.
    pub own_place: bool,
    /// The document's bytes differ from those that came in.
    pub changed: bool,
}

impl TagOutcome {
    /// The changes of two parts of one record.
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
    pub(crate) value: &'a [u8],
}

/// A value, opened one level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape<'a> {
    /// Null, or nothing.
    Null,
    Text(Cow<'a, [u8]>),
    /// Any other scalar.
    Scalar,
    /// The elements.
    Array(Vec<&'a [u8]>),
    /// The members.
    Object(Vec<Entry<'a>>),
}

/// The changes of an object or, without the keys, in an array: at most one value a place, then new ones at the end.
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

    /// Whether they only remove, and remove all of so many entries.
    fn is_removal_of(&self, entries: usize) -> bool {
        let removed = self.replaced.iter().filter(|(_, value)| value.is_none()).count();
        entries > 0 && removed == entries && self.appended.is_empty()
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

/// The most bytes around the key and the value of a new member: tags and lengths, or a comma, quotes and a colon.
const AROUND_ENTRY: usize = 20;

/// How one encoding spells values.
pub(crate) trait Codec {
    /// The reason that a value cannot be read.
    type Error;
    /// Opens a value one level.
    fn shape(value: &[u8]) -> Result<Shape<'_>, Self::Error>;
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

impl Flat {
    /// Whether flat values are written where keys are spelled like this.
    fn is_on(self, spelling: Spelling) -> bool {
        match self {
            Flat::Auto => spelling == Spelling::Dotted,
            Flat::On => true,
            Flat::Off => false,
        }
    }
}
