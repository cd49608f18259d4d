//! Hits in events of OCSF: what is written is what OCSF's own schema says, wherever the event is, and everything that
//! holds of tags in ECS holds here. Flat values of hits, in either schema.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use hotlist::detect::Detector;
use hotlist::encoding::otlp::encode_json;
use hotlist::encoding::{Flat, Format, Inbound, TagAs, Tagging};
use hotlist::intel::indicator::{Confidence, Context, Indicator, Tlp};
use hotlist::intel::pattern;
use hotlist::intel::snapshot::Feed;
use hotlist::observable::Kind;
use hotlist::policy::Policy;
use hotlist::schema::FieldTable;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, indicator, of_terms, table};
use crate::inbound::{entry, message, send, ways};
use crate::ocsf_objects::{ENRICHMENT, OSINT, faults};

pub const LISTED: &str = "203.0.113.14";

/// A feed that says all that a feed can say, and one that says nothing.
pub fn feeds() -> Vec<(Feed, Vec<Indicator>)> {
    let context = Arc::new(Context {
        name: Some("Evil Corp".into()),
        description: Some("seen in a \"phish\"".into()),
        kill_chain_phases: vec!["delivery".into(), "command-and-control".into(), "persistence".into()],
        confidence: Confidence::High,
        tlp: Some(Tlp::AmberStrict),
        reference: Some("https://intel.example/1".into()),
        ..Context::default()
    });
    let talkative = |indicator: Indicator| Indicator { context: Arc::clone(&context), ..indicator };
    let port = of_terms(pattern::compile("[network-traffic:dst_port = 443]", &table()).unwrap().terms);
    let detailed = vec![
        talkative(indicator(Kind::Ip, LISTED)),
        talkative(indicator(Kind::Ip, "198.51.100.0/24")),
        talkative(indicator(Kind::Domain, "portal.example.com")),
        talkative(port),
        Indicator {
            context: Arc::new(Context { confidence: Confidence::None, ..Context::default() }),
            ..indicator(Kind::Email, "marta@example.com")
        },
    ];
    let plain = vec![indicator(Kind::Ip, LISTED), indicator(Kind::User, "marta")];
    vec![(Feed::named("detailed"), detailed), (Feed::named("plain"), plain)]
}

/// A detector of every schema, which takes a while to build.
static SHIPPED: LazyLock<Detector> =
    LazyLock::new(|| detector(&Arc::new(FieldTable::shipped().unwrap()), EXACT, None, feeds()));

pub fn with(inbound: Inbound, form: TagAs, flat: Flat) -> Detector {
    let policy = Policy { inbound, ..Policy::default() };
    let tagging = Tagging { form, flat, ..Tagging::default() };
    Detector { tagging, policy: Some(policy), ..SHIPPED.clone() }
}

fn samples() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/events/schemas/ocsf.ndjson");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every way of a document, and as the fields of a Vector event.
pub fn every_way(document: &Value) -> Vec<(&'static str, Format, Vec<u8>)> {
    let fields = document.as_object().unwrap().iter();
    let fields: Vec<u8> = fields.flat_map(|(key, value)| message(&[(1, &entry(key, &vector_value(value)))])).collect();
    let mut ways = ways(document);
    ways.push(("Vector fields", Format::Vector, message(&[(1, &fields)])));
    ways
}

/// A value of Vector (`event.proto`).
fn vector_value(value: &Value) -> Vec<u8> {
    let varint = |number: u64| {
        let mut out = Vec::new();
        hotlist::encoding::wire::put_number(&mut out, 4, number);
        out
    };
    match value {
        Value::Null => vec![9 << 3, 0],
        Value::Bool(value) => vec![6 << 3, u8::from(*value)],
        Value::Number(number) => match number.as_i64() {
            Some(number) => varint(number as u64),
            None => [vec![5 << 3 | 1], number.as_f64().unwrap().to_le_bytes().to_vec()].concat(),
        },
        Value::String(text) => message(&[(1, text.as_bytes())]),
        Value::Array(elements) => {
            let list: Vec<u8> = elements.iter().flat_map(|element| message(&[(1, &vector_value(element))])).collect();
            message(&[(8, &list)])
        }
        Value::Object(members) => {
            let entries = members.iter();
            let list: Vec<u8> =
                entries.flat_map(|(key, value)| message(&[(1, &entry(key, &vector_value(value)))])).collect();
            message(&[(7, &list)])
        }
    }
}

pub fn rendered(format: Format, record: &[u8]) -> Value {
    serde_json::from_slice(&format.render_record(record)).unwrap()
}

