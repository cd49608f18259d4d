//! The live matching step: the detector with its metrics. The detector is replaced as a whole, by changed indicators or a
//! new configuration; a batch is matched by the detector that was active when it arrived.

mod check;
mod shadow;
mod tap;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::sync::Notify;

use super::blind_spots::BlindSpots;
use crate::admin::HitTap;
use crate::config::FailureMode;
use crate::detect::{Budget, Detector, InboundCounts, Report};
use crate::encoding::json::Malformation;
use crate::encoding::{Format, otlp};
use crate::intel::snapshot::{NOTHING, Snapshot};
use crate::pipeline::{BatchRefusal, MatchedMessage, Work};
use crate::policy::Suppression;
use crate::publisher::{Activate, MatchRules};
use crate::schema::FieldTable;
use crate::telemetry::{self, BoundedLabel, Throttle};
use shadow::{Findings, Shadow};

struct MatchState {
    rules: MatchRules,
    detector: Option<Detector>,
}

impl MatchState {
    fn new(rules: MatchRules, snapshot: Option<Arc<Snapshot>>) -> MatchState {
        let detector = snapshot.map(|snapshot| Detector {
            snapshot,
            policy: Some(rules.policy.clone()),
            tagging: rules.tagging,
            budgets: rules.budgets,
        });
        MatchState { rules, detector }
    }
}

/// Matches batches as they arrive.
pub(super) struct MatchStage {
    serving: ArcSwap<MatchState>,
    changed: Notify,
    shadow: Shadow,
    /// Matched events and hits since the start.
    pub(super) judged: AtomicU64,
    pub(super) found: AtomicU64,
    clock: fn() -> Timestamp,
    events: Counter,
    bytes: Counter,
    observables: Counter,
    passes: Counter,
    unmatched: Counter,
    unreadable: Counter,
    too_deep: Counter,
    threat_not_object: Counter,
    own_place: Counter,
    untagged: Counter,
    lookups: Counter,
    seconds: Histogram,
    blind_spots: BlindSpots,
    /// The fields of malformed values.
    malformed_fields: BoundedLabel,
    /// Sends hits to the watchers.
    pub(super) tap: HitTap,
}

impl MatchStage {
    pub(super) fn new(rules: MatchRules, snapshot: Option<Arc<Snapshot>>, clock: fn() -> Timestamp) -> MatchStage {
        for reason in Suppression::ALL {
            counter!(telemetry::SUPPRESSIONS_TOTAL, "reason" => reason.as_str()).absolute(0);
        }
        for budget in Budget::ALL {
            counter!(telemetry::TRUNCATED_EVENTS_TOTAL, "budget" => budget.as_str()).absolute(0);
        }
        Malformation::ALL.into_iter().for_each(|malformation| malformed(malformation).absolute(0));
        ["kept", "marked", "stripped", "replaced"].into_iter().for_each(|action| inbound(action).absolute(0));
        ["hit", "suppressed"].into_iter().for_each(|result| skewed(result).absolute(0));
        let malformed_record = |reason| counter!(telemetry::MALFORMED_RECORDS_TOTAL, "reason" => reason);
        let blind_spots = BlindSpots::default();
        if let Some(snapshot) = &snapshot {
            blind_spots.record_snapshot(snapshot, &rules.policy);
        }
        MatchStage {
            serving: ArcSwap::from_pointee(MatchState::new(rules, snapshot)),
            changed: Notify::new(),
            shadow: Shadow::default(),
            judged: AtomicU64::new(0),
            found: AtomicU64::new(0),
            blind_spots,
            malformed_fields: BoundedLabel::default(),
            tap: HitTap::default(),
            clock,
            events: counter!(telemetry::EVENTS_TOTAL),
            bytes: counter!(telemetry::EVENT_BYTES_TOTAL),
            observables: counter!(telemetry::OBSERVABLES_TOTAL),
            lookups: counter!(telemetry::PREFILTER_LOOKUPS_TOTAL),
            passes: counter!(telemetry::PREFILTER_PASSES_TOTAL),
            unmatched: malformed_record("no_snapshot"),
            unreadable: malformed_record("unreadable"),
            too_deep: malformed_record("too_deep"),
            threat_not_object: malformed_record("threat_not_object"),
            own_place: malformed_record("own_place"),
            untagged: malformed_record("untagged"),
            seconds: histogram!(telemetry::STAGE_SECONDS, "stage" => "match"),
        }
    }

