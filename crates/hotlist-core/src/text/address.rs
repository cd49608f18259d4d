//! IPv6 addresses: groups of hexadecimal digits between colons.

use std::ops::Range;

use super::class::{DIGIT, HEX, class, may_begin, may_end, word_at};
use super::name::{DottedWord, of_host};
use super::{Scan, Token, TokenKind};
use crate::observable::ip;

/// The longest text of an IPv6 address: eight groups of four digits, the last two as a dotted quad.
const LONGEST: usize = 45;
/// The most digits of a port.
const LONGEST_PORT: usize = 5;

impl Scan<'_> {
    /// The address around the colon at `at`.
    #[inline]
    pub(super) fn ipv6(&mut self, at: usize, each: &mut impl FnMut(Token)) {
        if at < self.addresses_end {
            return;
        }
        let text = self.text;
        let digits = text[self.addresses_end..at].iter().rev().take_while(|byte| class(**byte) & (DIGIT | HEX) != 0);
        let first = at - digits.count();
        let (mut end, mut colons, mut is_short) = (at, 0, false);
        while let Some(byte) = text.get(end) {
            match byte {
                b':' => {
                    colons += 1;
                    is_short |= text.get(end + 1) == Some(&b':');
                }
                byte if class(*byte) & (DIGIT | HEX) != 0 => {}
                _ => break,
            }
            end += 1;
        }
        self.addresses_end = end;
        // Most colons are those of times and of what stands before a value.
        if is_short || colons >= 6 {
            self.groups(first..end, each);
        }
    }

    /// Groups and colons, of which some may belong to words around them.
    fn groups(&mut self, groups: Range<usize>, each: &mut impl FnMut(Token)) {
        let text = self.text;
        let Range { mut start, mut end } = groups;
        if !may_begin(text, start) {
            // The first group is the end of a word.
            let Some(colon) = memchr::memchr(b':', &text[start..end]) else { return };
            start += colon + 1;
        }
        if text.get(end) == Some(&b'.') && word_at(text, end + 1) > 0 {
            // The last two groups may be a dotted quad.
            let last = memchr::memrchr(b':', &text[..end]).map_or(end, |colon| colon + 1);
            let quad = DottedWord::read(text, last);
            if last < end && quad.kind(text, last) == Some(TokenKind::Ip) && may_end(text, quad.end) {
                end = quad.end;
                self.addresses_end = end;
            }
        }
        if !may_end(text, end) {
            // The last group is the start of a word.
            let Some(colon) = memchr::memrchr(b':', &text[start.min(end)..end]) else { return };
            end = start + colon;
        }
        let Some(mut found) = text.get(start..end) else { return };
        while let [b':', next, ..] = found
            && *next != b':'
        {
            start += 1;
            found = &found[1..];
        }
        while let [.., before, b':'] = found
            && *before != b':'
        {
            found = &found[..found.len() - 1];
        }
        self.address(start..start + found.len(), each);
        // The last group may as well be a port.
        let port = found.iter().rev().take_while(|byte| byte.is_ascii_digit()).take(LONGEST_PORT + 1).count();
        if let Some(without) = found.len().checked_sub(port + 1)
            && (1..=LONGEST_PORT).contains(&port)
            && found[without] == b':'
            && !found[..without].ends_with(b":")
        {
            self.address(start..start + without, each);
        }
    }

    fn address(&self, at: Range<usize>, each: &mut impl FnMut(Token)) {
        let text = self.text;
        let address = &text[at.clone()];
        let is_v6 = (3..=LONGEST).contains(&address.len()) && memchr::memchr(b':', address).is_some();
        if is_v6 && may_begin(text, at.start) && ip::canonical(address).is_some() {
            each(of_host(text, TokenKind::Ip, at));
        }
    }
}
