//! Texts in order: the entries of lists that compare whole values or whole labels.
//!
//! One arena and one row of ends and kinds a text, about 8 bytes in addition to the text itself, searched by halving: lists have
//! up to a million entries, and only confirmed findings are looked up.

use super::Subject;
use super::attribute::Kinds;
use crate::intel::indicator::{NameScope, TermValue};
use crate::intel::term;
use crate::observable::{Kind, domain, ip};

/// Distinct texts in order.
#[derive(Debug)]
pub(super) struct Names {
    arena: Box<[u8]>,
    /// Where each text ends.
    ends: Box<[u32]>,
    stands_for: Box<[StandsFor]>,
}

/// The meaning of a text.
#[derive(Clone, Copy, Debug)]
struct StandsFor {
    kinds: Kinds,
    /// It is what follows the scheme of a URL entry, and holds URLs that have no scheme.
    without_scheme: bool,
}

/// Texts under construction.
#[derive(Default)]
pub(super) struct NamesBuilder {
    arena: Vec<u8>,
    texts: Vec<(u32, u32, StandsFor)>,
}

impl NamesBuilder {
    /// Adds an entry of a list of type `string`: a value of each kind that it can be read as.
    ///
    /// # Errors
    /// The reason that the entry holds nothing.
    pub(super) fn add_exact(&mut self, entry: &str, kinds: Kinds) -> Result<(), String> {
        let (mut is_value, mut hash_seen) = (false, false);
        for kind in kinds.iter() {
            let is_hash = matches!(kind, Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep);
            // Of the hash kinds any will do: the digest's length decides.
            if is_hash && std::mem::replace(&mut hash_seen, true) {
                continue;
            }
            match term::value(kind, entry) {
                // Wider than one value.
                None
                | Some(
                    TermValue::Network(_) | TermValue::Domain { scope: NameScope::Below | NameScope::AndBelow, .. },
                ) => continue,
                Some(TermValue::Hash { kind, .. }) if !kinds.contains(kind) => continue,
                Some(TermValue::Hash { kind, digest }) => self.insert(&digest, kind, false)?,
                Some(TermValue::Url(url)) => {
                    self.insert(url.as_str(), Kind::Url, false)?;
                    if url.scheme().is_some() {
                        self.insert(url.rest(), Kind::Url, true)?;
                    }
                }
                Some(value) => self.insert(&value.to_string(), kind, false)?,
            }
            is_value = true;
        }
        if is_value {
            return Ok(());
        }
        Err(match entry.starts_with(['.', '*']) || ip::network(entry).is_some() {
            true => {
                "is more than one value, which a list of type `string` never holds; use `hostname` or `cidr`".to_owned()
            }
            false => "is not a value of the kinds that matching_attributes names".to_owned(),
        })
    }

    /// Adds an entry of a list of type `hostname`.
    ///
    /// # Errors
    /// The reason that the entry holds nothing.
    pub(super) fn add_host(&mut self, entry: &str) -> Result<(), String> {
        if let Some(address) = ip::canonical(entry.as_bytes()) {
            return self.insert(&address.to_string(), Kind::Ip, false);
        }
        let plain = entry.strip_prefix('*').unwrap_or(entry);
        let plain = plain.strip_prefix('.').unwrap_or(plain);
        let mut scratch = Vec::new();
        let name = domain::canonical(plain.as_bytes(), &mut scratch).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or_else(|| "is not a host name".to_owned())?;
        self.insert(name, Kind::Domain, false)
    }

    fn insert(&mut self, text: &str, kind: Kind, without_scheme: bool) -> Result<(), String> {
        let full = |_| "is one too many: the texts of a list have at most 4 GiB".to_owned();
        let start = u32::try_from(self.arena.len()).map_err(full)?;
        let end = u32::try_from(self.arena.len() + text.len()).map_err(full)?;
        let kinds = if without_scheme { Kinds::NONE } else { Kinds::NONE.with(kind) };
        // The forms of one entry are mostly the same text.
        if let Some((last, last_end, stands_for)) = self.texts.last_mut()
            && &self.arena[*last as usize..*last_end as usize] == text.as_bytes()
        {
            stands_for.kinds = stands_for.kinds.union(kinds);
            stands_for.without_scheme |= without_scheme;
            return Ok(());
        }
        self.arena.extend_from_slice(text.as_bytes());
        self.texts.push((start, end, StandsFor { kinds, without_scheme }));
        Ok(())
    }

    /// Sorts the texts and seals the set.
    pub(super) fn build(mut self) -> Names {
        let arena = &self.arena;
        let text = |(start, end, _): &(u32, u32, StandsFor)| &arena[*start as usize..*end as usize];
        self.texts.sort_unstable_by(|left, right| text(left).cmp(text(right)));
        let (mut sorted, mut ends, mut stands_for) = (Vec::with_capacity(arena.len()), Vec::new(), Vec::new());
        let mut last: Option<&[u8]> = None;
        for entry in &self.texts {
            let text = text(entry);
            match stands_for.last_mut() {
                Some(StandsFor { kinds, without_scheme }) if last == Some(text) => {
                    *kinds = kinds.union(entry.2.kinds);
                    *without_scheme |= entry.2.without_scheme;
                }
                _ => {
                    sorted.extend_from_slice(text);
                    // The unsorted arena fits 32 bits, and this one has no more.
                    ends.push(sorted.len() as u32);
                    stands_for.push(entry.2);
                    last = Some(text);
                }
            }
        }
        Names { arena: sorted.into(), ends: ends.into(), stands_for: stands_for.into() }
    }
}

impl Names {
    /// The entry that is the value.
    pub(super) fn exact(&self, subject: &Subject) -> Option<&str> {
        let of_kind = |text: &str| {
            let (found, stands_for) = self.get(text)?;
            stands_for.kinds.contains(subject.kind()).then_some(found)
        };
        // A scheme is compared only when both sides have one.
        let without_scheme = || {
            let (rest, has_scheme) = subject.url()?;
            let (found, stands_for) = self.get(rest)?;
            let holds = stands_for.kinds.contains(Kind::Url) || (stands_for.without_scheme && !has_scheme);
            holds.then_some(found)
        };
        subject.texts().find_map(of_kind).or_else(without_scheme)
    }

    /// The entry of this host itself.
    pub(super) fn host(&self, host: &str) -> Option<&str> {
        self.get(host).map(|(found, _)| found)
    }

    fn get(&self, text: &str) -> Option<(&str, StandsFor)> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.text(middle);
            match found.cmp(text.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    return std::str::from_utf8(found).ok().map(|found| (found, self.stands_for[middle]));
                }
            }
        }
        None
    }

    fn text(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.arena[start as usize..self.ends[at] as usize]
    }
}
