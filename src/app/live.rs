//! The live stream's matching step: the detector under the metrics. The detector is replaced whole, by indicators that
//! changed or by a new configuration; a batch is judged by the one that served when it came.

mod check;
mod shadow;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::sync::Notify;

use super::blind_spots::BlindSpots;
use crate::config::FailureMode;
use crate::delivery::{Batch, Process, Refusal, Work};
use crate::detect::{Detector, Report};
use crate::encoding::{Format, TagInto, otlp};
use crate::intel::allowlist::Allowlists;
use crate::intel::snapshot::Snapshot;
use crate::policy::{Policy, Suppression};
use crate::telemetry;
use shadow::Shadow;

/// What a configuration says about matching.
#[derive(Clone)]
pub(super) struct Rules {
    /// Which findings count.
    pub(super) policy: Policy,
    /// Where tags go.
    pub(super) tag_into: TagInto,
    /// What happens while there is no snapshot.
    pub(super) failure_mode: FailureMode,
}

/// What judges a batch.
struct Serving {
    rules: Rules,
    detector: Option<Detector>,
}

impl Serving {
    fn new(rules: Rules, snapshot: Option<Arc<Snapshot>>) -> Serving {
        let detector = snapshot.map(|snapshot| Detector {
            snapshot,
            policy: Some(rules.policy.clone()),
            tag_into: rules.tag_into,
        });
        Serving { rules, detector }
    }
}

/// Matches batches as they arrive.
pub(super) struct Live {
    serving: ArcSwap<Serving>,
    changed: Notify,
    shadow: Shadow,
    /// Events that were judged, and hits, since the start.
    pub(super) judged: AtomicU64,
    pub(super) found: AtomicU64,
    clock: fn() -> Timestamp,
    events: Counter,
    bytes: Counter,
    observables: Counter,
    passes: Counter,
    unmatched: Counter,
    odd: Counter,
    too_deep: Counter,
    threat_not_object: Counter,
    lookups: Counter,
    seconds: Histogram,
    blind_spots: BlindSpots,
}

impl Live {
    pub(super) fn new(rules: Rules, snapshot: Option<Arc<Snapshot>>, clock: fn() -> Timestamp) -> Live {
        for reason in Suppression::ALL {
            counter!(telemetry::SUPPRESSIONS_TOTAL, "reason" => reason.as_str()).absolute(0);
        }
        let odd = |reason| counter!(telemetry::ODD_RECORDS_TOTAL, "reason" => reason);
        let blind_spots = BlindSpots::default();
        if let Some(snapshot) = &snapshot {
            blind_spots.look_for(snapshot);
        }
        Live {
            serving: ArcSwap::from_pointee(Serving::new(rules, snapshot)),
            changed: Notify::new(),
            shadow: Shadow::default(),
            judged: AtomicU64::new(0),
            found: AtomicU64::new(0),
            blind_spots,
            clock,
            events: counter!(telemetry::EVENTS_TOTAL),
            bytes: counter!(telemetry::EVENT_BYTES_TOTAL),
            observables: counter!(telemetry::OBSERVABLES_TOTAL),
            lookups: counter!(telemetry::PREFILTER_LOOKUPS_TOTAL),
            passes: counter!(telemetry::PREFILTER_PASSES_TOTAL),
            unmatched: odd("no_snapshot"),
            odd: odd("unreadable"),
            too_deep: odd("too_deep"),
            threat_not_object: odd("threat_not_object"),
            seconds: histogram!(telemetry::STAGE_SECONDS, "stage" => "match"),
        }
    }

    /// The rules in force.
    pub(super) fn rules(&self) -> Rules {
        self.serving.load().rules.clone()
    }

    /// The allowlists in force.
    pub(super) fn allowlists(&self) -> Arc<Allowlists> {
        Arc::clone(&self.serving.load().rules.policy.allowlists)
    }

