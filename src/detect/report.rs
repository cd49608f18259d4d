//! What happened to the events of a batch, as numbers: a report takes the same memory however many findings there were.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::sync::Arc;

use super::budget::Budget;
use crate::fields::FieldSet;
use crate::intel::allowlist::Action;
use crate::matcher::Counts;
use crate::observable::Kind;
use crate::policy::Suppression;

/// How often each of a few things was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K>(BTreeMap<K, u64>);

impl<K: Ord> Tally<K> {
    /// Counts one more.
    pub fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// How many were counted, of all keys together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often a key was counted.
    pub fn of(&self, key: &K) -> u64 {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// Each key with its count, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.0.iter().map(|(key, count)| (key, *count))
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally(BTreeMap::new())
    }
}

impl<K> IntoIterator for Tally<K> {
    type Item = (K, u64);
    type IntoIter = btree_map::IntoIter<K, u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What happened to the events of a batch; the caller adds it to its metrics.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events seen.
    pub events: u64,
    /// What the matcher did.
    pub counts: Counts,
    /// The fields that had a value, of those that some indicator is looked for at.
    pub seen: FieldSet,
    /// Hits that policy allowed, by the number of their feed in [`Snapshot::feeds`](crate::intel::snapshot::Snapshot::feeds)
    /// and their kind.
    pub hits: Tally<(usize, Kind)>,
    /// Findings that policy dropped.
    pub suppressions: Tally<Suppression>,
    /// Allowlists that held the value of a hit, or of a finding that was dropped for it: one for each list and finding.
    pub listings: Tally<(Arc<str>, Action)>,
    /// Records that exceeded a budget.
    pub truncated: Tally<Budget>,
    /// Records that could not be walked or tagged and passed as they came.
    pub odd_records: u64,
    /// Records with subtrees beyond the depth limit, which passed unvisited.
    pub too_deep: u64,
    /// Hits whose event has a `threat` that is no object; they are told in `hotlist` only.
    pub threat_not_object: u64,
}
