//! Vector's events: walk, tag, splice, split and render against decoding with prost.

use bytes::Bytes;
use hotlist::encoding::envelope::VECTOR;
use hotlist::encoding::vector::{render_record, tag_record, walk_record};
use hotlist::encoding::{Document, MalformedRecord, Signal, TagInto};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use crate::common::*;
use crate::peer::{
    Event, EventWrapper, Kind, Log, Metadata, Named, PushEventsRequest, Timestamp, Value, fields, log, value, wrap,
};

/// The ways in which an event may hold a document.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// As fields.
    Fields,
    /// As JSON in the field `message`.
    Message,
    /// As a root that is a map.
    Root,
    /// As a root that is JSON text.
    RootText,
}

const PLACES: [Place; 4] = [Place::Fields, Place::Message, Place::Root, Place::RootText];

fn text(text: impl Into<Vec<u8>>) -> Value {
    Value { kind: Some(Kind::RawBytes(text.into())) }
}

fn event(document: &Json, place: Place) -> EventWrapper {
    let metadata_full =
        Some(Metadata { value: Some(value(&json!({ "vector": { "a": 1 } }))), source_event_id: vec![7; 16] });
    let dummy = || [(".".to_owned(), value(&Json::Null))].into();
    wrap(match place {
        Place::Fields => Log { fields: fields(document), metadata_full, ..Log::default() },
        Place::Message => {
            let fields = [("message".to_owned(), text(format!(" {document}"))), ("host".to_owned(), text("h"))];
            Log { fields: fields.into(), metadata_full, ..Log::default() }
        }
        Place::Root => Log { fields: dummy(), value: Some(value(document)), metadata_full },
        Place::RootText => Log { fields: dummy(), value: Some(text(document.to_string())), metadata_full },
    })
}

fn batch() -> impl Strategy<Value = PushEventsRequest> {
    let named = |name: String| Named { name };
    let event = prop_oneof![
        6 => (document(), prop::sample::select(PLACES.to_vec())).prop_map(|(document, place)| event(&document, place)),
        1 => "[a-z]{1,9}".prop_map(move |name| EventWrapper { event: Some(Event::Metric(named(name))) }),
        1 => "[a-z]{1,9}".prop_map(move |name| EventWrapper { event: Some(Event::Trace(named(name))) }),
    ];
    prop::collection::vec(event, 0..12).prop_map(|events| PushEventsRequest { events })
}

fn walked(record: &[u8]) -> Result<Seen, MalformedRecord> {
    let mut seen = Collect::default();
    let info = walk_record(record, trie(), &mut seen)?;
    seen.0.sort();
    info.fault.map_or(Ok(seen.0), Err)
}

