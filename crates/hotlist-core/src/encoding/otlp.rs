//! OTLP logs as bytes: walk, tag and render the records of a batch; OTLP/JSON made such bytes.
//!
//! Messages and field numbers: `opentelemetry/proto/{collector/logs,logs,common}/v1` of opentelemetry-proto 1.x. What
//! is around the records is [`envelope::OTLP`](super::envelope::OTLP), what is in a value the [`AnyValue`] dialect.

mod from_json;
mod render;
mod tag;
mod value;
mod walk;

use super::MAX_DEPTH;
use super::dialect::{Dialect, FieldNumbers};

pub use from_json::{Converted, Export, FromJsonError, from_json, from_json_within};
pub(super) use render::parts;
pub use render::render_record;
pub(crate) use render::time_of;
pub use tag::tag_record;
pub(crate) use tag::{body_message, body_of};
pub use value::{encode_json, request_of};
pub use walk::{walk_record, walk_resource};

/// Field numbers of `opentelemetry-proto`.
pub(crate) mod field {
    /// `ExportLogsServiceRequest.resource_logs`.
    pub(crate) const RESOURCE_LOGS: u32 = 1;
    /// `ResourceLogs.resource`.
    pub(crate) const RESOURCE: u32 = 1;
    /// `Resource.attributes`.
    pub(crate) const RESOURCE_ATTRIBUTES: u32 = 1;
    /// `ResourceLogs.scope_logs`.
    pub(crate) const SCOPE_LOGS: u32 = 2;
    /// `ScopeLogs.log_records`.
    pub(crate) const LOG_RECORDS: u32 = 2;
    /// `LogRecord.time_unix_nano`.
    pub(crate) const TIME: u32 = 1;
    /// `LogRecord.body`.
    pub(crate) const BODY: u32 = 5;
    /// `LogRecord.attributes`.
    pub(crate) const ATTRIBUTES: u32 = 6;
    /// `LogRecord.observed_time_unix_nano`.
    pub(crate) const OBSERVED_TIME: u32 = 11;
}

/// `opentelemetry.proto.common.v1.AnyValue`; `KeyValue`, `KeyValueList` and `ArrayValue` are its entries and lists.
#[derive(Clone, Copy, Debug)]
pub enum AnyValue {}

impl Dialect for AnyValue {
    const NUMBERS: FieldNumbers =
        FieldNumbers { text: 1, boolean: 2, integer: 3, double: 4, array: 5, map: 6, bytes: 7, time: 0, null: 0 };
    const LEVELS: usize = MAX_DEPTH;
    const TAKES_NAN: bool = true;
}
