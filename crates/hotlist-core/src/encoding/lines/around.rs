//! Renders the resource and the scope around the records of an OTLP batch once, for use in each line.

use std::mem;

use super::extra::{self, Order};
use super::put_key;
use crate::encoding::envelope::Span;
use crate::encoding::transcode::{OtlpField, RESOURCE_LOGS, SCOPE_LOGS};

/// The resource and the scope of the record before, as JSON members.
#[derive(Debug)]
pub(super) struct Around {
    most: usize,
    resource: Level,
    scope: Level,
}

#[derive(Debug, Default)]
struct Level {
    span: Option<Span>,
    members: Vec<u8>,
    is_truncated: bool,
}

impl Around {
    /// For lines that may repeat so many bytes of each.
    pub(super) fn new(most: usize) -> Around {
        Around { most, resource: Level::default(), scope: Level::default() }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Appends the members for a record in these groups of `message`.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, message: &[u8], [resource_logs, scope_logs]: [Span; 2]) {
        self.resource.enter(message, resource_logs, RESOURCE_LOGS, self.most);
        self.scope.enter(message, scope_logs, SCOPE_LOGS, self.most);
        for level in [&self.resource, &self.scope] {
            if !out.is_empty() && !level.members.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(&level.members);
        }
        if self.resource.is_truncated || self.scope.is_truncated {
            put_key(out, "truncated");
            out.extend_from_slice(b"true");
        }
    }
}

impl Level {
    /// Reads what is around a record, unless it is what was around the previous record.
    fn enter(&mut self, message: &[u8], span: Span, parts: &[OtlpField], most: usize) {
        if self.span.replace(span) == Some(span) {
            return;
        }
        let content = message.get(span.payload()).unwrap_or_default();
        let mut members = mem::take(&mut self.members);
        let mut write = |order| {
            members.clear();
            // A part that cannot be read is left out, because it does not belong to the record.
            extra::write(&mut members, content, parts, most, order).unwrap_or_else(|_| {
                members.clear();
                false
            })
        };
        self.is_truncated = write(Order::AsTheyCome) && write(Order::WhoFirst);
        self.members = members;
    }
}
