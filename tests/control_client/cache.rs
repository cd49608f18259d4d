//! A full or failing disk: refusals with the true reason, and the last good version stays active.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hotlist::intel::manifest::Mode;
use hotlist::provider::control::{CacheError, OpenError};
use hotlist::store::{Store, StoreError};
use tonic::Code;

use super::common::{Running, bare, manifest, metrics, noise, part_path, segment_path, series, settings, sign};
use super::plane::{Plane, Trick};
use super::recorder::Recorder;

/// Guarantee: a version that does not fit together with the active one is refused before anything is fetched or
/// deleted; a version that shares enough segments fits.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused() {
    metrics();
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let mut settings = settings(directory.path(), plane.address);
    settings.cache_bytes = 10_000;
    let mut node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    let segments: Vec<Vec<u8>> = (0..4).map(|seed| noise(seed, 4000)).collect();
    for segment in &segments {
        plane.hold(segment);
    }
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&segments[0], &segments[1]])));
    assert!(stream.request().await.error.is_none());
    let refused = series("hotlist_control_refused_total{slot=\"serve\",reason=\"cache\"}");
    stream.push(Mode::Serve, 2, "n", &sign(&manifest(2, &[&segments[2]])));
    let error = stream.request().await.error.unwrap();
    assert_eq!(Code::from_i32(error.code.try_into().unwrap()), Code::ResourceExhausted);
    assert!(
        error.message.contains("need 12000 bytes") && error.message.contains("limit is 10000"),
        "{}",
        error.message
    );
    assert_eq!(plane.fetches().len(), 2);
    assert!(series("hotlist_control_refused_total{slot=\"serve\",reason=\"cache\"}") > refused);
    recorder.assert_files();
    let status = node.until("it is told", |status| status.slots[0].refused.is_some()).await;
    assert_eq!(status.slots[0].refused.as_ref().map(|(version, _)| *version), Some(2), "{status}");
    // A retry opens a new stream.
    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!((serve.version, serve.refused_version), (1, 0));
    stream.push(Mode::Serve, 3, "n", &sign(&manifest(3, &[&segments[1]])));
    assert!(stream.request().await.error.is_none());
    stream.push(Mode::Serve, 4, "n", &sign(&manifest(4, &[&segments[1], &segments[2]])));
    assert!(stream.request().await.error.is_none());
    recorder.assert_files();
    assert!(node.status.borrow().slots[0].refused.is_none());
    node.stop().await;
}

/// Guarantee: what nothing names any more is on disk no longer than until the next version: half-fetched segments too.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_nothing_names_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let settings = settings(directory.path(), plane.address);
    let node = Running::start(settings.clone(), &recorder);
    let (stream, _) = plane.greeted().await;
    let segment = noise(1, 5000);
    let digest = plane.hold(&segment);
    plane.trick(digest, Trick::Break(2000, Code::Unavailable));
    plane.trick(digest, Trick::Hang(0));
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&segment])));
    plane.fetch().await;
    plane.fetch().await;
    node.stop().await;
    let part = part_path(directory.path(), &segment);
    assert_eq!(std::fs::read(&part).unwrap(), segment[..2000]);
    // A restart keeps it: it may still be wanted.
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    assert!(part.exists());
    let foreign = directory.path().join("cache/segments/readme.txt");
    std::fs::write(&foreign, "not the cache's").unwrap();
    stream.push(Mode::Serve, 2, "n", &bare(2));
    assert!(stream.request().await.error.is_none());
    assert!(!part.exists());
    assert!(foreign.exists(), "the cache deletes its own files only");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let settings = settings(directory.path(), plane.address);
    let segment = noise(1, 5000);
    let digest = plane.hold(&segment);
    plane.trick(digest, Trick::Break(2000, Code::Unavailable));
    plane.trick(digest, Trick::Hang(0));
    let signed = sign(&manifest(1, &[&segment]));
    let node = Running::start(settings.clone(), &recorder);
    let (stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "n", &signed);
    plane.fetch().await;
    plane.fetch().await;
    node.stop().await;
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "n", &signed);
    assert!(stream.request().await.error.is_none());
    let offsets: Vec<u64> = plane.fetches().into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, [0, 2000, 2000]);
    recorder.assert_files();
    node.stop().await;
}

