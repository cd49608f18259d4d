//! Vector's messages as prost reads and writes them, from the facts of its protos and independent of the code under
//! test. Texts are bytes there.

use std::collections::BTreeMap;

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct PushEventsRequest {
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<EventWrapper>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EventWrapper {
    #[prost(oneof = "Event", tags = "1, 2, 3")]
    pub event: Option<Event>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Event {
    #[prost(message, tag = "1")]
    Log(Log),
    /// A `Metric`, of which the tests need the name only.
    #[prost(message, tag = "2")]
    Metric(Named),
    /// A `Trace`, the same.
    #[prost(message, tag = "3")]
    Trace(Named),
}

#[derive(Clone, PartialEq, Message)]
pub struct Named {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Log {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
    #[prost(message, optional, tag = "4")]
    pub metadata_full: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(message, optional, tag = "1")]
    pub value: Option<Value>,
    #[prost(bytes = "vec", tag = "7")]
    pub source_event_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 4, 5, 6, 7, 8, 9")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    #[prost(bytes, tag = "1")]
    RawBytes(Vec<u8>),
    #[prost(message, tag = "2")]
    Timestamp(Timestamp),
    #[prost(int64, tag = "4")]
    Integer(i64),
    #[prost(double, tag = "5")]
    Float(f64),
    #[prost(bool, tag = "6")]
    Boolean(bool),
    #[prost(message, tag = "7")]
    Map(ValueMap),
    #[prost(message, tag = "8")]
    Array(ValueArray),
    #[prost(int32, tag = "9")]
    Null(i32),
}

#[derive(Clone, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueMap {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueArray {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<Value>,
}

/// A JSON value as Vector has it.
pub fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::Null(0),
        Json::Bool(value) => Kind::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Kind::Integer(value),
            None => Kind::Float(number.as_f64().unwrap()),
        },
        Json::String(text) => Kind::RawBytes(text.clone().into_bytes()),
        Json::Array(elements) => Kind::Array(ValueArray { items: elements.iter().map(value).collect() }),
        Json::Object(_) => Kind::Map(ValueMap { fields: fields(json) }),
    };
    Value { kind: Some(kind) }
}

/// The members of a JSON object as Vector has them.
pub fn fields(object: &serde_json::Value) -> BTreeMap<String, Value> {
    object.as_object().unwrap().iter().map(|(key, member)| (key.clone(), value(member))).collect()
}

/// A log event whose fields are a JSON object.
pub fn log(document: &serde_json::Value) -> EventWrapper {
    wrap(Log { fields: fields(document), ..Log::default() })
}

pub fn wrap(log: Log) -> EventWrapper {
    EventWrapper { event: Some(Event::Log(log)) }
}

/// A request of log events.
pub fn request<'a>(documents: impl IntoIterator<Item = &'a serde_json::Value>) -> Vec<u8> {
    PushEventsRequest { events: documents.into_iter().map(log).collect() }.encode_to_vec()
}
