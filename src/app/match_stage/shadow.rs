//! The shadow snapshot: its hits are counted and sampled, and change nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use jiff::Timestamp;
use metrics::counter;

use crate::detect::{Detector, Tally};
use crate::encoding::Format;
use crate::escape::Escaped;
use crate::intel::snapshot::Snapshot;
use crate::matcher::Hit;
use crate::pipeline::{MatchedMessage, Work};
use crate::publisher::MatchRules;
use crate::telemetry::{self, Throttle};

#[derive(Default)]
pub(super) struct Shadow {
    snapshot: ArcSwapOption<Snapshot>,
}

/// The findings of one batch, comparable between both snapshots: by field, value, indicator and feed.
#[derive(Default)]
pub(super) struct Findings {
    hasher: RandomState,
    /// The number of findings of each, and the number of its feed.
    found: HashMap<u64, (u64, usize)>,
    /// Whether there were more than [`MAX_COMPARED`].
    is_incomplete: bool,
}

/// The maximum number of different findings of a batch that are compared, to bound memory.
const MAX_COMPARED: usize = 1 << 16;

impl Findings {
    pub(super) fn from_batch(snapshot: &Snapshot, batch: &MatchedMessage) -> Findings {
        let mut findings = Findings::default();
        batch.hits.iter().flat_map(|record| &record.hits).for_each(|hit| findings.add_hit(snapshot, hit));
        findings
    }

    fn add_hit(&mut self, snapshot: &Snapshot, hit: &Hit) {
        let key = self.key(snapshot, hit);
        if self.found.len() < MAX_COMPARED || self.found.contains_key(&key) {
            self.found.entry(key).or_insert((0, snapshot.feed_number(hit.posting.indicator))).0 += 1;
        } else {
            self.is_incomplete = true;
        }
    }

    fn key(&self, snapshot: &Snapshot, hit: &Hit) -> u64 {
        let feed = &snapshot.feed_of(hit.posting.indicator).name;
        self.hasher.hash_one((hit.path(snapshot.table()), &hit.value, &hit.name, feed))
    }
}

impl Shadow {
    pub(super) fn set(&self, snapshot: Option<Arc<Snapshot>>) {
        self.snapshot.store(snapshot);
    }

    /// Returns the detector of the shadow snapshot, under the same rules.
    pub(super) fn detector(&self, rules: &MatchRules) -> Option<Detector> {
        let snapshot = self.snapshot.load_full()?;
        let MatchRules { policy, tagging, budgets, .. } = rules.clone();
        Some(Detector { snapshot, policy: Some(policy), tagging, budgets })
    }

    /// Matches a batch again, and counts by feed the hits of the shadow, shadow-only hits and hits missing in the shadow.
    /// `active` are the findings of the active snapshot; of a batch with more than are compared, only hits are counted.
    pub(super) fn compare(
        &self,
        shadow: &Detector,
        active: &Snapshot,
        mut findings: Findings,
        (format, message): (Format, Bytes),
        arrival: Timestamp,
        work: &Work,
    ) {
        static LINES: Throttle = Throttle::new();
        let count = |name: &'static str, snapshot: &Snapshot, feed: usize, number: u64| {
            let feed = snapshot.feeds().get(feed).map_or_else(String::new, |feed| feed.name.clone());
            counter!(name, "feed" => feed).increment(number);
        };
        // The batch was walked before, so this walk fails only for lack of room, or a cancelled client.
        let Ok((batch, report)) = shadow.batch(format, message, arrival, work) else { return };
        let mut only: Tally<usize> = Tally::default();
        for hit in batch.hits.iter().flat_map(|record| &record.hits) {
            let key = findings.key(&shadow.snapshot, hit);
            match findings.found.get_mut(&key) {
                Some((number, _)) if *number > 0 => *number -= 1,
                _ if findings.is_incomplete => {}
                _ => {
                    only.add(shadow.snapshot.feed_number(hit.posting.indicator));
                    if let Some(left_out) = LINES.pass() {
                        let feed = &shadow.snapshot.feed_of(hit.posting.indicator).name;
                        let (indicator, value) = (&hit.name, String::from_utf8_lossy(&hit.value));
                        tracing::info!(feed, indicator, value = %Escaped(&value), left_out, "shadow-only hit");
                    }
                }
            }
        }
        for ((feed, _), number) in report.hits {
            count(telemetry::SHADOW_HITS_TOTAL, &shadow.snapshot, feed, number);
        }
        for (feed, number) in only {
            count(telemetry::SHADOW_ONLY_HITS_TOTAL, &shadow.snapshot, feed, number);
        }
        if findings.is_incomplete {
            return;
        }
        for (number, feed) in findings.found.into_values().filter(|(number, _)| *number > 0) {
            count(telemetry::SHADOW_MISSING_HITS_TOTAL, active, feed, number);
        }
    }
}
