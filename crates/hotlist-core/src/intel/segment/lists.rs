//! The small sections, which are read into memory as a whole: feeds, texts, comparisons and tombstones.

use std::borrow::Borrow;

use jiff::Timestamp;

use super::bytes::{Cursor, TIME_BYTES, put_text, put_time, put_varint};
use crate::intel::indicator::{Comparison, Origin, RangeValue};
use crate::intel::keys::{KeySpace, TableId};
use crate::intel::posting::Posting;
use crate::observable::Kind;

/// Bytes of one comparison.
pub(super) const RANGE: usize = 28;

/// A feed in a segment. Its indicators are numbered in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFeed {
    /// Its name.
    pub name: String,
    /// Whether it is a feed or a collection.
    pub origin: Origin,
    /// The number of its first indicator.
    pub first: u32,
    /// Number of its indicators.
    pub len: u32,
    /// Number of its values by kind, in the order of [`Kind::ALL`].
    pub values: [u32; Kind::ALL.len()],
}

/// A comparison other than `=` in a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The comparison, event value first.
    pub comparison: Comparison,
    /// The right-hand side.
    pub value: RangeValue,
    /// The indicator that asks.
    pub posting: Posting,
}

/// Withdraws an indicator of the same feed in earlier segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tombstone {
    /// Number of the feed in its own segment.
    pub feed: u32,
    /// The table that has one of the indicator's keys.
    pub table: TableId,
    /// That key, as it is stored.
    pub key: Vec<u8>,
    /// Its fingerprint: other indicators may have the same key.
    pub fingerprint: u64,
}

pub(super) const CUT_OFF: &str = "a text is cut off or not UTF-8";

/// A list of texts that fills its section; without one there are none.
pub(super) fn texts<T: for<'t> From<&'t str>>(section: Option<&[u8]>) -> Option<Vec<T>> {
    let Some(section) = section else { return Some(Vec::new()) };
    let mut cursor = Cursor::new(section);
    let count = cursor.u32()?;
    let texts = (0..count).map(|_| cursor.text().map(T::from)).collect::<Option<Vec<T>>>()?;
    cursor.rest().is_empty().then_some(texts)
}

pub(super) fn feeds(section: &[u8]) -> Option<Vec<SegmentFeed>> {
    let mut cursor = Cursor::new(section);
    let count = cursor.u32()?;
    let feed = |_| {
        let name = cursor.text()?.to_owned();
        let origin = match cursor.u8()? {
            0 => Origin::Feed,
            1 => Origin::Collection,
            _ => return None,
        };
        let (first, len) = (cursor.u32()?, cursor.u32()?);
        let mut values = [0; Kind::ALL.len()];
        for value in &mut values {
            *value = cursor.u32()?;
        }
        Some(SegmentFeed { name, origin, first, len, values })
    };
    let feeds = (0..count).map(feed).collect::<Option<Vec<_>>>()?;
    cursor.rest().is_empty().then_some(feeds)
}

const COMPARISONS: [Comparison; 4] =
    [Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual];

pub(super) fn ranges(section: &[u8]) -> Option<Vec<Range>> {
    let mut chunks = section.chunks_exact(RANGE);
    let range = |bytes: &[u8]| {
        let mut cursor = Cursor::new(bytes);
        let comparison = *COMPARISONS.get(usize::from(cursor.u8()?).checked_sub(1)?)?;
        let of_time = cursor.u8()?;
        let (target, indicator) = (cursor.u16()?, cursor.u32()?);
        let (value, zeros) = match of_time {
            0 => {
                let number = f64::from_le_bytes(*cursor.take(8)?.first_chunk()?);
                (RangeValue::Number(Some(number).filter(|number| number.is_finite())?), 12)
            }
            1 => (RangeValue::Time(cursor.time()?), 8),
            _ => return None,
        };
        let zeros = cursor.rest().len() == zeros && cursor.rest().iter().all(|byte| *byte == 0);
        zeros.then_some(Range { comparison, value, posting: Posting { indicator, target, scheme: 0 } })
    };
    let ranges = chunks.by_ref().map(range).collect::<Option<Vec<_>>>()?;
    chunks.remainder().is_empty().then_some(ranges)
}

/// The section of comparisons.
pub(super) fn write_ranges(ranges: &[Range]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ranges.len() * RANGE);
    for (number, Range { comparison, value, posting }) in ranges.iter().enumerate() {
        let place = COMPARISONS.iter().position(|known| known == comparison).map_or(0, |place| place + 1);
        out.push(place as u8);
        out.push(u8::from(matches!(value, RangeValue::Time(_))));
        out.extend(posting.target.to_le_bytes());
        out.extend(posting.indicator.to_le_bytes());
        match value {
            RangeValue::Number(number) => out.extend(number.to_le_bytes()),
            RangeValue::Time(time) => put_time(&mut out, *time),
        }
        out.resize((number + 1) * RANGE, 0);
    }
    out
}

pub(super) fn tombstones(section: &[u8]) -> Option<Vec<Tombstone>> {
    let mut cursor = Cursor::new(section);
    let count = cursor.u32()?;
    let tombstone = |_| {
        let (feed, fingerprint) = (cursor.u32()?, cursor.u64()?);
        let table = match cursor.u8()? {
            254 => TableId::Networks4(cursor.u8().filter(|prefix| *prefix < 32)?),
            255 => TableId::Networks6(cursor.u8().filter(|prefix| *prefix < 128)?),
            space => TableId::Space(*KeySpace::ALL.get(usize::from(space))?),
        };
        let length = cursor.varint()?;
        let key = cursor.take(length)?.to_vec();
        Some(Tombstone { feed, table, key, fingerprint })
    };
    let tombstones = (0..count).map(tombstone).collect::<Option<Vec<_>>>()?;
    cursor.rest().is_empty().then_some(tombstones)
}

/// The section of tombstones.
pub(super) fn write_tombstones(tombstones: &[Tombstone]) -> Vec<u8> {
    let mut out = (tombstones.len() as u32).to_le_bytes().to_vec();
    for Tombstone { feed, table, key, fingerprint } in tombstones {
        out.extend(feed.to_le_bytes());
        out.extend(fingerprint.to_le_bytes());
        match table {
            TableId::Space(space) => out.push(*space as u8),
            TableId::Networks4(prefix) => out.extend([254, *prefix]),
            TableId::Networks6(prefix) => out.extend([255, *prefix]),
        }
        put_varint(&mut out, key.len());
        out.extend(key);
    }
    out
}

/// A time, for the builder.
pub(super) fn time_bytes(time: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(TIME_BYTES);
    put_time(&mut out, time);
    out
}

/// The section of feeds.
pub(super) fn write_feeds(feeds: &[SegmentFeed]) -> Vec<u8> {
    if feeds.is_empty() {
        return Vec::new();
    }
    let mut out = (feeds.len() as u32).to_le_bytes().to_vec();
    for feed in feeds {
        put_text(&mut out, &feed.name);
        out.push(feed.origin as u8);
        for number in [feed.first, feed.len].into_iter().chain(feed.values) {
            out.extend(number.to_le_bytes());
        }
    }
    out
}

/// A section of texts.
pub(super) fn write_texts(texts: &[impl Borrow<str>]) -> Vec<u8> {
    if texts.is_empty() {
        return Vec::new();
    }
    let mut out = (texts.len() as u32).to_le_bytes().to_vec();
    texts.iter().for_each(|text| put_text(&mut out, text.borrow()));
    out
}
