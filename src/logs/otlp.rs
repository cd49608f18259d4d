//! Requests of OTLP/JSON in files, as the `file` exporter of the Collector writes them: each has many log records
//! ("OpenTelemetry Protocol File Exporter" of the specification).

use crate::encoding::otlp::{FromJsonError, from_json};
use crate::encoding::{EnvelopeError, Format, LineWriter};

/// Why a request of OTLP/JSON cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is not one.
    #[error(transparent)]
    Json(#[from] FromJsonError),
    /// It is too large.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// Whether a document is a request with log records, by its first member.
pub fn is_request(document: &[u8]) -> bool {
    let member = document.strip_prefix(b"{").map(<[u8]>::trim_ascii_start).unwrap_or_default();
    [&b"\"resourceLogs\""[..], b"\"resource_logs\""].iter().any(|name| member.starts_with(name))
}

/// Hands over each record of a request as a document, the one that a sink of type `ndjson` writes. Returns how many values
/// were malformed.
///
/// # Errors
/// The text is not such a request. No record was handed over.
pub fn documents(request: &[u8], mut each: impl FnMut(&[u8])) -> Result<u64, RequestError> {
    let converted = from_json(request)?;
    let message = &converted.message;
    let mut records = 0;
    Format::Otlp.envelope().records(message, |_| records += 1)?;
    let (mut lines, mut line) = (LineWriter::new(Format::Otlp, message, records), Vec::new());
    Format::Otlp.envelope().records(message, |span| {
        line.clear();
        lines.write(&mut line, Some(&span), message.get(span.record.payload()).unwrap_or_default());
        each(line.trim_ascii_end());
    })?;
    Ok(converted.malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn records(request: &Value) -> (Vec<Value>, u64) {
        let mut found = Vec::new();
        let text = request.to_string();
        assert!(is_request(text.as_bytes()));
        let malformed = documents(text.as_bytes(), |record| found.push(serde_json::from_slice(record).unwrap()));
        (found, malformed.unwrap())
    }

    #[test]
    fn each_record_is_a_document() {
        let log = |ip: &str| json!({ "timeUnixNano": "1733000000000000000", "attributes": [{ "key": "source.ip", "value": { "stringValue": ip } }] });
        let request = json!({ "resourceLogs": [
            { "resource": { "attributes": [{ "key": "host.name", "value": { "stringValue": "web-1" } }] },
              "scopeLogs": [{ "logRecords": [log("192.0.2.1"), log("192.0.2.2")] }] },
            { "scopeLogs": [{ "logRecords": [{ "body": { "stringValue": "a line" } }, { "flags": "x" }] }] },
        ] });
        let (found, malformed) = records(&request);
        let ips: Vec<&Value> = found.iter().map(|record| &record["source.ip"]).collect();
        assert_eq!(ips, [&json!("192.0.2.1"), &json!("192.0.2.2"), &Value::Null, &Value::Null]);
        assert_eq!((&found[2]["message"], malformed), (&json!("a line"), 1));
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for text in ["{\"resourceLogs\":3}", "{\"resourceLogs\":[", "{\"resourceLogs\":[]} x"] {
            assert!(is_request(text.as_bytes()), "{text}");
            assert!(documents(text.as_bytes(), |_| unreachable!()).is_err(), "{text}");
        }
        for text in ["", "{}", "{\"source\":{\"ip\":\"192.0.2.1\"},\"resourceLogs\":[]}", "\"resourceLogs\""] {
            assert!(!is_request(text.as_bytes()), "{text}");
        }
    }
}
