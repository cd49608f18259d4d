//! The live stream's matching step: the detector under the metrics.

use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use metrics::{Counter, Histogram, counter, histogram};

use crate::config::FailureMode;
use crate::delivery::{Batch, Process, Refusal};
use crate::detect::{Detector, Report};
use crate::encoding::{Rope, otlp};
use crate::policy::Suppression;
use crate::telemetry;

/// Matches batches as they arrive.
pub(super) struct Live {
    detector: Option<Detector>,
    failure_mode: FailureMode,
    clock: fn() -> Timestamp,
    events: Counter,
    bytes: Counter,
    observables: Counter,
    passes: Counter,
    unmatched: Counter,
    odd: Counter,
    too_deep: Counter,
    threat_not_object: Counter,
    seconds: Histogram,
}

impl Live {
    pub(super) fn new(detector: Option<Detector>, failure_mode: FailureMode, clock: fn() -> Timestamp) -> Live {
        for reason in Suppression::ALL {
            counter!(telemetry::SUPPRESSIONS_TOTAL, "reason" => reason.as_str()).absolute(0);
        }
        let odd = |reason| counter!(telemetry::ODD_RECORDS_TOTAL, "reason" => reason);
        Live {
            detector,
            failure_mode,
            clock,
            events: counter!(telemetry::EVENTS_TOTAL),
            bytes: counter!(telemetry::EVENT_BYTES_TOTAL),
            observables: counter!(telemetry::OBSERVABLES_TOTAL),
            passes: counter!(telemetry::PREFILTER_PASSES_TOTAL),
            unmatched: odd("no_snapshot"),
            odd: odd("unreadable"),
            too_deep: odd("too_deep"),
            threat_not_object: odd("threat_not_object"),
            seconds: histogram!(telemetry::STAGE_SECONDS, "stage" => "match"),
        }
    }

    fn count(&self, report: Report) {
        self.events.increment(report.events);
        self.observables.increment(report.counts.observables);
        self.passes.increment(report.counts.passes);
        self.odd.increment(report.odd_records);
        self.too_deep.increment(report.too_deep);
        self.threat_not_object.increment(report.threat_not_object);
        for (hit, feed) in report.hits {
            counter!(telemetry::HITS_TOTAL, "kind" => hit.kind.as_str(), "feed" => feed.to_string()).increment(1);
        }
        for reason in report.suppressions {
            counter!(telemetry::SUPPRESSIONS_TOTAL, "reason" => reason.as_str()).increment(1);
        }
    }
}

impl Process for Live {
    fn process(&self, message: Bytes) -> Result<Batch, Refusal> {
        let start = Instant::now();
        self.bytes.increment(message.len() as u64);
        let unwalkable = |error: otlp::EnvelopeError| Refusal::InvalidArgument(error.to_string());
        let Some(detector) = &self.detector else {
            if self.failure_mode == FailureMode::Closed {
                return Err(Refusal::Unavailable("no indicators are loaded, and failure_mode is closed".to_owned()));
            }
            let mut records = 0;
            otlp::records(&message, |_| records += 1).map_err(unwalkable)?;
            self.events.increment(records as u64);
            self.unmatched.increment(records as u64);
            return Ok(Batch { message: Rope::from(message), records, ..Batch::default() });
        };
        let (batch, report) = detector.batch(message, (self.clock)()).map_err(unwalkable)?;
        self.count(report);
        self.seconds.record(start.elapsed().as_secs_f64());
        Ok(batch)
    }
}
