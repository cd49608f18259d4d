//! Nodes by their names: two that have one, and one that is gone and removed. Real servers, clients and commands.

use std::time::Duration;

use hotlist::proto::control::v1::operator_client::OperatorClient;
use hotlist::proto::control::v1::{NodeStatus, RemoveNodeRequest, Slot, Statistics, SyncRequest};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tonic::Code;

use crate::certificates::{Authority, connect};
use crate::common::{Agent, Plane, Scene};
use crate::parts::assert_line;
use crate::process::{Process, complains, dial, prints};

/// The statistics that a node sends every ten seconds.
async fn report(agent: &mut Agent) {
    agent.send(SyncRequest { statistics: Some(Statistics::default()), ..SyncRequest::default() }).await;
}

/// Both report until the nodes are as wanted.
async fn reporting(plane: &Plane, agents: &mut [&mut Agent], wanted: impl Fn(&NodeStatus) -> bool) -> NodeStatus {
    let end = Instant::now() + crate::common::PATIENCE;
    loop {
        for agent in &mut *agents {
            report(agent).await;
        }
        let nodes = plane.nodes().await;
        if let Some(node) = nodes.into_iter().next().filter(&wanted) {
            return node;
        }
        assert!(Instant::now() < end, "the node never is as wanted");
        // The store is updated once a second, and there is no notification.
        sleep_until(Instant::now() + Duration::from_millis(200)).await;
    }
}

/// Scenario: two processes sync under one name, over connections of their own, to one control plane or to two that
/// share a store; one sends its instance and the other is an older client that does not. Guarantee: both get what is
/// published, and the node is shown with the addresses of both, until one is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_under_one_name_are_shown() {
    for shared in [false, true] {
        let scene = Scene::new();
        scene.publish("all", &[], &[]);
        let one = Plane::start(&scene).await;
        let other = if shared { Some(Plane::start(&scene).await) } else { None };
        let second_plane = other.as_ref().unwrap_or(&one);
        let mut first = Agent::open_as(one.channel().await, "n1", "a-process").await;
        let mut second = second_plane.node("n1", &[]).await;
        for agent in [&mut first, &mut second] {
            agent.ask(Slot::Serve, 0, 0).await;
            let response = agent.next().await;
            assert_eq!(response.version, 1, "a mistake in names stops nobody");
            agent.ack(&response).await;
        }
        let node = reporting(&one, &mut [&mut first, &mut second], |node| node.instances.len() == 2).await;
        let ids: Vec<&str> = node.instances.iter().map(|one| one.id.as_str()).collect();
        assert!(ids[0] == "a-process" && ids[1].starts_with("stream-"), "{ids:?}");
        assert!(node.instances.iter().all(|one| one.address.starts_with("127.0.0.1:") && one.age_seconds < 30));
        assert_ne!(node.instances[0].address, node.instances[1].address);
        second.finish().await;
        let node = reporting(&one, &mut [&mut first], |node| node.instances.len() == 1).await;
        assert!(node.connected && node.instances[0].id == "a-process", "{node:?}");
    }
}

/// Scenario: a process opens a second stream before its first one has ended, and reports on both for longer than two
/// streams of two processes would take to be shown; then another process takes the name over, and the first process
/// sends nothing more although its connection stays open. Guarantee: neither is a second node, and the reports of the
/// newer process count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_is_not_a_second_one() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let mut old = Agent::open_as(plane.channel().await, "n1", "p").await;
    old.ask(Slot::Serve, 0, 0).await;
    old.next().await;
    let mut new = Agent::open_as(plane.channel().await, "n1", "p").await;
    new.ask(Slot::Serve, 1, 0).await;
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        reporting(&plane, &mut [&mut old, &mut new], |node| node.connected && node.instances.len() == 1).await;
    }
    let mut restarted = Agent::open_as(plane.channel().await, "n1", "q").await;
    restarted.ask(Slot::Serve, 1, 0).await;
    let node =
        reporting(&plane, &mut [&mut restarted], |node| node.instances.first().is_some_and(|of| of.id == "q")).await;
    assert_eq!(node.slots[0].version, 1);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let node = reporting(&plane, &mut [&mut restarted], |_| true).await;
        assert_eq!(node.instances.len(), 1, "{node:?}");
    }
    new.finish().await;
    let nodes = plane.nodes().await;
    assert!(nodes[0].connected, "the end of the old process does not hide the new one");
    drop(old);
}

