//! Pairs in text on their way to the sieve and the matcher: CEF, LEEF and `key=value` lines are read as fields.
//!
//! A key is looked up as the path of a field from the root of an event, and the rules of its row apply to the value. The text
//! is scanned for tokens as well; what was found at a field of a pair is not found as a token of its value again.

use std::mem;
use std::ops::Range;

use super::sieve::NO_SCHEMA;
use super::{Matcher, Sieve, Trace};
use crate::encoding::Value;
use crate::intel::snapshot::Snapshot;
use crate::observable::Malformed;
use crate::schema::{self, FieldId, FieldKind, PathTrie};
use crate::text::{PairFormat, pairs};

fn schema_of(format: PairFormat) -> Option<&'static str> {
    match format {
        PairFormat::Cef => Some("cef"),
        PairFormat::Leef => Some("leef"),
        PairFormat::KeyValue => None,
    }
}

/// The field that a key names from the root of an event.
fn field_of(trie: &PathTrie, key: &[u8]) -> Option<FieldId> {
    trie.step(PathTrie::ROOT, key).and_then(|node| trie.field(node))
}

/// The longest value with escapes that is read: no kind of value is longer.
fn longest(snapshot: &Snapshot) -> usize {
    snapshot.options().max_text_bytes.max(snapshot.options().max_url_bytes)
}

impl Sieve<'_> {
    /// Reads the values of a text whose keys are wanted fields.
    pub(super) fn pairs(&mut self, text: &[u8]) {
        let snapshot = self.notes.snapshot;
        let (trie, longest, mut unescaped) = (snapshot.trie(), longest(snapshot), mem::take(&mut self.unescaped));
        let is_complete = pairs(text, &mut |pair| {
            let Some(field) = field_of(trie, pair.key) else { return };
            if self.schema == NO_SCHEMA
                && let Some(name) = schema_of(pair.format)
            {
                self.schema = schema::number(name).unwrap_or(NO_SCHEMA);
            }
            match pair.value(text, longest, &mut unescaped) {
                Ok(value) => self.read(field, Value::Text(value), false),
                Err(_) => self.too_long(field),
            }
        });
        // The matcher reports that pairs were left out.
        self.notes.suspicious |= !is_complete;
        self.unescaped = unescaped;
    }

    #[cold]
    fn too_long(&mut self, field: FieldId) {
        self.malformed.add(field, Malformed::TooLong);
    }
}

impl<T: Trace> Matcher<'_, T> {
    /// Looks up the values of a text whose keys are fields, and notes them in the text.
    pub(super) fn pairs(&mut self, text: &[u8]) {
        let snapshot = self.reader.snapshot;
        let (table, longest, mut unescaped) = (snapshot.table(), longest(snapshot), mem::take(&mut self.unescaped));
        let paths = table.paths();
        let is_complete = pairs(text, &mut |pair| {
            let Some(field) = field_of(paths, pair.key) else { return };
            if !snapshot.wanted().contains(field) {
                let row = table.get(field);
                // A device's version may look like an address. Other programs use the same keys for anything.
                if row.kind == FieldKind::NotRead && !row.is_text && pair.format != PairFormat::KeyValue {
                    self.reader.values.leave_out(pair.at);
                }
                return;
            }
            self.reader.place = Some(Place { at: pair.at.clone(), is_token: false });
            match pair.value(text, longest, &mut unescaped) {
                Ok(value) => self.read(field, Value::Text(value), false),
                Err(_) => {
                    let raw = text.get(pair.at).unwrap_or_default();
                    self.reader.trace.value(field, Value::Text(raw), snapshot.key_plan(field));
                    self.reader.trace.malformed(Malformed::TooLong);
                }
            }
        });
        self.reader.place = None;
        self.reader.is_curtailed |= !is_complete;
        self.unescaped = unescaped;
    }
}

/// The tokens of a text that are looked up.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) at: Range<usize>,
    /// Whether it is a token; otherwise it is the value of a pair.
    pub(super) is_token: bool,
}

/// The values of pairs of one text in which an indicator was found, or in which no token is looked up, in the order of the
/// text.
#[derive(Debug, Default)]
pub(super) struct Values {
    all: Vec<(Range<usize>, Option<u32>)>,
    has_left_out: bool,
}

impl Values {
    /// A value that a schema excludes.
    fn leave_out(&mut self, at: Range<usize>) {
        self.all.push((at, None));
        self.has_left_out = true;
    }

    /// An indicator was found at the field of a value.
    pub(super) fn found(&mut self, at: &Range<usize>, indicator: u32) {
        if self.all.last().is_none_or(|(last, known)| last != at || *known != Some(indicator)) {
            self.all.push((at.clone(), Some(indicator)));
        }
    }

    /// Whether a token is part of a value that a schema excludes.
    #[inline]
    pub(super) fn leaves_out(&self, token: &Range<usize>) -> bool {
        self.has_left_out && self.holds(token, None)
    }

    /// Whether an indicator that was found in a token was found at the field of its value.
    pub(super) fn has_found(&self, token: &Range<usize>, indicator: u32) -> bool {
        self.holds(token, Some(indicator))
    }

    fn holds(&self, token: &Range<usize>, what: Option<u32>) -> bool {
        // Values do not overlap, so that one at most holds the token.
        let before = self.all.partition_point(|(at, _)| at.start <= token.start);
        let entries = self.all[..before].iter().rev();
        entries.take_while(|(at, _)| token.end <= at.end).any(|(_, known)| *known == what)
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.has_left_out = false;
    }
}
