//! Segments in snapshots: from bytes, many of them, and chains of changes match as what they were made of.

use std::cell::Cell;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use hotlist::controlplane::compile;
use hotlist::detect::{Budgets, Detector};
use hotlist::encoding::Tagging;
use hotlist::enrich;
use hotlist::feed::load::{self, FeedFile};
use hotlist::feed::watching::files;
use hotlist::intel::indicator::Indicator;
use hotlist::intel::segment::{HashKey, Segment, SegmentBuilder, SegmentFeed};
use hotlist::intel::snapshot::{Feed, MatchOptions, Snapshot, SnapshotBuilder};
use hotlist::matcher::Hit;
use hotlist::schema::FieldTable;
use hotlist::store::{Change, FeedState, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::carry::figures;
use crate::cases::{Case, FIELDS, case, feed};
use crate::common::{self, EXACT, detector, judge, unbounded};
use crate::composite::compiled;
use crate::meant::{Meant, event, meant};
use crate::naive::{Found, found_by};

/// The field table, read once: these tests make many snapshots.
pub fn table() -> Arc<FieldTable> {
    static TABLE: LazyLock<Arc<FieldTable>> = LazyLock::new(common::table);
    Arc::clone(&TABLE)
}

pub fn over(snapshot: Snapshot) -> Detector {
    Detector { snapshot: Arc::new(snapshot), policy: None, tagging: Tagging::default(), budgets: Budgets::default() }
}

fn opened(feed: &Feed, indicators: &[Indicator]) -> Arc<Segment> {
    let mut builder = SegmentBuilder::with_fingerprints();
    builder.feed(feed);
    indicators.iter().for_each(|indicator| builder.add(indicator).unwrap());
    Segment::from_bytes(builder.finish(HashKey::Content).unwrap(), None).unwrap()
}

/// A detector over segments that were written and opened again, one a feed.
pub fn through_bytes(options: MatchOptions, feeds: &[(Feed, Vec<Indicator>)]) -> Detector {
    let mut builder = SnapshotBuilder::new(table(), options, 11);
    for (feed, indicators) in feeds {
        builder.add_segment(opened(feed, indicators), |_| feed.clone()).unwrap();
    }
    over(builder.build("1"))
}

/// Everything that is reported of a finding except its number, which depends on the order of segments.
fn described(detector: &Detector, hit: &Hit) -> String {
    let snapshot = &detector.snapshot;
    let stored = snapshot.indicator(hit.posting.indicator);
    let feed = snapshot.feed_of(hit.posting.indicator);
    format!(
        "{} {:?} {} {} {} {} {:?} {:?} {:?}",
        snapshot.table().get(hit.field).name,
        String::from_utf8_lossy(&hit.value),
        hit.kind,
        hit.name,
        feed.name,
        enrich::indicator_id(snapshot, hit),
        stored.context,
        stored.valid_until,
        snapshot.composite(hit.posting.indicator),
    )
}

pub fn described_hits(detector: &Detector, case: &Case) -> Vec<String> {
    // The numbers that are found in the document are those that the live stream finds.
    let numbers = found_by(detector, case);
    let document: serde_json::Map<String, serde_json::Value> =
        case.event.iter().fold(serde_json::Map::new(), |mut document, (field, value)| {
            let values = document.entry((*field).to_owned()).or_insert_with(|| json!([]));
            values.as_array_mut().unwrap().push(value.clone());
            document
        });
    let verdict = judge(&unbounded(detector), &document.into());
    let found = |hit: &Hit| {
        let field = detector.snapshot.table().get(hit.field).name.clone();
        (field, String::from_utf8_lossy(&hit.value).into_owned(), hit.posting.indicator)
    };
    assert_eq!(verdict.hits.iter().map(found).collect::<Found>(), numbers);
    let mut described: Vec<String> = verdict.hits.iter().map(|hit| described(detector, hit)).collect();
    described.sort();
    described
}

fn composites() -> impl Strategy<Value = Vec<Indicator>> {
    let usable = |meant: Meant| compiled(&format!("[{}]", meant.written())).ok();
    prop::collection::vec(meant(), 0..4).prop_map(move |meant| meant.into_iter().filter_map(usable).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Scenario: random feeds, composite patterns among them, added as they are, and as segments that were written and
    /// opened again.
    /// Guarantee: both snapshots match alike and count alike.
    #[test]
    fn a_segment_from_bytes_matches_as_its_feed(mut case in case(&FIELDS), more in composites(), event in event()) {
        case.feeds.push((Feed::named("patterns"), more));
        case.event.extend(event);
        let built = detector(&table(), case.options, None, case.feeds.clone());
        let opened = through_bytes(case.options, &case.feeds);
        prop_assert_eq!(figures(&opened.snapshot), figures(&built.snapshot));
        prop_assert_eq!(found_by(&opened, &case), found_by(&built, &case));
        prop_assert_eq!(described_hits(&opened, &case), described_hits(&built, &case));
    }

    /// Scenario: more feeds than a look-up goes through one by one, so that small ones are matched against as one.
    /// Guarantee: together they match as each alone, and count as each alone.
    #[test]
    fn many_feeds_match_as_each_alone(
        feeds in prop::collection::vec(feed(), 14..26),
        patterns in prop::collection::vec(composites(), 4),
        case in case(&FIELDS),
        event in event(),
        from_bytes in any::<bool>(),
    ) {
        let mut feeds = feeds;
        feeds.extend(patterns.into_iter().map(|patterns| (Feed::named("patterns"), patterns)));
        for (number, (feed, _)) in feeds.iter_mut().enumerate() {
            feed.name = format!("feed{number}");
        }
        let case = Case { event: [case.event, event].concat(), feeds, ..case };
        let together = match from_bytes {
            true => through_bytes(case.options, &case.feeds),
            false => detector(&table(), case.options, None, case.feeds.clone()),
        };
        let mut alone = Vec::new();
        for (number, feed) in case.feeds.iter().enumerate() {
            let detector = detector(&table(), case.options, None, vec![feed.clone()]);
            alone.extend(described_hits(&detector, &case));
            prop_assert_eq!(together.snapshot.feed_len(number), detector.snapshot.len());
        }
        alone.sort();
        prop_assert_eq!(described_hits(&together, &case), alone);
        // Merged segments can be reused.
        let mut builder = SnapshotBuilder::new(together.snapshot.table().clone(), case.options, 11);
        builder.reuse_feeds(&together.snapshot, |number| number % 2 == 0).unwrap();
        for feed in case.feeds.iter().skip(1).step_by(2) {
            builder.add_feed(feed.0.clone(), feed.1.clone()).unwrap();
        }
        let carried = over(builder.build("2"));
        prop_assert_eq!(described_hits(&carried, &case), described_hits(&together, &case));
    }
}

/// The rows that the file of a feed is made of; each may come with one of a few descriptions.
pub const ROWS: [&str; 30] = [
    "evil.com",
    "a.evil.com",
    "*.evil.com",
    "evil.org",
    "b.evil.org",
    "203.0.113.7",
    "203.0.113.8",
    "203.0.113.0/24",
    "203.0.113.0/29",
    "2001:db8::7",
    "2001:db8::/33",
    "http://evil.com/",
    "http://evil.com/a",
    "https://evil.com/a",
    "evil.com/a/b",
    "ftp://evil.com/a",
    "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
    "1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b",
    "m@evil.com",
    "n@evil.com",
    "[domain-name:value = 'evil.com' AND network-traffic:dst_port = 443]",
    "[domain-name:value = 'evil.com' AND network-traffic:dst_port != 443]",
    "[domain-name:value = 'evil.com' AND network-traffic:dst_port = 80]",
    "[ipv4-addr:value ISSUBSET '203.0.113.0/24' AND network-traffic:dst_port > 1]",
    "[domain-name:value = 'evil.com' OR ipv4-addr:value = '203.0.113.7' OR domain-name:value = 'evil.com']",
    "[url:value = 'http://evil.com/a' AND process:command_line = '1.1']",
    "[process:command_line = '1.1']",
    "[network-traffic:dst_port > 400 OR file:name = 'a.exe']",
    "[process:created_time > t'2020-01-01T00:00:00Z']",
    "[process:command_line = '1.1' AND network-traffic:dst_port > 400]",
];

/// What a feed says of each row: nothing, or it is there with this description, so many times.
pub type Content = Vec<Option<(u8, u8)>>;

#[derive(Clone, Debug)]
struct Step {
    /// Rows that change, and to what.
    changes: Vec<(usize, Option<(u8, u8)>)>,
    /// The order in which rows stand is turned by so many.
    turned: usize,
    /// Back to what the file said this many steps before.
    back: Option<usize>,
    compacts: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let said = prop::option::weighted(0.6, (0u8..3, prop_oneof![8 => Just(1u8), 1 => Just(2)]));
    let change = (0..ROWS.len(), said);
    let changes =
        prop_oneof![6 => prop::collection::vec(change.clone(), 0..4), 1 => prop::collection::vec(change, 10..20)];
    (changes, 0..ROWS.len(), prop::option::weighted(0.15, 1usize..4), prop::bool::weighted(0.1))
        .prop_map(|(changes, turned, back, compacts)| Step { changes, turned, back, compacts })
}

pub fn written(content: &Content, turned: usize) -> String {
    let mut text = "value,description\n".to_owned();
    for at in 0..ROWS.len() {
        let row = (at + turned) % ROWS.len();
        if let Some((description, times)) = content[row] {
            for _ in 0..times {
                let description = ["", "one", "two"][usize::from(description)];
                writeln!(text, "\"{}\",{description}", ROWS[row]).unwrap();
            }
        }
    }
    text
}

fn of_chain(store: &Path, state: &FeedState) -> Detector {
    let mut builder = SnapshotBuilder::new(table(), EXACT, 11);
    for segment in &state.segments {
        let digest = segment.digest.parse().unwrap();
        let path = store.join("segments").join(format!("{}.seg", segment.digest));
        let opened = Segment::open(&path, Some(digest)).unwrap();
        assert_eq!((opened.len() as usize, opened.tombstones().len()), (segment.indicators, segment.withdrawn));
        let feed = |feed: &SegmentFeed| Feed { origin: feed.origin, ..Feed::named(&feed.name) };
        builder.add_segment(opened, feed).unwrap();
    }
    over(builder.build("1"))
}

fn of_file(file: &FeedFile) -> Detector {
    let mut outcomes = [load::load(file.clone(), &table())];
    assert_eq!(outcomes[0].import.as_ref().unwrap().unusable, []);
    over(load::snapshot(&mut outcomes, &table(), EXACT, 11).unwrap())
}

pub fn everything() -> Case {
    let event = vec![
        ("dns.question.name", json!("evil.com")),
        ("dns.question.name", json!("x.a.evil.com")),
        ("dns.question.name", json!("a.evil.com")),
        ("related.hosts", json!("evil.org")),
        ("related.hosts", json!("b.evil.org")),
        ("source.ip", json!("203.0.113.7")),
        ("destination.ip", json!("203.0.113.8")),
        ("source.ip", json!("2001:db8::7")),
        ("url.full", json!("http://evil.com/")),
        ("url.full", json!("http://evil.com/a")),
        ("url.full", json!("https://evil.com/a")),
        ("url.full", json!("ftp://evil.com/a")),
        ("url.full", json!("evil.com/a/b")),
        ("related.hash", json!("0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a")),
        ("related.hash", json!("1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b")),
        ("email.from", json!("m@evil.com")),
        ("email.from", json!("n@evil.com")),
        ("destination.port", json!(443)),
        ("process.command_line", json!("1.1")),
        ("process.start", json!("2024-01-31")),
    ];
    Case { options: EXACT, feeds: Vec::new(), event }
}

fn same_as_the_file(store: &Path, state: &FeedState, file: &FeedFile) -> Result<(), TestCaseError> {
    let (chain, newest) = (of_chain(store, state), of_file(file));
    let case = everything();
    prop_assert_eq!(described_hits(&chain, &case), described_hits(&newest, &case));
    let counts = |detector: &Detector| detector.snapshot.counts().collect::<Vec<_>>();
    prop_assert_eq!(counts(&chain), counts(&newest));
    prop_assert_eq!(chain.snapshot.len(), newest.snapshot.len());
    prop_assert_eq!(state.indicators, newest.snapshot.len());
    Ok(())
}

/// Scenario: the file of a feed changes again and again: rows are added, removed, added again, described differently,
/// duplicated, reordered; now and then the compiled segments are compacted. Guarantee: the chain of segments matches,
/// counts and names as the newest file alone.
#[test]
fn a_chain_of_changes_equals_the_newest_file() {
    let (deltas, withdrawn, fulls, compacted) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let add = |cell: &Cell<usize>, more: usize| cell.set(cell.get() + more);
    let mut runner = TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&prop::collection::vec(step(), 1..12), |steps| {
        let directory = tempfile::tempdir().unwrap();
        let (path, store) = (directory.path().join("feed.csv"), directory.path().join("store"));
        let kept = Store::at(&store).unwrap();
        let mut history: Vec<Content> = vec![(0..ROWS.len()).map(|row| (row % 3 > 0).then_some((0, 1))).collect()];
        for step in steps {
            let mut content = history[history.len().saturating_sub(step.back.unwrap_or(1))].clone();
            step.changes.iter().for_each(|(row, said)| content[*row] = *said);
            content[0] = content[0].or(Some((0, 1)));
            std::fs::write(&path, written(&content, step.turned)).unwrap();
            history.push(content);
            let mut file = files::given(std::slice::from_ref(&path)).unwrap().remove(0);
            file.guarded = false;
            let compile = || compile::compile(&kept, std::slice::from_ref(&file), &table(), true, &mut |_| {}, &|_| {});
            let compiled = compile().unwrap().unwrap();
            match compiled.change {
                Change::Full => add(&fulls, 1),
                Change::Delta { withdrawn: gone, .. } => {
                    add(&deltas, 1);
                    add(&withdrawn, gone);
                }
                Change::Unchanged => {}
            }
            same_as_the_file(&store, &compiled.state, &file)?;
            let again = compile().unwrap().unwrap();
            prop_assert_eq!(again.change, Change::Unchanged);
            prop_assert_eq!(again.state, compiled.state);
            if step.compacts
                && let Some(state) = kept.compact("feed").unwrap()
            {
                add(&compacted, 1);
                prop_assert_eq!(state.segments.len(), 1);
                same_as_the_file(&store, &state, &file)?;
            }
        }
        if let Some(state) = kept.compact("feed").unwrap() {
            let mut file = files::given(std::slice::from_ref(&path)).unwrap().remove(0);
            file.guarded = false;
            same_as_the_file(&store, &state, &file)?;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let enough = deltas.get() > 40 && withdrawn.get() > 20 && fulls.get() > 40 && compacted.get() > 3;
    assert!(enough, "{deltas:?} deltas, {withdrawn:?} withdrawn, {fulls:?} full, {compacted:?} compacted");
}
