//! Rewriting of lists of enrichments, and of what holds them. Each element is read once.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use super::enrichment::Part;
use super::flat::{self, FlatSpot};
use super::mark::{claims, is_unverified, marked};
use super::path::text_at;
use super::place::{Change, ENRICHMENTS, HOTLIST, Here, Place};
use super::{Brought, Codec, Edits, Entry, Inbound, Shape, Spelling, TagOutcome};

/// Levels of arrays in each other that are followed. Readers flatten them.
pub(super) const LEVELS: usize = 4;

/// Bytes that hold the enrichments of most records.
const TYPICAL: usize = 1 << 10;

/// What makes two enrichments the same: `matched.id`, `matched.field` and `feed.name`; and two objects of `osint`.
pub(super) type Identity = [Vec<u8>; 3];

/// The elements to bring into a list.
pub(super) struct Ours<'a> {
    brought: Brought<'a>,
    part: Part,
    /// Made only for a record that has others.
    known: OnceCell<Known>,
    /// Whether the same of another origin gives way; else only what is marked as not verified does.
    replaces: bool,
}

/// Our own elements, prepared for comparison with those of the record.
struct Known {
    encoded: Vec<Vec<u8>>,
    by_identity: HashMap<Identity, usize>,
}

impl<'a> Ours<'a> {
    pub(super) fn new(brought: Brought<'a>, part: Part, replaces: bool) -> Ours<'a> {
        Ours { brought, part, known: OnceCell::new(), replaces }
    }

    pub(super) fn len(&self) -> usize {
        self.brought.count(self.part)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn known<C: Codec>(&self) -> &Known {
        self.known.get_or_init(|| {
            let encoded = self.brought.encoded::<C>(self.part);
            let identified = encoded.iter().enumerate();
            let by_identity =
                identified.filter_map(|(index, own)| Some((self.part.identity::<C>(own)?, index))).collect();
            Known { encoded, by_identity }
        })
    }

    /// Appends them as a list.
    pub(super) fn put_list<C: Codec>(&self, out: &mut Vec<u8>) {
        C::put_array(out, |out| self.brought.put_each::<C>(self.part, out, |out, put| C::put_element(out, put)));
    }
}

impl Part {
    fn identity<C: Codec>(self, element: &[u8]) -> Option<Identity> {
        match self {
            Part::Enrichment => identity::<C>(element),
            Part::Osint => osint_identity::<C>(element),
        }
    }
}

/// A list, by who writes there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    /// Enrichments of threats: whatever arrives there may pass as ours.
    Own,
    /// Enrichments of any kind.
    Shared,
    /// What is known of indicators, by anyone.
    Osint,
}

/// One pass over a document.
pub(super) struct Rewrite<'a> {
    pub(super) enrichments: Ours<'a>,
    pub(super) osint: Ours<'a>,
    /// Ours, encoded.
    pub(super) flats: Option<[Vec<u8>; 3]>,
    /// The identities of `osint` objects that are stripped.
    pub(super) claimed: HashSet<Identity>,
    pub(super) inbound: Inbound,
    pub(super) outcome: TagOutcome,
}

