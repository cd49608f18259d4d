//! Batches in another format: what both sides can say survives, there and back.

use bytes::Bytes;
use hotlist::encoding::transcode::{CONTEXT_FACTOR, CONTEXT_MIN, ConversionOutput, ConvertedMessage};
use hotlist::encoding::{EnvelopeError, Format, otlp, transcode, transcode_parts, vector};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Member;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use crate::common::*;
use crate::peer::{self, Event, EventWrapper, Kind, Log, Metadata, Named, PushEventsRequest, Timestamp, Value};

fn all(_: usize) -> bool {
    true
}

fn converted(message: Vec<u8>, from: Format, to: Format) -> Bytes {
    transcode(&Bytes::from(message), from, to, all).unwrap()
}

fn push(bytes: &Bytes) -> PushEventsRequest {
    PushEventsRequest::decode(bytes.clone()).unwrap()
}

fn export(bytes: &Bytes) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest::decode(bytes.clone()).unwrap()
}

/// Values that OTLP and Vector both have: text, integers, doubles, booleans, null, lists and maps with unique keys.
fn any_value() -> impl Strategy<Value = AnyValue> {
    let scalar = prop_oneof![
        Just(None),
        any::<bool>().prop_map(|value| Some(Member::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Member::IntValue(value))),
        any::<f64>()
            .prop_filter("a source of Vector panics on NaN", |value| !value.is_nan())
            .prop_map(|value| Some(Member::DoubleValue(value))),
        "\\PC{0,20}".prop_map(|text| Some(Member::StringValue(text))),
        // Bytes that are text come back as text: Vector does not distinguish them.
        prop::collection::vec(any::<u8>(), 0..9)
            .prop_map(|bytes| Some(Member::BytesValue([vec![0xff], bytes].concat()))),
    ];
    scalar.prop_map(|value| AnyValue { value }).prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| AnyValue { value: Some(Member::ArrayValue(ArrayValue { values })) }),
            key_values(inner).prop_map(|values| AnyValue { value: Some(Member::KvlistValue(KeyValueList { values })) }),
        ]
    })
}

/// Entries in the order of their keys, for Vector has no other.
fn key_values(value: impl Strategy<Value = AnyValue>) -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::btree_map("[a-z.]{1,8}", value, 0..5).prop_map(|members| {
        members.into_iter().map(|(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() }).collect()
    })
}

fn record() -> impl Strategy<Value = LogRecord> {
    let body = prop_oneof![
        Just(None),
        "\\PC{0,20}".prop_map(|text| Some(AnyValue { value: Some(Member::StringValue(text)) })),
        any::<i64>().prop_map(|value| Some(AnyValue { value: Some(Member::IntValue(value)) })),
        key_values(any_value())
            .prop_map(|values| Some(AnyValue { value: Some(Member::KvlistValue(KeyValueList { values })) })),
    ];
    let ids = prop_oneof![Just((vec![], vec![])), Just((vec![0xab; 16], vec![1, 2, 3, 4, 5, 6, 7, 8]))];
    (body, key_values(any_value()), ids, 0u64..1 << 63, 0i32..25, any::<u32>(), "[A-Z]{0,5}").prop_map(
        |(body, attributes, (trace_id, span_id), time, severity_number, flags, severity_text)| LogRecord {
            body,
            attributes,
            trace_id,
            span_id,
            time_unix_nano: time,
            observed_time_unix_nano: time / 2,
            severity_number,
            severity_text: severity_text.clone(),
            flags,
            dropped_attributes_count: flags / 3,
            event_name: severity_text,
        },
    )
}