    /// Returns the name of the active snapshot.
    pub(super) fn snapshot_name(&self) -> Arc<str> {
        let serving = self.serving.load();
        serving.detector.as_ref().map_or_else(|| NOTHING.into(), |detector| Arc::clone(detector.snapshot.name()))
    }

    /// Returns whether an event with this domain would be tagged, by the whole match path but without counting it. `None`
    /// if there are no indicators.
    pub(super) fn finds(&self, domain: &str) -> Option<bool> {
        let serving = self.serving.load_full();
        let detector = serving.detector.as_ref()?;
        let event = serde_json::json!({ "dns": { "question": { "name": domain } } });
        let message = Bytes::from(otlp::request_of([(0, &event)]));
        let (batch, _) =
            detector.batch(Format::Otlp, message, (self.clock)(), &Work::default()).ok().unwrap_or_default();
        Some(batch.hits.iter().flat_map(|record| &record.hits).any(|hit| *hit.name == *domain))
    }

    /// Resolves when the active snapshot changes.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn log_blind_spots(&self) {
        let serving = self.serving.load();
        if let Some(detector) = &serving.detector {
            self.blind_spots.summary(&detector.snapshot, &serving.rules.policy).log();
        }
    }

    fn count(&self, snapshot: &Snapshot, report: Report) {
        self.events.increment(report.events);
        self.observables.increment(report.counts.observables);
        self.lookups.increment(report.counts.lookups);
        self.passes.increment(report.counts.passes);
        self.unreadable.increment(report.malformed_records);
        self.too_deep.increment(report.too_deep);
        self.threat_not_object.increment(report.threat_not_object);
        self.own_place.increment(report.own_place);
        self.untagged.increment(report.untagged);
        let InboundCounts { kept, marked, stripped, replaced } = report.inbound;
        for (action, records) in [("kept", kept), ("marked", marked), ("stripped", stripped), ("replaced", replaced)] {
            if records > 0 {
                inbound(action).increment(records);
            }
        }
        for (result, findings) in [("hit", report.skewed.hits), ("suppressed", report.skewed.suppressed)] {
            if findings > 0 {
                skewed(result).increment(findings);
            }
        }
        for (malformation, records) in report.malformed_documents {
            malformed(malformation).increment(records);
        }
        for ((feed, kind), number) in report.hits {
            let feed = snapshot.feeds().get(feed).map_or_else(String::new, |feed| feed.name.clone());
            counter!(telemetry::HITS_TOTAL, "kind" => kind.as_str(), "feed" => feed).increment(number);
        }
        for (severity, number) in report.severities {
            counter!(telemetry::HITS_BY_SEVERITY_TOTAL, "severity" => severity.as_str()).increment(number);
        }
        for ((list, action), number) in report.listings {
            let (list, action) = (list.to_string(), action.as_str());
            counter!(telemetry::ALLOWLIST_HITS_TOTAL, "list" => list, "action" => action).increment(number);
        }
        for (reason, number) in report.suppressions {
            counter!(telemetry::SUPPRESSIONS_TOTAL, "reason" => reason.as_str()).increment(number);
        }
        for (budget, events) in report.truncated {
            counter!(telemetry::TRUNCATED_EVENTS_TOTAL, "budget" => budget.as_str()).increment(events);
            if let Some(left_out) = TRUNCATED.pass() {
                tracing::warn!(
                    budget = budget.as_str(),
                    events,
                    left_out,
                    "events exceed a budget; the best hits are kept"
                );
            }
        }
    }
}

impl Activate for MatchStage {
    fn rules(&self) -> MatchRules {
        self.serving.load().rules.clone()
    }

