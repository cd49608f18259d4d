//! Tests of the rules by which the content of a file may replace older content, with real files that are checked when
//! the test asks for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::feed_set::FeedScan;
use super::{FeedFault, FeedSet, Settings, SettingsRefusal};
use crate::config::{Intel, IntelFiles, OnShrink};
use crate::feed::watching::watch::Notice;
use crate::intel::snapshot::MatchOptions;
use crate::schema::FieldTable;

/// A directory of feeds and a keeper of its `*.txt` files.
struct Scene {
    directory: TempDir,
    feed_set: FeedSet,
    now: Instant,
}

fn settings(patterns: &[String], on_shrink: OnShrink) -> Settings {
    let files = patterns.iter().map(|path| IntelFiles { allow_generic: true, ..IntelFiles::new(path.clone()) });
    Settings {
        intel: Intel { files: files.collect(), on_shrink, ..Intel::default() },
        table: Arc::new(FieldTable::embedded(true).unwrap()),
        options: MatchOptions::default(),
    }
}

/// So many indicators, one a line.
fn addresses(count: usize) -> String {
    (0..count).map(|number| format!("198.51.100.{number}\n")).collect()
}

impl Scene {
    /// Creates files with this many indicators each, and scans them.
    fn new(on_shrink: OnShrink, files: &[(&str, usize)]) -> (Scene, FeedScan) {
        let directory = tempfile::tempdir().unwrap();
        for (name, count) in files {
            std::fs::write(directory.path().join(name), addresses(*count)).unwrap();
        }
        let pattern = directory.path().join("*.txt").display().to_string();
        let mut feed_set = FeedSet::new(settings(&[pattern], on_shrink), 7);
        let scan = feed_set.scan(None);
        (Scene { directory, feed_set, now: Instant::now() }, scan)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// A look long after everything has settled, unless there is something to see at once.
    fn scan(&mut self) -> FeedScan {
        let first = self.feed_set.scan(Some(self.now));
        if !first.is_empty() {
            return first;
        }
        self.now += Duration::from_secs(2);
        self.feed_set.scan(Some(self.now))
    }

    /// Indicators held by feed, in order of their names.
    fn held(&self) -> Vec<(String, usize)> {
        let serving = self.feed_set.serving().unwrap();
        self.feed_set
            .files()
            .map(|kept| (kept.file.feed.name.clone(), kept.place.map_or(0, |place| serving.feed_len(place))))
            .collect()
    }

    fn fault(&self, feed: &str) -> Option<FeedFault> {
        self.feed_set.files().find(|kept| kept.file.feed.name == feed).unwrap().fault.clone()
    }
}

fn named(held: &[(&str, usize)]) -> Vec<(String, usize)> {
    held.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Scenario: two feeds, one changes, then nothing does. Guarantee: one new snapshot, with the change and the other feed
/// as it was; none when nothing changed.
#[test]
fn a_change_makes_one_new_version_and_reads_one_file() {
    let (mut scene, first) = Scene::new(OnShrink::Confirm, &[("a.txt", 3), ("b.txt", 4)]);
    let before = first.snapshot.unwrap();
    assert_eq!((first.outcomes.len(), before.name().starts_with("files:")), (2, true));
    scene.write("b.txt", addresses(6));
    let scan = scene.scan();
    assert_eq!(scan.outcomes.len(), 1);
    assert_ne!(scan.snapshot.unwrap().name(), before.name());
    assert_eq!(scene.held(), named(&[("a", 3), ("b", 6)]));
    assert!(scene.scan().is_empty());
    scene.write("b.txt", addresses(4));
    assert_eq!(scene.scan().snapshot.unwrap().name(), before.name(), "the same files have the same name");
}

/// Guarantee: a file that became unusable, empty, or vanished leaves what is held of it; once it is good again it is
/// taken. Each fault is reported once.
#[test]
fn a_bad_file_never_empties_a_feed() {
    let (mut scene, _) = Scene::new(OnShrink::Confirm, &[("a.txt", 3), ("b.txt", 4)]);
    type Spoil = fn(&Scene);
    let bad: [(&str, Spoil); 3] = [
        ("unusable", |scene| scene.write("b.txt", [0u8, 159, 146, 150].repeat(100))),
        ("empty", |scene| scene.write("b.txt", "# nothing today\n")),
        ("vanished", |scene| std::fs::remove_file(scene.path("b.txt")).unwrap()),
    ];
    for (reason, spoil) in bad {
        spoil(&scene);
        let scan = scene.scan();
        let reported: Vec<_> = scan.faults.iter().map(|(_, feed, fault)| (feed.as_str(), fault.label())).collect();
        assert_eq!(reported, [("b", reason)]);
        assert!(scan.snapshot.is_none(), "{reason}");
        assert_eq!(scene.held(), named(&[("a", 3), ("b", 4)]), "{reason}");
        assert!(scene.scan().is_empty(), "{reason} is reported once");
        // Another feed changes meanwhile: the spoilt one is reused.
        scene.write("a.txt", addresses(5));
        assert!(scene.scan().snapshot.is_some());
        assert_eq!(scene.held(), named(&[("a", 5), ("b", 4)]), "{reason}");
        scene.write("a.txt", addresses(3));
        scene.write("b.txt", addresses(4));
        assert!(scene.scan().snapshot.is_some());
        assert_eq!((scene.fault("b"), scene.held()), (None, named(&[("a", 3), ("b", 4)])));
    }
}

/// Guarantee: less than half waits for a confirmation, which takes what is there then; half is taken at once; with
/// `accept` nothing waits.
#[test]
fn a_feed_that_shrinks_by_more_than_half_waits_for_confirmation() {
    let (mut scene, _) = Scene::new(OnShrink::Confirm, &[("a.txt", 10)]);
    scene.write("a.txt", addresses(5));
    assert!(scene.scan().snapshot.is_some());
    scene.write("a.txt", addresses(2));
    assert!(scene.scan().snapshot.is_none());
    assert_eq!((scene.held(), scene.fault("a")), (named(&[("a", 5)]), Some(FeedFault::Shrunk { held: 5, found: 2 })));
    assert!(!scene.feed_set.confirm("another"));
    assert!(scene.feed_set.confirm("a"));
    assert!(scene.scan().snapshot.is_some());
    assert_eq!((scene.held(), scene.fault("a")), (named(&[("a", 2)]), None));

    scene.write("a.txt", addresses(0) + "198.51.100.77\n");
    drop(scene.scan());
    scene.write("a.txt", addresses(9));
    drop(scene.scan());
    scene.write("a.txt", addresses(2));
    assert!(scene.scan().snapshot.is_none());
    let table = scene.feed_set.serving().unwrap().table().clone();
    let pattern = scene.path("*.txt").display().to_string();
    let accept = Settings { table, ..settings(&[pattern], OnShrink::Accept) };
    assert!(scene.feed_set.reconfigure(accept).unwrap().snapshot.is_some(), "what waited is taken");
    assert_eq!(scene.held(), named(&[("a", 2)]));

    let (mut scene, _) = Scene::new(OnShrink::Accept, &[("a.txt", 10)]);
    scene.write("a.txt", addresses(1));
    assert!(scene.scan().snapshot.is_some());
    assert_eq!(scene.held(), named(&[("a", 1)]));
}

/// Scenario: one feed of several files, as a directory that is rotated by day. Guarantee: a file that is replaced by
/// another goes, one that leaves less than half of the feed behind does not.
#[test]
fn a_file_may_go_when_enough_of_its_feed_stays() {
    let (mut scene, _) = Scene::new(OnShrink::Confirm, &[("day1.txt", 4), ("day2.txt", 4)]);
    let pattern = scene.path("*.txt").display().to_string();
    let mut one_feed = settings(&[pattern], OnShrink::Confirm);
    one_feed.intel.files[0].feed = Some("days".to_owned());
    scene.feed_set = FeedSet::new(one_feed, 7);
    drop(scene.feed_set.scan(None));
    std::fs::rename(scene.path("day1.txt"), scene.path("day3.txt")).unwrap();
    let scan = scene.scan();
    assert_eq!(scan.dropped, [scene.path("day1.txt")]);
    assert_eq!(scene.held(), named(&[("days", 4), ("days", 4)]));
    scene.write("day2.txt", addresses(30));
    assert!(scene.scan().snapshot.is_some());
    std::fs::remove_file(scene.path("day2.txt")).unwrap();
    assert!(scene.scan().snapshot.is_none(), "30 of 34 would go");
    assert_eq!(scene.held(), named(&[("days", 30), ("days", 4)]));
    assert!(scene.feed_set.confirm("days"));
    assert!(scene.scan().snapshot.is_some());
    assert_eq!(scene.held(), named(&[("days", 4)]));
}

/// Scenario: a file appears, is being written, and is closed. Guarantee: it is not read before, and soon after.
#[test]
fn a_file_that_is_being_written_is_not_read() {
    let (mut scene, _) = Scene::new(OnShrink::Confirm, &[("a.txt", 3)]);
    let path = scene.path("b.txt");
    scene.write("b.txt", addresses(2));
    scene.feed_set.record_notice(Notice::Begun(path.clone()));
    assert!(scene.feed_set.scan(Some(scene.now)).is_empty());
    scene.write("b.txt", addresses(4));
    let now = scene.now + Duration::from_millis(990);
    assert!(scene.feed_set.scan(Some(now)).is_empty());
    scene.feed_set.record_notice(Notice::Done(path));
    assert!(scene.feed_set.scan(Some(now + Duration::from_millis(200))).snapshot.is_some());
    assert_eq!(scene.held(), named(&[("a", 3), ("b", 4)]));
}

/// Scenario: a file is moved into place, and another one that did not change is looked at before it. Guarantee: it is
/// nevertheless read soon, not only when it has settled.
#[test]
fn a_complete_file_is_read_soon_among_others() {
    let (mut scene, _) = Scene::new(OnShrink::Confirm, &[("a.txt", 3), ("b.txt", 2)]);
    scene.write("b.txt", addresses(4));
    scene.feed_set.record_notice(Notice::Done(scene.path("b.txt")));
    assert!(scene.feed_set.scan(Some(scene.now)).is_empty());
    assert!(scene.feed_set.scan(Some(scene.now + Duration::from_millis(160))).snapshot.is_some());
}

/// Guarantee: new settings keep what they do not change, read what they do, drop feeds that they do not name, and are
/// refused when a feed that is served would be lost.
#[test]
fn settings_are_replaced_whole_or_not_at_all() {
    let (mut scene, _) = Scene::new(OnShrink::Confirm, &[("a.txt", 3), ("b.txt", 4)]);
    let both = scene.path("*.txt").display().to_string();
    let only_b = scene.path("b.txt").display().to_string();
    let with = |scene: &Scene, patterns: &[String], options: MatchOptions| {
        let table = scene.feed_set.serving().unwrap().table().clone();
        Settings { table, options, ..settings(patterns, OnShrink::Confirm) }
    };
    let exact = MatchOptions::default();
    std::fs::remove_file(scene.path("a.txt")).unwrap();
    drop(scene.scan());
    let scan = scene.feed_set.reconfigure(with(&scene, std::slice::from_ref(&both), exact)).unwrap();
    assert!(scan.outcomes.is_empty(), "nothing is read");
    assert_eq!(scene.held(), named(&[("a", 3), ("b", 4)]), "still asked for, so what is held of it stays");

    let wider = with(&scene, &[both], MatchOptions { subdomains: true, ..exact });
    let refused = scene.feed_set.reconfigure(wider.clone()).map(drop).unwrap_err();
    assert!(
        matches!(&refused, SettingsRefusal::Feed { path, fault: FeedFault::Vanished } if *path == scene.path("a.txt"))
    );
    assert_eq!(scene.held(), named(&[("a", 3), ("b", 4)]));

    let scan = scene.feed_set.reconfigure(with(&scene, &[only_b], exact)).unwrap();
    assert_eq!((scan.outcomes.len(), scene.held()), (0, named(&[("b", 4)])));
    let before = Arc::clone(scene.feed_set.serving().unwrap());
    scene.feed_set.reconfigure(wider).unwrap();
    let serving = scene.feed_set.serving().unwrap();
    assert!(serving.options().subdomains && !Arc::ptr_eq(serving, &before));
    assert_eq!(scene.held(), named(&[("b", 4)]));
}
