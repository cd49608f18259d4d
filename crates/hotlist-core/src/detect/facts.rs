//! What policy asks of an event besides its findings: its time, and whether it is an indicator itself.

use jiff::Timestamp;

use crate::encoding::Value;
use crate::observable::time;
use crate::schema::FieldId;
use crate::schema::facts::{EVENT_KIND, OTHER_TIME, TIMESTAMP};

/// The fields of [`facts`](crate::schema::FieldTable::facts), read only when something was found.
#[derive(Default)]
pub(super) struct Facts {
    timestamp: Option<Timestamp>,
    /// The time where another schema has it; `@timestamp` goes first.
    other_time: Option<Timestamp>,
    pub(super) is_indicator: bool,
}

impl Facts {
    /// The event's time.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.timestamp.or(self.other_time)
    }

    pub(super) fn value(&mut self, field: FieldId, value: Value<'_>) {
        match (field, value) {
            (TIMESTAMP, value) => self.timestamp = self.timestamp.or_else(|| time_of(value)),
            (OTHER_TIME, value) => self.other_time = self.other_time.or_else(|| time_of(value)),
            (EVENT_KIND, Value::Text(text)) => self.is_indicator |= text == b"enrichment",
            _ => {}
        }
    }
}

fn time_of(value: Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Text(text) => time::parse(text),
        Value::Int(number) => time::parse(number.to_string().as_bytes()),
        Value::Double(number) => time::parse(number.to_string().as_bytes()),
        Value::Time(instant) => Some(instant),
        Value::Bool(_) => None,
    }
}
