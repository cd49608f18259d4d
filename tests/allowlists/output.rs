//! The treatment of a finding that a list holds: verdict, report, enrichment, `explain` and `scan`.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use hotlist::encoding::otlp::request_of;
use hotlist::intel::allowlist::Action;
use hotlist::observable::Kind;
use hotlist::pipeline::Work;
use hotlist::policy::Suppression;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::common::{detector, indicator, judge, list, policy};

/// Scenario: one value that a list annotates, one that a list suppresses, one that both hold, one that none holds.
/// Guarantee: an annotated hit stays and names its lists; one list that suppresses is enough; the report counts each
/// list once a finding, and a batch in which everything is suppressed leaves untouched.
#[test]
fn annotated_hits_stay_and_suppressed_ones_go() {
    let shared = list("cidr", &[], &["192.0.2.1", "192.0.2.3"]).named("shared").with_action(Action::Annotate);
    let ours = list("cidr", &[], &["192.0.2.2", "192.0.2.3"]).named("ours");
    let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
    let detector = detector(policy(vec![shared, ours]), false, addresses.map(|ip| indicator(Kind::Ip, ip)).to_vec());
    let event = json!({ "related.ip": addresses });
    let verdict = judge(&detector, &event);
    let hits: Vec<&str> = verdict.hits.iter().map(|hit| hit.name.as_ref()).collect();
    assert_eq!(hits, ["192.0.2.1", "192.0.2.4"]);
    let names: Vec<Vec<&str>> =
        verdict.hit_listings.iter().map(|of| of.iter().map(|listing| &*listing.list).collect()).collect();
    assert_eq!(names, [vec!["shared"], vec![]]);
    assert_eq!(verdict.hit_listings[0][0].action, Action::Annotate);
    assert!(verdict.suppressed.iter().all(|(_, reason)| *reason == Suppression::Allowlist));
    let lists: Vec<usize> = verdict.suppressed_listings.iter().map(Vec::len).collect();
    assert_eq!(lists, [1, 2]);

    let tagged = detector.tag_document(event.to_string().as_bytes(), &verdict).unwrap();
    let tagged: Value = serde_json::from_slice(&tagged).unwrap();
    let enrichments = tagged["threat"]["enrichments"].as_array().unwrap();
    assert_eq!(enrichments[0]["hotlist"]["allowlists"], json!(["shared"]));
    assert_eq!(enrichments[1]["hotlist"].get("allowlists"), None);

    let send = |document: &Value| {
        let request = Bytes::from(request_of([(0, document)]));
        let (batch, report) = detector
            .batch(hotlist::encoding::Format::Otlp, request.clone(), Timestamp::UNIX_EPOCH, &Work::default())
            .unwrap();
        (report, batch.message.to_bytes() == request)
    };
    let (report, untouched) = send(&event);
    assert!(!untouched);
    let counted: Vec<(&str, &str, u64)> =
        report.listings.iter().map(|((list, action), number)| (&**list, action.as_str(), number)).collect();
    assert_eq!(counted, [("ours", "suppress", 2), ("shared", "annotate", 2)]);
    assert_eq!((report.suppressions.total(), report.suppressions.get(&Suppression::Allowlist)), (2, 2));
    let (report, untouched) = send(&json!({ "source.ip": "192.0.2.2" }));
    assert!(untouched && report.hits.is_empty());
}

fn hotlist(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hotlist")).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn scene() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("feed.txt", "198.51.100.7\n203.0.113.9\n203.0.113.10\n"),
        ("ours.json", r#"{ "name": "our own", "type": "cidr", "list": ["203.0.113.9"] }"#),
        ("shared.json", r#"{ "name": "a CDN", "type": "cidr", "list": ["198.51.100.0/24"] }"#),
        (
            "event.json",
            r#"{"source":{"ip":"198.51.100.7"},"destination":{"ip":"203.0.113.9"},"client.ip":"203.0.113.10"}"#,
        ),
        (
            "hotlist.yaml",
            "sources: { a: { type: otlp, address: '127.0.0.1:0' } }\nsinks: { s: { type: blackhole, inputs: [a] } }\n\
             intel: { files: [{ path: feed.txt, allow_generic: true }], allowlists: [ours.json] }\n",
        ),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// Guarantee: `explain` names list, entry and action of what is suppressed and of what is annotated, from the
/// configuration and from the command line.
#[test]
fn explain_names_list_entry_and_action() {
    let directory = scene();
    for arguments in [
        &["explain", "-c", "hotlist.yaml", "-e", "event.json", "--allowlist", "shared.json"][..],
        &["explain", "-i", "feed.txt", "-e", "event.json", "--allowlist", "shared.json", "ours.json"],
    ] {
        let shown = hotlist(directory.path(), arguments);
        for line in [
            "HIT: 2 indicators\n",
            "\n      annotate: allowlist \"a CDN\" contains 198.51.100.0/24\n",
            "dropped by policy: 1\n",
            "\n      allowlist: ",
            "\n      suppress: allowlist \"our own\" contains 203.0.113.9\n",
        ] {
            assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
        }
    }
}

/// Guarantee: `scan` applies no list that is not named, and then only lists: nothing else of policy.
#[test]
fn scan_applies_only_the_lists_that_are_named() {
    let directory = scene();
    std::fs::write(directory.path().join("old.csv"), "value,valid_until\n203.0.113.10,2001-01-01\n203.0.113.9,\n")
        .unwrap();
    let lines = |arguments: &[&str]| {
        let base = ["scan", "-i", "old.csv", "-e", "event.json"];
        hotlist(directory.path(), &[&base, arguments].concat()).lines().count()
    };
    assert_eq!(lines(&[]), 2);
    assert_eq!(lines(&["--allowlist", "shared.json"]), 2);
    assert_eq!(lines(&["--allowlist", "ours.json", "shared.json"]), 1);
}