fn is_ours(element: &Value) -> bool {
    element["type"] == "threat-match"
}

/// The document without what a hit adds to it.
fn without_ours(document: &Value) -> Value {
    let mut document = document.clone();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    assert!(list(&document["enrichments"]).iter().any(is_ours), "{document}");
    let members = document.as_object_mut().unwrap();
    let is_of_feed: fn(&Value) -> bool = |one| one["vendor_name"] == "detailed" || one["vendor_name"] == "plain";
    for (key, is_ours) in [("enrichments", is_ours as fn(&Value) -> bool), ("osint", is_of_feed)] {
        let there = members.get(key).map(list).unwrap_or_default();
        let left: Vec<Value> = there.into_iter().filter(|element| !is_ours(element)).collect();
        match left.is_empty() {
            true => drop(members.shift_remove(key)),
            false => members[key] = left.into(),
        }
    }
    let metadata = document["metadata"].as_object_mut().unwrap();
    let left: Vec<Value> = list(&metadata["profiles"]).into_iter().filter(|name| name != "osint").collect();
    match left.is_empty() {
        true => drop(metadata.shift_remove("profiles")),
        false => metadata["profiles"] = left.into(),
    }
    document
}

/// Scenario: the sample events of OCSF, in every way that events come in.
/// Guarantee: each hit is an element of `enrichments` and one of `osint`, as OCSF's schema has them, and the profile is
/// named once; nothing of ECS is added, nothing else changes, and a second pass changes nothing.
#[test]
fn samples_are_tagged_as_the_schema_says() {
    let detector = with(Inbound::Mark, TagAs::Auto, Flat::Off);
    let (mut types, mut hits) = (BTreeSet::new(), 0);
    for sample in samples() {
        for (way, format, record) in every_way(&sample) {
            let (batch, report) = send(&detector, format, &record);
            let Some(hit) = batch.events.hits.first() else { continue };
            let name = format!("{way}: {sample}");
            let document = rendered(format, &hit.record);
            let enrichments: Vec<&Value> =
                document["enrichments"].as_array().unwrap().iter().filter(|one| is_ours(one)).collect();
            let has_osint = sample["metadata"]["version"] != "1.0.0";
            let osint = document.get("osint").map_or(&[][..], |list| list.as_array().unwrap());
            assert_eq!(enrichments.len() as u64, report.hits.total(), "{name}");
            for enrichment in &enrichments {
                assert_eq!(faults(enrichment, ENRICHMENT), Vec::<String>::new(), "{name}");
                let data = &enrichment["data"];
                assert_eq!(enrichment["name"], data["matched"]["field"], "{name}");
                assert_eq!(enrichment["value"], data["matched"]["atomic"], "{name}");
                assert_eq!(enrichment["provider"], data["feed"]["name"], "{name}");
                assert!(data["hotlist"]["rule"].is_string() && data["indicator"]["name"].is_string(), "{name}");
                let same = |one: &&Value| {
                    one["uid"] == data["matched"]["id"]
                        && one["name"] == enrichment["name"]
                        && one["vendor_name"] == enrichment["provider"]
                };
                assert_eq!(osint.iter().filter(same).count(), usize::from(has_osint), "{name}");
            }
            for one in osint.iter().filter(|one| one["vendor_name"] == "detailed" || one["vendor_name"] == "plain") {
                assert_eq!(faults(one, OSINT), Vec::<String>::new(), "{name}");
                types.insert(one["type_id"].as_i64().unwrap());
            }
            let profiles = document["metadata"]["profiles"].as_array().map_or(&[][..], Vec::as_slice);
            let named = profiles.iter().filter(|profile| **profile == "osint").count();
            assert_eq!(named, usize::from(has_osint), "{name}");
            assert!(document.get("threat").is_none() && document.get("tags").is_none(), "{name}");
            if !way.contains("message") && !way.contains("text") {
                assert_eq!(without_ours(&document), sample, "{name}");
            }
            let (again, _) = send(&detector, format, &hit.record);
            assert_eq!(again.events.hits[0].record, hit.record, "{name}, again");
            hits += 1;
        }
    }
    assert!(hits > 100, "{hits} records hit");
    assert_eq!(types, BTreeSet::from([1, 2, 9, 99]));
}

