//! A newer response supersedes an older one, wherever that is.

use hotlist::intel::manifest::Mode;

use super::common::{Running, bare, manifest, noise, part_path, segment_path, settings, sign};
use super::plane::{Plane, Trick};
use super::recorder::Recorder;

/// Scenario: a segment hangs, and a version comes that does not need it. Guarantee: the fetch is dropped, and only the
/// newer version is ever served or answered.
#[tokio::test(flavor = "multi_thread")]
async fn while_fetching() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let mut settings = settings(directory.path(), plane.address);
    settings.timing.stall = std::time::Duration::from_secs(3600);
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    let (slow, quick) = (noise(1, 5000), noise(2, 500));
    let digest = plane.hold(&slow);
    plane.hold(&quick);
    plane.trick(digest, Trick::Hang(1000));
    stream.push(Mode::Serve, 1, "old", &sign(&manifest(1, &[&slow])));
    assert_eq!(plane.fetch().await, digest);
    stream.push(Mode::Serve, 2, "new", &sign(&manifest(2, &[&quick])));
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (2, "new", None));
    assert_eq!(recorder.notes().begun, [(Mode::Serve, 2)]);
    assert!(!part_path(directory.path(), &slow).exists(), "nothing names it any more");
    // The stream of the fetch that was dropped is over, so a third version can have all of it.
    stream.push(Mode::Serve, 3, "third", &sign(&manifest(3, &[&slow])));
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (3, "third", None));
    recorder.assert_files();
    node.stop().await;
}

/// Scenario: both need the segment that hangs. Guarantee: the newer one continues with the bytes that have arrived.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_a_segment_is_kept_for_the_newer_version() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let mut settings = settings(directory.path(), plane.address);
    settings.timing.stall = std::time::Duration::from_secs(3600);
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    let segment = noise(1, 5000);
    let digest = plane.hold(&segment);
    plane.trick(digest, Trick::Break(3000, tonic::Code::Unavailable));
    plane.trick(digest, Trick::Hang(0));
    stream.push(Mode::Serve, 1, "old", &sign(&manifest(1, &[&segment])));
    plane.fetch().await;
    plane.fetch().await;
    stream.push(Mode::Serve, 2, "new", &sign(&manifest(2, &[&segment])));
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (2, "new", None));
    let offsets: Vec<u64> = plane.fetches().into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, [0, 3000, 3000]);
    node.stop().await;
}

/// Scenario: a newer version arrives while a version is prepared. Guarantee: the older one is cancelled, is never
/// activated, and is not answered.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_made_ready() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.hold(1);
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "old", &bare(1));
    recorder.until("it has begun", |notes| !notes.begun.is_empty()).await;
    stream.push(Mode::Serve, 2, "new", &bare(2));
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (2, "new", None));
    let notes = recorder.notes();
    assert_eq!((notes.published, notes.given_up), (vec![(Mode::Serve, 2)], vec![1]));
    node.stop().await;
}

/// Scenario: many versions in a row, faster than they can be made ready. Guarantee: the last one is served and answered.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_the_last_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let segments: Vec<Vec<u8>> = (0..40).map(|seed| noise(seed, 1200)).collect();
    for (version, segment) in (1..).zip(&segments) {
        plane.hold(segment);
        stream.push(Mode::Serve, version, &format!("n{version}"), &sign(&manifest(version, &[segment])));
    }
    let answer = loop {
        let answer = stream.request().await;
        assert_eq!((&answer.error, answer.nonce.clone()), (&None, format!("n{}", answer.version)));
        if answer.version == 40 {
            break answer;
        }
    };
    assert_eq!(answer.nonce, "n40");
    assert_eq!(recorder.version(Mode::Serve), Some(40));
    assert!(segment_path(directory.path(), &segments[39]).exists());
    assert!(!segment_path(directory.path(), &segments[0]).exists());
    recorder.assert_files();
    node.stop().await;
}

/// Scenario: an older version arrives late, while a newer one is being made ready. Guarantee: it is refused, and does
/// not supersede the newer one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_supersedes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.hold(5);
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 5, "five", &bare(5));
    stream.push(Mode::Serve, 4, "four", &bare(4));
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error.is_some()), (0, "four", true));
    recorder.release(5);
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (5, "five", None));
    node.stop().await;
}

/// Scenario: the control plane goes back to what serves while another version is being made ready. Guarantee: the other
/// one is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn going_back_to_what_serves_drops_what_is_on_its_way() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.hold(2);
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let first = bare(1);
    stream.push(Mode::Serve, 1, "a", &first);
    assert_eq!(stream.request().await.version, 1);
    stream.push(Mode::Serve, 2, "b", &bare(2));
    recorder.until("it has begun", |notes| notes.begun.contains(&(Mode::Serve, 2))).await;
    stream.push(Mode::Serve, 1, "c", &first);
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (1, "c", None));
    recorder.until("it is given up", |notes| notes.given_up == [2]).await;
    node.stop().await;
    assert_eq!(recorder.notes().published, [(Mode::Serve, 1)]);
}
