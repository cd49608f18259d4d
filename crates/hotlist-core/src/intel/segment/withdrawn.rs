//! Finds the indicators that later segments of a list withdrew from earlier ones.

use super::Segment;
use crate::observable::Kind;

/// Numbers of indicators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndicatorSet {
    words: Vec<u64>,
    len: usize,
}

impl IndicatorSet {
    /// Adds a number; says whether it is new.
    pub fn insert(&mut self, number: u32) -> bool {
        let (at, bit) = (number as usize / 64, 1 << (number % 64));
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        let is_new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    /// Whether a number was added.
    #[inline]
    pub fn contains(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Number of numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Calls `found` with the indicators that the tombstones of one segment of a list withdraw of earlier segments that are
/// `wanted`: with the place of the segment, the number of the indicator there, and the kind of the value by which it is
/// named. An indicator can come more than once.
pub fn withdraws(
    segments: &[&Segment],
    place: usize,
    wanted: impl Fn(usize) -> bool,
    mut found: impl FnMut(usize, u32, Kind),
) {
    let Some((segment, earlier)) = segments.get(place).zip(segments.get(..place)) else { return };
    let earlier: Vec<(usize, &Segment)> = earlier.iter().copied().enumerate().filter(|(at, _)| wanted(*at)).collect();
    if earlier.is_empty() {
        return;
    }
    for tombstone in segment.tombstones() {
        let Some(feed) = segment.feeds().get(tombstone.feed as usize) else { continue };
        for (at, earlier) in earlier.iter().copied() {
            earlier.find_packed(tombstone.table, &tombstone.key, |posting| {
                let of = earlier.feeds().get(earlier.feed_of(posting.indicator));
                let is_same = of.is_some_and(|of| of.name == feed.name && of.origin == feed.origin);
                if is_same && earlier.fingerprint(posting.indicator) == Some(tombstone.fingerprint) {
                    found(at, posting.indicator, tombstone.table.kind_of(&tombstone.key));
                }
            });
        }
    }
}

/// For each segment the indicators that tombstones of those behind it withdraw.
pub fn withdrawn(segments: &[&Segment]) -> Vec<IndicatorSet> {
    let mut dead = vec![IndicatorSet::default(); segments.len()];
    for place in 0..segments.len() {
        withdraws(
            segments,
            place,
            |_| true,
            |at, number, _| {
                dead[at].insert(number);
            },
        );
    }
    dead
}