    fn activate(&self, rules: MatchRules, snapshot: Option<Arc<Snapshot>>) {
        if let Some(snapshot) = &snapshot {
            self.blind_spots.record_snapshot(snapshot, &rules.policy);
        }
        self.serving.store(Arc::new(MatchState::new(rules, snapshot)));
        self.changed.notify_one();
    }

    fn set_shadow(&self, snapshot: Option<Arc<Snapshot>>) {
        self.shadow.set(snapshot);
    }
}

/// Limits log lines about events that exceed a budget: the authors of events could fill the log with them.
static TRUNCATED: Throttle = Throttle::once_a_minute();

fn malformed(malformation: Malformation) -> Counter {
    counter!(telemetry::MALFORMED_DOCUMENTS_TOTAL, "reason" => malformation.as_str())
}

fn inbound(action: &'static str) -> Counter {
    counter!(telemetry::INBOUND_RECORDS_TOTAL, "action" => action)
}

fn skewed(result: &'static str) -> Counter {
    counter!(telemetry::SKEWED_FINDINGS_TOTAL, "result" => result)
}

impl MatchStage {
    /// The table of fields that is matched with; `None` before there are indicators.
    pub(super) fn field_table(&self) -> Option<Arc<FieldTable>> {
        self.serving.load().detector.as_ref().map(|detector| Arc::clone(detector.snapshot.table()))
    }

    /// Matches a batch, and passes to `note` the number of matched events and whether one of them had a checked field.
    ///
    /// # Errors
    /// The batch cannot be matched.
    pub(super) fn process_noting(
        &self,
        format: Format,
        message: Bytes,
        work: &Work,
        note: &mut dyn FnMut(u64, bool),
    ) -> Result<MatchedMessage, BatchRefusal> {
        let start = Instant::now();
        self.bytes.increment(message.len() as u64);
        let serving = self.serving.load_full();
        let Some(detector) = &serving.detector else {
            if serving.rules.failure_mode == FailureMode::Closed {
                return Err(BatchRefusal::Unavailable(
                    "no indicators are loaded, and failure_mode is closed".to_owned(),
                ));
            }
            let shadow_input = self.shadow.detector(&serving.rules).map(|shadow| (shadow, message.clone()));
            let batch = MatchedMessage::unmatched(format, message)?;
            if let Some((shadow, message)) = shadow_input {
                let (none, now) = (Findings::default(), (self.clock)());
                self.shadow.compare(&shadow, &shadow.snapshot, none, (format, message), now, work);
            }
            self.events.increment(batch.records as u64);
            self.unmatched.increment(batch.records as u64);
            return Ok(batch);
        };
        let arrival = (self.clock)();
        let shadow_input = self.shadow.detector(&serving.rules).map(|shadow| (shadow, message.clone()));
        let (batch, report) = detector.batch(format, message, arrival, work)?;
        for record in &batch.hits {
            for hit in &record.hits {
                self.tap.hit(|| tap::hit(&detector.snapshot, hit, &record.facts, arrival));
            }
        }
        if let Some((shadow, message)) = shadow_input {
            let findings = Findings::from_batch(&detector.snapshot, &batch);
            self.shadow.compare(&shadow, &detector.snapshot, findings, (format, message), arrival, work);
        }
        self.judged.fetch_add(report.events, Ordering::Relaxed);
        self.found.fetch_add(report.hits.total(), Ordering::Relaxed);
        self.blind_spots.record_batch(&detector.snapshot, &serving.rules.policy, &report);
        note(report.events, !report.seen.is_empty());
        for (field, reason, count) in report.malformed.iter() {
            let field = self.malformed_fields.value(&detector.snapshot.table().get(field).name);
            counter!(telemetry::MALFORMED_VALUES_TOTAL, "field" => field, "reason" => reason.as_str()).increment(count);
        }
        for (schema, events) in report.schemas.iter() {
            counter!(telemetry::SCHEMA_EVENTS_TOTAL, "schema" => *schema).increment(events);
        }
        self.count(&detector.snapshot, report);
        self.seconds.record(start.elapsed().as_secs_f64());
        Ok(batch)
    }
}
