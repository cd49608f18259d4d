//! Hashes: runs of hexadecimal digits.
//!
//! A hash is longer than two blocks, so one block at least has only digits of it: whole blocks are tested, which compiles
//! to vector instructions, and the digits around are read only where a block passes.

use super::class::{DIGIT, HEX, class, may_begin, may_end};
use super::{Token, TokenKind};

/// The shortest hash has twice as many digits.
const BLOCK: usize = 16;

/// Hands over each hash of a text.
#[inline]
pub(super) fn hashes(text: &[u8], each: &mut impl FnMut(Token)) {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let mut read = 0;
    for (number, block) in blocks.iter().enumerate() {
        if is_hex(block) && number * BLOCK >= read {
            read = around(text, number * BLOCK, each);
        }
    }
}

/// Whether every byte is a hexadecimal digit, without a branch for each.
#[inline]
fn is_hex(block: &[u8; BLOCK]) -> bool {
    let is_digit = |byte: u8| byte.wrapping_sub(b'0') < 10 || (byte | 0x20).wrapping_sub(b'a') < 6;
    block.iter().fold(true, |all, byte| all & is_digit(*byte))
}

/// The digits around a place; returns where they end.
fn around(text: &[u8], at: usize, each: &mut impl FnMut(Token)) -> usize {
    let is_digit = |byte: &u8| class(*byte) & (DIGIT | HEX) != 0;
    // At most a block, for the block before it was not all digits, or was read already.
    let start = at - text[..at].iter().rev().take_while(|byte| is_digit(byte)).count();
    let end = at + text[at..].iter().take_while(|byte| is_digit(byte)).count();
    if matches!(end - start, 32 | 40 | 64 | 128) && may_begin(text, start) && may_end(text, end) {
        each(Token::new(TokenKind::Hash, start..end));
    }
    end
}
