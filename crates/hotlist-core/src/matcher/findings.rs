//! The findings of one record: each once, up to a limit, and without a copy of the record.
//!
//! A value of an event is copied once for all findings at it, and never as a whole when it is long. When a record has
//! more findings than its budget, the best ones stay: [`rank`] says which.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::intel::indicator::Confidence;
use crate::intel::keys::KeySpace;
use crate::intel::posting::Posting;
use crate::intel::snapshot::Snapshot;
use crate::observable::Kind;
use crate::rules::Selection;
use crate::schema::{FieldId, FieldTable};

/// The longest value that a finding shows, in bytes. Of a longer list of e-mail addresses it shows the address, of any
/// other longer value the start. Allowlists try regular expressions on values of half this length at most, so none is
/// tried on a start.
pub const MAX_SHOWN: usize = 16 << 10;

/// The most findings that a record has unless [`Matcher::set_limit`](super::Matcher::set_limit) gives another number.
pub const RECORD_FINDINGS: usize = 256;

/// An indicator found at a field, confirmed exactly, not yet allowed by policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where.
    pub field: FieldId,
    /// The value as the event has it, or the part of it that is shown: at most [`MAX_SHOWN`] bytes.
    pub value: Arc<[u8]>,
    /// The kind of the indicator's value.
    pub kind: Kind,
    /// The indicator's value in canonical form.
    pub name: Box<str>,
    /// How the indicator names the value.
    pub relation: Relation,
    /// Whether it is the registered domain of the value, which the event does not have itself.
    pub is_derived: bool,
    /// The indicator and the conditions of its term.
    pub posting: Posting,
    /// Where it stands, if the value is part of a text.
    pub in_text: Option<InText>,
    /// The rules that select its indicator, once policy has asked rules.
    pub selection: Option<Arc<Selection>>,
}

/// Where in a text a finding stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InText {
    /// The path of the text, when no row of the field table names it.
    pub path: Option<Arc<str>>,
    /// Its bytes in the text.
    pub at: Range<usize>,
}

impl Hit {
    /// The event's own path of the value.
    pub fn path<'h>(&'h self, table: &'h FieldTable) -> &'h str {
        let of_text = self.in_text.as_ref().and_then(|in_text| in_text.path.as_deref());
        of_text.unwrap_or_else(|| &table.get(self.field).name)
    }
}

/// How an indicator names a value of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It is the value itself.
    Is,
    /// It is a network, a parent domain, a path above the value, or a range.
    Covers,
    /// It is an expression, which the value matches.
    Matches,
}

/// Orders findings when not all of them fit a budget: the most confident indicator first, then exact ones before
/// networks, parents, ranges and expressions.
pub fn rank(snapshot: &Snapshot, hit: &Hit) -> (Reverse<Confidence>, bool) {
    (Reverse(snapshot.indicator(hit.posting.indicator).context.confidence), hit.relation != Relation::Is)
}

/// The result of a look-up, before it is known whether it was found already.
pub(super) struct Finding<'v> {
    pub(super) field: FieldId,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) relation: Relation,
    pub(super) posting: Posting,
    pub(super) raw: &'v [u8],
    /// The part of a long value that is shown instead of its start.
    pub(super) part: Option<&'v [u8]>,
}

/// The findings of one record, in the order of the walk.
pub(super) struct Findings {
    hits: Vec<Hit>,
    /// Places in `hits`, by what makes two findings the same.
    known: HashTable<u32>,
    /// How many of `hits` are of composite patterns. They have a budget of their own, because most of them come to
    /// nothing and must not displace findings that count alone.
    composite: usize,
    limit: usize,
    is_truncated: bool,
    /// The value that is read now as findings share it, and its hash.
    shown: Option<(Arc<[u8]>, u64)>,
}

/// A larger table of known findings is given back instead of cleared for the next record.
const KEPT_TABLE: usize = 1024;

