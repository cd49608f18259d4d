//! Values of an event against a snapshot: prefilter, then exact sets, then candidates for policy.
//!
//! A [`Matcher`] is the [`Visitor`] that a walker feeds. It looks up each key of a value ([`visit_keys`]). Nothing is
//! allocated for a value that does not hit. Live matching, `scan` and `explain` share it; `explain` listens through
//! [`Trace`].

mod findings;
mod malformed;
mod packed;
mod pattern_evaluator;
mod sieve;
mod text;
mod text_visitor;
mod url_parts;

pub use findings::{Hit, InText, MAX_SHOWN, RECORD_FINDINGS, Relation, rank};
pub use malformed::MalformedValues;
pub use pattern_evaluator::PatternEvaluator;
pub use sieve::Sieve;
pub use text_visitor::{TextVisitor, WithTexts};

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::encoding::{Value, Visitor, json};
use crate::intel::indicator::Comparison;
use crate::intel::keys::{KeyPlan, KeySpace, KeyVisitor, TableId, schemes_agree, show_key, url_prefixes, visit_keys};
use crate::intel::posting::Posting;
use crate::intel::snapshot::{FieldPlan, PlanPart, RangeValue, Snapshot};
use crate::observable::url::CanonicalUrl;
use crate::observable::{Kind, Malformed, domain};
use crate::schema::FieldId;
use crate::text::{Refanged, TokenKind};
use findings::{Finding, Findings};
use packed::{Place, Values};
use text::TextPath;
use url_parts::UrlParts;

/// The outcome of one look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No indicator of this snapshot is looked for in this form.
    NoIndicators,
    /// The prefilter knows that no indicator has this key.
    Rejected,
    /// The prefilter let it pass, the exact set has no such key or none that applies here.
    Absent,
    /// So many indicators look for it here.
    Found(usize),
}

/// Observes a matcher; `explain` prints what it records.
pub trait Trace {
    /// A value is about to be read.
    fn value(&mut self, _field: FieldId, _value: Value<'_>, _reading: KeyPlan) {}
    /// A token of the text at a path is about to be read.
    fn token(&mut self, _path: &dyn Fn() -> Arc<str>, _token: &[u8], _kind: TokenKind) {}
    /// A form of it was looked up.
    fn looked_up(&mut self, _space: KeySpace, _key: &[u8], _outcome: Outcome) {}
    /// Covering networks were looked up.
    fn networks(&mut self, _address: IpAddr, _found: usize) {}
    /// The value, or part of it, is not what its field holds.
    fn malformed(&mut self, _reason: Malformed) {}
}

/// Records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {}

/// The counters of a matcher since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values read.
    pub observables: u64,
    /// Look-ups asked of the prefilter.
    pub lookups: u64,
    /// Look-ups that it let pass.
    pub passes: u64,
}

/// Matches values against one snapshot. Make one for each batch.
pub struct Matcher<'s, T = NoTrace> {
    reader: Reader<'s, T>,
    /// Canonical forms are written here when a value is not canonical already.
    scratch: Vec<u8>,
    parts: UrlParts,
    /// Values of pairs are unescaped here.
    unescaped: Vec<u8>,
    /// Texts are written without defanged forms here.
    refanged: Refanged,
    /// Levels of documents in fields that the walk is in.
    nested: u8,
}

/// Reads values and looks them up; apart from the scratch buffer, so that a key in the one can be looked up by the
/// other.
struct Reader<'s, T> {
    snapshot: &'s Snapshot,
    trace: T,
    findings: Findings,
    /// The findings that are kept; all without it.
    keep: Option<&'s dyn Fn(&Hit) -> bool>,
    /// The value that is looked up now was derived from the event's value.
    derived: bool,
    /// Look-ups were left out since the findings were taken.
    is_curtailed: bool,
    counts: Counts,
    /// Where the walk is, when it visits texts.
    path: TextPath,
    /// The look-up of a token of a text, if it is part of one.
    place: Option<Place>,
    /// The values of pairs of the text.
    values: Values,
}

