//! The answers of a node: when it acknowledges, and the reason when it refuses.

use hotlist::intel::manifest::Mode;
use hotlist::proto::control::v1::{SyncRequest, SyncResponse};
use tonic::Code;

use super::common::{
    Running, bare, key, manifest, metrics, noise, series, settings, sign, sign_with, stranger, timing,
};
use super::plane::{Plane, slot};
use super::recorder::Recorder;
use hotlist::provider::control::Timing;

/// A refusal: version still serving, code, text.
fn refusal(request: &SyncRequest) -> (u64, Code, String) {
    let error = request.error.clone().unwrap_or_else(|| panic!("no refusal: {request:?}"));
    (request.version, Code::from_i32(error.code.try_into().unwrap()), error.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_say_who_it_is_and_what_serves() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let node = Running::start(settings(directory.path(), plane.address), &Recorder::new());
    let (_stream, [serve, shadow]) = plane.greeted().await;
    let who = serve.node.unwrap();
    assert_eq!((who.name.as_str(), who.labels["zone"].as_str()), ("node-1", "b"));
    assert_eq!(who.software, env!("CARGO_PKG_VERSION"));
    assert_eq!((serve.slot, serve.version, serve.nonce.as_str()), (slot(Mode::Serve).into(), 0, ""));
    assert_eq!((shadow.slot, shadow.version), (slot(Mode::Shadow).into(), 0));
    assert!(serve.error.is_none() && serve.refused_version == 0 && shadow.node.is_none());
    assert_eq!(serve.statistics.unwrap().hits, 4);
    node.stop().await;
}

/// Guarantee: an acknowledgement comes when the version serves, and not before.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_acknowledged_when_it_serves() {
    metrics();
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.hold(7);
    let applied = series("hotlist_control_applied_total{slot=\"serve\"}");
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let segment = noise(1, 2500);
    plane.hold(&segment);
    stream.push(Mode::Serve, 7, "n1", &sign(&manifest(7, &[&segment])));
    recorder.until("it is being made ready", |notes| notes.begun.contains(&(Mode::Serve, 7))).await;
    assert!(stream.is_silent());
    assert_eq!(recorder.version(Mode::Serve), None);
    recorder.release(7);
    let answer = stream.request().await;
    assert_eq!((answer.slot, answer.version, answer.nonce.as_str()), (slot(Mode::Serve).into(), 7, "n1"));
    // Statistics come with it: they say whether the canary is found in this version.
    assert!(answer.error.is_none() && answer.statistics.is_some());
    assert_eq!(recorder.version(Mode::Serve), Some(7));
    assert!(series("hotlist_control_applied_total{slot=\"serve\"}") > applied);
    node.stop().await;
}

/// Guarantee: every invalid response is refused for its own reason, and the previous version stays active.
#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_says_why_and_what_still_serves() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.refuse(19);
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 5, "good", &bare(5));
    assert_eq!(stream.request().await.version, 5);

    let other = |change: fn(&mut hotlist::intel::manifest::Manifest)| {
        let mut manifest = manifest(9, &[]);
        change(&mut manifest);
        sign(&manifest)
    };
    let damaged = {
        let mut signed = bare(9);
        let at = signed.manifest.windows(4).position(|four| four == b"true").unwrap();
        signed.manifest.splice(at..at + 4, *b"null");
        signed.signatures = vec![key().sign(&signed.manifest)];
        signed
    };
    let hostile = {
        let manifest = b"{\"x\\n2026-11-29T00:00:00Z ERROR forged\\u001b[31m\": 1}".to_vec();
        hotlist::intel::manifest::Signed { signatures: bare(9).signatures, manifest }
    };
    let changed = {
        let mut signed = bare(9);
        let at = signed.manifest.windows(6).position(|six| six == b"\"feed\"").unwrap();
        signed.manifest[at + 8] ^= 1;
        signed
    };
    let unsigned = hotlist::intel::manifest::Signed { signatures: Vec::new(), ..bare(9) };
    let cases = [
        (9, damaged, Code::InvalidArgument, "rules[0].enabled"),
        (9, hostile, Code::Unauthenticated, "were changed after signing"),
        (9, changed, Code::Unauthenticated, "were changed after signing"),
        (9, unsigned, Code::Unauthenticated, "is not signed"),
        (9, sign_with(&[&stranger()], &manifest(9, &[])), Code::Unauthenticated, "trusted here are"),
        (9, other(|manifest| manifest.audience = "acme/other".to_owned()), Code::PermissionDenied, "`acme/other`"),
        (9, other(|manifest| manifest.mode = Mode::Shadow), Code::FailedPrecondition, "has the mode `shadow`"),
        (8, bare(9), Code::InvalidArgument, "the response has version 8"),
        (4, bare(4), Code::FailedPrecondition, "version 4 is older than 5"),
        (5, other(|manifest| manifest.version = 5), Code::FailedPrecondition, "other content"),
        (
            9,
            other(|manifest| manifest.expires = Some(manifest.issued + jiff::SignedDuration::from_hours(1))),
            Code::FailedPrecondition,
            "expired at",
        ),
        (0, bare(9), Code::FailedPrecondition, "cannot be emptied"),
        (19, bare(19), Code::Internal, "version 19 makes no snapshot"),
    ];
    for (number, (version, mut signed, code, text)) in cases.into_iter().enumerate() {
        if text == "other content" {
            let mut manifest = manifest(5, &[]);
            manifest.rules.clear();
            signed = sign(&manifest);
        }
        let nonce = format!("bad-{number}");
        stream.push(Mode::Serve, version, &nonce, &signed);
        let answer = stream.request().await;
        let (serving, found, message) = refusal(&answer);
        assert_eq!((answer.nonce, answer.slot, serving), (nonce, slot(Mode::Serve).into(), 5), "{text}");
        assert_eq!(found, code, "{message}");
        assert!(message.contains(text) && message.contains(';'), "{text}: {message}");
        assert_eq!(recorder.version(Mode::Serve), Some(5));
    }
    // An additional key does no harm.
    stream.push(Mode::Serve, 20, "good", &sign_with(&[&stranger(), &key()], &manifest(20, &[])));
    assert_eq!(stream.request().await.version, 20);
    assert_eq!(recorder.notes().published, [(Mode::Serve, 5), (Mode::Serve, 20)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_trusted_keys_nothing_needs_a_signature() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let mut settings = settings(directory.path(), plane.address);
    settings.trusted.clear();
    let node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "n", &sign_with(&[], &manifest(1, &[])));
    assert!(stream.request().await.error.is_none());
    node.stop().await;
}

