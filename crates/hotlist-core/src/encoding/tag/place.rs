//! Where tags go in a document: one pass over its entries, which gives the edits.

use serde_json::Value;

use super::enrichment::Part;
use super::flat::{self, FlatSpot};
use super::list::{Ours, Rewrite, Shelf};
use super::ocsf::{OSINT, OWN_OSINT, claimed};
use super::{Brought, Codec, Edits, Entry, Inbound, Shape, Spelling, TagOutcome, Tags};

/// A place for a list: `parent.member`.
pub(super) struct Names {
    pub(super) parent: &'static str,
    pub(super) member: &'static str,
    pub(super) dotted: &'static str,
}

pub(super) const ENRICHMENTS: &str = "enrichments";
const THREAT: Names = Names { parent: "threat", member: ENRICHMENTS, dotted: "threat.enrichments" };
pub(super) const HOTLIST: Names = Names { parent: "hotlist", member: ENRICHMENTS, dotted: "hotlist.enrichments" };
/// Where OCSF has enrichments: at the root.
const ROOT: Names = Names { parent: "", member: ENRICHMENTS, dotted: ENRICHMENTS };
const PROFILES: Names = Names { parent: "metadata", member: "profiles", dotted: "metadata.profiles" };
const TAGS: &str = "tags";
/// The word's place when `tags` cannot be read.
const OWN_TAGS: &str = "hotlist.tags";

/// What comes into a document.
struct Coming<'a> {
    enrichments: Ours<'a>,
    osint: Ours<'a>,
    /// For `tags`.
    words: &'a [&'a str],
    /// For `metadata.profiles`.
    profiles: &'a [&'a str],
    flats: Option<[Vec<u8>; 3]>,
    is_ocsf: bool,
}

/// What another part of a record holds where tags go, as JSON.
#[derive(Debug, Default)]
pub(crate) struct Rendered<'a> {
    pub(crate) enrichments: &'a [Value],
    pub(crate) osint: &'a [Value],
    /// For `tags`.
    pub(crate) words: &'a [&'a str],
    /// For `metadata.profiles`.
    pub(crate) profiles: &'a [&'a str],
    pub(crate) is_ocsf: bool,
}

impl Rendered<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        let Rendered { enrichments, osint, words, profiles, is_ocsf: _ } = self;
        enrichments.is_empty() && osint.is_empty() && words.is_empty() && profiles.is_empty()
    }
}

