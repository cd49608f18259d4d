//! OTLP: walk, tag, splice, split and render against decoding with `opentelemetry-proto`.

use bytes::Bytes;
use hotlist::encoding::envelope::{MAX_REPETITION, OTLP};
use hotlist::encoding::otlp::{encode_json, render_record, request_of, tag_record, walk_record};
use hotlist::encoding::{Document, MalformedRecord, RecordSpan, Rope, TagInto};
use hotlist::encoding::{json, wire};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Member;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message as _;

use crate::common::*;

/// A JSON value as OTLP's own types, independent of our encoder.
fn any_value(value: &Json) -> AnyValue {
    let member = match value {
        Json::Null => None,
        Json::Bool(value) => Some(Member::BoolValue(*value)),
        Json::Number(number) => Some(match number.as_i64() {
            Some(value) => Member::IntValue(value),
            None => Member::DoubleValue(number.as_f64().unwrap()),
        }),
        Json::String(text) => Some(Member::StringValue(text.clone())),
        Json::Array(elements) => {
            Some(Member::ArrayValue(ArrayValue { values: elements.iter().map(any_value).collect() }))
        }
        Json::Object(_) => Some(Member::KvlistValue(KeyValueList { values: key_values(value) })),
    };
    AnyValue { value: member }
}

fn key_values(object: &Json) -> Vec<KeyValue> {
    let members = object.as_object().unwrap().iter();
    members
        .map(|(key, value)| KeyValue { key: key.clone(), value: Some(any_value(value)), ..KeyValue::default() })
        .collect()
}

fn text(text: impl Into<String>) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Member::StringValue(text.into())) })
}

/// A record whose event lives in its body, in a string, or in its attributes.
fn record_of(document: &Json, place: Document) -> LogRecord {
    let record =
        LogRecord { time_unix_nano: 1_700_000_000_000_000_001, severity_number: 9, flags: 1, ..LogRecord::default() };
    match place {
        Document::Body => LogRecord { body: Some(any_value(document)), ..record },
        Document::JsonBody => LogRecord { body: text(format!(" {document}\n")), ..record },
        Document::Attributes => LogRecord { body: text("hello"), attributes: key_values(document), ..record },
    }
}

const PLACES: [Document; 3] = [Document::Body, Document::JsonBody, Document::Attributes];

fn batch() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record =
        (document(), prop::sample::select(PLACES.to_vec())).prop_map(|(document, place)| record_of(&document, place));
    let scope = (prop::collection::vec(record, 0..5), any::<bool>()).prop_map(|(log_records, with)| ScopeLogs {
        scope: with.then(|| InstrumentationScope { name: "scope".to_owned(), ..InstrumentationScope::default() }),
        log_records,
        schema_url: if with { "https://example.com/scope".to_owned() } else { String::new() },
    });
    let resource = (prop::collection::vec(scope, 0..4), any::<bool>()).prop_map(|(scope_logs, with)| ResourceLogs {
        resource: with.then(|| Resource {
            attributes: vec![KeyValue { key: "host".to_owned(), value: text("h"), ..KeyValue::default() }],
            ..Resource::default()
        }),
        scope_logs,
        schema_url: if with { "https://example.com/resource".to_owned() } else { String::new() },
    });
    prop::collection::vec(resource, 0..4).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

fn spans(batch: &[u8]) -> Vec<RecordSpan> {
    let mut found = Vec::new();
    OTLP.records(batch, |span| found.push(span)).unwrap();
    found
}

/// A record with the resource and scope around it, each with its schema URL.
type Placed = (Option<Resource>, String, Option<InstrumentationScope>, String, LogRecord);

/// Every record with what is around it.
fn flat(request: &ExportLogsServiceRequest) -> Vec<Placed> {
    let mut found = Vec::new();
    for resource in &request.resource_logs {
        for scope in &resource.scope_logs {
            for record in &scope.log_records {
                let around = (resource.resource.clone(), resource.schema_url.clone());
                found.push((around.0, around.1, scope.scope.clone(), scope.schema_url.clone(), record.clone()));
            }
        }
    }
    found
}

fn walked(record: &[u8]) -> Result<(Document, Seen), MalformedRecord> {
    let mut seen = Collect::default();
    let info = walk_record(record, trie(), &mut seen);
    info.fault.map_or(Ok((info.document, seen.0)), Err)
}

