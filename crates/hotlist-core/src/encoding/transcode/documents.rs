//! A JSON document of the Filter stream as an event of Vector or a record of OTLP.

use super::otlp_to_vector::{unreadable, wrap};
use super::{parts, vector_to_otlp};
use crate::encoding::dialect::{Dialect, VALUES, encode_key_value, json_entries};
use crate::encoding::otlp::{self, AnyValue};
use crate::encoding::vector::{self, LogValue};
use crate::encoding::wire::put_bytes;
use crate::encoding::{Value, Visitor, json};
use crate::observable::time;
use crate::schema::{FieldId, PathTrie};
use std::sync::LazyLock;

static TIMESTAMP: LazyLock<PathTrie> = LazyLock::new(|| PathTrie::new([("@timestamp", FieldId(0))]));

/// The document as an `EventWrapper`; any other text is kept as text.
pub(super) fn event(document: &[u8]) -> Vec<u8> {
    let mut log = Vec::new();
    match json_entries::<LogValue>(document) {
        Ok(entries) => entries.iter().for_each(|entry| put_bytes(&mut log, vector::field::FIELDS, entry)),
        Err(_) if str::from_utf8(document).is_ok() => {
            let entry = encode_key_value(vector::MESSAGE, &parts::text(document));
            put_bytes(&mut log, vector::field::FIELDS, &entry);
        }
        Err(_) => put_bytes(&mut log, vector::field::FIELDS, &unreadable(document)),
    }
    wrap(&log)
}

/// The document as a `LogRecord`; any other text is kept as text.
pub(super) fn record(document: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    let mut body = Vec::new();
    match json_entries::<AnyValue>(document) {
        Ok(entries) => {
            if let Some(time) = time_of(document) {
                parts::put_time(&mut record, otlp::field::TIME, time);
            }
            let mut list = Vec::new();
            entries.iter().for_each(|entry| put_bytes(&mut list, VALUES, entry));
            put_bytes(&mut body, AnyValue::NUMBERS.map, &list);
        }
        Err(_) if str::from_utf8(document).is_ok() => put_bytes(&mut body, AnyValue::NUMBERS.text, document),
        Err(_) => return vector_to_otlp::unreadable(document),
    }
    put_bytes(&mut record, otlp::field::BODY, &body);
    record
}

fn time_of(document: &[u8]) -> Option<jiff::Timestamp> {
    struct Take(Option<jiff::Timestamp>);
    impl Visitor for Take {
        fn value(&mut self, _: FieldId, value: Value<'_>) {
            if let Value::Text(text) = value {
                self.0 = self.0.or_else(|| time::parse(text));
            }
        }
    }
    let mut take = Take(None);
    // The document was read whole before.
    let _ = json::walk(document, &TIMESTAMP, &mut take);
    take.0
}
