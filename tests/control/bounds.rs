//! Requests that nodes may not send: names that are none, too many labels, messages that break the rules. Each is
//! refused with what is wrong, and nothing is written anywhere.

use hotlist::proto::control::v1::{Node, Slot, SyncRequest};
use tokio_stream::iter;
use tonic::{Code, Status};

use crate::common::{Plane, Scene};

/// The status at the end of a stream with these requests, when nothing is answered before.
async fn refusal(plane: &Plane, requests: Vec<SyncRequest>) -> Status {
    let responses = plane.client().await.sync(iter(requests)).await;
    match responses {
        Ok(responses) => responses.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    }
}

fn first(name: &str, labels: Vec<(String, String)>) -> SyncRequest {
    let node = Some(Node { name: name.to_owned(), labels: labels.into_iter().collect(), ..Node::default() });
    SyncRequest { node, slot: Slot::Serve.into(), ..SyncRequest::default() }
}

/// Scenario: node and tenant names that lead elsewhere. Guarantee: INVALID_ARGUMENT, and no file.
#[tokio::test]
async fn a_name_that_leads_elsewhere_is_refused() {
    let scene = Scene::new();
    let plane = Plane::start(&scene).await;
    for name in ["", ".", "..", "../../x", "a/b", "/etc/passwd", "N1", "a_b", "n\0", "é", &"x".repeat(64)] {
        let labelled = first("n1", vec![("tenant".to_owned(), name.to_owned())]);
        for (request, request_is_long) in [(first(name, Vec::new()), false), (labelled, name.len() > 63)] {
            let status = refusal(&plane, vec![request]).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{name:?}");
            // The longest is no label either.
            let words = if request_is_long { "at most 63" } else { "give 1 to 63" };
            assert!(status.message().contains(words), "{status}");
        }
    }
    assert_eq!(std::fs::read_dir(scene.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(scene.store.root().join("nodes")).unwrap().count(), 0);
}

/// Scenario: labels beyond the bounds. Guarantee: INVALID_ARGUMENT; at the bounds they are taken.
#[tokio::test]
async fn labels_have_bounds() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let labels = |count: usize| (0..count).map(|number| (format!("k{number}"), "v".to_owned())).collect::<Vec<_>>();
    let long = "x".repeat(64);
    for bad in [labels(33), vec![(long.clone(), String::new())], vec![("k".to_owned(), long)], vec![Default::default()]]
    {
        let status = refusal(&plane, vec![first("n1", bad)]).await;
        assert_eq!((status.code(), status.message().contains("32")), (Code::InvalidArgument, true), "{status}");
    }
    let mut responses = plane.client().await.sync(iter([first("n1", labels(32))])).await.unwrap().into_inner();
    assert_eq!(responses.message().await.unwrap().unwrap().version, 1);
}

/// Scenario: requests that break the protocol. Guarantee: the stream ends and says which rule it was.
#[tokio::test]
async fn what_breaks_the_protocol_is_said() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let nameless = SyncRequest { node: None, ..first("n1", Vec::new()) };
    let status = refusal(&plane, vec![nameless]).await;
    let field = |status: &Status| status.message().split(':').next().unwrap().to_owned();
    assert_eq!((status.code(), &*field(&status)), (Code::InvalidArgument, "node"), "{status}");
    for slot in [0, 3] {
        let status = refusal(&plane, vec![SyncRequest { slot, ..first("n1", Vec::new()) }]).await;
        assert_eq!((status.code(), &*field(&status)), (Code::InvalidArgument, "slot"), "{status}");
    }
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    let mut response = node.next().await;
    response.version = 9;
    node.ack(&response).await;
    let status = node.try_next().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(["version 1", "version 9"].iter().all(|version| status.message().contains(version)), "{status}");

    let huge = "x".repeat(5 << 20);
    let status = refusal(&plane, vec![first(&huge, Vec::new())]).await;
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}