/// The edits that bring tags into a document of these entries. `None`: nothing to do.
pub(crate) fn plan<C: Codec>(
    entries: &[Entry<'_>],
    tags: &Tags<'_>,
    spelling: Spelling,
) -> (Option<Edits>, TagOutcome) {
    let osint = if tags.is_ocsf { tags.enrichments } else { Brought::NONE };
    let coming = Coming {
        enrichments: Ours::new(tags.enrichments, Part::Enrichment, true),
        osint: Ours::new(osint, Part::Osint, true),
        words: tags.words(),
        profiles: tags.profiles(),
        flats: if tags.flat.is_on(spelling) { flat::lists::<C>(tags.enrichments) } else { None },
        is_ocsf: tags.is_ocsf,
    };
    place::<C>(entries, coming, tags.inbound, spelling)
}

/// As [`plan`], for what another part of the same record holds: nothing there is forged by being the same.
pub(crate) fn join<C: Codec>(entries: &[Entry<'_>], rendered: &Rendered<'_>) -> Option<Edits> {
    let Rendered { enrichments, osint, words, profiles, is_ocsf } = *rendered;
    let coming = Coming {
        enrichments: Ours::new(Brought::Values(enrichments), Part::Enrichment, false),
        osint: Ours::new(Brought::Values(osint), Part::Osint, false),
        words,
        profiles,
        flats: None,
        is_ocsf,
    };
    place::<C>(entries, coming, Inbound::Keep, Spelling::Nested).0
}

fn place<C: Codec>(
    entries: &[Entry<'_>],
    coming: Coming<'_>,
    inbound: Inbound,
    spelling: Spelling,
) -> (Option<Edits>, TagOutcome) {
    let Coming { enrichments, osint, words, profiles, flats, is_ocsf } = coming;
    let mut outcome = TagOutcome::default();
    let target = (!enrichments.is_empty()).then(|| target::<C>(entries, is_ocsf, &mut outcome));
    let profiles_at = (!profiles.is_empty()).then(|| locate::<C>(entries, &PROFILES).unwrap_or(Place::Blocked));
    let osint_at = Spot::find::<C>(entries, OSINT, OWN_OSINT, is_list);
    let words_at = Spot::find::<C>(entries, TAGS, OWN_TAGS, |_| true);
    let flat_at = flats.as_ref().map(|_| flat::spot::<C>(entries, inbound, spelling));
    let claimed = if inbound == Inbound::Strip { claimed::<C>(entries) } else { Default::default() };
    let (mut are_words_placed, mut is_osint_placed) = (words.is_empty(), osint.is_empty());
    let (mut is_placed, mut are_profiles_placed, mut flats_placed) = (false, false, [false; 3]);
    let mut rewrite = Rewrite { enrichments, osint, flats, claimed, inbound, outcome };
    let mut edits = Edits::default();
    for (index, entry) in entries.iter().enumerate() {
        let here = target.map_or(Here::No, |target| target.here(index));
        let mut holds = here != Here::No;
        let change = match &*entry.key {
            b"threat.enrichments" | b"hotlist.enrichments" => rewrite.list::<C>(entry.value, holds, Shelf::Own),
            b"enrichments" => rewrite.list::<C>(entry.value, holds, Shelf::Shared),
            b"threat" => rewrite.parent::<C>(entry.value, here, false, false),
            b"hotlist" => {
                let has_flats = flat_at == Some(FlatSpot::Inside(index));
                let change = rewrite.parent::<C>(entry.value, here, true, has_flats);
                flats_placed = [flats_placed[0] || (has_flats && change != Change::Unreadable); 3];
                change
            }
            b"tags" | b"hotlist.tags" => {
                let is_place = words_at.at == Some(index) && !are_words_placed;
                let put = if is_place { rewrite.put_words::<C>(entry.value, words) } else { None };
                are_words_placed |= put.is_some();
                holds = false;
                put.unwrap_or_else(|| rewrite.words::<C>(entry.value, 0))
            }
            b"osint" | b"hotlist.osint" => {
                let is_place = osint_at.at == Some(index) && !is_osint_placed;
                let change = rewrite.osint::<C>(entry.value, is_place, *entry.key == *OSINT.as_bytes());
                is_osint_placed |= is_place && change != Change::Unreadable;
                holds = false;
                change
            }
            b"metadata" | b"metadata.profiles" => {
                let here = profiles_at.map_or(Here::No, |place| place.here(index));
                let change = rewrite.profiles::<C>(entry, here, profiles);
                are_profiles_placed |= here != Here::No && change != Change::Unreadable;
                holds = false;
                change
            }
            b"hotlist.truncated" if inbound == Inbound::Strip => Change::Gone,
            key => {
                let Some(which) = flat::of_dotted(key) else { continue };
                let is_place = flat_at == Some(FlatSpot::Dotted) && flat::is_last(entries, index);
                if let Some(placed) = flats_placed.get_mut(which) {
                    *placed |= is_place;
                }
                rewrite.flat(entry.value, which, is_place)
            }
        };
        // What the place cannot take goes to one of our own.
        is_placed |= holds && change != Change::Unreadable;
        match change {
            Change::Stays | Change::Unreadable => {}
            Change::New(value) => edits.replaced.push((index, Some(value))),
            Change::Gone => edits.replaced.push((index, None)),
        }
    }
    let target = target.filter(|_| !is_placed);
    let flats = flat_at.map(|spot| (spot, flats_placed)).filter(|(_, placed)| placed.contains(&false));
    rewrite.append::<C>(&mut edits, target, flats, spelling);
    if !is_osint_placed {
        let key = osint_at.key(&mut rewrite.outcome);
        let mut list = Vec::new();
        rewrite.osint.put_list::<C>(&mut list);
        edits.append(key, list);
    }
    if let Some(place) = profiles_at.filter(|_| !are_profiles_placed) {
        rewrite.append_profiles::<C>(&mut edits, place, profiles, spelling);
    }
    if !are_words_placed {
        let key = words_at.key(&mut rewrite.outcome);
        edits.append(key, list_of_words::<C>(words));
    }
    rewrite.outcome.changed = !edits.is_empty();
    (rewrite.outcome.changed.then_some(edits), rewrite.outcome)
}

/// A list of words, encoded.
pub(super) fn list_of_words<C: Codec>(words: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    C::put_array(&mut list, |out| {
        words.iter().for_each(|word| C::put_element(out, |out| C::put_text(out, word)));
    });
    list
}

/// Where a list of the document's root goes: to the last entry of its name or, if that cannot take it, of a name of our
/// own.
struct Spot {
    at: Option<usize>,
    names: [&'static str; 2],
    is_taken: bool,
}

impl Spot {
    fn find<C: Codec>(
        entries: &[Entry<'_>],
        name: &'static str,
        own: &'static str,
        takes: impl Fn(&Shape<'_>) -> bool,
    ) -> Spot {
        let last = |name: &str| entries.iter().rposition(|entry| *entry.key == *name.as_bytes());
        let proper = last(name);
        let takes = |at: usize| entries.get(at).is_some_and(|entry| C::shape(entry.value).is_ok_and(|it| takes(&it)));
        let at = if proper.is_some_and(|at| !takes(at)) { last(own) } else { proper };
        Spot { at, names: [name, own], is_taken: proper.is_some() }
    }

    /// The key of a new entry.
    fn key(&self, outcome: &mut TagOutcome) -> &'static str {
        outcome.own_place |= self.is_taken;
        self.names[usize::from(self.is_taken)]
    }
}

/// Whether a value can take elements next to it: anything but a text, a number or a boolean.
fn is_list(shape: &Shape<'_>) -> bool {
    !matches!(shape, Shape::Text(_) | Shape::Scalar)
}

#[derive(Clone, Copy)]
pub(super) enum Place {
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

impl Place {
    fn here(self, index: usize) -> Here {
        match self {
            Place::Dotted(at) | Place::Parent(at) if at == index => Here::Itself,
            Place::Inside(at, member) if at == index => Here::Member(member),
            _ => Here::No,
        }
    }
}

/// Whether what we bring belongs to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    No,
    /// To the list that it is, or as a new member of the object that it is.
    Itself,
    /// To a member of the object that it is.
    Member(usize),
}

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Stays,
    New(Vec<u8>),
    Gone,
    /// It cannot be read, and stays.
    Unreadable,
}

/// Where our enrichments go.
fn target<C: Codec>(entries: &[Entry<'_>], is_ocsf: bool, outcome: &mut TagOutcome) -> Place {
    if is_ocsf {
        match entries.iter().enumerate().rev().find(|(_, entry)| *entry.key == *ENRICHMENTS.as_bytes()) {
            None => return Place::Absent(&ROOT, Spelling::Dotted),
            Some((at, entry)) if C::shape(entry.value).is_ok_and(|shape| is_list(&shape)) => return Place::Dotted(at),
            Some(_) => outcome.own_place = true,
        }
    } else {
        match locate::<C>(entries, &THREAT) {
            Ok(Place::Blocked) => outcome.threat_not_object = true,
            Ok(place) => return place,
            Err(_) => outcome.own_place = true,
        }
    }
    match locate::<C>(entries, &HOTLIST) {
        // Both names are taken by something else: the dotted key is added next to them and is found again.
        Ok(Place::Blocked) | Err(_) => Place::Absent(&HOTLIST, Spelling::Dotted),
        Ok(place) => place,
    }
}

/// Where a list is: at the last dotted key, or in the last parent, whichever stands later.
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
    match (members.iter().enumerate().rev().find(|(_, member)| *member.key == *names.member.as_bytes()), dotted) {
        (Some((index, member)), _) => C::shape(member.value).map(|_| Place::Inside(parent, index)),
        (None, Some(dotted)) => at_dotted(dotted),
        (None, None) => Ok(Place::Parent(parent)),
    }
}
