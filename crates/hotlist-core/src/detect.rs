//! The match path over one event or one batch: walk, match, policy, splice.
//!
//! Everything that matches goes through here: the live stream ([`Detector::batch`]), `scan`, `explain` and the demo
//! ([`Detector::document`]). A batch in which nothing hits leaves as the very bytes that arrived.

mod budget;
mod check;
mod facts;
mod matched;
mod report;
mod resource;
mod survey;
mod tagging;
mod text;
mod verdict;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::asset::{AssetCandidates, AssetFacts};
use crate::encoding::envelope::Extent;
use crate::encoding::protocol::{Documents, Otlp, Vector};
use crate::encoding::{
    Format, Inbound, MalformedRecord, Protocol, RecordInfo, RecordSpan, Rope, Signal, TagOutcome, Tagging, Tags, Value,
    json,
};
use crate::enrich::{Enricher, Enrichments};
use crate::intel::snapshot::Snapshot;
use crate::matcher::{Hit, Matcher, PatternEvaluator, Sieve, TextVisitor, Trace, WithTexts};
use crate::policy::{Allowed, Dropped, EventFacts, Policy};
use crate::schema::PathTrie;
use crate::severity::{order, severity};
use crate::work::{StopReason, Work};

use budget::{Form, LEAST_TAG, LISTED_COST, Ledger, carried_bytes, cost, reserve};
use resource::Resource;

pub use crate::tally::Tally;
pub use budget::{Budget, Budgets, Exceeded};
pub use check::{CheckError, KnownIndicator};
pub use matched::{ChangedRecord, DetectError, HitRecord, MatchedMessage, NonLogEvents};
pub use report::{InboundCounts, Report, SkewCounts};
pub use survey::Survey;
pub use verdict::Verdict;

/// Matches events against one snapshot under one policy.
#[derive(Clone, Debug)]
pub struct Detector {
    /// The indicators.
    pub snapshot: Arc<Snapshot>,
    /// The rule of which findings count; `None` counts every finding (`scan`).
    pub policy: Option<Policy>,
    /// How hits are written into events.
    pub tagging: Tagging,
    /// The budgets of records and batches.
    pub budgets: Budgets,
}

/// The state that is kept from record to record of a batch.
struct Pass<'w> {
    matcher: Matcher<'w>,
    enricher: Enricher<'w>,
    report: Report,
    ledger: Ledger,
    arrival: Timestamp,
    work: &'w Work,
    /// Room that the sinks may need to cut the batch, were none of its records tagged.
    reserve: usize,
    resource: Resource,
}

/// The outcome for a record with hits.
enum Marked {
    /// It is written again with its tags.
    Tagged(HitRecord),
    /// It passes as it came, because it cannot be tagged or there is no room for it in the batch's budget. It is listed,
    /// still without its bytes, if the budget allows that.
    Untagged { is_malformed: bool, listed: Option<HitRecord> },
}

impl Pass<'_> {
    /// Bytes that the batch may still take for tags and hits. A batch that cannot be cut even without tags gains nothing
    /// from going without them.
    fn room(&self) -> usize {
        let left = self.work.left_alone().unwrap_or(usize::MAX);
        left.checked_sub(self.reserve).unwrap_or(left)
    }

    /// Whether the batch can carry so many bytes of hits. A sink may copy what was written for it.
    fn has_room_to_carry(&self, bytes: usize) -> bool {
        self.ledger.written().saturating_add(bytes) <= self.room()
    }
}

/// Bytes of memory that the place of a record takes that cannot be read, in a list that doubles as it grows.
const MALFORMED_OVERHEAD: usize = 3 * size_of::<usize>();

impl Detector {
    /// Matches against a snapshot under no policy: every finding is a hit.
    pub fn new(snapshot: Arc<Snapshot>) -> Detector {
        Detector { snapshot, policy: None, tagging: Tagging::default(), budgets: Budgets::default() }
    }

    /// Matches one event, a JSON document that arrived at `arrival`.
    ///
    /// # Errors
    /// The text does not begin like a document.
    pub fn event(&self, event: &[u8], arrival: Timestamp) -> Result<Verdict, json::JsonError> {
        self.document(event, self.snapshot.trie(), &mut Matcher::new(&self.snapshot), arrival)
    }

