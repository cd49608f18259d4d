//! Lines of JSON: the document as it is rendered alone, and below `opentelemetry` what OTLP has besides.

use std::collections::BTreeMap;

use bytes::Bytes;
use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{encode_json, render_record};
use hotlist::encoding::{Format, LineWriter, transcode, wire};
use proptest::prelude::*;
use serde_json::json;

use crate::common::*;

/// A message from its fields, each a number and its content.
fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(number, content)| wire::put_bytes(&mut out, *number, content));
    out
}

fn attributes(number: u32, members: &[(String, Json)]) -> Vec<u8> {
    let entries = members.iter().map(|(key, value)| {
        let entry = message(&[(1, key.as_bytes()), (2, &encode_json(value))]);
        message(&[(number, &entry)])
    });
    entries.collect::<Vec<_>>().concat()
}

/// A request of records with one resource and one scope.
fn request(resource: &[(String, Json)], records: &[Vec<u8>]) -> Vec<u8> {
    let records: Vec<u8> = records.iter().flat_map(|record| message(&[(2, record)])).collect();
    let scope = message(&[(1, &message(&[(1, b"lib"), (2, b"1.2")]))]);
    let scope_logs = [scope, records, message(&[(3, b"https://example.com/scope")])].concat();
    let resource = message(&[(1, &attributes(1, resource)), (2, &scope_logs)]);
    message(&[(1, &resource)])
}

fn lines(format: Format, batch: &[u8]) -> Vec<Json> {
    let mut spans = Vec::new();
    format.envelope().records(batch, |span| spans.push(span)).unwrap();
    let mut writer = LineWriter::new(format, batch, spans.len());
    let mut out = Vec::new();
    for span in &spans {
        let before = out.len();
        let record = &batch[span.record.payload()];
        writer.write(&mut out, Some(span), record);
        assert!(out.len() - before <= writer.weight(record), "the weight is a bound");
    }
    out.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn pairs(members: &Json) -> Vec<(String, Json)> {
    members.as_object().unwrap().clone().into_iter().collect()
}

/// The whole shape, as it is documented.
#[test]
fn a_line_has_what_otlp_has() {
    let mut record = Vec::new();
    wire::put_fixed64(&mut record, 1, 1_700_000_000_000_000_001);
    wire::put_number(&mut record, 2, 9);
    record.extend(message(&[(3, b"INFO"), (5, &encode_json(&json!({"a": 1, "host": {"name": "own"}})))]));
    record.extend(attributes(6, &[("host.name".to_owned(), json!("other")), ("b".to_owned(), json!(2))]));
    wire::put_fixed32(&mut record, 8, 1);
    record.extend(message(&[(9, &[0xab; 16]), (10, &[1; 8]), (12, b"login")]));
    wire::put_fixed64(&mut record, 11, 1_700_000_001_000_000_000);
    let resource = json!({"service.name": "shop", "k8s.pod.name": "shop-1", "n": [1, {"deep": null}]});
    let batch = request(&pairs(&resource), &[record, Vec::new()]);
    let around = json!({
        "resource": {"attributes": resource},
        "scope": {"name": "lib", "version": "1.2"},
        "scope_schema_url": "https://example.com/scope",
    });
    let mut expected = json!({
        "timestamp": "2023-11-14T22:13:20.000000001Z",
        "observed_timestamp": "2023-11-14T22:13:21Z",
        "severity_number": 9,
        "severity_text": "INFO",
        "trace_id": "ab".repeat(16),
        "span_id": "01".repeat(8),
        "flags": 1,
        "event_name": "login",
        "attributes": {"host.name": "other"},
    });
    expected.as_object_mut().unwrap().extend(pairs(&around));
    let lines = lines(Format::Otlp, &batch);
    assert_eq!(
        lines[0],
        json!({"a": 1, "host": {"name": "own"}, "b": 2, "@timestamp": "2023-11-14T22:13:20.000000001Z", "opentelemetry": expected})
    );
    assert_eq!(lines[1], json!({"opentelemetry": around}));
}

/// A key that the event has is never overwritten, and a record that cannot be read still says where it is from.
#[test]
fn an_event_keeps_its_own_key() {
    let body = |document: Json| message(&[(5, &encode_json(&document))]);
    let records = [
        body(json!({"opentelemetry": "mine"})),
        body(json!({"opentelemetry": 1, "hotlist": {"opentelemetry": 2}})),
        b"\x2a\x05x".to_vec(),
    ];
    let lines = lines(Format::Otlp, &request(&[("service.name".to_owned(), json!("shop"))], &records));
    assert_eq!(lines[0]["opentelemetry"], "mine");
    assert_eq!(lines[0]["hotlist.opentelemetry"]["resource"]["attributes"]["service.name"], "shop");
    assert_eq!(lines[1], json!({"opentelemetry": 1, "hotlist": {"opentelemetry": 2}}));
    assert_eq!(lines[2]["opentelemetry"]["resource"]["attributes"]["service.name"], "shop");
    assert_eq!(lines[2]["hotlist"]["unreadable_record"], "KgV4");
}

/// Scenario: many small records below a large resource. Guarantee: the lines do not repeat all of it, say so, and still
/// say which service it was.
#[test]
fn a_large_resource_is_not_repeated_whole() {
    let mut resource: Vec<_> = (0..2000).map(|number| (format!("a{number}"), json!("x".repeat(50)))).collect();
    resource.push(("service.name".to_owned(), json!("shop")));
    resource.push(("long".to_owned(), json!("y".repeat(100_000))));
    let batch = request(&resource, &vec![Vec::new(); 5_000]);
    let lines = lines(Format::Otlp, &batch);
    assert_eq!(lines.len(), 5_000);
    for line in [&lines[0], &lines[4_999]] {
        assert!(line.to_string().len() < 3 << 10, "{line}");
        assert_eq!(line["opentelemetry"]["truncated"], true);
        assert_eq!(line["opentelemetry"]["resource"]["attributes"]["service.name"], "shop");
    }
}

/// Every path of a document, nested or dotted at any of its dots.
fn every_path(document: &Json, before: &str, paths: &mut Vec<String>) {
    for (key, value) in document.as_object().into_iter().flatten() {
        let path = format!("{before}{key}");
        every_path(value, &format!("{path}."), paths);
        paths.push(path);
    }
}

fn small() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![Just(Json::Null), any::<i32>().prop_map(Json::from), "[a-z\"]{0,3}".prop_map(Json::from)];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map("[ab.]{1,3}", inner, 0..3).prop_map(|members| members.into_iter().collect::<Json>())
    });
    prop::collection::btree_map("[ab.]{1,3}", value, 0..5).prop_map(|members| members.into_iter().collect::<Json>())
}

