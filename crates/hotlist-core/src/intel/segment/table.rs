//! Exact tables: key to postings, in a flat buffer. Records stand in the order of their keys' hashes; a directory says
//! where each bucket of a few records begins, so a look-up reads two neighbouring offsets and one or two cache lines.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::bytes::{Cursor, put_varint, u32_at};
use crate::intel::keys::{KeySpace, TableId};
use crate::intel::posting::Posting;

/// Keys that a bucket has on average.
const KEYS_PER_BUCKET: usize = 4;
/// Bytes before the directory.
const HEAD: usize = 16;
/// Set in a payload that is the place of a list of postings.
pub(super) const LIST: u32 = 1 << 31;
/// Bytes of one posting in a list.
pub(super) const POSTING: usize = 8;

impl TableId {
    /// The length of every key, `None` when they differ.
    pub fn key_bytes(self) -> Option<usize> {
        match self {
            TableId::Networks4(_) | TableId::Space(KeySpace::Ipv4) => Some(4),
            TableId::Networks6(_) | TableId::Space(KeySpace::Ipv6 | KeySpace::Md5 | KeySpace::Time) => Some(16),
            TableId::Space(KeySpace::Sha1) => Some(20),
            TableId::Space(KeySpace::Sha256) => Some(32),
            TableId::Space(KeySpace::Sha512) => Some(64),
            TableId::Space(KeySpace::Number) => Some(8),
            TableId::Space(_) => None,
        }
    }

    /// Whether bytes can be a key here: networks have no host bits.
    fn admits(self, key: &[u8]) -> bool {
        let (TableId::Networks4(prefix) | TableId::Networks6(prefix)) = self else { return true };
        let prefix = usize::from(prefix);
        key.iter().enumerate().all(|(at, byte)| {
            let host_bits = (8 * (at + 1)).saturating_sub(prefix).min(8);
            u32::from(*byte) & ((1 << host_bits) - 1) == 0
        })
    }
}

/// The keyed hash of a segment: SipHash-1-3, which never changes, because files depend on it.
#[derive(Clone, Debug)]
pub struct SegmentHasher(SipHasher13);

impl SegmentHasher {
    pub(super) fn new(key: &[u8; 16]) -> SegmentHasher {
        SegmentHasher(SipHasher13::new_with_key(key))
    }

    fn hash(&self, id: TableId, key: &[u8]) -> u64 {
        let mut hasher = self.0;
        match id {
            TableId::Space(space) => hasher.write(&[space as u8]),
            TableId::Networks4(prefix) => hasher.write(&[prefix, 254]),
            TableId::Networks6(prefix) => hasher.write(&[prefix, 255]),
        }
        hasher.write(key);
        hasher.finish()
    }
}

/// A key as it is stored: digests as bytes. `None` when it is none, which no segment holds.
#[inline]
pub fn pack<'k>(id: TableId, key: &'k [u8], buffer: &'k mut [u8; 64]) -> Option<&'k [u8]> {
    match id {
        TableId::Space(KeySpace::Md5 | KeySpace::Sha1 | KeySpace::Sha256 | KeySpace::Sha512) => {
            let packed = buffer.get_mut(..id.key_bytes()?)?;
            if key.len() != packed.len() * 2 {
                return None;
            }
            for (byte, digits) in packed.iter_mut().zip(key.chunks_exact(2)) {
                *byte = digit(digits[0])? << 4 | digit(digits[1])?;
            }
            Some(packed)
        }
        _ => Some(key).filter(|key| id.key_bytes().is_none_or(|length| length == key.len())),
    }
}

