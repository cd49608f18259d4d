//! Parts of values, all of them looked for in one pass.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};

use super::Subject;
use crate::observable::{domain, ip};

/// The most parts of one list: an automaton takes some hundred bytes a part while it is built.
pub(super) const MAX_PARTS: usize = 100_000;

/// The parts of a list.
#[derive(Debug)]
pub(super) struct Substrings {
    automaton: AhoCorasick,
    parts: Box<[Box<str>]>,
}

impl Substrings {
    /// # Errors
    /// The automaton has no room for so many parts.
    pub(super) fn new(parts: Vec<Box<str>>) -> Result<Substrings, BuildError> {
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .ascii_case_insensitive(true)
            .build(parts.iter().map(|part| part.as_bytes()))?;
        Ok(Substrings { automaton, parts: parts.into() })
    }

    /// An entry that is a part of the value. An entry that is a host says nothing about a URL with a path: the host may
    /// stand anywhere in it, and an attacker writes URLs.
    pub(super) fn find(&self, subject: &Subject) -> Option<&str> {
        subject.texts().find_map(|text| {
            self.automaton
                .find_overlapping_iter(text)
                .map(|found| &*self.parts[found.pattern().as_usize()])
                .find(|part| !(subject.has_path() && is_host(part)))
        })
    }
}

/// The form of an entry in which values have it.
pub(super) fn part(entry: &str) -> Box<str> {
    let mut scratch = Vec::new();
    // Values have international names in A-labels.
    let name = if entry.is_ascii() { None } else { domain::canonical(entry.as_bytes(), &mut scratch) };
    name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or(entry).into()
}

/// Whether an entry is the name of a host or an address, with or without scheme, port and closing slash, and nothing
/// more.
fn is_host(part: &str) -> bool {
    let rest = domain::split_scheme(part.as_bytes()).map_or(part.as_bytes(), |(_, rest)| rest);
    let rest = rest.strip_prefix(b"//").unwrap_or(rest);
    let rest = rest.strip_suffix(b"/").unwrap_or(rest);
    let rest = rest.strip_prefix(b".").unwrap_or(rest);
    if ip::canonical(rest).is_some() {
        return true;
    }
    let host = domain::event_host(rest).filter(|_| memchr::memchr3(b'/', b'?', b'#', rest).is_none());
    host.is_some_and(|host| {
        ip::canonical(host).is_some()
            || (memchr::memchr(b'.', host).is_some() && domain::canonical(host, &mut Vec::new()).is_some())
    })
}
