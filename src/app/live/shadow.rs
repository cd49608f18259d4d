//! A snapshot beside the one that judges: what it would hit is counted and sampled, and changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use jiff::Timestamp;
use metrics::counter;

use super::Rules;
use crate::delivery::Work;
use crate::detect::{Detector, Report};
use crate::encoding::Format;
use crate::intel::snapshot::Snapshot;
use crate::telemetry::{self, Throttle};

/// The snapshot in the slot, if there is one.
#[derive(Default)]
pub(super) struct Shadow {
    snapshot: ArcSwapOption<Snapshot>,
}

/// What was found, as both sides can say it: field, value, indicator and feed.
type Found<'r> = (u16, &'r [u8], &'r str, &'r str);

impl Shadow {
    pub(super) fn set(&self, snapshot: Option<Arc<Snapshot>>) {
        self.snapshot.store(snapshot);
    }

    /// What judges beside, under the same rules.
    pub(super) fn of(&self, rules: &Rules) -> Option<Detector> {
        let snapshot = self.snapshot.load_full()?;
        Some(Detector { snapshot, policy: Some(rules.policy.clone()), tag_into: rules.tag_into })
    }

    /// Matches a batch that was judged, and counts by feed what hits, what hits in the shadow only and what only
    /// without it.
    pub(super) fn compare(
        &self,
        shadow: &Detector,
        judged: &Report,
        format: Format,
        message: Bytes,
        arrival: Timestamp,
        work: &Work,
    ) {
        static LINES: Throttle = Throttle::new();
        // The batch could be walked a moment ago, so this walk ends only for want of room, or of the client.
        let Ok((_, report)) = shadow.batch(format, message, arrival, work) else { return };
        let count = |name: &'static str, feed: &str, number: u64| {
            counter!(name, "feed" => feed.to_owned()).increment(number);
        };
        let mut only = tally(&report);
        let mut missing = tally(judged);
        for (_, feed) in &report.hits {
            count(telemetry::SHADOW_HITS_TOTAL, feed, 1);
        }
        for (found, number) in &mut only {
            if let Some(here) = missing.get_mut(found) {
                let both = (*number).min(*here);
                *number -= both;
                *here -= both;
            }
        }
        for ((_, value, indicator, feed), number) in only.into_iter().filter(|(_, number)| *number > 0) {
            count(telemetry::SHADOW_ONLY_HITS_TOTAL, feed, number);
            if let Some(left_out) = LINES.pass() {
                let value = String::from_utf8_lossy(value);
                tracing::info!(feed, indicator, %value, left_out, "the shadow hits what serves does not");
            }
        }
        for ((.., feed), number) in missing.into_iter().filter(|(_, number)| *number > 0) {
            count(telemetry::SHADOW_MISSING_HITS_TOTAL, feed, number);
        }
    }
}

fn tally(report: &Report) -> HashMap<Found<'_>, u64> {
    let mut tally = HashMap::new();
    for (hit, feed) in &report.hits {
        *tally.entry((hit.field.0, hit.value.as_slice(), hit.name.as_str(), feed.as_ref())).or_default() += 1;
    }
    tally
}
