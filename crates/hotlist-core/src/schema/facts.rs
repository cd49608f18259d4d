//! What is asked of an event besides its findings: where its time is, its `event.kind`, and whether it is one of OCSF.

use super::{FieldId, FieldTable, PathTrie};

/// `@timestamp` in [`FieldTable::facts`].
pub const TIMESTAMP: FieldId = FieldId(0);
/// `event.kind`.
pub const EVENT_KIND: FieldId = FieldId(1);
/// `class_uid`, which every event of OCSF has, and which is a number there (OCSF `events/base_event.json`).
pub const CLASS_UID: FieldId = FieldId(2);
/// From this one on what other schemas have for `@timestamp`, in the order of the table.
pub const OTHER_TIMES: FieldId = FieldId(3);

impl FieldTable {
    /// The fields that policy asks for: [`TIMESTAMP`], [`EVENT_KIND`], [`CLASS_UID`], and from [`OTHER_TIMES`] on every
    /// field that means `@timestamp`.
    pub fn facts(&self) -> PathTrie {
        let other = self.iter().filter(|(_, field)| field.ecs.as_deref() == Some("@timestamp"));
        let other = (OTHER_TIMES.0..).map(FieldId).zip(other).map(|(id, (_, field))| (field.name.as_str(), id));
        PathTrie::new(other.chain([("@timestamp", TIMESTAMP), ("event.kind", EVENT_KIND), ("class_uid", CLASS_UID)]))
    }
}