    /// Matches and tags one batch. `arrival` is the event time of records that have none. `work` is asked at each record
    /// whether to continue, and for memory before a record is tagged.
    ///
    /// # Errors
    /// The envelope cannot be walked, there is no room for the tagged records, or the client left.
    pub fn batch(
        &self,
        format: Format,
        message: Bytes,
        arrival: Timestamp,
        work: &Work,
    ) -> Result<(MatchedMessage, Report), DetectError> {
        let (matcher, enricher) = (Matcher::new(&self.snapshot), Enricher::new(&self.snapshot));
        let (report, ledger) = (Report::default(), Ledger::new(self.budgets));
        let resource = Resource::default();
        let mut pass = Pass { matcher, enricher, report, ledger, arrival, work, reserve: 0, resource };
        pass.matcher.set_limit(self.budgets.record_findings);
        let matched = match format {
            Format::Otlp => self.records::<Otlp>(message, pass),
            Format::Vector => self.records::<Vector>(message, pass),
            Format::Filter => self.records::<Documents>(message, pass),
        };
        matched.map(|(batch, report)| (MatchedMessage { format, ..batch }, report))
    }

    fn records<P: Protocol>(
        &self,
        message: Bytes,
        mut pass: Pass<'_>,
    ) -> Result<(MatchedMessage, Report), DetectError> {
        let mut batch = MatchedMessage { snapshot: Arc::clone(self.snapshot.name()), ..MatchedMessage::default() };
        let mut edits: Vec<(RecordSpan, Bytes)> = Vec::new();
        let (mut place, mut extent) = (0, Extent::default());
        let mut sieve = Sieve::new(&self.snapshot);
        P::ENVELOPE.try_records(&message, |span| -> Result<(), DetectError> {
            pass.work.check()?;
            extent.add(&span);
            let record = &message[span.record.payload()];
            let walked = self.walk::<P, _>(record, self.snapshot.trie(), &mut sieve);
            sieve.end_record();
            let passes = sieve.passes();
            match walked {
                Ok(info) if info.signal == Signal::Logs => {
                    pass.report.events += 1;
                    pass.report.too_deep += u64::from(info.too_deep);
                    if let Some(malformed) = info.malformed {
                        pass.report.malformed_documents.add(malformed);
                    }
                    pass.report.malformed_records += u64::from(info.fault.is_some());
                    if info.fault.is_some() || (P::IS_DOCUMENT && info.malformed.is_some()) {
                        pass.work.take(MALFORMED_OVERHEAD)?;
                        batch.malformed.push(place);
                    }
                    let marked = if passes {
                        pass.reserve = reserve(message.len(), extent);
                        pass.resource.read::<P>(self, &message, &span);
                        self.record::<P>(record, info, &mut pass)?
                    } else {
                        None
                    };
                    if marked.is_none() && info.inbound {
                        if let Some(record) = self.arrived::<P>(record, &mut pass)? {
                            batch.marked.push(ChangedRecord { place, record: record.clone() });
                            edits.push((span, record));
                        }
                    } else if let Some(marked) = marked {
                        match marked {
                            Marked::Tagged(hit) => {
                                edits.push((span, hit.record.clone()));
                                batch.hits.push(HitRecord { place, ..hit });
                            }
                            Marked::Untagged { is_malformed, listed } => {
                                if is_malformed && batch.malformed.last() != Some(&place) {
                                    pass.work.take(MALFORMED_OVERHEAD)?;
                                    batch.malformed.push(place);
                                }
                                let record = message.slice(span.record.payload());
                                batch.hits.extend(listed.map(|hit| HitRecord { place, record, ..hit }));
                            }
                        }
                    }
                }
                Ok(info) => batch.others.add(info.signal),
                Err(_) => {
                    pass.report.events += 1;
                    pass.report.malformed_records += 1;
                    pass.work.take(MALFORMED_OVERHEAD)?;
                    batch.malformed.push(place);
                }
            }
            place += 1;
            Ok(())
        })?;
        let mut report = pass.report;
        report.counts = sieve.counts();
        report.schemas = sieve.take_schemas();
        (report.seen, report.malformed) = sieve.into_seen();
        batch.records = report.events as usize;
        batch.message = if edits.is_empty() { Rope::from(message) } else { P::ENVELOPE.splice(&message, &edits) };
        Ok((batch, report))
    }

