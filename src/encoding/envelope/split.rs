//! Requests of some records of a batch: for next hops with a size limit, for sinks that take some of the events, and to
//! find the record that a next hop refuses.

use std::collections::HashMap;
use std::mem::size_of;
use std::ops::Range;

use bytes::Bytes;

use super::{Envelope, EnvelopeError, RecordSpan};
use crate::encoding::Rope;
use crate::encoding::wire::{Fields, framed_len, put_header};

impl Envelope {
    /// The batch as several requests of at most `max_bytes` each; a record that is larger with what is around it stands
    /// alone. Every request repeats what is around its records (resource, scope, unknown fields); every record is in
    /// exactly one, in order. A batch that fits, has no records or cannot be walked comes back as it is. Messages
    /// without records are left out of a batch that is split.
    pub fn split(&self, batch: &Bytes, max_bytes: usize) -> Vec<Rope> {
        let whole = || vec![Rope::from(batch.clone())];
        if batch.len() <= max_bytes {
            return whole();
        }
        match Layout::new(*self, batch.clone()) {
            Ok(layout) if layout.len() > 1 => layout.split(max_bytes),
            _ => whole(),
        }
    }
}

/// What decides how much memory a [`Layout`] takes, counted record by record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    records: usize,
    /// Records that do not begin where the one before ends: another group begins, or something else stands between.
    breaks: usize,
    /// Where the last record ends.
    end: u32,
}

impl Extent {
    /// Bytes for a record where it is split by size: its place.
    const PLACE: usize = size_of::<RecordSpan>();
    /// Bytes for a record where some are picked: its place once more, its number in lists, and a slice in a list that may
    /// have grown to twice what it holds.
    const PICKED: usize = size_of::<RecordSpan>() + 4 * size_of::<u32>() + 2 * size_of::<Bytes>();
    /// Bytes for a break: two groups, each with its entry in a map, what is beside its records, a header, and slices.
    const BREAK: usize = 768;

    /// That of a batch.
    ///
    /// # Errors
    /// The envelope cannot be walked.
    pub fn of(envelope: Envelope, batch: &[u8]) -> Result<Extent, EnvelopeError> {
        let mut extent = Extent::default();
        envelope.records(batch, |span| extent.add(&span))?;
        Ok(extent)
    }

    /// Counts the next record.
    #[inline]
    pub fn add(&mut self, span: &RecordSpan) {
        self.records += 1;
        self.breaks += usize::from(span.record.start != self.end);
        self.end = span.record.end;
    }

    /// The same of a batch of `length` bytes that goes on as it began.
    pub fn projected(self, length: usize) -> Extent {
        let end = self.end.max(1) as u128;
        let project = |count: usize| (count as u128 * length as u128).div_ceil(end).min(length as u128) as usize;
        Extent { records: project(self.records), breaks: project(self.breaks), end: self.end }
    }

    /// The most bytes of memory, besides the batch, that splitting it by size takes.
    pub fn bytes_to_split(self) -> usize {
        let places = self.records.saturating_mul(Extent::PLACE);
        places.saturating_add(self.breaks.saturating_add(1).saturating_mul(Extent::BREAK))
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
        self.surroundings.request.iter().for_each(|range| out.slice(range.clone()));
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
            self.surroundings.of(span, level).iter().for_each(|range| out.slice(range.clone()));
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
        let around = spans.first().map_or(0, |span| length(self.surroundings.of(span, level)));
        let inner: usize = if level + 2 == self.envelope.levels().len() {
            spans.iter().map(|span| span.record.framed().len()).sum()
        } else {
            self.groups(spans, level + 1).map(|group| framed_len(self.content_len(group, level + 1))).sum()
        };
        around + inner
    }

    fn split(&self, max_bytes: usize) -> Vec<Rope> {
        let mut requests = Vec::new();
        let mut size = Size::new(self);
        let mut first = 0;
        for (index, span) in self.spans.iter().enumerate() {
            size.add(span);
            if index > first && size.total() > max_bytes {
                requests.push(self.request(first..index));
                size = Size::new(self);
                size.add(span);
                first = index;
            }
        }
        requests.push(self.request(first..self.spans.len()));
        requests
    }
}

/// What stands beside the records in the messages around them.
#[derive(Debug)]
struct Surroundings {
    request: Vec<Range<usize>>,
    /// By the start of a group.
    groups: HashMap<u32, Vec<Range<usize>>>,
}

impl Surroundings {
    fn new(envelope: Envelope, batch: &[u8], spans: &[RecordSpan]) -> Surroundings {
        let mut groups = HashMap::new();
        let (first, inner) = match envelope.levels() {
            [first, inner @ ..] => (first.number, inner),
            [] => (0, [].as_slice()),
        };
        for span in spans {
            for (group, level) in span.groups.iter().zip(inner) {
                groups.entry(group.start).or_insert_with(|| others(batch, group.payload(), level.number));
            }
        }
        Surroundings { request: others(batch, 0..batch.len(), first), groups }
    }

    /// What is beside the messages of the next level in the group that a level holds.
    fn of(&self, span: &RecordSpan, level: usize) -> &[Range<usize>] {
        let group = span.groups.get(level).and_then(|group| self.groups.get(&group.start));
        group.map_or(&[], Vec::as_slice)
    }
}

/// Where the fields of a message other than `number` stand in the batch.
fn others(batch: &[u8], place: Range<usize>, number: u32) -> Vec<Range<usize>> {
    let mut fields = Fields::new(batch.get(place.clone()).unwrap_or_default());
    let mut ranges: Vec<Range<usize>> = Vec::new();
    // The envelope was walked before, so there is no error to be seen here.
    while let Ok(Some(found)) = fields.next_field() {
        if found.number != number {
            let (start, end) = (place.start + found.start, place.start + found.end);
            match ranges.last_mut() {
                // Neighbours are one range, so that there are no more of them than messages of the next level.
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
    }
    ranges
}

fn length(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(Range::len).sum()
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
        Size { layout, last: None, content: [length(&layout.surroundings.request), 0, 0] }
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
                *content = length(self.layout.surroundings.of(span, level));
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