impl<'s> Matcher<'s> {
    /// A matcher against a snapshot.
    pub fn new(snapshot: &'s Snapshot) -> Matcher<'s> {
        Matcher::with_trace(snapshot, NoTrace)
    }
}

impl<'s, T: Trace> Matcher<'s, T> {
    /// A matcher that reports to `trace` what it does.
    pub fn with_trace(snapshot: &'s Snapshot, trace: T) -> Matcher<'s, T> {
        let (findings, counts) = (Findings::new(), Counts::default());
        let (path, place, values) = (TextPath::default(), None, Values::default());
        let (keep, derived, is_curtailed) = (None, false, false);
        let reader = Reader { snapshot, trace, findings, keep, derived, is_curtailed, counts, path, place, values };
        let (parts, refanged) = (UrlParts::default(), Refanged::default());
        Matcher { reader, scratch: Vec::new(), parts, unescaped: Vec::new(), refanged, nested: 0 }
    }

    /// Keeps only findings that `keep` wants, so that others take nothing of the budget.
    #[must_use]
    pub fn keeping(mut self, keep: &'s dyn Fn(&Hit) -> bool) -> Matcher<'s, T> {
        self.reader.keep = Some(keep);
        self
    }

    /// Sets how many findings a record has at most: so many that count alone, and so many of composite patterns.
    pub fn set_limit(&mut self, findings: usize) {
        self.reader.findings.set_limit(findings);
    }

    /// Its counters so far.
    pub fn counts(&self) -> Counts {
        self.reader.counts
    }

    /// The record was walked: URLs in parts are composed and looked up.
    pub fn end_record(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        let (reader, scratch) = (&mut self.reader, &mut self.scratch);
        let snapshot = reader.snapshot;
        self.parts.compose(snapshot, true, |field, url| {
            let url = match url {
                Ok(url) => url,
                Err(reason) => return reader.left_out(reason),
            };
            reader.findings.next_value();
            reader.trace.value(field, Value::Text(url), KeyPlan::Url);
            let mut at = At { reader: &mut *reader, field, raw: url };
            if let Some(reason) = visit_keys(snapshot.options(), KeyPlan::Url, url, scratch, &mut at) {
                reader.trace.malformed(reason);
            }
        });
    }

    /// Whether something was found since the last [`Matcher::take_hits`].
    #[inline]
    pub fn has_hits(&self) -> bool {
        !self.reader.findings.is_empty()
    }

    /// Whether the event just walked has more findings than its budget.
    pub fn is_truncated(&self) -> bool {
        self.reader.findings.is_truncated()
    }

    /// Whether look-ups of the event just walked were left out. Until [`Matcher::take_hits`].
    pub fn is_curtailed(&self) -> bool {
        self.reader.is_curtailed
    }

    /// Forgets what was found: the event turned out to be one that cannot be walked.
    pub fn discard_hits(&mut self) {
        self.reader.findings.clear();
        self.reader.is_curtailed = false;
    }

    /// Returns what was found in the event just walked, each finding once: in the order of the walk, or by [`rank`] when
    /// there are more than the budget and the others are left out.
    pub fn take_hits(&mut self) -> Vec<Hit> {
        self.reader.is_curtailed = false;
        self.reader.findings.take(self.reader.snapshot)
    }

    /// The trace, to read what it recorded.
    pub fn trace(&mut self) -> &mut T {
        &mut self.reader.trace
    }
}

/// The forms of one value, looked up at one field.
struct At<'m, 's, T> {
    reader: &'m mut Reader<'s, T>,
    field: FieldId,
    raw: &'m [u8],
}

impl<T: Trace> KeyVisitor for At<'_, '_, T> {
    fn key(&mut self, space: KeySpace, key: &[u8]) {
        self.reader.look_up(self.field, self.raw, space, key, true, |_, _| true);
        if self.reader.snapshot.expressions().covers(space) {
            self.reader.evaluate(self.field, self.raw, space, key);
        }
    }

    fn parent(&mut self, space: KeySpace, parent: &[u8]) {
        self.reader.look_up(self.field, self.raw, space, parent, false, |_, _| true);
    }

    fn networks(&mut self, address: IpAddr) {
        let snapshot = self.reader.snapshot;
        let mut networks = 0;
        snapshot.networks().covering(address, |network, table, key| {
            let mut is_there = false;
            snapshot.find(table, key, |posting| {
                is_there = true;
                self.hit_network(network, posting);
            });
            networks += usize::from(is_there);
        });
        self.reader.trace.networks(address, networks);
    }

    fn range(&mut self, value: RangeValue) {
        for rule in self.reader.snapshot.ranges().iter().filter(|rule| rule.field == self.field) {
            let (ordering, kind, name) = match (value, rule.value) {
                (RangeValue::Number(left), RangeValue::Number(right)) => {
                    (left.partial_cmp(&right), Kind::Number, right.to_string())
                }
                (RangeValue::Time(left), RangeValue::Time(right)) => {
                    (Some(left.cmp(&right)), Kind::Time, right.to_string())
                }
                _ => continue,
            };
            if ordering.is_some_and(|ordering| rule.comparison.holds(ordering)) {
                let name = format!("{} {name}", operator(rule.comparison));
                let (field, raw, posting) = (self.field, self.raw, rule.posting);
                self.reader.found(Finding { field, kind, name, relation: Relation::Covers, posting, raw, part: None });
            }
        }
    }

    fn url_host(&mut self, host: &[u8]) -> bool {
        let snapshot = self.reader.snapshot;
        let passes = snapshot.prefilter().contains(snapshot.hasher().hash(KeySpace::UrlHost, host));
        self.reader.counts.lookups += 1;
        self.reader.counts.passes += u64::from(passes);
        if !passes {
            self.reader.trace.looked_up(KeySpace::UrlHost, host, Outcome::Rejected);
        }
        passes || snapshot.expressions().covers(KeySpace::Url)
    }

    fn url(&mut self, url: &CanonicalUrl) {
        let agrees = |snapshot: &Snapshot, posting: &Posting| scheme_agrees(snapshot, posting, url.scheme());
        self.reader.look_up(self.field, self.raw, KeySpace::Url, url.rest().as_bytes(), true, agrees);
        if self.reader.snapshot.has(KeySpace::UrlPrefix) {
            let is_complete = url_prefixes(url, |prefix| {
                self.reader.look_up(self.field, self.raw, KeySpace::UrlPrefix, prefix.as_bytes(), false, agrees);
            });
            self.reader.is_curtailed |= !is_complete;
        }
        if self.reader.snapshot.expressions().covers(KeySpace::Url) {
            self.reader.evaluate(self.field, self.raw, KeySpace::Url, url.to_string().as_bytes());
        }
    }

    #[inline]
    fn wants(&self, space: KeySpace) -> bool {
        self.reader.snapshot.has(space)
    }
}

impl<T: Trace> At<'_, '_, T> {
    #[cold]
    fn hit_network(&mut self, network: IpNet, posting: Posting) {
        if self.reader.snapshot.applies(&posting, self.field) {
            let (field, name, raw) = (self.field, network.to_string(), self.raw);
            let relation = Relation::Covers;
            self.reader.found(Finding { field, kind: Kind::Ip, name, relation, posting, raw, part: None });
        }
    }
}

impl<T: Trace> Reader<'_, T> {
    /// Part of a URL is not composed.
    #[cold]
    fn left_out(&mut self, reason: Malformed) {
        self.trace.malformed(reason);
        self.is_curtailed |= reason == Malformed::TooMany;
    }

    #[inline]
    fn look_up(
        &mut self,
        field: FieldId,
        raw: &[u8],
        space: KeySpace,
        key: &[u8],
        is_exact: bool,
        allowed: impl Fn(&Snapshot, &Posting) -> bool,
    ) {
        let snapshot = self.snapshot;
        if !snapshot.has(space) {
            return self.trace.looked_up(space, key, Outcome::NoIndicators);
        }
        self.counts.lookups += 1;
        let hash = snapshot.hasher().hash(space, key);
        if !snapshot.prefilter().contains(hash) {
            return self.trace.looked_up(space, key, Outcome::Rejected);
        }
        self.counts.passes += 1;
        let mut found = 0;
        snapshot.find(TableId::Space(space), key, |posting| {
            if snapshot.applies(&posting, field) && allowed(snapshot, &posting) {
                found += 1;
                let (kind, name) = (space.kind(), display(snapshot, space, key, &posting));
                // A list of e-mail addresses may be long; what matched is one of them.
                let part = (space == KeySpace::Email).then_some(key);
                let relation = if is_exact { Relation::Is } else { Relation::Covers };
                self.found(Finding { field, kind, name, relation, posting, raw, part });
            }
        });
        self.trace.looked_up(space, key, if found == 0 { Outcome::Absent } else { Outcome::Found(found) });
    }

    /// Evaluates the expressions that may match a key.
    #[cold]
    fn evaluate(&mut self, field: FieldId, raw: &[u8], space: KeySpace, key: &[u8]) {
        let snapshot = self.snapshot;
        let is_complete = snapshot.expressions().matching(space, key, |expression| {
            let (of, name) = (expression.key(), expression.to_string());
            let mut found = 0;
            snapshot.find(TableId::Space(KeySpace::Expression), &of, |posting| {
                if snapshot.applies(&posting, field) {
                    found += 1;
                    let (kind, name, relation) = (expression.of, name.clone(), Relation::Matches);
                    let part = (space == KeySpace::Email).then_some(key);
                    self.found(Finding { field, kind, name, relation, posting, raw, part });
                }
            });
            let outcome = if found == 0 { Outcome::Absent } else { Outcome::Found(found) };
            self.trace.looked_up(KeySpace::Expression, &of, outcome);
        });
        self.is_curtailed |= !is_complete;
    }
}

impl<T: Trace> Visitor for Matcher<'_, T> {
    #[inline]
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        self.read(field, value, true);
    }
}