proptest! {
    /// The walk of an event's bytes sees what the reference sees in the decoded document, wherever that lives.
    #[test]
    fn walk_is_decode_then_walk(document in document()) {
        let mut expected = reference(&document);
        expected.sort();
        for place in PLACES {
            prop_assert_eq!(walked(&event(&document, place).encode_to_vec()).unwrap(), expected.clone(), "{:?}", place);
        }
    }

    /// The records of a batch are the decoded events, in order, and each is known for what it is.
    #[test]
    fn records_are_those_that_decoding_finds(request in batch()) {
        let bytes = Bytes::from(request.encode_to_vec());
        let mut found = Vec::new();
        VECTOR.records(&bytes, |span| found.push(bytes.slice(span.record.payload()))).unwrap();
        let decoded: Vec<_> = found.iter().map(|record| EventWrapper::decode(record.clone()).unwrap()).collect();
        for (record, event) in found.iter().zip(&decoded) {
            let expected = match event.event.as_ref().unwrap() {
                Event::Log(_) => Signal::Logs,
                Event::Metric(_) => Signal::Metrics,
                Event::Trace(_) => Signal::Traces,
            };
            prop_assert_eq!(walk_record(record, trie(), &mut Collect::default()).unwrap().signal, expected);
        }
        prop_assert_eq!(decoded, request.events);
    }

    /// Splicing then decoding is decoding then replacing; no edits give the same bytes.
    #[test]
    fn splice_is_decode_then_replace(mut request in batch(), chosen in prop::collection::vec((any::<bool>(), 0usize..40_000), 12)) {
        let bytes = Bytes::from(request.encode_to_vec());
        prop_assert_eq!(VECTOR.splice(&bytes, &[]).to_bytes(), &bytes[..]);
        let (mut edits, mut place) = (Vec::new(), 0);
        let replaced = |length: usize| log(&json!({ "message": "x".repeat(length) }));
        VECTOR.records(&bytes, |span| {
            let (edit, length) = chosen[place];
            if edit {
                edits.push((span, Bytes::from(replaced(length).encode_to_vec())));
                request.events[place] = replaced(length);
            }
            place += 1;
        }).unwrap();
        let spliced = VECTOR.splice(&bytes, &edits);
        prop_assert_eq!(spliced.len(), spliced.to_bytes().len());
        prop_assert_eq!(PushEventsRequest::decode(spliced.to_bytes()).unwrap(), request);
    }

    /// The parts of a split are each small enough or one event, and together all of them in order.
    #[test]
    fn split_loses_nothing(request in batch(), max_bytes in 1usize..3000) {
        let mut found = Vec::new();
        for part in VECTOR.split(&Bytes::from(request.encode_to_vec()), max_bytes) {
            let events = PushEventsRequest::decode(part.to_bytes()).unwrap().events;
            prop_assert!(part.len() <= max_bytes || events.len() <= 1);
            found.extend(events);
        }
        prop_assert_eq!(found, request.events);
    }

    /// Tagging then decoding is decoding then adding; a second pass changes nothing; metadata stays.
    #[test]
    fn tag_is_decode_then_add(document in taggable()) {
        let enrichments = [enrichment(1), enrichment(2)];
        let mut expected = document.clone();
        add(&mut expected);
        for place in [Place::Fields, Place::Root] {
            let original = event(&document, place);
            let (tagged, outcome) = tag_record(&original.encode_to_vec(), &tags(TagInto::Auto, &enrichments)).unwrap();
            prop_assert_eq!(EventWrapper::decode(&tagged[..]).unwrap(), event(&expected, place));
            prop_assert_eq!(outcome.changed, expected != document);
            let (again, outcome) = tag_record(&tagged, &tags(TagInto::Auto, &enrichments)).unwrap();
            prop_assert!(!outcome.changed);
            prop_assert_eq!(again, tagged);
        }
    }

    /// An event that is one value becomes an object when it is tagged; the fields next to the value were matched, and stay:
    /// all that the walk saw is there, and the time.
    #[test]
    fn fields_beside_a_value_stay(document in document(), number: i64) {
        let mut fields = fields(&document);
        fields.insert("timestamp".to_owned(), Value { kind: Some(Kind::Timestamp(Timestamp { seconds: 7, nanos: 5 })) });
        let record = wrap(Log { fields, value: Some(value(&json!(number))), ..Log::default() }).encode_to_vec();
        let see = |record: &[u8]| {
            let mut seen = Collect::default();
            let info = walk_record(record, trie(), &mut seen).unwrap();
            seen.0.sort();
            (info.time_unix_nano, seen.0)
        };
        let (tagged, outcome) = tag_record(&record, &tags(TagInto::Auto, &[enrichment(1)])).unwrap();
        prop_assert!(outcome.own_place && outcome.added == 1);
        prop_assert_eq!(see(&record), see(&tagged));
        let line: Json = serde_json::from_slice(&render_record(&tagged)).unwrap();
        prop_assert_eq!(&line["message"], number);
    }

    /// No bytes make a walk, a tag or a rendering panic, nor do mutated events.
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, document in document(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        let mut mutated = event(&document, Place::Fields).encode_to_vec();
        for (at, byte) in flips {
            let at = at.index(mutated.len());
            mutated[at] = byte;
        }
        for record in [&bytes, &mutated] {
            let _ = walked(record);
            let _ = tag_record(record, &tags(TagInto::Auto, &[enrichment(1)]));
            let line = render_record(record);
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_ok());
            prop_assert!(!line.contains(&b'\n'));
        }
    }

    /// What is rendered is the document; the metadata is no part of it.
    #[test]
    fn rendering_is_decoding_to_json(document in document()) {
        for place in [Place::Fields, Place::Root, Place::RootText] {
            let line = render_record(&event(&document, place).encode_to_vec());
            prop_assert_eq!(signed(&serde_json::from_slice::<Json>(&line).unwrap()), signed(&document));
        }
    }
}

