//! The common interface of all candidates: one flat buffer from keys, a check of all of it, look-ups and a walk.

use hotlist::intel::keys::{KeyHasher, KeySpace};

use crate::keys::Keys;

/// A way to lay keys with a `u32` each into a buffer.
pub trait Layout {
    /// The buffer, opened.
    type View<'a>: View;
    /// Lays out the keys.
    fn build(keys: &Keys) -> Vec<u8>;
    /// Reads the buffer's head and walks all of it once: whatever `get` will follow leads inside the buffer, and what
    /// is sorted is so. `None` when not.
    fn open(bytes: &[u8], space: KeySpace) -> Option<Self::View<'_>>;
}

/// An opened buffer.
pub trait View {
    /// The payload of a key.
    fn get(&self, key: &[u8]) -> Option<u32>;
    /// Every key in canonical form with its payload, as the prefilter wants them when a segment is loaded.
    fn each(&self, visit: impl FnMut(&[u8], u32)) -> Option<()>;
}

/// The key of the hash; a segment keeps its own.
pub fn hasher() -> KeyHasher {
    KeyHasher::new(0x5eed)
}

/// Maps a hash to one of `count` places so that the order of hashes is the order of places.
pub fn place(hash: u64, count: usize) -> usize {
    ((u128::from(hash) * count as u128) >> 64) as usize
}

/// A little-endian word.
#[inline]
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// A word of an array that starts the slice.
#[inline]
pub fn nth(bytes: &[u8], number: usize) -> Option<usize> {
    word(bytes, number.checked_mul(4)?).map(|word| word as usize)
}

pub fn put(out: &mut Vec<u8>, word: usize) {
    out.extend_from_slice(&(word as u32).to_le_bytes());
}

/// A length of one or two bytes; the keys of the samples are all shorter than 32768.
pub fn put_length(out: &mut Vec<u8>, length: usize) {
    match length < 128 {
        true => out.push(length as u8),
        false => out.extend_from_slice(&[(length & 127) as u8 | 128, (length >> 7) as u8]),
    }
}

/// A length and where what follows it starts.
#[inline]
pub fn length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let low = usize::from(*bytes.get(at)?);
    match low < 128 {
        true => Some((low, at + 1)),
        false => Some((low & 127 | usize::from(*bytes.get(at + 1)?) << 7, at + 2)),
    }
}

/// Number of keys and width of each (0: they have lengths), the first eight bytes of every buffer.
pub fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    Some((word(bytes, 0)? as usize, word(bytes, 4)? as usize))
}

pub fn put_head(out: &mut Vec<u8>, keys: &Keys) {
    put(out, keys.len());
    put(out, keys.width.unwrap_or(0));
}
