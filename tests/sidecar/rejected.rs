//! The rejected file of the real process: there before the answer, counted, and still there when the process is killed.

use hotlist::encoding::otlp::request_of;
use serde_json::json;

use crate::client::export;
use crate::next_hop::{Mood, NextHop};
use crate::process::{Hotlist, Scene};

/// Scenario: the next hop refuses a batch of one record for its content, and the process is killed right after its
/// answer. Guarantee: the answer is OK, the record stands in the file, metrics count it, and the header that the
/// configuration takes from a file was sent.
#[tokio::test]
async fn a_rejected_record_survives_a_kill() {
    let next_hop = NextHop::start().await;
    let scene = Scene::new();
    scene.indicators("feed", &["198.51.100.7"]);
    let token = scene.write("token", "Bearer hush\n");
    let sink = format!(
        r#", rejected: {{ path: "{}" }}, headers: {{ authorization: {{ file: "{}" }} }}"#,
        scene.path("rejected.ndjson").display(),
        token.display()
    );
    let hotlist = Hotlist::start(&scene.sidecar(&next_hop.endpoint, &sink, ""));
    let address = hotlist.address();
    let message = |text: &str| request_of([(1, &json!({ "message": text }))]);
    assert_eq!(export(&address, &message("good")).await.unwrap().status, 0);
    assert_eq!(next_hop.take()[0].headers["authorization"], "Bearer hush");

    next_hop.set(Mood::Refuse(3));
    let answer = export(&address, &message("malformed")).await.unwrap();
    assert_eq!(answer.status, 0, "{}", answer.message);
    let (_, metrics) = hotlist.admin("/metrics").await;
    for series in [
        "hotlist_sink_rejected_records_total{sink=\"next\"} 1",
        "hotlist_sink_bisections_total{sink=\"next\"} 1",
        "hotlist_next_hop_answers_total{sink=\"next\",status=\"ok\"} 1",
        "hotlist_next_hop_answers_total{sink=\"next\",status=\"invalid_argument\"} 1",
        "hotlist_source_acknowledged_total{source=\"agents\",signal=\"logs\"} 2",
    ] {
        assert!(metrics.contains(series), "{series} in:\n{metrics}");
    }
    assert!(!hotlist.log().contains("hush"));
    hotlist.kill();
    let lines = scene.ndjson("rejected.ndjson");
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["sink"], &lines[0]["status"]), (&json!("next"), &json!("invalid_argument")));
}
