//! An open segment: look-ups and columns over its bytes.

use std::fmt;
use std::sync::Arc;

use super::bytes::{TIME_BYTES, time_at, u16_at, u32_at, u64_at};
use super::columns::{Dense, Sparse};
use super::lists::{CUT_OFF, Range, SegmentFeed, Tombstone, feeds, ranges, texts, tombstones};
use super::sections::{self, Head, SectionKind, optional};
use super::table::{LIST, POSTING, SegmentHasher, Table, pack, unpack};
use super::{Composite, Digest, SegmentError, composite, context};
use crate::intel::indicator::{Context, Stored};
use crate::intel::keys::{KeySpace, TableId};
use crate::intel::posting::Posting;

/// The bytes of a segment.
pub(super) enum Data {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

impl std::ops::Deref for Data {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Data::Mapped(map) => map,
            Data::Owned(bytes) => bytes,
        }
    }
}

/// Compiled indicators, immutable.
pub struct Segment {
    pub(super) data: Data,
    pub(super) digest: Option<Digest>,
    pub(super) head: Head,
    pub(super) hasher: SegmentHasher,
    pub(super) feeds: Vec<SegmentFeed>,
    pub(super) paths: Vec<Arc<str>>,
    pub(super) schemes: Vec<Box<str>>,
    pub(super) contexts: (usize, usize),
    pub(super) context_of: Option<Dense>,
    pub(super) optional: [Option<Sparse>; 5],
    pub(super) revoked: Option<Sparse>,
    pub(super) fingerprints: Option<(usize, usize)>,
    pub(super) lists: (usize, usize),
    spaces: [Option<Table>; KeySpace::COUNT],
    networks: Vec<Table>,
    ranges: Vec<Range>,
    pub(super) tombstones: Vec<Tombstone>,
}

impl Segment {
    /// Reads what leads to the rest. Nothing that is read here is trusted; what is only referred to is not checked.
    pub(super) fn assemble(data: Data, digest: Option<Digest>) -> Result<Segment, SegmentError> {
        let head = Head::read(&data)?;
        let bytes: &[u8] = &data;
        let slice = |range: (usize, usize)| bytes.get(range.0..range.1).unwrap_or_default();
        let section = |kind| head.section(kind, 0);
        let feeds = section(SectionKind::Feeds).map_or(Some(Vec::new()), |range| feeds(slice(range)));
        let ranges = section(SectionKind::Comparisons).map_or(Some(Vec::new()), |range| ranges(slice(range)));
        let tombstones = section(SectionKind::Tombstones).map_or(Some(Vec::new()), |range| tombstones(slice(range)));
        let mut spaces = [const { None }; KeySpace::COUNT];
        let mut networks = Vec::new();
        let (mut optional, mut context_of, mut revoked) = ([const { None }; 5], None, None);
        for part in &head.sections {
            let (place, range) = (usize::from(part.parameter), part.range);
            let unsound = |what| SegmentError::at(format_args!("{:?} {}", part.kind, part.parameter), what);
            let table = |id| Table::open(id, bytes, range).ok_or(unsound("the head of the table cannot be"));
            let unknown = || unsound("the parameter has no meaning");
            let column = |sparse: Option<Sparse>| sparse.ok_or(unsound("the numbers of indicators cannot be"));
            match part.kind {
                SectionKind::Keys => {
                    let space = KeySpace::ALL.get(place).copied().filter(|space| *space != KeySpace::UrlHost);
                    let space = space.ok_or_else(unknown)?;
                    spaces[space as usize] = Some(table(TableId::Space(space))?);
                }
                SectionKind::Networks4 if place < 32 => networks.push(table(TableId::Networks4(place as u8))?),
                SectionKind::Networks6 if place < 128 => networks.push(table(TableId::Networks6(place as u8))?),
                SectionKind::Optional if place < optional.len() => {
                    optional[place] = Some(column(Sparse::open(bytes, range, head.indicators))?);
                }
                SectionKind::Revoked => revoked = Some(column(Sparse::open_numbers(bytes, range, head.indicators))?),
                SectionKind::ContextOf => {
                    let dense = Dense::open(range, head.indicators);
                    context_of = Some(dense.ok_or(unsound("its length is that of no width"))?);
                }
                SectionKind::Networks4 | SectionKind::Networks6 | SectionKind::Optional => return Err(unknown()),
                _ => {}
            }
            let has_parameter = matches!(
                part.kind,
                SectionKind::Keys | SectionKind::Networks4 | SectionKind::Networks6 | SectionKind::Optional
            );
            if !has_parameter && part.parameter != 0 {
                return Err(unknown());
            }
        }
        Ok(Segment {
            digest,
            hasher: SegmentHasher::new(&head.hash_key),
            feeds: feeds.ok_or(SegmentError::at("the feeds", "one is cut off or cannot be"))?,
            paths: texts(section(SectionKind::Paths).map(slice)).ok_or(SegmentError::at("the STIX paths", CUT_OFF))?,
            schemes: texts(section(SectionKind::Schemes).map(slice))
                .ok_or(SegmentError::at("the URL schemes", CUT_OFF))?,
            contexts: section(SectionKind::Contexts).unwrap_or_default(),
            context_of,
            optional,
            revoked,
            fingerprints: section(SectionKind::Fingerprints),
            lists: section(SectionKind::Postings).unwrap_or_default(),
            spaces,
            networks,
            ranges: ranges.ok_or(SegmentError::at("the comparisons", "one is cut off or cannot be"))?,
            tombstones: tombstones.ok_or(SegmentError::at("the tombstones", "one is cut off or cannot be"))?,
            head,
            data,
        })
    }

