//! JSON as OTLP values: enrichments that go into a record, and whole requests for demo, tests and benches.

use serde_json::Value;

use super::field;
use crate::encoding::wire::{put_bytes, put_fixed64, put_number};

/// A JSON value as the bytes of an `AnyValue`. Null is an empty message, an integer above `i64::MAX` a double.
pub fn encode_json(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match document {
        Value::Null => {}
        Value::Bool(value) => put_number(&mut out, field::BOOL, u64::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(value) => put_number(&mut out, field::INT, value as u64),
            None => put_fixed64(&mut out, field::DOUBLE, number.as_f64().unwrap_or(f64::NAN).to_bits()),
        },
        Value::String(text) => put_bytes(&mut out, field::STRING, text.as_bytes()),
        Value::Array(elements) => {
            let mut list = Vec::new();
            elements.iter().for_each(|element| put_bytes(&mut list, field::VALUES, &encode_json(element)));
            put_bytes(&mut out, field::ARRAY, &list);
        }
        Value::Object(members) => {
            let mut list = Vec::new();
            for (key, value) in members {
                put_bytes(&mut list, field::VALUES, &encode_key_value(key, &encode_json(value)));
            }
            put_bytes(&mut out, field::KVLIST, &list);
        }
    }
    out
}

/// The bytes of a `KeyValue` around an encoded `AnyValue`.
pub(super) fn encode_key_value(key: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + value.len() + 8);
    put_bytes(&mut out, field::KEY, key.as_bytes());
    put_bytes(&mut out, field::VALUE, value);
    out
}

/// An `ExportLogsServiceRequest` of one resource and one scope, each document the body of a record at a time in
/// nanoseconds since 1970.
pub fn request_of<'a>(documents: impl IntoIterator<Item = (u64, &'a Value)>) -> Vec<u8> {
    let mut scope_logs = Vec::new();
    for (time, document) in documents {
        let mut record = Vec::new();
        put_fixed64(&mut record, field::TIME, time);
        put_bytes(&mut record, field::BODY, &encode_json(document));
        put_bytes(&mut scope_logs, field::LOG_RECORDS, &record);
    }
    let mut resource_logs = Vec::new();
    put_bytes(&mut resource_logs, field::SCOPE_LOGS, &scope_logs);
    let mut request = Vec::new();
    put_bytes(&mut request, field::RESOURCE_LOGS, &resource_logs);
    request
}
