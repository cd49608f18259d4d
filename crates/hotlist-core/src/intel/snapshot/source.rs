//! A segment in a snapshot, and what was found out about it once: sources are reused from snapshot to snapshot.

use std::sync::Arc;

use super::FeedSize;
use crate::intel::indicator::{Feed, RangeValue};
use crate::intel::keys::{KeySpace, TableId, prefilter_key_count};
use crate::intel::segment::{IndicatorSet, Segment};

/// Where a segment came from: its tombstones act on earlier ones from the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentOrigin {
    /// A file of indicators.
    File,
    Manifest,
}

/// One segment, and what is said of its feeds.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) segment: Arc<Segment>,
    pub(super) from: SegmentOrigin,
    /// As many as the segment has, in its order.
    pub(super) feeds: Vec<Feed>,
    pub(super) reach: Arc<Reach>,
    /// Less what later segments withdrew.
    pub(super) withdrawn: Arc<CountedIndicators>,
    /// Less what the manifest takes out, too.
    pub(super) counted: Arc<CountedIndicators>,
}

/// The active part of a segment.
#[derive(Clone, Debug)]
pub(super) struct CountedIndicators {
    /// The indicators that do not.
    pub(super) dead: Arc<IndicatorSet>,
    /// The size of each of its feeds without them.
    pub(super) sizes: Vec<FeedSize>,
}

/// At which fields the keys of each name space can match, as the segment's own numbers of STIX paths. `None`: at every
/// field of its kind.
pub(super) type Reach = [Option<Vec<u16>>; KeySpace::COUNT];

impl Source {
    /// A segment of which nothing is taken out yet. `older` are sources of which some may have the same segment.
    pub(super) fn new(segment: Arc<Segment>, from: SegmentOrigin, feeds: Vec<Feed>, older: &[Source]) -> Source {
        let known = older.iter().find(|older| Arc::ptr_eq(&older.segment, &segment));
        let reach = known.map_or_else(|| Arc::new(reach(&segment)), |known| Arc::clone(&known.reach));
        let counted = Arc::new(CountedIndicators::whole(&segment));
        Source { segment, from, feeds, reach, withdrawn: Arc::clone(&counted), counted }
    }

    /// Number of keys that the prefilter gets.
    pub(super) fn keys(&self) -> usize {
        self.segment.tables().map(|table| table.len() * prefilter_key_count(table.id())).sum()
    }
}

fn reach(segment: &Segment) -> Reach {
    let mut reach = [const { Some(Vec::new()) }; KeySpace::COUNT];
    let mut add_target = |space: KeySpace, target: u16| match (&mut reach[space as usize], target) {
        (any, 0) => *any = None,
        (Some(targets), target) => {
            if let Err(place) = targets.binary_search(&target) {
                targets.insert(place, target);
            }
        }
        (None, _) => {}
    };
    for table in segment.tables() {
        let space = match table.id() {
            TableId::Space(space) => space,
            TableId::Networks4(_) => KeySpace::Ipv4,
            TableId::Networks6(_) => KeySpace::Ipv6,
        };
        // Most keys stand for every field, so that the first one decides.
        let mut unrestricted = false;
        for (_, payload) in segment.packed_keys(table) {
            segment.postings(payload, |posting| {
                unrestricted |= posting.target == 0;
                add_target(space, posting.target);
            });
            if unrestricted {
                break;
            }
        }
    }
    for range in segment.ranges() {
        let space = if matches!(range.value, RangeValue::Number(_)) { KeySpace::Number } else { KeySpace::Time };
        add_target(space, range.posting.target);
    }
    reach
}