    /// What is matched beside what judges, or nothing.
    pub(super) fn set_shadow(&self, snapshot: Option<Arc<Snapshot>>) {
        self.shadow.set(snapshot);
    }

    /// Whether an event with this domain would be tagged: the whole way of a batch, without counting it. `None`: there are
    /// no indicators.
    pub(super) fn finds(&self, domain: &str) -> Option<bool> {
        let serving = self.serving.load_full();
        let detector = serving.detector.as_ref()?;
        let event = serde_json::json!({ "dns": { "question": { "name": domain } } });
        let message = Bytes::from(otlp::request_of([(0, &event)]));
        let report = detector.batch(Format::Otlp, message, (self.clock)(), &Work::default()).map(|(_, report)| report);
        Some(report.is_ok_and(|report| report.hits.iter().any(|(hit, _)| hit.name == domain)))
    }

    /// Ready when something else serves than when it was asked last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Replaces rules and snapshot together.
    pub(super) fn configure(&self, rules: Rules, snapshot: Option<Arc<Snapshot>>) {
        if let Some(snapshot) = &snapshot {
            self.blind_spots.look_for(snapshot);
        }
        self.serving.store(Arc::new(Serving::new(rules, snapshot)));
        self.changed.notify_one();
    }

    /// Writes to the log what is looked for and was not seen.
    pub(super) fn log_blind_spots(&self) {
        if let Some(detector) = &self.serving.load().detector {
            self.blind_spots.summary(&detector.snapshot).log();
        }
    }

    fn count(&self, report: Report) {
        self.events.increment(report.events);
        self.observables.increment(report.counts.observables);
        self.lookups.increment(report.counts.lookups);
        self.passes.increment(report.counts.passes);
        self.odd.increment(report.odd_records);
        self.too_deep.increment(report.too_deep);
        self.threat_not_object.increment(report.threat_not_object);
        for (hit, feed) in report.hits {
            counter!(telemetry::HITS_TOTAL, "kind" => hit.kind.as_str(), "feed" => feed.to_string()).increment(1);
        }
        for listing in report.listings {
            let (list, action) = (listing.list.to_string(), listing.action.as_str());
            counter!(telemetry::ALLOWLIST_HITS_TOTAL, "list" => list, "action" => action).increment(1);
        }
        for reason in report.suppressions {
            counter!(telemetry::SUPPRESSIONS_TOTAL, "reason" => reason.as_str()).increment(1);
        }
    }
}

impl Process for Live {
    fn process(&self, format: Format, message: Bytes, work: &Work) -> Result<Batch, Refusal> {
        let start = Instant::now();
        self.bytes.increment(message.len() as u64);
        let serving = self.serving.load_full();
        let Some(detector) = &serving.detector else {
            if serving.rules.failure_mode == FailureMode::Closed {
                return Err(Refusal::Unavailable("no indicators are loaded, and failure_mode is closed".to_owned()));
            }
            let beside = self.shadow.of(&serving.rules).map(|shadow| (shadow, message.clone()));
            let batch = Batch::unmatched(format, message)?;
            if let Some((shadow, message)) = beside {
                self.shadow.compare(&shadow, &Report::default(), format, message, (self.clock)(), work);
            }
            self.events.increment(batch.records as u64);
            self.unmatched.increment(batch.records as u64);
            return Ok(batch);
        };
        let arrival = (self.clock)();
        let beside = self.shadow.of(&serving.rules).map(|shadow| (shadow, message.clone()));
        let (batch, report) = detector.batch(format, message, arrival, work)?;
        if let Some((shadow, message)) = beside {
            self.shadow.compare(&shadow, &report, format, message, arrival, work);
        }
        self.judged.fetch_add(report.events, Ordering::Relaxed);
        self.found.fetch_add(report.hits.len() as u64, Ordering::Relaxed);
        self.blind_spots.note(&detector.snapshot, &report);
        self.count(report);
        self.seconds.record(start.elapsed().as_secs_f64());
        Ok(batch)
    }
}