/// Scenario: an OCSF event whose body is JSON text, so that the tags are attributes, rendered as one document.
/// Guarantee: it is the document of the event with the tags merged into what it has.
#[test]
fn tags_beside_a_text_are_merged_where_the_event_has_such() {
    let other = json!({ "name": "src_endpoint.ip", "value": "192.0.2.1", "type": "location", "data": { "city": "X" } });
    let known = json!({ "type_id": 1, "value": "192.0.2.9", "vendor_name": "other" });
    let event = json!({
        "class_uid": 4001, "metadata": { "version": "1.5.0", "profiles": ["host"] },
        "enrichments": [other], "osint": [known], "dst_endpoint": { "ip": LISTED },
    });
    let detector = with(Inbound::Mark, TagAs::Auto, Flat::Off);
    for (way, format, record) in every_way(&event) {
        let (batch, _) = send(&detector, format, &record);
        let document = rendered(format, &batch.events.hits[0].record);
        if way == "Vector message" {
            continue;
        }
        assert_eq!(document["metadata"]["profiles"], json!(["host", "osint"]), "{way}");
        assert_eq!(document["enrichments"].as_array().unwrap().len(), 3, "{way}: {document:#}");
        assert_eq!(document["enrichments"][0], other, "{way}");
        assert_eq!(document["osint"].as_array().unwrap().len(), 3, "{way}");
        assert_eq!(without_ours(&document), event, "{way}");
    }
}

/// Where a hit of a document is written.
fn schema_of(detector: &Detector, event: &Value) -> (bool, bool) {
    let (batch, _) = send(detector, Format::Filter, event.to_string().as_bytes());
    let document = rendered(Format::Filter, &batch.events.hits[0].record);
    (document.get("threat").is_some(), document.get("enrichments").is_some())
}

#[test]
fn the_schema_is_that_of_the_event_or_of_the_setting() {
    let ocsf = json!({ "class_uid": 4001, "dst_endpoint": { "ip": LISTED } });
    let text = json!({ "class_uid": "4001", "dst_endpoint": { "ip": LISTED } });
    let nested = json!({ "event": { "class_uid": 4001 }, "destination": { "ip": LISTED } });
    for (event, is_ocsf) in [(&ocsf, true), (&text, false), (&nested, false)] {
        let schema = |form| schema_of(&with(Inbound::Mark, form, Flat::Off), event);
        assert_eq!(schema(TagAs::Auto), (!is_ocsf, is_ocsf), "{event}");
        assert_eq!((schema(TagAs::Ecs), schema(TagAs::Ocsf)), ((true, false), (false, true)), "{event}");
    }
}

/// Scenario: a request with events of both schemas.
/// Guarantee: each is tagged in its own.
#[test]
fn events_of_both_schemas_go_in_one_batch() {
    let ecs = json!({ "destination": { "ip": LISTED } });
    let ocsf = json!({ "class_uid": 4001, "dst_endpoint": { "ip": LISTED } });
    let events = [&ecs, &ocsf, &ecs, &ocsf].map(|event| message(&[(2, &message(&[(5, &encode_json(event))]))]));
    let request = message(&[(1, &message(&[(2, &events.concat())]))]);
    let detector = with(Inbound::Mark, TagAs::Auto, Flat::Off);
    let arrival = jiff::Timestamp::UNIX_EPOCH;
    let (batch, _) =
        detector.batch(Format::Otlp, request.into(), arrival, &hotlist::pipeline::Work::default()).unwrap();
    let documents: Vec<Value> = batch.hits.iter().map(|hit| rendered(Format::Otlp, &hit.record)).collect();
    let is_ocsf = documents.iter().map(|document| document.get("enrichments").is_some());
    assert_eq!(Vec::from_iter(is_ocsf), [false, true, false, true]);
    assert!(documents.iter().all(|document| document.get("threat").is_some() != document.get("osint").is_some()));
}

/// Scenario: events of OCSF by versions before and after the profile `osint`, and without a version, in every way.
/// Guarantee: an event whose version has no `osint` gets `enrichments` only; the others get both, and the profile.
#[test]
fn osint_is_written_where_the_version_has_it() {
    let detector = with(Inbound::Mark, TagAs::Auto, Flat::Off);
    for (version, has_osint) in [
        (Some("1.0.0-rc.2"), false),
        (Some("1.2.0"), false),
        (Some("1.3.0"), true),
        (Some("1.10.0"), true),
        (None, true),
    ] {
        let metadata = version.map_or(json!({}), |version| json!({ "version": version }));
        let event = json!({ "class_uid": 4001, "metadata": metadata, "dst_endpoint": { "ip": LISTED } });
        for (way, format, record) in every_way(&event) {
            let (batch, _) = send(&detector, format, &record);
            let document = rendered(format, &batch.events.hits[0].record).to_string();
            assert!(document.contains("\"enrichments\""), "{way}: {document}");
            let found = (document.contains("\"osint\":"), document.contains("[\"osint\"]"));
            assert_eq!(found, (has_osint, has_osint), "{way} {version:?}: {document}");
        }
    }
}

