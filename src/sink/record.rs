//! The latest success and failure of a sink: for its line in the readiness report, and to log each kind of refusal once
//! per minute.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{Timestamp, Unit};

use crate::telemetry::Throttle;

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 300;

#[derive(Debug, Default)]
pub struct DeliveryRecord(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    latest: LatestDeliveries,
    /// One throttle per status. There are about as many as gRPC and HTTP define.
    lines: BTreeMap<String, Throttle>,
}

/// The latest success and failure of a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatestDeliveries {
    /// When a batch was last delivered.
    pub success: Option<Timestamp>,
    /// When a batch was last refused, with the status and the cause.
    pub failure: Option<(Timestamp, String, String)>,
}

impl DeliveryRecord {
    /// Records that a batch was delivered.
    pub fn succeeded(&self) {
        self.state().latest.success = Some(Timestamp::now());
    }

    /// Records that a batch was not delivered. If the refusal is to be logged, returns how many refusals with this
    /// status were suppressed since the last log line.
    pub fn failed(&self, status: &str, reason: &str) -> Option<u64> {
        let mut state = self.state();
        let kept = reason.chars().take(MAX_REASON).collect();
        state.latest.failure = Some((Timestamp::now(), status.to_owned(), kept));
        state.lines.entry(status.to_owned()).or_insert_with(Throttle::once_a_minute).pass()
    }

    /// The current record.
    pub fn latest(&self) -> LatestDeliveries {
        self.state().latest.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state cannot be half-changed, so a poisoned lock is valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LatestDeliveries {
    /// Whether nothing failed since the last success.
    pub fn is_good(&self) -> bool {
        match (&self.success, &self.failure) {
            (Some(success), Some((failure, ..))) => success >= failure,
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }
}

/// One line for the readiness report.
impl fmt::Display for LatestDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: &Timestamp| at.round(Unit::Second).unwrap_or(*at);
        match &self.success {
            Some(at) => write!(f, "last success {}", time(at))?,
            None => f.write_str("no success yet")?,
        }
        match &self.failure {
            Some((at, status, reason)) => write!(f, ", last failure {} ({status}): {reason}", time(at)),
            None => f.write_str(", no failure"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: each status is logged at once, further refusals with it are counted, and the latest of all is
    /// reported.
    #[test]
    fn each_status_has_its_line() {
        let record = DeliveryRecord::default();
        assert_eq!(record.latest().to_string(), "no success yet, no failure");
        assert_eq!(
            [record.failed("a", "1"), record.failed("a", "2"), record.failed("b", "3")],
            [Some(0), None, Some(0)]
        );
        assert!(!record.latest().is_good());
        record.succeeded();
        let latest = record.latest();
        assert!(latest.is_good());
        assert!(latest.to_string().ends_with("(b): 3"), "{latest}");
    }
}
