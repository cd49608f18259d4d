//! Versions, promotion and the way back, as the store keeps them.

use hotlist::intel::manifest::{Digest, Key, Mode, SegmentRef, Signature, verify};
use hotlist::names::Name;
use hotlist::store::{Draft, KEPT, Publication, PublishError};
use jiff::{SignedDuration, Timestamp};

use crate::common::{Scene, draft};

fn in_force(scene: &Scene, name: &str, mode: Mode) -> Option<Publication> {
    let content = std::fs::read(scene.file(name, mode)).ok()?;
    Some(Publication::parse(&content).unwrap())
}

fn name() -> Name {
    Name::parse("p").unwrap()
}

/// Scenario: serve and shadow of several names and audiences. Guarantee: versions grow an audience, whatever the name
/// and mode, also when files were taken away by hand.
#[test]
fn versions_grow_within_an_audience() {
    let scene = Scene::new();
    let version = |publication: Publication| publication.manifest.version;
    assert_eq!(version(scene.publish("p", &[], &[])), 1);
    assert_eq!(version(scene.publish_as(Mode::Shadow, "p", &[], &[])), 2);
    assert_eq!(version(scene.publish("q", &[], &[])), 3);
    let other = Draft { audience: "other".to_owned(), ..draft("o", &[], &[]) };
    assert_eq!(version(scene.store.publish(other, None, Timestamp::now()).unwrap()), 1);
    std::fs::remove_file(scene.file("q", Mode::Serve)).unwrap();
    std::fs::write(scene.file("p", Mode::Serve), "rubbish").unwrap();
    assert_eq!(version(scene.publish("p", &[], &[])), 4);
    assert_eq!(in_force(&scene, "p", Mode::Serve).unwrap().manifest.version, 4, "it is mended");
}

/// Scenario: two publish at once, many times. Guarantee: no version is made twice.
#[test]
fn a_version_is_made_once() {
    let scene = Scene::new();
    let publish = || (0..10).map(|_| scene.publish("p", &[], &[]).manifest.version).collect::<Vec<_>>();
    let mut versions = std::thread::scope(|scope| {
        let both = [scope.spawn(publish), scope.spawn(publish)];
        both.into_iter().flat_map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    versions.sort_unstable();
    assert_eq!(versions, (1..=20).collect::<Vec<_>>());
}

/// Scenario: a shadow publication is promoted, then rolled back. Guarantee: content and labels are those that were
/// requested, versions are new, the shadow is gone, lifetimes start again, and everything is signed.
#[test]
fn promotion_and_rollback_make_new_versions_of_old_content() {
    let scene = Scene::new();
    let key = Key::from_seed([7; 32]).unwrap();
    let (old, new) = (scene.segment(b"old"), scene.segment(b"new"));
    let day = SignedDuration::from_hours(24);
    let begin = Timestamp::from_second(1_800_000_000).unwrap();
    let publish = |mode, labels: &[(&str, &str)], segment| {
        let draft = Draft { mode, lifetime: Some(day), ..draft("p", labels, &[segment]) };
        scene.store.publish(draft, Some(&key), begin).unwrap()
    };
    publish(Mode::Serve, &[("zone", "eu")], old);
    publish(Mode::Shadow, &[], new);
    let later = begin + day;
    let promoted = scene.store.promote(&name(), None, Some(&key), later).unwrap();
    assert_eq!((promoted.manifest.version, promoted.manifest.mode), (3, Mode::Serve));
    assert_eq!((promoted.manifest.segments.clone(), promoted.labels.len()), (vec![new], 0));
    assert_eq!(promoted.manifest.expires, Some(later + day));
    assert!(in_force(&scene, "p", Mode::Shadow).is_none());
    let written = in_force(&scene, "p", Mode::Serve).unwrap();
    assert_eq!(written.bytes, promoted.bytes);
    assert!(verify(&written.bytes, &written.signatures, &[key.public()]).is_ok());
    assert!(matches!(
        scene.store.promote(&name(), None, Some(&key), later),
        Err(PublishError::Nothing { mode: Mode::Shadow, .. })
    ));
    let back = scene.store.rollback(&name(), 1, Some(day * 2), Some(&key), later).unwrap();
    assert_eq!((back.manifest.version, back.manifest.segments.clone()), (4, vec![old]));
    assert_eq!((back.labels["zone"].as_str(), back.manifest.expires), ("eu", Some(later + day * 2)));
    let error = scene.store.rollback(&name(), 2, None, Some(&key), later).unwrap_err();
    let text = error.to_string();
    for part in ["p: version 2 ", "1, 3, 4 (at most 16)", "`hotlist publications`"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Scenario: the active publication is signed, and no key is given. Guarantee: all three commands refuse.
#[test]
fn a_signature_is_not_left_out_by_mistake() {
    let scene = Scene::new();
    let key = Key::from_seed([7; 32]).unwrap();
    for mode in Mode::ALL {
        scene.store.publish(Draft { mode, ..draft("p", &[], &[]) }, Some(&key), Timestamp::now()).unwrap();
    }
    let now = Timestamp::now();
    let refusals = [
        scene.store.publish(draft("p", &[], &[]), None, now),
        scene.store.promote(&name(), None, None, now),
        scene.store.rollback(&name(), 1, None, None, now),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(PublishError::Unsigned(_))), "{refusal:?}");
    }
}

/// Scenario: more publications than are kept. Guarantee: the last 16 superseded publications and the active one are
/// there.
#[test]
fn history_is_bounded() {
    let scene = Scene::new();
    for _ in 0..KEPT + 5 {
        scene.publish("p", &[], &[]);
    }
    scene.publish("p.serve", &[], &[]);
    let mut versions: Vec<u64> = std::fs::read_dir(scene.store.history())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_prefix("p.serve.")?.strip_suffix(".json")?.parse().ok())
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (5..=21).collect::<Vec<_>>());
}

