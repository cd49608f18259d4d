//! A snapshot that reuses feeds of an older one equals the snapshot that reading everything again would give.

use std::sync::Arc;

use hotlist::detect::{Budgets, Detector};
use hotlist::encoding::Tagging;
use hotlist::intel::snapshot::{MatchOptions, ReuseError, Snapshot, SnapshotBuilder};
use proptest::prelude::*;

use crate::cases::{Case, FIELDS, case};
use crate::common::{EXACT, detector, table};
use crate::naive::found_by;

pub fn figures(snapshot: &Snapshot) -> impl PartialEq + std::fmt::Debug {
    let lengths: Vec<_> = (0..snapshot.feeds().len()).map(|feed| snapshot.feed_len(feed)).collect();
    (
        snapshot.feeds().to_vec(),
        lengths,
        snapshot.counts().collect::<Vec<_>>(),
        snapshot.len(),
        snapshot.networks().len(),
    )
}

proptest! {
    /// Scenario: the feeds of a case are in an older snapshot together with one that is replaced, two times over.
    /// Guarantee: a reused feed matches as if it had been read again, and is counted alike.
    #[test]
    fn carrying_over_equals_reading_anew(case in case(&FIELDS), replaced in 0usize..4) {
        let table = table();
        let replaced = replaced % case.feeds.len().max(1);
        let older = detector(&table, case.options, None, case.feeds.clone());
        let (mut kept, mut changed) = (Vec::new(), Vec::new());
        for (number, feed) in case.feeds.iter().cloned().enumerate() {
            if number == replaced { changed.push(feed) } else { kept.push(feed) }
        }
        let order: Vec<_> = kept.iter().chain(&changed).cloned().collect();
        let case = Case { feeds: order.clone(), ..case };
        let anew = detector(&table, case.options, None, order);
        let carry = |older: &Snapshot, keep: &dyn Fn(usize) -> bool| {
            let mut builder = SnapshotBuilder::new(table.clone(), case.options, 11);
            builder.reuse_feeds(older, keep).unwrap();
            for (feed, indicators) in changed.clone() {
                builder.add_feed(feed, indicators).unwrap();
            }
            Detector { snapshot: Arc::new(builder.build("2")), policy: None, tagging: Tagging::default(), budgets: Budgets::default() }
        };
        let once = carry(&older.snapshot, &|number| number != replaced);
        // The changed feed stands at the end of the snapshot that carried it over.
        let twice = carry(&once.snapshot, &|number| number < kept.len());
        for carried in [once, twice] {
            prop_assert_eq!(figures(&carried.snapshot), figures(&anew.snapshot));
            prop_assert_eq!(found_by(&carried, &case), found_by(&anew, &case));
        }
    }
}

/// Guarantee: nothing is reused in a snapshot in which keys or fields mean something else.
#[test]
fn an_unlike_snapshot_is_not_carried_over() {
    let shared = table();
    let older = detector(&shared, EXACT, None, Vec::new());
    let subdomains = MatchOptions { subdomains: true, ..EXACT };
    for (table, options, seed) in [(table(), EXACT, 11), (shared.clone(), subdomains, 11), (shared.clone(), EXACT, 12)]
    {
        let carried = SnapshotBuilder::new(table, options, seed).reuse_feeds(&older.snapshot, |_| true);
        assert!(matches!(carried, Err(ReuseError::OtherOptions)), "{carried:?}");
    }
    SnapshotBuilder::new(shared, EXACT, 11).reuse_feeds(&older.snapshot, |_| true).unwrap();
}