impl<T: Trace> Matcher<'_, T> {
    /// Reads a value at a field. `scans`: whether it is scanned as text, if the field is; the values of pairs are part of a
    /// text that is scanned.
    #[inline]
    fn read(&mut self, field: FieldId, value: Value<'_>, scans: bool) {
        let reader = &mut self.reader;
        let snapshot = reader.snapshot;
        let FieldPlan { plan, inner, part, derives, .. } = snapshot.field_plan(field);
        reader.counts.observables += 1;
        if part != PlanPart::None {
            let longest = snapshot.options().max_url_bytes;
            if let Some(reason) = with_text(value, |raw| self.parts.keep(part, field, raw, longest)) {
                reader.left_out(reason);
            }
        }
        if plan == KeyPlan::Document {
            return nested_document(self, snapshot, value, |matcher| &mut matcher.nested);
        }
        if plan == KeyPlan::Tokens {
            if inner == KeyPlan::Document {
                nested_document(self, snapshot, value, |matcher| &mut matcher.nested);
            } else {
                self.whole(field, inner, derives, value);
            }
            if let Value::Text(text) = value
                && scans
            {
                self.scan_at(field, text);
            }
            return;
        }
        self.whole(field, plan, derives, value);
    }

    /// Looks up a value as a whole.
    #[inline]
    fn whole(&mut self, field: FieldId, plan: KeyPlan, derives: bool, value: Value<'_>) {
        let (reader, scratch) = (&mut self.reader, &mut self.scratch);
        let snapshot = reader.snapshot;
        reader.findings.next_value();
        reader.trace.value(field, value, plan);
        if derives {
            with_registered(value, scratch, |registered| {
                let Value::Text(raw) = value else { return };
                reader.derived = true;
                reader.look_up(field, raw, KeySpace::Domain, registered, false, |_, _| true);
                reader.derived = false;
            });
        }
        let malformed = with_text(value, |raw| {
            visit_keys(snapshot.options(), plan, raw, scratch, &mut At { reader: &mut *reader, field, raw })
        });
        if let Some(reason) = malformed {
            reader.trace.malformed(reason);
        }
    }
}