proptest! {
    /// The walk of a record's bytes sees what the reference sees in the decoded document, wherever the event lives.
    #[test]
    fn walk_is_decode_then_walk(document in document()) {
        for place in PLACES {
            let bytes = record_of(&document, place).encode_to_vec();
            prop_assert_eq!(walked(&bytes).unwrap(), (place, reference(&document)));
        }
    }

    /// Our encoder writes what OTLP's own types read.
    #[test]
    fn encoded_json_decodes_to_itself(document in document()) {
        prop_assert_eq!(AnyValue::decode(&encode_json(&document)[..]).unwrap(), any_value(&document));
    }

    /// The records found in a batch's bytes are the decoded ones, in order.
    #[test]
    fn records_are_those_that_decoding_finds(request in batch()) {
        let bytes = request.encode_to_vec();
        let found: Vec<_> = spans(&bytes).iter().map(|span| LogRecord::decode(&bytes[span.record.payload()]).unwrap()).collect();
        let expected: Vec<_> = flat(&request).into_iter().map(|record| record.4).collect();
        prop_assert_eq!(found, expected);
    }

    /// Splicing then decoding is decoding then replacing; no edits give the same bytes.
    #[test]
    fn splice_is_decode_then_replace(mut request in batch(), chosen in prop::collection::vec((any::<bool>(), 0usize..40_000), 60)) {
        let bytes = Bytes::from(request.encode_to_vec());
        prop_assert_eq!(OTLP.splice(&bytes, &[]).to_bytes().as_ptr(), bytes.as_ptr());
        let mut edits = Vec::new();
        for (span, (edit, length)) in spans(&bytes).into_iter().zip(&chosen) {
            if *edit {
                let replaced = LogRecord { severity_text: "x".repeat(*length), ..LogRecord::default() };
                edits.push((span, Bytes::from(replaced.encode_to_vec())));
            }
        }
        let records = request.resource_logs.iter_mut().flat_map(|r| &mut r.scope_logs).flat_map(|s| &mut s.log_records);
        for (record, (edit, length)) in records.zip(&chosen) {
            if *edit {
                *record = LogRecord { severity_text: "x".repeat(*length), ..LogRecord::default() };
            }
        }
        let spliced = OTLP.splice(&bytes, &edits);
        prop_assert_eq!(spliced.len(), spliced.to_bytes().len());
        prop_assert_eq!(ExportLogsServiceRequest::decode(spliced.to_bytes()).unwrap(), request);
    }

    /// The parts of a split are each small enough, one record, or mostly repetition; together they have every record
    /// with what is around it, and are not much larger than the batch.
    #[test]
    fn split_loses_nothing(request in batch(), max_bytes in 1usize..4000) {
        let bytes = Bytes::from(request.encode_to_vec());
        let parts: Vec<_> = OTLP.split(&bytes, max_bytes).collect();
        let mut found = Vec::new();
        for part in &parts {
            let decoded = ExportLogsServiceRequest::decode(part.to_bytes()).unwrap();
            let part_records = flat(&decoded);
            let but_the_last = part_records.split_last().map_or(&[][..], |(_, records)| records);
            let own: usize = but_the_last.iter().map(|record| record.4.encoded_len()).sum();
            prop_assert!(part.len() <= max_bytes || part.len() > own * MAX_REPETITION, "{} > {}", part.len(), max_bytes);
            found.extend(part_records);
        }
        prop_assert_eq!(found, flat(&request));
        // Greedy: two neighbours never fit together.
        for pair in parts.windows(2) {
            prop_assert!(pair[0].len() + pair[1].len() > max_bytes);
        }
        prop_assert!(parts.iter().map(|part| part.len()).sum::<usize>() <= bytes.len() * MAX_REPETITION);
    }

    /// Tagging a body then decoding is decoding then adding, as for JSON; a second pass changes nothing.
    #[test]
    fn tag_is_decode_then_add(document in taggable()) {
        let enrichments = [enrichment(1), enrichment(2)];
        let mut expected = document.clone();
        add(&mut expected);
        let record = record_of(&document, Document::Body);
        let (tagged, outcome) = tag_record(&record.encode_to_vec(), &tags(TagInto::Auto, &enrichments));
        let decoded = LogRecord::decode(&tagged[..]).unwrap();
        prop_assert_eq!(decoded, LogRecord { body: Some(any_value(&expected)), ..record });
        prop_assert_eq!(outcome.changed, expected != document);
        let (again, outcome) = tag_record(&tagged, &tags(TagInto::Auto, &enrichments));
        prop_assert!(!outcome.changed);
        prop_assert_eq!(again, tagged);
    }

    /// In attributes the same, but a key that was absent is dotted; the body stays. A second pass changes nothing.
    #[test]
    fn attributes_take_tags_beside_an_untouched_body(document in taggable()) {
        let enrichments = [enrichment(1), enrichment(2)];
        let mut expected = document.clone();
        add(&mut expected);
        let record = record_of(&document, Document::Attributes);
        let (tagged, _) = tag_record(&record.encode_to_vec(), &tags(TagInto::Auto, &enrichments));
        let decoded = LogRecord::decode(&tagged[..]).unwrap();
        prop_assert_eq!(&decoded.body, &record.body);
        for name in ["threat", "hotlist"] {
            let added = expected.get(name).filter(|_| document.get(name).is_none()).cloned();
            if let Some(added) = added {
                let members = expected.as_object_mut().unwrap();
                members.insert(format!("{name}.enrichments"), added["enrichments"].clone());
                members.remove(name);
            }
        }
        let by_key = |mut attributes: Vec<KeyValue>| { attributes.sort_by(|a, b| a.key.cmp(&b.key)); attributes };
        prop_assert_eq!(by_key(decoded.attributes), by_key(key_values(&expected)));
        let (again, _) = tag_record(&tagged, &tags(TagInto::Auto, &enrichments));
        prop_assert_eq!(again, tagged);
    }

    /// Rendering gives the document back, with `@timestamp`, wherever the event lives.
    #[test]
    fn render_gives_the_document_back(document in document()) {
        for place in PLACES {
            let rendered = render_record(&record_of(&document, place).encode_to_vec());
            let mut expected = document.clone();
            let members = expected.as_object_mut().unwrap();
            if place == Document::Attributes {
                members.insert("message".to_owned(), "hello".into());
            }
            members.insert("@timestamp".to_owned(), "2023-11-14T22:13:20.000000001Z".into());
            // As OTLP sees numbers: beyond 64 bits with sign they are doubles.
            prop_assert_eq!(any_value(&serde_json::from_slice(&rendered).unwrap()), any_value(&expected));
        }
    }

    /// Arbitrary bytes, and valid batches truncated or changed at one place, are refused, reported as malformed or
    /// handled; nothing panics, and everything that is rendered is JSON.
    #[test]
    fn nothing_panics(bytes: Vec<u8>, request in batch(), at: prop::sample::Index, byte: u8) {
        let good = request.encode_to_vec();
        let at = if good.is_empty() { 0 } else { at.index(good.len()) };
        let mut changed = good.clone();
        if let Some(place) = changed.get_mut(at) { *place = byte; }
        for batch in [&bytes[..], &good[..at], &changed] {
            let mut found = Vec::new();
            let walkable = OTLP.records(batch, |span| found.push(span)).is_ok();
            let mut parts: Vec<&[u8]> = found.iter().map(|span| &batch[span.record.payload()]).collect();
            parts.push(&bytes);
            for record in parts {
                let _ = walked(record);
                for into in [TagInto::Auto, TagInto::Body, TagInto::Attributes] {
                    let _ = tag_record(record, &tags(into, &[enrichment(1)]));
                }
                let rendered = render_record(record);
                let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(&rendered);
                prop_assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(&rendered));
            }
            if walkable {
                let batch = Bytes::copy_from_slice(batch);
                let edits: Vec<_> = found.iter().map(|span| (*span, Bytes::from_static(b""))).collect();
                OTLP.splice(&batch, &edits);
                OTLP.split(&batch, 100).for_each(drop);
            }
        }
    }
}

