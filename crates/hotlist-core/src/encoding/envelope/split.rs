//! Requests of some records of a batch: for next hops with a size limit, for sinks that take some of the events, and to
//! find the record that a next hop refuses.

use std::collections::HashMap;
use std::mem::size_of;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{Envelope, EnvelopeError, RecordSpan};
use crate::encoding::Rope;
use crate::encoding::wire::{Fields, framed_len, put_header};

impl Envelope {
    /// The batch as several requests of at most `max_bytes` each, made one by one as they are asked for. Every request
    /// repeats what is around its records (resource, scope, unknown fields); every record is in exactly one, in order.
    /// A record that is larger with what is around it is a request of its own, and a request is larger than `max_bytes`
    /// too where it would otherwise be mostly repetition: all of them together are at most [`MAX_REPETITION`] times the
    /// batch. A batch that fits, has no records or cannot be walked comes back as it is. Messages without records are
    /// left out of a batch that is split.
    pub fn split(&self, batch: &Bytes, max_bytes: usize) -> Parts {
        let layout = (batch.len() > max_bytes).then(|| Layout::new(*self, batch.clone()).ok()).flatten();
        match layout.filter(|layout| layout.len() > 1) {
            Some(layout) => Parts { layout, max_bytes, next: 0, whole: None },
            None => Parts { layout: Layout::empty(*self), max_bytes, next: 0, whole: Some(batch.clone()) },
        }
    }
}

/// The most bytes of the requests that a batch is split into, for a byte of the batch.
pub const MAX_REPETITION: usize = 16;

/// The requests that a batch is split into: see [`Envelope::split`].
#[derive(Debug)]
pub struct Parts {
    layout: Layout,
    max_bytes: usize,
    /// The first record of the next request.
    next: usize,
    /// A batch that is not split.
    whole: Option<Bytes>,
}

impl Iterator for Parts {
    type Item = Rope;

    fn next(&mut self) -> Option<Rope> {
        if let Some(whole) = self.whole.take() {
            return Some(Rope::from(whole));
        }
        let records = self.next..self.layout.end_of_part(self.next, self.max_bytes);
        self.next = records.end;
        (!records.is_empty()).then(|| self.layout.request(records))
    }
}

/// What decides how much memory a [`Layout`] takes, counted record by record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    records: usize,
    /// Records that do not begin where the previous record ends: another group begins, or something else stands between.
    breaks: usize,
    /// Bytes that are not of records.
    around: usize,
    /// Where the last record ends.
    end: u32,
}

impl Extent {
    /// Bytes for a record where it is split by size: its place.
    const PLACE: usize = size_of::<RecordSpan>();
    /// Bytes for a record where some are picked: its place again, its number in lists, and a slice in a list that may
    /// have grown to twice what it holds.
    const PICKED: usize = size_of::<RecordSpan>() + 4 * size_of::<u32>() + 2 * size_of::<Bytes>();
    /// Bytes for a break: two groups, each with its entry in a map, a header, and slices.
    const BREAK: usize = 768;
    /// Bytes for a few parts at once, whatever is in them: the lists of their slices, and the headers of their groups.
    const PARTS: usize = 2 << 10;

    /// That of a batch.
    ///
    /// # Errors
    /// The envelope cannot be walked.
    pub fn measure(envelope: Envelope, batch: &[u8]) -> Result<Extent, EnvelopeError> {
        let mut extent = Extent::default();
        envelope.records(batch, |span| extent.add(&span))?;
        extent.around += batch.len().saturating_sub(extent.end as usize);
        Ok(extent)
    }

    /// Counts the next record.
    #[inline]
    pub fn add(&mut self, span: &RecordSpan) {
        self.records += 1;
        self.breaks += usize::from(span.record.start != self.end);
        self.around += span.record.start.saturating_sub(self.end) as usize;
        self.end = span.record.end;
    }

    /// The same of a batch of `length` bytes that continues as it began.
    pub fn projected(self, length: usize) -> Extent {
        let end = self.end.max(1) as u128;
        let project = |count: usize| (count as u128 * length as u128).div_ceil(end).min(length as u128) as usize;
        let (records, breaks, around) = (project(self.records), project(self.breaks), project(self.around));
        Extent { records, breaks, around, end: self.end }
    }

    /// The most bytes of memory, besides the batch, that splitting it by size takes, with a few of the parts at once.
    pub fn bytes_to_split(self) -> usize {
        let places = self.records.saturating_mul(Extent::PLACE).saturating_add(self.around);
        let breaks = self.breaks.saturating_add(1).saturating_mul(Extent::BREAK);
        places.saturating_add(breaks).saturating_add(Extent::PARTS)
    }

    /// The same for requests of some of its records, one after the other.
    pub fn bytes_to_pick(self) -> usize {
        self.records.saturating_mul(Extent::PICKED).saturating_add(self.bytes_to_split())
    }
}

