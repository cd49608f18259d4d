//! Tags of events of OCSF: `enrichments`, `osint` and the name of its profile in `metadata.profiles`.
//!
//! Facts of <https://github.com/ocsf/ocsf-schema>: `events/base_event.json` (every class has `enrichments`, and `osint` by
//! the profile), `objects/enrichment.json`, `objects/osint.json`, `profiles/osint.json`, `objects/metadata.json`.

use std::collections::HashSet;

use super::identity::{Identity, identity};
use super::list::Shelf;
use super::mark::claims;
use super::place::{ENRICHMENTS, Here, Place};
use super::rewrite::{Change, Rewrite};
use super::words::list_of_words;
use super::{Codec, Edits, Entry, Shape, Spelling};

pub(super) const OSINT: &str = "osint";
/// The place of ours when `osint` is something else.
pub(super) const OWN_OSINT: &str = "hotlist.osint";

/// What the enrichments that claim to be ours say that they are: the `osint` objects of the same identity came with them.
pub(super) fn claimed<C: Codec>(entries: &[Entry<'_>]) -> HashSet<Identity> {
    let mut found = HashSet::new();
    if !entries.iter().any(|entry| *entry.key == *OSINT.as_bytes()) {
        return found;
    }
    for entry in entries.iter().filter(|entry| *entry.key == *ENRICHMENTS.as_bytes()) {
        let one = [entry.value];
        let shape = C::shape(entry.value);
        let elements = if let Ok(Shape::Array(elements)) = &shape { elements } else { &one[..] };
        let claiming = elements.iter().filter(|element| claims::<C>(element, 0));
        found.extend(claiming.filter_map(|element| identity::<C>(element)));
    }
    found
}

impl Rewrite<'_> {
    /// `osint` or, without `is_proper`, its other name.
    pub(super) fn osint<C: Codec>(&mut self, existing: &[u8], with_ours: bool, is_proper: bool) -> Change {
        if !with_ours && !is_proper && self.inbound == super::Inbound::Strip {
            return Change::Gone;
        }
        self.list::<C>(existing, with_ours, Shelf::Osint)
    }

    /// `metadata`, or `metadata.profiles` as a dotted key, with the names of profiles in it.
    pub(super) fn profiles<C: Codec>(&mut self, entry: &Entry<'_>, here: Here, profiles: &[&str]) -> Change {
        let mut edits = Edits::default();
        match here {
            Here::No => return Change::Stays,
            Here::Itself if *entry.key != *b"metadata" => {
                return self.put_words::<C>(entry.value, profiles).unwrap_or(Change::Unreadable);
            }
            Here::Itself => edits.append("profiles", list_of_words::<C>(profiles)),
            Here::Member(at) => {
                let Ok(Shape::Object(members)) = C::shape(entry.value) else { return Change::Unreadable };
                match members.get(at).and_then(|member| self.put_words::<C>(member.value, profiles)) {
                    Some(Change::New(value)) => edits.replaced.push((at, Some(value))),
                    Some(change) => return change,
                    None => return Change::Unreadable,
                }
            }
        }
        C::edit(entry.value, &edits).map_or(Change::Unreadable, Change::New)
    }

    /// Adds the names of profiles at the end of a document. OCSF requires `metadata`; a document without it gets one, so
    /// that the profile is named wherever its attribute is.
    pub(super) fn append_profiles<C: Codec>(
        &mut self,
        edits: &mut Edits,
        place: Place,
        profiles: &[&str],
        spelling: Spelling,
    ) {
        let list = list_of_words::<C>(profiles);
        match place {
            Place::Absent(..) if spelling == Spelling::Nested => {
                let mut metadata = Vec::new();
                C::put_object(&mut metadata, |out| {
                    C::put_member(out, "profiles", |out| out.extend_from_slice(&list));
                });
                edits.append("metadata", metadata);
            }
            place => {
                self.outcome.own_place |= !matches!(place, Place::Absent(..));
                edits.append("metadata.profiles", list);
            }
        }
    }
}
