//! Rewriting of lists of enrichments, and of what holds them. Each element is read once.

use std::borrow::Cow;

use super::enrichment::{FLAT_LISTS, HitElement};
use super::flat::{self, FlatSpot};
use super::mark::{claims, is_unverified, marked};
use super::place::{ENRICHMENTS, HOTLIST, Here, Place};
use super::rewrite::{Change, Rewrite, edited, treat};
use super::{Codec, Edits, Entry, Inbound, Shape, Spelling};

/// Bytes that hold the enrichments of most records.
const TYPICAL: usize = 1 << 10;
/// A list, by who writes there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    /// Enrichments of threats: whatever arrives there may pass as ours.
    Own,
    /// Enrichments of any kind.
    Shared,
    /// The list of indicators, ours and those of others.
    Osint,
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
            Shelf::Own | Shelf::Shared => (HitElement::Enrichment, &self.enrichments),
            Shelf::Osint => (HitElement::Osint, &self.osint),
        };
        // Only enrichments are counted.
        let one = usize::from(part == HitElement::Enrichment);
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

    /// The object that has a list of enrichments as its member: `threat`, or `hotlist`, which is ours as a whole.
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
        let mut flats_placed = [!has_flats; FLAT_LISTS];
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

    fn append_flats(&self, edits: &mut Edits, keys: &[&'static str; FLAT_LISTS], placed: [bool; FLAT_LISTS]) {
        let lists = self.flats.iter().flatten().zip(keys).zip(placed);
        lists.filter(|(_, is_placed)| !is_placed).for_each(|((list, key), _)| edits.append(key, list.clone()));
    }

    /// Adds our enrichments and flat values at the end of a document.
    pub(super) fn append<C: Codec>(
        &mut self,
        edits: &mut Edits,
        target: Option<Place>,
        flats: Option<(FlatSpot, [bool; FLAT_LISTS])>,
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

/// An object of encoded members.
fn object_of<C: Codec>(members: &[(Cow<'static, str>, Vec<u8>)]) -> Vec<u8> {
    let mut object = Vec::new();
    C::put_object(&mut object, |out| {
        members.iter().for_each(|(key, value)| C::put_member(out, key, |out| out.extend_from_slice(value)));
    });
    object
}
