//! Flat values of hits: lists of texts in `hotlist`, for back ends that cannot hold or query lists of objects.
//!
//! They are parallel: one element for each hit, in the same order. So that they stay parallel, ours replace what arrived,
//! and what arrives with an event that gets none is removed unless it is kept: a list of texts cannot carry a mark.

use super::enrichment::{Brought, FLAT_LISTS};
use super::rewrite::{Change, FlatLists, Rewrite};
use super::words::list_of_words;
use super::{Codec, Entry, Inbound, Shape, Spelling};

/// The lists: the field, the severity, the detection type, the indicator, and the alert key of each hit.
pub(super) const KEYS: [&str; FLAT_LISTS] = ["matched", "severity", "detection", "indicators", "alert_key"];
pub(super) const DOTTED: [&str; FLAT_LISTS] =
    ["hotlist.matched", "hotlist.severity", "hotlist.detection", "hotlist.indicators", "hotlist.alert_key"];

/// Where the lists go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlatSpot {
    /// Into the object at an entry.
    Inside(usize),
    /// Into an object that is added.
    New,
    /// Next to the other entries, with dotted keys.
    Dotted,
}

/// The lists of these hits, encoded; `None` when there are none.
pub(super) fn lists<C: Codec>(brought: Brought<'_>) -> Option<FlatLists> {
    let Brought::Hits(hits) = brought else { return None };
    let values: Vec<_> = hits.iter().filter_map(|hit| hit.flat()).collect();
    (!values.is_empty()).then(|| {
        std::array::from_fn(|which| {
            let texts: Vec<&str> = values.iter().filter_map(|values| values.get(which).copied()).collect();
            list_of_words::<C>(&texts)
        })
    })
}

/// Where they go in a document. A `hotlist` that is not an object is removed when what arrived is stripped.
pub(super) fn spot<C: Codec>(entries: &[Entry<'_>], inbound: Inbound, spelling: Spelling) -> FlatSpot {
    match entries.iter().enumerate().rev().find(|(_, entry)| *entry.key == *b"hotlist") {
        Some((at, entry)) if matches!(C::shape(entry.value), Ok(Shape::Object(_))) => FlatSpot::Inside(at),
        Some(_) if inbound != Inbound::Strip => FlatSpot::Dotted,
        _ if spelling == Spelling::Nested => FlatSpot::New,
        _ => FlatSpot::Dotted,
    }
}

/// The list that a dotted key names.
pub(super) fn of_dotted(key: &[u8]) -> Option<usize> {
    DOTTED.iter().position(|dotted| *dotted.as_bytes() == *key)
}

/// The list that is a member of `hotlist`.
pub(super) fn of_member(key: &[u8]) -> Option<usize> {
    KEYS.iter().position(|name| *name.as_bytes() == *key)
}

/// Whether an entry is the last of its key.
pub(super) fn is_last(entries: &[Entry<'_>], index: usize) -> bool {
    let mut rest = entries.iter().skip(index);
    let key = rest.next().map(|entry| &entry.key);
    rest.all(|entry| Some(&entry.key) != key)
}

impl Rewrite<'_> {
    /// A list that arrived, in the place of ours or elsewhere.
    pub(super) fn flat(&mut self, existing: &[u8], which: usize, is_place: bool) -> Change {
        match self.flats.as_ref().and_then(|lists| lists.get(which)) {
            Some(list) if is_place && list == existing => Change::Stays,
            Some(list) if is_place => Change::New(list.clone()),
            None if self.inbound == Inbound::Keep => Change::Stays,
            _ => {
                self.outcome.stripped += 1;
                Change::Gone
            }
        }
    }
}
