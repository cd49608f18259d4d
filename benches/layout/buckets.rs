//! Records in the order of a keyed hash, and a directory that says where each bucket of about `PER` of them starts.

use hotlist::intel::keys::{KeyHasher, KeySpace};

use crate::keys::Keys;
use crate::layout::{Layout, View, hasher, head, length, nth, place, put, put_head, put_length, word};

pub struct Buckets<'a, const PER: usize> {
    width: usize,
    buckets: usize,
    directory: &'a [u8],
    records: &'a [u8],
    hasher: KeyHasher,
    space: KeySpace,
}

impl<const PER: usize> Buckets<'_, PER> {
    fn count(keys: usize) -> usize {
        keys.div_ceil(PER).max(1)
    }

    /// A record's key, its payload, and where the next one starts.
    #[inline]
    fn record(&self, at: usize) -> Option<(&[u8], u32, usize)> {
        let (length, start) = match self.width {
            0 => length(self.records, at)?,
            width => (width, at),
        };
        let end = start + length;
        Some((self.records.get(start..end)?, word(self.records, end)?, end + 4))
    }
}

impl<const PER: usize> Layout for Buckets<'_, PER> {
    type View<'a> = Buckets<'a, PER>;

    fn build(keys: &Keys) -> Vec<u8> {
        let hasher = hasher();
        let mut order: Vec<(u64, u32)> =
            (0u32..).zip(keys.iter()).map(|(number, key)| (hasher.hash(keys.space(), key), number)).collect();
        order.sort_unstable();
        let buckets = Self::count(keys.len());
        let lengths = match keys.width {
            Some(_) => 0,
            None => keys.iter().map(|key| if key.len() < 128 { 1 } else { 2 }).sum(),
        };
        let mut out = Vec::with_capacity(8 + (buckets + 1) * 4 + keys.bytes() + keys.len() * 4 + lengths);
        put_head(&mut out, keys);
        out.resize(8 + (buckets + 1) * 4, 0);
        let records = out.len();
        let mut bucket = 0;
        for (hash, number) in order {
            while bucket < place(hash, buckets) {
                bucket += 1;
                let offset = (out.len() - records) as u32;
                out[8 + bucket * 4..][..4].copy_from_slice(&offset.to_le_bytes());
            }
            let key = keys.key(number as usize);
            if keys.width.is_none() {
                put_length(&mut out, key.len());
            }
            out.extend_from_slice(key);
            put(&mut out, number as usize);
        }
        let end = ((out.len() - records) as u32).to_le_bytes();
        (bucket + 1..=buckets).for_each(|bucket| out[8 + bucket * 4..][..4].copy_from_slice(&end));
        out
    }

    fn open(bytes: &[u8], space: KeySpace) -> Option<Self::View<'_>> {
        let (count, width) = head(bytes)?;
        let buckets = Self::count(count);
        let (directory, records) = bytes.get(8..)?.split_at_checked((buckets + 1) * 4)?;
        let layout = Buckets { width, buckets, directory, records, hasher: hasher(), space };
        let (mut found, mut at) = (0, 0);
        for bucket in 1..=buckets {
            let end = nth(directory, bucket)?;
            while at < end {
                (_, _, at) = layout.record(at)?;
                found += 1;
            }
            if at != end {
                return None;
            }
        }
        (found == count && nth(directory, 0) == Some(0) && at == records.len()).then_some(layout)
    }
}

impl<const PER: usize> View for Buckets<'_, PER> {
    #[inline]
    fn get(&self, key: &[u8]) -> Option<u32> {
        let bucket = place(self.hasher.hash(self.space, key), self.buckets);
        let (mut at, end) = (nth(self.directory, bucket)?, nth(self.directory, bucket + 1)?);
        while at < end {
            let (known, payload, next) = self.record(at)?;
            if known == key {
                return Some(payload);
            }
            at = next;
        }
        None
    }

    fn each(&self, mut visit: impl FnMut(&[u8], u32)) -> Option<()> {
        let mut at = 0;
        while at < self.records.len() {
            let (key, payload, next) = self.record(at)?;
            visit(key, payload);
            at = next;
        }
        Some(())
    }
}