impl Findings {
    pub(super) fn new() -> Findings {
        Findings {
            hits: Vec::new(),
            known: HashTable::new(),
            composite: 0,
            limit: RECORD_FINDINGS,
            is_truncated: false,
            shown: None,
        }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// Whether findings were left out since the last [`Findings::take`].
    pub(super) fn is_truncated(&self) -> bool {
        self.is_truncated || self.alone() > self.limit || self.composite > self.limit
    }

    /// The next value is read.
    #[inline]
    pub(super) fn next_value(&mut self) {
        self.shown = None;
    }

    /// Adds a finding that `keep` wants, unless it is known.
    #[cold]
    pub(super) fn add(
        &mut self,
        snapshot: &Snapshot,
        finding: Finding<'_>,
        is_derived: bool,
        in_text: Option<InText>,
        keep: Option<&dyn Fn(&Hit) -> bool>,
    ) {
        let Finding { field, kind, name, relation, posting, raw, part } = finding;
        let copy = |bytes: &[u8]| {
            let shown = excerpt(bytes);
            (Arc::from(shown), snapshot.hasher().hash(KeySpace::Text, shown))
        };
        let (value, value_hash) = match part {
            Some(part) if raw.len() > MAX_SHOWN => copy(part),
            _ => self.shown.get_or_insert_with(|| copy(raw)).clone(),
        };
        let hash = hash(snapshot, value_hash, field, &posting, &name);
        let hit =
            Hit { field, value, kind, name: name.into(), relation, is_derived, posting, in_text, selection: None };
        let is_at_field =
            |hit: &Hit| hit.field == FieldId::TEXT && self.hits.iter().any(|known| at_field(snapshot, known, hit));
        if is_at_field(&hit)
            || self.known.find(hash, |at| self.hits.get(*at as usize).is_some_and(|known| same(known, &hit))).is_some()
            || keep.is_some_and(|keep| !keep(&hit))
        {
            return;
        }
        self.push(snapshot, hit, hash);
        if self.alone() > 2 * self.limit || self.composite > 2 * self.limit {
            self.prune(snapshot);
        }
    }

    /// The findings, the best ones first if some were left out, else in the order of the walk.
    pub(super) fn take(&mut self, snapshot: &Snapshot) -> Vec<Hit> {
        if self.is_truncated() {
            self.prune(snapshot);
        }
        self.clear_known();
        self.composite = 0;
        self.is_truncated = false;
        std::mem::take(&mut self.hits)
    }

    pub(super) fn clear(&mut self) {
        self.hits.clear();
        self.clear_known();
        self.composite = 0;
        self.is_truncated = false;
    }

    fn alone(&self) -> usize {
        self.hits.len() - self.composite
    }

    fn push(&mut self, snapshot: &Snapshot, hit: Hit, hash: u64) {
        self.composite += usize::from(snapshot.is_composite(hit.posting.indicator));
        // A record of less than 4 GiB has fewer values than that, and the budget is smaller.
        self.known.insert_unique(hash, self.hits.len() as u32, |at| {
            self.hits.get(*at as usize).map_or(0, |known| hash_of(snapshot, known))
        });
        self.hits.push(hit);
    }

    /// Leaves out what exceeds the budget. What was left out is worse than all that stays, so it would be left out again.
    fn prune(&mut self, snapshot: &Snapshot) {
        let mut hits = std::mem::take(&mut self.hits);
        hits.sort_by_cached_key(|hit| rank(snapshot, hit));
        self.known.clear();
        self.composite = 0;
        for hit in hits {
            let (kept, limit) = match snapshot.is_composite(hit.posting.indicator) {
                true => (self.composite, self.limit),
                false => (self.alone(), self.limit),
            };
            if kept < limit {
                let hash = hash_of(snapshot, &hit);
                self.push(snapshot, hit, hash);
            } else {
                self.is_truncated = true;
            }
        }
    }

    fn clear_known(&mut self) {
        match self.known.capacity() > KEPT_TABLE {
            true => self.known = HashTable::new(),
            false => self.known.clear(),
        }
    }
}

/// Whether `known` is the same finding at the field whose text `hit` is in.
fn at_field(snapshot: &Snapshot, known: &Hit, hit: &Hit) -> bool {
    let table = snapshot.table();
    known.field != FieldId::TEXT
        && known.posting.indicator == hit.posting.indicator
        && known.name == hit.name
        && known.path(table) == hit.path(table)
}

fn same(one: &Hit, other: &Hit) -> bool {
    one.field == other.field
        && one.posting.indicator == other.posting.indicator
        && one.name == other.name
        && one.in_text.as_ref().map(|text| &text.path) == other.in_text.as_ref().map(|text| &text.path)
        && (Arc::ptr_eq(&one.value, &other.value) || one.value == other.value)
}

fn hash_of(snapshot: &Snapshot, hit: &Hit) -> u64 {
    hash(snapshot, snapshot.hasher().hash(KeySpace::Text, &hit.value), hit.field, &hit.posting, &hit.name)
}

fn hash(snapshot: &Snapshot, value: u64, field: FieldId, posting: &Posting, name: &str) -> u64 {
    let mut identity = [0; 14];
    identity[..8].copy_from_slice(&(value ^ snapshot.hasher().hash(KeySpace::Name, name.as_bytes())).to_le_bytes());
    identity[8..12].copy_from_slice(&posting.indicator.to_le_bytes());
    identity[12..].copy_from_slice(&field.0.to_le_bytes());
    snapshot.hasher().hash(KeySpace::Number, &identity)
}

/// The start of a value, without blanks before it, cut between characters.
fn excerpt(value: &[u8]) -> &[u8] {
    if value.len() <= MAX_SHOWN {
        return value;
    }
    let value = value.trim_ascii_start();
    let mut end = value.len().min(MAX_SHOWN);
    // Up to three bytes of a character that began before the cut.
    while end + 3 > MAX_SHOWN && value.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: values around the length that is shown, cut inside characters or not. Guarantee: a short value is shown
    /// as it is, a long one up to the last whole character.
    #[test]
    fn an_excerpt_is_bounded_and_ends_between_characters() {
        let just = "x".repeat(MAX_SHOWN);
        assert_eq!(excerpt(just.as_bytes()), just.as_bytes());
        assert_eq!(excerpt(format!("  {just}").as_bytes()), just.as_bytes());
        for before in 0..4 {
            let text = format!("{}{}", "x".repeat(MAX_SHOWN - before), "€".repeat(9));
            let shown = excerpt(text.as_bytes());
            let shown = std::str::from_utf8(shown).unwrap();
            assert!(text.starts_with(shown) && shown.len() <= MAX_SHOWN && shown.len() > MAX_SHOWN - 3, "{before}");
        }
        assert_eq!(excerpt(&[0x80; MAX_SHOWN + 9]).len(), MAX_SHOWN - 3);
    }
}
