//! Finds the changes of a feed since it was last compiled.
//!
//! The indicators of its files are read one by one and compared by fingerprint with those of its chain. Only what is new
//! is kept, so that a change of a feed of millions takes the memory of the change, and seventeen bytes for each indicator
//! that the chain holds.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::CompileError;
use super::state::FeedState;
use crate::intel::indicator::{Feed, Indicator};
use crate::intel::segment::{
    BuildError, HashKey, IndicatorSet, Keep, Numbering, Segment, SegmentBuilder, SegmentFeed, withdrawn,
};

/// The segments of a feed as a store has them.
#[derive(Default)]
pub(super) struct Chain {
    segments: Vec<Arc<Segment>>,
    /// The indicators that later ones withdrew from each.
    dead: Vec<IndicatorSet>,
}

impl Chain {
    /// Opens and checks all segments.
    pub(super) fn open(state: &FeedState, store: &Path) -> Result<Chain, CompileError> {
        let segments = state.open(store)?;
        let refs: Vec<&Segment> = segments.iter().map(|segment| &**segment).collect();
        let dead = withdrawn(&refs);
        Ok(Chain { segments, dead })
    }

    /// Indicators that are not withdrawn.
    pub(super) fn len(&self) -> usize {
        let living = |(segment, dead): (&Arc<Segment>, &IndicatorSet)| segment.len() as usize - dead.len();
        self.segments.iter().zip(&self.dead).map(living).sum()
    }

    /// One segment that says the same.
    pub(super) fn joined(&self) -> Result<Arc<Segment>, BuildError> {
        let mut builder = SegmentBuilder::with_fingerprints();
        self.copy(&self.dead, false, &mut builder)?;
        builder.into_segment(HashKey::Content)
    }

    /// Adds those indicators to a builder that are in `numbers`, or those that are not.
    fn copy(&self, numbers: &[IndicatorSet], those: bool, into: &mut SegmentBuilder) -> Result<(), BuildError> {
        let keeps: Vec<_> = numbers.iter().map(|of| move |number: u32| of.contains(number) == those).collect();
        let parts: Vec<(&Segment, Keep<'_>)> =
            self.segments.iter().zip(&keeps).map(|(segment, keep)| (&**segment, keep as Keep<'_>)).collect();
        into.take_over(&parts, Numbering::Joined)
    }

    /// Begins to compare a newer version of a feed with it. `None`: nothing can be said in a delta.
    pub(super) fn compare(&self, feed: &Feed) -> Option<Comparison<'_>> {
        // A tombstone says nothing of other origins.
        let is_alike = |held: &SegmentFeed| held.origin == feed.origin;
        if self.segments.is_empty() || !self.segments.iter().flat_map(|segment| segment.feeds()).all(is_alike) {
            return None;
        }
        let mut prints = Vec::with_capacity(self.len());
        for (_, segment, number) in self.living() {
            prints.push(segment.fingerprint(number)?);
        }
        let mut builder = SegmentBuilder::with_fingerprints();
        builder.feed(feed);
        Some(Comparison { chain: self, known: Counted::new(prints), builder, read: 0, is_too_much: false })
    }

    /// Every indicator that is not withdrawn: with the place of its segment, the segment, and its number there.
    fn living(&self) -> impl Iterator<Item = (usize, &Segment, u32)> {
        self.segments.iter().zip(&self.dead).enumerate().flat_map(|(place, (segment, dead))| {
            let numbers = (0..segment.len()).filter(|number| !dead.contains(*number));
            numbers.map(move |number| (place, &**segment, number))
        })
    }
}

/// A newer version of a feed, as far as it was read.
pub(super) struct Comparison<'c> {
    chain: &'c Chain,
    known: Counted,
    /// The indicators that the chain lacks.
    builder: SegmentBuilder,
    read: usize,
    is_too_much: bool,
}

/// The plan for the newer version.
pub(super) enum Difference {
    /// It says the same.
    None,
    /// The indicators to add to the chain.
    Delta {
        /// Indicators that it adds.
        added: usize,
        /// Indicators that it withdraws.
        withdrawn: usize,
        segment: Arc<Segment>,
    },
    /// More than half of the whole, or what tombstones cannot say: the feed is to be compiled again.
    Rebuild,
}

impl Comparison<'_> {
    /// Takes the next indicator of the newer version.
    pub(super) fn add(&mut self, indicator: &Indicator) -> Result<(), BuildError> {
        self.read += 1;
        if self.is_too_much {
            return Ok(());
        }
        let copies = self.known.count(self.builder.fingerprint(indicator));
        (0..copies).try_for_each(|_| self.builder.add(indicator))?;
        // Even if nothing is withdrawn it is more than half of all.
        if self.builder.len() > self.chain.len() {
            (self.is_too_much, self.builder) = (true, SegmentBuilder::default());
        }
        Ok(())
    }

