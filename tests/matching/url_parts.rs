//! URLs in parts: each is composed and looked up, or left out and counted, whatever else the event has.

use std::sync::{Arc, LazyLock};

use hotlist::detect::Detector;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::observable::{Kind, Malformed};
use hotlist::policy::Policy;
use hotlist::schema::FieldTable;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, field_of, indicator, judge, send_each_way};

const LISTED: &str = "http://evil.example/x";

fn detector_of(schema: &str, urls: &[&str]) -> Detector {
    let table = Arc::new(FieldTable::of_schemas(&[schema, "ecs-extra"]).unwrap());
    let urls = urls.iter().map(|url| indicator(Kind::Url, url)).collect();
    let options = MatchOptions { url_hosts: false, ..EXACT };
    detector(&table, options, Some(Policy::default()), vec![(Feed::named("feed"), urls)])
}

/// The fields with a hit, the same in a document and on each stream, and what the first stream counted as malformed.
fn outcome(detector: &Detector, event: &Value) -> (Vec<String>, Vec<(String, Malformed)>) {
    let hits: Vec<String> = judge(detector, event).hits.iter().map(|hit| field_of(detector, hit).to_owned()).collect();
    let mut sent = send_each_way(detector, event);
    for (way, sent) in &sent {
        assert_eq!(sent.hits.len(), hits.len(), "{way}: {event}");
    }
    let name = |field| detector.snapshot.table().get(field).name.clone();
    let malformed = sent.remove(0).1.report.malformed;
    (hits, malformed.iter().map(|(field, reason, _)| (name(field), reason)).collect())
}

fn paths(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("/path{number}")).collect()
}

/// Guarantee: what is not composed is counted by the field of the part or of the path, with the reason; what can be
/// composed is.
#[test]
fn each_part_is_composed_or_counted() {
    use Malformed::{TooLong, TooMany};
    let long_host = format!("{}.example", ["h".repeat(60).as_str(); 4].join("."));
    let at_long_host = format!("http://{long_host}/path0");
    let detector = detector_of("zeek", &[LISTED, &at_long_host]);
    let longest = EXACT.max_url_bytes;
    let uri = |reason| vec![("uri", reason)];
    for (what, host, paths, hits, counted) in [
        ("one", json!("evil.example"), json!("/x"), 1, vec![]),
        ("of one host", json!("evil.example"), json!(["/a", "/x"]), 1, vec![]),
        ("each of its own host", json!(["a.example", "evil.example"]), json!(["/x", "/x"]), 1, vec![]),
        ("of the other host", json!(["a.example", "evil.example"]), json!(["/x", "/a"]), 0, vec![]),
        ("of any of several hosts", json!(["a.example", "evil.example"]), json!("/x"), 1, vec![]),
        ("fewer hosts than paths", json!(["a.example", "evil.example"]), json!(["/a", "/b", "/x"]), 1, vec![]),
        ("no host", json!("-"), json!("/x"), 0, vec![]),
        (
            "as many parts as are kept",
            json!("evil.example"),
            json!([paths(62), vec!["/x".to_owned()]].concat()),
            1,
            vec![],
        ),
        ("more parts", json!("evil.example"), json!([paths(63), vec!["/x".to_owned()]].concat()), 0, uri(TooMany)),
        ("a long host", json!(long_host), json!(paths(2)), 1, vec![]),
        ("a long host and many paths", json!(long_host), json!(paths(60)), 1, uri(TooMany)),
        (
            "a host that is longer than a name",
            json!("h".repeat(260)),
            json!("/x"),
            0,
            vec![("host", Malformed::NotDomain), ("uri", TooLong)],
        ),
        ("a long path", json!("evil.example"), json!(format!("/{}", "x".repeat(longest))), 0, uri(TooLong)),
        ("a long URL", json!("evil.example"), json!(format!("/{}", "x".repeat(longest - 10))), 0, uri(TooLong)),
        ("many long paths", json!("evil.example"), json!(vec!["/x".repeat(longest / 2 - 20); 9]), 0, uri(TooMany)),
    ] {
        let (found, malformed) = outcome(&detector, &json!({ "host": host, "uri": paths }));
        assert_eq!(found.len(), hits, "{what}");
        let malformed: Vec<(&str, Malformed)> =
            malformed.iter().map(|(name, reason)| (name.as_str(), *reason)).collect();
        assert_eq!(malformed, counted, "{what}");
    }
}

