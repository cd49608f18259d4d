//! The state of one pass over a document, and what becomes of a value in it.

use std::collections::HashSet;

use super::enrichment::FLAT_LISTS;
use super::identity::{Identity, Ours};
use super::{Codec, Edits, Inbound, Shape, TagOutcome};

/// The lists of flat values, encoded.
pub(super) type FlatLists = [Vec<u8>; FLAT_LISTS];

/// Levels of arrays in each other that are followed. Readers flatten them.
pub(super) const LEVELS: usize = 4;

/// One pass over a document. The files of the lists in it add what it does with each.
pub(super) struct Rewrite<'a> {
    pub(super) enrichments: Ours<'a>,
    pub(super) osint: Ours<'a>,
    /// Ours, encoded.
    pub(super) flats: Option<FlatLists>,
    /// The identities of `osint` objects that are stripped.
    pub(super) claimed: HashSet<Identity>,
    pub(super) inbound: Inbound,
    pub(super) outcome: TagOutcome,
}

/// The treatment of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Stays,
    New(Vec<u8>),
    Gone,
    /// It cannot be read, and stays.
    Unreadable,
}

/// The treatment of something that arrived, where `mark` is what marks it.
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