proptest! {
    /// Law: each attribute is a member of the line where the document has nothing of its name, nested or dotted, and
    /// stands in `opentelemetry.attributes` else. The fast version does what asking for each one does.
    #[test]
    fn attributes_go_where_the_document_has_none(document in small(), more in prop::collection::btree_map("[ab.]{1,5}", any::<i32>(), 0..12)) {
        let members: Vec<_> = more.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        for body in [document.clone(), json!(document.to_string())] {
            let record = [message(&[(5, &encode_json(&body))]), attributes(6, &members)].concat();
            let mut paths = Vec::new();
            every_path(&document, "", &mut paths);
            let (others, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
                members.iter().cloned().partition(|(key, _)| paths.contains(key));
            let mut expected = document.clone();
            expected.as_object_mut().unwrap().extend(own);
            let rendered: Json = serde_json::from_slice(&render_record(&record)).unwrap();
            prop_assert_eq!(&rendered, &expected);
            let line = lines(Format::Otlp, &request(&[], &[record])).remove(0);
            let beside = line["opentelemetry"].get("attributes").cloned().unwrap_or(json!({}));
            prop_assert_eq!(beside, json!(others));
        }
    }

    /// Law: a line without `opentelemetry` is the document that is rendered alone, and an event that went through Vector
    /// says the same of OpenTelemetry.
    #[test]
    fn a_line_is_its_document(document in document(), number in 1i64..24, resource in small()) {
        let mut record = message(&[(3, b"WARN"), (5, &encode_json(&document)), (9, &[7; 16])]);
        wire::put_number(&mut record, 2, number as u64);
        let batch = request(&pairs(&resource), &[record.clone()]);
        let mut line = lines(Format::Otlp, &batch).remove(0);
        let beside = line.as_object_mut().unwrap().remove("opentelemetry");
        prop_assert_eq!(&line, &serde_json::from_slice::<Json>(&render_record(&record)).unwrap());
        let there = transcode(&Bytes::from(batch), Format::Otlp, Format::Vector, |_| true).unwrap();
        let converted = lines(Format::Vector, &there).remove(0);
        prop_assert_eq!(converted.get("opentelemetry"), beside.as_ref());
    }

    /// Law: whatever the bytes are, each record is one line of JSON.
    #[test]
    fn nothing_panics(bytes: Vec<u8>, records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5)) {
        let scope_logs: Vec<u8> = records.iter().flat_map(|record| message(&[(2, record)])).collect();
        let batch = message(&[(1, &[message(&[(1, &bytes)]), message(&[(2, &[message(&[(1, &bytes)]), scope_logs].concat())])].concat())]);
        if OTLP.records(&batch, |_| {}).is_ok() {
            prop_assert_eq!(lines(Format::Otlp, &batch).len(), records.len());
        }
        let events: Vec<u8> = records.iter().flat_map(|record| message(&[(1, record)])).collect();
        prop_assert_eq!(lines(Format::Vector, &events).len(), records.len());
    }
}
