//! OTLP/JSON: the converter against `opentelemetry-proto` and its JSON, another spelling of the same, and recorded bodies.

use hotlist::encoding::MAX_DEPTH;
use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{Converted, FromJsonError, from_json, walk_record};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Member;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use crate::common::*;
use crate::otlp_json_writer::spell;
use crate::shared::shared;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-zé€😀\"\\\\/\n\u{0}\u{7f}]{0,12}", 1 => "[a-z\"é]{120,300}"]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let scalar = prop_oneof![
        Just(None),
        text().prop_map(|value| Some(Member::StringValue(value))),
        any::<bool>().prop_map(|value| Some(Member::BoolValue(value))),
        prop_oneof![any::<i64>(), -3i64..3].prop_map(|value| Some(Member::IntValue(value))),
        prop_oneof![any::<f64>(), (-40i32..40).prop_map(|value| f64::from(value) / 4.0)]
            .prop_filter("JSON and comparisons have no NaN", |value| !value.is_nan())
            .prop_map(|value| Some(Member::DoubleValue(value))),
        vec(any::<u8>(), 0..20).prop_map(|value| Some(Member::BytesValue(value))),
    ];
    scalar.prop_map(|value| AnyValue { value }).prop_recursive(6, 32, 4, |inner| {
        let list = vec((text(), prop::option::of(inner.clone())), 0..4).prop_map(|members| {
            let values = members.into_iter().map(|(key, value)| KeyValue { key, value, ..KeyValue::default() });
            Member::KvlistValue(KeyValueList { values: values.collect() })
        });
        let array = vec(inner, 0..4).prop_map(|values| Member::ArrayValue(ArrayValue { values }));
        prop_oneof![list, array].prop_map(|member| AnyValue { value: Some(member) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = (text(), prop::option::of(any_value()));
    vec(attribute.prop_map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }), 0..3)
}

fn record() -> impl Strategy<Value = LogRecord> {
    let number = || prop_oneof![Just(0), any::<u64>()];
    let id = |length| prop_oneof![Just(vec![]), vec(any::<u8>(), length)];
    let severity = prop_oneof![4 => 0..25, 1 => any::<i32>()];
    let places = (number(), number(), severity, any::<u32>(), prop_oneof![Just(0), any::<u32>()]);
    (places, text(), prop::option::of(any_value()), attributes(), id(16), id(8), text()).prop_map(
        |(numbers, severity_text, body, attributes, trace_id, span_id, event_name)| {
            let (time_unix_nano, observed_time_unix_nano, severity_number, dropped_attributes_count, flags) = numbers;
            LogRecord {
                time_unix_nano,
                observed_time_unix_nano,
                severity_number,
                severity_text,
                body,
                attributes,
                dropped_attributes_count,
                flags,
                trace_id,
                span_id,
                event_name,
            }
        },
    )
}

fn request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope = (text(), text(), attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    let entity = (text(), text(), vec(text(), 0..3), vec(text(), 0..2)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef { schema_url, r#type, id_keys, description_keys },
    );
    let resource = (attributes(), any::<u32>(), vec(entity, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    );
    let scope_logs = (prop::option::of(scope), vec(record(), 0..4), text())
        .prop_map(|(scope, log_records, schema_url)| ScopeLogs { scope, log_records, schema_url });
    let resource_logs = (prop::option::of(resource), vec(scope_logs, 0..3), text())
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url });
    vec(resource_logs, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

/// Guarantees for every text: the same again, not too long, and what comes out is a batch whose records can be walked.
fn check(text: &[u8]) -> Result<Converted, FromJsonError> {
    let converted = from_json(text)?;
    assert!(converted.message.len() <= 4 * text.len());
    assert_eq!(from_json(text).as_ref(), Ok(&converted));
    OTLP.records(&converted.message, |span| {
        let info = walk_record(&converted.message[span.record.payload()], trie(), &mut Collect::default());
        assert_eq!(info.fault, None);
    })
    .unwrap();
    Ok(converted)
}

fn decode(text: &str) -> ExportLogsServiceRequest {
    let converted = check(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(converted.malformed, 0, "{text}");
    ExportLogsServiceRequest::decode(&*converted.message).unwrap()
}

proptest! {
    #[test]
    fn the_json_of_a_request_becomes_the_request(mut request in request()) {
        // That library writes what JSON has no number for as null.
        let json = serde_json::to_string(&request).unwrap();
        if json.contains(r#""doubleValue":null"#) {
            request = serde_json::from_str(&json).unwrap();
        }
        prop_assert_eq!(decode(&json), request);
    }

    #[test]
    fn every_spelling_of_a_request_becomes_the_request(request in request(), seed: u64) {
        let text = spell(&request, seed);
        prop_assert_eq!(decode(&text), request, "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic_or_write_what_cannot_be_walked(
        request in request(), seed: u64, bytes: Vec<u8>,
        edits in vec((any::<prop::sample::Index>(), 0usize..6, prop::sample::select(PIECES.to_vec())), 1..6),
    ) {
        let _ = check(&bytes);
        let mut text = spell(&request, seed).into_bytes();
        for (place, removed, piece) in edits {
            let at = place.index(text.len() + 1);
            let end = text.len().min(at + removed);
            text.splice(at..end, piece.bytes());
            let _ = check(&text);
        }
    }
}

const PIECES: [&str; 18] = [
    "",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "null",
    "5",
    "\"x\"",
    "{}",
    "[{}]",
    "\u{0}",
    "\"body\":{},",
    "\"values\":[null,7],",
    "{\"key\":1,\"value\":{\"arrayValue\":{\"values\":[0]}}},",
];

/// A body of so many arrays or lists, one in the other, around an integer.
fn nested(levels: usize, arrays: bool) -> String {
    let (open, close) = if arrays {
        (r#"{"arrayValue":{"values":["#, "]}}")
    } else {
        (r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}")
    };
    format!("{}{}{}", open.repeat(levels), r#"{"intValue":"7"}"#, close.repeat(levels))
}

fn request_of_body(body: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{body}}}]}}]}}]}}"#)
}

