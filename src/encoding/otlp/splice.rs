//! Putting rewritten records back into their batch: lengths around them are fixed, the rest are slices.

use bytes::Bytes;

use super::{RecordSpan, Span, field};
use crate::encoding::Rope;
use crate::encoding::wire::{framed_len, put_header};

/// The batch with some records replaced, each by the bytes of a `LogRecord`. Everything else, unknown fields included,
/// stays as it is; records between two edits are one slice. `edits` are in the order of the batch, spans of
/// [`super::records`] of the same batch, none twice.
pub fn splice(batch: &Bytes, edits: &[(RecordSpan, Bytes)]) -> Rope {
    if edits.is_empty() {
        return Rope::from(batch.clone());
    }
    let mut out = Splicer { batch, rope: Rope::default(), copied: 0 };
    for resource in edits.chunk_by(|(left, _), (right, _)| left.resource_logs == right.resource_logs) {
        let Some((RecordSpan { resource_logs, .. }, _)) = resource.first() else { continue };
        out.header(*resource_logs, field::RESOURCE_LOGS, resource_len(*resource_logs, resource));
        for scope in by_scope(resource) {
            let Some((RecordSpan { scope_logs, .. }, _)) = scope.first() else { continue };
            out.header(*scope_logs, field::SCOPE_LOGS, scope_len(*scope_logs, scope));
            for (span, record) in scope {
                out.header(span.record, field::LOG_RECORDS, record.len());
                out.rope.push(record.clone());
                out.copied = span.record.payload().end;
            }
        }
    }
    out.copy_to(batch.len());
    out.rope
}

type Edit = (RecordSpan, Bytes);

fn by_scope(edits: &[Edit]) -> impl Iterator<Item = &[Edit]> {
    edits.chunk_by(|(left, _), (right, _)| left.scope_logs == right.scope_logs)
}

/// Length of a `ResourceLogs` after its edits.
fn resource_len(span: Span, edits: &[Edit]) -> usize {
    by_scope(edits).fold(span.payload().len(), |length, scope| {
        let Some((RecordSpan { scope_logs, .. }, _)) = scope.first() else { return length };
        length.saturating_sub(scope_logs.framed().len()) + framed_len(scope_len(*scope_logs, scope))
    })
}

/// Length of a `ScopeLogs` after its edits.
fn scope_len(span: Span, edits: &[Edit]) -> usize {
    edits.iter().fold(span.payload().len(), |length, (span, record)| {
        length.saturating_sub(span.record.framed().len()) + framed_len(record.len())
    })
}

struct Splicer<'a> {
    batch: &'a Bytes,
    rope: Rope,
    /// How far the batch has been copied or replaced.
    copied: usize,
}

impl Splicer<'_> {
    /// Takes the batch as it is up to `end`.
    fn copy_to(&mut self, end: usize) {
        if self.copied < end && end <= self.batch.len() {
            self.rope.push(self.batch.slice(self.copied..end));
            self.copied = end;
        }
    }

    /// Writes a new tag and length in place of those of `span`.
    fn header(&mut self, span: Span, number: u32, length: usize) {
        self.copy_to(span.framed().start);
        let mut header = Vec::with_capacity(12);
        put_header(&mut header, number, length);
        self.rope.push(Bytes::from(header));
        self.copied = span.payload().start;
    }
}
