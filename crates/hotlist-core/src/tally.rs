//! Counts by key.

use std::collections::BTreeMap;
use std::collections::btree_map;

/// How often each of a few things was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K>(BTreeMap<K, u64>);

impl<K: Ord> Tally<K> {
    /// Counts one more.
    pub fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// Counts so many more.
    pub fn add_many(&mut self, key: K, more: u64) {
        if more > 0 {
            *self.0.entry(key).or_default() += more;
        }
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
    pub fn get(&self, key: &K) -> u64 {
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