/// Scenario: files cannot be written where they should be, each in turn. Guarantee: the version is refused with the path
/// and the cause, nothing is published, and it is taken when the disk is well again.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_told_and_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let mut settings = settings(directory.path(), plane.address);
    // It is tried again when the test says, by another version.
    settings.timing.retry = (std::time::Duration::from_secs(3600), std::time::Duration::from_secs(3600));
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    let cache = directory.path().join("cache");
    let segment = noise(1, 2000);
    let digest = plane.hold(&segment);
    // A directory in its place stops even a user who may write everywhere.
    let obstacles = [
        (cache.join("highest.json.next"), "highest.json.next: cannot be written"),
        (cache.join(format!("segments/{digest}.part")), ".part: cannot be opened"),
        (cache.join("serve.json.next"), "serve.json.next: cannot be written"),
    ];
    for (version, (path, text)) in (1..).zip(obstacles) {
        std::fs::create_dir(&path).unwrap();
        stream.push(Mode::Serve, version, "n", &sign(&manifest(version, &[&segment])));
        let answer = stream.request().await;
        let error = answer.error.unwrap();
        assert_eq!((answer.version, error.code), (0, Code::ResourceExhausted as u32));
        assert!(error.message.contains(text), "{text}: {}", error.message);
        assert!(recorder.notes().published.is_empty());
        std::fs::remove_dir(&path).unwrap();
    }
    stream.push(Mode::Serve, 9, "n", &sign(&manifest(9, &[&segment])));
    assert!(stream.request().await.error.is_none());
    assert!(segment_path(directory.path(), &segment).exists());
    node.stop().await;
}

/// Scenario: a version is activated, and then its file cannot be renamed. Guarantee: the version is active and
/// acknowledged, its files stay, and the report says that a restart would not load it.
#[tokio::test(flavor = "multi_thread")]
async fn what_serves_and_cannot_be_written_down_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let mut node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let obstacle = directory.path().join("cache/serve.json");
    std::fs::create_dir_all(obstacle.join("full")).unwrap();
    let segment = noise(1, 2000);
    plane.hold(&segment);
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&segment])));
    assert!(stream.request().await.error.is_none());
    let status = node.until("it is told", |status| !status.slots[0].is_kept).await;
    assert_eq!(status.slots[0].version, 1, "{status}");
    // Another version that is refused deletes nothing of what serves.
    stream.push(Mode::Serve, 2, "n", &sign(&manifest(2, &[&noise(9, 10)])));
    assert!(stream.request().await.error.is_some());
    recorder.assert_files();
    std::fs::remove_dir_all(&obstacle).unwrap();
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 3, "n", &bare(3));
    assert!(stream.request().await.error.is_none());
    node.until("all is well", hotlist::provider::control::Status::is_good).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_used_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let plane = Plane::start().await;
    let settings = settings(directory.path(), plane.address);
    let node = Running::start(settings.clone(), &Recorder::new());
    let error = Running::try_start(settings.clone(), &Recorder::new()).err().unwrap();
    assert!(matches!(&error, OpenError::Cache(CacheError::InUse(path)) if *path == settings.cache), "{error}");
    node.stop().await;
    std::fs::remove_dir_all(&settings.cache).unwrap();
    std::fs::write(&settings.cache, "a file").unwrap();
    let error = Running::try_start(settings.clone(), &Recorder::new()).err().unwrap();
    let is_io =
        matches!(&error, OpenError::Cache(CacheError::Io { what: "created", path, .. }) if *path == settings.cache);
    assert!(is_io, "{error}");
    std::fs::remove_file(&settings.cache).unwrap();
    let node = Running::start(settings.clone(), &Recorder::new());
    node.stop().await;
}

