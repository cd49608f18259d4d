//! A batch laid out by record, to make requests of some of its records: for sinks that take some of the events, for next
//! hops with a size limit, and to find the record that a next hop refuses.
//!
//! A record of OTLP may have two bytes and a group four, so what a layout remembers of each is small: offsets of 32 bits,
//! and no copy but of what does not stand together.

use std::mem::size_of;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{Envelope, EnvelopeError, RecordSpan};
use crate::encoding::Rope;
use crate::encoding::wire::{Fields, framed_len, put_header};

/// The numbers that decide how much memory a [`Layout`] takes, counted record by record.
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
    const PLACE: usize = size_of::<Place>();
    /// Bytes for a record where some are picked: its place again, its number in lists, and a slice in a list that may
    /// have grown to twice what it holds.
    const PICKED: usize = size_of::<Place>() + 4 * size_of::<u32>() + 2 * size_of::<Bytes>();
    /// Bytes for a break: two groups, each with its place, a header, and slices.
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
        extent.end_at(batch.len());
        Ok(extent)
    }

    /// Counts what stands behind the last record of a batch of `length` bytes.
    fn end_at(&mut self, length: usize) {
        self.around += length.saturating_sub(self.end as usize);
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

/// Where a record stands, and in which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    start: u32,
    end: u32,
    /// Index of its innermost group; not used in a flat envelope.
    group: u32,
}

impl Place {
    /// The record with its tag and length.
    pub(super) fn framed(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The content of a message of the envelope besides the messages of the next level: a range of the batch if it stands
/// together, else one of the copies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    start: u32,
    end: u32,
    is_copied: bool,
}

impl Around {
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// An innermost group.
#[derive(Clone, Copy, Debug)]
struct Inner {
    around: Around,
    /// Index of the group that holds it.
    outer: u32,
}

/// A batch laid out by record, to make requests of some of its records.
#[derive(Debug)]
pub struct Layout {
    pub(super) envelope: Envelope,
    batch: Bytes,
    pub(super) places: Vec<Place>,
    inner: Vec<Inner>,
    outer: Vec<Around>,
    /// The content of the request besides its groups.
    pub(super) around_request: Around,
    /// The envelope around the records in several pieces, joined.
    copies: Bytes,
}

impl Layout {
    /// Walks the envelope of a batch.
    ///
    /// # Errors
    /// The envelope cannot be walked.
    pub fn new(envelope: Envelope, batch: Bytes) -> Result<Layout, EnvelopeError> {
        let (mut extent, mut groups) = (Extent::default(), [0; 2]);
        let mut last = None;
        envelope.records(&batch, |span| {
            extent.add(&span);
            let is_new = new_groups(&mut last, &span);
            groups.iter_mut().zip(is_new).for_each(|(count, is_new)| *count += usize::from(is_new));
        })?;
        extent.end_at(batch.len());
        let mut around = Arounds { batch: &batch, most: extent.around, copies: BytesMut::new() };
        let (first, [outer_number, inner_number]) = match *envelope.levels() {
            [request, outer, inner] => (request.number, [outer.number, inner.number]),
            [request, ..] => (request.number, [0; 2]),
            [] => (0, [0; 2]),
        };
        let around_request = around.fields_around(0..batch.len(), first);
        let mut places = Vec::with_capacity(extent.records);
        let (mut outer, mut inner) = (Vec::with_capacity(groups[0]), Vec::with_capacity(groups[1]));
        last = None;
        // invariant: a batch is shorter than 4 GiB, so it has fewer groups than 32 bits can count.
        envelope.records(&batch, |span| {
            let [is_new_outer, is_new_inner] = new_groups(&mut last, &span);
            let [outer_span, inner_span] = span.groups;
            if is_new_outer {
                outer.push(around.fields_around(outer_span.payload(), outer_number));
            }
            if is_new_inner {
                let around = around.fields_around(inner_span.payload(), inner_number);
                inner.push(Inner { around, outer: outer.len().saturating_sub(1) as u32 });
            }
            let group = inner.len().saturating_sub(1) as u32;
            places.push(Place { start: span.record.start, end: span.record.end, group });
        })?;
        let copies = around.copies.freeze();
        Ok(Layout { envelope, batch, places, inner, outer, around_request, copies })
    }

