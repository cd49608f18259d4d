//! Records as the requests of each source.

use bytes::Bytes;
use hotlist::encoding::otlp::{encode_json, request_of};
use hotlist::encoding::wire::put_bytes;
use hotlist::encoding::{Format, transcode};
use serde_json::{Map, Value, json};

use crate::{Outcome, Sink};

/// How events arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// OTLP, fields as attributes.
    OtlpAttributes,
    /// OTLP, the body a document.
    OtlpBody,
    /// OTLP, the body text that holds JSON.
    OtlpText,
    /// OTLP/JSON, fields as attributes.
    OtlpJson,
    /// Vector's protocol.
    Vector,
    /// JSON documents of a Filter stream.
    Filter,
}

/// An event: dotted names and values.
pub type Record = Map<String, Value>;

impl Encoding {
    pub const ALL: [Encoding; 6] = [
        Encoding::OtlpAttributes,
        Encoding::OtlpBody,
        Encoding::OtlpText,
        Encoding::OtlpJson,
        Encoding::Vector,
        Encoding::Filter,
    ];

    /// The sinks that are tried: what a sink does with OTLP is tried with attributes and with a document, and is the same
    /// for text and for what came as OTLP/JSON. Documents of a Filter stream are not cut into requests.
    pub fn sinks(self) -> &'static [Sink] {
        match self {
            Encoding::OtlpAttributes | Encoding::OtlpBody | Encoding::Vector => &Sink::ALL,
            Encoding::OtlpText => &[Sink::Same, Sink::Other],
            Encoding::OtlpJson => &[Sink::Same],
            Encoding::Filter => &[Sink::Same, Sink::Other, Sink::Lines],
        }
    }

    /// The format of a batch that comes so.
    pub fn format(self) -> Format {
        match self {
            Encoding::Vector => Format::Vector,
            Encoding::Filter => Format::Filter,
            _ => Format::Otlp,
        }
    }

    /// The request with these records.
    pub fn request(self, records: &[Record]) -> Outcome<Bytes> {
        let documents: Vec<Value> = records.iter().cloned().map(Value::Object).collect();
        Ok(match self {
            Encoding::OtlpAttributes => {
                let mut scope = Vec::new();
                for record in records {
                    put_bytes(&mut scope, 2, &attributes(6, record));
                }
                logs(&[], &scope)
            }
            Encoding::OtlpBody => request_of(documents.iter().map(|document| (0, document))).into(),
            Encoding::OtlpText => {
                let texts: Vec<Value> = documents.iter().map(|document| Value::String(document.to_string())).collect();
                request_of(texts.iter().map(|text| (0, text))).into()
            }
            Encoding::OtlpJson => {
                let record =
                    |record: &Record| json!({ "attributes": record.iter().map(attribute).collect::<Vec<_>>() });
                let records: Vec<Value> = records.iter().map(record).collect();
                json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] }).to_string().into()
            }
            Encoding::Vector => {
                let request = Bytes::from(request_of(documents.iter().map(|document| (0, document))));
                transcode(&request, Format::Otlp, Format::Vector, |_| true)?
            }
            Encoding::Filter => {
                let mut request = Vec::new();
                documents.iter().for_each(|document| put_bytes(&mut request, 2, document.to_string().as_bytes()));
                request.into()
            }
        })
    }
}

/// An OTLP request of one resource with this content and one scope with these records.
pub fn logs(resource: &[u8], records: &[u8]) -> Bytes {
    let (mut resource_logs, mut request) = (Vec::new(), Vec::new());
    if !resource.is_empty() {
        put_bytes(&mut resource_logs, 1, resource);
    }
    put_bytes(&mut resource_logs, 2, records);
    put_bytes(&mut request, 1, &resource_logs);
    request.into()
}

/// The fields of a record as OTLP attributes, each in the field `number`.
pub fn attributes(number: u32, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in record {
        let mut attribute = Vec::new();
        put_bytes(&mut attribute, 1, key.as_bytes());
        put_bytes(&mut attribute, 2, &encode_json(value));
        put_bytes(&mut out, number, &attribute);
    }
    out
}

fn attribute((key, value): (&String, &Value)) -> Value {
    json!({ "key": key, "value": any(value) })
}

/// An `AnyValue` of OTLP/JSON.
fn any(value: &Value) -> Value {
    match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        Value::Number(number) => json!({ "doubleValue": number }),
        Value::Array(values) => json!({ "arrayValue": { "values": values.iter().map(any).collect::<Vec<_>>() } }),
        Value::Object(members) => {
            json!({ "kvlistValue": { "values": members.iter().map(attribute).collect::<Vec<_>>() } })
        }
        Value::Null => json!({}),
    }
}
