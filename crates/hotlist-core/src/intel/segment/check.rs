//! The whole check of a segment that came from outside: reads every byte once.

use super::bytes::{TIME_BYTES, time_at, u32_at};
use super::read::Segment;
use super::sections::optional;
use super::table::{LIST, POSTING, Table};
use super::{IndicatorSet, SegmentError, TableId, composite, context};

impl Segment {
    /// Checks what [`Segment::assemble`] did not: everything that its parts refer to.
    pub(super) fn check(&self) -> Result<(), SegmentError> {
        self.check_feeds()?;
        self.check_contexts()?;
        self.check_columns()?;
        let lists = self.check_lists()?;
        let mut used = IndicatorSet::default();
        for table in self.tables() {
            self.check_table(table, &lists, &mut used)?;
        }
        if used.len() != lists.len() {
            return Err(SegmentError::at("the posting lists", "one is that of no key"));
        }
        for range in self.ranges() {
            if range.posting.indicator >= self.len() || usize::from(range.posting.target) > self.paths.len() {
                return Err(SegmentError::at("the comparisons", "one leads nowhere"));
            }
        }
        let is_sound = |tombstone: &super::Tombstone| {
            let fits = tombstone.table.key_bytes().is_none_or(|length| length == tombstone.key.len());
            fits && (tombstone.feed as usize) < self.feeds.len()
        };
        match self.tombstones.iter().all(is_sound) {
            true => Ok(()),
            false => Err(SegmentError::at("the tombstones", "one leads nowhere")),
        }
    }

    fn check_feeds(&self) -> Result<(), SegmentError> {
        let mut next = 0u32;
        for feed in &self.feeds {
            let follows = feed.first == next;
            let end = next.checked_add(feed.len).filter(|end| follows && *end <= self.len());
            next = end.ok_or(SegmentError::at("the feeds", "their indicators are not numbered in a row"))?;
        }
        match next == self.len() && self.len() <= LIST {
            true => Ok(()),
            false => Err(SegmentError::at("the feeds", "an indicator belongs to none")),
        }
    }

    fn check_contexts(&self) -> Result<(), SegmentError> {
        let wrong = |what| SegmentError::at("the contexts", what);
        let section = self.section(self.contexts);
        if section.is_empty() {
            return match self.is_empty() {
                true => Ok(()),
                false => Err(wrong("there are none")),
            };
        }
        let count = self.contexts();
        let offsets =
            (count as usize).checked_add(1).and_then(|offsets| section.get(4..)?.get(..offsets.checked_mul(4)?));
        let offsets = offsets.ok_or(wrong("the offsets are cut off"))?;
        let room = section.len() - 4 - offsets.len();
        if count == 0 || u32_at(offsets, 0) != Some(0) || u32_at(offsets, offsets.len() - 4) != u32::try_from(room).ok()
        {
            return Err(wrong("the offsets are not those of the contexts"));
        }
        // The offsets ascend when every context between two of them can be read: none is empty.
        if (0..count).any(|number| self.context_bytes(number).and_then(context::decode).is_none()) {
            return Err(wrong("one is cut off or cannot be"));
        }
        match &self.context_of {
            None if count > 1 => Err(wrong("nothing says which indicator has which")),
            None => Ok(()),
            Some(column) => {
                let known = |indicator| column.get(&self.data, indicator).is_some_and(|number| number < count);
                match (0..self.len()).all(known) {
                    true => Ok(()),
                    false => Err(wrong("an indicator has one that is not there")),
                }
            }
        }
    }

    fn check_columns(&self) -> Result<(), SegmentError> {
        let wrong = |what| SegmentError::at("the optional columns", what);
        for (number, column) in self.optional.iter().enumerate() {
            let Some(column) = column else { continue };
            let places = 0..column.len();
            let bytes: &[u8] = &self.data;
            let sound = match number as u16 {
                optional::VALID_FROM | optional::VALID_UNTIL => {
                    let is_time =
                        |place| column.fixed(bytes, place, TIME_BYTES).and_then(|time| time_at(time, 0)).is_some();
                    column.is_fixed(TIME_BYTES) && places.into_iter().all(is_time)
                }
                optional::PORT => column.is_fixed(2),
                optional::ID => {
                    let is_text =
                        |place| column.between(bytes, place).is_some_and(|id| std::str::from_utf8(id).is_ok());
                    column.is_between(bytes) && places.into_iter().all(is_text)
                }
                _ => {
                    let is_composite = |place| column.between(bytes, place).and_then(composite::decode).is_some();
                    column.is_between(bytes) && places.into_iter().all(is_composite)
                }
            };
            if !sound {
                return Err(wrong("the values of one do not fill it, or cannot be"));
            }
        }
        let fingerprints = self.fingerprints.map(|(from, to)| to - from);
        match fingerprints.is_none_or(|length| length == self.len() as usize * 8) {
            true => Ok(()),
            false => Err(wrong("there are more or fewer fingerprints than indicators")),
        }
    }

    /// Lists stand one behind the other and fill their section. Gives the place of each.
    fn check_lists(&self) -> Result<Vec<u32>, SegmentError> {
        let wrong = |what| SegmentError::at("the posting lists", what);
        let section = self.section(self.lists);
        let (mut rest, mut places) = (section, Vec::new());
        while !rest.is_empty() {
            let place = u32::try_from((section.len() - rest.len()) / 4).ok().filter(|place| *place < LIST);
            places.push(place.ok_or(wrong("there are too many"))?);
            let count = u32_at(rest, 0).filter(|count| *count > 0).ok_or(wrong("one is empty or cut off"))?;
            let length = (count as usize).checked_mul(POSTING).and_then(|length| length.checked_add(4));
            let (_, behind) = length.and_then(|length| rest.split_at_checked(length)).ok_or(wrong("one is cut off"))?;
            rest = behind;
        }
        Ok(places)
    }

    /// `lists` are the places of all lists. Each is that of one key, so that going through all keys goes through no list
    /// twice; `used` remembers which have one.
    fn check_table(&self, table: &Table, lists: &[u32], used: &mut IndicatorSet) -> Result<(), SegmentError> {
        let is_payload = |payload: u32| {
            if payload & LIST == 0 {
                return payload < self.len();
            }
            let list = lists.binary_search(&(payload & !LIST)).ok().and_then(|list| u32::try_from(list).ok());
            if !list.is_some_and(|list| used.insert(list)) {
                return false;
            }
            let (mut before, mut sound) = (None, true);
            self.postings(payload, |posting| {
                sound &= before.is_none_or(|before| before < posting)
                    && posting.indicator < self.len()
                    && usize::from(posting.target) <= self.paths.len()
                    && usize::from(posting.scheme) <= self.schemes.len();
                before = Some(posting);
            });
            sound
        };
        let place = match table.id {
            TableId::Space(space) => format!("the table of {space:?}"),
            TableId::Networks4(prefix) => format!("the table of IPv4 networks /{prefix}"),
            TableId::Networks6(prefix) => format!("the table of IPv6 networks /{prefix}"),
        };
        table.check(&self.data, &self.hasher, is_payload).map_err(|what| SegmentError::at(place, what))
    }
}