/// The inverse of [`pack`].
pub fn unpack<'k>(id: TableId, key: &'k [u8], buffer: &'k mut [u8; 128]) -> &'k [u8] {
    match id {
        TableId::Space(KeySpace::Md5 | KeySpace::Sha1 | KeySpace::Sha256 | KeySpace::Sha512) => {
            for (digits, byte) in buffer.chunks_exact_mut(2).zip(key) {
                digits.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            buffer.get(..key.len() * 2).unwrap_or(key)
        }
        _ => key,
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A table that was checked, by its place in the segment.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) id: TableId,
    keys: u32,
    buckets: u32,
    /// Where the directory begins in the file.
    directory: usize,
    /// Where the records begin in the file, and end.
    records: (usize, usize),
}

impl Table {
    /// The table at a place of the file; its head must make sense.
    pub(super) fn open(id: TableId, bytes: &[u8], section: (usize, usize)) -> Option<Table> {
        let table = bytes.get(section.0..section.1)?;
        let (keys, buckets) = (u32_at(table, 0)?, u32_at(table, 4)?);
        let key_bytes = u32_at(table, 8)? as usize;
        let directory = section.0 + HEAD;
        let records = directory.checked_add((buckets as usize).checked_add(1)?.checked_mul(4)?)?;
        let sound = buckets > 0 && keys > 0 && u32_at(table, 12)? == 0 && key_bytes == id.key_bytes().unwrap_or(0);
        (sound && records <= section.1).then_some(Table { id, keys, buckets, directory, records: (records, section.1) })
    }

    /// Its number.
    pub fn id(&self) -> TableId {
        self.id
    }

    /// Number of keys, which is 1 at least.
    pub fn len(&self) -> usize {
        self.keys as usize
    }

    /// Whether it has none; a segment leaves such tables out.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// The payload of a key that was packed.
    #[inline]
    pub(super) fn find(&self, bytes: &[u8], hasher: &SegmentHasher, key: &[u8]) -> Option<u32> {
        let bucket = bucket_of(hasher.hash(self.id, key), self.buckets);
        let mut records = self.bucket(bytes, bucket)?;
        while !records.rest().is_empty() {
            let (found, payload) = self.record(&mut records)?;
            if found == key {
                return Some(payload);
            }
        }
        None
    }

    fn bucket<'b>(&self, bytes: &'b [u8], bucket: u32) -> Option<Cursor<'b>> {
        let at = self.directory + bucket as usize * 4;
        let (from, to) = (u32_at(bytes, at)? as usize, u32_at(bytes, at + 4)? as usize);
        bytes.get(self.records.0..self.records.1)?.get(from..to).map(Cursor::new)
    }

    #[inline]
    fn record<'b>(&self, records: &mut Cursor<'b>) -> Option<(&'b [u8], u32)> {
        let length = match self.id.key_bytes() {
            Some(length) => length,
            None => records.varint()?,
        };
        Some((records.take(length)?, records.u32()?))
    }

    /// Every key as it is stored, with its payload.
    pub(super) fn iter<'b>(&'b self, bytes: &'b [u8]) -> impl Iterator<Item = (&'b [u8], u32)> + 'b {
        let mut records = Cursor::new(bytes.get(self.records.0..self.records.1).unwrap_or_default());
        std::iter::from_fn(move || if records.rest().is_empty() { None } else { self.record(&mut records) })
    }

    /// Reads all of it and says what is wrong. `is_payload` checks payloads.
    pub(super) fn check(
        &self,
        bytes: &[u8],
        hasher: &SegmentHasher,
        mut is_payload: impl FnMut(u32) -> bool,
    ) -> Result<(), &'static str> {
        let records = bytes.get(self.records.0..self.records.1).ok_or("the records lie outside")?;
        let mut keys = 0u64;
        let mut end = 0;
        for bucket in 0..self.buckets {
            let at = self.directory + bucket as usize * 4;
            let offsets = u32_at(bytes, at).zip(u32_at(bytes, at + 4));
            let (from, to) = offsets.ok_or("the directory is cut off")?;
            if from != end {
                return Err("the buckets do not follow one another");
            }
            end = to;
            let range = records.get(from as usize..to as usize).ok_or("a bucket lies outside")?;
            let mut cursor = Cursor::new(range);
            let mut before: Option<&[u8]> = None;
            while !cursor.rest().is_empty() {
                let (key, payload) = self.record(&mut cursor).ok_or("a record is cut off")?;
                if before.is_some_and(|before| before >= key) {
                    return Err("the keys of a bucket do not ascend");
                }
                if bucket_of(hasher.hash(self.id, key), self.buckets) != bucket {
                    return Err("a key lies in another bucket than its own");
                }
                if !self.id.admits(key) {
                    return Err("a network has host bits");
                }
                if !is_payload(payload) {
                    return Err("a payload leads nowhere");
                }
                before = Some(key);
                keys += 1;
            }
        }
        if end as usize != records.len() {
            return Err("there are bytes behind the last bucket");
        }
        if keys != u64::from(self.keys) {
            return Err("the number of keys is another");
        }
        Ok(())
    }
}

#[inline]
fn bucket_of(hash: u64, buckets: u32) -> u32 {
    (((hash >> 32) * u64::from(buckets)) >> 32) as u32
}

/// A table under construction.
#[derive(Debug, Default)]
pub struct TableBuilder {
    /// Keys as records have them: behind a length where lengths differ.
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    start: u32,
    posting: Posting,
}

