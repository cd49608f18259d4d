//! A hash table with open addressing, four slots in five taken, over an arena of keys with offsets. The bits of a slot
//! that the number of a key leaves free hold bits of its hash, so that few other keys are compared.

use hotlist::intel::keys::{KeyHasher, KeySpace};

use crate::keys::Keys;
use crate::layout::{Layout, View, hasher, head, nth, place, put, put_head, word};

pub struct Slots<'a> {
    count: usize,
    width: usize,
    size: usize,
    slots: &'a [u8],
    offsets: &'a [u8],
    payloads: &'a [u8],
    arena: &'a [u8],
    hasher: KeyHasher,
    space: KeySpace,
}

fn size(count: usize) -> usize {
    count * 5 / 4 + 1
}

/// The bits that hold a number of a key, counted from 1; 0 is a free slot.
fn mask(count: usize) -> u32 {
    u32::MAX >> (count as u32).leading_zeros().min(31)
}

impl Slots<'_> {
    #[inline]
    fn key(&self, number: usize) -> Option<&[u8]> {
        match self.width {
            0 => self.arena.get(nth(self.offsets, number)?..nth(self.offsets, number + 1)?),
            width => self.arena.get(number * width..)?.get(..width),
        }
    }
}

impl Layout for Slots<'_> {
    type View<'a> = Slots<'a>;

    fn build(keys: &Keys) -> Vec<u8> {
        let (hasher, size, mask) = (hasher(), size(keys.len()), mask(keys.len()));
        let mut slots = vec![0u32; size];
        for (number, key) in (1u32..).zip(keys.iter()) {
            let hash = hasher.hash(keys.space(), key);
            let mut at = place(hash, size);
            while slots[at] != 0 {
                at = if at + 1 == size { 0 } else { at + 1 };
            }
            slots[at] = number | hash as u32 & !mask;
        }
        let offsets = if keys.width.is_none() { keys.len() + 1 } else { 0 };
        let mut out = Vec::with_capacity(8 + (size + offsets + keys.len()) * 4 + keys.bytes());
        put_head(&mut out, keys);
        slots.iter().for_each(|slot| put(&mut out, *slot as usize));
        drop(slots);
        if keys.width.is_none() {
            let mut end = 0;
            put(&mut out, end);
            for key in keys.iter() {
                end += key.len();
                put(&mut out, end);
            }
        }
        (0..keys.len()).for_each(|payload| put(&mut out, payload));
        keys.iter().for_each(|key| out.extend_from_slice(key));
        out
    }

    fn open(bytes: &[u8], space: KeySpace) -> Option<Self::View<'_>> {
        let (count, width) = head(bytes)?;
        let size = size(count);
        let (slots, rest) = bytes.get(8..)?.split_at_checked(size * 4)?;
        let (offsets, rest) = rest.split_at_checked(if width == 0 { (count + 1) * 4 } else { 0 })?;
        let (payloads, arena) = rest.split_at_checked(count * 4)?;
        let layout = Slots { count, width, size, slots, offsets, payloads, arena, hasher: hasher(), space };
        let mut seen = vec![false; count];
        let mut taken = 0;
        for at in 0..size {
            let number = word(slots, at * 4)? & mask(count);
            if number != 0 {
                let seen = seen.get_mut(number as usize - 1).filter(|seen| !**seen)?;
                *seen = true;
                taken += 1;
            }
        }
        let mut end = 0;
        for number in 0..count {
            end += layout.key(number)?.len();
        }
        (taken == count && end == arena.len()).then_some(layout)
    }
}

impl View for Slots<'_> {
    #[inline]
    fn get(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash(self.space, key);
        let mask = mask(self.count);
        let mut at = place(hash, self.size);
        loop {
            let slot = word(self.slots, at * 4)?;
            if slot == 0 {
                return None;
            }
            let number = (slot & mask) as usize - 1;
            if (slot ^ hash as u32) & !mask == 0 && self.key(number)? == key {
                return word(self.payloads, number * 4);
            }
            at = if at + 1 == self.size { 0 } else { at + 1 };
        }
    }

    fn each(&self, mut visit: impl FnMut(&[u8], u32)) -> Option<()> {
        for number in 0..self.count {
            visit(self.key(number)?, word(self.payloads, number * 4)?);
        }
        Some(())
    }
}