    /// Of a batch without records.
    pub(super) fn empty(envelope: Envelope) -> Layout {
        Layout {
            envelope,
            batch: Bytes::new(),
            places: Vec::new(),
            inner: Vec::new(),
            outer: Vec::new(),
            around_request: Around::default(),
            copies: Bytes::new(),
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Keeps the records for whose place, asked in order, `keep` says so; the others move up.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut place = 0;
        self.places.retain(|_| {
            place += 1;
            keep(place - 1)
        });
    }

    /// A request of the records at these places, with everything else that was around them.
    pub fn request(&self, places: Range<usize>) -> Rope {
        self.request_of(self.places.get(places).unwrap_or_default())
    }

    /// A request of the records at these ascending places, with everything else that was around them.
    pub fn request_at(&self, places: &[u32]) -> Rope {
        let mut chosen = Vec::with_capacity(places.len());
        chosen.extend(places.iter().filter_map(|place| self.places.get(*place as usize)));
        self.request_of(&chosen)
    }

    fn request_of(&self, places: &[Place]) -> Rope {
        let mut out = Slices { batch: &self.batch, rope: Rope::default(), pending: 0..0 };
        out.bytes(self.bytes_around(self.around_request));
        self.write(&mut out, places, 0);
        out.finish()
    }

    /// Writes what a level holds of some adjacent records.
    fn write(&self, out: &mut Slices<'_>, places: &[Place], level: usize) {
        let levels = self.envelope.levels();
        if level + 1 == levels.len() {
            places.iter().for_each(|place| out.slice(place.framed()));
            return;
        }
        let Some(number) = levels.get(level).map(|level| level.number) else { return };
        for group in self.groups(places, level) {
            let Some(place) = group.first() else { continue };
            out.header(number, self.content_len(group, level));
            out.bytes(self.bytes_around(self.around(*place, level)));
            self.write(out, group, level + 1);
        }
    }

    fn groups<'s>(&self, places: &'s [Place], level: usize) -> impl Iterator<Item = &'s [Place]> + use<'s, '_> {
        places.chunk_by(move |left, right| self.group(*left, level) == self.group(*right, level))
    }

    /// Length of the group that a level holds, with these records of it only.
    fn content_len(&self, places: &[Place], level: usize) -> usize {
        let around = places.first().map_or(0, |place| self.around(*place, level).len());
        let inner: usize = if level + 2 == self.envelope.levels().len() {
            places.iter().map(|place| place.framed().len()).sum()
        } else {
            self.groups(places, level + 1).map(|group| framed_len(self.content_len(group, level + 1))).sum()
        };
        around + inner
    }

    /// The group at a level on the way to a record.
    pub(super) fn group(&self, place: Place, level: usize) -> u32 {
        if level == 0 { self.inner.get(place.group as usize).map_or(0, |inner| inner.outer) } else { place.group }
    }

    /// The content of a level's group besides the messages of the next level.
    pub(super) fn around(&self, place: Place, level: usize) -> Around {
        let around = match level {
            0 => self.outer.get(self.group(place, 0) as usize).copied(),
            _ => self.inner.get(place.group as usize).map(|inner| inner.around),
        };
        around.unwrap_or_default()
    }

    fn bytes_around(&self, around: Around) -> Bytes {
        // invariant: the range was made from the same bytes.
        let of = if around.is_copied { &self.copies } else { &self.batch };
        of.slice(around.start as usize..around.end as usize)
    }
}

/// Whether a record is the first of its outer and of its inner group.
fn new_groups(last: &mut Option<RecordSpan>, span: &RecordSpan) -> [bool; 2] {
    let before = last.replace(*span).map(|last| last.groups);
    [0, 1].map(|level| before.is_none_or(|before| before.get(level) != span.groups.get(level)))
}

/// Finds what stands around the messages of the next level.
struct Arounds<'a> {
    batch: &'a Bytes,
    /// The most bytes that copies can have: those that are not of records.
    most: usize,
    copies: BytesMut,
}

impl Arounds<'_> {
    /// The fields of the message at `place` other than `number`.
    fn fields_around(&mut self, place: Range<usize>, number: u32) -> Around {
        let base = place.start;
        let message = self.batch.get(place).unwrap_or_default();
        let mut together = 0..0;
        let mut len = 0;
        each_other(message, number, |field| {
            if len == 0 {
                together.start = field.start;
            }
            together.end = field.end;
            len += field.len();
        });
        // invariant: a batch is shorter than 4 GiB, and no byte of it is copied twice.
        if together.len() == len {
            let (start, end) = (base + together.start, base + together.end);
            return Around { start: start as u32, end: end as u32, is_copied: false };
        }
        if self.copies.is_empty() {
            self.copies.reserve(self.most);
        }
        let start = self.copies.len();
        each_other(message, number, |field| {
            self.copies.extend_from_slice(message.get(field).unwrap_or_default());
        });
        Around { start: start as u32, end: self.copies.len() as u32, is_copied: true }
    }
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

    fn bytes(&mut self, bytes: Bytes) {
        self.flush();
        self.rope.push(bytes);
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