/// A table has more than its offsets can address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl TableBuilder {
    /// Adds a posting to a key that was packed.
    pub fn insert(&mut self, id: TableId, key: &[u8], posting: Posting) -> Result<(), TooLarge> {
        let start = u32::try_from(self.arena.len()).map_err(|_| TooLarge)?;
        if id.key_bytes().is_none() {
            put_varint(&mut self.arena, key.len());
        }
        self.arena.extend_from_slice(key);
        self.entries.push(Entry { hash: 0, start, posting });
        Ok(())
    }

    /// Feeds everything that was added to `take`, for the key of the hashes.
    pub fn content(&self, mut take: impl FnMut(&[u8])) {
        take(&self.arena);
        for Entry { start, posting, .. } in &self.entries {
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&start.to_le_bytes());
            bytes[4..].copy_from_slice(&encode(posting));
            take(&bytes);
        }
    }

    /// The section, and the lists of postings that it needs appended to `lists`.
    pub fn finish(self, id: TableId, hasher: &SegmentHasher, lists: &mut Vec<u8>) -> Result<Vec<u8>, TooLarge> {
        let TableBuilder { arena, mut entries } = self;
        let width = id.key_bytes();
        let record = |start: u32| {
            let mut cursor = Cursor::new(arena.get(start as usize..).unwrap_or_default());
            let length = width.or_else(|| cursor.varint()).unwrap_or(0);
            let key = cursor.take(length).unwrap_or_default();
            // The key with its length, as the record begins.
            let prefix = arena.len() - start as usize - cursor.rest().len();
            (arena.get(start as usize..start as usize + prefix).unwrap_or_default(), key)
        };
        for entry in &mut entries {
            entry.hash = hasher.hash(id, record(entry.start).1);
        }
        let buckets = u32::try_from(entries.len().div_ceil(KEYS_PER_BUCKET).max(1)).map_err(|_| TooLarge)?;
        // Hashes order by their bucket; keys are put into their own order bucket by bucket, which are short.
        entries.sort_unstable_by_key(|entry| entry.hash);
        let same_bucket = |left: &Entry, right: &Entry| bucket_of(left.hash, buckets) == bucket_of(right.hash, buckets);
        for bucket in entries.chunk_by_mut(same_bucket) {
            bucket.sort_unstable_by(|left, right| {
                record(left.start).1.cmp(record(right.start).1).then(left.posting.cmp(&right.posting))
            });
        }
        let mut directory = Vec::with_capacity(buckets as usize + 1);
        let mut records = Vec::with_capacity(arena.len() + entries.len() * 4);
        let mut keys = 0u32;
        for same in entries.chunk_by(|left, right| record(left.start).1 == record(right.start).1) {
            let Some(first) = same.first() else { continue };
            let bucket = bucket_of(first.hash, buckets) as usize;
            let here = u32::try_from(records.len()).map_err(|_| TooLarge)?;
            while directory.len() <= bucket {
                directory.push(here);
            }
            records.extend_from_slice(record(first.start).0);
            records.extend(payload(same, lists)?.to_le_bytes());
            keys += 1;
        }
        let end = u32::try_from(records.len()).map_err(|_| TooLarge)?;
        directory.resize(buckets as usize + 1, end);
        let mut section = Vec::with_capacity(HEAD + directory.len() * 4 + records.len());
        for number in [keys, buckets, width.unwrap_or(0) as u32, 0].into_iter().chain(directory) {
            section.extend(number.to_le_bytes());
        }
        section.extend(records);
        Ok(section)
    }
}

/// The payload of a key with these entries, which are in order.
fn payload(entries: &[Entry], lists: &mut Vec<u8>) -> Result<u32, TooLarge> {
    let mut postings: Vec<Posting> = entries.iter().map(|entry| entry.posting).collect();
    postings.dedup();
    if let [Posting { indicator, target: 0, scheme: 0 }] = postings[..]
        && indicator < LIST
    {
        return Ok(indicator);
    }
    let place = u32::try_from(lists.len() / 4).ok().filter(|place| *place < LIST).ok_or(TooLarge)?;
    lists.extend((postings.len() as u32).to_le_bytes());
    postings.iter().for_each(|posting| lists.extend(encode(posting)));
    Ok(place | LIST)
}

fn encode(posting: &Posting) -> [u8; POSTING] {
    let mut bytes = [0; POSTING];
    bytes[..4].copy_from_slice(&posting.indicator.to_le_bytes());
    bytes[4..6].copy_from_slice(&posting.target.to_le_bytes());
    bytes[6..].copy_from_slice(&posting.scheme.to_le_bytes());
    bytes
}
