//! The sieve: whether anything in a record can match, before anything in it is looked up.
//!
//! The prefilter of a million indicators lies in the third-level cache, and a look-up that waits for it stalls the
//! walk (`docs/performance.md` has what it gains in the pipeline benchmark). The sieve only records the hashes of a
//! record's keys; afterwards all of them are asked at once, so that the processor waits for many at the same time.
//! A record in which one passes is walked again by the [`Matcher`](super::Matcher), which decides.

use std::net::IpAddr;

use super::text_visitor::TextVisitor;
use super::url_parts::UrlParts;
use super::{Counts, MalformedValues, nested_document, with_registered, with_text};
use crate::encoding::{Value, Visitor};
use crate::intel::keys::{KeyPlan, KeySpace, KeyVisitor, visit_keys};
use crate::intel::snapshot::{FieldPlan, PlanPart, RangeValue, Snapshot};
use crate::observable::url::CanonicalUrl;
use crate::schema::{self, FieldId, FieldSet};
use crate::tally::Tally;
use crate::text::Refanged;

/// Records what would be looked up. Make one for each batch, and ask [`Sieve::passes`] after each record.
pub struct Sieve<'s> {
    pub(super) notes: Notes<'s>,
    pub(super) scratch: Vec<u8>,
    pub(super) counts: Counts,
    seen: FieldSet,
    pub(super) malformed: MalformedValues,
    parts: UrlParts,
    /// Values of pairs are unescaped here.
    pub(super) unescaped: Vec<u8>,
    /// Texts are written without defanged forms here.
    pub(super) refanged: Refanged,
    /// Levels of documents in fields that the walk is in.
    nested: u8,
    /// The schema of the first field of the record, and how many records each schema has.
    pub(super) schema: u8,
    schemas: [u64; schema::MAX_SCHEMAS],
}

/// So many hashes are kept before they are looked up.
const KEPT_HASHES: usize = 4096;

/// No field of the record was seen.
pub(super) const NO_SCHEMA: u8 = u8::MAX;

pub(super) struct Notes<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) hashes: Vec<u64>,
    /// Something needs a closer look, whatever the hashes say.
    pub(super) suspicious: bool,
}

impl<'s> Sieve<'s> {
    /// A sieve for a snapshot.
    pub fn new(snapshot: &'s Snapshot) -> Sieve<'s> {
        let notes = Notes { snapshot, hashes: Vec::new(), suspicious: false };
        Sieve {
            notes,
            scratch: Vec::new(),
            counts: Counts::default(),
            seen: FieldSet::default(),
            malformed: MalformedValues::default(),
            parts: UrlParts::default(),
            unescaped: Vec::new(),
            refanged: Refanged::default(),
            nested: 0,
            schema: NO_SCHEMA,
            schemas: [0; schema::MAX_SCHEMAS],
        }
    }

    /// The record was walked: URLs in parts are composed.
    #[inline]
    pub fn end_record(&mut self) {
        if let Some(records) = self.schemas.get_mut(usize::from(std::mem::replace(&mut self.schema, NO_SCHEMA))) {
            *records += 1;
        }
        if self.parts.is_empty() {
            return;
        }
        let (notes, scratch, malformed) = (&mut self.notes, &mut self.scratch, &mut self.malformed);
        let snapshot = notes.snapshot;
        self.parts.compose(snapshot, false, |field, url| {
            let read = |url: &[u8]| visit_keys(snapshot.options(), KeyPlan::Url, url, scratch, notes);
            if let Some(reason) = url.map_or_else(Some, read) {
                malformed.add(field, reason);
            }
        });
    }

    /// Whether the record just walked may match, and forgets it. `false` is certain.
    pub fn passes(&mut self) -> bool {
        self.notes.look_up(&mut self.counts);
        std::mem::take(&mut self.notes.suspicious)
    }

    /// The work that was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many records had a first field of each schema so far.
    pub fn take_schemas(&mut self) -> Tally<&'static str> {
        let mut tally = Tally::default();
        for (name, records) in schema::names().zip(std::mem::replace(&mut self.schemas, [0; schema::MAX_SCHEMAS])) {
            tally.add_many(name, records);
        }
        tally
    }

    /// The fields that had a value so far, and the values that are not what their field holds.
    pub fn into_seen(self) -> (FieldSet, MalformedValues) {
        (self.seen, self.malformed)
    }
}

impl Notes<'_> {
    /// Looks up the hashes in the prefilter, and forgets them.
    #[inline]
    fn look_up(&mut self, counts: &mut Counts) {
        let prefilter = self.snapshot.prefilter();
        let passes = self.hashes.iter().filter(|hash| prefilter.contains(**hash)).count();
        counts.lookups += self.hashes.len() as u64;
        counts.passes += passes as u64;
        self.hashes.clear();
        self.suspicious |= passes > 0;
    }

    /// The same once there are many: a text is long, a record is not.
    #[inline]
    pub(super) fn look_up_if_many(&mut self, counts: &mut Counts) {
        if self.hashes.len() >= KEPT_HASHES {
            self.look_up(counts);
        }
    }
}

