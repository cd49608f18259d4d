//! The characters at which tokens are: `.`, `:` and `@`.
//!
//! Logs have one of them every few words, too often for a search that begins again behind each. Blocks are compared as a
//! whole, which compiles to vector instructions, and only those with a mark are looked into.

const BLOCK: usize = 32;
const WORD: usize = 8;

/// Calls `found` with the place of each mark and the mark, in order.
#[inline]
pub(super) fn marks(text: &[u8], mut found: impl FnMut(usize, u8)) {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        let flags = block.map(|byte| u8::from(is_mark(byte)));
        for (at, word) in flags.as_chunks::<WORD>().0.iter().enumerate() {
            // One bit for each mark, in the byte of its place.
            let mut bits = u64::from_le_bytes(*word);
            while bits != 0 {
                let at = number * BLOCK + at * WORD + bits.trailing_zeros() as usize / 8;
                found(at, text[at]);
                bits &= bits - 1;
            }
        }
    }
    let start = text.len() - rest.len();
    for (at, byte) in rest.iter().enumerate().filter(|(_, byte)| is_mark(**byte)) {
        found(start + at, *byte);
    }
}

#[inline]
fn is_mark(byte: u8) -> bool {
    (byte == b'.') | (byte == b':') | (byte == b'@')
}
