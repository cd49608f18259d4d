//! The lines for a watcher of `/tap`: hits, and the counters for rates.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::MatchStage;
use crate::admin::{Counts, HitTap};
use crate::enrich;
use crate::intel::snapshot::Snapshot;
use crate::matcher::Hit;
use crate::policy::EventFacts;
use crate::severity::severity;

/// The maximum length of the shown value, in characters.
const SHOWN: usize = 256;

/// Formats a hit for watchers.
pub(super) fn hit(snapshot: &Snapshot, hit: &Hit, facts: &EventFacts, arrival: Timestamp) -> Value {
    let value: String = String::from_utf8_lossy(&hit.value).chars().take(SHOWN).collect();
    json!({
        "type": "hit",
        "time": arrival.to_string(),
        "field": hit.path(snapshot.table()),
        "value": value,
        "kind": hit.kind.as_str(),
        "indicator": hit.name,
        "feed": snapshot.feed_of(hit.posting.indicator).name,
        "id": enrich::indicator_id(snapshot, hit),
        "severity": severity(snapshot, hit, facts).as_str(),
        "confidence": snapshot.indicator(hit.posting.indicator).context.confidence.as_str(),
    })
}

impl MatchStage {
    /// Returns what the admin listener shows of the live stream.
    pub(in crate::app) fn tapped(self: &Arc<MatchStage>) -> (HitTap, Counts) {
        let live = Arc::clone(self);
        let counts = move || (live.judged.load(Ordering::Relaxed), live.found.load(Ordering::Relaxed));
        (self.tap.clone(), Arc::new(counts))
    }
}