impl Notes<'_> {
    #[inline(never)]
    fn ask_expressions(&mut self, space: KeySpace, key: &[u8]) {
        self.suspicious |= self.snapshot.expressions().may_match(space, key);
    }
}

impl KeyVisitor for Notes<'_> {
    #[inline]
    fn key(&mut self, space: KeySpace, key: &[u8]) {
        if self.snapshot.has(space) {
            self.hashes.push(self.snapshot.hasher().hash(space, key));
            if self.snapshot.expressions().covers(space) {
                self.ask_expressions(space, key);
            }
        }
    }

    #[inline]
    fn networks(&mut self, address: IpAddr) {
        self.suspicious |= self.snapshot.networks().may_cover(address);
    }

    fn range(&mut self, _: RangeValue) {
        self.suspicious |= !self.snapshot.ranges().is_empty();
    }

    #[inline]
    fn url_host(&mut self, host: &[u8]) -> bool {
        self.hashes.push(self.snapshot.hasher().hash(KeySpace::UrlHost, host));
        // Expressions are evaluated on whole URLs, whatever the host.
        self.snapshot.expressions().covers(KeySpace::Url)
    }

    fn url(&mut self, url: &CanonicalUrl) {
        // As for a URL that was not parsed: its own keys are asked by the matcher, when the host is known.
        if self.url_host(url.host().as_bytes()) {
            self.suspicious |= self.snapshot.expressions().may_match(KeySpace::Url, url.to_string().as_bytes());
        }
    }

    #[inline]
    fn wants(&self, space: KeySpace) -> bool {
        self.snapshot.has(space)
    }
}

impl Visitor for Sieve<'_> {
    #[inline]
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        self.read(field, value, true);
    }
}

impl Sieve<'_> {
    /// Reads a value at a field. `scans`: whether it is scanned as text, if the field is; the values of pairs are part of a
    /// text that is scanned.
    #[inline]
    pub(super) fn read(&mut self, field: FieldId, value: Value<'_>, scans: bool) {
        let snapshot = self.notes.snapshot;
        let FieldPlan { plan, part, schema, derives, .. } = snapshot.field_plan(field);
        if self.schema == NO_SCHEMA {
            self.schema = schema;
        }
        self.counts.observables += 1;
        self.seen.insert(field);
        match value {
            // Nearly all.
            Value::Text(raw)
                if part == PlanPart::None && !derives && !matches!(plan, KeyPlan::Document | KeyPlan::Tokens) =>
            {
                if let Some(reason) = visit_keys(snapshot.options(), plan, raw, &mut self.scratch, &mut self.notes) {
                    self.malformed.add(field, reason);
                }
            }
            value => self.other(field, value, scans),
        }
    }

    /// A value that is no text, or of which more is read than its keys.
    #[inline(never)]
    fn other(&mut self, field: FieldId, value: Value<'_>, scans: bool) {
        let (notes, scratch) = (&mut self.notes, &mut self.scratch);
        let snapshot = notes.snapshot;
        let FieldPlan { plan, part, derives, .. } = snapshot.field_plan(field);
        let left_out = match part {
            PlanPart::None => None,
            part => with_text(value, |raw| self.parts.keep(part, field, raw, snapshot.options().max_url_bytes)),
        };
        if matches!(plan, KeyPlan::Document | KeyPlan::Tokens) {
            if let Some(reason) = left_out {
                self.malformed.add(field, reason);
            }
            return self.longer(field, value, scans);
        }
        if derives {
            with_registered(value, scratch, |registered| notes.key(KeySpace::Domain, registered));
        }
        let malformed = with_text(value, |raw| visit_keys(snapshot.options(), plan, raw, scratch, notes));
        if let Some(reason) = malformed.or(left_out) {
            self.malformed.add(field, reason);
        }
    }

    /// A value that is a document, or that is scanned as text.
    #[inline(never)]
    fn longer(&mut self, field: FieldId, value: Value<'_>, scans: bool) {
        let snapshot = self.notes.snapshot;
        let FieldPlan { plan, inner, derives, .. } = snapshot.field_plan(field);
        if inner == KeyPlan::Document {
            nested_document(self, snapshot, value, |sieve| &mut sieve.nested);
        } else {
            let (notes, scratch) = (&mut self.notes, &mut self.scratch);
            if derives {
                with_registered(value, scratch, |registered| notes.key(KeySpace::Domain, registered));
            }
            with_text(value, |raw| visit_keys(snapshot.options(), inner, raw, scratch, notes));
        }
        if let Value::Text(text) = value
            && plan == KeyPlan::Tokens
            && scans
        {
            self.scan(text);
        }
    }
}