/// A message from its fields, each a number and its content.
fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(number, content)| wire::put_bytes(&mut out, *number, content));
    out
}

#[test]
fn a_value_before_its_key_and_a_body_behind_the_attributes_are_read() {
    let ip = encode_json(&"192.0.2.1".into());
    let member = message(&[(2, &ip), (1, b"source.ip")]);
    let body = message(&[(6, &message(&[(1, &member)]))]);
    let (document, seen) = walked(&message(&[(6, &member), (5, &body), (3, b"INFO")])).unwrap();
    assert_eq!((document, seen.len()), (Document::Body, 2));
}

#[test]
fn what_protobuf_would_merge_is_a_fault_and_hides_no_value() {
    let ip = encode_json(&"192.0.2.1".into());
    let cases = [
        message(&[(5, &ip), (5, &ip)]),
        message(&[(6, &message(&[(1, b"source.ip"), (2, &ip), (2, &ip)]))]),
        message(&[(6, &message(&[(1, b"source.ip"), (2, &[ip.clone(), ip.clone()].concat())]))]),
    ];
    for record in &cases {
        assert!(matches!(walked(record), Err(MalformedRecord::Repeated(_))), "{record:02x?}");
        let mut seen = Collect::default();
        walk_record(record, trie(), &mut seen);
        let expected = if record == &cases[0] { 0 } else { 2 };
        assert_eq!(seen.0.len(), expected, "{record:02x?}");
        let (tagged, outcome) = tag_record(record, &tags(TagInto::Auto, &[enrichment(1)]));
        assert!(outcome.changed && tagged.starts_with(record), "{record:02x?}");
        assert_eq!(tag_record(&tagged, &tags(TagInto::Auto, &[enrichment(1)])).0, tagged, "{record:02x?}");
    }
}

