//! Decides which indicators of each segment still count, without those that later segments withdrew and those that the
//! manifest revokes.
//!
//! Most of it is as it was in the snapshot before, so that a small change of a long chain costs what the change does.

use std::sync::Arc;

use super::FeedSize;
use super::source::{CountedIndicators, SegmentOrigin, Source};
use crate::intel::indicator::TermValue;
use crate::intel::keys::{IndicatorOptions, indicator_keys};
use crate::intel::segment::{self, IndicatorSet, Segment};
use crate::observable::Kind;

/// An indicator of a manifest's feed that does not count, whatever its segments say.
#[derive(Clone, Debug, PartialEq)]
pub struct Revoked {
    /// The feed.
    pub feed: String,
    /// The number of the indicator in it.
    pub by: RevokedBy,
}

/// How a revoked indicator is recognised.
#[derive(Clone, Debug, PartialEq)]
pub enum RevokedBy {
    /// By the id that its feed gave it.
    Id(String),
    /// By a value that it looks for.
    Value(TermValue),
}

/// Finds out what counts of each segment of the manifest. `older` are the sources of a snapshot before.
pub(super) fn settle(sources: &mut [Source], older: &[Source], revoked: &[Revoked]) {
    let mut sources: Vec<&mut Source> =
        sources.iter_mut().filter(|source| source.from == SegmentOrigin::Manifest).collect();
    let known = known(&sources, older);
    for (new, old) in sources.iter_mut().zip(&known) {
        if let Some(old) = old {
            new.withdrawn = Arc::clone(&old.withdrawn);
        }
    }
    withdraw(&mut sources, &known);
    for (source, known) in sources.into_iter().zip(known) {
        source.counted = match revoke(source, revoked) {
            None => Arc::clone(&source.withdrawn),
            Some(dead) => match known.filter(|old| *old.counted.dead == dead) {
                Some(old) => Arc::clone(&old.counted),
                None => Arc::new(CountedIndicators::without(&source.segment, dead)),
            },
        };
    }
}

/// The previous source of each that was there before. There is none unless all previous ones are still there, in order:
/// what withdrew something may be gone.
fn known<'o>(sources: &[&mut Source], older: &'o [Source]) -> Vec<Option<&'o Source>> {
    let mut older = older.iter().filter(|source| source.from == SegmentOrigin::Manifest).peekable();
    let mut is_next = |source: &&mut Source| older.next_if(|old| Arc::ptr_eq(&old.segment, &source.segment));
    let known = sources.iter().map(&mut is_next).collect();
    match older.peek() {
        None => known,
        Some(_) => vec![None; sources.len()],
    }
}

/// Takes out what tombstones withdraw, but for what those of known segments withdraw of known ones.
fn withdraw(sources: &mut [&mut Source], known: &[Option<&Source>]) {
    let segments: Vec<Arc<Segment>> = sources.iter().map(|source| Arc::clone(&source.segment)).collect();
    let segments: Vec<&Segment> = segments.iter().map(|segment| &**segment).collect();
    let mut changed: Vec<Option<Change>> = sources.iter().map(|_| None).collect();
    for (place, of_known) in known.iter().enumerate() {
        let wanted = |at: usize| of_known.is_none() || known[at].is_none();
        segment::withdraws(&segments, place, wanted, |at, number, kind| {
            let change = changed[at].get_or_insert_with(|| Change::from_source(sources[at]));
            change.take_out(segments[at], number, kind);
        });
    }
    for (source, change) in sources.iter_mut().zip(changed) {
        if let Some(change) = change {
            source.withdrawn = Arc::new(change.finish(&source.segment));
        }
    }
}

/// The active part of a segment, while something is taken out of it.
struct Change {
    counted: CountedIndicators,
    /// Whether some indicator that was taken out may have more values than one, so that values must be counted.
    recount: bool,
}

impl Change {
    fn from_source(source: &Source) -> Change {
        Change { counted: CountedIndicators::clone(&source.withdrawn), recount: false }
    }

    fn take_out(&mut self, segment: &Segment, number: u32, kind: Kind) {
        if !Arc::make_mut(&mut self.counted.dead).insert(number) {
            return;
        }
        let place = segment.feed_of(number);
        let (Some(feed), Some(size)) = (segment.feeds().get(place), self.counted.sizes.get_mut(place)) else { return };
        size.indicators = size.indicators.saturating_sub(1);
        let values = &mut size.values[kind as usize];
        *values = values.saturating_sub(1);
        let in_all: u64 = feed.values.iter().map(|values| u64::from(*values)).sum();
        self.recount |= in_all != u64::from(feed.len);
    }

    fn finish(self, segment: &Segment) -> CountedIndicators {
        match self.recount {
            true => CountedIndicators::without(segment, Arc::unwrap_or_clone(self.counted.dead)),
            false => self.counted,
        }
    }
}

/// The indicators that are withdrawn from a source, or taken out by the manifest itself if that takes out more.
fn revoke(source: &Source, revoked: &[Revoked]) -> Option<IndicatorSet> {
    let segment = &source.segment;
    let mut dead: Option<IndicatorSet> = None;
    let mut take_out = |number: u32| {
        if !source.withdrawn.dead.contains(number) {
            dead.get_or_insert_with(|| IndicatorSet::clone(&source.withdrawn.dead)).insert(number);
        }
    };
    for Revoked { feed, by } in revoked {
        let is_of_feed = |number: u32| segment.feeds().get(segment.feed_of(number)).is_some_and(|of| of.name == *feed);
        match by {
            RevokedBy::Id(id) => segment.ids(|number, of| {
                if of == id && is_of_feed(number) {
                    take_out(number);
                }
            }),
            // A name is revoked together with the names below it.
            RevokedBy::Value(value) => {
                let options = IndicatorOptions { subdomains: true, ..IndicatorOptions::default() };
                indicator_keys(value, options, |table, key| {
                    segment.find(table, key, |posting| {
                        if is_of_feed(posting.indicator) {
                            take_out(posting.indicator);
                        }
                    });
                });
            }
        }
    }
    dead
}

impl CountedIndicators {
    /// The active part of a segment of which nothing is taken out.
    pub(super) fn whole(segment: &Segment) -> CountedIndicators {
        let size = |feed: &segment::SegmentFeed| FeedSize { indicators: feed.len as usize, values: feed.values };
        CountedIndicators { dead: Arc::default(), sizes: segment.feeds().iter().map(size).collect() }
    }

    /// The same less these indicators.
    fn without(segment: &Segment, dead: IndicatorSet) -> CountedIndicators {
        let size = |feed: &segment::SegmentFeed| {
            let numbers = feed.first..feed.first + feed.len;
            FeedSize {
                indicators: numbers.clone().filter(|number| !dead.contains(*number)).count(),
                values: segment::values(segment, numbers, &|number| !dead.contains(number)),
            }
        };
        let sizes = segment.feeds().iter().map(size).collect();
        CountedIndicators { dead: Arc::new(dead), sizes }
    }
}
