//! Several control planes on one store, and the end of one.

use hotlist::controlplane::server::{Limits, Quota};
use hotlist::proto::control::v1::{NodeStatus, Slot};
use tonic::Code;

use crate::common::{Agent, Plane, Scene};

/// Scenario: two control planes serve one store, a node at each, and a node moves from one to the other. Guarantee: a
/// publication reaches both, each knows all nodes, and the end of the old stream does not hide the new one.
#[tokio::test]
async fn control_planes_share_a_store() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let (one, two) = (Plane::start(&scene).await, Plane::start(&scene).await);
    let (mut first, mut second) = (one.node("n1", &[]).await, two.node("n2", &[("tenant", "b")]).await);
    for node in [&mut first, &mut second] {
        node.ask(Slot::Serve, 0, 0).await;
        let response = node.next().await;
        node.ack(&response).await;
    }
    scene.publish("all", &[], &[]);
    for node in [&mut first, &mut second] {
        assert_eq!(node.next_version().await, (Slot::Serve, 2));
    }
    for plane in [&one, &two] {
        let nodes = plane.nodes_when(|nodes| nodes.iter().filter(|node| node.slots[0].version == 1).count() == 2).await;
        let seen: Vec<_> = nodes.iter().map(|node| (node.tenant.as_str(), node.slots[0].wanted_version)).collect();
        assert_eq!(seen, [("", 2), ("b", 2)]);
    }

    let mut moved = two.node("n1", &[]).await;
    moved.ask(Slot::Serve, 2, 0).await;
    two.nodes_when(|nodes| nodes[0].slots[0].version == 2).await;
    first.finish().await;
    assert!(two.nodes().await[0].connected, "the new stream counts");
}

/// Scenario: a control plane is stopped while nodes have streams. Guarantee: the nodes get a status at once that means
/// to connect again, the control plane does not wait for them, and the store shows that they are gone.
#[tokio::test]
async fn a_control_plane_that_ends_sends_its_nodes_away() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let (one, two) = (Plane::start(&scene).await, Plane::start(&scene).await);
    let mut node = one.node("n1", &[]).await;
    node.ask(Slot::Serve, 1, 0).await;
    two.nodes_when(|nodes| nodes.iter().any(|node| node.connected)).await;
    one.end().await;
    let status = node.try_next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("connect again"), "{status}");
    assert!(!two.nodes().await[0].connected);
}

/// Scenario: five hundred nodes, and a publication. Guarantee: every one gets it, and the
/// store knows all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_reaches_every_node() {
    const NODES: usize = 500;
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let syncs = Quota { connection: 50, ..Limits::default().syncs };
    let plane = Plane::start_within(&scene, None, Limits { syncs, ..Limits::default() }).await;
    let mut nodes = Vec::new();
    // A connection takes 64 calls.
    for first in (0..NODES).step_by(50) {
        let channel = plane.channel().await;
        for number in first..first + 50 {
            let mut node = Agent::open(channel.clone(), &format!("n{number}"), &[]).await;
            node.ask(Slot::Serve, 0, 0).await;
            nodes.push(node);
        }
    }
    for version in [1, 2] {
        for node in &mut nodes {
            let response = node.next().await;
            assert_eq!(response.version, version);
            node.ack(&response).await;
        }
        if version == 1 {
            scene.publish("all", &[], &[]);
        }
    }
    let done = |nodes: &[NodeStatus]| nodes.iter().filter(|node| node.slots[0].version == 2).count() == NODES;
    plane.nodes_when(done).await;
    plane.end().await;
}
