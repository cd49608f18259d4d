//! E-mail addresses.

use super::class::{DOT, LOCAL, class, word_at, word_before};
use super::name::DottedWord;
use super::{Scan, Token, TokenKind};
use crate::observable::email;

impl Scan<'_> {
    /// The address around the `@` at `at`.
    pub(super) fn email(&mut self, at: usize, each: &mut impl FnMut(Token)) {
        let text = self.text;
        let Some(start) = local_start(text, at, DOT).filter(|start| *start < at) else { return };
        if word_at(text, at + 1) == 0 || matches!(text[start], b'.') || text[..start].last() == Some(&b'@') {
            return;
        }
        let host = DottedWord::read(text, at + 1);
        if !host.has_dots() {
            return;
        }
        let mut hand_over = |start: usize| {
            let address = &text[start..host.end];
            if address.len() <= email::LONGEST_ADDRESS {
                each(Token::new(TokenKind::Email, start..host.end));
            }
        };
        hand_over(start);
        // An address with a detail (`name+detail@host`) is a token as well.
        if start > 0
            && class(text[start - 1]) == LOCAL
            && let Some(longer) = local_start(text, start, DOT | LOCAL)
            && let Some(first) = (longer..start).find(|at| class(text[*at]) & (DOT | LOCAL) == 0)
            && (longer == 0 || text[longer - 1] != b'@')
        {
            hand_over(first);
        }
    }
}

/// Where word characters, and those of other classes, begin that end at a place; `None` when they are longer than an
/// address.
fn local_start(text: &[u8], end: usize, others: u8) -> Option<usize> {
    let mut start = end;
    while start > 0 {
        let length = match class(text[start - 1]) & others {
            0 => word_before(text, start),
            _ => 1,
        };
        if length == 0 {
            return Some(start);
        }
        start -= length;
        if end - start > email::LONGEST_ADDRESS {
            return None;
        }
    }
    Some(start)
}
