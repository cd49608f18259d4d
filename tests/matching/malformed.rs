//! Malformed bytes through the detector: whatever it reports, it never panics.

use bytes::Bytes;
use hotlist::detect::Detector;
use hotlist::encoding::Visitor;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::matcher::Matcher;
use hotlist::observable::Kind;
use hotlist::pipeline::Work;
use hotlist::policy::Policy;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::cases::{ADDRESSES, DOMAINS, FIELDS, URLS, value};
use crate::common::{detector, indicator, table};

/// A detector with an indicator of every kind, so that every field is walked and every reading runs.
fn full() -> Detector {
    let indicators = DOMAINS.iter().map(|name| indicator(Kind::Domain, name));
    let indicators = indicators
        .chain(ADDRESSES.iter().map(|written| indicator(Kind::Ip, written)))
        .chain(URLS.iter().map(|written| indicator(Kind::Url, written)))
        .chain([Kind::User, Kind::Text, Kind::Name, Kind::DnsType, Kind::Path].map(|kind| indicator(kind, "m")))
        .chain([indicator(Kind::Email, "m@evil.com"), indicator(Kind::Md5, &"0a".repeat(16))])
        .chain([indicator(Kind::Number, "443"), indicator(Kind::Time, "2024-01-31")]);
    let feed = Feed { subdomains: true, url_prefix: true, ..Feed::named("feed") };
    let options = MatchOptions { subdomains: true, url_hosts: true, ..MatchOptions::EXACT };
    detector(&table(), options, Some(Policy::default()), vec![(feed, indicators.collect())])
}

/// Bytes that begin like an OTLP request or a document and then go wrong anywhere.
fn damaged() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 0..6);
    let members = prop::collection::vec((prop::sample::select(FIELDS.to_vec()), value()), 0..6);
    (members, edits).prop_map(|(members, edits)| {
        let document = Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let request = hotlist::encoding::otlp::request_of([(1, &document), (0, &document)]);
        let damage = |mut bytes: Vec<u8>| {
            for (at, byte, edit) in &edits {
                if bytes.is_empty() {
                    break;
                }
                let at = at.index(bytes.len());
                match edit {
                    0 => bytes[at] = *byte,
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, *byte),
                }
            }
            bytes
        };
        (damage(request), damage(document.to_string().into_bytes()))
    })
}

/// Runs both ways through the detector; whatever it says, it says it without a panic, and what it tags stays JSON.
fn survives(detector: &Detector, request: Vec<u8>, document: &[u8]) {
    let request = Bytes::from(request);
    if let Ok((batch, report)) =
        detector.batch(hotlist::encoding::Format::Otlp, request.clone(), Timestamp::UNIX_EPOCH, &Work::default())
        && report.hits.is_empty()
    {
        assert_eq!(batch.message.to_bytes(), request, "without a hit the bytes stay");
    }
    let mut matcher = Matcher::new(&detector.snapshot);
    if let Ok(verdict) = detector.document(document, detector.snapshot.trie(), &mut matcher, Timestamp::UNIX_EPOCH)
        && !verdict.hits.is_empty()
        && serde_json::from_slice::<Value>(document).is_ok()
    {
        let tagged = detector.tag_document(document, &verdict).unwrap();
        assert!(serde_json::from_slice::<Value>(&tagged).is_ok(), "{}", String::from_utf8_lossy(&tagged));
    }
    assert!(!matcher.has_hits(), "nothing is left over for the next event");
}

/// Scenario: arbitrary bytes, and requests and documents with bytes changed, cut and added.
/// Guarantee: never a panic; a batch without hits keeps its bytes; a tagged document is JSON still.
#[test]
fn no_bytes_make_the_detector_panic() {
    let detector = full();
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let outcome = runner.run(&(damaged(), noise), |((request, document), noise)| {
        survives(&detector, request, &document);
        survives(&detector, noise.clone(), &noise);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Scenario: every field of the table holds arbitrary bytes, valid text or not, in an OTLP body.
/// Guarantee: no reading panics on any value.
#[test]
fn no_value_makes_a_reading_panic() {
    let detector = full();
    let table = table();
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let values = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "\\PC{0,40}".prop_map(String::into_bytes),
        "[a.:/@\\[\\]%<>\\\\ 0-9é。-]{0,40}".prop_map(String::into_bytes),
    ];
    let outcome = runner.run(&values, |value| {
        let mut matcher = Matcher::new(&detector.snapshot);
        for (id, _) in table.iter() {
            matcher.value(id, hotlist::encoding::Value::Text(&value));
        }
        matcher.take_hits();
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Scenario: an event with a hit whose `event` is malformed inside, which only the look for `event.kind` steps into,
/// then an event without one, through the same matcher.
/// Guarantee: the hit counts, and nothing of it is left over for the next event.
#[test]
fn a_fault_where_only_policy_looks_costs_no_hit_and_leaks_none() {
    let detector = full();
    let mut matcher = Matcher::new(&detector.snapshot);
    let mut hits = |document: &str| {
        let trie = detector.snapshot.trie();
        let verdict = detector.document(document.as_bytes(), trie, &mut matcher, Timestamp::UNIX_EPOCH);
        verdict.map(|verdict| verdict.hits.len())
    };
    assert_eq!(hits(r#"{"source.ip":"2001:db8::7","event":{"kind" 1}}"#), Ok(2));
    assert_eq!(hits(r#"{"source.ip":"2001:db9::"}"#), Ok(0));
}