/// Guarantee: a whole URL in the event hides no other one in parts, and what both say is found once, at the whole URL.
#[test]
fn a_whole_url_hides_no_other_in_parts() {
    let detector = detector_of("ecs", &[LISTED, "http://evil.example/x?y=1"]);
    let (at_whole, at_parts) = (vec!["url.full"], vec!["url.path"]);
    for (whole, path, query, hits) in [
        (LISTED, "/x", None, &at_whole),
        ("http://EVIL.example/x", "/x", None, &at_whole),
        ("http://evil.example:80/%78", "/x", None, &at_whole),
        ("http://evil.example/x#top", "x", None, &at_whole),
        ("http://u@evil.example/x?y=1", "/x", Some("y=1"), &vec![]),
        ("http://evil.example/x?y=1", "/x", Some("?y=1"), &at_whole),
        ("http://evil.example/x?y=1", "/x", None, &at_whole),
        ("http://evil.example/x?y=2", "/x", None, &vec![]),
        ("http://evil.example/x?y=2", "/x", Some("y=1"), &at_parts),
        ("http://evil.example:8080/x", "/x", None, &vec![]),
        ("http://a.example/x", "/x", None, &at_parts),
        ("http://a.example/?http://evil.example/x", "/x", None, &at_parts),
        ("http://evil.example/xx", "/x", None, &at_parts),
        ("/x", "/x", None, &at_parts),
        ("https://evil.example/x", LISTED, None, &at_parts),
        (LISTED, LISTED, None, &at_whole),
    ] {
        let mut event = json!({ "url.full": whole, "url.domain": "evil.example", "url.path": path });
        if let Some(query) = query {
            event["url.query"] = json!(query);
        }
        assert_eq!(&outcome(&detector, &event).0, hits, "{event}");
    }
}

static ZEEK: LazyLock<Detector> = LazyLock::new(|| detector_of("zeek", &[LISTED]));

fn many(value: &'static str) -> impl Strategy<Value = Vec<String>> {
    let others =
        prop_oneof![3 => "[a-c]{1,3}".boxed(), 1 => (1..2500usize).prop_map(|length| "p".repeat(length)).boxed()];
    let few = proptest::collection::vec(others.clone(), 0..4);
    let list = prop_oneof![4 => few, 1 => proptest::collection::vec(others, 0..80)];
    (list, any::<prop::sample::Index>()).prop_map(move |(mut all, at)| {
        all.insert(at.index(all.len() + 1), value.to_owned());
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Scenario: the parts of a listed URL among any others, in lists of any length, and whole URLs of any content.
    /// Guarantee: the listed URL is found, or a part is counted.
    #[test]
    fn the_parts_of_a_listed_url_are_found_or_counted(
        hosts in many("evil.example"),
        paths in many("/x"),
        whole in proptest::collection::vec(proptest::sample::select(vec!["http://a.example/x", "/x", "http://evil.example/", "x"]), 0..6),
    ) {
        let at = |all: &[String], one: &str| all.iter().position(|other| other == one);
        let event = json!({ "host": &hosts, "uri": &paths, "url": { "original": whole } });
        let (hits, malformed) = outcome(&ZEEK, &event);
        // Lists of one length belong together.
        if hosts.len() != paths.len() || at(&hosts, "evil.example") == at(&paths, "/x") {
            let is_counted = malformed.iter().any(|(name, reason)| {
                ["host", "uri"].contains(&name.as_str()) && [Malformed::TooLong, Malformed::TooMany].contains(reason)
            });
            prop_assert!(!hits.is_empty() || is_counted, "{event}");
        }
    }
}
