//! Exact sets: key to postings, the confirmation behind every hit.
//!
//! Keys of any length stand one after the other in one arena; a hash table of their numbers finds them. Each key has
//! the postings of all indicators that look for it.

use hashbrown::HashTable;

/// One indicator that looks for a key, and under which conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Posting {
    /// Number of the indicator in its snapshot.
    pub indicator: u32,
    /// Number of the field set that the term is restricted to; 0 is no restriction.
    pub target: u16,
    /// Number of the URL scheme that the event must have; 0 is any.
    pub scheme: u16,
}

/// A set under construction.
#[derive(Debug, Default)]
pub struct ExactBuilder {
    keys: Keys,
    postings: Vec<(u32, Posting)>,
}

impl ExactBuilder {
    /// Makes room for as many keys and postings as another set has, so that taking them over does not grow bit by bit.
    pub fn reserve_like(&mut self, other: &ExactSet) {
        self.keys.arena.reserve(other.keys.arena.len());
        self.keys.entries.reserve(other.keys.entries.len());
        let entries = &self.keys.entries;
        self.keys.table.reserve(other.keys.entries.len(), |at| entries[*at as usize].1);
        self.postings.reserve(other.postings.len());
    }

    /// Adds a posting to a key.
    pub fn insert(&mut self, hash: u64, key: &[u8], posting: Posting) {
        let key = self.keys.insert(hash, key);
        self.postings.push((key, posting));
    }

    /// Sorts the postings by key and seals the set. The same posting twice counts once.
    pub fn build(self) -> ExactSet {
        let mut postings = self.postings;
        postings.sort_unstable_by_key(|(key, posting)| (*key, posting.indicator, posting.target, posting.scheme));
        postings.dedup();
        let mut first = vec![0u32; self.keys.len() + 1];
        for (key, _) in &postings {
            first[*key as usize + 1] += 1;
        }
        let mut total = 0;
        for count in &mut first {
            total += *count;
            *count = total;
        }
        ExactSet { keys: self.keys, first, postings: postings.into_iter().map(|(_, posting)| posting).collect() }
    }
}

/// Keys and their postings, immutable.
#[derive(Debug, Default)]
pub struct ExactSet {
    keys: Keys,
    /// Where the postings of each key start; one more entry than keys.
    first: Vec<u32>,
    postings: Vec<Posting>,
}

impl ExactSet {
    /// The postings of a key, empty when it is not in the set.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> &[Posting] {
        match self.keys.find(hash, key) {
            Some(at) => &self.postings[self.first[at] as usize..self.first[at + 1] as usize],
            None => &[],
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no keys.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.len() == 0
    }

    /// The hash of every key.
    pub fn hashes(&self) -> impl Iterator<Item = u64> + '_ {
        self.keys.entries.iter().map(|(_, hash)| *hash)
    }

    /// Every key with its postings, in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[Posting])> {
        self.hashed().map(|(_, key, postings)| (key, postings))
    }

    /// The same, each with its hash.
    pub fn hashed(&self) -> impl Iterator<Item = (u64, &[u8], &[Posting])> {
        self.keys.entries.iter().enumerate().map(|(at, (_, hash))| {
            (*hash, self.keys.key(at), &self.postings[self.first[at] as usize..self.first[at + 1] as usize])
        })
    }
}

/// Distinct keys, numbered in order of insertion.
#[derive(Debug, Default)]
struct Keys {
    arena: Vec<u8>,
    /// Where each key ends in the arena, with the hash that found it, kept so that growing needs no rehash.
    entries: Vec<(u64, u64)>,
    table: HashTable<u32>,
}

impl Keys {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn key(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.entries[before].0);
        &self.arena[start as usize..self.entries[at].0 as usize]
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.table.find(hash, |at| self.key(*at as usize) == key).map(|at| *at as usize)
    }

    fn insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        if let Some(at) = self.find(hash, key) {
            return at as u32;
        }
        let at = self.entries.len() as u32;
        self.arena.extend_from_slice(key);
        self.entries.push((self.arena.len() as u64, hash));
        self.table.insert_unique(hash, at, |at| self.entries[*at as usize].1);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn posting(indicator: u32) -> Posting {
        Posting { indicator, target: 0, scheme: 0 }
    }

    proptest! {
        /// The set answers as a map of sets does, also when hashes collide.
        #[test]
        fn answers_as_a_map(entries in proptest::collection::vec(("[a-c]{0,3}", 0u32..5), 0..60), modulus in 1u64..9) {
            let hash = |key: &str| key.bytes().fold(0u64, |hash, byte| hash * 31 + u64::from(byte)) % modulus;
            let mut map: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
            let mut builder = ExactBuilder::default();
            for (key, indicator) in &entries {
                map.entry(key).or_default().insert(*indicator);
                builder.insert(hash(key), key.as_bytes(), posting(*indicator));
            }
            let set = builder.build();
            prop_assert_eq!(set.len(), map.len());
            for key in ["", "a", "ab", "abc", "ccc", "cb", "b"].into_iter().chain(entries.iter().map(|(key, _)| key.as_str())) {
                let found: BTreeSet<u32> = set.get(hash(key), key.as_bytes()).iter().map(|p| p.indicator).collect();
                prop_assert_eq!(found, map.get(key).cloned().unwrap_or_default());
            }
        }
    }
}
