//! Snapshots that build upon the previous one equal those that are built from nothing.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use hotlist::controlplane::compile;
use hotlist::detect::Detector;
use hotlist::feed::watching::files;
use hotlist::intel::segment::{Segment, SegmentFeed};
use hotlist::intel::snapshot::{Feed, Revoked, RevokedBy, Snapshot, SnapshotBuilder};
use hotlist::intel::term;
use hotlist::observable::Kind;
use hotlist::store::{SegmentState, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::EXACT;
use crate::segments::{Content, ROWS, described_hits, everything, over, table, written};

/// One change of the feed, and what is made of the chain after it.
#[derive(Clone, Debug)]
struct Step {
    /// Rows that come, go, or are described otherwise.
    changes: Vec<(usize, Option<(u8, u8)>)>,
    /// Whether the second of the two feeds changes, of which the manifest names the segments behind those of the first.
    second: bool,
    /// The chain of the feed is compacted.
    compacts: bool,
    /// The manifest names so many segments less.
    short: usize,
    /// What the manifest takes out by itself.
    revoked: Vec<(Kind, &'static str)>,
}

fn step() -> impl Strategy<Value = Step> {
    let said = prop::option::weighted(0.6, (0u8..3, prop_oneof![8 => Just(1u8), 1 => Just(2)]));
    let value = prop::sample::select(vec![
        (Kind::Domain, "evil.com"),
        (Kind::Ip, "203.0.113.7"),
        (Kind::Url, "http://evil.com/a"),
    ]);
    (
        prop::collection::vec((0..ROWS.len(), said), 1..4),
        any::<bool>(),
        prop::bool::weighted(0.02),
        prop_oneof![9 => Just(0), 1 => 0usize..3],
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(value, 1..3)],
    )
        .prop_map(|(changes, second, compacts, short, revoked)| Step { changes, second, compacts, short, revoked })
}

/// Segments that are open already are not opened again.
#[derive(Default)]
struct Open(HashMap<String, Arc<Segment>>);

impl Open {
    fn open(&mut self, store: &Path, segments: &[SegmentState]) -> Vec<Arc<Segment>> {
        let open = |state: &SegmentState| {
            let path = store.join("segments").join(format!("{}.seg", state.digest));
            let known = self.0.entry(state.digest.clone());
            Arc::clone(known.or_insert_with(|| Segment::open(&path, Some(state.digest.parse().unwrap())).unwrap()))
        };
        segments.iter().map(open).collect()
    }
}

fn snapshot(segments: &[Arc<Segment>], revoked: &[(Kind, &str)], upon: Option<&Snapshot>) -> Snapshot {
    let mut builder = SnapshotBuilder::new(table(), EXACT, 11);
    if let Some(upon) = upon {
        builder.reuse(upon);
    }
    for segment in segments {
        let feed = |feed: &SegmentFeed| Feed { origin: feed.origin, ..Feed::named(&feed.name) };
        builder.add_segment(Arc::clone(segment), feed).unwrap();
    }
    builder.revoke(revoked.iter().map(|(kind, value)| Revoked {
        feed: "feed".to_owned(),
        by: RevokedBy::Value(term::value(*kind, value).unwrap()),
    }));
    builder.build("1")
}

fn figures(detector: &Detector) -> impl PartialEq + std::fmt::Debug {
    let snapshot = &detector.snapshot;
    let lengths: Vec<_> = (0..snapshot.feeds().len()).map(|feed| snapshot.feed_len(feed)).collect();
    (snapshot.feeds().to_vec(), lengths, snapshot.counts().collect::<Vec<_>>(), snapshot.len())
}

/// Scenario: the chains of two feeds grow past what a look-up goes through one by one, change by change; now and then
/// one is compacted, a manifest names fewer segments than the previous one, or revokes values by itself. Each snapshot
/// builds upon the last. Guarantee: it matches, names and counts as one that is built from nothing.
#[test]
fn a_snapshot_upon_the_one_before_equals_one_from_nothing() {
    let (long, hits) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 10, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&prop::collection::vec(step(), 28..44), |steps| {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        let kept = Store::at(&store).unwrap();
        let mut contents: [Content; 2] = std::array::from_fn(|_| vec![Some((0, 1)); ROWS.len()]);
        let mut chains: [Vec<SegmentState>; 2] = Default::default();
        let (mut open, mut last) = (Open::default(), None::<Detector>);
        for step in steps {
            let (which, name) = if step.second { (1, "other") } else { (0, "feed") };
            let content = &mut contents[which];
            step.changes.iter().for_each(|(row, said)| content[*row] = *said);
            content[0] = content[0].or(Some((0, 1)));
            let path = directory.path().join(format!("{name}.csv"));
            std::fs::write(&path, written(content, 0)).unwrap();
            let mut file = files::given(std::slice::from_ref(&path)).unwrap().remove(0);
            file.guarded = false;
            let files = std::slice::from_ref(&file);
            let mut state =
                compile::compile(&kept, files, &table(), true, &mut |_| {}, &|_| {}).unwrap().unwrap().state;
            if step.compacts {
                state = kept.compact(name).unwrap().unwrap_or(state);
            }
            chains[which] = state.segments;
            let all = chains.concat();
            let named = all.len().saturating_sub(step.short).max(1);
            let segments = open.open(&store, &all[..named]);
            long.set(long.get().max(segments.len()));
            let upon = last.as_ref().map(|last| &*last.snapshot);
            let (upon, anew) =
                (over(snapshot(&segments, &step.revoked, upon)), snapshot(&segments, &step.revoked, None));
            let anew = over(anew);
            let case = everything();
            let described = described_hits(&anew, &case);
            hits.set(hits.get() + described.len());
            prop_assert_eq!(described_hits(&upon, &case), described);
            prop_assert_eq!(figures(&upon), figures(&anew));
            last = Some(upon);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(long.get() > 20 && hits.get() > 1000, "{long:?} segments at most, {hits:?} hits");
}