    /// Indicators that were read.
    pub(super) fn read(&self) -> usize {
        self.read
    }

    /// The difference, after everything was read.
    pub(super) fn finish(mut self, feed: &Feed) -> Result<Difference, BuildError> {
        if self.is_too_much {
            return Ok(Difference::Rebuild);
        }
        let count = self.chain.segments.len();
        let (mut gone, mut again) = (vec![IndicatorSet::default(); count], vec![IndicatorSet::default(); count]);
        let mut changed = self.known.changed();
        for (at, segment, number) in self.chain.living() {
            let Some(left) = segment.fingerprint(number).and_then(|print| changed.get_mut(&print)) else { continue };
            // A tombstone withdraws all that say the same, so where their number changed all of them come again: those of
            // which there are fewer from here.
            gone[at].insert(number);
            if *left > 0 {
                *left -= 1;
                again[at].insert(number);
            }
        }
        if again.iter().any(|again| !again.is_empty()) {
            self.chain.copy(&again, true, &mut self.builder)?;
        }
        let (added, withdrawn) = (self.builder.len(), gone.iter().map(IndicatorSet::len).sum::<usize>());
        if added + withdrawn > self.read / 2 {
            return Ok(Difference::Rebuild);
        }
        if added + withdrawn == 0 {
            return Ok(Difference::None);
        }
        for (segment, gone) in self.chain.segments.iter().zip(&gone).filter(|(_, gone)| !gone.is_empty()) {
            // A comparison has no key that a tombstone could name.
            if !withdraw(segment, gone, feed, &mut self.builder) {
                return Ok(Difference::Rebuild);
            }
        }
        Ok(Difference::Delta { added, withdrawn, segment: self.builder.into_segment(HashKey::Content)? })
    }
}

/// Writes a tombstone for each of these indicators of a segment; `false`: one cannot be named.
fn withdraw(segment: &Segment, gone: &IndicatorSet, feed: &Feed, into: &mut SegmentBuilder) -> bool {
    let mut named = IndicatorSet::default();
    for table in segment.tables() {
        for (key, payload) in segment.packed_keys(table) {
            segment.postings(payload, |posting| {
                let number = posting.indicator;
                if !gone.contains(number) {
                    return;
                }
                let of = segment.feeds().get(segment.feed_of(number)).filter(|of| of.name == feed.name);
                if let (Some(of), Some(fingerprint)) = (of, segment.fingerprint(number))
                    && named.insert(number)
                {
                    into.withdraw(of, table.id(), key.to_vec(), fingerprint);
                }
            });
        }
    }
    named.len() == gone.len()
}

/// How many indicators have a fingerprint.
struct Count {
    print: u64,
    /// Of the chain.
    held: u32,
    /// Of the newer version, so far.
    found: u32,
}

/// The fingerprints of a chain, sorted. They are digests, so that the first bits of one say where it is.
struct Counted {
    counts: Vec<Count>,
    /// Where the fingerprints with the same first bits begin.
    starts: Vec<u32>,
    shift: u32,
}

impl Counted {
    /// About so many fingerprints have the same first bits: two cache lines of them.
    const RUN: usize = 8;

    fn new(mut prints: Vec<u64>) -> Counted {
        prints.sort_unstable();
        let mut counts: Vec<Count> = Vec::with_capacity(prints.len());
        for print in prints {
            match counts.last_mut() {
                Some(last) if last.print == print => last.held += 1,
                _ => counts.push(Count { print, held: 1, found: 0 }),
            }
        }
        let bits = (counts.len() / Counted::RUN).checked_ilog2().unwrap_or(0).max(1);
        let shift = u64::BITS - bits;
        let mut starts = vec![0; (1 << bits) + 1];
        counts.iter().for_each(|count| starts[(count.print >> shift) as usize + 1] += 1);
        let mut sum = 0;
        starts.iter_mut().for_each(|start| {
            sum += *start;
            *start = sum;
        });
        Counted { counts, starts, shift }
    }

    /// Counts one more of the newer version, and says how many copies of it the chain lacks: one of those it does not have
    /// at all, none while it has as many, all so far with the first that it has not.
    fn count(&mut self, print: u64) -> u32 {
        let run = (print >> self.shift) as usize;
        let counts = &mut self.counts[self.starts[run] as usize..self.starts[run + 1] as usize];
        let Ok(place) = counts.binary_search_by_key(&print, |count| count.print) else { return 1 };
        let Count { held, found, .. } = &mut counts[place];
        *found = found.saturating_add(1);
        match *found {
            found if found <= *held => 0,
            found if found == *held + 1 => found,
            _ => 1,
        }
    }

    /// Those of which the newer version has another number, and how many of them are to be copied from the chain.
    fn changed(&self) -> HashMap<u64, u32> {
        let changed = self.counts.iter().filter(|count| count.held != count.found);
        changed.map(|count| (count.print, if count.found < count.held { count.found } else { 0 })).collect()
    }
}
