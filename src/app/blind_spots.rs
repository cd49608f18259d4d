//! Blind spots: fields that no event has, feeds that never hit, and patterns that are not supported. Without this report
//! they look like the absence of threats. They are in the metrics, and in the log once per day and at the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::gauge;

use crate::detect::Report;
use crate::intel::snapshot::Snapshot;
use crate::policy::Policy;
use crate::schema::{Field, FieldSet, FieldTable};
use crate::telemetry;

/// The maximum number of names in a log line.
const NAMED: usize = 20;

/// The fields and kinds that were seen since the start.
#[derive(Default)]
pub(super) struct BlindSpots(Mutex<SeenState>);

#[derive(Clone, Default)]
struct SeenState {
    /// The field table that numbers the fields, and the seen fields.
    fields: Option<(Arc<FieldTable>, FieldSet)>,
    feeds: BTreeSet<Arc<str>>,
    lookups: u64,
    passes: u64,
    findings: u64,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// Checked fields that no event had, of the schemas that events have; of ECS before there are any.
    pub(super) fields: Vec<String>,
    /// Enabled feeds without a hit.
    pub(super) feeds: Vec<String>,
    /// The false-positive rate of the prefilter; `None` before the first look-up.
    pub(super) pass_ratio: Option<f64>,
    /// The expected false-positive rate, from the prefilter's fill level.
    pub(super) expected_pass_ratio: f64,
}

impl BlindSpots {
    pub(super) fn record_batch(&self, snapshot: &Snapshot, policy: &Policy, report: &Report) {
        let mut seen = self.lock();
        seen.lookups += report.counts.lookups;
        seen.passes += report.counts.passes;
        seen.findings += report.hits.total() + report.suppressions.total();
        let mut grew = seen.fields_of(snapshot.table()).extend(&report.seen);
        for ((feed, _), _) in report.hits.iter() {
            let feed = snapshot.feeds().get(*feed).map_or("", |feed| feed.name.as_str());
            grew |= !seen.feeds.contains(feed) && seen.feeds.insert(feed.into());
        }
        if grew {
            let seen = seen_now(seen);
            set_gauges(&seen.summary(snapshot, policy));
        }
    }

    /// Records a new snapshot, which may check other fields.
    pub(super) fn record_snapshot(&self, snapshot: &Snapshot, policy: &Policy) {
        let mut seen = self.lock();
        seen.fields_of(snapshot.table());
        let seen = seen_now(seen);
        set_gauges(&seen.summary(snapshot, policy));
    }

    pub(super) fn summary(&self, snapshot: &Snapshot, policy: &Policy) -> Summary {
        seen_now(self.lock()).summary(snapshot, policy)
    }

    fn lock(&self) -> MutexGuard<'_, SeenState> {
        // Counters are consistent after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clones the state and releases the lock: every batch waits for it.
fn seen_now(seen: MutexGuard<'_, SeenState>) -> SeenState {
    seen.clone()
}

impl SeenState {
    /// Returns the seen fields; cleared when another table numbers them.
    fn fields_of(&mut self, table: &Arc<FieldTable>) -> &mut FieldSet {
        if self.fields.as_ref().is_some_and(|(known, _)| !Arc::ptr_eq(known, table)) {
            self.fields = None;
        }
        &mut self.fields.get_or_insert_with(|| (Arc::clone(table), FieldSet::default())).1
    }