fn request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope = (prop::collection::vec(record(), 1..4), "[a-z]{0,4}").prop_map(|(log_records, name)| ScopeLogs {
        scope: Some(InstrumentationScope { name: name.clone(), version: "1".to_owned(), ..Default::default() }),
        log_records,
        schema_url: name,
    });
    let resource =
        (prop::collection::vec(scope, 1..3), key_values(any_value())).prop_map(|(scope_logs, attributes)| {
            let dropped_attributes_count = attributes.len() as u32;
            let resource = Resource { attributes, dropped_attributes_count, ..Resource::default() };
            ResourceLogs { resource: Some(resource), scope_logs, schema_url: "u".to_owned() }
        });
    prop::collection::vec(resource, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

/// Every record with what is around it: how they are grouped says nothing.
fn flat(
    request: &ExportLogsServiceRequest,
) -> Vec<(Option<Resource>, Option<InstrumentationScope>, String, LogRecord)> {
    let mut found = Vec::new();
    for resource in &request.resource_logs {
        for scope in &resource.scope_logs {
            for record in &scope.log_records {
                let schemas = format!("{} {}", resource.schema_url, scope.schema_url);
                found.push((resource.resource.clone(), scope.scope.clone(), schemas, record.clone()));
            }
        }
    }
    found
}

/// Collects the parts of a conversion.
#[derive(Default)]
struct Collected {
    parts: Vec<ConvertedMessage>,
    reserved: usize,
}

impl ConversionOutput for Collected {
    type Error = EnvelopeError;

    fn reserve(&mut self, bytes: usize) -> Result<(), EnvelopeError> {
        self.reserved += bytes;
        Ok(())
    }

    fn take(&mut self, part: ConvertedMessage) -> Result<(), EnvelopeError> {
        assert!(self.reserved >= part.message.capacity(), "{} of {}", self.reserved, part.message.capacity());
        self.reserved = 0;
        self.parts.push(part);
        Ok(())
    }
}

fn in_parts(message: &Bytes, from: Format, to: Format, max_bytes: usize) -> Vec<ConvertedMessage> {
    let mut collected = Collected::default();
    transcode_parts(message, from, to, all, max_bytes, &mut collected).unwrap();
    for part in &collected.parts {
        assert!(
            part.message.len() <= max_bytes || part.records == 1,
            "{} bytes, {max_bytes} at most",
            part.message.len()
        );
    }
    collected.parts
}

/// Scenario: a small request whose resource would stand in each of very many events. Guarantee: what is made of it is
/// bounded by its length, every event is there, and those without their resource say so and are counted.
#[test]
fn copies_of_a_resource_are_bounded() {
    let text = |text: String| Some(AnyValue { value: Some(Member::StringValue(text)) });
    let records = 20_000;
    let record = LogRecord { body: text("x".to_owned()), ..LogRecord::default() };
    let attributes = vec![KeyValue { key: "a".to_owned(), value: text("r".repeat(64 << 10)), ..KeyValue::default() }];
    let resource_logs = ResourceLogs {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_logs: vec![ScopeLogs { log_records: vec![record; records], ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    let message = Bytes::from(ExportLogsServiceRequest { resource_logs: vec![resource_logs] }.encode_to_vec());
    let parts = in_parts(&message, Format::Otlp, Format::Vector, 4 << 20);
    let sum = |of: fn(&ConvertedMessage) -> usize| parts.iter().map(of).sum::<usize>();
    assert_eq!(sum(|part| part.records), records);
    let whole = message.len() * CONTEXT_FACTOR + CONTEXT_MIN;
    assert!(sum(|part| part.message.len()) < whole * 2, "{}", sum(|part| part.message.len()));
    let bare = sum(|part| part.bare);
    let fit = whole / (64 << 10);
    assert!((records - fit..records - fit + 3).contains(&bare), "as many as fit have it: {bare} have not");
    let marked = parts.iter().flat_map(|part| push(&Bytes::from(part.message.clone())).events).filter(|event| {
        event.encode_to_vec().windows(b"context_left_out".len()).any(|window| window == b"context_left_out")
    });
    assert_eq!(marked.count(), bare);
}

proptest! {
    /// Law: the parts of a conversion, one after the other, are the conversion as a whole.
    #[test]
    fn parts_are_the_whole(request in request(), documents in prop::collection::vec(document(), 0..8), max_bytes in 1usize..400) {
        let message = Bytes::from(request.encode_to_vec());
        let whole = transcode(&message, Format::Otlp, Format::Vector, all).unwrap();
        let parts = in_parts(&message, Format::Otlp, Format::Vector, max_bytes);
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.message.clone()).collect();
        prop_assert_eq!(&joined[..], &whole[..]);

        let back = transcode(&whole, Format::Vector, Format::Otlp, all).unwrap();
        let parts = in_parts(&whole, Format::Vector, Format::Otlp, max_bytes);
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.message.clone()).collect();
        prop_assert_eq!(flat(&export(&Bytes::from(joined))), flat(&export(&back)));

        let message = Bytes::from(peer::request(&documents));
        let whole = transcode(&message, Format::Vector, Format::Otlp, all).unwrap();
        let parts = in_parts(&message, Format::Vector, Format::Otlp, max_bytes);
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.message.clone()).collect();
        prop_assert_eq!(flat(&export(&Bytes::from(joined))), flat(&export(&whole)));
    }
}

proptest! {
    /// Law: OTLP through Vector and back is the same request, whatever a record has in addition to its document.
    #[test]
    fn otlp_through_vector_is_the_same(request in request()) {
        let there = converted(request.encode_to_vec(), Format::Otlp, Format::Vector);
        let back = export(&converted(there.to_vec(), Format::Vector, Format::Otlp));
        prop_assert_eq!(flat(&back), flat(&request));
    }

    /// Law: the fields of an event are the document of the record, the same types at the same places; and back.
    #[test]
    fn vector_through_otlp_is_the_same(documents in prop::collection::vec(document(), 0..5)) {
        let events = peer::request(&documents);
        let there = converted(events.clone(), Format::Vector, Format::Otlp);
        let bodies: Vec<Json> = Format::Otlp.records(&there).unwrap().iter()
            .map(|record| serde_json::from_slice(&otlp::render_record(record)).unwrap()).collect();
        prop_assert_eq!(bodies, documents.iter().map(signed).collect::<Vec<_>>());
        let back = converted(there.to_vec(), Format::Otlp, Format::Vector);
        let fields = |request: &PushEventsRequest| -> Vec<_> {
            request.events.iter().map(|event| match &event.event {
                Some(Event::Log(log)) => log.fields.clone(),
                other => panic!("{other:?}"),
            }).collect()
        };
        prop_assert_eq!(fields(&push(&back)), fields(&PushEventsRequest::decode(&events[..]).unwrap()));
    }

    /// Law: a document of the Filter stream is the same document in either format.
    #[test]
    fn documents_are_the_same_in_either(documents in prop::collection::vec(document(), 0..5)) {
        let mut message = Vec::new();
        documents.iter().for_each(|document| hotlist::encoding::wire::put_bytes(&mut message, 2, document.to_string().as_bytes()));
        let vector = converted(message.clone(), Format::Filter, Format::Vector);
        prop_assert_eq!(push(&vector), PushEventsRequest::decode(&peer::request(&documents)[..]).unwrap());
        let otlp = converted(message, Format::Filter, Format::Otlp);
        let bodies: Vec<Json> = Format::Otlp.records(&otlp).unwrap().iter()
            .map(|record| serde_json::from_slice(&otlp::render_record(record)).unwrap()).collect();
        prop_assert_eq!(bodies, documents.iter().map(signed).collect::<Vec<_>>());
    }

    /// Law: what is left out is left out, and the rest is as without it.
    #[test]
    fn what_is_not_kept_is_left_out(documents in prop::collection::vec(document(), 0..6), kept in prop::collection::vec(any::<bool>(), 6)) {
        let wanted = documents.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(document, _)| document);
        let expected = converted(peer::request(wanted), Format::Vector, Format::Otlp);
        let found = transcode(&Bytes::from(peer::request(&documents)), Format::Vector, Format::Otlp, |place| kept[place]);
        prop_assert_eq!(found.unwrap(), expected);
    }

    /// Law: malformed records cause no panic, and the output is a request of the other format with as many records.
    #[test]
    fn malformed_records_are_kept(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5)) {
        let mut vector = Vec::new();
        records.iter().for_each(|record| hotlist::encoding::wire::put_bytes(&mut vector, 1, record));
        let others = records.iter().filter(|record| Format::Vector.signal(record) != hotlist::encoding::Signal::Logs).count();
        let otlp = converted(vector, Format::Vector, Format::Otlp);
        prop_assert_eq!(Format::Otlp.records(&otlp).unwrap().len(), records.len() - others);
        let mut scope = Vec::new();
        records.iter().for_each(|record| hotlist::encoding::wire::put_bytes(&mut scope, 2, record));
        let (mut resource, mut request) = (Vec::new(), Vec::new());
        hotlist::encoding::wire::put_bytes(&mut resource, 2, &scope);
        hotlist::encoding::wire::put_bytes(&mut request, 1, &resource);
        let vector = converted(request, Format::Otlp, Format::Vector);
        prop_assert_eq!(push(&vector).events.len(), records.len());
    }
}

