//! Tagging of a document: one pass over its entries, which gives the edits.

use serde_json::Value;

use super::enrichment::{FLAT_LISTS, HitElement};
use super::flat::{self, FlatSpot};
use super::identity::Ours;
use super::list::Shelf;
use super::ocsf::{OSINT, OWN_OSINT, claimed};
use super::place::{Here, PROFILES, Place, Spot, is_list, locate, target};
use super::rewrite::{Change, FlatLists, Rewrite};
use super::words::list_of_words;
use super::{Brought, Codec, Edits, Entry, Inbound, Spelling, TagOutcome, Tags};

const TAGS: &str = "tags";
/// The word's place when `tags` cannot be read.
const OWN_TAGS: &str = "hotlist.tags";

/// The additions to a document.
struct Coming<'a> {
    enrichments: Ours<'a>,
    osint: Ours<'a>,
    /// For `tags`.
    words: &'a [&'a str],
    /// For `metadata.profiles`.
    profiles: &'a [&'a str],
    flats: Option<FlatLists>,
    is_ocsf: bool,
}

/// The content of another part of a record where tags go, as JSON.
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
        enrichments: Ours::new(tags.enrichments, HitElement::Enrichment, true),
        osint: Ours::new(osint, HitElement::Osint, true),
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
        enrichments: Ours::new(Brought::Values(enrichments), HitElement::Enrichment, false),
        osint: Ours::new(Brought::Values(osint), HitElement::Osint, false),
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
    let (mut is_placed, mut are_profiles_placed, mut flats_placed) = (false, false, [false; FLAT_LISTS]);
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
                flats_placed = [flats_placed[0] || (has_flats && change != Change::Unreadable); FLAT_LISTS];
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
        // Enrichments that the place cannot take go to a place of our own.
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