/// Scenario: the same at a process, as an operator sees it. Guarantee: table, JSON, log and metric name it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_two_nodes_under_one_name() {
    let scene = Scene::new();
    let process = Process::start(&scene, &[]);
    let mut first = Agent::open_as(dial(&process.address).await, "n1", "a").await;
    let mut second = Agent::open_as(dial(&process.address).await, "n1", "b").await;
    let endpoint = format!("http://{}", process.address);
    let nodes = ["nodes", "--endpoint", &endpoint];
    let seen = loop {
        report(&mut first).await;
        report(&mut second).await;
        let json: Value =
            serde_json::from_str(&prints(scene.path(), &[&nodes[..], &["--json"]].concat())).unwrap_or_default();
        if json["instances"].as_array().is_some_and(|all| all.len() == 2) {
            break json;
        }
    };
    assert_eq!((&seen["instances"][0]["id"], &seen["instances"][1]["id"]), (&"a".into(), &"b".into()));
    let table = prints(scene.path(), &nodes);
    assert_line(&table, &["2 times"]);
    assert_line(&table, &["n1", "2 processes", "127.0.0.1:"]);
    assert_line(&table, &["`intel.control.node`"]);
    let line = process.wait_for("use the same node name");
    assert!(line.contains("node=\"n1\"") && line.contains("others=[\"127.0.0.1:"), "{line}");
    let metrics = process.admin("/metrics").await;
    let gauge = metrics.lines().find(|line| line.starts_with("hotlist_control_plane_duplicate_nodes ")).unwrap();
    assert!(["1", "2"].contains(&gauge.split(' ').nth(1).unwrap()), "{gauge}");
    for bad in ["\u{7f}", &"x".repeat(65), "a b"] {
        let mut malformed = Agent::open_as(dial(&process.address).await, "n2", bad).await;
        malformed.ask(Slot::Serve, 0, 0).await;
        assert_eq!(malformed.try_next().await.unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
}

/// Scenario: a node that goes, with alerts of its own; it is removed while it is connected, after it has gone, and once
/// more; then it comes back. Guarantee: the first is refused, the second removes it, the third does not know it, each
/// names the node; it is listed again when it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_is_removed_and_comes_back() {
    let scene = Scene::new();
    let process = Process::start(&scene, &[]);
    let endpoint = format!("http://{}", process.address);
    let run = |more: &[&str]| prints(scene.path(), &[&["nodes", "--endpoint", &endpoint], more].concat());
    let fails = |more: &[&str]| complains(scene.path(), &[&["nodes", "--endpoint", &endpoint], more].concat());
    let remove = ["remove", "n1", "--tenant", "acme"];
    let listed = |wanted: &str| {
        let end = std::time::Instant::now() + crate::common::PATIENCE;
        while !run(&[]).contains(wanted) {
            assert!(std::time::Instant::now() < end, "{wanted} is never listed: {}", run(&[]));
        }
    };
    let mut node = Agent::open(dial(&process.address).await, "n1", &[("tenant", "acme")]).await;
    node.ask(Slot::Serve, 0, 0).await;
    listed("n1");
    let refused = fails(&remove);
    assert_line(&refused, &["FAILED_PRECONDITION", "n1", "tenant acme", "connected", "stop it"]);
    node.finish().await;
    let alerts = scene.store.root().join("alerts/acme/n1");
    std::fs::create_dir_all(&alerts).unwrap();
    std::fs::write(alerts.join("x.ndjson"), "{}\n").unwrap();
    let refused = fails(&["remove", "n1"]);
    assert_line(&refused, &["NOT_FOUND", "n1", "without a tenant", "tenant acme"]);
    let removed = run(&remove);
    assert_line(&removed, &["removed", "n1", "tenant acme", "1 file", "alerts", "3 bytes", "kept", "--alerts"]);
    assert_eq!(run(&[]), "no nodes\n");
    assert!(alerts.join("x.ndjson").exists());
    assert_line(&fails(&remove), &["NOT_FOUND", "n1", "tenant acme"]);
    assert!(fails(&["remove", "../n1"]).contains("INVALID_ARGUMENT: name: "));

    let mut node = Agent::open(dial(&process.address).await, "n1", &[("tenant", "acme")]).await;
    node.ask(Slot::Serve, 0, 0).await;
    listed("n1");
    node.finish().await;
    let removed = run(&[&remove[..], &["--alerts"]].concat());
    assert_line(&removed, &["removed", "n1", "tenant acme", "1 file", "alerts", "3 bytes"]);
    assert!(!alerts.exists());
    let metrics = process.admin("/metrics").await;
    for line in [
        "hotlist_control_plane_removed_nodes_total 2",
        "hotlist_control_plane_refusals_total{call=\"remove_node\",status=\"failed_precondition\"} 1",
        "hotlist_control_plane_refusals_total{call=\"remove_node\",status=\"not_found\"} 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}:\n{metrics}");
    }
    assert!(process.wait_for("node removed").contains("node=\"n1\""));
}

/// Scenario: the certificate of a node asks to remove this node. Guarantee: it may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_remove_nodes() {
    let scene = Scene::new();
    let authority = Authority::new();
    let tls = authority.files(scene.path(), &authority.sign());
    let plane = Plane::start_with(&scene, Some(&tls)).await;
    let shows = authority.client(&["spiffe://x/tenant/a/node/n1"]);
    let channel = connect(&plane.address, &authority, Some(&shows)).await.unwrap();
    let request = RemoveNodeRequest { tenant: "a".to_owned(), name: "n1".to_owned(), alerts: true };
    let status = OperatorClient::new(channel).remove_node(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}