/// What a source of Vector cannot take never reaches it: NaN, a value with nothing set, deep nesting.
#[test]
fn vector_is_never_sent_what_breaks_it() {
    let deep = (0..100).fold(AnyValue { value: Some(Member::IntValue(1)) }, |inner, _| {
        let member = KeyValue { key: "k".to_owned(), value: Some(inner), ..KeyValue::default() };
        AnyValue { value: Some(Member::KvlistValue(KeyValueList { values: vec![member] })) }
    });
    let member = |key: &str, value| KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() };
    let values = vec![
        member("nan", AnyValue { value: Some(Member::DoubleValue(f64::NAN)) }),
        member("nothing", AnyValue { value: None }),
        member("deep", deep),
    ];
    let body = Some(AnyValue { value: Some(Member::KvlistValue(KeyValueList { values })) });
    let record = LogRecord { body, ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    let request = ExportLogsServiceRequest { resource_logs: vec![resource] };
    // Prost, with which Vector decodes, stops at 100 levels of messages, too.
    let events = push(&converted(request.encode_to_vec(), Format::Otlp, Format::Vector)).events;
    let Some(Event::Log(log)) = &events[0].event else { panic!("{events:?}") };
    assert_eq!(log.fields["nan"].kind, Some(Kind::RawBytes(b"NaN".to_vec())));
    assert_eq!(log.fields["nothing"].kind, Some(Kind::Null(0)));
    let (mut value, mut levels) = (&log.fields["deep"], 0);
    while let Some(Kind::Map(map)) = &value.kind {
        (value, levels) = (&map.fields["k"], levels + 1);
    }
    let Some(Kind::RawBytes(rest)) = &value.kind else { panic!("{value:?}") };
    assert_eq!((levels, rest.iter().filter(|byte| **byte == b'{').count()), (29, 71), "the rest is JSON");
}

