//! Takes indicators over from segments as they are: for compaction, and to match against few segments instead of many.

use std::collections::BTreeMap;

use super::{BuildError, Numbering, SegmentBuilder};
use crate::intel::indicator::RangeValue;
use crate::intel::keys::{KeySpace, TableId};
use crate::intel::posting::Posting;
use crate::intel::segment::lists::{Range, SegmentFeed, time_bytes};
use crate::intel::segment::read::Segment;
use crate::intel::segment::table::LIST;
use crate::observable::Kind;

/// The indicators of a segment that are taken over.
pub type Keep<'k> = &'k dyn Fn(u32) -> bool;

/// The new number of every indicator of a segment.
type Renumbered = Vec<Option<u32>>;

impl SegmentBuilder {
    /// Adds the indicators of segments that are kept, in the order of the segments. Tombstones stay behind: what they
    /// withdraw is not kept. Feeds that are joined continue the feed that was begun last, where it is the same.
    ///
    /// # Errors
    /// There are too many.
    pub fn take_over(&mut self, segments: &[(&Segment, Keep<'_>)], numbering: Numbering) -> Result<(), BuildError> {
        let mut renumbered: Vec<Renumbered> =
            segments.iter().map(|(segment, _)| vec![None; segment.len() as usize]).collect();
        for feeds in plan(segments, numbering) {
            let Some((first, place)) = feeds.first() else { continue };
            let Some(head) = segments.get(*first).and_then(|(segment, _)| segment.feeds().get(*place)) else {
                continue;
            };
            let goes_on = |last: &SegmentFeed| {
                numbering == Numbering::Joined && last.name == head.name && last.origin == head.origin
            };
            if !self.feeds.last().is_some_and(goes_on) {
                let first = self.len() as u32;
                self.feeds.push(SegmentFeed { first, len: 0, values: [0; Kind::ALL.len()], ..head.clone() });
            }
            for (number, place) in feeds {
                let Some(((segment, keep), into)) = segments.get(number).zip(renumbered.get_mut(number)) else {
                    continue;
                };
                self.take_feed(segment, *keep, place, into)?;
            }
        }
        for ((segment, _), renumbered) in segments.iter().zip(&renumbered) {
            self.take_keys(segment, renumbered)?;
        }
        Ok(())
    }

    fn take_feed(
        &mut self,
        segment: &Segment,
        keep: Keep<'_>,
        place: usize,
        renumbered: &mut Renumbered,
    ) -> Result<(), BuildError> {
        let Some(feed) = segment.feeds().get(place) else { return Ok(()) };
        let mut whole = true;
        for number in feed.first..feed.first + feed.len {
            if !keep(number) {
                whole = false;
                continue;
            }
            let here =
                u32::try_from(self.len()).ok().filter(|here| *here < LIST).ok_or(BuildError::TooManyIndicators)?;
            if let Some(new) = renumbered.get_mut(number as usize) {
                *new = Some(here);
            }
            self.take_columns(segment, number, here)?;
        }
        if let Some(joined) = self.feeds.last_mut() {
            joined.len = self.context_of.len() as u32 - joined.first;
            if whole {
                add(&mut joined.values, feed.values);
            } else {
                let kept = values(segment, feed.first..feed.first + feed.len, keep);
                add(&mut joined.values, kept);
            }
        }
        Ok(())
    }

    fn take_columns(&mut self, segment: &Segment, number: u32, here: u32) -> Result<(), BuildError> {
        let too_large = |what| BuildError::TooLarge { what };
        let stored = segment.indicator(number);
        let context = self.contexts.number(&stored.context).ok_or(too_large("contexts"))?;
        self.context_of.push(context);
        if let Some(id) = &stored.id {
            self.id.push(here, id.as_bytes()).ok_or(too_large("ids"))?;
        }
        for (column, time) in [(&mut self.valid_from, stored.valid_from), (&mut self.valid_until, stored.valid_until)] {
            if let Some(time) = time {
                column.push(here, &time_bytes(time)).ok_or(too_large("validities"))?;
            }
        }
        if let Some(bytes) = segment.composite_bytes(number) {
            self.programs.push(here, bytes).ok_or(too_large("patterns"))?;
        }
        if let Some(port) = stored.port {
            self.port.push(here, &port.to_le_bytes()).ok_or(too_large("ports"))?;
        }
        if stored.revoked {
            self.revoked.push_number(here);
        }
        if let Some(fingerprints) = &mut self.fingerprints {
            fingerprints.push(segment.fingerprint(number).unwrap_or(0));
        }
        Ok(())
    }

    fn take_keys(&mut self, segment: &Segment, renumbered: &Renumbered) -> Result<(), BuildError> {
        let mut targets = vec![0];
        for path in segment.paths() {
            targets.push(self.paths.number(path, "STIX paths")?);
        }
        let mut schemes: BTreeMap<u16, u16> = BTreeMap::from([(0, 0)]);
        let mut moved = Vec::new();
        for table in segment.tables() {
            for (key, payload) in segment.packed_keys(table) {
                segment.postings(payload, |posting| moved.push(posting));
                for posting in moved.drain(..) {
                    let Some(indicator) = new_number(renumbered, posting.indicator) else { continue };
                    let scheme = match schemes.get(&posting.scheme) {
                        Some(scheme) => *scheme,
                        None => {
                            let name = segment.schemes().get(usize::from(posting.scheme) - 1);
                            let scheme = self.schemes.number(name.map_or("", |name| name), "URL schemes")?;
                            schemes.insert(posting.scheme, scheme);
                            scheme
                        }
                    };
                    let target = targets.get(usize::from(posting.target)).copied().unwrap_or(0);
                    self.insert(table.id, key, Posting { indicator, target, scheme })?;
                }
            }
        }
        for range in segment.ranges() {
            if let Some(indicator) = new_number(renumbered, range.posting.indicator) {
                let target = targets.get(usize::from(range.posting.target)).copied().unwrap_or(0);
                self.ranges.push(Range { posting: Posting { indicator, target, scheme: 0 }, ..*range });
            }
        }
        Ok(())
    }
}

/// A file of another program may have a count that is too high.
fn add(sums: &mut [u32; Kind::ALL.len()], values: [u32; Kind::ALL.len()]) {
    sums.iter_mut().zip(values).for_each(|(sum, values)| *sum = sum.saturating_add(values));
}

fn new_number(renumbered: &Renumbered, old: u32) -> Option<u32> {
    renumbered.get(old as usize).copied().flatten()
}

/// The feeds of segments that make a feed, each as (segment, place).
fn plan(segments: &[(&Segment, Keep<'_>)], numbering: Numbering) -> Vec<Vec<(usize, usize)>> {
    let mut plan: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut known = BTreeMap::new();
    for (number, (segment, _)) in segments.iter().enumerate() {
        for (place, feed) in segment.feeds().iter().enumerate() {
            let joins = (numbering == Numbering::Joined).then(|| (feed.name.clone(), feed.origin as u8));
            match joins.and_then(|key| {
                let next = plan.len();
                Some(*known.entry(key).or_insert(next)).filter(|at| *at < next)
            }) {
                Some(at) => plan[at].push((number, place)),
                None => plan.push(vec![(number, place)]),
            }
        }
    }
    plan
}

/// Number of values by kind that the kept indicators among `numbers` have.
pub fn values(segment: &Segment, numbers: std::ops::Range<u32>, keep: Keep<'_>) -> [u32; Kind::ALL.len()] {
    let mut values = [0; Kind::ALL.len()];
    let mut count = |kind: Kind, posting: Posting| {
        if numbers.contains(&posting.indicator) && keep(posting.indicator) {
            values[kind as usize] += 1;
        }
    };
    for table in segment.tables() {
        match table.id {
            // The same values under other keys.
            TableId::Space(KeySpace::UrlPrefix) => {}
            // So are these, but for wildcards, which have no key of their own.
            TableId::Space(KeySpace::DomainSuffix) => segment.keys(table, |key, payload| {
                segment.postings(payload, |posting| {
                    let mut has_own = false;
                    segment.find(TableId::Space(KeySpace::Domain), key, |own| {
                        has_own |= own.indicator == posting.indicator;
                    });
                    if !has_own {
                        count(Kind::Domain, posting);
                    }
                });
            }),
            _ => {
                for (key, payload) in segment.packed_keys(table) {
                    let kind = table.id.kind_of(key);
                    segment.postings(payload, |posting| count(kind, posting));
                }
            }
        }
    }
    for range in segment.ranges() {
        let kind = if matches!(range.value, RangeValue::Number(_)) { Kind::Number } else { Kind::Time };
        count(kind, range.posting);
    }
    values
}
