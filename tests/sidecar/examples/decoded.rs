//! Events of both protocols as JSON, decoded by other code than that under test.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use serde_json::{Value, json};

use crate::peer::{self, Event, EventWrapper, Kind};

/// The body of a record without attributes. Bytes become a list of numbers.
pub fn otlp(record: &[u8]) -> Value {
    let record = LogRecord::decode(record).unwrap();
    assert!(record.attributes.is_empty(), "{:?}", record.attributes);
    any(record.body)
}

fn any(found: Option<AnyValue>) -> Value {
    match found.and_then(|found| found.value) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BytesValue(bytes)) => json!(bytes),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BoolValue(yes)) => json!(yes),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(|item| any(Some(item))).collect(),
        Some(Any::KvlistValue(list)) => members(list.values),
        _ => Value::Null,
    }
}

fn members(members: Vec<KeyValue>) -> Value {
    Value::Object(members.into_iter().map(|member| (member.key, any(member.value))).collect())
}

/// A log event of Vector's. Text that is not UTF-8 becomes a list of numbers, a time its text.
pub fn vector(record: &[u8]) -> Value {
    let Some(Event::Log(log)) = EventWrapper::decode(record).unwrap().event else { panic!("no log event") };
    match log.value {
        Some(root) => value(root),
        None => object(log.fields),
    }
}

fn value(found: peer::Value) -> Value {
    match found.kind {
        Some(Kind::RawBytes(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(invalid) => json!(invalid.into_bytes()),
        },
        Some(Kind::Timestamp(time)) => json!(jiff::Timestamp::new(time.seconds, time.nanos).unwrap().to_string()),
        Some(Kind::Integer(number)) => json!(number),
        Some(Kind::Float(number)) => json!(number),
        Some(Kind::Boolean(yes)) => json!(yes),
        Some(Kind::Map(map)) => object(map.fields),
        Some(Kind::Array(array)) => array.items.into_iter().map(value).collect(),
        Some(Kind::Null(_)) | None => Value::Null,
    }
}

fn object(fields: impl IntoIterator<Item = (String, peer::Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(key, member)| (key, value(member))).collect())
}

/// The event without what a hit adds. It had no enrichments, and no empty `threat` and `tags`.
pub fn untagged(mut event: Value) -> Value {
    let members = event.as_object_mut().unwrap();
    if let Some(Value::Object(threat)) = members.get_mut("threat") {
        threat.shift_remove("enrichments").unwrap();
        if threat.is_empty() {
            members.shift_remove("threat");
        }
    }
    if let Some(Value::Array(tags)) = members.get_mut("tags") {
        tags.retain(|tag| tag != "threat-match");
        if tags.is_empty() {
            members.shift_remove("tags");
        }
    }
    event
}
