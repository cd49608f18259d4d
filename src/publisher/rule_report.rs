//! Reports feeds that no enabled rule selects, and rules that name feeds which are not there: in the log and in readiness.

use std::collections::BTreeSet;

use crate::intel::snapshot::{Feed, Snapshot};
use crate::policy::Policy;
use crate::readiness::{self, Readiness};
use crate::rules::{Rule, Rules};

pub(super) struct RuleReport {
    readiness: Readiness,
    last: Faults,
}

/// What rules leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Faults {
    none_enabled: bool,
    /// The feeds and collections that no enabled rule selects.
    not_selected: BTreeSet<String>,
    /// The ids of rules, and the names in them that no feed has.
    not_loaded: BTreeSet<(String, String)>,
}

impl RuleReport {
    pub(super) fn new(readiness: Readiness) -> RuleReport {
        RuleReport { readiness, last: Faults::default() }
    }

    /// Compares the rules with the active snapshot. `is_complete` says whether the snapshot has everything that the
    /// configuration names. Faults are logged when they change, and with a new configuration.
    pub(super) fn check(
        &mut self,
        snapshot: Option<&Snapshot>,
        policy: &Policy,
        is_complete: bool,
        is_new_configuration: bool,
    ) {
        let feeds = snapshot.map_or(&[][..], Snapshot::feeds);
        let faults =
            policy.rules.as_ref().map(|rules| Faults::from_rules(rules, feeds, is_complete)).unwrap_or_default();
        if faults != self.last || is_new_configuration {
            faults.log();
        }
        if faults != Faults::default() {
            self.readiness.register(readiness::RULES, false);
            self.readiness.set(readiness::RULES, false, faults.summary());
        } else if self.last != faults {
            self.readiness.set(readiness::RULES, true, "every feed is selected");
        }
        self.last = faults;
    }
}

impl Faults {
    fn from_rules(rules: &Rules, feeds: &[Feed], is_complete: bool) -> Faults {
        if rules.is_empty() {
            return Faults { none_enabled: true, ..Faults::default() };
        }
        let not_selected = feeds.iter().filter(|feed| feed.enabled && !rules.names(feed));
        let missing = |rule: &Rule| {
            let names = rule.missing_names(feeds);
            names.into_iter().map(|name| (rule.id.to_string(), name.to_owned())).collect::<Vec<_>>()
        };
        let not_loaded = rules.iter().filter(|_| is_complete).flat_map(missing).collect();
        Faults { none_enabled: false, not_selected: not_selected.map(|feed| feed.name.clone()).collect(), not_loaded }
    }

    fn log(&self) {
        if self.none_enabled {
            tracing::warn!("no rule is enabled: NOTHING IS MATCHED, every event passes untagged");
        }
        for feed in &self.not_selected {
            tracing::warn!(feed, "no enabled rule selects this feed: it is not matched");
        }
        for (rule, feed) in &self.not_loaded {
            tracing::warn!(rule, feed, "a rule names a feed that is not loaded");
        }
    }

    fn summary(&self) -> String {
        let mut parts = Vec::new();
        if self.none_enabled {
            parts.push("no rule is enabled: NOTHING IS MATCHED".to_owned());
        }
        if !self.not_selected.is_empty() {
            let feeds: Vec<&str> = self.not_selected.iter().map(String::as_str).collect();
            parts.push(format!("no enabled rule selects {}", feeds.join(", ")));
        }
        for (rule, feed) in &self.not_loaded {
            parts.push(format!("rule {rule} names {feed}, which is not loaded"));
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::intel::snapshot::{MatchOptions, Origin, SnapshotBuilder};
    use crate::rules::FeedNames;
    use crate::schema::FieldTable;

    fn snapshot(feeds: &[(&str, Origin)]) -> Snapshot {
        let table = Arc::new(FieldTable::embedded(false).unwrap());
        let mut builder = SnapshotBuilder::new(table, MatchOptions::default(), 1);
        for (name, origin) in feeds {
            builder.add_feed(Feed { origin: *origin, ..Feed::named(*name) }, []).unwrap();
        }
        builder.build("1")
    }

    fn policy(feeds: &[&str]) -> Policy {
        let feeds = FeedNames::Of(feeds.iter().map(|name| (*name).to_owned()).collect());
        let rule = Rule { feeds, collections: FeedNames::Of(BTreeSet::new()), ..Rule::of_everything("r") };
        Policy { rules: Some(Arc::new(Rules::new([rule]))), ..Policy::default() }
    }

    /// Guarantee: readiness names each fault of rules without becoming unready, and shows when all of them are fixed;
    /// a process without rules has no such line.
    #[test]
    fn readiness_names_what_rules_leave_out() {
        let readiness = Readiness::default();
        let mut report = RuleReport::new(readiness.clone());
        let loaded = snapshot(&[("a", Origin::Feed), ("b", Origin::Feed), ("a", Origin::Collection)]);
        let none = Policy { rules: Some(Arc::default()), ..Policy::default() };
        let line = |readiness: &Readiness| {
            let checks = readiness.checks();
            let check = checks.iter().find(|check| check.name == readiness::RULES);
            check.map(|check| {
                assert!(!check.counts);
                (check.good, check.detail.clone())
            })
        };
        report.check(Some(&loaded), &Policy::default(), true, true);
        assert_eq!(line(&readiness), None);
        for (policy, is_complete, parts) in [
            (&none, true, &["NOTHING IS MATCHED"][..]),
            (&policy(&["a"]), true, &["selects a, b"]),
            (&policy(&["a", "c"]), true, &["selects a, b", "rule r", "c, which is not loaded"]),
        ] {
            report.check(Some(&loaded), policy, is_complete, false);
            let (good, detail) = line(&readiness).unwrap();
            assert!(!good && parts.iter().all(|part| detail.contains(part)), "{parts:?} in {detail}");
        }
        // A control plane may still send the feed.
        report.check(Some(&snapshot(&[("a", Origin::Feed)])), &policy(&["a", "c"]), false, false);
        assert!(line(&readiness).unwrap().0);
        report.check(None, &none, true, false);
        assert!(!line(&readiness).unwrap().0);
        report.check(None, &Policy::default(), true, true);
        assert!(line(&readiness).unwrap().0);
    }
}