    fn summary(&self, snapshot: &Snapshot, policy: &Policy) -> Summary {
        let is_seen = |id| self.fields.as_ref().is_some_and(|(_, fields)| fields.contains(id));
        // Most streams have events of few schemas. The fields of all others say nothing about these.
        let seen = snapshot.table().iter().filter(|(id, _)| is_seen(*id));
        let seen = seen.filter_map(|(_, field)| if let [schema] = field.schemas[..] { Some(schema) } else { None });
        let schemas: BTreeSet<&str> = seen.collect();
        let is_expected = |field: &Field| {
            let is_of_them = |schema: &&str| match schemas.is_empty() {
                true => schema.starts_with("ecs"),
                false => schemas.contains(schema),
            };
            field.schemas.is_empty() || field.schemas.iter().any(is_of_them)
        };
        let wanted =
            snapshot.table().iter().filter(|(id, field)| snapshot.wanted().contains(*id) && is_expected(field));
        let fields = wanted.filter(|(id, _)| !is_seen(*id)).map(|(_, field)| field.name.clone());
        let enabled = snapshot.feeds().iter().filter(|feed| policy.is_enabled(feed)).map(|feed| feed.name.as_str());
        let feeds: BTreeSet<&str> = enabled.filter(|feed| !self.feeds.contains(*feed)).collect();
        let strangers = self.passes.saturating_sub(self.findings);
        Summary {
            fields: fields.collect(),
            feeds: feeds.into_iter().map(str::to_owned).collect(),
            pass_ratio: (self.lookups > 0).then(|| strangers as f64 / self.lookups as f64),
            expected_pass_ratio: snapshot.expected_pass_ratio(),
        }
    }
}

fn set_gauges(summary: &Summary) {
    gauge!(telemetry::BLIND_FIELDS).set(summary.fields.len() as f64);
    gauge!(telemetry::BLIND_FEEDS).set(summary.feeds.len() as f64);
    gauge!(telemetry::PREFILTER_EXPECTED_PASS_RATIO).set(summary.expected_pass_ratio);
}

impl Summary {
    pub(super) fn log(&self) {
        let list = |names: &[String]| {
            let more = names.len().saturating_sub(NAMED);
            let shown = names.get(..NAMED).unwrap_or(names).join(" ");
            if more > 0 { format!("{shown} and {more} more") } else { shown }
        };
        tracing::info!(
            fields = self.fields.len(),
            feeds = self.feeds.len(),
            unseen_fields = list(&self.fields),
            unhit_feeds = list(&self.feeds),
            prefilter_pass_ratio = self.pass_ratio,
            prefilter_expected_pass_ratio = self.expected_pass_ratio,
            "blind spots since the start"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::snapshot::{Feed, MatchOptions, SnapshotBuilder};
    use crate::matcher::Counts;
    use crate::schema::FieldId;

    fn snapshot(feeds: &[&str]) -> Snapshot {
        snapshot_of(FieldTable::embedded(false).unwrap(), feeds)
    }

    fn snapshot_of(table: FieldTable, feeds: &[&str]) -> Snapshot {
        use crate::intel::indicator::{Context, Indicator, Target, Term};
        let mut builder = SnapshotBuilder::new(Arc::new(table), MatchOptions::default(), 1);
        for feed in feeds {
            let value = crate::intel::term::value(crate::observable::Kind::Email, "a@evil.example.com").unwrap();
            let indicator = Indicator {
                id: None,
                terms: vec![Term { value, target: Target::Kind }],
                program: None,
                context: Arc::new(Context::default()),
                valid_from: None,
                valid_until: None,
                revoked: false,
                port: None,
                line: 1,
            };
            builder.add_feed(Feed::named(*feed), [indicator]).unwrap();
        }
        builder.build("1")
    }

    /// Guarantee: of the schemas that no event has, no field is a blind spot.
    #[test]
    fn fields_of_schemas_that_no_event_has_are_not_expected() {
        let (spots, snapshot) = (BlindSpots::default(), snapshot_of(FieldTable::shipped().unwrap(), &["mail"]));
        let schemas = |summary: &Summary| -> BTreeSet<&str> {
            let row = |name: &String| snapshot.table().get(snapshot.table().id(name).unwrap());
            summary.fields.iter().flat_map(|name| row(name).schemas.clone()).collect()
        };
        let before = spots.summary(&snapshot, &Policy::default());
        assert!(schemas(&before).contains("ecs") && !before.fields.contains(&"mailfrom".to_owned()));
        let mailfrom = snapshot.table().id("mailfrom").unwrap();
        assert_eq!(snapshot.table().get(mailfrom).schemas, ["zeek"]);
        spots.record_batch(
            &snapshot,
            &Policy::default(),
            &Report { seen: FieldSet::from_fields(&[mailfrom]), ..Report::default() },
        );
        let after = spots.summary(&snapshot, &Policy::default());
        assert!(schemas(&after).contains("zeek") && !after.fields.contains(&"user.email".to_owned()), "{after:?}");
    }

    /// Scenario: one feed of an e-mail address, a batch in which one of its fields has a value. Guarantee: that field
    /// is no longer a blind spot, the feed stays one without a hit, and the ratio is of passes without a finding.
    #[test]
    fn what_was_seen_is_no_blind_spot() {
        let (spots, snapshot) = (BlindSpots::default(), snapshot(&["mail"]));
        let before = spots.summary(&snapshot, &Policy::default());
        let (first, _) = snapshot.table().iter().find(|(id, _)| snapshot.wanted().contains(*id)).unwrap();
        let name = snapshot.table().get(first).name.clone();
        assert!(before.fields.contains(&name) && before.fields.len() > 1);
        assert_eq!((before.feeds.as_slice(), before.pass_ratio), (["mail".to_owned()].as_slice(), None));
        let report = Report {
            counts: Counts { observables: 10, lookups: 1000, passes: 5 },
            seen: FieldSet::from_fields(&[first, FieldId(4095)]),
            ..Report::default()
        };
        spots.record_batch(&snapshot, &Policy::default(), &report);
        let after = spots.summary(&snapshot, &Policy::default());
        assert_eq!(after.fields.len(), before.fields.len() - 1);
        assert!(!after.fields.contains(&name));
        assert_eq!(after.feeds, before.feeds);
        assert_eq!(after.pass_ratio, Some(0.005));
        // A feed that no rule selects cannot hit.
        let none = Policy { rules: Some(Arc::default()), ..Policy::default() };
        assert!(spots.summary(&snapshot, &none).feeds.is_empty());
        // Another table numbers its fields differently.
        assert_eq!(spots.summary(&self::snapshot(&["mail", "more"]), &Policy::default()).feeds, ["mail", "more"]);
        spots.record_snapshot(&self::snapshot(&["mail"]), &Policy::default());
        assert!(spots.summary(&snapshot, &Policy::default()).fields.contains(&name));
    }
}