#[test]
fn nesting_converts_as_deep_as_a_walk_goes_and_is_text_below() {
    for arrays in [true, false] {
        let text = request_of_body(&nested(MAX_DEPTH, arrays));
        let converted = check(text.as_bytes()).unwrap();
        assert_eq!(converted.malformed, 0);
        assert!(converted.message.ends_with(&[0x18, 7]));

        let text = request_of_body(&nested(MAX_DEPTH + 2, arrays));
        let converted = check(text.as_bytes()).unwrap();
        assert_eq!(converted.malformed, 1);
        // The member's text without its name: what the braces of the first too many hold.
        let inner = nested(2, arrays);
        let inner = &inner[inner.find(':').unwrap() + 1..inner.len() - 1];
        assert!(converted.message.ends_with(inner.as_bytes()), "{inner}");
    }
}

#[test]
fn an_abyss_of_brackets_takes_no_stack() {
    let abyss = || {
        let deep = 100_000;
        let brackets = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
        let braces = format!("{}1{}", r#"{"a":"#.repeat(deep), "}".repeat(deep));
        let texts = [
            brackets.clone(),
            braces.clone(),
            format!(r#"{{"a":{brackets}}}"#),
            format!(r#"{{"resourceLogs":{brackets}}}"#),
            "[".repeat(deep),
            r#"{"resourceLogs":[{"scopeLogs":["#.repeat(deep),
            request_of_body(&brackets),
            request_of_body(&braces),
            request_of_body(&nested(deep, true)),
            request_of_body(&nested(deep, false)),
            request_of_body(&format!(r#"{{"kvlistValue":{{"values":[{brackets},{braces}]}}}}"#)),
            request_of_body(&nested(deep, true)).replace([']', '}'], ""),
        ];
        texts.map(|text| check(text.as_bytes()).ok().map(|converted| converted.malformed))
    };
    let on_small_stack = std::thread::Builder::new().stack_size(2 << 20).spawn(abyss).unwrap().join().unwrap();
    let expected = [None, Some(0), Some(0), None, None, None, Some(1), Some(0), Some(1), Some(1), Some(1), None];
    assert_eq!(on_small_stack, expected);
}

#[test]
#[ignore = "needs ../shared"]
fn recorded_bodies_become_what_went_in() {
    let folder = shared("captures/vector");
    let index: Json = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let captures = index["captures"].as_array().unwrap();
    let capture = captures.iter().find(|capture| capture["label"] == "otlp_json").unwrap();
    let input = std::fs::read_to_string(folder.join(capture["input"].as_str().unwrap())).unwrap();
    // A line that is an array is several events, one that is no JSON or a scalar none.
    let events: Vec<Json> = input
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .flat_map(|line| if let Json::Array(events) = line { events } else { vec![line] })
        .filter(Json::is_object)
        .collect();
    let mut left = events.clone();
    let bodies = capture["requests"].as_array().unwrap();
    assert_eq!(bodies.len(), events.len());
    for body in bodies {
        let text = std::fs::read_to_string(folder.join(body["file"].as_str().unwrap())).unwrap();
        let request = decode(&text);
        let [resource] = &*request.resource_logs else { panic!("{text}") };
        let [scope] = &*resource.scope_logs else { panic!("{text}") };
        let [record] = &*scope.log_records else { panic!("{text}") };
        assert_eq!(scope.scope.as_ref().unwrap().name, "vector");
        assert_eq!(record.severity_text, "INFO");

        let Some(AnyValue { value: Some(Member::StringValue(document)) }) = &record.body else { panic!("{text}") };
        let mut document: Json = serde_json::from_str(document).unwrap();
        // The time is a number in the text; here it is read by other means than ours.
        let parsed: Json = serde_json::from_str(&text).unwrap();
        let in_text = &parsed["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(in_text["timeUnixNano"].as_u64(), Some(record.time_unix_nano));
        let string = |text: &Json| AnyValue { value: Some(Member::StringValue(text.as_str().unwrap().to_owned())) };
        let attribute =
            |key: &str, text: &Json| KeyValue { key: key.to_owned(), value: Some(string(text)), ..KeyValue::default() };
        let or_empty = |value: &Json| if value.is_null() { Json::from("") } else { value.clone() };
        let expected = [
            attribute("source.ip", &or_empty(&document["source"]["ip"])),
            attribute("dns.question.name", &or_empty(&document["dns"]["question"]["name"])),
        ];
        assert_eq!(record.attributes, expected);
        assert_eq!(resource.resource.as_ref().unwrap().attributes, [attribute("host.name", &document["host"])]);

        // What the collector adds, unless the event had it; and 2^64 - 1, which it makes text.
        let place = left.iter().position(|event| {
            let added = ["host", "source_type", "timestamp"].into_iter().filter(|name| event.get(name).is_none());
            let mut with = event.clone();
            if with.get("u64max").is_some() {
                with["u64max"] = Json::from(u64::MAX.to_string());
            }
            added.for_each(|name| with[name] = document[name].clone());
            with == document
        });
        let place = place.unwrap_or_else(|| panic!("{}", document.take()));
        left.remove(place);
    }
    assert!(left.is_empty(), "{left:?}");
}
