//! Sorted keys without the prefix that they share with the previous key, in blocks of sixteen that start with a whole key,
//! and the places of the blocks for a binary search. Domains are sorted by their labels from the right.

use std::cmp::Ordering;

use hotlist::intel::keys::KeySpace;

use crate::keys::Keys;
use crate::layout::{Layout, View, head, length, nth, put, put_head, put_length, word};

/// Keys of a block.
const BLOCK: usize = 16;

pub struct Fronts<'a> {
    count: usize,
    width: usize,
    blocks: usize,
    index: &'a [u8],
    records: &'a [u8],
    space: KeySpace,
}

/// One record: how many bytes of the key before it keeps, what it adds, its payload, where the next one starts.
type Record<'a> = (usize, &'a [u8], u32, usize);

impl Fronts<'_> {
    #[inline]
    fn record(&self, at: usize) -> Option<Record<'_>> {
        let (shared, at) = length(self.records, at)?;
        let (added, start) = match self.width {
            0 => length(self.records, at)?,
            width => (width.checked_sub(shared)?, at),
        };
        let end = start + added;
        Some((shared, self.records.get(start..end)?, word(self.records, end)?, end + 4))
    }

    /// Every key in sorted form, with its payload and the place of its record.
    fn sorted(&self, mut visit: impl FnMut(&[u8], u32, usize) -> Option<()>) -> Option<()> {
        let (mut key, mut at) = (Vec::new(), 0);
        for _ in 0..self.count {
            let (shared, added, payload, next) = self.record(at)?;
            if shared > key.len() {
                return None;
            }
            key.truncate(shared);
            key.extend_from_slice(added);
            visit(&key, payload, at)?;
            at = next;
        }
        (at == self.records.len()).then_some(())
    }
}

/// The key as it is sorted: labels of a domain from the right.
fn turned<'k>(key: &'k [u8], space: KeySpace, scratch: &'k mut Vec<u8>) -> &'k [u8] {
    if space != KeySpace::Domain {
        return key;
    }
    scratch.clear();
    for label in key.rsplit(|byte| *byte == b'.') {
        scratch.extend_from_slice(label);
        scratch.push(b'.');
    }
    scratch.pop();
    scratch
}

/// The first eight bytes as a number, so that most comparisons touch no key.
fn start(key: &[u8]) -> u64 {
    let mut word = [0; 8];
    let length = key.len().min(8);
    word[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(word)
}

impl Layout for Fronts<'_> {
    type View<'a> = Fronts<'a>;

    fn build(keys: &Keys) -> Vec<u8> {
        let mut scratch = Vec::new();
        let mut sorted = Keys::default();
        keys.iter().for_each(|key| sorted.push(turned(key, keys.space(), &mut scratch)));
        let mut order: Vec<(u64, u32)> =
            (0u32..).zip(sorted.iter()).map(|(number, key)| (start(key), number)).collect();
        order.sort_unstable_by(|one, two| {
            one.0.cmp(&two.0).then_with(|| sorted.key(one.1 as usize).cmp(sorted.key(two.1 as usize)))
        });
        let blocks = keys.len().div_ceil(BLOCK);
        let mut out = Vec::new();
        put_head(&mut out, keys);
        out.resize(8 + blocks * 4, 0);
        let records = out.len();
        let mut before: &[u8] = &[];
        for (at, (_, number)) in order.iter().enumerate() {
            let key = sorted.key(*number as usize);
            if at % BLOCK == 0 {
                let offset = (out.len() - records) as u32;
                out[8 + at / BLOCK * 4..][..4].copy_from_slice(&offset.to_le_bytes());
                before = &[];
            }
            let shared = before.iter().zip(key).take_while(|(one, two)| one == two).count();
            put_length(&mut out, shared);
            if keys.width.is_none() {
                put_length(&mut out, key.len() - shared);
            }
            out.extend_from_slice(&key[shared..]);
            put(&mut out, *number as usize);
            before = key;
        }
        out
    }

    fn open(bytes: &[u8], space: KeySpace) -> Option<Self::View<'_>> {
        let (count, width) = head(bytes)?;
        let blocks = count.div_ceil(BLOCK);
        let (index, records) = bytes.get(8..)?.split_at_checked(blocks * 4)?;
        let layout = Fronts { count, width, blocks, index, records, space };
        let (mut before, mut number) = (Vec::new(), 0);
        layout.sorted(|key, _, at| {
            let block = number % BLOCK != 0 || nth(index, number / BLOCK) == Some(at) && layout.record(at)?.0 == 0;
            if !block || (number > 0 && *before >= *key) {
                return None;
            }
            before.clear();
            before.extend_from_slice(key);
            number += 1;
            Some(())
        })?;
        Some(layout)
    }
}

impl View for Fronts<'_> {
    #[inline]
    fn get(&self, key: &[u8]) -> Option<u32> {
        let mut scratch = Vec::with_capacity(if self.space == KeySpace::Domain { key.len() + 1 } else { 0 });
        let key = turned(key, self.space, &mut scratch);
        let (mut low, mut high) = (0, self.blocks);
        while low < high {
            let middle = (low + high) / 2;
            match self.record(nth(self.index, middle)?)?.1 <= key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let mut at = nth(self.index, low.checked_sub(1)?)?;
        // How many leading bytes the previous key shares with the key that is looked up: compared with the number of
        // bytes that a record shares with its predecessor.
        let mut equal = 0;
        for _ in 0..BLOCK.min(self.count - (low - 1) * BLOCK) {
            let (shared, added, payload, next) = self.record(at)?;
            match shared.cmp(&equal) {
                Ordering::Less => return None,
                Ordering::Equal => {
                    let rest = &key[equal..];
                    if added == rest {
                        return Some(payload);
                    }
                    let more = added.iter().zip(rest).take_while(|(one, two)| one == two).count();
                    if added[more..] > rest[more..] {
                        return None;
                    }
                    equal += more;
                }
                Ordering::Greater => {}
            }
            at = next;
        }
        None
    }

    fn each(&self, mut visit: impl FnMut(&[u8], u32)) -> Option<()> {
        let mut scratch = Vec::new();
        self.sorted(|key, payload, _| {
            visit(turned(key, self.space, &mut scratch), payload);
            Some(())
        })
    }
}
