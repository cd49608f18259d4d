//! The time of an event, at the fields where logs have it.

use std::sync::LazyLock;

use jiff::Timestamp;

use crate::encoding::{Value, json};
use crate::observable::time;
use crate::schema::{FieldId, PathTrie};

/// The fields of times, the first that an event has decides: ECS, OCSF and generic JSON, Zeek, OpenTelemetry, CloudTrail,
/// Kubernetes audit, Okta, Microsoft 365, Windows (Sysmon, raw), journald.
pub const TIME_FIELDS: [&str; 17] = [
    "@timestamp",
    "timestamp",
    "time",
    "ts",
    "timeUnixNano",
    "eventTime",
    "requestReceivedTimestamp",
    "published",
    "CreationTime",
    "UtcTime",
    "Event.System.TimeCreated.SystemTime",
    "System.TimeCreated.SystemTime",
    "EventTime",
    "__REALTIME_TIMESTAMP",
    "date",
    "datetime",
    "event_time",
];

static TIMES: LazyLock<PathTrie> =
    LazyLock::new(|| PathTrie::new((0..).zip(TIME_FIELDS).map(|(number, path)| (path, FieldId(number)))));

/// Returns the time of a JSON document. A field whose value is not a time does not count.
pub fn event_time(document: &[u8]) -> Option<Timestamp> {
    let mut found: Option<(FieldId, Timestamp)> = None;
    // What can be read of a malformed document may have the time.
    let _ = json::read(document, &TIMES, &mut |field, value: Value<'_>| {
        if found.is_none_or(|(first, _)| field < first)
            && let Some(instant) = instant(value)
        {
            found = Some((field, instant));
        }
    });
    found.map(|(_, instant)| instant)
}

fn instant(value: Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Text(text) => time::parse(text),
        Value::Int(number) => time::parse(number.to_string().as_bytes()),
        // Zeek writes seconds with six digits of a fraction, which a double holds.
        Value::Double(number) if number.is_finite() => time::parse(format!("{number:.6}").as_bytes()),
        Value::Time(instant) => Some(instant),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_in_the_forms_of_real_logs() {
        let second = "2012-03-16T12:30:00Z".parse::<Timestamp>().unwrap();
        for document in [
            r#"{"@timestamp":"2012-03-16T12:30:00Z","time":"2020-01-01T00:00:00Z"}"#,
            r#"{"time":"no time","ts":1331901000.000000}"#,
            r#"{"eventTime":"2012-03-16T12:30:00Z"}"#,
            r#"{"__REALTIME_TIMESTAMP":"1331901000000000"}"#,
            r#"{"time":1331901000000}"#,
            r#"{"Event":{"System":{"TimeCreated":{"SystemTime":"2012-03-16T12:30:00Z"}}}}"#,
            r#"{"UtcTime":"2012-03-16 12:30:00.000"}"#,
            r#"{"ts":1331901000,"cut":"#,
        ] {
            assert_eq!(event_time(document.as_bytes()), Some(second), "{document}");
        }
        for document in ["{}", "plain text", r#"{"@timestamp":null,"time":true}"#, r#"{"a":{"time":1331901000}}"#] {
            assert_eq!(event_time(document.as_bytes()), None, "{document}");
        }
    }
}