/// A text that holds JSON in `message`: the tags go next to it, or into it where that is configured.
#[test]
fn tags_go_beside_or_into_a_json_message() {
    let document = json!({ "source": { "ip": "203.0.113.5" } });
    let record = event(&document, Place::Message).encode_to_vec();
    let info = walk_record(&record, trie(), &mut Collect::default()).unwrap();
    assert_eq!(info.document, Document::JsonBody);
    let tagged = |into| {
        let (tagged, outcome) = tag_record(&record, &tags(into, &[enrichment(1)])).unwrap();
        assert!(outcome.changed);
        serde_json::from_slice::<Json>(&render_record(&tagged)).unwrap()
    };
    for into in [TagInto::Auto, TagInto::Attributes] {
        let beside = tagged(into);
        assert_eq!(beside["threat"]["enrichments"][0], enrichment(1));
        assert_eq!(beside["message"], format!(" {document}"));
    }
    let inside = tagged(TagInto::Body);
    assert!(inside.get("threat").is_none());
    let inside: Json = serde_json::from_str(inside["message"].as_str().unwrap()).unwrap();
    assert_eq!(inside["threat"]["enrichments"][0], enrichment(1));
}

/// The time that Vector's source gave the event is the record's; an instant at a field is a value like its text.
#[test]
fn instants_are_read() {
    let instant = |seconds, nanos| Value { kind: Some(Kind::Timestamp(Timestamp { seconds, nanos })) };
    let mut fields = fields(&json!({ "source": { "ip": "203.0.113.5" } }));
    fields.insert("timestamp".to_owned(), instant(1_700_000_000, 5));
    fields.insert("@timestamp".to_owned(), instant(-1, 999_999_999));
    let record = wrap(Log { fields, ..Log::default() }).encode_to_vec();
    let info = walk_record(&record, trie(), &mut Collect::default()).unwrap();
    assert_eq!(info.time_unix_nano, 1_700_000_000_000_000_005);
    let line: Json = serde_json::from_slice(&render_record(&record)).unwrap();
    assert_eq!(line["timestamp"], "2023-11-14T22:13:20.000000005Z");
    assert_eq!(line["@timestamp"], "1969-12-31T23:59:59.999999999Z");
}

/// An event of no kind, of two kinds, and fields of another type are malformed: they are reported, and pass.
#[test]
fn malformed_events_are_reported() {
    let both = [
        log(&json!({})).encode_to_vec(),
        EventWrapper { event: Some(Event::Metric(Named::default())) }.encode_to_vec(),
    ];
    let cases: [(&[u8], MalformedRecord); 4] = [
        (b"", MalformedRecord::WrongType("event")),
        (&both.concat(), MalformedRecord::Repeated("event")),
        (&[0x08, 1], MalformedRecord::WrongType("event")),
        (&[0x0a, 2, 0x08, 1], MalformedRecord::WrongType("fields")),
    ];
    for (record, expected) in cases {
        assert_eq!(walked(record), Err(expected), "{record:02x?}");
    }
}