/// A batch laid out by record, to make requests of some of its records.
#[derive(Debug)]
pub struct Layout {
    envelope: Envelope,
    batch: Bytes,
    spans: Vec<RecordSpan>,
    surroundings: Surroundings,
}

impl Layout {
    /// Walks the envelope of a batch.
    ///
    /// # Errors
    /// The envelope cannot be walked.
    pub fn new(envelope: Envelope, batch: Bytes) -> Result<Layout, EnvelopeError> {
        let mut extent = Extent::default();
        envelope.records(&batch, |span| extent.add(&span))?;
        let mut spans = Vec::with_capacity(extent.records);
        envelope.records(&batch, |span| spans.push(span))?;
        let surroundings = Surroundings::new(envelope, &batch, &spans);
        Ok(Layout { envelope, batch, spans, surroundings })
    }

    /// Of a batch without records.
    fn empty(envelope: Envelope) -> Layout {
        let surroundings = Surroundings { request: Bytes::new(), groups: HashMap::new() };
        Layout { envelope, batch: Bytes::new(), spans: Vec::new(), surroundings }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Keeps the records for whose place, asked in order, `keep` says so; the others move up.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut place = 0;
        self.spans.retain(|_| {
            place += 1;
            keep(place - 1)
        });
    }

    /// A request of the records at these places, with everything else that was around them.
    pub fn request(&self, places: Range<usize>) -> Rope {
        self.request_of(self.spans.get(places).unwrap_or_default())
    }

    /// A request of the records at these ascending places, with everything else that was around them.
    pub fn request_at(&self, places: &[u32]) -> Rope {
        let spans: Vec<RecordSpan> =
            places.iter().filter_map(|place| self.spans.get(*place as usize)).copied().collect();
        self.request_of(&spans)
    }

    fn request_of(&self, spans: &[RecordSpan]) -> Rope {
        let mut out = Slices { batch: &self.batch, rope: Rope::default(), pending: 0..0 };
        out.bytes(&self.surroundings.request);
        self.write(&mut out, spans, 0);
        out.finish()
    }

    /// Writes what a level holds of some adjacent records.
    fn write(&self, out: &mut Slices<'_>, spans: &[RecordSpan], level: usize) {
        let levels = self.envelope.levels();
        if level + 1 == levels.len() {
            spans.iter().for_each(|span| out.slice(span.record.framed()));
            return;
        }
        let Some(number) = levels.get(level).map(|level| level.number) else { return };
        for group in self.groups(spans, level) {
            let Some(span) = group.first() else { continue };
            out.header(number, self.content_len(group, level));
            out.bytes(self.surroundings.around(span, level));
            self.write(out, group, level + 1);
        }
    }

    fn groups<'s>(
        &self,
        spans: &'s [RecordSpan],
        level: usize,
    ) -> impl Iterator<Item = &'s [RecordSpan]> + use<'s, '_> {
        spans.chunk_by(move |left, right| self.envelope.held(left, level) == self.envelope.held(right, level))
    }

    /// Length of the group that a level holds, with these records of it only.
    fn content_len(&self, spans: &[RecordSpan], level: usize) -> usize {
        let around = spans.first().map_or(0, |span| self.surroundings.around(span, level).len());
        let inner: usize = if level + 2 == self.envelope.levels().len() {
            spans.iter().map(|span| span.record.framed().len()).sum()
        } else {
            self.groups(spans, level + 1).map(|group| framed_len(self.content_len(group, level + 1))).sum()
        };
        around + inner
    }

    /// Where a part that begins with a record ends.
    fn end_of_part(&self, first: usize, max_bytes: usize) -> usize {
        let repeated = self.repeated_at(first);
        let mut size = Size::new(self);
        let mut before = 0_usize;
        for (index, span) in self.spans.iter().enumerate().skip(first) {
            size.add(span);
            let total = size.total();
            if index > first && total > max_bytes && before <= before.saturating_sub(repeated) * MAX_REPETITION {
                return index;
            }
            before = total;
        }
        self.spans.len()
    }

    /// How much of what is around a record was around the previous record as well.
    fn repeated_at(&self, index: usize) -> usize {
        let (Some(span), Some(before)) =
            (self.spans.get(index), index.checked_sub(1).and_then(|at| self.spans.get(at)))
        else {
            return 0;
        };
        let innermost = self.envelope.levels().len() - 1;
        let same =
            (0..innermost).take_while(|level| self.envelope.held(before, *level) == self.envelope.held(span, *level));
        let groups: usize = same.map(|level| self.surroundings.around(span, level).len()).sum();
        self.surroundings.request.len() + groups
    }
}

/// What the messages around the records hold besides them.
#[derive(Debug)]
struct Surroundings {
    request: Bytes,
    /// By the start of a group.
    groups: HashMap<u32, Bytes>,
}

