//! Allowlists in the running process: what is tagged, and what is counted.

use hotlist::encoding::otlp::request_of;
use serde_json::json;

use crate::client::export;
use crate::next_hop::NextHop;
use crate::process::{Hotlist, Scene};

/// Scenario: two values that lists hold, one of a list that suppresses and one of a list that annotates. Guarantee: the
/// first is left untagged, the second names its list; both are counted by list; a list that cannot be used is logged
/// and stops nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_loaded_at_start_and_counted() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23", "203.0.113.5"]);
    scene.write("ours.json", r#"{ "name": "ours", "type": "cidr", "list": ["198.51.100.0/24", "no address"] }"#);
    scene.write("cdn.json", r#"{ "name": "a CDN", "type": "cidr", "list": ["203.0.113.5"] }"#);
    scene.write("broken.json", "[]");
    let config = scene.readme(&next_hop.endpoint);
    let lists: Vec<String> =
        ["ours.json", "cdn.json", "broken.json"].iter().map(|name| scene.path(name).display().to_string()).collect();
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("\nsinks:\n", &format!("\n  allowlists: {lists:?}\nsinks:\n"));
    std::fs::write(&config, text).unwrap();

    let hotlist = Hotlist::start(&config);
    let message = request_of([
        (1, &json!({ "source": { "ip": "198.51.100.23" } })),
        (1, &json!({ "destination": { "ip": "203.0.113.5" } })),
    ]);
    assert_eq!(export(&hotlist.address(), &message).await.unwrap().status, 0);
    let (_, metrics) = hotlist.admin("/metrics").await;
    for line in [
        "hotlist_allowlist_hits_total{list=\"ours\",action=\"suppress\"} 1\n",
        "hotlist_allowlist_hits_total{list=\"a CDN\",action=\"annotate\"} 1\n",
        "hotlist_suppressions_total{reason=\"allowlist\"} 1\n",
        "hotlist_hits_total{kind=\"ip\",feed=\"planted\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    let hits = scene.ndjson("hits.ndjson");
    assert_eq!(hits.len(), 1);
    assert!(hits[0].to_string().contains("a CDN"), "{}", hits[0]);
    let log = hotlist.log();
    for part in ["entry 1", "neither an address nor", "broken.json: is not a warninglist"] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
}
