//! ReportAlerts: what is acknowledged is on the disk.

use bytes::Bytes;
use hotlist::proto::control::v1::AlertBatch;
use hotlist::proto::control::v1::control_client::ControlClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::common::{Plane, Scene};

fn batch(id: u64, node: &str, alerts: &[&str]) -> AlertBatch {
    let alerts = alerts.iter().map(|alert| Bytes::copy_from_slice(alert.as_bytes())).collect();
    AlertBatch { id, alerts, node: node.to_owned() }
}

fn kept(scene: &Scene, node: &str) -> String {
    let directory = scene.store.root().join("alerts/_").join(node);
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

/// Scenario: batches one after the other, then the node connects again. Guarantee: when a batch is acknowledged its
/// alerts are in the file, one per line, in order, and the second stream appends to what the first wrote.
#[tokio::test]
async fn what_is_acknowledged_is_in_the_file() {
    let scene = Scene::new();
    let plane = Plane::start(&scene).await;
    let mut expected = String::new();
    for stream in 0..2 {
        let (batches, requests) = mpsc::channel(4);
        let mut client = plane.client().await;
        batches.send(batch(7, "n1", &["{\"event\":\n{\"kind\":\"alert\"}}", "{\"n\":1}"])).await.unwrap();
        let mut acks = client.report_alerts(ReceiverStream::new(requests)).await.unwrap().into_inner();
        assert_eq!(acks.message().await.unwrap().unwrap().id, 7);
        expected.push_str("{\"event\": {\"kind\":\"alert\"}}\n{\"n\":1}\n");
        assert_eq!(kept(&scene, "n1"), expected, "{stream}");
        batches.send(batch(3, "", &["no JSON"])).await.unwrap();
        batches.send(batch(4, "", &[])).await.unwrap();
        assert_eq!(acks.message().await.unwrap().unwrap().id, 3);
        assert_eq!(acks.message().await.unwrap().unwrap().id, 4);
        expected.push_str("{\"hotlist\":{\"alerts\":{\"unreadable\":\"bm8gSlNPTg==\"}}}\n");
        assert_eq!(kept(&scene, "n1"), expected, "{stream}");
        drop(batches);
        assert!(acks.message().await.unwrap().is_none());
    }
}

/// Scenario: no name in the first batch, or one that leads elsewhere; too many alerts. Guarantee: INVALID_ARGUMENT, and
/// nothing is written.
#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let scene = Scene::new();
    let plane = Plane::start(&scene).await;
    let many = AlertBatch { alerts: vec![Bytes::new(); 10_001], ..batch(1, "n1", &[]) };
    for bad in [batch(1, "", &["{}"]), batch(1, "../n1", &["{}"]), batch(1, "..", &["{}"]), many] {
        let mut client = ControlClient::new(plane.channel().await);
        let mut acks = client.report_alerts(tokio_stream::iter([bad])).await.unwrap().into_inner();
        assert_eq!(acks.message().await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(std::fs::read_dir(scene.store.root().join("alerts")).unwrap().count(), 0);
}