    /// The outcome for a record when the matcher finds something in it and policy leaves a hit.
    #[cold]
    fn record<P: Protocol>(
        &self,
        record: &[u8],
        info: RecordInfo,
        pass: &mut Pass<'_>,
    ) -> Result<Option<Marked>, StopReason> {
        // The sieve walked the record a moment ago, and so does the matcher.
        let _ = self.walk::<P, _>(record, self.snapshot.trie(), &mut pass.matcher);
        pass.matcher.end_record();
        let mut exceeded = Exceeded::default();
        exceeded.insert(Budget::RecordFindings, pass.matcher.is_truncated());
        exceeded.insert(Budget::RecordLookups, pass.matcher.is_curtailed());
        let found = pass.matcher.take_hits();
        let mut marked = None;
        if !found.is_empty() {
            let recorded = [info.time_unix_nano, info.observed_time_unix_nano].into_iter().find(|time| *time > 0);
            let recorded = recorded.and_then(|time| Timestamp::from_nanosecond(i128::from(time)).ok());
            let otherwise = recorded.unwrap_or(pass.arrival);
            let times = (otherwise, pass.arrival);
            let mut verdict =
                self.conclude::<P>(record, self.snapshot.trie(), found, exceeded, (times, pass.resource.assets()));
            if self.policy.as_ref().is_some_and(|policy| policy.is_skewed(&verdict.facts)) {
                pass.report.skewed.add(&verdict);
            }
            for (_, reason) in &verdict.suppressed {
                pass.report.suppressions.add(*reason);
            }
            for listing in verdict.hit_listings.iter().chain(&verdict.suppressed_listings).flatten() {
                pass.report.listings.add((Arc::clone(&listing.list), listing.action));
            }
            if !verdict.hits.is_empty() {
                marked = Some(self.mark::<P>(record, &mut verdict, pass)?);
            }
            exceeded = verdict.exceeded;
        }
        exceeded.iter().for_each(|budget| pass.report.truncated.add(budget));
        Ok(marked)
    }

    /// A record without hits that arrived with enrichments, when handling these changes it.
    #[cold]
    fn arrived<P: Protocol>(&self, record: &[u8], pass: &mut Pass<'_>) -> Result<Option<Bytes>, StopReason> {
        let inbound = self.inbound();
        if inbound == Inbound::Keep {
            pass.report.inbound.kept += 1;
            return Ok(None);
        }
        pass.work.take(cost(record.len(), 0))?;
        let tagged = P::tag(record, &Tags { into: self.tagging.into, inbound, ..Tags::NONE });
        // The arrived enrichments are not ours after all, or are in a place that cannot be changed.
        let Some((tagged, outcome)) = tagged.ok().filter(|(_, outcome)| outcome.changed) else { return Ok(None) };
        pass.work.take(tagged.len().saturating_sub(record.len()))?;
        pass.ledger.wrote(tagged.len());
        pass.report.inbound.add(&outcome);
        Ok(Some(tagged.into()))
    }

    /// Tags a record as far as budgets and room go, and counts its hits if it is tagged or listed.
    fn mark<P: Protocol>(
        &self,
        record: &[u8],
        verdict: &mut Verdict,
        pass: &mut Pass<'_>,
    ) -> Result<Marked, StopReason> {
        let mut tagged = None;
        if let Some(enrichments) = self.enrichments(record, verdict, pass)? {
            pass.work.take(cost(record.len(), enrichments.bytes))?;
            tagged = Some(P::tag(record, &self.tags(&enrichments)));
        }
        match tagged {
            Some(Ok((tagged, outcome))) => {
                pass.ledger.wrote(tagged.len());
                let TagOutcome { threat_not_object, own_place, .. } = outcome;
                pass.report.threat_not_object += u64::from(threat_not_object);
                pass.report.own_place += u64::from(own_place);
                pass.report.inbound.add(&outcome);
                Ok(Marked::Tagged(HitRecord { record: tagged.into(), ..self.count(verdict, pass)? }))
            }
            untagged => {
                let is_malformed = untagged.is_some();
                pass.report.untagged += u64::from(is_malformed);
                let mut listed = None;
                if pass.ledger.list() {
                    pass.work.take(LISTED_COST)?;
                    listed = Some(self.count(verdict, pass)?);
                }
                verdict.exceeded.insert(Budget::BatchHits, listed.is_none());
                Ok(Marked::Untagged { is_malformed, listed })
            }
        }
    }