#[test]
fn bytes_invalid_utf8_and_json_bytes_are_text() {
    let malformed = message(&[(7, b"a\xffb")]);
    let record = message(&[
        (6, &message(&[(1, b"user.name"), (2, &malformed)])),
        (5, &message(&[(7, br#"{"source.ip":"x"}"#)])),
    ]);
    let (document, seen) = walked(&record).unwrap();
    assert_eq!(document, Document::JsonBody);
    assert_eq!(
        seen.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
        ["Text([97, 255, 98])", "Text([120])"]
    );
}

#[test]
fn a_json_body_that_breaks_off_gives_what_stands_before() {
    let record = message(&[(5, &encode_json(&r#"{"source.ip":"192.0.2.1","a":[}"#.into()))]);
    let mut seen = Collect::default();
    let info = walk_record(&record, trie(), &mut seen);
    assert_eq!((info.document, info.malformed), (Document::Attributes, Some(json::Malformation::Other)));
    seen.0.dedup();
    assert_eq!(seen.0.len(), 1, "{:?}", seen.0);
}

#[test]
fn a_json_body_keeps_its_text_and_the_tags_meet_it_when_it_is_rendered() {
    let document = serde_json::json!({"source": {"ip": "192.0.2.1"}, "tags": ["a"]});
    let record = record_of(&document, Document::JsonBody);
    let (tagged, _) = tag_record(&record.encode_to_vec(), &tags(TagInto::Auto, &[enrichment(1)]));
    let decoded = LogRecord::decode(&tagged[..]).unwrap();
    assert_eq!(decoded.body, record.body);
    assert_eq!(decoded.attributes.iter().map(|a| a.key.as_str()).collect::<Vec<_>>(), ["threat.enrichments", "tags"]);
    let rendered: Json = serde_json::from_slice(&render_record(&tagged)).unwrap();
    assert_eq!(rendered["threat"]["enrichments"], serde_json::json!([enrichment(1)]));
    assert_eq!(rendered["tags"], serde_json::json!(["a", "threat-match"]));

    let (forced, _) = tag_record(&record.encode_to_vec(), &tags(TagInto::Body, &[enrichment(1)]));
    let decoded = LogRecord::decode(&forced[..]).unwrap();
    let expected = json::tag(format!(" {document}\n").as_bytes(), &tags(TagInto::Auto, &[enrichment(1)])).unwrap().0;
    assert_eq!(decoded.body, text(String::from_utf8(expected).unwrap()));
    assert!(decoded.attributes.is_empty());
}

#[test]
fn unknown_fields_survive_tagging_splicing_and_splitting_at_every_level() {
    let value = [encode_json(&serde_json::json!(["a"])), message(&[(99, b"in the value")])].concat();
    let member = message(&[(98, b"in the member"), (1, b"tags"), (2, &value)]);
    let list = [message(&[(1, &member)]), message(&[(97, b"in the list")])].concat();
    let body = message(&[(96, b"before the list"), (6, &list)]);
    let record = message(&[(95, b"in the record"), (5, &body)]);
    let scope = message(&[(94, b"in the scope"), (2, &record), (2, &record)]);
    let resource = message(&[(93, b"in the resource"), (2, &scope)]);
    let batch = Bytes::from(message(&[(92, b"in the request"), (1, &resource)]));
    let found = spans(&batch);
    let (tagged, _) = tag_record(&record, &tags(TagInto::Auto, &[enrichment(1)]));
    let spliced = OTLP.splice(&batch, &[(found[0], Bytes::from(tagged))]).to_bytes();
    assert_eq!(spans(&spliced).len(), 2);
    let parts: Vec<_> = OTLP.split(&spliced, spliced.len() - 1).collect();
    assert_eq!(parts.len(), 2);
    for marks in [&spliced, &parts[0].to_bytes(), &parts[1].to_bytes()] {
        for mark in ["value", "member", "list", "the list", "record", "scope", "resource", "request"] {
            assert!(memchr::memmem::find(marks, mark.as_bytes()).is_some(), "{mark}");
        }
    }
}

/// Scenario: a resource of 100 KiB next to thousands of tiny records, for a next hop that takes 4 KiB, or just more than the
/// resource. Guarantee: what is sent is at most 16 times the batch, although each part repeats the resource.
#[test]
fn repetition_is_bounded_when_a_batch_is_split() {
    let record = message(&[(2, b"")]);
    let scope = message(&[(2, &record)]).repeat(20_000);
    let resource = message(&[(1, &[b'r'; 100_000]), (2, &scope)]);
    let batch = Bytes::from(message(&[(1, &resource)]));
    for max_bytes in [4_000, 100_100, 150_000] {
        let parts: Vec<_> = OTLP.split(&batch, max_bytes).collect();
        let records: usize = parts.iter().map(|part| spans(&part.to_bytes()).len()).sum();
        let bytes: usize = parts.iter().map(Rope::len).sum();
        assert_eq!(records, 20_000);
        assert!((2..=16).contains(&parts.len()) && bytes <= batch.len() * MAX_REPETITION, "{} parts", parts.len());
    }
}

/// Scenario: bodies and attributes of a thousand levels. Guarantee: what is rendered is JSON that the common parsers
/// read, which stop at 127 levels; what lies deeper is null.
#[test]
fn what_is_rendered_is_never_too_deep_to_be_read() {
    let field = |number, content: &[u8]| message(&[(number, content)]);
    for key in [None, Some("k")] {
        let mut value = field(1, b"deep");
        for _ in 0..1000 {
            value = match key {
                None => field(5, &field(1, &value)),
                Some(key) => field(6, &field(1, &message(&[(1, key.as_bytes()), (2, &value)]))),
            };
        }
        let attribute = field(6, &message(&[(1, b"x"), (2, &value)]));
        for record in [field(5, &value), attribute] {
            let rendered = String::from_utf8(render_record(&record)).unwrap();
            assert!(serde_json::from_str::<Json>(&rendered).is_ok(), "{rendered}");
            assert!(rendered.contains("null") && rendered.matches(['{', '[']).count() == 127, "{rendered}");
        }
    }
}

#[test]
fn an_unreadable_record_is_rendered_whole_and_an_unreadable_envelope_is_named() {
    assert_eq!(render_record(b"\x2a\x05x"), br#"{"hotlist":{"unreadable_record":"KgV4"}}"#);
    let error = OTLP.records(b"\x0a\x02\x12\x05", |_| {}).unwrap_err().to_string();
    assert!(error.contains("ResourceLogs at byte 2 ") && error.contains("cannot be read"), "{error}");
    assert!(OTLP.records(b"\x08\x01", |_| {}).is_err(), "resource_logs as a number");
}

#[test]
fn a_request_of_documents_holds_them_in_order_at_their_times() {
    let documents = [serde_json::json!({"a": 1}), serde_json::json!({})];
    let request = request_of(documents.iter().enumerate().map(|(at, document)| (at as u64 + 7, document)));
    let decoded = flat(&ExportLogsServiceRequest::decode(&request[..]).unwrap());
    let found: Vec<_> = decoded.into_iter().map(|record| (record.4.time_unix_nano, record.4.body.unwrap())).collect();
    assert_eq!(found, [(7, any_value(&documents[0])), (8, any_value(&documents[1]))]);
}