/// Hands over the registered domain of a value that is a name below one.
#[inline(never)]
fn with_registered(value: Value<'_>, scratch: &mut Vec<u8>, take: impl FnOnce(&[u8])) {
    let Value::Text(raw) = value else { return };
    if let Some(registered) = domain::canonical(raw, scratch).and_then(domain::registered) {
        take(registered);
    }
}

/// The most levels of documents in fields of documents that are read.
const MAX_NESTED: u8 = 2;

/// Reads a value that is a document itself.
#[inline(never)]
fn nested_document<V: Visitor>(
    visitor: &mut V,
    snapshot: &Snapshot,
    value: Value<'_>,
    nested: impl Fn(&mut V) -> &mut u8,
) {
    let Value::Text(text) = value else { return };
    let text = text.trim_ascii_start();
    if text.first() != Some(&b'{') || *nested(visitor) == MAX_NESTED {
        return;
    }
    *nested(visitor) += 1;
    // A part that cannot be read is treated as text.
    let _ = json::read(text, snapshot.trie(), visitor);
    *nested(visitor) -= 1;
}

/// Hands over a scalar as text; a boolean is not an observable. Gives what `take` gives.
#[inline]
fn with_text(value: Value<'_>, take: impl FnOnce(&[u8]) -> Option<Malformed>) -> Option<Malformed> {
    match value {
        Value::Text(text) => take(text),
        Value::Int(number) => take(itoa::Buffer::new().format(number).as_bytes()),
        Value::Double(number) => take(number.to_string().as_bytes()),
        Value::Time(time) => take(time.to_string().as_bytes()),
        Value::Bool(_) => None,
    }
}

/// An event without a scheme meets indicators of any; an indicator without one meets events of any.
fn scheme_agrees(snapshot: &Snapshot, posting: &Posting, event: Option<&str>) -> bool {
    posting.scheme == 0 || schemes_agree(Some(snapshot.scheme(posting)), event)
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

/// The indicator's value as shown in hits, from its key.
fn display(snapshot: &Snapshot, space: KeySpace, key: &[u8], posting: &Posting) -> String {
    match space {
        KeySpace::Url | KeySpace::UrlPrefix if posting.scheme > 0 => {
            format!("{}://{}", snapshot.scheme(posting), show_key(space, key))
        }
        _ => show_key(space, key),
    }
}