fn forged() -> (Value, Value) {
    let detector = with(Inbound::Mark, TagAs::Auto, Flat::Off);
    let event = json!({ "class_uid": 4001, "dst_endpoint": { "ip": LISTED } });
    let (batch, _) = send(&detector, Format::Filter, event.to_string().as_bytes());
    let document = rendered(Format::Filter, &batch.events.hits[0].record);
    let (mut enrichment, mut osint) = (document["enrichments"][0].clone(), document["osint"][0].clone());
    enrichment["data"]["indicator"]["description"] = "harmless".into();
    osint["comment"] = "harmless".into();
    (enrichment, osint)
}

/// Scenario: events without a hit that arrive with what claims to be ours, among what others wrote, in every way.
/// Guarantee: theirs stays as it is. Of ours `keep` leaves every byte, `mark` says that it is not verified, `strip` removes
/// it with its `osint`. A second pass changes nothing.
#[test]
fn what_claims_to_be_ours_is_kept_marked_or_stripped() {
    let (claim, osint) = forged();
    let theirs = json!({ "name": "device.ip", "value": "192.0.2.1", "type": "location", "data": { "note": "theirs" } });
    let known = json!({ "type_id": 1, "value": "192.0.2.9", "vendor_name": "other", "comment": "known" });
    let mut untyped = claim.clone();
    untyped["type"] = "location".into();
    let mut text = claim.clone();
    text["data"] = claim["data"].to_string().into();
    // Of the last two it cannot be said which `osint` came with them.
    let lists = [
        (json!([theirs, claim]), true),
        (json!([claim, theirs]), true),
        (json!([theirs, untyped]), true),
        (json!([theirs, [claim]]), false),
        (json!([theirs, text]), false),
    ];
    for (list, is_paired) in lists {
        let event = json!({ "class_uid": 4001, "dst_endpoint": { "ip": "192.0.2.1" }, "enrichments": list,
            "osint": [known, osint] });
        for (way, format, record) in every_way(&event) {
            for inbound in [Inbound::Keep, Inbound::Mark, Inbound::Strip] {
                let detector = with(inbound, TagAs::Auto, Flat::Off);
                let (batch, report) = send(&detector, format, &record);
                let name = format!("{way}, {inbound:?}: {event}");
                assert!(batch.events.hits.is_empty() && report.hits.is_empty(), "{name}");
                let left = batch.events.marked.first().map_or(&record[..], |marked| &marked.record);
                let has = |text: &str| memchr::memmem::find_iter(left, text.as_bytes()).count();
                assert_eq!((has("theirs"), has("known")), (1, 1), "{name}");
                match inbound {
                    Inbound::Keep => assert_eq!((left, report.inbound.kept), (&record[..], 1), "{name}"),
                    Inbound::Mark => {
                        assert_eq!(report.inbound.marked, 1, "{name}");
                        assert!(
                            has("verified") >= 1 && has("threat-match") == has("threat-match-unverified"),
                            "{name}"
                        );
                    }
                    Inbound::Strip => {
                        assert_eq!((report.inbound.stripped, has("threat-match")), (1, 0), "{name}");
                        assert_eq!(has("harmless"), usize::from(!is_paired), "{name}");
                    }
                }
                let (again, _) = send(&detector, format, left);
                assert!(again.events.marked.is_empty(), "{name}, again");
            }
        }
    }
}

/// Scenario: an event that hits and arrives with the forged element of the same identity, or of another.
/// Guarantee: ours is there once, without a mark, and what the forger wrote in its place is gone.
#[test]
fn a_forged_element_never_stands_for_a_hit() {
    let (claim, osint) = forged();
    let event =
        json!({ "class_uid": 4001, "dst_endpoint": { "ip": LISTED }, "enrichments": claim, "osint": [osint, osint] });
    for (way, format, record) in every_way(&event) {
        for inbound in [Inbound::Keep, Inbound::Mark, Inbound::Strip] {
            let detector = with(inbound, TagAs::Auto, Flat::Off);
            let (batch, report) = send(&detector, format, &record);
            let tagged = &batch.events.hits[0].record;
            let has = |text: &str| memchr::memmem::find_iter(tagged, text.as_bytes()).count();
            let is_beside = way.contains("text") || way == "Vector message";
            let name = format!("{way}, {inbound:?}");
            assert_eq!(report.hits.total(), 2, "{name}");
            if !is_beside {
                assert_eq!((has("harmless"), has("verified"), has("indicator_match_rule")), (0, 0, 2), "{name}");
                assert_eq!(rendered(format, tagged)["osint"].as_array().unwrap().len(), 2, "{name}");
            }
            let (again, _) = send(&detector, format, tagged);
            assert_eq!(&again.events.hits[0].record, tagged, "{name}, again");
        }
    }
}

