//! Rewriting of what stands where tags go: lists of enrichments and of words. Each element is read once.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::{Value, json};

use super::path::text_at;
use super::{
    Brought, Change, Codec, ENRICHMENTS, Edits, Entry, Here, Inbound, Place, Shape, Spelling, TagOutcome,
    UNVERIFIED_WORD, WORD,
};

/// Levels of arrays in each other that are followed. Readers flatten them.
const LEVELS: usize = 4;

/// Bytes that hold the enrichments of most records.
const TYPICAL: usize = 1 << 10;

/// What makes two enrichments the same: `matched.id`, `matched.field` and `feed.name`.
type Identity = [Vec<u8>; 3];

/// The enrichments to bring in.
pub(super) struct Ours<'a> {
    brought: Brought<'a>,
    /// Made only for a record that has others.
    known: OnceCell<Known>,
    /// Whether the same of another origin gives way; else only what is marked as not verified does.
    replaces: bool,
}

/// Our own enrichments, prepared for comparison with those of the record.
struct Known {
    encoded: Vec<Vec<u8>>,
    by_identity: HashMap<Identity, usize>,
}

impl<'a> Ours<'a> {
    pub(super) fn new(brought: Brought<'a>, replaces: bool) -> Ours<'a> {
        Ours { brought, known: OnceCell::new(), replaces }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.brought.is_empty()
    }

    fn known<C: Codec>(&self) -> &Known {
        self.known.get_or_init(|| {
            let encoded = self.brought.encoded::<C>();
            let identified = encoded.iter().enumerate();
            let by_identity = identified.filter_map(|(index, own)| Some((identity::<C>(own)?, index))).collect();
            Known { encoded, by_identity }
        })
    }

    /// Appends them as a list.
    fn put_list<C: Codec>(&self, out: &mut Vec<u8>) {
        C::put_array(out, |out| self.brought.put_each::<C>(out, |out, put| C::put_element(out, put)));
    }
}

/// One pass over a document.
pub(super) struct Rewrite<'a> {
    pub(super) ours: Ours<'a>,
    pub(super) inbound: Inbound,
    pub(super) outcome: TagOutcome,
}

