//! OTLP/JSON: what single values become, where malformed ones go, and what is refused.

use hotlist::encoding::otlp::{FromJsonError, from_json};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Member;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;

fn request(text: &str) -> (ExportLogsServiceRequest, u64) {
    let converted = from_json(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    (ExportLogsServiceRequest::decode(&*converted.message).unwrap(), converted.malformed)
}

/// A record from its members.
fn record(members: &str) -> (LogRecord, u64) {
    let text = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{members}}}]}}]}}]}}"#);
    let (request, malformed) = request(&text);
    (request.resource_logs[0].scope_logs[0].log_records[0].clone(), malformed)
}

/// A body from its text; the outer `None` is a body that is absent.
fn body(text: &str) -> (Option<Option<Member>>, u64) {
    let (record, malformed) = record(&format!(r#""body":{text}"#));
    (record.body.map(|body| body.value), malformed)
}

fn text(text: &str) -> Option<Option<Member>> {
    Some(Some(Member::StringValue(text.to_owned())))
}

fn value(member: Member) -> AnyValue {
    AnyValue { value: Some(member) }
}

#[test]
fn a_value_is_what_it_says() {
    let some = |member| Some(Some(member));
    let cases = [
        (r#"null"#, None),
        (r#"{}"#, Some(None)),
        (r#"{"unknown":{"deep":[1]}}"#, Some(None)),
        (r#"{"stringValue":null}"#, Some(None)),
        (r#"{"stringValue":""}"#, text("")),
        (r#"{"string_value":"a\n\u00e9\ud83d\ude00\ud800\x"}"#, text("a\né😀\u{fffd}\\x")),
        (r#"{"boolValue":false}"#, some(Member::BoolValue(false))),
        (r#"{"boolValue":true}"#, some(Member::BoolValue(true))),
        (r#"{"intValue":"0"}"#, some(Member::IntValue(0))),
        (r#"{"intValue":-9223372036854775808}"#, some(Member::IntValue(i64::MIN))),
        (r#"{"intValue":"9223372036854775807"}"#, some(Member::IntValue(i64::MAX))),
        (r#"{"intValue":1.5e1}"#, some(Member::IntValue(15))),
        (r#"{"doubleValue":0}"#, some(Member::DoubleValue(0.0))),
        (r#"{"doubleValue":"-1.5e300"}"#, some(Member::DoubleValue(-1.5e300))),
        (r#"{"doubleValue":"Infinity"}"#, some(Member::DoubleValue(f64::INFINITY))),
        (r#"{"doubleValue":"-Infinity"}"#, some(Member::DoubleValue(f64::NEG_INFINITY))),
        (r#"{"bytesValue":""}"#, some(Member::BytesValue(vec![]))),
        (r#"{"bytesValue":"+/8="}"#, some(Member::BytesValue(vec![0xfb, 0xff]))),
        (r#"{"bytesValue":"-_8"}"#, some(Member::BytesValue(vec![0xfb, 0xff]))),
        (r#"{"arrayValue":{}}"#, some(Member::ArrayValue(ArrayValue::default()))),
        (r#"{"kvlistValue":{"values":[]}}"#, some(Member::KvlistValue(KeyValueList::default()))),
    ];
    for (json, expected) in cases {
        assert_eq!(body(json), (expected, 0), "{json}");
    }
    let (Some(Some(Member::DoubleValue(double))), 0) = body(r#"{"doubleValue":"NaN"}"#) else { panic!() };
    assert!(double.is_nan());
    let (Some(Some(Member::DoubleValue(zero))), 0) = body(r#"{"doubleValue":-0}"#) else { panic!() };
    assert!(zero.is_sign_negative());
}

#[test]
fn a_malformed_value_is_kept_as_text_and_counted() {
    let cases = [
        (r#""plain""#, "plain"),
        (r#"5"#, "5"),
        (r#"true"#, "true"),
        (r#"[ 1, {"a":"]"} ]"#, r#"[ 1, {"a":"]"} ]"#),
        (r#"{"stringValue":5}"#, "5"),
        (r#"{"stringValue":{"a":"\n"}}"#, r#"{"a":"\n"}"#),
        (r#"{"boolValue":"true"}"#, "true"),
        (r#"{"boolValue":0}"#, "0"),
        (r#"{"intValue":"18446744073709551615"}"#, "18446744073709551615"),
        (r#"{"intValue":18446744073709551615}"#, "18446744073709551615"),
        (r#"{"intValue":1.5}"#, "1.5"),
        (r#"{"intValue":"0x10"}"#, "0x10"),
        (r#"{"intValue":"+5"}"#, "+5"),
        (r#"{"intValue":" 5"}"#, " 5"),
        (r#"{"intValue":""}"#, ""),
        (r#"{"doubleValue":"nan"}"#, "nan"),
        (r#"{"doubleValue":1e999}"#, "1e999"),
        (r#"{"doubleValue":[]}"#, "[]"),
        (r#"{"bytesValue":"a"}"#, "a"),
        (r#"{"bytesValue":"+_8="}"#, "+_8="),
        (r#"{"bytesValue":7}"#, "7"),
        (r#"{"arrayValue":[1,2]}"#, "[1,2]"),
        (r#"{"kvlistValue":"{}"}"#, "{}"),
        (r#"{"intValue":1,"stringValue":"last"}"#, "last"),
        (r#"{"stringValue":"first","stringValue":"last"}"#, "last"),
        (r#"{"kvlistValue":{"values":[{"key":"a","value":{}}]},"stringValue":"last"}"#, "last"),
        (r#"{"stringValue":5,"boolValue":null}"#, "5"),
    ];
    for (json, expected) in cases {
        assert_eq!(body(json), (text(expected), 1), "{json}");
    }
}

#[test]
fn malformed_elements_keep_their_places_and_their_text() {
    let (found, malformed) = body(r#"{"arrayValue":{"values":[null,{"intValue":"1"},"x",[2],{}]}}"#);
    let values = vec![
        AnyValue::default(),
        value(Member::IntValue(1)),
        value(Member::StringValue("x".into())),
        value(Member::StringValue("[2]".into())),
        AnyValue::default(),
    ];
    assert_eq!((found, malformed), (Some(Some(Member::ArrayValue(ArrayValue { values }))), 3));

    let attribute = |key: &str, value: Option<AnyValue>| KeyValue { key: key.into(), value, ..KeyValue::default() };
    let kept = |text: &str| Some(value(Member::StringValue(text.into())));
    let elements = r#"{"key":"a","value":{"boolValue":true}},{"key":"a"},{"value":"x","key":5},"y",null,{"a":1}"#;
    let expected = vec![
        attribute("a", Some(value(Member::BoolValue(true)))),
        attribute("a", None),
        attribute("5", kept("x")),
        attribute("", kept("y")),
        attribute("", None),
    ];
    let (found, malformed) = record(&format!(r#""attributes":[{elements}]"#));
    assert_eq!((found.attributes, malformed), (expected.clone(), 4));
    let (found, malformed) = body(&format!(r#"{{"kvlistValue":{{"values":[{elements}]}}}}"#));
    assert_eq!((found, malformed), (Some(Some(Member::KvlistValue(KeyValueList { values: expected }))), 4));

    let (found, malformed) = record(r#""attributes":{"source.ip":"192.0.2.1"}"#);
    assert_eq!((found.attributes, malformed), (vec![attribute("", kept(r#"{"source.ip":"192.0.2.1"}"#))], 1));
}

#[test]
fn a_record_has_its_numbers_names_and_ids_or_does_without() {
    let members = r#""timeUnixNano":"18446744073709551615","observed_time_unix_nano":1700000000000000001,
        "severityNumber":"SEVERITY_NUMBER_WARN3","severityText":"warn","droppedAttributesCount":"4294967295",
        "flags":257,"traceId":"5B8EFFF798038103d269b633813fc60c","spanId":"EEE19B7EC3C1B174","eventName":"e","x":{}"#;
    let expected = LogRecord {
        time_unix_nano: u64::MAX,
        observed_time_unix_nano: 1_700_000_000_000_000_001,
        severity_number: 15,
        severity_text: "warn".into(),
        dropped_attributes_count: u32::MAX,
        flags: 257,
        trace_id: 0x5b8e_fff7_9803_8103_d269_b633_813f_c60c_u128.to_be_bytes().to_vec(),
        span_id: 0xeee1_9b7e_c3c1_b174_u64.to_be_bytes().to_vec(),
        event_name: "e".into(),
        ..LogRecord::default()
    };
    assert_eq!(record(members), (expected, 0));

    let defaults = r#""timeUnixNano":0,"severityNumber":"SEVERITY_NUMBER_UNSPECIFIED","severityText":"","traceId":"",
        "flags":"0","droppedAttributesCount":0,"spanId":"","attributes":[],"body":null,"eventName":null"#;
    assert_eq!(record(defaults), (LogRecord::default(), 0));
    for malformed in [
        r#""timeUnixNano":-1"#,
        r#""timeUnixNano":"18446744073709551616""#,
        r#""timeUnixNano":"2026-08-22T09:00:00Z""#,
        r#""severityNumber":2147483648"#,
        r#""severityNumber":"INFO""#,
        r#""severityNumber":"SEVERITY_NUMBER_INFO1""#,
        r#""severityNumber":"SEVERITY_NUMBER_""#,
        r#""flags":true"#,
        r#""flags":4294967296"#,
        r#""traceId":"5b8efff7""#,
        r#""traceId":"5b8efff798038103d269b633813fc60""#,
        r#""traceId":"W47/95gDgQPSabYzgT/GDA==""#,
        r#""traceId":55556666777788889999000011112222"#,
        r#""spanId":"é""#,
        r#""spanId":{"hex":[]}"#,
    ] {
        assert_eq!(record(malformed), (LogRecord::default(), 1), "{malformed}");
    }
    let severity = |text: &str| record(&format!(r#""severityText":{text}"#)).0.severity_text;
    assert_eq!((severity("5"), severity(r#"["a"]"#)), ("5".to_owned(), r#"["a"]"#.to_owned()));
    // An enum takes numbers that it does not know.
    assert_eq!(record(r#""severityNumber":-7"#).0.severity_number, -7);
    let names = ["TRACE", "TRACE4", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "FATAL4"];
    let number = |name| record(&format!(r#""severityNumber":"SEVERITY_NUMBER_{name}""#)).0.severity_number;
    assert_eq!(names.map(number), [1, 4, 5, 9, 13, 17, 21, 24]);
}

#[test]
fn of_equal_keys_the_last_counts_wherever_the_first_stood() {
    let long = "x".repeat(300);
    let text = format!(
        r#"{{"resourceLogs":[{{"schemaUrl":"first","scopeLogs":[{{"logRecords":[
            {{"body":{{"stringValue":"{long}","stringValue":"one"}},"severityText":"{long}","attributes":[{{"key":"a"}}],
              "eventName":"{long}","attributes":[],"body":{{"kvlistValue":{{"values":[{{"key":"{long}"}}]}}}},
              "severity_text":""}}]}}],
            "resource":{{"attributes":[{{"key":"{long}"}}]}},"schema_url":"last","resource":{{}}}}],
            "resourceLogs":null}}"#
    );
    let (request, malformed) = request(&text);
    let [resource] = &*request.resource_logs else { panic!("{request:?}") };
    let [record] = &*resource.scope_logs[0].log_records else { panic!("{resource:?}") };
    assert_eq!((resource.schema_url.as_str(), &resource.resource), ("last", &Some(Default::default())));
    assert_eq!((record.severity_text.as_str(), record.event_name.as_str()), ("", long.as_str()));
    assert!(record.attributes.is_empty());
    let Some(Member::KvlistValue(list)) = record.body.clone().and_then(|body| body.value) else { panic!() };
    assert_eq!(list.values[0].key, long);
    assert_eq!(malformed, 6);
}

#[test]
fn the_envelope_must_be_one() {
    let refused = |text: &str| from_json(text.as_bytes()).unwrap_err();
    let envelope = |name, at| FromJsonError::Envelope { name, at };
    assert_eq!(refused(" [1]"), FromJsonError::NotAnObject { at: 1 });
    assert_eq!(refused(r#"{"resourceLogs":{}}"#), envelope("resourceLogs", 16));
    assert_eq!(refused(r#"{"resourceLogs":[5]}"#), envelope("resourceLogs", 17));
    assert_eq!(refused(r#"{"resourceLogs":[{"scope_logs":""}]}"#), envelope("scopeLogs", 31));
    assert_eq!(refused(r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[[]]}]}]}"#), envelope("logRecords", 46));
    assert_eq!(refused("{}\n{}"), FromJsonError::Trailing { at: 3 });
    for text in ["", "{", "{\"resourceLogs\":", "{\"a\":1,}", "{\"a\":[}", "{\"resourceLogs\":nope}", "{'a':1}"] {
        assert!(matches!(refused(text), FromJsonError::Json(_)), "{text}");
    }
    // Absent elements are none of the batch.
    let (found, malformed) =
        request(r#"{"resourceLogs":[null,{"scopeLogs":null},{"scopeLogs":[null]}],"resourceSpans":[7]}"#);
    assert_eq!((found.resource_logs.len(), malformed), (2, 2));
    let (found, malformed) = request(r#"{"resourceLogs":[{"resource":"x","scopeLogs":[{"scope":[],"schemaUrl":5}]}]}"#);
    assert_eq!((&found.resource_logs[0].resource, malformed), (&None, 3));
    assert_eq!(found.resource_logs[0].scope_logs[0].schema_url, "5");
}

/// Guarantee: bytes that are not UTF-8 become U+FFFD, each sequence counted once, wherever they stand; the result is
/// text, and everything else stays as it was.
#[test]
fn what_is_not_utf_8_is_replaced() {
    for (bytes, replaced, count) in [
        (&b"caf\xe9"[..], "caf\u{fffd}", 1),
        (b"\xff", "\u{fffd}", 1),
        // RFC 3629 has no overlong forms and no surrogates: each byte stands alone.
        (b"\xc0\x80", "\u{fffd}\u{fffd}", 2),
        (b"\xed\xa0\xbd", "\u{fffd}\u{fffd}\u{fffd}", 3),
        (b"a\xf0\x9f\x98", "a\u{fffd}", 1),
        ("é😀".as_bytes(), "é😀", 0),
    ] {
        let text = |inner: &[u8]| {
            [
                br#"{"resourceLogs":[{"schemaUrl":""#,
                inner,
                br#"","resource":{"attributes":[{"key":""#,
                inner,
                br#""}]}}]}"#,
            ]
            .concat()
        };
        let converted = from_json(&text(bytes)).unwrap();
        assert_eq!(converted.malformed, 2 * count, "{bytes:?}");
        assert_eq!(converted.message, from_json(&text(replaced.as_bytes())).unwrap().message, "{bytes:?}");
        let request = ExportLogsServiceRequest::decode(&*converted.message).unwrap();
        assert_eq!(request.resource_logs[0].schema_url, replaced);
    }
}