/// Scenario: `cache` is aimed at the store of a control plane. Guarantee: the start is refused with the directory and how
/// to fix it, and every file of the store is there as before; the other way round, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_never_used_as_a_cache_nor_a_cache_as_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let plane = Plane::start().await;
    let mut settings = settings(directory.path(), plane.address);
    let (cache, root) = (settings.cache.clone(), directory.path().join("store"));
    let store = Store::open(&root).unwrap();
    let segment = noise(1, 100);
    let digest = hotlist::intel::manifest::Digest::sha256(&segment);
    std::fs::write(store.segment(&digest), &segment).unwrap();
    settings.cache = root.clone();
    let before = tree(&root);
    let foreign = |error: OpenError| match error {
        OpenError::Cache(CacheError::NoCache { directory, entry }) => (directory, entry),
        other => panic!("{other}"),
    };
    let error = Running::try_start(settings.clone(), &Recorder::new()).err().unwrap();
    assert_eq!(foreign(error).0, root);
    assert_eq!(tree(&root), before);
    // What `hotlist compile` makes is a store, too.
    for made in ["publications", "nodes", "alerts"] {
        std::fs::remove_dir_all(root.join(made)).unwrap();
    }
    let before = tree(&root);
    let error = Running::try_start(settings.clone(), &Recorder::new()).err().unwrap();
    assert_eq!(foreign(error), (root.clone(), "segments".to_owned()));
    assert_eq!(tree(&root), before);

    settings.cache = cache.clone();
    Running::start(settings, &Recorder::new()).stop().await;
    let before = tree(&cache);
    let error = Store::open(&cache).err().unwrap();
    assert!(matches!(&error, StoreError::Cache(path) if *path == cache), "{error}");
    assert_eq!(tree(&cache), before);
}

/// Every path below a directory with its mode.
fn tree(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        found.push((entry.path(), metadata.permissions().mode() & 0o7777));
        if metadata.is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Guarantee: whatever a node writes into its cache is for its user alone, whatever the umask.
#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_a_cache_is_for_its_user_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let node = Running::start(settings(directory.path(), plane.address), &Recorder::new());
    let (mut stream, _) = plane.greeted().await;
    let (whole, broken) = (noise(1, 3000), noise(2, 5000));
    plane.hold(&whole);
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&whole])));
    assert!(stream.request().await.error.is_none());
    let digest = plane.hold(&broken);
    plane.trick(digest, Trick::Break(2000, Code::Unavailable));
    plane.trick(digest, Trick::Hang(0));
    stream.push(Mode::Serve, 2, "n", &sign(&manifest(2, &[&broken])));
    while !plane.fetches().contains(&(digest, 2000)) {
        plane.fetch().await;
    }
    node.stop().await;
    let cache = directory.path().join("cache");
    let found = tree(&cache);
    let names: Vec<_> =
        found.iter().map(|(path, _)| path.strip_prefix(&cache).unwrap().display().to_string()).collect();
    for name in ["hotlist-cache", "lock", "highest.json", "serve.json", "segments"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert!(part_path(directory.path(), &broken).exists());
    for (path, mode) in found {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{}: {mode:o}", path.display());
    }
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o7777, 0o700);
}

/// Guarantee: what was refused for good takes no room from what comes next.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_for_good_takes_no_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.refuse(2);
    let mut settings = settings(directory.path(), plane.address);
    settings.cache_bytes = 10_000;
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    let segments: Vec<Vec<u8>> = (0..3).map(|seed| noise(seed, 4000)).collect();
    for segment in &segments {
        plane.hold(segment);
    }
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&segments[0]])));
    assert!(stream.request().await.error.is_none());
    let mut shadow = manifest(2, &[&segments[1]]);
    shadow.mode = Mode::Shadow;
    stream.push(Mode::Shadow, 2, "n", &sign(&shadow));
    assert_eq!(stream.request().await.error.unwrap().code, Code::Internal as u32);
    stream.push(Mode::Serve, 3, "n", &sign(&manifest(3, &[&segments[2]])));
    assert!(stream.request().await.error.is_none());
    assert!(!segment_path(directory.path(), &segments[1]).exists());
    node.stop().await;
}
