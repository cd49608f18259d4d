//! Text on its way to the sieve and the matcher: the pairs and the tokens of every string that a walk visits.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::findings::{Finding, InText};
use super::packed::Place;
use super::text_visitor::TextVisitor;
use super::{At, Matcher, Reader, Sieve, Trace};
use crate::intel::keys::{KeySpace, visit_token};
use crate::observable::Kind;
use crate::schema::FieldId;
use crate::text::{TokenKind, is_known_name, refang_parts, tokens};

impl TextVisitor for Sieve<'_> {
    fn scan(&mut self, text: &[u8]) {
        self.pairs(text);
        self.tokens(text, |_| true);
        if self.notes.snapshot.options().text_refang {
            let mut refanged = mem::take(&mut self.refanged);
            for part in refang_parts(text) {
                if refanged.read(&text[part]) {
                    self.tokens(refanged.text(), |token| refanged.origin(token).is_some());
                }
            }
            self.refanged = refanged;
        }
    }
}

impl Sieve<'_> {
    /// Records the keys of the tokens of a text that `wants` accepts.
    fn tokens(&mut self, text: &[u8], wants: impl Fn(&Range<usize>) -> bool) {
        let (notes, scratch, counts) = (&mut self.notes, &mut self.scratch, &mut self.counts);
        let snapshot = notes.snapshot;
        let (options, has_emails) = (snapshot.options(), snapshot.has(KeySpace::Email));
        let is_complete = tokens(text, &mut |token| {
            if wants(&token.at) {
                counts.observables += 1;
                if token.kind == TokenKind::Email && !has_emails {
                    return;
                }
                visit_token(options, text, &token, scratch, notes);
                notes.look_up_if_many(counts);
            }
        });
        // The matcher reports that tokens were left out.
        notes.suspicious |= !is_complete;
    }
}

impl<T: Trace> TextVisitor for Matcher<'_, T> {
    fn scan(&mut self, text: &[u8]) {
        self.scan_at(FieldId::TEXT, text);
    }

    fn at_member(&mut self, key: &[u8]) {
        self.reader.path.enter(key);
    }

    fn after_member(&mut self) {
        self.reader.path.leave();
    }
}

impl<T: Trace> Matcher<'_, T> {
    /// Looks up the pairs of a text at their fields, and its tokens at `field`. The text may be part of a document in a value
    /// of a pair of another text.
    pub(super) fn scan_at(&mut self, field: FieldId, text: &[u8]) {
        let around = self.reader.place.take().map(|place| (place, mem::take(&mut self.reader.values)));
        self.pairs(text);
        self.tokens(field, text, |token| Some(token.clone()));
        if self.reader.snapshot.options().text_refang {
            let mut refanged = mem::take(&mut self.refanged);
            for part in refang_parts(text) {
                let start = part.start;
                let in_text = |token: Range<usize>| start + token.start..start + token.end;
                if refanged.read(&text[part]) {
                    self.tokens(field, refanged.text(), |token| refanged.origin(token).map(in_text));
                }
            }
            self.refanged = refanged;
        }
        let reader = &mut self.reader;
        reader.place = None;
        reader.values.clear();
        if let Some((place, values)) = around {
            (reader.place, reader.values) = (Some(place), values);
        }
    }

    /// Looks up the tokens of a text at `field`. `place`: where a token stands in the event's own text; none if it is not
    /// looked up.
    fn tokens(&mut self, field: FieldId, text: &[u8], place: impl Fn(&Range<usize>) -> Option<Range<usize>>) {
        let (reader, scratch) = (&mut self.reader, &mut self.scratch);
        let options = reader.snapshot.options();
        let is_complete = tokens(text, &mut |token| {
            let Some(at) = place(&token.at).filter(|at| !reader.values.leaves_out(at)) else { return };
            reader.counts.observables += 1;
            reader.findings.next_value();
            let raw = &text[token.at.clone()];
            let (path, table) = (&reader.path, reader.snapshot.table());
            let path = || match field {
                FieldId::TEXT => path.as_text(),
                field => table.get(field).name.as_str().into(),
            };
            reader.trace.token(&path, raw, token.kind);
            reader.place = Some(Place { at, is_token: true });
            visit_token(options, text, &token, scratch, &mut At { reader: &mut *reader, field, raw });
        });
        reader.is_curtailed |= !is_complete;
    }
}

impl<T: Trace> Reader<'_, T> {
    /// Adds a finding, unless it is part of a text and does not count there.
    #[cold]
    pub(super) fn found(&mut self, finding: Finding<'_>) {
        let indicator = finding.posting.indicator;
        let in_text = match &self.place {
            None => None,
            // Text that only looks like a name.
            Some(Place { is_token: true, .. }) if finding.kind == Kind::Domain && !is_known_name(finding.raw) => return,
            // The parts of composite patterns are looked for at fields of documents.
            Some(place)
                if (finding.field == FieldId::TEXT || !place.is_token) && self.snapshot.is_composite(indicator) =>
            {
                return;
            }
            Some(Place { at, is_token: true }) if self.values.has_found(at, indicator) => return,
            Some(Place { at, is_token }) => {
                if !is_token {
                    self.values.found(at, indicator);
                }
                let path = (finding.field == FieldId::TEXT).then(|| self.path.shown());
                Some(InText { path, at: at.clone() })
            }
        };
        self.findings.add(self.snapshot, finding, self.derived, in_text, self.keep);
    }
}

/// The longest path that a hit shows, in bytes; each hit below a long key would have a copy of it otherwise.
const LONGEST_PATH: usize = 256;

/// The members that lead to where the walk is.
#[derive(Debug, Default)]
pub(super) struct TextPath {
    text: Vec<u8>,
    /// The lengths of the path above each member.
    above: Vec<usize>,
    /// The path as the hits here show it.
    shown: Option<Arc<str>>,
}

impl TextPath {
    fn enter(&mut self, key: &[u8]) {
        self.shown = None;
        self.above.push(self.text.len());
        if !self.text.is_empty() {
            self.text.push(b'.');
        }
        self.text.extend_from_slice(key);
    }

    fn leave(&mut self) {
        self.shown = None;
        self.text.truncate(self.above.pop().unwrap_or(0));
    }

    pub(super) fn as_text(&self) -> Arc<str> {
        match self.text.get(..LONGEST_PATH) {
            Some(start) if self.text.len() > LONGEST_PATH => {
                let start = String::from_utf8_lossy(start);
                format!("{}…", start.trim_end_matches(char::REPLACEMENT_CHARACTER)).into()
            }
            _ => String::from_utf8_lossy(&self.text).into(),
        }
    }

    /// The same, of all hits at one place once.
    pub(super) fn shown(&mut self) -> Arc<str> {
        if let Some(shown) = &self.shown {
            return Arc::clone(shown);
        }
        Arc::clone(self.shown.insert(self.as_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_that_of_the_members_and_has_a_bound() {
        let mut path = TextPath::default();
        path.enter(b"a");
        path.enter(b"b");
        assert_eq!((&*path.shown(), &*path.as_text()), ("a.b", "a.b"));
        path.leave();
        assert_eq!(&*path.shown(), "a");
        path.enter(&b"k".repeat(LONGEST_PATH - 3));
        path.enter("é".as_bytes());
        assert_eq!(&*path.shown(), format!("a.{}.…", "k".repeat(LONGEST_PATH - 3)));
        let first = path.shown();
        assert!(Arc::ptr_eq(&first, &path.shown()));
    }
}