/// Scenario: segments that are not there, damaged, or of another length. Guarantee: nothing is published.
#[test]
fn only_whole_segments_are_published() {
    let scene = Scene::new();
    let segment = scene.segment(b"whole");
    assert_eq!(scene.store.check_segment(segment.digest).unwrap(), segment);
    let missing = Digest::sha256(b"missing");
    assert!(matches!(scene.store.check_segment(missing), Err(PublishError::NoSegment { .. })));
    let publish = |segment| scene.store.publish(draft("p", &[], &[segment]), None, Timestamp::now());
    assert!(matches!(publish(SegmentRef { digest: missing, bytes: 1 }), Err(PublishError::NoSegment { .. })));
    assert!(matches!(publish(SegmentRef { bytes: 1, ..segment }), Err(PublishError::Length { .. })));
    std::fs::write(scene.store.segment(&segment.digest), b"w0ole").unwrap();
    assert!(matches!(scene.store.check_segment(segment.digest), Err(PublishError::Damaged { .. })));
    assert!(!scene.file("p", Mode::Serve).exists());
}

/// Scenario: files that are almost publications. Guarantee: each is refused with what is wrong.
#[test]
fn a_file_is_a_publication_or_says_why_not() {
    let scene = Scene::new();
    let good = String::from_utf8(scene.publish("p", &[("a", "b")], &[]).to_json().unwrap()).unwrap();
    assert!(Publication::parse(good.as_bytes()).is_ok());
    let signature = serde_json::to_string(&Signature { key_id: "0".repeat(16), signature: vec![0; 64] }).unwrap();
    let many = format!("\"signatures\":[{}]", vec![signature; 65].join(","));
    for (from, to, words) in [
        ("\"p\"", "\"../p\"", "is not a valid name"),
        ("{\"name\"", "{\"extra\":1,\"name\"", "unknown field `extra`"),
        ("\"a\":\"b\"", &format!("\"a\":\"{}\"", "b".repeat(64)), "labels: give at most 32"),
        ("\"manifest\":\"", "\"manifest\":\"!", "is not base64"),
        ("\"manifest\":\"", "\"manifest\":\"AAAA", "its manifest cannot be used"),
        ("\"signatures\":[]", &many, "has 65 signatures"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        let error = Publication::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
