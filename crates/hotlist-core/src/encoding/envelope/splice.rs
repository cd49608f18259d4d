//! Putting rewritten records back into their batch: lengths around them are fixed, the rest are slices.

use bytes::Bytes;

use super::{Envelope, RecordSpan, Span};
use crate::encoding::Rope;
use crate::encoding::wire::{framed_len, put_header};

type Edit = (RecordSpan, Bytes);

impl Envelope {
    /// The batch with some records replaced, each by the bytes of another. Everything else, unknown fields included,
    /// stays as it is; records between two edits are one slice. `edits` are in the order of the batch, spans of
    /// [`Envelope::records`] of the same batch, none twice.
    pub fn splice(&self, batch: &Bytes, edits: &[(RecordSpan, Bytes)]) -> Rope {
        let mut out = Splicer { batch, rope: Rope::default(), copied: 0 };
        self.splice_level(&mut out, edits, 0);
        out.copy_to(batch.len());
        out.rope
    }

    fn splice_level(&self, out: &mut Splicer<'_>, edits: &[Edit], level: usize) {
        let Some(number) = self.levels().get(level).map(|level| level.number) else { return };
        for group in self.groups(edits, level) {
            let Some((span, record)) = group.first() else { continue };
            let held = self.held(span, level);
            out.header(held, number, self.new_len(group, level));
            if level + 1 == self.levels().len() {
                out.rope.push(record.clone());
                out.copied = held.payload().end;
            } else {
                self.splice_level(out, group, level + 1);
            }
        }
    }

    /// Edits inside the same message of a level, together.
    fn groups<'e>(&self, edits: &'e [Edit], level: usize) -> impl Iterator<Item = &'e [Edit]> + use<'e, '_> {
        edits.chunk_by(move |(left, _), (right, _)| self.held(left, level) == self.held(right, level))
    }

    /// Length of the message that a level holds, after its edits.
    fn new_len(&self, edits: &[Edit], level: usize) -> usize {
        let Some((span, record)) = edits.first() else { return 0 };
        if level + 1 == self.levels().len() {
            return record.len();
        }
        self.groups(edits, level + 1).fold(self.held(span, level).payload().len(), |length, group| {
            let Some((inner, _)) = group.first() else { return length };
            let old = self.held(inner, level + 1).framed().len();
            length.saturating_sub(old) + framed_len(self.new_len(group, level + 1))
        })
    }
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
