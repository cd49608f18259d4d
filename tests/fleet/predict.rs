//! `scan --config` and `explain --config` say what the node itself does with the same events.

use std::collections::BTreeSet;

use hotlist::encoding::otlp::request_of;
use serde_json::{Value, json};

use crate::client::export;
use crate::common::{Fleet, enrichments, events_in, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// The findings in one event, as `field feed:indicator`.
type Found = BTreeSet<String>;

fn line(field: &Value, feed: &Value, indicator: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    format!("{} {}:{}", text(field), text(feed), text(indicator))
}

/// One event for each rule that decides whether a finding counts.
fn events() -> Vec<Value> {
    let now = jiff::Timestamp::now().to_string();
    vec![
        json!({ "destination": { "ip": "203.0.113.9" } }),
        // The import guard refuses the indicators of these two.
        json!({ "destination": { "ip": "127.0.0.1" } }),
        json!({ "dns": { "question": { "name": "com" } } }),
        // Validity, at the time of the event and at its arrival.
        json!({ "@timestamp": now, "dns": { "question": { "name": "expired.example" } } }),
        json!({ "@timestamp": "2020-06-01T00:00:00Z", "dns": { "question": { "name": "expired.example" } } }),
        json!({ "@timestamp": "2020-06-01T00:00:00Z", "dns": { "question": { "name": "later.example" } } }),
        // The C2 rule.
        json!({ "source": { "ip": "198.51.100.7" } }),
        json!({ "destination": { "ip": "198.51.100.7" } }),
        // Match settings, and an allowlist that suppresses.
        json!({ "dns": { "question": { "name": "below.listed.example" } } }),
        json!({ "url": { "full": "https://listed.example/path?q" } }),
        json!({ "dns": { "question": { "name": "known.example" } } }),
        // Feeds without an enabled rule, here and in the manifest.
        json!({ "dns": { "question": { "name": "off.example" } } }),
        json!({ "dns": { "question": { "name": "unruled.example" } } }),
        // A collection is not matched at each field that a feed is.
        json!({ "dns": { "question": { "name": "own.example" } }, "http": { "request": { "method": "own.example" } } }),
        json!({ "x509": { "subject": { "common_name": "own.example" } }, "tls": { "client": { "server_name": "own.example" } } }),
        // The manifest of the cache.
        json!({ "related": { "hosts": ["m1.example", "m2.example", "m1.example"] } }),
        json!({ "event": { "kind": "enrichment" }, "related": { "hosts": ["m1.example"] } }),
        json!({ "message": "nothing" }),
    ]
}

/// Scenario: a node with files, an allowlist, match settings of its own and a manifest from its control plane; one event for
/// each rule of policy, through the node, and offline while the node runs and after it is gone. Guarantee: the same hits
/// by each way, and the verdict of `explain` comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_and_live_agree_on_a_node_of_a_fleet() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    let scene = &fleet.scene;
    let feed = "type,value,kill_chain_phases,valid_from,valid_until\n\
                ip,203.0.113.0/24,,,\nip,127.0.0.1,,,\ndomain,com,,,\nip,198.51.100.7,command-and-control,,\n\
                domain,expired.example,,,2020-12-01T00:00:00Z\ndomain,later.example,,2020-12-01T00:00:00Z,\n\
                domain,listed.example,,,\ndomain,known.example,,,\n";
    scene.write("feed.csv", feed);
    scene.write("off.txt", "off.example\n");
    scene.write("own.txt", "own.example\n");
    let list = json!({ "name": "known", "description": "d", "version": 1, "type": "string",
        "matching_attributes": ["domain", "hostname"], "list": ["known.example"] });
    scene.write("list.json", &list.to_string());
    fleet.compile(&[
        ("central.txt", "m1.example\n".to_owned()),
        ("more.txt", "m2.example\nunruled.example\n".to_owned()),
    ]);
    let version = fleet.publish(&["--rule", "central"]);
    let path = |name: &str| scene.path(name).display().to_string();
    let intel = format!(
        "  files: [{{ path: \"{}\" }}, {{ path: \"{}\", enabled: false }}, {{ path: \"{}\", rule: collection }}]\n  \
         allowlists: [{{ path: \"{}\", action: suppress }}]\nmatch: {{ subdomains: true, url_hosts: true }}",
        path("feed.csv"),
        path("off.txt"),
        path("own.txt"),
        path("list.json")
    );
    let _plane = fleet.plane();
    let config = fleet.sidecar("n1", &next, &intel);
    let hotlist = Hotlist::start(&config);
    serves(&hotlist, version).await;

    let events = events();
    let mut live: Vec<Found> = Vec::new();
    for event in &events {
        next.take();
        let answer = export(&hotlist.address(), &request_of([(0, event)])).await.unwrap();
        assert_eq!(answer.status, 0, "{answer:?}");
        let arrived = events_in(&next.take()[0].message());
        let of = |one: &Value| line(&one["matched"]["field"], &one["feed"]["name"], &one["indicator"]["name"]);
        live.push(enrichments(&arrived[0]).iter().map(of).collect());
    }
    assert!(live.iter().filter(|found| !found.is_empty()).count() >= 6, "{live:#?}");

    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    scene.write("events.ndjson", &text);
    let config = config.display().to_string();
    let offline = || {
        let printed = fleet.prints(&["scan", "--config", &config, "--events", "events.ndjson"]);
        let mut scanned: Vec<Found> = vec![Found::new(); events.len()];
        for hit in printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let at = hit["line"].as_u64().unwrap() as usize - 1;
            scanned[at].insert(line(&hit["field"], &hit["feed"], &hit["indicator"]));
        }
        assert_eq!(scanned, live);
        for (event, live) in events.iter().zip(&live) {
            scene.write("event.json", &event.to_string());
            let arguments = ["explain", "--config", &config, "--events", "event.json"];
            let printed = fleet.prints(&[&arguments[..], &["--json"]].concat());
            let explained: Value = serde_json::from_str(&printed).unwrap();
            let mut found = Found::new();
            for hit in explained["hits"].as_array().unwrap() {
                for at in hit["at"].as_array().unwrap() {
                    found.insert(line(&at["field"], &hit["feed"], &hit["indicator"]));
                }
            }
            assert_eq!(&found, live, "{event}: {printed}");
            assert_eq!(explained["hit"], !live.is_empty());
            let first = fleet.prints(&arguments);
            assert!(first.starts_with(if live.is_empty() { "NO HIT: " } else { "HIT: " }), "{first}");
        }
    };
    offline();
    drop(hotlist);
    offline();
}