impl Rewrite<'_> {
    /// A list, which ours join when they belong here.
    pub(super) fn list<C: Codec>(&mut self, existing: &[u8], with_ours: bool, shelf: Shelf) -> Change {
        let Ok(shape) = C::shape(existing) else { return Change::Unreadable };
        let one = [existing];
        let elements = match &shape {
            Shape::Null => &[][..],
            Shape::Array(elements) => elements,
            _ => &one,
        };
        if !with_ours && self.inbound == Inbound::Strip && shelf == Shelf::Own {
            self.outcome.stripped += elements.len();
            return Change::Gone;
        }
        let (part, ours) = match shelf {
            Shelf::Own | Shelf::Shared => (Part::Enrichment, &self.enrichments),
            Shelf::Osint => (Part::Osint, &self.osint),
        };
        // Only enrichments are counted.
        let one = usize::from(part == Part::Enrichment);
        let outcome = &mut self.outcome;
        let mut edits = Edits::default();
        let mut is_there = vec![false; if with_ours { ours.len() } else { 0 }];
        for (index, element) in elements.iter().enumerate() {
            let known = with_ours.then(|| ours.known::<C>()).filter(|known| !known.by_identity.is_empty());
            let own = known.and_then(|known| Some((known, *known.by_identity.get(&part.identity::<C>(element)?)?)));
            match own.and_then(|(known, own)| Some((known.encoded.get(own)?, is_there.get_mut(own)?))) {
                Some((_, is_there)) if *is_there => {
                    outcome.replaced += one;
                    edits.replaced.push((index, None));
                }
                Some((encoded, is_there)) => {
                    *is_there = true;
                    if encoded != element && (ours.replaces || is_unverified::<C>(element, shelf == Shelf::Shared)) {
                        outcome.replaced += one;
                        edits.replaced.push((index, Some(encoded.clone())));
                    }
                }
                None => {
                    let (is_inbound, treatment) = match shelf {
                        Shelf::Own => (true, self.inbound),
                        Shelf::Shared => (self.inbound != Inbound::Keep && claims::<C>(element, 0), self.inbound),
                        Shelf::Osint => (
                            !self.claimed.is_empty()
                                && part.identity::<C>(element).is_some_and(|id| self.claimed.contains(&id)),
                            Inbound::Strip,
                        ),
                    };
                    if !is_inbound {
                        continue;
                    }
                    match treat(treatment, outcome, || marked::<C>(element, shelf == Shelf::Shared, 0)) {
                        Change::New(value) => edits.replaced.push((index, Some(value))),
                        Change::Gone => edits.replaced.push((index, None)),
                        Change::Stays | Change::Unreadable => {}
                    }
                }
            }
        }
        if is_there.contains(&false) {
            let all = ours.known::<C>().encoded.iter().zip(&is_there);
            for (encoded, _) in all.filter(|(_, is_there)| !**is_there) {
                outcome.added += one;
                edits.append("", encoded.clone());
            }
        }
        // A list of nothing but what is stripped goes as a whole: it came with what was in it.
        if edits.is_removal_of(elements.len()) && shelf != Shelf::Own {
            return Change::Gone;
        }
        edited::<C>(existing, &shape, edits)
    }

    /// What holds a list of enrichments as its member: `threat`, or `hotlist`, which is ours as a whole.
    /// With `has_flats` it gets the flat values.
    pub(super) fn parent<C: Codec>(&mut self, existing: &[u8], here: Here, is_own: bool, has_flats: bool) -> Change {
        if here == Here::No && self.inbound == Inbound::Keep && !has_flats {
            return Change::Stays;
        }
        if here == Here::No && self.inbound == Inbound::Strip && is_own && !has_flats {
            self.outcome.stripped += 1;
            return Change::Gone;
        }
        match C::shape(existing) {
            Ok(Shape::Object(members)) => self.members::<C>(existing, &members, here, (is_own, has_flats)),
            Ok(Shape::Array(elements)) => {
                let mut edits = Edits::default();
                for (index, element) in elements.iter().enumerate() {
                    if let Ok(Shape::Object(members)) = C::shape(element)
                        && let Change::New(value) = self.members::<C>(element, &members, Here::No, (is_own, false))
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

    fn members<C: Codec>(
        &mut self,
        object: &[u8],
        members: &[Entry<'_>],
        here: Here,
        (is_own, has_flats): (bool, bool),
    ) -> Change {
        let mut edits = Edits::default();
        let mut flats_placed = [!has_flats; 3];
        for (index, member) in members.iter().enumerate() {
            let flat = if is_own { flat::of_member(&member.key) } else { None };
            let change = match (&*member.key, flat) {
                (_, Some(which)) => {
                    let is_place = has_flats && flat::is_last(members, index);
                    if let Some(placed) = flats_placed.get_mut(which) {
                        *placed |= is_place;
                    }
                    self.flat(member.value, which, is_place)
                }
                (b"enrichments", _) => self.list::<C>(member.value, here == Here::Member(index), Shelf::Own),
                (b"tags", _) if is_own => self.words::<C>(member.value, 0),
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
            self.outcome.added += self.enrichments.len();
            let mut list = Vec::new();
            self.enrichments.put_list::<C>(&mut list);
            edits.append(ENRICHMENTS, list);
        }
        self.append_flats(&mut edits, &flat::KEYS, flats_placed);
        if is_own && edits.is_removal_of(members.len()) {
            return Change::Gone;
        }
        if edits.is_empty() {
            return Change::Stays;
        }
        C::edit(object, &edits).map_or(Change::Unreadable, Change::New)
    }

    fn append_flats(&self, edits: &mut Edits, keys: &[&'static str; 3], placed: [bool; 3]) {
        let lists = self.flats.iter().flatten().zip(keys).zip(placed);
        lists.filter(|(_, is_placed)| !is_placed).for_each(|((list, key), _)| edits.append(key, list.clone()));
    }

    /// Adds our enrichments and flat values at the end of a document.
    pub(super) fn append<C: Codec>(
        &mut self,
        edits: &mut Edits,
        target: Option<Place>,
        flats: Option<(FlatSpot, [bool; 3])>,
        spelling: Spelling,
    ) {
        let mut own = Edits::default();
        if let Some(target) = target {
            self.outcome.added += self.enrichments.len();
            let mut list = Vec::with_capacity(TYPICAL);
            match target {
                Place::Absent(names, Spelling::Nested) if spelling == Spelling::Nested => {
                    if names.parent == HOTLIST.parent {
                        self.enrichments.put_list::<C>(&mut list);
                        own.append(names.member, list);
                    } else {
                        let put = |out: &mut Vec<u8>| self.enrichments.put_list::<C>(out);
                        C::put_object(&mut list, |out| C::put_member(out, names.member, put));
                        edits.append(names.parent, list);
                    }
                }
                Place::Absent(names, _) => {
                    self.enrichments.put_list::<C>(&mut list);
                    edits.append(names.dotted, list);
                }
                Place::Dotted(_) | Place::Inside(..) | Place::Parent(_) | Place::Blocked => {
                    self.outcome.own_place = true;
                    self.enrichments.put_list::<C>(&mut list);
                    edits.append(HOTLIST.dotted, list);
                }
            }
        }
        match flats {
            Some((FlatSpot::New, placed)) => self.append_flats(&mut own, &flat::KEYS, placed),
            Some((FlatSpot::Dotted | FlatSpot::Inside(_), placed)) => self.append_flats(edits, &flat::DOTTED, placed),
            None => {}
        }
        if !own.is_empty() {
            edits.append(HOTLIST.parent, object_of::<C>(&own.appended));
        }
    }
}

/// What becomes of something that arrived, where `mark` is what marks it.
pub(super) fn treat(inbound: Inbound, outcome: &mut TagOutcome, mark: impl FnOnce() -> Option<Vec<u8>>) -> Change {
    match inbound {
        Inbound::Keep => Change::Stays,
        Inbound::Mark => mark().map_or(Change::Stays, |value| {
            outcome.marked += 1;
            Change::New(value)
        }),
        Inbound::Strip => {
            outcome.stripped += 1;
            Change::Gone
        }
    }
}

/// An object of encoded members.
fn object_of<C: Codec>(members: &[(Cow<'static, str>, Vec<u8>)]) -> Vec<u8> {
    let mut object = Vec::new();
    C::put_object(&mut object, |out| {
        members.iter().for_each(|(key, value)| C::put_member(out, key, |out| out.extend_from_slice(value)));
    });
    object
}

/// A list, or a single value that becomes the first of one, with edits.
pub(super) fn edited<C: Codec>(existing: &[u8], shape: &Shape<'_>, mut edits: Edits) -> Change {
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

/// The identity of an enrichment, `None` when it lacks a part or cannot be read (then it is like no other).
pub(super) fn identity<C: Codec>(enrichment: &[u8]) -> Option<Identity> {
    let Ok(Shape::Object(members)) = C::shape(enrichment) else { return None };
    let part = |path| text_at::<C>(&members, path);
    let parts = |id, field, feed| Some([part(id)?, part(field)?, part(feed)?]);
    parts("matched.id", "matched.field", "feed.name")
        .or_else(|| parts("data.matched.id", "data.matched.field", "data.feed.name"))
}

/// The identity of an object of `osint`: the id of the indicator, the attribute and the feed.
fn osint_identity<C: Codec>(element: &[u8]) -> Option<Identity> {
    let Ok(Shape::Object(members)) = C::shape(element) else { return None };
    let part = |path| text_at::<C>(&members, path);
    Some([part("uid")?, part("name")?, part("vendor_name")?])
}
