//! One event or one batch through the whole match path: walk, match, policy, splice.
//!
//! Everything that matches goes through here: the live stream ([`Detector::batch`]), `scan`, `explain` and the demo
//! ([`Detector::document`]). A batch in which nothing hits leaves as the very bytes that arrived.

mod check;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use jiff::Timestamp;

use crate::delivery::{Batch, Refusal, Stop, Tagged, Work};
use crate::encoding::protocol::{Documents, Otlp, Vector};
use crate::encoding::{Format, OddRecord, Protocol, RecordInfo, RecordSpan, Rope, Signal, TagInto, Value, json};
use crate::enrich;
use crate::fields::{FieldId, FieldSet, PathTrie};
use crate::intel::allowlist::Listing;
use crate::intel::snapshot::Snapshot;
use crate::matcher::{Counts, Hit, Judge, Matcher, Sieve, Trace};
use crate::observable::time;
use crate::policy::{Dropped, EventFacts, Policy, Suppression};

pub use check::CheckError;

/// What happened to the events of a batch; the caller adds it to its metrics.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events seen.
    pub events: u64,
    /// What the matcher did.
    pub counts: Counts,
    /// The fields that had a value, of those that some indicator is looked for at.
    pub seen: FieldSet,
    /// Hits that policy allowed, with the feed's name.
    pub hits: Vec<(Hit, Arc<str>)>,
    /// Findings that policy dropped.
    pub suppressions: Vec<Suppression>,
    /// Allowlists that held the value of a hit, or of a finding that was dropped for it: one for each list and finding.
    pub listings: Vec<Listing>,
    /// Records that could not be walked or tagged and passed as they came.
    pub odd_records: u64,
    /// Records with subtrees beyond the depth limit, which passed unvisited.
    pub too_deep: u64,
    /// Hits whose event has a `threat` that is no object; they are told in `hotlist` only.
    pub threat_not_object: u64,
}

/// The verdict on one event.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What counts, in the order of the walk.
    pub hits: Vec<Hit>,
    /// The allowlists that hold the value of each of `hits`, in the same order; mostly none.
    pub hit_listings: Vec<Vec<Listing>>,
    /// What policy dropped, and why.
    pub suppressed: Vec<(Hit, Suppression)>,
    /// The allowlists for which each of `suppressed` was dropped, in the same order.
    pub suppressed_listings: Vec<Vec<Listing>>,
    /// Findings that count only together with others, which the event lacks; policy was not asked. [`Detector::batch`]
    /// forgets them.
    pub unfulfilled: Vec<Hit>,
    /// What policy was told of the event.
    pub facts: EventFacts,
}

/// Matches events against one snapshot under one policy.
#[derive(Clone, Debug)]
pub struct Detector {
    /// The indicators.
    pub snapshot: Arc<Snapshot>,
    /// Which findings count; `None` counts every one (`scan`).
    pub policy: Option<Policy>,
    /// Where tags go in a record that has more than one place for them.
    pub tag_into: TagInto,
}

/// Fields that policy asks for, read only when something was found.
#[derive(Default)]
struct Facts {
    time: Option<Timestamp>,
    is_indicator: bool,
}

/// Bytes of memory that a tagged record takes besides itself: its place among the hits and the edits, the slices and
/// headers around it in the rope, and what the allocator adds.
const TAGGED_OVERHEAD: usize = 512;

/// Bytes of memory that the place of a record takes that cannot be read, in a list that doubles as it grows.
const ODD_OVERHEAD: usize = 3 * size_of::<usize>();

/// Bytes of memory that a hit takes in a report.
const HIT_OVERHEAD: usize = 2 * size_of::<(Hit, Arc<str>)>();

/// Why a record in which something was found is not tagged.
enum Untagged {
    Odd,
    Stopped(Stop),
}

impl From<OddRecord> for Untagged {
    fn from(_: OddRecord) -> Untagged {
        Untagged::Odd
    }
}

impl From<Stop> for Untagged {
    fn from(stop: Stop) -> Untagged {
        Untagged::Stopped(stop)
    }
}

const TIMESTAMP: FieldId = FieldId(0);
const EVENT_KIND: FieldId = FieldId(1);

