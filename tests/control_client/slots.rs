//! The two slots have nothing to do with each other, but for the segments that both name.

use hotlist::intel::manifest::{Mode, Signed};
use hotlist::proto::control::v1::SyncResponse;

use super::common::{Running, bare, manifest, noise, segment_path, settings, sign};
use super::plane::{Plane, slot};
use super::recorder::Recorder;

fn shadow(version: u64, segments: &[&[u8]]) -> Signed {
    let mut manifest = manifest(version, segments);
    manifest.mode = Mode::Shadow;
    sign(&manifest)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_slot_has_versions_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let settings = settings(directory.path(), plane.address);
    let node = Running::start(settings.clone(), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let (both, own) = (noise(1, 2000), noise(2, 2000));
    plane.hold(&both);
    plane.hold(&own);
    stream.push(Mode::Serve, 9, "a", &sign(&manifest(9, &[&both])));
    stream.push(Mode::Shadow, 3, "b", &shadow(3, &[&both, &own]));
    let mut answers = [stream.request().await, stream.request().await];
    answers.sort_by_key(|answer| answer.slot);
    let told = answers.map(|answer| (answer.slot, answer.version, answer.nonce, answer.error));
    assert_eq!(told[0], (slot(Mode::Serve).into(), 9, "a".to_owned(), None));
    assert_eq!(told[1], (slot(Mode::Shadow).into(), 3, "b".to_owned(), None));
    assert_eq!(plane.fetches().len(), 2, "what both name is fetched once");
    node.stop().await;
    let node = Running::start(settings, &recorder);
    let (_, [serve, shadow]) = plane.greeted().await;
    assert_eq!((serve.version, shadow.version), (9, 3));
    node.stop().await;
}

/// Guarantee: the shadow slot can be emptied, stays so after a restart, and takes only higher versions then.
#[tokio::test(flavor = "multi_thread")]
async fn the_shadow_slot_can_be_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let settings = settings(directory.path(), plane.address);
    let node = Running::start(settings.clone(), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let segment = noise(1, 2000);
    plane.hold(&segment);
    stream.push(Mode::Serve, 1, "a", &bare(1));
    stream.request().await;
    stream.push(Mode::Shadow, 3, "b", &shadow(3, &[&segment]));
    stream.request().await;
    assert_eq!(recorder.version(Mode::Shadow), Some(3));
    let nothing = SyncResponse { slot: slot(Mode::Shadow).into(), nonce: "c".to_owned(), ..SyncResponse::default() };
    for _ in 0..2 {
        stream.send(nothing.clone());
        let answer = stream.request().await;
        assert_eq!((answer.slot, answer.version, answer.error), (slot(Mode::Shadow).into(), 0, None));
        assert_eq!(recorder.version(Mode::Shadow), None);
    }
    assert!(!segment_path(directory.path(), &segment).exists());
    node.stop().await;
    let node = Running::start(settings, &recorder);
    let (mut stream, [serve, empty]) = plane.greeted().await;
    assert_eq!((serve.version, empty.version), (1, 0));
    stream.push(Mode::Shadow, 2, "d", &shadow(2, &[]));
    assert!(stream.request().await.error.is_some());
    stream.push(Mode::Shadow, 3, "d", &shadow(3, &[&segment]));
    assert!(stream.request().await.error.is_none());
    node.stop().await;
}

/// Scenario: the slot is emptied while a version for it is being made ready. Guarantee: it stays empty.
#[tokio::test(flavor = "multi_thread")]
async fn emptying_supersedes_what_is_on_its_way() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.hold(3);
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Shadow, 3, "b", &shadow(3, &[]));
    recorder.until("it has begun", |notes| !notes.begun.is_empty()).await;
    stream.send(SyncResponse { slot: slot(Mode::Shadow).into(), nonce: "c".to_owned(), ..SyncResponse::default() });
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (0, "c", None));
    node.stop().await;
    assert!(recorder.notes().published.is_empty());
}