    /// Counts the hits of a record, and moves them to where the batch carries them: all, else the best one, as far as
    /// there is room.
    fn count(&self, verdict: &mut Verdict, pass: &mut Pass<'_>) -> Result<HitRecord, StopReason> {
        for hit in &verdict.hits {
            pass.report.hits.add((self.snapshot.feed_number(hit.posting.indicator), hit.kind));
            pass.report.severities.add(severity(&self.snapshot, hit, &verdict.facts));
        }
        let (mut hits, mut listings) = (std::mem::take(&mut verdict.hits), std::mem::take(&mut verdict.hit_listings));
        if listings.iter().all(Vec::is_empty) {
            listings.clear();
        }
        let names = verdict.facts.assets.bytes();
        let mut bytes = names + carried_bytes(&hits, &listings);
        if !pass.has_room_to_carry(bytes) {
            verdict.exceeded.insert(Budget::CarriedHits, true);
            listings.clear();
            hits = hits.into_iter().min_by_key(|hit| order(&self.snapshot, hit, &verdict.facts)).into_iter().collect();
            bytes = names + carried_bytes(&hits, &listings);
            if !pass.has_room_to_carry(bytes) {
                hits.clear();
                verdict.facts.assets = AssetFacts::default();
                bytes = 0;
            }
        }
        pass.work.take(bytes)?;
        listings.shrink_to_fit();
        let facts = verdict.facts.clone();
        Ok(HitRecord { hits: hits.into_boxed_slice(), listings, facts, ..HitRecord::default() })
    }

    /// The enrichments of a record that the batch has room for, and which budgets they exceed.
    fn enrichments(
        &self,
        record: &[u8],
        verdict: &mut Verdict,
        pass: &mut Pass<'_>,
    ) -> Result<Option<Enrichments>, StopReason> {
        let (room, work, ledger, kept) = (pass.room(), pass.work, &pass.ledger, pass.enricher.bytes());
        let has_room = |needed: usize| needed <= room;
        // A batch that would fit without its tags is not refused for them: it would be refused again and again. What is
        // written for it here, a sink may copy again.
        let fits = |form, tags| {
            let needed = cost(record.len(), tags).saturating_mul(2).saturating_add(ledger.written());
            has_room(needed) && ledger.fits(form, record.len(), tags)
        };
        let mut made = None;
        if fits(Form::Full, LEAST_TAG) {
            let all = self.all_enrichments(verdict, &mut pass.enricher);
            if fits(Form::Full, all.bytes) {
                verdict.exceeded.insert(Budget::RecordTagBytes, all.is_cut);
                made = Some(all);
            }
        }
        if made.is_none() {
            verdict.exceeded.insert(Budget::BatchTagBytes, true);
            pass.enricher.set_style(self.style(&verdict.facts));
            let short = pass.enricher.short(&verdict.hits, &verdict.facts);
            made = fits(Form::Short, short.bytes).then_some(short);
        }
        let more = pass.enricher.bytes() - kept;
        let tagged = made.as_ref().map_or(0, |made| cost(record.len(), made.bytes).saturating_mul(2));
        match has_room(tagged.saturating_add(ledger.written()).saturating_add(more)) {
            true => work.take(more)?,
            false => pass.enricher.keep_nothing(),
        }
        Ok(made)
    }

    fn all_enrichments(&self, verdict: &Verdict, enricher: &mut Enricher<'_>) -> Enrichments {
        let Verdict { hits, hit_listings, facts, exceeded, .. } = verdict;
        enricher.set_style(self.style(facts));
        enricher.enrichments(hits, hit_listings, facts, self.budgets.record_tag_bytes, !exceeded.is_empty())
    }

    /// Matches one JSON document at the fields of `trie`: the snapshot's own, or more of them for `explain`. A text that
    /// only begins like a document is matched as far as it can be read.
    ///
    /// # Errors
    /// The text does not begin like a document.
    pub fn document(
        &self,
        document: &[u8],
        trie: &PathTrie,
        matcher: &mut Matcher<'_, impl Trace>,
        arrival: Timestamp,
    ) -> Result<Verdict, json::JsonError> {
        matcher.set_limit(self.budgets.record_findings);
        let json::Walked { malformed, .. } = match self.snapshot.options().text {
            true => json::read(document, trie, &mut WithTexts(matcher))?,
            false => json::read(document, trie, matcher)?,
        };
        matcher.end_record();
        let mut exceeded = Exceeded::default();
        exceeded.insert(Budget::RecordFindings, matcher.is_truncated());
        exceeded.insert(Budget::RecordLookups, matcher.is_curtailed());
        let around = ((arrival, arrival), AssetCandidates::default());
        Ok(Verdict { malformed, ..self.conclude::<Documents>(document, trie, matcher.take_hits(), exceeded, around) })
    }