/// Where they stand.
static FACTS: LazyLock<PathTrie> =
    LazyLock::new(|| PathTrie::new([("@timestamp", TIMESTAMP), ("event.kind", EVENT_KIND)]));

impl Facts {
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        match (field, value) {
            (TIMESTAMP, Value::Text(text)) => self.time = self.time.or_else(|| time::parse(text)),
            (TIMESTAMP, Value::Int(number)) => {
                self.time = self.time.or_else(|| time::parse(number.to_string().as_bytes()))
            }
            (TIMESTAMP, Value::Time(instant)) => self.time = self.time.or(Some(instant)),
            (EVENT_KIND, Value::Text(text)) => self.is_indicator |= text == b"enrichment",
            _ => {}
        }
    }
}

impl Detector {
    /// Matches and tags one batch. `arrival` is the event time of records that have none. `work` is asked at each record
    /// whether to go on, and for room before a record is tagged.
    ///
    /// # Errors
    /// The envelope cannot be walked, there is no room for the tagged records, or the client left.
    pub fn batch(
        &self,
        format: Format,
        message: Bytes,
        arrival: Timestamp,
        work: &Work,
    ) -> Result<(Batch, Report), Refusal> {
        let matched = match format {
            Format::Otlp => self.records::<Otlp>(message, arrival, work),
            Format::Vector => self.records::<Vector>(message, arrival, work),
            Format::Filter => self.records::<Documents>(message, arrival, work),
        };
        matched.map(|(batch, report)| (Batch { format, ..batch }, report))
    }

    fn records<P: Protocol>(
        &self,
        message: Bytes,
        arrival: Timestamp,
        work: &Work,
    ) -> Result<(Batch, Report), Refusal> {
        let mut report = Report::default();
        let mut batch = Batch { snapshot: self.snapshot.version(), ..Batch::default() };
        let mut edits: Vec<(RecordSpan, Bytes)> = Vec::new();
        let mut place = 0;
        let mut sieve = Sieve::new(&self.snapshot);
        let mut matcher = Matcher::new(&self.snapshot);
        P::ENVELOPE.try_records(&message, |span| -> Result<(), Refusal> {
            work.check()?;
            let record = &message[span.record.payload()];
            let walked = P::walk(record, self.snapshot.trie(), &mut sieve);
            let passes = sieve.passes();
            match walked {
                Ok(info) if info.signal == Signal::Logs => {
                    report.events += 1;
                    report.too_deep += u64::from(info.too_deep);
                    if passes {
                        match self.record::<P>(record, info, &mut matcher, arrival, &mut report, work) {
                            Ok(Some(record)) => {
                                batch.hits.push(Tagged { place, record: record.clone() });
                                edits.push((span, record));
                            }
                            Ok(None) => {}
                            Err(Untagged::Odd) => {
                                work.take(ODD_OVERHEAD)?;
                                batch.odd.push(place);
                            }
                            Err(Untagged::Stopped(stop)) => return Err(stop.into()),
                        }
                    }
                }
                Ok(info) => batch.others.add(info.signal),
                Err(_) => {
                    report.events += 1;
                    work.take(ODD_OVERHEAD)?;
                    batch.odd.push(place);
                }
            }
            place += 1;
            Ok(())
        })?;
        report.odd_records = batch.odd.len() as u64;
        report.counts = sieve.counts();
        report.seen = sieve.into_seen();
        batch.records = report.events as usize;
        batch.message = if edits.is_empty() { Rope::from(message) } else { P::ENVELOPE.splice(&message, &edits) };
        Ok((batch, report))
    }

