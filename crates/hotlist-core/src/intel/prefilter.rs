//! The prefilter: one blocked Bloom filter over every key of a snapshot.
//!
//! A block is one 64-bit word and a key sets five bits of one word, so that a look-up is one load, one mask and one
//! comparison (F. Putze, P. Sanders, J. Singler, "Cache-, hash- and space-efficient Bloom filters", 2007, with blocks
//! as small as they get). A classic filter passes fewer strangers for its size, but touches up to ten cache lines and
//! costs more than the exact look-up that it saves; `docs/adr/0003-prefilter.md` has the candidates,
//! `cargo bench --bench prefilter` the figures.

use rustix::mm::Advice;

/// Bytes of a huge page of x86-64 and of most kernels for AArch64. Elsewhere the range asked for is only cut elsewhere.
const HUGE_PAGE: usize = 2 << 20;
/// Bits spent on a key. About 0.4 % of strangers pass then.
pub const BITS_PER_KEY: usize = 16;

/// From so many bytes on (four million keys) a filter lies in huge pages where the system has them: it has more ordinary
/// ones than the processor remembers the addresses of, and a look-up would mostly find two things out instead of one.
const HUGE_FROM: usize = 8 << 20;

/// A set of hashes that may claim to hold what it does not, never the reverse.
#[derive(Debug)]
pub struct Prefilter {
    words: Vec<u64>,
    keys: usize,
}

impl Prefilter {
    /// An empty filter sized for `keys` keys.
    pub fn with_capacity(keys: usize) -> Prefilter {
        Prefilter { words: zeroed(Prefilter::bytes_for(keys) / size_of::<u64>()), keys: 0 }
    }

    /// Resident bytes of a filter for so many keys.
    pub fn bytes_for(keys: usize) -> usize {
        (keys * BITS_PER_KEY).div_ceil(64).max(1) * size_of::<u64>()
    }

    /// Adds a key by its hash.
    pub fn insert(&mut self, hash: u64) {
        let at = self.word(hash);
        self.words[at] |= mask(hash);
        self.keys += 1;
    }

    /// Whether a key of this hash may have been added.
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        let mask = mask(hash);
        self.words[self.word(hash)] & mask == mask
    }

    /// Number of keys added.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Number of keys that it was sized for, and a few more where that does not fill a word.
    pub fn capacity(&self) -> usize {
        self.words.len() * 64 / BITS_PER_KEY
    }

    /// Whether no key was added.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// The share of strangers that pass, by how full the filter is: a stranger's five bits fall anywhere in a word.
    pub fn expected_pass_ratio(&self) -> f64 {
        let mut words = [0u32; u64::BITS as usize + 1];
        self.words.iter().for_each(|word| words[word.count_ones() as usize] += 1);
        let passed = |(bits, words): (usize, &u32)| f64::from(*words) * (bits as f64 / f64::from(u64::BITS)).powi(5);
        words.iter().enumerate().map(passed).sum::<f64>() / self.words.len() as f64
    }

    /// Resident bytes of the filter.
    pub fn size_bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    /// The word of a hash: its upper half scaled to the number of words, which needs no power of two.
    #[inline]
    fn word(&self, hash: u64) -> usize {
        (((hash >> 32) * self.words.len() as u64) >> 32) as usize
    }
}

impl Clone for Prefilter {
    fn clone(&self) -> Prefilter {
        let mut words = zeroed(self.words.len());
        words.copy_from_slice(&self.words);
        Prefilter { words, keys: self.keys }
    }
}

/// So many words, in huge pages when they are many.
fn zeroed(words: usize) -> Vec<u64> {
    let mut words = vec![0; words];
    if size_of_val(&*words) >= HUGE_FROM {
        ask_for_huge_pages(&mut words);
    }
    words
}

/// Best before anything is written there. It is a wish: the look-ups find the same without.
#[expect(unsafe_code, reason = "advice on memory is unsafe, since some advice empties it")]
fn ask_for_huge_pages(words: &mut [u64]) {
    let range = words.as_mut_ptr_range();
    let (start, end) = (range.start.addr().next_multiple_of(HUGE_PAGE), range.end.addr() / HUGE_PAGE * HUGE_PAGE);
    let Some(bytes) = end.checked_sub(start) else { return };
    // SAFETY: the range lies within the words, which are borrowed for us alone. This advice changes no byte of it and
    // unmaps none.
    // A kernel that has none says so, and ordinary pages do.
    let _ = unsafe { rustix::mm::madvise(range.start.with_addr(start).cast(), bytes, Advice::LinuxHugepage) };
}

/// Five bits, six bits of the lower half of the hash for each.
#[inline]
fn mask(hash: u64) -> u64 {
    let bit = |shift: u32| 1u64 << ((hash >> shift) & 63);
    bit(0) | bit(6) | bit(12) | bit(18) | bit(24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::keys::{KeyHasher, KeySpace};
    use proptest::prelude::*;

    #[test]
    fn at_sixteen_bits_a_key_few_strangers_pass() {
        let hasher = KeyHasher::new(7);
        let hash = |n: u64| hasher.hash(KeySpace::Domain, &n.to_be_bytes());
        let mut filter = Prefilter::with_capacity(100_000);
        (0..100_000).for_each(|n| filter.insert(hash(n)));
        let passed = (100_000..1_100_000).filter(|n| filter.contains(hash(*n))).count();
        assert!(passed < 10_000, "{passed} of 1,000,000 strangers passed");
        let expected = filter.expected_pass_ratio() * 1_000_000.0;
        assert!((passed as f64 - expected).abs() < expected * 0.1, "{passed} passed, {expected} were expected");
    }

    #[test]
    fn an_empty_filter_passes_nothing() {
        let filter = Prefilter::with_capacity(0);
        assert!(!filter.contains(0) && !filter.contains(u64::MAX));
        assert_eq!(filter.expected_pass_ratio(), 0.0);
    }

    #[test]
    fn one_in_huge_pages_and_its_copy_find_what_was_added() {
        let mut filter = Prefilter::with_capacity(HUGE_FROM * 8 / BITS_PER_KEY + 1);
        assert!(filter.size_bytes() > HUGE_FROM);
        let hashes = [0, 1 << 63, u64::MAX];
        hashes.iter().for_each(|hash| filter.insert(*hash));
        let copy = filter.clone();
        assert!(hashes.iter().all(|hash| filter.contains(*hash) && copy.contains(*hash)));
        assert!(!filter.contains(0xffff_ffff) && !copy.contains(0xffff_ffff));
    }

    proptest! {
        /// Every added key is found, at any size.
        #[test]
        fn no_false_negative(hashes in proptest::collection::vec(any::<u64>(), 0..300), capacity in 0usize..500) {
            let mut filter = Prefilter::with_capacity(capacity);
            hashes.iter().for_each(|hash| filter.insert(*hash));
            prop_assert!(hashes.iter().all(|hash| filter.contains(*hash)));
        }
    }
}
