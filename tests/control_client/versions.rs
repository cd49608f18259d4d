//! Versions only increase, in one process and over restarts; an expired version stays active.

use hotlist::intel::manifest::{Mode, Signed};
use jiff::{SignedDuration, Timestamp};
use tonic::Code;

use super::common::{Running, bare, manifest, metrics, noise, segment_path, series, settings, sign};
use super::plane::{Node, Plane};
use super::recorder::Recorder;

async fn is_taken(stream: &mut Node, version: u64, signed: &Signed) -> bool {
    stream.push(Mode::Serve, version, &format!("n{version}"), signed);
    stream.request().await.error.is_none()
}

/// Guarantee: what was once seen is never gone behind, whether it served or not, and whatever restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_never_goes_back_not_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.refuse(9);
    let settings = settings(directory.path(), plane.address);
    let node = Running::start(settings.clone(), &recorder);
    let (mut stream, _) = plane.greeted().await;
    assert!(is_taken(&mut stream, 4, &bare(4)).await);
    // It cannot be served, yet it was seen.
    assert!(!is_taken(&mut stream, 9, &bare(9)).await);
    assert!(!is_taken(&mut stream, 8, &bare(8)).await);
    // What serves stays good.
    assert!(is_taken(&mut stream, 4, &bare(4)).await);
    node.stop().await;

    for _ in 0..2 {
        let node = Running::start(settings.clone(), &recorder);
        let (mut stream, [serve, _]) = plane.greeted().await;
        assert_eq!(serve.version, 4);
        assert!(!is_taken(&mut stream, 3, &bare(3)).await);
        assert!(!is_taken(&mut stream, 8, &bare(8)).await);
        assert!(is_taken(&mut stream, 4, &bare(4)).await);
        node.stop().await;
    }
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    let mut other = manifest(9, &[]);
    other.rules.clear();
    assert!(!is_taken(&mut stream, 9, &sign(&other)).await, "the same version with other content");
    assert!(is_taken(&mut stream, 10, &bare(10)).await);
    node.stop().await;
}

/// Guarantee: the versions of the two slots are independent.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_of_versions_stops_new_ones_and_serves_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let settings = settings(directory.path(), plane.address);
    let node = Running::start(settings.clone(), &recorder);
    let (mut stream, _) = plane.greeted().await;
    assert!(is_taken(&mut stream, 4, &bare(4)).await);
    node.stop().await;
    let path = directory.path().join("cache/highest.json");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let node = Running::start(settings.clone(), &recorder);
    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!(serve.version, 4);
    stream.push(Mode::Serve, 5, "n", &bare(5));
    let error = stream.request().await.error.unwrap();
    assert_eq!(Code::from_i32(error.code.try_into().unwrap()), Code::ResourceExhausted, "{}", error.message);
    assert!(error.message.contains("highest.json"), "{}", error.message);
    node.stop().await;
    // As the error says. The last good version is as good as the record that is gone.
    std::fs::remove_file(&path).unwrap();
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    assert!(!is_taken(&mut stream, 3, &bare(3)).await);
    assert!(is_taken(&mut stream, 5, &bare(5)).await);
    node.stop().await;
}

/// Guarantee: a version that expires while it is active stays active, over a restart too, and status and metric show
/// that it has expired.
#[tokio::test(flavor = "multi_thread")]
async fn what_expires_goes_on_serving_and_alarms() {
    metrics();
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let settings = settings(directory.path(), plane.address);
    let mut node = Running::start(settings.clone(), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let mut short = manifest(4, &[]);
    short.mode = Mode::Shadow;
    short.expires = Some(Timestamp::now() + SignedDuration::from_secs(4));
    stream.push(Mode::Shadow, 4, "n", &sign(&short));
    assert!(stream.request().await.error.is_none());
    assert!(node.status.borrow().slots[1].expired.is_none());
    let status = node.until("it expires", |status| status.slots[1].expired.is_some()).await;
    assert_eq!((status.slots[1].version, status.is_good()), (4, false));
    assert_eq!(series("hotlist_control_expired{slot=\"shadow\"}"), 1.0);
    // It is not new, so it is not refused.
    stream.push(Mode::Shadow, 4, "again", &sign(&short));
    assert!(stream.request().await.error.is_none());
    node.stop().await;

    let node = Running::start(settings, &recorder);
    let (mut stream, [_, shadow]) = plane.greeted().await;
    assert_eq!(shadow.version, 4);
    assert!(node.status.borrow().slots[1].expired.is_some());
    short.version = 5;
    stream.push(Mode::Shadow, 5, "n", &sign(&short));
    assert!(stream.request().await.error.unwrap().message.contains("expired"));
    short.expires = None;
    stream.push(Mode::Shadow, 5, "n", &sign(&short));
    assert!(stream.request().await.error.is_none());
    node.stop().await;
}

/// Guarantee: what the new version does not name is deleted once it serves, and what it shares is not fetched again.
#[tokio::test(flavor = "multi_thread")]
async fn segments_that_nothing_names_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let segments: Vec<Vec<u8>> = (0..4).map(|seed| noise(seed, 1500)).collect();
    for segment in &segments {
        plane.hold(segment);
    }
    let named = |which: &[usize]| which.iter().map(|at| &segments[*at][..]).collect::<Vec<_>>();
    // A segment may come twice in a manifest: it is one file.
    for (version, which) in [(1, vec![0, 1]), (2, vec![1, 2, 1]), (3, vec![2, 3])] {
        assert!(is_taken(&mut stream, version, &sign(&manifest(version, &named(&which)))).await);
        for (at, segment) in segments.iter().enumerate() {
            assert_eq!(segment_path(directory.path(), segment).exists(), which.contains(&at), "{version}: {at}");
        }
        recorder.assert_files();
    }
    assert_eq!(plane.fetches().len(), 4, "each was fetched once");
    node.stop().await;
}