impl Rewrite<'_> {
    /// A list of enrichments, which ours join when they belong here.
    pub(super) fn list<C: Codec>(&mut self, existing: &[u8], with_ours: bool) -> Change {
        let Ok(shape) = C::shape(existing) else { return Change::Unreadable };
        let one = [existing];
        let elements = match &shape {
            Shape::Null => &[][..],
            Shape::Array(elements) => elements,
            _ => &one,
        };
        if !with_ours && self.inbound == Inbound::Strip {
            self.outcome.stripped += elements.len();
            return Change::Gone;
        }
        let mut edits = Edits::default();
        let mut is_there = vec![false; if with_ours { self.ours.brought.len() } else { 0 }];
        for (index, element) in elements.iter().enumerate() {
            let known = with_ours.then(|| self.ours.known::<C>()).filter(|known| !known.by_identity.is_empty());
            let own = known.and_then(|known| Some((known, *known.by_identity.get(&identity::<C>(element)?)?)));
            match own.and_then(|(known, own)| Some((own, known.encoded.get(own)?, is_there.get_mut(own)?))) {
                Some((_, _, is_there)) if *is_there => {
                    self.outcome.replaced += 1;
                    edits.replaced.push((index, None));
                }
                Some((_, encoded, is_there)) => {
                    *is_there = true;
                    if encoded != element && (self.ours.replaces || is_unverified::<C>(element)) {
                        self.outcome.replaced += 1;
                        edits.replaced.push((index, Some(encoded.clone())));
                    }
                }
                None => match self.inbound(|| marked::<C>(element, 0)) {
                    Change::New(value) => edits.replaced.push((index, Some(value))),
                    Change::Gone => edits.replaced.push((index, None)),
                    Change::Stays | Change::Unreadable => {}
                },
            }
        }
        if is_there.contains(&false) {
            let all = self.ours.known::<C>().encoded.iter().zip(&is_there);
            for (encoded, _) in all.filter(|(_, is_there)| !**is_there) {
                self.outcome.added += 1;
                edits.append("", encoded.clone());
            }
        }
        edited::<C>(existing, &shape, edits)
    }

    /// What becomes of something that arrived, where `mark` is what marks it.
    fn inbound(&mut self, mark: impl FnOnce() -> Option<Vec<u8>>) -> Change {
        match self.inbound {
            Inbound::Keep => Change::Stays,
            Inbound::Mark => mark().map_or(Change::Stays, |value| {
                self.outcome.marked += 1;
                Change::New(value)
            }),
            Inbound::Strip => {
                self.outcome.stripped += 1;
                Change::Gone
            }
        }
    }

    /// What holds a list of enrichments as its member: `threat`, or `hotlist`, which is ours as a whole.
    pub(super) fn parent<C: Codec>(&mut self, existing: &[u8], here: Here, is_own: bool) -> Change {
        if here == Here::No && self.inbound == Inbound::Keep {
            return Change::Stays;
        }
        if here == Here::No && self.inbound == Inbound::Strip && is_own {
            self.outcome.stripped += 1;
            return Change::Gone;
        }
        match C::shape(existing) {
            Ok(Shape::Object(members)) => self.members::<C>(existing, &members, here, is_own),
            Ok(Shape::Array(elements)) => {
                let mut edits = Edits::default();
                for (index, element) in elements.iter().enumerate() {
                    if let Ok(Shape::Object(members)) = C::shape(element)
                        && let Change::New(value) = self.members::<C>(element, &members, Here::No, is_own)
                    {
                        edits.replaced.push((index, Some(value)));
                    }
                }
                if edits.is_empty() {
                    return Change::Stays;
                }
                C::edit_array(existing, &edits).map_or(Change::Unreadable, Change::New)
            }
            Ok(_) => Change::Stays,
            Err(_) => Change::Unreadable,
        }
    }

    fn members<C: Codec>(&mut self, object: &[u8], members: &[Entry<'_>], here: Here, is_own: bool) -> Change {
        let mut edits = Edits::default();
        for (index, member) in members.iter().enumerate() {
            let change = match &*member.key {
                b"enrichments" => self.list::<C>(member.value, here == Here::Member(index)),
                b"tags" if is_own => self.words::<C>(member.value, 0),
                _ if is_own && self.inbound == Inbound::Strip => Change::Gone,
                _ => continue,
            };
            match change {
                Change::New(value) => edits.replaced.push((index, Some(value))),
                Change::Gone => edits.replaced.push((index, None)),
                Change::Unreadable if here == Here::Member(index) => return Change::Unreadable,
                Change::Stays | Change::Unreadable => {}
            }
        }
        if here == Here::Itself {
            self.outcome.added += self.ours.brought.len();
            let mut list = Vec::new();
            self.ours.put_list::<C>(&mut list);
            edits.append(ENRICHMENTS, list);
        }
        if edits.is_empty() {
            return Change::Stays;
        }
        C::edit(object, &edits).map_or(Change::Unreadable, Change::New)
    }

    /// Adds our enrichments at the end of a document.
    pub(super) fn append<C: Codec>(&mut self, edits: &mut Edits, target: &Place, spelling: Spelling) {
        self.outcome.added += self.ours.brought.len();
        let mut list = Vec::with_capacity(TYPICAL);
        match target {
            Place::Absent(names, Spelling::Nested) if spelling == Spelling::Nested => {
                C::put_object(&mut list, |out| C::put_member(out, ENRICHMENTS, |out| self.ours.put_list::<C>(out)));
                edits.append(names.parent, list);
            }
            Place::Absent(names, _) => {
                self.ours.put_list::<C>(&mut list);
                edits.append(names.dotted, list);
            }
            Place::Dotted(_) | Place::Inside(..) | Place::Parent(_) | Place::Blocked => {
                self.outcome.own_place = true;
                self.ours.put_list::<C>(&mut list);
                edits.append(super::HOTLIST.dotted, list);
            }
        }
    }

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
                self.inbound(|| Some(C::encode(&Value::from(UNVERIFIED_WORD))))
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

/// A list, or a single value that becomes the first of one, with edits.
fn edited<C: Codec>(existing: &[u8], shape: &Shape<'_>, mut edits: Edits) -> Change {
    if edits.is_empty() {
        return Change::Stays;
    }
    if let Shape::Array(_) = shape {
        return C::edit_array(existing, &edits).map_or(Change::Unreadable, Change::New);
    }
    let replaced = edits.replaced.pop();
    if edits.appended.is_empty()
        && let Some((_, value)) = replaced
    {
        return value.map_or(Change::Gone, Change::New);
    }
    let first = match (&replaced, shape) {
        (Some((_, value)), _) => value.as_deref(),
        (None, Shape::Null) => None,
        (None, _) => Some(existing),
    };
    let elements: Vec<&[u8]> = first.into_iter().chain(edits.appended.iter().map(|(_, value)| &value[..])).collect();
    Change::New(C::array(&elements))
}

/// Whether a value is the word of a hit, or a list that holds it. Most events have a list of tags without it, so the bytes
/// are searched first. Only JSON can write the word otherwise than it is, with a backslash.
pub(crate) fn holds_word<C: Codec>(value: &[u8]) -> bool {
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

/// The identity of an enrichment, `None` when it lacks a part or cannot be read (then it is like no other).
fn identity<C: Codec>(enrichment: &[u8]) -> Option<Identity> {
    let Ok(Shape::Object(members)) = C::shape(enrichment) else { return None };
    let part = |path| text_at::<C>(&members, path);
    Some([part("matched.id")?, part("matched.field")?, part("feed.name")?])
}

/// An enrichment, or a list of some, with `hotlist.verified: false`; `None` when it has that, or is no enrichment.
fn marked<C: Codec>(element: &[u8], depth: usize) -> Option<Vec<u8>> {
    match C::shape(element).ok()? {
        Shape::Object(members) if !members.is_empty() => C::edit(element, &marks::<C>(&members)?).ok(),
        Shape::Array(elements) if depth < LEVELS => {
            let elements = elements.iter().enumerate();
            let replaced: Vec<_> =
                elements.filter_map(|(at, element)| Some((at, Some(marked::<C>(element, depth + 1)?)))).collect();
            if replaced.is_empty() {
                return None;
            }
            C::edit_array(element, &Edits { replaced, appended: Vec::new() }).ok()
        }
        _ => None,
    }
}

/// The edits that mark an enrichment: wherever it says whether it is verified, it says no.
fn marks<C: Codec>(members: &[Entry<'_>]) -> Option<Edits> {
    let no = C::encode(&Value::Bool(false));
    let (mut edits, mut says, mut has_parent) = (Edits::default(), false, false);
    for (index, member) in members.iter().enumerate() {
        match &*member.key {
            b"hotlist.verified" => {
                says = true;
                if member.value != no {
                    edits.replaced.push((index, Some(no.clone())));
                }
            }
            b"hotlist" => {
                has_parent = true;
                let Ok(Shape::Object(inner)) = C::shape(member.value) else { continue };
                let verified = inner.iter().enumerate().filter(|(_, inner)| *inner.key == *b"verified");
                let mut inside = Edits::default();
                let mut is_there = false;
                for (at, verified) in verified {
                    is_there = true;
                    if verified.value != no {
                        inside.replaced.push((at, Some(no.clone())));
                    }
                }
                if !is_there {
                    inside.append("verified", no.clone());
                }
                if inside.is_empty() {
                    says = true;
                } else if let Ok(value) = C::edit(member.value, &inside) {
                    says = true;
                    edits.replaced.push((index, Some(value)));
                }
            }
            _ => {}
        }
    }
    match (says, has_parent) {
        (true, _) => {}
        (false, true) => edits.append("hotlist.verified", no),
        (false, false) => edits.append("hotlist", C::encode(&json!({ "verified": false }))),
    }
    (!edits.is_empty()).then_some(edits)
}

/// Whether an enrichment carries the mark, and none that says otherwise.
fn is_unverified<C: Codec>(element: &[u8]) -> bool {
    matches!(C::shape(element), Ok(Shape::Object(members)) if marks::<C>(&members).is_none())
}
