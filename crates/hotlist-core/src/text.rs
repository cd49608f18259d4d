//! Tokens in text: the addresses, domains, URLs, hashes and e-mail addresses that stand in a line or a message. [`pairs`]
//! reads lines that are fields (CEF, LEEF, logfmt).
//!
//! A token is bounded: before it and behind it stands no letter, digit, `-` or `_`, behind it no `.` that one of these
//! follows, and before it neither `.` nor `@`. The host of a URL is a token of its own; the domain of an e-mail address is
//! not. Addresses and names are found at their `.`, `:` and `@`, hashes by blocks of digits, both by comparing blocks of
//! bytes at once, so that the rest of a text is only skimmed. Every part of a text is read a constant number of times,
//! whatever is in it. The property tests compare the tokens with those of a slow scan; the fuzz target `text` measures
//! time and memory.

mod address;
mod class;
mod email;
mod hash;
mod mark;
mod name;
mod pairs;
mod refang;
mod url;

#[cfg(test)]
mod tests;

pub use pairs::{MOST_PAIRS, Pair, PairFormat, TooLong, pairs};
pub use refang::{Refanged, refang_parts};

use std::ops::Range;

use crate::observable::domain;

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    /// An IPv4 address of four decimal numbers, or an IPv6 address.
    Ip,
    /// A name of two labels or more; [`is_known_name`] says whether its top level exists.
    Domain,
    /// A URL with a scheme.
    Url,
    /// As many hexadecimal digits as MD5, SHA-1, SHA-256 or SHA-512 have.
    Hash,
    /// An e-mail address.
    Email,
}

impl TokenKind {
    /// The word shown by `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenKind::Ip => "ip",
            TokenKind::Domain => "domain",
            TokenKind::Url => "url",
            TokenKind::Hash => "hash",
            TokenKind::Email => "email",
        }
    }
}

/// A token of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Where it stands, in bytes.
    pub at: Range<usize>,
    /// Its kind.
    pub kind: TokenKind,
    /// An address behind `word/`, which is more often a version (`Chrome/120.0.0.0`): no network covers it.
    pub is_version: bool,
}

impl Token {
    fn new(kind: TokenKind, at: Range<usize>) -> Token {
        Token { at, kind, is_version: false }
    }
}

/// Hands each token of a text to `each`, in no particular order. Returns whether those were all: of URLs that begin inside
/// other URLs only so many are read.
///
/// A token of kind [`TokenKind::Domain`] only looks like a name: `setup.exe` is handed over too. Most tokens are not
/// worth the question whether their top level exists, so it is asked later, of those that are an indicator. An e-mail
/// address outside ASCII may have no canonical form: finding that out costs as much as looking it up.
pub fn tokens(text: &[u8], each: &mut impl FnMut(Token)) -> bool {
    let mut scan = Scan { text, names_end: 0, addresses_end: 0, urls: url::Region::default() };
    mark::marks(text, |at, mark| match mark {
        b'.' => scan.name(at, each),
        b':' => scan.colon(at, each),
        _ => scan.email(at, each),
    });
    hash::hashes(text, each);
    scan.urls.is_complete()
}

/// Whether a domain in a text has a top level that exists.
pub fn is_known_name(token: &[u8]) -> bool {
    let mut scratch = Vec::new();
    domain::canonical(token, &mut scratch).is_some_and(domain::has_known_root)
}

/// A scan of one text, from its start to its end.
struct Scan<'t> {
    text: &'t [u8],
    /// Where the last word with a dot ends.
    names_end: usize,
    /// Where the last sequence of groups and colons ends.
    addresses_end: usize,
    urls: url::Region,
}

impl Scan<'_> {
    fn colon(&mut self, at: usize, each: &mut impl FnMut(Token)) {
        match self.text.get(at + 1..at + 3) {
            Some(b"//") => self.url(at, each),
            _ => self.ipv6(at, each),
        }
    }
}
