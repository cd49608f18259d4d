//! A segment as a snapshot matches against it: its numbers become the snapshot's.

use std::sync::Arc;

use crate::intel::indicator::Stored;
use crate::intel::posting::Posting;
use crate::intel::segment::{Segment, TableId};

/// Numbers of indicators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    words: Vec<u64>,
    len: usize,
}

impl Numbers {
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (at, bit) = (number as usize / 64, 1 << (number % 64));
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        let is_new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    #[inline]
    pub(super) fn contains(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A segment, and how its numbers become the snapshot's.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) segment: Arc<Segment>,
    /// What is added to the number of an indicator.
    pub(super) base: u32,
    pub(super) feeds: Vec<u32>,
    pub(super) targets: Vec<u16>,
    pub(super) schemes: Vec<u16>,
    /// Indicators that a later segment withdrew.
    pub(super) dead: Numbers,
}

impl Part {
    #[inline]
    pub(super) fn find(&self, table: TableId, key: &[u8], found: &mut impl FnMut(Posting)) {
        self.segment.find(table, key, |posting| {
            if let Some(posting) = self.renumber(posting) {
                found(posting);
            }
        });
    }

    /// The posting as the snapshot numbers it; `None` when it was withdrawn.
    pub(super) fn renumber(&self, posting: Posting) -> Option<Posting> {
        let Posting { indicator, target, scheme } = posting;
        let numbers = (self.targets.get(usize::from(target)), self.schemes.get(usize::from(scheme)));
        let (Some(target), Some(scheme)) = numbers else { return None };
        let lives = !self.dead.contains(indicator);
        lives.then_some(Posting { indicator: self.base + indicator, target: *target, scheme: *scheme })
    }

    /// The place of an indicator's feed in the snapshot.
    pub(super) fn feed_of(&self, number: u32) -> usize {
        self.feeds.get(self.segment.feed_of(number - self.base)).map_or(0, |feed| *feed as usize)
    }

    pub(super) fn indicator(&self, number: u32) -> Stored {
        Stored { feed: self.feed_of(number) as u32, ..self.segment.indicator(number - self.base) }
    }
}