/// Guarantee: a response that comes again, with the same nonce or another, changes nothing and is answered again.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_is_answered_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let segment = noise(1, 100);
    plane.hold(&segment);
    let signed = sign(&manifest(3, &[&segment]));
    for nonce in ["a", "a", "b", "a"] {
        stream.push(Mode::Serve, 3, nonce, &signed);
        let answer = stream.request().await;
        assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (3, nonce, None));
    }
    assert_eq!(recorder.notes().published, [(Mode::Serve, 3)]);
    assert_eq!(plane.fetches().len(), 1);
    for nonce in ["c", "c"] {
        stream.push(Mode::Serve, 2, nonce, &bare(2));
        assert_eq!(refusal(&stream.request().await).1, Code::FailedPrecondition);
    }
    node.stop().await;
}

/// Scenario: the same version comes again, with another nonce, while it is being made ready. Guarantee: one piece of
/// work, and the last nonce is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_on_its_way_is_not_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.hold(3);
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    for nonce in ["a", "b", "c"] {
        stream.push(Mode::Serve, 3, nonce, &bare(3));
    }
    // Refused at once, so everything before it has been looked at.
    stream.push(Mode::Serve, 2, "d", &bare(2));
    assert_eq!(stream.request().await.nonce, "d");
    recorder.release(3);
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (3, "c", None));
    assert_eq!(recorder.notes().begun, [(Mode::Serve, 3)]);
    node.stop().await;
}

/// Scenario: what was signed is signed by another key, too. Guarantee: the new signatures are kept, so that a node that
/// trusts only the new key serves it after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn new_signatures_over_the_same_bytes_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let mut settings = settings(directory.path(), plane.address);
    settings.trusted.push(stranger().public());
    let node = Running::start(settings.clone(), &recorder);
    let (mut stream, _) = plane.greeted().await;
    let manifest = manifest(3, &[]);
    for keys in [vec![key()], vec![key(), stranger()]] {
        let keys: Vec<_> = keys.iter().collect();
        stream.push(Mode::Serve, 3, "n", &sign_with(&keys, &manifest));
        assert!(stream.request().await.error.is_none());
    }
    node.stop().await;
    settings.trusted = vec![stranger().public()];
    let node = Running::start(settings, &recorder);
    assert_eq!(plane.greeted().await.1[0].version, 3);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_break_the_rules_are_refused_or_end_the_stream() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let mut node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.send(SyncResponse { slot: 77, version: 1, nonce: "n".to_owned(), ..SyncResponse::default() });
    let answer = stream.request().await;
    assert_eq!((answer.slot, answer.nonce.as_str()), (77, "n"));
    assert_eq!(refusal(&answer).1, Code::InvalidArgument);
    for nonce in [String::new(), "x".repeat(257)] {
        stream.push(Mode::Serve, 1, &nonce, &bare(1));
        stream.ended().await;
        stream = plane.greeted().await.0;
    }
    stream.push(Mode::Serve, 1, "fine", &bare(1));
    assert_eq!(stream.request().await.version, 1);
    node.until("all is well", hotlist::provider::control::Status::is_good).await;
    node.stop().await;
}

/// Guarantee: statistics come by themselves, and are no answer to anything.
#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_reported_now_and_then() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let mut settings = settings(directory.path(), plane.address);
    settings.timing = Timing { report: std::time::Duration::from_millis(20), ..timing() };
    let node = Running::start(settings, &Recorder::new());
    let (mut stream, _) = plane.greeted().await;
    for _ in 0..3 {
        let report = stream.request().await;
        assert!(report.nonce.is_empty() && report.error.is_none() && report.node.is_none());
        assert_eq!(report.statistics.unwrap().newest_feed_age_seconds, 2);
    }
    node.stop().await;
}