/// One of these values at a key, or nothing.
fn at(key: &'static str, values: Vec<Value>) -> impl Strategy<Value = Option<(&'static str, Value)>> {
    prop::option::of(prop::sample::select(values).prop_map(move |value| (key, value)))
}

fn malformed() -> impl Strategy<Value = Value> {
    let theirs = json!({ "name": "device.ip", "value": "192.0.2.1", "type": "location", "data": {} });
    let known = json!({ "type_id": 1, "value": "192.0.2.9", "vendor_name": "other" });
    let lists = |one: Value| vec![json!(null), json!([]), json!([one]), json!([[one], 7]), one, json!("x"), json!(5)];
    let profiles =
        vec![json!(null), json!(["host"]), json!(["osint", "host"]), json!("host"), json!("osint"), json!([])];
    let inside: Vec<Value> =
        profiles.iter().map(|profiles| json!({ "version": "1.5.0", "profiles": profiles })).collect();
    let metadata = [vec![json!(null), json!("x"), json!({})], inside].concat();
    let hotlist = vec![json!("x"), json!({}), json!({ "a": 1 }), json!([1])];
    let event = (
        at("enrichments", lists(theirs)),
        at("osint", lists(known)),
        at("metadata", metadata),
        at("metadata.profiles", profiles),
        at("hotlist", hotlist),
        at("hotlist.osint", vec![json!([]), json!("x")]),
    );
    event.prop_map(|(a, b, c, d, e, f)| {
        let mut event = json!({ "class_uid": 4001, "dst_endpoint": { "ip": LISTED, "port": 443 } });
        let members = event.as_object_mut().unwrap();
        members.extend([a, b, c, d, e, f].into_iter().flatten().map(|(key, value)| (key.to_owned(), value)));
        event
    })
}

/// The elements of a list, or of one value in its place.
fn elements(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(elements) => elements.clone(),
        one => vec![one.clone()],
    }
}

proptest! {
    /// Scenario: events of OCSF with anything where the tags go, in every way.
    /// Guarantee: every hit is written once, what was there is still there, the result is the same in each way, and a second
    /// pass changes nothing.
    #[test]
    fn whatever_stands_there_stays(event in malformed(), is_flat: bool) {
        let flat = if is_flat { Flat::On } else { Flat::Off };
        let detector = with(Inbound::Keep, TagAs::Auto, flat);
        let mut first: Option<Value> = None;
        let is_scalar = |key: &str| event.get(key).is_some_and(|value| value.is_string() || value.is_number());
        for (way, format, record) in every_way(&event) {
            let (batch, report) = send(&detector, format, &record);
            let tagged = &batch.events.hits[0].record;
            let (again, _) = send(&detector, format, tagged);
            prop_assert_eq!(&again.events.hits[0].record, tagged, "{}, again", way);
            let has = |text: &str| memchr::memmem::find_iter(tagged, text.as_bytes()).count() as u64;
            prop_assert_eq!(has("indicator_match_rule"), report.hits.total(), "{}", way);
            prop_assert_eq!(has("vendor_name") - u64::from(event.to_string().contains("vendor_name")), report.hits.total());
            // Tags next to a text, and dotted ones, have the same content in another shape.
            if way == "OTLP text" || way == "OTLP attributes" || way == "Vector message" {
                continue;
            }
            let document = rendered(format, tagged);
            prop_assert_eq!(first.get_or_insert_with(|| document.clone()), &document, "{}", way);
            for key in ["class_uid", "dst_endpoint"] {
                prop_assert_eq!(&document[key], &event[key]);
            }
            for (key, own) in [("enrichments", "hotlist.enrichments"), ("osint", "hotlist.osint")] {
                let (before, after) = (elements(&event[key]), elements(&document[key]));
                prop_assert_eq!(&after[..before.len()], &before[..], "{} {}", way, key);
                let is_beside = document.get(own).is_some() || document["hotlist"].get("enrichments").is_some();
                prop_assert!(!is_scalar(key) || (after.len() == before.len() && is_beside), "{} {}", way, key);
            }
            let profiles = [&document["metadata"]["profiles"], &document["metadata.profiles"]].map(elements).concat();
            prop_assert!(profiles.contains(&json!("osint")));
            prop_assert!(report.own_place == 1 || !(is_scalar("enrichments")), "{}", way);
        }
    }
}
