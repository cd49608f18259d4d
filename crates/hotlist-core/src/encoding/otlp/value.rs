//! JSON as OTLP: values, and whole requests for demo, tests and benches.

use serde_json::Value;

use super::{AnyValue, field};
use crate::encoding::dialect;
use crate::encoding::wire::{put_bytes, put_fixed64};

/// A JSON value as the bytes of an `AnyValue`. Null is an empty message, an integer above `i64::MAX` a double.
pub fn encode_json(document: &Value) -> Vec<u8> {
    dialect::encode_json::<AnyValue>(document)
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
