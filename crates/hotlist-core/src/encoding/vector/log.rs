//! The log event inside an `EventWrapper`: which kind of event it is, and where its parts stand.

use std::ops::Range;

use super::field;
use crate::encoding::wire::{Fields, Payload};
use crate::encoding::{MalformedRecord, Signal};

/// The log event of a record.
#[derive(Clone, Debug)]
pub(crate) struct Log<'a> {
    /// The `Log` message.
    pub(crate) message: &'a [u8],
    /// `Log.value` with the place of its field in `message`: the event, when it is not an object.
    pub(crate) value: Option<(Range<usize>, &'a [u8])>,
}

/// The kind of event in a record; that of the last one, as protobuf has it for a `oneof`.
pub(super) fn kind(record: &[u8]) -> Result<(Signal, Range<usize>, &[u8]), MalformedRecord> {
    let mut fields = Fields::new(record);
    let mut event = None;
    while let Some(found) = fields.next_field()? {
        let signal = match found.number {
            field::LOG => Signal::Logs,
            field::METRIC => Signal::Metrics,
            field::TRACE => Signal::Traces,
            _ => continue,
        };
        let Payload::Bytes(content) = found.payload else { return Err(MalformedRecord::WrongType("event")) };
        if event.replace((signal, found.start..found.end, content)).is_some() {
            return Err(MalformedRecord::Repeated("event"));
        }
    }
    event.ok_or(MalformedRecord::WrongType("event"))
}

/// The kind of event in a record; a record that cannot be read counts as a log.
pub(crate) fn signal(record: &[u8]) -> Signal {
    kind(record).map_or(Signal::Logs, |(signal, ..)| signal)
}

impl Log<'_> {
    /// The log event of a record; `None` when it holds another kind of event.
    pub(crate) fn read(record: &[u8]) -> Result<Option<Log<'_>>, MalformedRecord> {
        let (signal, _, message) = kind(record)?;
        if signal != Signal::Logs {
            return Ok(None);
        }
        let mut fields = Fields::new(message);
        let mut value = None;
        while let Some(found) = fields.next_field()? {
            if found.number == field::VALUE {
                let Payload::Bytes(content) = found.payload else { return Err(MalformedRecord::WrongType("value")) };
                if value.replace((found.start..found.end, content)).is_some() {
                    return Err(MalformedRecord::Repeated("value"));
                }
            }
        }
        Ok(Some(Log { message, value }))
    }
}
