//! A segment as a snapshot matches against it: its numbers become the snapshot's.

use std::sync::Arc;

use crate::intel::indicator::Stored;
use crate::intel::posting::Posting;
use crate::intel::segment::{IndicatorSet, Segment, TableId};

/// A segment, and how its numbers become the snapshot's.
#[derive(Clone, Debug)]
pub(super) struct RenumberedSegment {
    pub(super) segment: Arc<Segment>,
    /// The offset of the numbers of indicators.
    pub(super) base: u32,
    pub(super) feeds: Vec<u32>,
    pub(super) targets: Vec<u16>,
    pub(super) schemes: Vec<u16>,
    /// Indicators that a later segment withdrew.
    pub(super) dead: Arc<IndicatorSet>,
}

impl RenumberedSegment {
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
