//! The versions that a node matches from its own disk while there is no control plane.

use std::path::Path;
use std::sync::Arc;

use hotlist::config::Endpoint;
use hotlist::intel::manifest::Mode;
use hotlist::provider::control::{OpenError, Settings, Status};
use tokio::net::TcpListener;

use super::common::{Running, manifest, metrics, noise, segment_path, series, settings, sign, stranger};
use super::plane::Plane;
use super::recorder::Recorder;
use crate::held_port::HeldPort;

/// Settings of a node that has served version 3 with two segments, and these.
async fn served(directory: &Path) -> (Settings, [Vec<u8>; 2]) {
    let mut plane = Plane::start().await;
    let settings = settings(directory, plane.address);
    let segments = [noise(1, 3000), noise(2, 40)];
    for segment in &segments {
        plane.hold(segment);
    }
    let node = Running::start(settings.clone(), &Recorder::new());
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 3, "n", &sign(&manifest(3, &[&segments[0], &segments[1]])));
    assert!(stream.request().await.error.is_none());
    node.stop().await;
    (settings, segments)
}

/// What serves right after the start, and what is said about it.
async fn started(settings: &Settings) -> (Option<u64>, Status) {
    let recorder = Recorder::new();
    let node = Running::start(settings.clone(), &recorder);
    let (version, status) = (recorder.version(Mode::Serve), node.status.borrow().clone());
    assert_eq!(status.slots[0].version, version.unwrap_or(0));
    node.stop().await;
    (version, status)
}

/// Guarantee: the last good version serves before anybody is asked, and although nobody answers.
#[tokio::test(flavor = "multi_thread")]
async fn it_serves_while_the_control_plane_is_away() {
    metrics();
    let directory = tempfile::tempdir().unwrap();
    let (mut settings, _) = served(directory.path()).await;
    let held = HeldPort::new();
    settings.endpoint = Endpoint::parse(&format!("http://{}", held.address)).unwrap();
    let recorder = Recorder::new();
    let mut node = Running::start(settings.clone(), &recorder);
    // Before the task had a chance to run.
    assert_eq!(recorder.version(Mode::Serve), Some(3));
    recorder.assert_files();
    let status = node.until("an attempt fails", |status| status.cause.is_some()).await;
    assert!(!status.is_connected && !status.is_good());
    let text = status.to_string();
    assert!(text.contains("no connection to http://127.0.0.1:") && text.contains("serve: version 3"), "{text}");
    assert!(series("hotlist_control_disconnects_total{reason=\"connect\"}") > 0.0);
    // It comes back at the same address, which no other process could take meanwhile.
    let listener = TcpListener::bind(held.address).await.unwrap();
    let mut plane = Plane::serve(held.address, tokio_stream::wrappers::TcpListenerStream::new(listener));
    assert_eq!(plane.greeted().await.1[0].version, 3);
    node.until("it is connected", |status| status.is_connected && status.is_good()).await;
    node.stop().await;
}

/// Guarantee: no byte of a last good manifest can change and still be served; and the node still takes a new version.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let (settings, _) = served(directory.path()).await;
    let path = directory.path().join("cache/serve.json");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let recorder = Recorder::new();
        let client = open(&settings, &recorder).unwrap();
        assert!(recorder.notes().begun.is_empty(), "byte {at}");
        drop(client);
    }
    for length in [0, 1, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert_eq!(started(&settings).await.0, None);
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(started(&settings).await.0, Some(3));
}

fn open(
    settings: &Settings,
    recorder: &Arc<Recorder>,
) -> Result<hotlist::provider::control::Client<Recorder>, OpenError> {
    hotlist::provider::control::Client::open(settings.clone(), Arc::clone(recorder), Box::new(Default::default))
}

/// Guarantee: segments are checked again at start; what is not whole is not served, and fetched when there is somebody
/// to fetch it from.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_segments_are_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let (mut settings, segments) = served(directory.path()).await;
    let path = segment_path(directory.path(), &segments[1]);
    for at in 0..segments[1].len() {
        let mut bad = segments[1].clone();
        bad[at] ^= 0x80;
        std::fs::write(&path, bad).unwrap();
        let recorder = Recorder::new();
        drop(open(&settings, &recorder).unwrap());
        assert!(recorder.notes().begun.is_empty(), "byte {at}");
    }
    std::fs::write(&path, &segments[1][1..]).unwrap();
    assert_eq!(started(&settings).await.0, None);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(started(&settings).await.0, None);

    let mut plane = Plane::start().await;
    settings.endpoint = Endpoint::parse(&format!("http://{}", plane.address)).unwrap();
    for segment in &segments {
        plane.hold(segment);
    }
    let recorder = Recorder::new();
    let node = Running::start(settings, &recorder);
    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!(serve.version, 0);
    stream.push(Mode::Serve, 3, "n", &sign(&manifest_of(&directory.path().join("cache/serve.json"))));
    assert!(stream.request().await.error.is_none());
    assert_eq!(plane.fetches().len(), 1, "the other one was good");
    recorder.assert_files();
    node.stop().await;
}

/// The manifest that a file of the cache holds.
fn manifest_of(path: &Path) -> hotlist::intel::manifest::Manifest {
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let signed: hotlist::intel::manifest::Signed = serde_json::from_value(file["value"].clone()).unwrap();
    hotlist::intel::manifest::Manifest::parse(&signed.manifest).unwrap()
}

/// Guarantee: the settings of now decide, not those under which it was taken.
#[tokio::test(flavor = "multi_thread")]
async fn it_must_be_sound_by_the_settings_of_now() {
    let directory = tempfile::tempdir().unwrap();
    let (settings, _) = served(directory.path()).await;
    let other_key = Settings { trusted: vec![stranger().public()], ..settings.clone() };
    assert_eq!(started(&other_key).await.0, None);
    let other_audience = Settings { audience: "acme/new".to_owned(), ..settings.clone() };
    assert_eq!(started(&other_audience).await.0, None);
    assert_eq!(started(&settings).await.0, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_serve_it_is_no_reason_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let (settings, _) = served(directory.path()).await;
    let recorder = Recorder::new();
    recorder.refuse(3);
    let node = Running::start(settings.clone(), &recorder);
    assert_eq!(recorder.version(Mode::Serve), None);
    node.stop().await;
    assert_eq!(started(&settings).await.0, Some(3));
}

/// Scenario: the client is stopped while a version is prepared. Guarantee: that version is never activated.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_service_when_it_stops_never_will_be() {
    let directory = tempfile::tempdir().unwrap();
    let (mut settings, _) = served(directory.path()).await;
    let mut plane = Plane::start().await;
    settings.endpoint = Endpoint::parse(&format!("http://{}", plane.address)).unwrap();
    let recorder = Recorder::new();
    recorder.hold(4);
    let node = Running::start(settings.clone(), &recorder);
    let (stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 4, "n", &super::common::bare(4));
    recorder.until("it has begun", |notes| notes.begun.contains(&(Mode::Serve, 4))).await;
    node.stop().await;
    assert_eq!(recorder.version(Mode::Serve), Some(3));
    assert_eq!(started(&settings).await.0, Some(3));
}

/// Guarantee: what blocks at start needs no runtime, so that it can be done before there is one.
#[test]
fn it_opens_without_a_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path(), "127.0.0.1:1".parse().unwrap());
    let client = open(&settings, &Recorder::new()).unwrap();
    assert!(!client.status().borrow().is_connected);
}
