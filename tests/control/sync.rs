//! The Sync stream: what is sent when, by the rules of xDS. That nothing was sent is shown by what comes first after
//! something that must be sent: responses are in the order of their reasons.

use std::time::{Duration, Instant};

use hotlist::intel::manifest::{Manifest, Mode};
use hotlist::proto::control::v1::{Slot, Statistics, SyncRequest};

use crate::common::{Plane, Scene};

/// Scenario: a node without anything asks. Guarantee: it gets the exact bytes that were published, and once it has
/// acknowledged them nothing until there is a new version, which comes at once.
#[tokio::test]
async fn an_acknowledged_version_is_followed_by_newer_ones_only() {
    let scene = Scene::new();
    let first = scene.publish("all", &[], &[scene.segment(b"one")]);
    let plane = Plane::start(&scene).await;
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    let response = node.next().await;
    assert_eq!((response.slot(), response.version), (Slot::Serve, 1));
    assert_eq!(response.manifest, first.bytes);
    assert_eq!(Manifest::parse(&response.manifest).unwrap().segments.len(), 1);
    node.ack(&response).await;
    let mut delays = Vec::new();
    for version in 2..12 {
        let before = Instant::now();
        scene.publish("all", &[], &[]);
        let response = node.next().await;
        assert_eq!((response.slot(), response.version), (Slot::Serve, version));
        delays.push(before.elapsed());
        node.ack(&response).await;
    }
    // With what publishing takes. Without a notice of the change it would be half a second.
    delays.sort();
    assert!(delays[5] < Duration::from_millis(300), "{delays:?}");
}

/// Scenario: a node refuses a version. Guarantee: it is not sent again on the stream, nor on a new one that names it;
/// the next one is, and the reason is known.
#[tokio::test]
async fn a_refused_version_is_not_sent_again() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    let response = node.next().await;
    node.nack(&response, 0, "the audience is another one").await;
    scene.publish_as(Mode::Shadow, "all", &[], &[]);
    node.ask(Slot::Shadow, 0, 0).await;
    assert_eq!(node.next_version().await, (Slot::Shadow, 2), "version 1 does not come again");
    let nodes = plane.nodes_when(|nodes| nodes[0].slots.iter().any(|slot| slot.refused_version == 1)).await;
    let slot = &nodes[0].slots[0];
    assert_eq!((slot.version, slot.wanted_version), (0, 1));
    assert_eq!(slot.error.as_ref().unwrap().message, "the audience is another one");
    node.finish().await;

    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 0, 1).await;
    node.ask(Slot::Shadow, 0, 0).await;
    assert_eq!(node.next_version().await, (Slot::Shadow, 2));
    let nodes = plane.nodes_when(|nodes| nodes[0].connected).await;
    assert_eq!(nodes[0].slots[0].error.as_ref().unwrap().message, "the audience is another one", "it is remembered");
    scene.publish("all", &[], &[]);
    let response = node.next().await;
    assert_eq!((response.slot(), response.version), (Slot::Serve, 3));
    node.ack(&response).await;
    plane.nodes_when(|nodes| nodes[0].slots[0].version == 3 && nodes[0].slots[0].error.is_none()).await;
}

/// Scenario: a new version comes while one is being applied, then the answers. Guarantee: the new one is sent without
/// waiting, the answer to the old one changes nothing, nor does one to a nonce that never was.
#[tokio::test]
async fn a_newer_version_supersedes_and_stale_answers_are_ignored() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    let old = node.next().await;
    scene.publish("all", &[], &[]);
    let new = node.next().await;
    assert_eq!((old.version, new.version), (1, 2));
    assert_ne!(old.nonce, new.nonce);
    node.nack(&old, 0, "too late").await;
    let mut malformed = new.clone();
    malformed.nonce = "never".to_owned();
    node.nack(&malformed, 0, "nothing was sent so").await;
    node.ack(&old).await;
    node.ask(Slot::Shadow, 0, 0).await;
    scene.publish_as(Mode::Shadow, "all", &[], &[]);
    assert_eq!(node.next_version().await, (Slot::Shadow, 3), "version 2 does not come again");
    node.ack(&new).await;
    let nodes = plane.nodes_when(|nodes| nodes[0].slots[0].version == 2).await;
    assert_eq!(nodes[0].slots[0].refused_version, 0);
}

/// Scenario: a node connects again with the active version, or with an earlier one. Guarantee: it gets nothing, or the
/// newest version.
#[tokio::test]
async fn a_node_that_comes_back_gets_what_it_has_not() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    scene.publish("all", &[], &[]);
    scene.publish_as(Mode::Shadow, "all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 2, 0).await;
    node.ask(Slot::Shadow, 0, 0).await;
    assert_eq!(node.next_version().await, (Slot::Shadow, 3));
    node.finish().await;
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 1, 0).await;
    assert_eq!(node.next_version().await, (Slot::Serve, 2));
}

