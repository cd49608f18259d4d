//! Hits in records that are malformed where tags go, and records that arrive with enrichments: what is counted, what is
//! tagged and what sinks get agree.

use std::sync::Arc;

use bytes::Bytes;
use hotlist::detect::{Detector, Report};
use hotlist::encoding::otlp::encode_json;
use hotlist::encoding::wire::put_bytes;
use hotlist::encoding::{Format, Inbound};
use hotlist::intel::snapshot::Feed;
use hotlist::observable::Kind;
use hotlist::pipeline::{Batch, Work};
use hotlist::policy::Policy;
use hotlist::sink::Only;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, indicator, table};

const LISTED: &str = "203.0.113.7";

fn with(inbound: Inbound) -> Detector {
    let policy = Policy { inbound, ..Policy::default() };
    detector(&table(), EXACT, Some(policy), vec![(Feed::named("feed"), vec![indicator(Kind::Ip, LISTED)])])
}

/// A message from its fields, each a number and its content.
pub fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(number, content)| put_bytes(&mut out, *number, content));
    out
}

pub fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    message(&[(1, key.as_bytes()), (2, value)])
}

/// A text as a value of Vector.
pub fn vector_text(text: &str) -> Vec<u8> {
    message(&[(1, text.as_bytes())])
}

/// A request of one record, around it what the format has.
pub fn request(format: Format, record: &[u8]) -> Bytes {
    let levels: &[u32] = match format {
        Format::Otlp => &[2, 2, 1],
        Format::Vector => &[1],
        Format::Filter => &[2],
    };
    levels.iter().fold(record.to_vec(), |inner, number| message(&[(*number, &inner)])).into()
}

pub fn send(detector: &Detector, format: Format, record: &[u8]) -> (Arc<Batch>, Report) {
    let (batch, report) =
        detector.batch(format, request(format, record), Timestamp::UNIX_EPOCH, &Work::default()).unwrap();
    (Arc::new(batch.into()), report)
}

/// The records that a sink with a condition gets.
fn taken(batch: &Arc<Batch>, only: Only) -> Vec<Bytes> {
    match only.select(batch).unwrap() {
        Some(part) => part.events.format.records(&part.events.message.to_bytes()).unwrap(),
        None => Vec::new(),
    }
}

fn count(bytes: &[u8], text: &str) -> usize {
    memchr::memmem::find_iter(bytes, text.as_bytes()).count()
}