/// Metrics and traces have no place in OTLP logs; log events of the same request keep theirs.
#[test]
fn metrics_and_traces_are_left_out() {
    let named = |name: &str| Named { name: name.to_owned() };
    let events = vec![
        EventWrapper { event: Some(Event::Metric(named("m"))) },
        peer::log(&json!({ "a": 1 })),
        EventWrapper { event: Some(Event::Trace(named("t"))) },
    ];
    let otlp = converted(PushEventsRequest { events }.encode_to_vec(), Format::Vector, Format::Otlp);
    let records = Format::Otlp.records(&otlp).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(otlp::render_record(&records[0]), br#"{"a":1}"#);
}

/// The time of an event is the record's, a root that is no object is the body, instants in a document are RFC 3339.
#[test]
fn times_and_roots_find_their_places() {
    let instant = Value { kind: Some(Kind::Timestamp(Timestamp { seconds: 1_700_000_000, nanos: 5 })) };
    let mut fields = peer::fields(&json!({ "message": "hello" }));
    fields.insert("timestamp".to_owned(), instant);
    let secret = Metadata { value: Some(peer::value(&json!({ "vector": { "secret": "s" } }))), ..Metadata::default() };
    let log = Log { fields, metadata_full: Some(secret), ..Log::default() };
    let text = Log { value: Some(Value { kind: Some(Kind::RawBytes(b"just a line".to_vec())) }), ..Log::default() };
    let events = PushEventsRequest { events: vec![peer::wrap(log), peer::wrap(text)] };
    let request = export(&converted(events.encode_to_vec(), Format::Vector, Format::Otlp));
    let records = &request.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(records[0].time_unix_nano, 1_700_000_000_000_000_005);
    let body = json!({ "message": "hello", "timestamp": "2023-11-14T22:13:20.000000005Z" });
    let rendered: Json = serde_json::from_slice(&otlp::render_record(&records[0].encode_to_vec())).unwrap();
    assert_eq!((&rendered["message"], &rendered["timestamp"]), (&body["message"], &body["timestamp"]));
    assert_eq!(records[1].body, Some(AnyValue { value: Some(Member::StringValue("just a line".to_owned())) }));
    assert!(!format!("{request:?}").contains("secret"), "the metadata of other sources stays behind");
}

/// A record with its own time gets the field in which Vector's sinks look for it.
#[test]
fn a_record_without_a_time_of_its_own_gets_one() {
    let with = |document: Json| {
        let request = otlp::request_of([(1_700_000_000_000_000_005, &document)]);
        let vector = converted(request, Format::Otlp, Format::Vector);
        serde_json::from_slice::<Json>(&vector::render_record(&Format::Vector.records(&vector).unwrap()[0])).unwrap()
    };
    assert_eq!(with(json!({ "a": 1 })), json!({ "a": 1, "timestamp": "2023-11-14T22:13:20.000000005Z" }));
    let own = json!({ "@timestamp": "2026-01-01T00:00:00Z" });
    assert_eq!(with(own.clone()), own);
}

/// Scenario: keys and texts that are no UTF-8, as real traffic has them. Guarantee: what is written decodes as strict
/// readers do; a value keeps its bytes, and in what must be a string they are replaced.
#[test]
fn strings_of_protobuf_are_utf8() {
    use hotlist::encoding::wire::put_bytes;
    let entry = |key: &[u8], text: &[u8]| {
        let (mut value, mut entry) = (Vec::new(), Vec::new());
        put_bytes(&mut value, 1, text);
        put_bytes(&mut entry, 1, key);
        put_bytes(&mut entry, 2, &value);
        entry
    };
    let within = |number: u32, content: &[u8]| {
        let mut out = Vec::new();
        put_bytes(&mut out, number, content);
        out
    };
    // A body of one entry, and a severity.
    let record = [within(5, &within(6, &within(1, &entry(b"k\xff", b"v\xff")))), within(3, b"s\xff")].concat();
    let request = within(1, &within(2, &within(2, &record)));
    let there = converted(request, Format::Otlp, Format::Vector);
    let Some(Event::Log(log)) = &push(&there).events[0].event else { panic!() };
    assert_eq!(log.fields["k\u{fffd}"].kind, Some(Kind::RawBytes(b"v\xff".to_vec())));
    let back = export(&converted(there.to_vec(), Format::Vector, Format::Otlp));
    let record = &back.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.severity_text, "s\u{fffd}");
    let document = [br#"{"k"#.as_slice(), b"\xff", br#"":"v"#, b"\xff", br#""}"#].concat();
    let filter = within(2, &document);
    export(&converted(filter.clone(), Format::Filter, Format::Otlp));
    let Some(Event::Log(log)) = &push(&converted(filter, Format::Filter, Format::Vector)).events[0].event else {
        panic!()
    };
    assert_eq!(log.fields["k\u{fffd}"].kind, Some(Kind::RawBytes(b"v\xff".to_vec())));
}
