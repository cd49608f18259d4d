//! Requests of some records of a batch each, for next hops with a size limit.

use bytes::Bytes;

use super::Envelope;
use super::layout::{Layout, Place};
use crate::encoding::Rope;
use crate::encoding::wire::framed_len;

impl Envelope {
    /// The batch as several requests of at most `max_bytes` each, made one by one as they are asked for. Every request
    /// repeats what is around its records (resource, scope, unknown fields); every record is in exactly one, in order.
    /// A record that is larger with what is around it is a request of its own, and a request is larger than `max_bytes`
    /// too where it would otherwise be mostly repetition: all of them together are at most [`MAX_REPETITION`] times the
    /// batch. A batch that fits, has no records or cannot be walked comes back as it is. Messages without records are
    /// left out of a batch that is split.
    pub fn split(&self, batch: &Bytes, max_bytes: usize) -> SplitRequests {
        let layout = (batch.len() > max_bytes).then(|| Layout::new(*self, batch.clone()).ok()).flatten();
        match layout.filter(|layout| layout.len() > 1) {
            Some(layout) => SplitRequests { layout, max_bytes, next: 0, whole: None },
            None => SplitRequests { layout: Layout::empty(*self), max_bytes, next: 0, whole: Some(batch.clone()) },
        }
    }
}

/// The most bytes of the requests that a batch is split into, for a byte of the batch.
pub const MAX_REPETITION: usize = 16;

/// The requests that a batch is split into: see [`Envelope::split`].
#[derive(Debug)]
pub struct SplitRequests {
    layout: Layout,
    max_bytes: usize,
    /// The first record of the next request.
    next: usize,
    /// A batch that is not split.
    whole: Option<Bytes>,
}

impl Iterator for SplitRequests {
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

impl Layout {
    /// Where a part that begins with a record ends.
    fn end_of_part(&self, first: usize, max_bytes: usize) -> usize {
        let repeated = self.repeated_at(first);
        let mut size = Size::new(self);
        let mut before = 0_usize;
        for (index, place) in self.places.iter().enumerate().skip(first) {
            size.add(*place);
            let total = size.total();
            if index > first && total > max_bytes && before <= before.saturating_sub(repeated) * MAX_REPETITION {
                return index;
            }
            before = total;
        }
        self.places.len()
    }

    /// How much of what is around a record was around the previous record as well.
    fn repeated_at(&self, index: usize) -> usize {
        let place = |at: usize| self.places.get(at).copied();
        let (Some(place), Some(before)) = (place(index), index.checked_sub(1).and_then(place)) else { return 0 };
        let innermost = self.envelope.levels().len() - 1;
        let same = (0..innermost).take_while(|level| self.group(before, *level) == self.group(place, *level));
        let groups: usize = same.map(|level| self.around(place, level).len()).sum();
        self.around_request.len() + groups
    }
}

/// The size of a request, record by record.
struct Size<'a> {
    layout: &'a Layout,
    last: Option<Place>,
    /// Content of the message of each level, without that of the next level that is not finished.
    content: [usize; 3],
}

impl Size<'_> {
    fn new(layout: &Layout) -> Size<'_> {
        Size { layout, last: None, content: [layout.around_request.len(), 0, 0] }
    }

    fn add(&mut self, place: Place) {
        let innermost = self.layout.envelope.levels().len() - 1;
        let group = |place, level| self.layout.group(place, level);
        // The outermost level that holds another group than before.
        let changed = match self.last {
            None => 0,
            Some(last) => (0..innermost).find(|level| group(last, *level) != group(place, *level)).unwrap_or(innermost),
        };
        if self.last.is_some() {
            for level in (changed..innermost).rev() {
                self.finish(level);
            }
        }
        for level in changed..innermost {
            if let Some(content) = self.content.get_mut(level + 1) {
                *content = self.layout.around(place, level).len();
            }
        }
        if let Some(content) = self.content.get_mut(innermost) {
            *content += place.framed().len();
        }
        self.last = Some(place);
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
