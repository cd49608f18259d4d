//! What policy asks of an event besides its findings: its time, and whether it is an indicator itself.

use std::sync::LazyLock;

use jiff::Timestamp;

use crate::encoding::Value;
use crate::observable::time;
use crate::schema::{FieldId, PathTrie};

/// Fields that policy asks for, read only when something was found.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) time: Option<Timestamp>,
    pub(super) is_indicator: bool,
}

const TIMESTAMP: FieldId = FieldId(0);
const EVENT_KIND: FieldId = FieldId(1);

static FACTS: LazyLock<PathTrie> =
    LazyLock::new(|| PathTrie::new([("@timestamp", TIMESTAMP), ("event.kind", EVENT_KIND)]));

impl Facts {
    /// The fields that are read.
    pub(super) fn trie() -> &'static PathTrie {
        &FACTS
    }

    pub(super) fn value(&mut self, field: FieldId, value: Value<'_>) {
        match (field, value) {
            (TIMESTAMP, Value::Text(text)) => self.time = self.time.or_else(|| time::parse(text)),
            (TIMESTAMP, Value::Int(number)) => {
                self.time = self.time.or_else(|| time::parse(number.to_string().as_bytes()))
            }
            (TIMESTAMP, Value::Time(instant)) => self.time = self.time.or(Some(instant)),
            (EVENT_KIND, Value::Text(text)) => self.is_indicator |= text == b"enrichment",
            _ => {}
        }
    }
}
