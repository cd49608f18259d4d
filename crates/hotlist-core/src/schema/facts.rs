//! What policy asks of an event besides its findings: where its time is, and its `event.kind`.

use super::{FieldId, FieldTable, PathTrie};

/// `@timestamp` in [`FieldTable::facts`].
pub const TIMESTAMP: FieldId = FieldId(0);
/// `event.kind`.
pub const EVENT_KIND: FieldId = FieldId(1);
/// What another schema has for `@timestamp`.
pub const OTHER_TIME: FieldId = FieldId(2);

impl FieldTable {
    /// The fields that policy asks for: [`TIMESTAMP`], [`EVENT_KIND`], and as [`OTHER_TIME`] every field that means
    /// `@timestamp`.
    pub fn facts(&self) -> PathTrie {
        let other = self.iter().filter(|(_, field)| field.ecs.as_deref() == Some("@timestamp"));
        let other = other.map(|(_, field)| (field.name.as_str(), OTHER_TIME));
        PathTrie::new(other.chain([("@timestamp", TIMESTAMP), ("event.kind", EVENT_KIND)]))
    }
}
