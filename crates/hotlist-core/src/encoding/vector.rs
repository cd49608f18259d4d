//! Events of Vector's own protocol as bytes: walk, tag and render them.
//!
//! Messages and field numbers are facts of `lib/vector-core/proto/event.proto` and `proto/vector.proto` of Vector 0.58,
//! checked against recorded requests. A record is an `EventWrapper`; what is around it is
//! [`envelope::VECTOR`](super::envelope::VECTOR), what is in a value the [`LogValue`] dialect.

mod log;
mod render;
mod tag;
mod walk;

use super::dialect::{Dialect, FieldNumbers};

pub(crate) use log::{Log, signal};
pub(super) use render::parts;
pub use render::render_record;
pub use tag::tag_record;
pub use walk::walk_record;

/// Field numbers of `event.proto`.
pub(crate) mod field {
    /// `PushEventsRequest.events`.
    pub(crate) const EVENTS: u32 = 1;
    /// `EventWrapper.log`.
    pub(crate) const LOG: u32 = 1;
    /// `EventWrapper.metric`.
    pub(crate) const METRIC: u32 = 2;
    /// `EventWrapper.trace`.
    pub(crate) const TRACE: u32 = 3;
    /// `Log.fields`, the entries of an event that is an object.
    pub(crate) const FIELDS: u32 = 1;
    /// `Log.value`, an event that is something else.
    pub(crate) const VALUE: u32 = 2;
    /// `Log.metadata_full`.
    pub(crate) const METADATA: u32 = 4;
    /// `Metadata.value`.
    pub(crate) const METADATA_VALUE: u32 = 1;
}

/// The field in which Vector puts a whole line of a source that does not parse it.
pub(crate) const MESSAGE: &[u8] = b"message";
/// The field in which Vector's sources put the time of an event.
pub(crate) const TIMESTAMP: &[u8] = b"timestamp";

/// `event.Value`; `ValueMap` and `ValueArray` are its lists. Text is bytes there, and null is a member of its own.
#[derive(Clone, Copy, Debug)]
pub enum LogValue {}

impl Dialect for LogValue {
    const NUMBERS: FieldNumbers =
        FieldNumbers { text: 1, time: 2, integer: 4, double: 5, boolean: 6, map: 7, array: 8, null: 9, bytes: 0 };
    /// Vector decodes with prost, which stops at 100 messages in each other: three for each level, and those around.
    const LEVELS: usize = 30;
    /// A source of Vector panics on one.
    const TAKES_NAN: bool = false;
}
