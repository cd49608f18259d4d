//! Fetching segments: an interrupted fetch continues where it was, and wrong content is never activated.

use std::time::Duration;

use hotlist::intel::manifest::Mode;
use hotlist::provider::control::{Settings, Timing};
use tonic::Code;

use super::common::{Running, manifest, metrics, noise, part_path, segment_path, series, settings, sign, timing};
use super::plane::{Node, Plane, Trick};
use super::recorder::Recorder;

struct Setup {
    directory: tempfile::TempDir,
    plane: Plane,
    stream: Node,
    node: Running,
    recorder: std::sync::Arc<Recorder>,
}

async fn setup() -> Setup {
    setup_with(timing()).await
}

async fn setup_with(timing: Timing) -> Setup {
    metrics();
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let node = Running::start(Settings { timing, ..settings(directory.path(), plane.address) }, &recorder);
    let stream = plane.greeted().await.0;
    Setup { directory, plane, stream, node, recorder }
}

/// Guarantee: however often a fetch breaks off, it continues at the byte after the last one that arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_breaks_off_goes_on_at_the_right_offset() {
    let Setup { directory: _directory, plane, mut stream, node, recorder } = setup().await;
    let segment = noise(1, 10_000);
    let digest = plane.hold(&segment);
    let (resumed, bytes) =
        (series("hotlist_control_resumed_fetches_total"), series("hotlist_control_fetched_bytes_total"));
    for trick in [
        Trick::Break(3000, Code::Unavailable),
        Trick::End(2500),
        Trick::Hang(1),
        Trick::Break(0, Code::Internal),
        Trick::Break(1200, Code::ResourceExhausted),
        Trick::Refuse(Code::Unavailable),
        Trick::Empty,
    ] {
        plane.trick(digest, trick);
    }
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&segment])));
    assert!(stream.request().await.error.is_none());
    let offsets: Vec<u64> = plane.fetches().into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, [0, 3000, 5500, 5501, 5501, 6701, 6701, 6701]);
    recorder.assert_files();
    assert!(series("hotlist_control_resumed_fetches_total") >= resumed + 5.0);
    assert!(series("hotlist_control_fetched_bytes_total") >= bytes + 10_000.0);
    node.stop().await;
}

/// Scenario: a segment arrives so slowly that it is late, after some of it arrived, and breaks off again. Guarantee:
/// the fetch continues at the byte after the last one, over a connection whose threads do not run at idle priority;
/// later fetches, slow or not, stay on that connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_late_goes_on_over_another_connection() {
    let patience = Duration::from_secs(2);
    let Setup { directory: _directory, plane, mut stream, node, recorder } =
        setup_with(Timing { patience, ..timing() }).await;
    let segment = noise(1, 10_000);
    let digest = plane.hold(&segment);
    plane.trick(digest, Trick::Slow(Duration::from_millis(300)));
    plane.trick(digest, Trick::Break(1000, Code::Unavailable));
    plane.trick(digest, Trick::Slow(Duration::from_millis(300)));
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&segment])));
    assert!(stream.request().await.error.is_none());
    let offsets: Vec<u64> = plane.fetches().into_iter().map(|(_, offset)| offset).collect();
    let [0, late, again] = offsets[..] else { panic!("{offsets:?}") };
    assert!((1000..10_000).contains(&late), "{offsets:?}");
    assert_eq!(again, late + 1000);
    let peers = plane.peers();
    assert_ne!(peers[0], peers[1]);
    assert_eq!(peers[1], peers[2]);
    recorder.assert_files();
    node.stop().await;
}

/// Guarantee: bytes that are not those that the manifest names are refused and deleted, however they are wrong.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_refused_and_deleted() {
    let Setup { directory, plane, mut stream, node, recorder } = setup().await;
    let segment = noise(1, 5000);
    let digest = plane.hold(&segment);
    let mut flipped = segment.clone();
    flipped[4999] ^= 1;
    let tricks = [
        (Trick::Bytes(flipped), "have the digest"),
        (Trick::Bytes(noise(2, 5000)), "have the digest"),
        (Trick::Bytes(noise(2, 4999)), "4999 bytes, and the manifest"),
        (Trick::Length(5001), "5001 bytes, and the manifest"),
        (Trick::Length(0), "0 bytes, and the manifest"),
        (Trick::Beyond, "longer than the 5000 bytes"),
        (Trick::Endless, "have the digest"),
    ];
    for (version, (trick, text)) in (1..).zip(tricks) {
        plane.trick(digest, trick);
        stream.push(Mode::Serve, version, "n", &sign(&manifest(version, &[&segment])));
        let error = stream.request().await.error.unwrap();
        assert_eq!(Code::from_i32(error.code.try_into().unwrap()), Code::DataLoss);
        assert!(error.message.contains(text), "{text}: {}", error.message);
        assert!(!segment_path(directory.path(), &segment).exists());
        assert!(!part_path(directory.path(), &segment).exists(), "{text}");
    }
    assert!(recorder.notes().begun.is_empty());
    stream.push(Mode::Serve, 50, "n", &sign(&manifest(50, &[&segment])));
    assert!(stream.request().await.error.is_none());
    node.stop().await;
}