    /// Its digest; computed now when it was made in memory.
    pub fn digest(&self) -> Digest {
        self.digest.unwrap_or_else(|| sections::digest(&self.data))
    }

    /// The whole file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.data
    }

    /// Bytes that the process itself holds for it: all of one that was made in memory or copied, nearly nothing of a mapped one.
    pub fn resident_bytes(&self) -> usize {
        match &self.data {
            Data::Mapped(_) => 0,
            Data::Owned(bytes) => bytes.capacity(),
        }
    }

    /// Number of indicators.
    pub fn len(&self) -> u32 {
        self.head.indicators
    }

    /// Whether it has no indicator.
    pub fn is_empty(&self) -> bool {
        self.head.indicators == 0
    }

    /// The feeds, in order of their indicators' numbers.
    pub fn feeds(&self) -> &[SegmentFeed] {
        &self.feeds
    }

    /// The STIX paths that terms are restricted to; the first has number 1.
    pub fn paths(&self) -> &[Arc<str>] {
        &self.paths
    }

    /// The URL schemes that terms ask for; the first has number 1.
    pub fn schemes(&self) -> &[Box<str>] {
        &self.schemes
    }

    /// Comparisons other than `=`.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The indicators that it withdraws from earlier segments.
    pub fn tombstones(&self) -> &[Tombstone] {
        &self.tombstones
    }

    /// The sections, as word, parameter and length in bytes.
    pub fn sections(&self) -> impl Iterator<Item = (String, u16, usize)> + '_ {
        self.head
            .sections
            .iter()
            .map(|section| (format!("{:?}", section.kind), section.parameter, section.range.1 - section.range.0))
    }

    /// Every table that is there.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.spaces.iter().flatten().chain(&self.networks)
    }

    /// The table of a name space or of networks, if it has keys.
    #[inline]
    pub fn table(&self, id: TableId) -> Option<&Table> {
        match id {
            TableId::Space(space) => self.spaces[space as usize].as_ref(),
            _ => self.networks.iter().find(|table| table.id == id),
        }
    }

    /// Calls `found` with every posting of a canonical key.
    #[inline]
    pub fn find(&self, id: TableId, key: &[u8], found: impl FnMut(Posting)) {
        let mut buffer = [0; 64];
        if let Some(table) = self.table(id)
            && let Some(key) = pack(id, key, &mut buffer)
            && let Some(payload) = table.find(&self.data, &self.hasher, key)
        {
            self.postings(payload, found);
        }
    }

    /// Calls `found` with every posting of a key as it is stored.
    pub fn find_packed(&self, id: TableId, key: &[u8], found: impl FnMut(Posting)) {
        if let Some(payload) = self.table(id).and_then(|table| table.find(&self.data, &self.hasher, key)) {
            self.postings(payload, found);
        }
    }

    /// Calls `each` with every canonical key of a table and its payload, which [`Segment::postings`] understands.
    pub fn keys(&self, table: &Table, mut each: impl FnMut(&[u8], u32)) {
        let mut buffer = [0; 128];
        for (key, payload) in table.iter(&self.data) {
            each(unpack(table.id, key, &mut buffer), payload);
        }
    }

    /// The same, with the keys as they are stored.
    pub fn packed_keys<'s>(&'s self, table: &'s Table) -> impl Iterator<Item = (&'s [u8], u32)> + 's {
        table.iter(&self.data)
    }

    /// Calls `found` with the postings of a payload.
    pub fn postings(&self, payload: u32, mut found: impl FnMut(Posting)) {
        if payload & LIST == 0 {
            return found(Posting { indicator: payload, target: 0, scheme: 0 });
        }
        let at = self.lists.0 + (payload & !LIST) as usize * 4;
        let count = u32_at(&self.data, at).unwrap_or(0) as usize;
        for place in 0..count {
            match posting_at(&self.data, at + 4 + place * POSTING) {
                Some(posting) => found(posting),
                None => return,
            }
        }
    }

    /// The feed of an indicator, by its number here.
    pub fn feed_of(&self, indicator: u32) -> usize {
        self.feeds.partition_point(|feed| feed.first <= indicator).saturating_sub(1)
    }

    /// The stored form of an indicator; its feed is numbered as here.
    pub fn indicator(&self, number: u32) -> Stored {
        let bytes: &[u8] = &self.data;
        let place = |column: u16| {
            let sparse = self.optional[usize::from(column)].as_ref()?;
            Some((sparse, sparse.place(bytes, number)?))
        };
        let time =
            |column| place(column).and_then(|(sparse, place)| time_at(sparse.fixed(bytes, place, TIME_BYTES)?, 0));
        Stored {
            feed: self.feed_of(number) as u32,
            id: self.id(number).map(Box::from),
            context: Arc::new(self.context(number).unwrap_or_default()),
            valid_from: time(optional::VALID_FROM),
            valid_until: time(optional::VALID_UNTIL),
            revoked: self.is_revoked(number),
            port: place(optional::PORT).and_then(|(sparse, place)| u16_at(sparse.fixed(bytes, place, 2)?, 0)),
        }
    }

    /// The id that its feed gave an indicator.
    pub fn id(&self, number: u32) -> Option<&str> {
        let sparse = self.optional[usize::from(optional::ID)].as_ref()?;
        std::str::from_utf8(sparse.between(&self.data, sparse.place(&self.data, number)?)?).ok()
    }

    /// Calls `each` with every indicator that has an id, and the id.
    pub fn ids(&self, mut each: impl FnMut(u32, &str)) {
        let Some(sparse) = self.optional[usize::from(optional::ID)].as_ref() else { return };
        for place in 0..sparse.len() {
            let id = sparse.between(&self.data, place).and_then(|id| std::str::from_utf8(id).ok());
            if let (Some(number), Some(id)) = (sparse.number(&self.data, place), id) {
                each(number, id);
            }
        }
    }

    /// The values that must be found together for an indicator, if more than one.
    pub fn composite(&self, number: u32) -> Option<Composite> {
        composite::decode(self.composite_bytes(number)?)
    }

    /// Whether an indicator is one of which more than one value must be found together.
    #[inline]
    pub fn is_composite(&self, number: u32) -> bool {
        let programs = self.optional[usize::from(optional::PROGRAM)].as_ref();
        programs.is_some_and(|programs| programs.place(&self.data, number).is_some())
    }

    pub(super) fn composite_bytes(&self, number: u32) -> Option<&[u8]> {
        let sparse = self.optional[usize::from(optional::PROGRAM)].as_ref()?;
        sparse.between(&self.data, sparse.place(&self.data, number)?)
    }

    fn is_revoked(&self, number: u32) -> bool {
        self.revoked.as_ref().is_some_and(|revoked| revoked.place(&self.data, number).is_some())
    }

    fn context(&self, number: u32) -> Option<Context> {
        let context = match &self.context_of {
            Some(column) => column.get(&self.data, number)?,
            None => 0,
        };
        context::decode(self.context_bytes(context)?)
    }

    /// Number of contexts.
    pub fn contexts(&self) -> u32 {
        u32_at(self.section(self.contexts), 0).unwrap_or(0)
    }

    pub(super) fn section(&self, range: (usize, usize)) -> &[u8] {
        self.data.get(range.0..range.1).unwrap_or_default()
    }

    pub(super) fn context_bytes(&self, context: u32) -> Option<&[u8]> {
        let section = self.section(self.contexts);
        let (at, count) = (4 + context as usize * 4, u32_at(section, 0)? as usize);
        let (from, to) = (u32_at(section, at)? as usize, u32_at(section, at + 4)? as usize);
        section.get(4 + (count + 1) * 4..)?.get(from..to)
    }

    /// Returns the fingerprint of an indicator, if the segment has fingerprints.
    pub fn fingerprint(&self, number: u32) -> Option<u64> {
        let (at, _) = self.fingerprints?;
        u64_at(&self.data, at + number as usize * 8)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("feeds", &self.feeds).field("bytes", &self.data.len()).finish_non_exhaustive()
    }
}

fn posting_at(bytes: &[u8], at: usize) -> Option<Posting> {
    Some(Posting { indicator: u32_at(bytes, at)?, target: u16_at(bytes, at + 4)?, scheme: u16_at(bytes, at + 6)? })
}
