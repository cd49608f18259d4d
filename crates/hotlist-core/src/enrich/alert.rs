//! The alert that a hit belongs to: its asset, and its key.

use super::Detection;
use crate::alert_key::{AlertKey, KeyStart};
use crate::asset::Asset;
use crate::intel::snapshot::Snapshot;
use crate::matcher::Hit;
use crate::policy::EventFacts;

/// The rule of every feed where no rules are configured: feeds share it, so that one indicator in several feeds is one alert.
const IMPLICIT_RULE: &str = "feed";
/// The kind of an indicator that needs several values together.
const PATTERN: &str = "pattern";

/// The asset of a hit in an event with these facts.
pub fn asset<'f>(snapshot: &Snapshot, hit: &Hit, facts: &'f EventFacts) -> Option<&'f Asset> {
    facts.assets.of_finding(snapshot.table().get(hit.field).role, hit.kind)
}

/// The key of the alert that a hit in an event with these facts belongs to.
pub fn alert_key(snapshot: &Snapshot, hit: &Hit, facts: &EventFacts) -> AlertKey {
    key_start(snapshot, hit).key(asset(snapshot, hit, facts))
}

/// The part of the key that the indicator of a hit gives.
pub(super) fn key_start(snapshot: &Snapshot, hit: &Hit) -> KeyStart {
    let rule = hit.selection.as_ref().map_or(IMPLICIT_RULE, |selection| selection.first());
    let detection = Detection::Live.as_str();
    match snapshot.composite(hit.posting.indicator) {
        Some(pattern) => {
            let shown = pattern.program.shown(&pattern.terms).to_string();
            KeyStart::new(rule, detection, PATTERN, &shown)
        }
        None => KeyStart::new(rule, detection, hit.kind.as_str(), &hit.name),
    }
}