/// A record that hits, for each protocol and each place that is malformed.
fn malformed() -> Vec<(String, Format, Vec<u8>)> {
    let ip = encode_json(&json!(LISTED));
    // A value of two members, an array of such, and a value that is none.
    let two = [encode_json(&json!("a")), encode_json(&json!("b"))].concat();
    let values = [two.clone(), message(&[(5, &message(&[(1, &two)]))]), vec![0x0f]];
    let mut records = Vec::new();
    for key in ["tags", "threat", "threat.enrichments", "hotlist", "hotlist.enrichments", "hotlist.tags", "zz"] {
        for (number, value) in values.iter().enumerate() {
            let (hit, entry_of_key) = (entry("destination.ip", &ip), entry(key, value));
            let name = |what: &str| format!("{what}, {key} {number}");
            let list = message(&[(1, &hit), (1, &entry_of_key)]);
            records.push((name("OTLP attributes"), Format::Otlp, message(&[(6, &hit), (6, &entry_of_key)])));
            records.push((name("OTLP body"), Format::Otlp, message(&[(5, &message(&[(6, &list)]))])));
            let hit = entry("destination.ip", &vector_text(LISTED));
            let two = [vector_text("a"), vector_text("b")].concat();
            let values = [two.clone(), message(&[(8, &message(&[(1, &two)]))]), vec![0x0f]];
            let entry_of_key = entry(key, &values[number]);
            let list = message(&[(1, &hit), (1, &entry_of_key)]);
            records.push((name("Vector fields"), Format::Vector, message(&[(1, &list)])));
            let root = message(&[(2, &message(&[(7, &list)]))]);
            records.push((name("Vector root"), Format::Vector, message(&[(1, &root)])));
        }
        for value in [r#"{"x" 1}"#, r#"[{"a":01}]"#, "01"] {
            let document = format!(r#"{{"destination":{{"ip":"{LISTED}"}},"{key}":{value}}}"#);
            records.push((format!("Filter, {key}: {value}"), Format::Filter, document.clone().into_bytes()));
            let body = message(&[(5, &encode_json(&json!(document)))]);
            records.push((format!("OTLP text, {key}: {value}"), Format::Otlp, body));
            let text = vector_text(&document);
            let fields = message(&[(1, &entry("message", &text))]);
            records.push((format!("Vector message, {key}: {value}"), Format::Vector, message(&[(1, &fields)])));
            let root = message(&[(2, &text)]);
            records.push((format!("Vector root text, {key}: {value}"), Format::Vector, message(&[(1, &root)])));
        }
    }
    let hit = entry("destination.ip", &ip);
    let cut = [message(&[(6, &hit)]), b"\x32\x7f".to_vec()].concat();
    records.push(("OTLP, cut short".to_owned(), Format::Otlp, cut));
    let group = [message(&[(6, &hit)]), b"\x0b\x0c".to_vec()].concat();
    records.push(("OTLP, a group".to_owned(), Format::Otlp, group));
    let body = message(&[(6, &message(&[(1, &hit)]))]);
    records.push(("OTLP, two bodies".to_owned(), Format::Otlp, message(&[(5, &body), (5, &body)])));
    let twice = message(&[(1, b"x"), (1, b"destination.ip"), (2, &ip)]);
    records.push(("OTLP, a key twice".to_owned(), Format::Otlp, message(&[(6, &twice)])));
    let values = message(&[(1, b"destination.ip"), (2, &[encode_json(&json!("x")), ip].concat())]);
    records.push(("OTLP, a value of two members".to_owned(), Format::Otlp, message(&[(6, &values)])));
    for text in [format!(r#"{{"destination.ip":"{LISTED}","#), format!(r#"{{"a":NaN,"destination.ip":"{LISTED}"}}"#)] {
        records.push((format!("Filter, {text}"), Format::Filter, text.into_bytes()));
    }
    records
}

/// Scenario: each of these records, then the record as it was tagged. Guarantee: one hit is counted, the record carries
/// it once, the sink of hits gets the record and the sink of the rest does not; a second pass adds nothing.
#[test]
fn a_hit_is_counted_tagged_and_delivered_whatever_is_malformed() {
    let detector = with(Inbound::Mark);
    for (name, format, record) in malformed() {
        let (batch, report) = send(&detector, format, &record);
        assert_eq!((report.events, report.hits.total(), report.untagged), (1, 1, 0), "{name}");
        let [tagged] = &taken(&batch, Only::Hits)[..] else { panic!("{name}: the sink of hits") };
        assert!(taken(&batch, Only::NotHits).is_empty(), "{name}");
        assert_eq!(taken(&batch, Only::All), std::slice::from_ref(tagged), "{name}");
        assert_eq!(count(tagged, "indicator_match_rule"), 1, "{name}");
        assert_eq!(count(tagged, "threat-match"), 1, "{name}");
        let (again, report) = send(&detector, format, tagged);
        assert_eq!(report.hits.total(), 1, "{name}, again");
        assert_eq!(taken(&again, Only::Hits), std::slice::from_ref(tagged), "{name}, again");
    }
}

/// The documents that a record of a format can hold: as it is, and for OTLP and Vector in each of their ways.
pub fn ways(document: &Value) -> Vec<(&'static str, Format, Vec<u8>)> {
    let members = document.as_object().unwrap();
    let attributes =
        members.iter().flat_map(|(key, value)| message(&[(6, &entry(key, &encode_json(value)))])).collect();
    let text = document.to_string();
    vec![
        ("OTLP body", Format::Otlp, message(&[(5, &encode_json(document))])),
        ("OTLP attributes", Format::Otlp, attributes),
        ("OTLP text", Format::Otlp, message(&[(5, &encode_json(&json!(text)))])),
        ("Vector message", Format::Vector, message(&[(1, &message(&[(1, &entry("message", &vector_text(&text)))]))])),
        ("Vector root text", Format::Vector, message(&[(1, &message(&[(2, &vector_text(&text))]))])),
        ("Filter", Format::Filter, text.into_bytes()),
    ]
}

fn forged(description: &str) -> Value {
    let detector = with(Inbound::Mark);
    let (batch, _) = send(&detector, Format::Filter, json!({ "destination.ip": LISTED }).to_string().as_bytes());
    let mut own: Value = serde_json::from_slice(&batch.events.hits[0].record).unwrap();
    let mut enrichment = own["threat"]["enrichments"][0].take();
    enrichment["indicator"]["description"] = description.into();
    enrichment
}

/// Where a forger may put enrichments.
fn places(forged: &Value) -> Vec<Value> {
    let one = json!([forged]);
    vec![
        json!({ "threat": { "enrichments": one } }),
        json!({ "threat.enrichments": one }),
        json!({ "threat.enrichments": forged }),
        json!({ "threat": [{ "enrichments": one }] }),
        json!({ "threat": { "enrichments": [[forged]] } }),
        json!({ "hotlist": { "enrichments": one } }),
        json!({ "hotlist.enrichments": one }),
    ]
}

/// Scenario: records that do not hit and arrive with enrichments and the word of a hit, in every place and protocol.
/// Guarantee: `keep` leaves every byte; `mark` says of each enrichment that it is not verified and renames the word;
/// `strip` removes both. None is a hit, and a second pass changes nothing.
#[test]
fn what_arrives_without_a_hit_is_kept_marked_or_stripped() {
    for mut document in places(&forged("harmless")) {
        document["destination.ip"] = "192.0.2.1".into();
        document["tags"] = json!(["a", "threat-match"]);
        for (way, format, record) in ways(&document) {
            for inbound in [Inbound::Keep, Inbound::Mark, Inbound::Strip] {
                let detector = with(inbound);
                let (batch, report) = send(&detector, format, &record);
                let name = format!("{way}, {inbound:?}: {document}");
                assert!(batch.events.hits.is_empty() && report.hits.is_empty(), "{name}");
                assert!(taken(&batch, Only::Hits).is_empty(), "{name}");
                let [left] = &taken(&batch, Only::NotHits)[..] else { panic!("{name}: one record") };
                let counted = report.inbound;
                match inbound {
                    Inbound::Keep => {
                        assert_eq!(left, &record, "{name}");
                        assert_eq!((counted.kept, batch.events.marked.len()), (1, 0), "{name}");
                    }
                    Inbound::Mark => {
                        assert_eq!((counted.marked, batch.events.marked.len()), (1, 1), "{name}");
                        assert_eq!(
                            (count(left, "verified") - count(left, "unverified"), count(left, "harmless")),
                            (1, 1),
                            "{name}"
                        );
                        assert_eq!(count(left, "threat-match"), count(left, "threat-match-unverified"), "{name}");
                    }
                    Inbound::Strip => {
                        assert_eq!((counted.stripped, batch.events.marked.len()), (1, 1), "{name}");
                        assert_eq!((count(left, "harmless"), count(left, "threat-match")), (0, 0), "{name}");
                    }
                }
                let (again, _) = send(&detector, format, left);
                assert_eq!(taken(&again, Only::All), std::slice::from_ref(left), "{name}, again");
            }
        }
    }
}

/// Scenario: a record that hits and arrives with an enrichment of the same identity, and with one of another.
/// Guarantee: where ours go the forged one is gone; elsewhere, and of another identity, it is marked or stripped; ours is
/// there once and without a mark, and a second Hotlist changes nothing.
#[test]
fn a_forged_enrichment_never_stands_for_a_hit() {
    let mut other = forged("another");
    other["matched"]["id"] = "indicator--other".into();
    for (same, other) in places(&forged("harmless")).into_iter().zip(places(&other)) {
        for (mut document, is_same) in [(same, true), (other, false)] {
            document["destination.ip"] = LISTED.into();
            for (way, format, record) in ways(&document) {
                for inbound in [Inbound::Mark, Inbound::Strip] {
                    let detector = with(inbound);
                    let (batch, report) = send(&detector, format, &record);
                    let name = format!("{way}, {inbound:?}: {document}");
                    assert_eq!((report.hits.total(), batch.events.hits.len()), (1, 1), "{name}");
                    let tagged = &batch.events.hits[0].record;
                    let inbound_left = count(tagged, "harmless") + count(tagged, "another");
                    assert_eq!(count(tagged, "indicator_match_rule"), 1 + inbound_left, "{name}");
                    assert_eq!(count(tagged, "verified"), inbound_left, "{name}");
                    assert!(inbound_left <= usize::from(inbound == Inbound::Mark), "{name}");
                    assert!(report.inbound.replaced <= u64::from(is_same), "{name}");
                    let (again, _) = send(&detector, format, tagged);
                    assert_eq!(again.events.hits[0].record, tagged, "{name}, again");
                }
            }
        }
    }
}

/// Scenario: a chain of two Hotlists whose second has other indicators, then one that has the same.
/// Guarantee: the second marks what the first wrote when it does not know of it, and replaces it by its own when it does.
#[test]
fn a_chain_of_two_keeps_one_enrichment_of_each_identity() {
    let first = with(Inbound::Mark);
    let other = detector(
        &table(),
        EXACT,
        Some(Policy::default()),
        vec![(Feed::named("other"), vec![indicator(Kind::Ip, LISTED)])],
    );
    for (way, format, record) in ways(&json!({ "destination.ip": LISTED })) {
        let (batch, _) = send(&first, format, &record);
        let (batch, report) = send(&other, format, &batch.events.hits[0].record);
        let both = &batch.events.hits[0].record;
        assert_eq!((count(both, "indicator_match_rule"), count(both, "verified")), (2, 1), "{way}");
        assert_eq!((report.inbound.marked, report.inbound.replaced), (1, 0), "{way}");
        let (batch, report) = send(&first, format, both);
        let back = &batch.events.hits[0].record;
        assert_eq!((count(back, "indicator_match_rule"), count(back, "verified")), (2, 1), "{way}");
        assert_eq!(report.inbound.replaced, 1, "{way}");
    }
}

/// Scenario: a record with 200 hits passes twice.
/// Guarantee: each enrichment of ours replaces the one of its identity, whatever their number.
#[test]
fn many_meet_many() {
    let names: Vec<String> = (0..200).map(|number| format!("203.0.{}.{}", number / 100, number % 100)).collect();
    let indicators = names.iter().map(|name| indicator(Kind::Ip, name)).collect();
    let detector = detector(&table(), EXACT, Some(Policy::default()), vec![(Feed::named("feed"), indicators)]);
    let document = json!({ "related": { "ip": names } }).to_string();
    let (batch, report) = send(&detector, Format::Filter, document.as_bytes());
    assert_eq!(report.hits.total(), 200);
    let (again, report) = send(&detector, Format::Filter, &batch.events.hits[0].record);
    assert_eq!((report.hits.total(), report.inbound.replaced), (200, 0));
    assert_eq!(again.events.hits[0].record, batch.events.hits[0].record);
}
