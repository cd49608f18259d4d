//! Keys of one width, sorted, with a directory over their first bits (up to sixteen) and a binary search below it.

use hotlist::intel::keys::KeySpace;

use crate::keys::Keys;
use crate::layout::{Layout, View, head, nth, put, put_head, word};

pub struct Sorted<'a> {
    count: usize,
    width: usize,
    bits: u32,
    directory: &'a [u8],
    records: &'a [u8],
}

/// Bits of the directory: about eight keys an entry where keys are spread evenly, never more than sixteen.
fn bits(count: usize) -> u32 {
    (count / 8).max(2).ilog2().min(16)
}

/// The entry of a key.
fn entry(key: &[u8], bits: u32) -> usize {
    let first = usize::from(key.first().copied().unwrap_or(0)) << 8 | usize::from(key.get(1).copied().unwrap_or(0));
    first >> (16 - bits)
}

impl Sorted<'_> {
    #[inline]
    fn key(&self, number: usize) -> Option<&[u8]> {
        self.records.get(number * (self.width + 4)..)?.get(..self.width)
    }
}

impl Layout for Sorted<'_> {
    type View<'a> = Sorted<'a>;

    fn build(keys: &Keys) -> Vec<u8> {
        let mut order: Vec<(u32, u32)> = (0u32..)
            .zip(keys.iter())
            .map(|(number, key)| (key.first_chunk().map_or(0, |start| u32::from_be_bytes(*start)), number))
            .collect();
        order.sort_unstable_by(|one, two| {
            one.0.cmp(&two.0).then_with(|| keys.key(one.1 as usize).cmp(keys.key(two.1 as usize)))
        });
        let bits = bits(keys.len());
        let entries = 1 << bits;
        let mut out = Vec::with_capacity(8 + (entries + 1) * 4 + keys.bytes() + keys.len() * 4);
        put_head(&mut out, keys);
        let mut first = vec![0; entries + 1];
        order.iter().for_each(|(_, number)| first[entry(keys.key(*number as usize), bits) + 1] += 1);
        let mut total = 0;
        for count in first {
            total += count;
            put(&mut out, total);
        }
        for (_, number) in order {
            out.extend_from_slice(keys.key(number as usize));
            put(&mut out, number as usize);
        }
        out
    }

    fn open(bytes: &[u8], _: KeySpace) -> Option<Self::View<'_>> {
        let (count, width) = head(bytes)?;
        let bits = bits(count);
        let (directory, records) = bytes.get(8..)?.split_at_checked(((1 << bits) + 1) * 4)?;
        let layout = Sorted { count, width, bits, directory, records };
        let (mut before, mut number): (&[u8], usize) = (&[], 0);
        for at in 0..1 << bits {
            let end = nth(directory, at + 1)?;
            while number < end {
                let key = records.get(number * (width + 4)..)?.get(..width)?;
                if before >= key || entry(key, bits) != at {
                    return None;
                }
                before = key;
                number += 1;
            }
            if number != end {
                return None;
            }
        }
        (number == count && records.len() == count * (width + 4)).then_some(layout)
    }
}

impl View for Sorted<'_> {
    #[inline]
    fn get(&self, key: &[u8]) -> Option<u32> {
        let at = entry(key, self.bits);
        let (mut low, mut high) = (nth(self.directory, at)?, nth(self.directory, at + 1)?);
        while low < high {
            let middle = (low + high) / 2;
            match self.key(middle)? < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let found = low < self.count && self.key(low)? == key;
        found.then(|| word(self.records, low * (self.width + 4) + self.width))?
    }

    fn each(&self, mut visit: impl FnMut(&[u8], u32)) -> Option<()> {
        for number in 0..self.count {
            visit(self.key(number)?, word(self.records, number * (self.width + 4) + self.width)?);
        }
        Some(())
    }
}
