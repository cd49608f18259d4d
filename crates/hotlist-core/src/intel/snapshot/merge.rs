//! Many small segments are matched against as one: a look-up goes through every part of a snapshot.
//!
//! Merged parts stay merged in the snapshots that follow, and are merged again only when there are too many parts
//! again. A chain that grows by one segment a reload so costs a merge every few reloads, and not one each.

use std::sync::Arc;

use crate::intel::segment::{BuildError, HashKey, IndicatorSet, Keep, Numbering, Segment, SegmentBuilder};

/// The most parts that a look-up goes through.
pub(super) const MAX_PARTS: usize = 16;
/// How many of them are left of too many, if what is merged for that is small.
const MERGED_TO: usize = MAX_PARTS / 2;
/// Small is one in so many of all indicators: of many large segments no more are copied into memory than must be.
const SMALL: u64 = 8;

/// A segment as a snapshot numbers its feeds, and what of it does not count.
#[derive(Clone, Debug)]
pub(super) struct MemberSegment {
    pub(super) segment: Arc<Segment>,
    pub(super) dead: Arc<IndicatorSet>,
    /// The places of its feeds in the snapshot.
    pub(super) feeds: Vec<u32>,
}

/// The target of look-ups.
#[derive(Clone, Debug)]
pub(super) enum LookupUnit {
    /// A segment as it is.
    One(MemberSegment),
    /// One that was made of several.
    Merged {
        /// In the order in which it has their feeds.
        members: Vec<MemberSegment>,
        /// All that counts in them.
        segment: Arc<Segment>,
    },
}

impl LookupUnit {
    /// The segment, what of it does not count, and the places of its feeds.
    pub(super) fn as_segment(&self) -> MemberSegment {
        match self {
            LookupUnit::One(member) => member.clone(),
            LookupUnit::Merged { members, segment } => MemberSegment {
                segment: Arc::clone(segment),
                dead: Arc::default(),
                feeds: members.iter().flat_map(|member| member.feeds.iter().copied()).collect(),
            },
        }
    }

    fn members(self) -> Vec<MemberSegment> {
        match self {
            LookupUnit::One(member) => vec![member],
            LookupUnit::Merged { members, .. } => members,
        }
    }

    fn len(&self) -> u32 {
        match self {
            LookupUnit::One(member) => member.segment.len(),
            LookupUnit::Merged { segment, .. } => segment.len(),
        }
    }

    /// The same merged segment, if all that it was made of is there still and counts as it did. It takes its members out
    /// of `members`.
    fn renewed(&self, members: &mut Vec<MemberSegment>) -> Option<LookupUnit> {
        let LookupUnit::Merged { members: old, segment } = self else { return None };
        let mut places = Vec::with_capacity(old.len());
        for old in old {
            let is_same = |new: &MemberSegment| Arc::ptr_eq(&new.segment, &old.segment) && new.dead == old.dead;
            let place = (0..members.len()).find(|place| is_same(&members[*place]) && !places.contains(place));
            places.push(place?);
        }
        let renewed = places.iter().map(|place| members[*place].clone()).collect();
        let mut place = 0;
        members.retain(|_| {
            place += 1;
            !places.contains(&(place - 1))
        });
        Some(LookupUnit::Merged { members: renewed, segment: Arc::clone(segment) })
    }
}

/// At most [`MAX_PARTS`] units of all members, where they are not too large for that. `older` are those of a snapshot
/// before.
pub(super) fn units(mut members: Vec<MemberSegment>, older: &[LookupUnit], seed: u64) -> Vec<LookupUnit> {
    let mut units: Vec<LookupUnit> = older.iter().filter_map(|unit| unit.renewed(&mut members)).collect();
    units.extend(members.into_iter().map(LookupUnit::One));
    if units.len() <= MAX_PARTS {
        return units;
    }
    let len = |unit: &LookupUnit| u64::from(unit.len());
    units.sort_by_key(|unit| std::cmp::Reverse(unit.len()));
    let most = units.iter().map(len).sum::<u64>() / SMALL;
    let mut small = units.split_off(MAX_PARTS - 1);
    let mut sum: u64 = small.iter().map(len).sum();
    while units.len() >= MERGED_TO
        && let Some(next) = units.pop_if(|unit| sum + len(unit) <= most)
    {
        sum += len(&next);
        small.push(next);
    }
    let small: Vec<MemberSegment> = small.into_iter().flat_map(LookupUnit::members).collect();
    match merged(&small, seed) {
        Ok(segment) => units.push(LookupUnit::Merged { members: small, segment }),
        // Too large to be one: look-ups go through all of them.
        Err(_) => units.extend(small.into_iter().map(LookupUnit::One)),
    }
    units
}

fn merged(small: &[MemberSegment], seed: u64) -> Result<Arc<Segment>, BuildError> {
    let keeps: Vec<_> = small.iter().map(|member| |number: u32| !member.dead.contains(number)).collect();
    let segments: Vec<(&Segment, Keep<'_>)> =
        small.iter().zip(&keeps).map(|(member, keep)| (&*member.segment, keep as Keep<'_>)).collect();
    let mut builder = SegmentBuilder::default();
    builder.take_over(&segments, Numbering::Apart)?;
    builder.into_segment(HashKey::Given(seed))
}