/// Scenario: publications for all, for a zone, and for a tenant's zone. Guarantee: a node gets the one with the most
/// labels of those that it has all labels of; of two alike the first by name.
#[tokio::test]
async fn the_most_specific_publication_is_sent() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    scene.publish("zone", &[("zone", "eu")], &[]);
    scene.publish("both", &[("zone", "eu"), ("tenant", "acme")], &[]);
    scene.publish("a-group", &[("group", "x"), ("zone", "eu")], &[]);
    let plane = Plane::start(&scene).await;
    for (name, labels, version) in [
        ("n1", &[][..], 1),
        ("n2", &[("zone", "us"), ("tenant", "acme")], 1),
        ("n3", &[("zone", "eu"), ("tenant", "other")], 2),
        ("n4", &[("zone", "eu"), ("tenant", "acme")], 3),
        ("n5", &[("zone", "eu"), ("tenant", "acme"), ("group", "x")], 4),
    ] {
        let mut node = plane.node(name, labels).await;
        node.ask(Slot::Serve, 0, 0).await;
        assert_eq!(node.next_version().await, (Slot::Serve, version), "{name}");
    }
}

/// Scenario: the publications of a node go away. Guarantee: its shadow is emptied, what serves stays.
#[tokio::test]
async fn only_the_shadow_is_emptied() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    scene.publish_as(Mode::Shadow, "all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 1, 0).await;
    node.ask(Slot::Shadow, 2, 0).await;
    std::fs::remove_file(scene.file("all", Mode::Serve)).unwrap();
    std::fs::remove_file(scene.file("all", Mode::Shadow)).unwrap();
    let response = node.next().await;
    assert_eq!((response.slot(), response.version), (Slot::Shadow, 0));
    assert!(response.manifest.is_empty() && response.signatures.is_empty());
    node.ack(&response).await;
    scene.publish("all", &[], &[]);
    assert_eq!(node.next_version().await, (Slot::Serve, 3), "a version is not given twice");
}

/// Scenario: the file of a publication is overwritten with garbage while it is served, and is repaired; another control
/// plane starts in between. Guarantee: nothing is taken away, not even by the control plane that never read the good
/// content.
#[tokio::test]
async fn rubbish_takes_nothing_away() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    scene.publish_as(Mode::Shadow, "all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let good = std::fs::read(scene.file("all", Mode::Serve)).unwrap();
    for (name, mode, rubbish) in [
        ("all", Mode::Serve, &b"{\"name\":"[..]),
        ("all", Mode::Shadow, &b""[..]),
        ("other", Mode::Serve, &good[..]),
        ("Bad_name", Mode::Serve, b"{}"),
    ] {
        std::fs::write(scene.file(name, mode), rubbish).unwrap();
    }
    // A control plane that has read this file has read the garbage, too.
    scene.publish("zone", &[("zone", "eu")], &[]);
    let mut seen = plane.node("n0", &[("zone", "eu")]).await;
    seen.ask(Slot::Serve, 1, 0).await;
    assert_eq!(seen.next_version().await, (Slot::Serve, 3));
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    assert_eq!(node.next_version().await, (Slot::Serve, 1), "the last good content");

    let late = Plane::start(&scene).await;
    let mut node = late.node("n2", &[]).await;
    node.ask(Slot::Serve, 1, 0).await;
    node.ask(Slot::Shadow, 2, 0).await;
    scene.publish("all", &[], &[]);
    assert_eq!(node.next_version().await, (Slot::Serve, 4), "the shadow was not emptied");
}

/// Scenario: a node reports what it counted, with a slot and without. Guarantee: nothing is answered, and operators see
/// it.
#[tokio::test]
async fn statistics_are_no_answer_and_are_shown() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let mut node = plane.node("n1", &[("zone", "eu")]).await;
    node.ask(Slot::Serve, 0, 0).await;
    let response = node.next().await;
    for slot in [Slot::Unspecified, Slot::Serve] {
        let events = 7 + slot as u64;
        let statistics = Some(Statistics { events, hits: 2, indicators: 3, newest_feed_age_seconds: 4, canary: 0 });
        node.send(SyncRequest { slot: slot.into(), statistics, ..SyncRequest::default() }).await;
    }
    node.ack(&response).await;
    let nodes = plane.nodes_when(|nodes| nodes[0].slots.iter().any(|slot| slot.version == 1)).await;
    let known = nodes[0].node.as_ref().unwrap();
    assert_eq!((known.name.as_str(), known.labels["zone"].as_str(), known.software.as_str()), ("n1", "eu", "test"));
    assert_eq!(
        nodes[0].statistics.unwrap(),
        Statistics { events: 8, hits: 2, indicators: 3, newest_feed_age_seconds: 4, canary: 0 }
    );
    assert!(nodes[0].connected);
    node.finish().await;
    plane.nodes_when(|nodes| !nodes[0].connected).await;
}