    /// The tagged record, when the matcher finds something in it and policy leaves a hit.
    #[cold]
    fn record<P: Protocol>(
        &self,
        record: &[u8],
        info: RecordInfo,
        matcher: &mut Matcher<'_>,
        arrival: Timestamp,
        report: &mut Report,
        work: &Work,
    ) -> Result<Option<Bytes>, Untagged> {
        // The sieve walked the record without an error a moment ago, and so does the matcher.
        let _ = P::walk(record, self.snapshot.trie(), matcher);
        if !matcher.has_hits() {
            return Ok(None);
        }
        let mut found = matcher.take_hits();
        if let Some(mut judge) = Judge::of(&self.snapshot, &found) {
            // What cannot be walked to its end at every field is judged by what stands before the fault.
            let _ = P::walk(record, self.snapshot.every_field(), &mut judge);
            judge.take_unfulfilled(&mut found);
            if found.is_empty() {
                return Ok(None);
            }
        }
        let mut facts = Facts::default();
        // This walk looks into subtrees that the first one stepped over, so it may meet a fault that the first did not.
        // What was found stays found; the facts are those before the fault.
        let _ = P::walk(record, &FACTS, &mut |field, value: Value<'_>| facts.value(field, value));
        let recorded = [info.time_unix_nano, info.observed_time_unix_nano].into_iter().find(|time| *time > 0);
        let recorded = recorded.and_then(|time| Timestamp::from_nanosecond(i128::from(time)).ok());
        let verdict = self.judge(found, facts, recorded.unwrap_or(arrival));
        report.suppressions.extend(verdict.suppressed.iter().map(|(_, reason)| *reason));
        let listings = verdict.hit_listings.iter().chain(&verdict.suppressed_listings).flatten();
        report.listings.extend(listings.cloned());
        if verdict.hits.is_empty() {
            return Ok(None);
        }
        work.take(record.len() + TAGGED_OVERHEAD + verdict.hits.len() * HIT_OVERHEAD)?;
        let enrichments = enrich::enrichments(&self.snapshot, &verdict.hits, &verdict.hit_listings, &verdict.facts);
        report.hits.extend(verdict.hits.into_iter().map(|hit| {
            let feed = self.snapshot.feed_of(hit.posting.indicator).name.as_str().into();
            (hit, feed)
        }));
        let (tagged, outcome) = P::tag(record, self.tag_into, &enrichments, enrich::TAG)?;
        work.take(tagged.len().saturating_sub(record.len()))?;
        report.threat_not_object += u64::from(outcome.threat_not_object);
        Ok(Some(tagged.into()))
    }

    /// Matches one JSON document at the fields of `trie`: the snapshot's own, or more of them for `explain`.
    ///
    /// # Errors
    /// The document is no JSON object; nothing of it counts.
    pub fn document(
        &self,
        document: &[u8],
        trie: &PathTrie,
        matcher: &mut Matcher<'_, impl Trace>,
        arrival: Timestamp,
    ) -> Result<Verdict, json::JsonError> {
        if let Err(error) = json::walk(document, trie, matcher) {
            matcher.discard_hits();
            return Err(error);
        }
        let mut found = matcher.take_hits();
        let mut unfulfilled = Vec::new();
        if let Some(mut judge) = Judge::of(&self.snapshot, &found) {
            let _ = json::walk(document, self.snapshot.every_field(), &mut judge);
            unfulfilled = judge.take_unfulfilled(&mut found);
        }
        let mut facts = Facts::default();
        if !found.is_empty() {
            // This walk looks into subtrees that the first one stepped over, so it may meet a fault that the first did
            // not. What was found stays found; the facts are those before the fault.
            let _ = json::walk(document, &FACTS, &mut |field, value: Value<'_>| facts.value(field, value));
        }
        Ok(Verdict { unfulfilled, ..self.judge(found, facts, arrival) })
    }

    /// The document with the enrichments of its hits.
    pub fn tag_document(&self, document: &[u8], verdict: &Verdict) -> Result<Vec<u8>, json::JsonError> {
        let enrichments = enrich::enrichments(&self.snapshot, &verdict.hits, &verdict.hit_listings, &verdict.facts);
        json::tag(document, &enrichments, enrich::TAG).map(|(tagged, _)| tagged)
    }

    fn judge(&self, found: Vec<Hit>, facts: Facts, otherwise: Timestamp) -> Verdict {
        let facts = EventFacts { time: facts.time.unwrap_or(otherwise), is_indicator: facts.is_indicator };
        let mut verdict = Verdict {
            hits: Vec::new(),
            hit_listings: Vec::new(),
            suppressed: Vec::new(),
            suppressed_listings: Vec::new(),
            unfulfilled: Vec::new(),
            facts,
        };
        for hit in found {
            let judged = self.policy.as_ref().map(|policy| policy.judge(&self.snapshot, &hit, &verdict.facts));
            match judged.unwrap_or_else(|| Ok(Vec::new())) {
                Ok(listings) => {
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