/// Scenario: one byte of a half-fetched segment changed on the disk. Guarantee: it is fetched again from the beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_part_is_fetched_again() {
    let Setup { directory, mut plane, mut stream, node, recorder } = setup().await;
    let segment = noise(1, 5000);
    let digest = plane.hold(&segment);
    plane.trick(digest, Trick::Break(2000, Code::Unavailable));
    plane.trick(digest, Trick::Hang(0));
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&segment])));
    plane.fetch().await;
    plane.fetch().await;
    let part = part_path(directory.path(), &segment);
    let mut bytes = std::fs::read(&part).unwrap();
    assert_eq!(bytes, segment[..2000]);
    bytes[7] ^= 1;
    std::fs::write(&part, bytes).unwrap();
    assert!(stream.request().await.error.is_none());
    let offsets: Vec<u64> = plane.fetches().into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, [0, 2000, 2000, 0]);
    recorder.assert_files();
    node.stop().await;
}

/// Scenario: the control plane has not (yet) a segment that it names, then only breaks off. Guarantee: the version is
/// refused with the reason, and taken as soon as the segment can be had, without anybody's doing.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_segment_is_refused_and_tried_again() {
    let Setup { directory: _directory, mut plane, mut stream, mut node, recorder } = setup().await;
    let segment = noise(1, 5000);
    let signed = sign(&manifest(1, &[&segment]));
    stream.push(Mode::Serve, 1, "n", &signed);
    let error = stream.request().await.error.unwrap();
    assert_eq!(Code::from_i32(error.code.try_into().unwrap()), Code::Unavailable);
    assert!(error.message.contains("no such segment"), "{}", error.message);
    node.until("the refusal is told", |status| status.slots[0].refused.is_some()).await;

    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!(serve.refused_version, 0, "it may be sent again");
    let digest = plane.hold(&segment);
    (0..7).for_each(|_| plane.trick(digest, Trick::Break(0, Code::Unavailable)));
    stream.push(Mode::Serve, 1, "n", &signed);
    assert!(stream.request().await.error.unwrap().message.contains("as told"));

    let (mut stream, _) = plane.greeted().await;
    plane.forget_tricks();
    stream.push(Mode::Serve, 1, "n", &signed);
    assert!(stream.request().await.error.is_none());
    node.until("all is well", hotlist::provider::control::Status::is_good).await;
    recorder.assert_files();
    node.stop().await;
}

/// Guarantee: many segments come, each once, and are handed on in the manifest's order.
#[tokio::test(flavor = "multi_thread")]
async fn many_segments_come() {
    let Setup { directory: _directory, plane, mut stream, node, recorder } = setup().await;
    let segments: Vec<Vec<u8>> = (0..60).map(|seed| noise(seed, 100 + usize::from(seed) * 37)).collect();
    for segment in &segments {
        plane.hold(segment);
    }
    let named: Vec<&[u8]> = segments.iter().rev().map(Vec::as_slice).collect();
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &named)));
    assert!(stream.request().await.error.is_none());
    assert_eq!(plane.fetches().len(), 60);
    recorder.assert_files();
    node.stop().await;
}

/// Guarantee: one that is larger than every buffer on the way comes whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_segment_comes() {
    let Setup { directory: _directory, plane, mut stream, node, recorder } = setup().await;
    let segment = noise(1, 5 << 20);
    let digest = plane.hold(&segment);
    plane.trick(digest, Trick::Break(3_500_000, Code::Unavailable));
    stream.push(Mode::Serve, 1, "n", &sign(&manifest(1, &[&segment])));
    assert!(stream.request().await.error.is_none());
    assert_eq!(plane.fetches()[1].1, 3_500_000);
    recorder.assert_files();
    node.stop().await;
}
