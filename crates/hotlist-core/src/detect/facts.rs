//! What policy asks of an event besides its findings: its time, whether it is an indicator itself, and whether it
//! is one of OCSF.

use jiff::Timestamp;

use super::Detector;
use crate::encoding::{Value, json};
use crate::observable::time;
use crate::schema::FieldId;
use crate::schema::facts::{CLASS_UID, EVENT_KIND};

/// The fields of [`facts`](crate::schema::FieldTable::facts), read only when something was found.
#[derive(Default)]
pub(super) struct Facts {
    /// `@timestamp`, or the first of the table that the event has; and which that is.
    time: Option<(FieldId, Timestamp)>,
    pub(super) is_indicator: bool,
    /// It has a number `class_uid`.
    pub(super) is_ocsf: bool,
}

impl Facts {
    /// The event's time.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.time.map(|(_, time)| time)
    }

    pub(super) fn value(&mut self, field: FieldId, value: Value<'_>) {
        if field == EVENT_KIND {
            self.is_indicator |= matches!(value, Value::Text(b"enrichment"));
        } else if field == CLASS_UID {
            self.is_ocsf |= matches!(value, Value::Int(_) | Value::Double(_));
        } else if self.time.is_none_or(|(known, _)| field < known)
            && let Some(time) = time_of(value)
        {
            self.time = Some((field, time));
        }
    }
}

impl Detector {
    /// The time of a JSON document, or of a line that is pairs, at `@timestamp` or where its schema has it. A value that is not
    /// a time does not count.
    pub fn event_time(&self, document: &[u8]) -> Option<Timestamp> {
        let mut facts = Facts::default();
        // What can be read of a malformed document may have the time.
        let read =
            json::read(document, self.snapshot.facts(), &mut |field, value: Value<'_>| facts.value(field, value));
        if read.is_err() {
            facts = self.facts_of_line(document);
        }
        facts.time()
    }
}

fn time_of(value: Value<'_>) -> Option<Timestamp> {
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
    use std::sync::Arc;

    use super::*;
    use crate::intel::snapshot::Snapshot;
    use crate::schema::FieldTable;

    #[test]
    fn the_time_is_found_in_the_forms_of_real_logs() {
        let table = Arc::new(FieldTable::shipped().unwrap());
        let detector = Detector::new(Arc::new(Snapshot::empty(table)));
        let event_time = |document: &[u8]| detector.event_time(document);
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
