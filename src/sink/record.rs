//! What the deliveries of a sink came to lately: for its line in the readiness report, and so that each kind of refusal
//! is logged once a minute.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{Timestamp, Unit};

use crate::telemetry::Throttle;

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 300;

/// The record of one sink.
#[derive(Debug, Default)]
pub struct Record(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    latest: Latest,
    /// One for each status. There are about as many as gRPC and HTTP have.
    lines: BTreeMap<String, Throttle>,
}

/// The last success and the last failure of a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// When a batch was last delivered.
    pub success: Option<Timestamp>,
    /// When a batch was last refused, with the status and the reason.
    pub failure: Option<(Timestamp, String, String)>,
}

impl Record {
    /// A batch was delivered.
    pub fn succeeded(&self) {
        self.state().latest.success = Some(Timestamp::now());
    }

    /// A batch was not delivered. Returns how many refusals with this status were not logged since the last line, when
    /// this one is to be logged.
    pub fn failed(&self, status: &str, reason: &str) -> Option<u64> {
        let mut state = self.state();
        let kept = reason.chars().take(MAX_REASON).collect();
        state.latest.failure = Some((Timestamp::now(), status.to_owned(), kept));
        state.lines.entry(status.to_owned()).or_insert_with(Throttle::once_a_minute).pass()
    }

    /// What is known now.
    pub fn latest(&self) -> Latest {
        self.state().latest.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it can be half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    /// Whether nothing failed since the last success.
    pub fn is_good(&self) -> bool {
        match (&self.success, &self.failure) {
            (Some(success), Some((failure, ..))) => success >= failure,
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }
}

/// A line for people.
impl fmt::Display for Latest {
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

    /// Guarantee: each status is logged at once, its next refusals are counted, and the last of all is reported.
    #[test]
    fn each_status_has_its_line() {
        let record = Record::default();
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