impl Surroundings {
    fn new(envelope: Envelope, batch: &Bytes, spans: &[RecordSpan]) -> Surroundings {
        let mut groups = HashMap::new();
        let (first, inner) = match envelope.levels() {
            [first, inner @ ..] => (first.number, inner),
            [] => (0, [].as_slice()),
        };
        let mut before = [None; 2];
        for span in spans {
            for ((group, level), before) in span.groups.iter().zip(inner).zip(&mut before) {
                // The records of a group stand together. A group that holds nothing else takes no memory.
                if before.replace(group.start) != Some(group.start) {
                    let others = others(batch, group.payload(), level.number);
                    if !others.is_empty() {
                        groups.insert(group.start, others);
                    }
                }
            }
        }
        Surroundings { request: others(batch, 0..batch.len(), first), groups }
    }

    /// What the group that a level holds has besides the messages of the next level.
    fn around(&self, span: &RecordSpan, level: usize) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        span.groups.get(level).and_then(|group| self.groups.get(&group.start)).unwrap_or(&NONE)
    }
}

/// The fields of a message other than `number`: a slice of the batch where they are neighbours, else a copy.
fn others(batch: &Bytes, place: Range<usize>, number: u32) -> Bytes {
    let message = batch.slice(place);
    let mut neighbours = 0..0;
    let mut len = 0;
    each_other(&message, number, |field| {
        if len == 0 {
            neighbours.start = field.start;
        }
        neighbours.end = field.end;
        len += field.len();
    });
    if neighbours.len() == len {
        return message.slice(neighbours);
    }
    let mut joined = BytesMut::with_capacity(len);
    each_other(&message, number, |field| joined.extend_from_slice(message.get(field).unwrap_or_default()));
    joined.freeze()
}

/// Calls `each` with the place of each field of a message other than `number`.
fn each_other(message: &[u8], number: u32, mut each: impl FnMut(Range<usize>)) {
    let mut fields = Fields::new(message);
    // The envelope was walked before, so there is no error to be seen here.
    while let Ok(Some(found)) = fields.next_field() {
        if found.number != number {
            each(found.start..found.end);
        }
    }
}

/// The size of a request, record by record.
struct Size<'a> {
    layout: &'a Layout,
    last: Option<RecordSpan>,
    /// Content of the message of each level, without that of the next level that is not finished.
    content: [usize; 3],
}

impl Size<'_> {
    fn new(layout: &Layout) -> Size<'_> {
        Size { layout, last: None, content: [layout.surroundings.request.len(), 0, 0] }
    }

    fn add(&mut self, span: &RecordSpan) {
        let innermost = self.layout.envelope.levels().len() - 1;
        let held = |span: &RecordSpan, level| self.layout.envelope.held(span, level);
        // The outermost level that holds another group than before.
        let changed = match self.last {
            None => 0,
            Some(last) => (0..innermost).find(|level| held(&last, *level) != held(span, *level)).unwrap_or(innermost),
        };
        if self.last.is_some() {
            for level in (changed..innermost).rev() {
                self.finish(level);
            }
        }
        for level in changed..innermost {
            if let Some(content) = self.content.get_mut(level + 1) {
                *content = self.layout.surroundings.around(span, level).len();
            }
        }
        if let Some(content) = self.content.get_mut(innermost) {
            *content += span.record.framed().len();
        }
        self.last = Some(*span);
    }

    /// The group that a level holds is complete.
    fn finish(&mut self, level: usize) {
        if let Some([outer, inner]) = self.content.get_mut(level..level + 2) {
            *outer += framed_len(std::mem::take(inner));
        }
    }

    fn total(&self) -> usize {
        let used = self.content.get(..self.layout.envelope.levels().len()).unwrap_or_default();
        used.iter().rev().copied().reduce(|inner, outer| outer + framed_len(inner)).unwrap_or_default()
    }
}

/// Gathers slices of the batch, adjacent ones as one.
struct Slices<'a> {
    batch: &'a Bytes,
    rope: Rope,
    pending: Range<usize>,
}

impl Slices<'_> {
    fn slice(&mut self, range: Range<usize>) {
        if self.pending.end == range.start {
            self.pending.end = range.end;
        } else {
            self.flush();
            self.pending = range;
        }
    }

    fn bytes(&mut self, bytes: &Bytes) {
        self.flush();
        self.rope.push(bytes.clone());
    }

    fn header(&mut self, number: u32, length: usize) {
        self.flush();
        let mut header = Vec::with_capacity(12);
        put_header(&mut header, number, length);
        self.rope.push(Bytes::from(header));
    }

    fn flush(&mut self) {
        // invariant: every range comes from a walk of this batch.
        self.rope.push(self.batch.slice(std::mem::take(&mut self.pending)));
    }

    fn finish(mut self) -> Rope {
        self.flush();
        self.rope
    }
}