    /// Walks a record, with its texts if they are scanned.
    #[inline]
    fn walk<P: Protocol, V: TextVisitor>(
        &self,
        record: &[u8],
        trie: &PathTrie,
        visitor: &mut V,
    ) -> Result<RecordInfo, MalformedRecord> {
        match self.snapshot.options().text {
            true => P::walk(record, trie, &mut WithTexts(visitor)),
            false => P::walk(record, trie, visitor),
        }
    }

    /// From what was found at the fields of `trie` to what counts: composite patterns, then policy. Of the times the first is
    /// that of an event without one, the second that of its arrival. `assets` are those of its resource.
    fn conclude<P: Protocol>(
        &self,
        record: &[u8],
        trie: &PathTrie,
        mut found: Vec<Hit>,
        mut exceeded: Exceeded,
        ((otherwise, arrival), assets): ((Timestamp, Timestamp), AssetCandidates),
    ) -> Verdict {
        let unfulfilled = self.take_unfulfilled::<P>(record, &mut found, &mut exceeded);
        let is_truncated = exceeded.iter().any(|budget| budget == Budget::RecordFindings);
        let mut facts = self.no_facts().with_resource(assets);
        if !found.is_empty() || is_truncated {
            // This walk looks into subtrees that the first one stepped over, so it may meet a fault that the first did
            // not. What was found stays found; the facts are those up to the fault.
            let trie = self.snapshot.facts().trie();
            let _ = P::walk(record, trie, &mut |field, value: Value<'_>| facts.value(field, value));
        }
        let facts = facts.of_event(otherwise, arrival);
        let mut verdict = Verdict { unfulfilled, exceeded, ..self.evaluate(found, facts) };
        if is_truncated && let Some(policy) = &self.policy {
            // A dropped finding must not displace an allowed one: only allowed findings count towards the budget.
            let facts = verdict.facts.clone();
            let keep = |hit: &Hit| policy.evaluate(&self.snapshot, hit, &facts).is_ok();
            let mut matcher = Matcher::new(&self.snapshot).keeping(&keep);
            matcher.set_limit(self.budgets.record_findings);
            let _ = self.walk::<P, _>(record, trie, &mut matcher);
            matcher.end_record();
            if !matcher.is_truncated() {
                // Nothing that policy allows was left out.
                verdict.exceeded.remove(Budget::RecordFindings);
            }
            let mut allowed = matcher.take_hits();
            self.take_unfulfilled::<P>(record, &mut allowed, &mut verdict.exceeded);
            let allowed = self.evaluate(allowed, facts.clone());
            (verdict.hits, verdict.hit_listings) = (allowed.hits, allowed.hit_listings);
        }
        verdict
    }

    /// Takes out the findings of composite patterns that the record does not fulfil.
    fn take_unfulfilled<P: Protocol>(&self, record: &[u8], found: &mut Vec<Hit>, exceeded: &mut Exceeded) -> Vec<Hit> {
        let Some(mut evaluator) = PatternEvaluator::for_hits(&self.snapshot, found) else { return Vec::new() };
        // A record that cannot be walked to its end is evaluated by its part before the fault.
        let _ = P::walk(record, self.snapshot.every_field(), &mut evaluator);
        exceeded.insert(Budget::RecordFindings, evaluator.is_truncated());
        evaluator.take_unfulfilled(found)
    }

    fn evaluate(&self, found: Vec<Hit>, facts: EventFacts) -> Verdict {
        let mut verdict = Verdict {
            hits: Vec::new(),
            hit_listings: Vec::new(),
            suppressed: Vec::new(),
            suppressed_listings: Vec::new(),
            unfulfilled: Vec::new(),
            malformed: None,
            facts,
            exceeded: Exceeded::default(),
        };
        for mut hit in found {
            let evaluated = self.policy.as_ref().map(|policy| policy.evaluate(&self.snapshot, &hit, &verdict.facts));
            match evaluated.unwrap_or_else(|| Ok(Allowed::default())) {
                Ok(Allowed { listings, selection }) => {
                    hit.selection = selection;
                    verdict.hits.push(hit);
                    verdict.hit_listings.push(listings);
                }
                Err(Dropped { reason, listings }) => {
                    verdict.suppressed.push((hit, reason));
                    verdict.suppressed_listings.push(listings);
                }
            }
        }
        verdict
    }
}
