//! Requests of some records of a batch: for next hops with a size limit, and to find the record that one refuses.
//!
//! The three signals of OTLP have one shape, field numbers included: request, resource, scope, record (a log record, a
//! metric or a span). So what is here works for metrics and traces too.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::{EnvelopeError, RecordSpan, Span, field, records};
use crate::encoding::Rope;
use crate::encoding::wire::{Fields, framed_len, put_header};

/// The batch as several requests of at most `max_bytes` each; a record that is larger with what is around it stands
/// alone. Every request repeats resource, scope, schema URLs and unknown fields around its records; every record is in
/// exactly one, in order. A batch that fits, has no records or cannot be walked comes back as it is. Messages without
/// records are left out of a batch that is split.
pub fn split(batch: &Bytes, max_bytes: usize) -> Vec<Rope> {
    let mut spans = Vec::new();
    if batch.len() <= max_bytes || records(batch, |span| spans.push(span)).is_err() || spans.len() < 2 {
        return vec![Rope::from(batch.clone())];
    }
    let surroundings = Surroundings::new(batch, &spans);
    let mut requests = Vec::new();
    let mut size = Size::default();
    let mut first = 0;
    for (index, span) in spans.iter().enumerate() {
        size.add(span, &surroundings);
        if index > first && size.total() > max_bytes {
            requests.push(surroundings.request(batch, spans.get(first..index).unwrap_or_default()));
            size = Size::default();
            size.add(span, &surroundings);
            first = index;
        }
    }
    requests.push(surroundings.request(batch, spans.get(first..).unwrap_or_default()));
    requests
}

/// A batch laid out by record, to make requests of some of its records.
#[derive(Debug)]
pub struct Layout {
    batch: Bytes,
    spans: Vec<RecordSpan>,
    surroundings: Surroundings,
}

impl Layout {
    /// Walks the envelope of a batch.
    ///
    /// # Errors
    /// The envelope cannot be walked.
    pub fn new(batch: Bytes) -> Result<Layout, EnvelopeError> {
        let mut spans = Vec::new();
        records(&batch, |span| spans.push(span))?;
        let surroundings = Surroundings::new(&batch, &spans);
        Ok(Layout { batch, spans, surroundings })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Leaves out the records at these ascending places; the others move up.
    pub fn leave_out(&mut self, places: &[usize]) {
        let (mut out, mut place) = (places.iter().peekable(), 0);
        self.spans.retain(|_| {
            place += 1;
            out.next_if(|out| **out == place - 1).is_none()
        });
    }

    /// A request of the records at these places, with resource, scope and everything else that was around them.
    pub fn request(&self, places: Range<usize>) -> Rope {
        self.surroundings.request(&self.batch, self.spans.get(places).unwrap_or_default())
    }
}

/// What stands beside the records in the messages around them.
#[derive(Debug)]
struct Surroundings {
    request: Vec<Range<usize>>,
    /// By the start of a `ResourceLogs` or `ScopeLogs`.
    messages: HashMap<usize, Vec<Range<usize>>>,
}

impl Surroundings {
    fn new(batch: &[u8], spans: &[RecordSpan]) -> Surroundings {
        let mut messages = HashMap::new();
        for RecordSpan { resource_logs, scope_logs, .. } in spans {
            for (span, number) in [(resource_logs, field::SCOPE_LOGS), (scope_logs, field::LOG_RECORDS)] {
                messages.entry(span.framed().start).or_insert_with(|| others(batch, span.payload(), number));
            }
        }
        Surroundings { request: others(batch, 0..batch.len(), field::RESOURCE_LOGS), messages }
    }

    fn of(&self, span: Span) -> &[Range<usize>] {
        self.messages.get(&span.framed().start).map_or(&[], Vec::as_slice)
    }

    /// A request of some adjacent records.
    fn request(&self, batch: &Bytes, spans: &[RecordSpan]) -> Rope {
        let mut out = Slices { batch, rope: Rope::default(), pending: 0..0 };
        self.request.iter().for_each(|range| out.slice(range.clone()));
        for resource in spans.chunk_by(|left, right| left.resource_logs == right.resource_logs) {
            let scopes = || resource.chunk_by(|left, right| left.scope_logs == right.scope_logs);
            let scope_len = |scope: &[RecordSpan]| {
                let around = scope.first().map_or(0, |span| length(self.of(span.scope_logs)));
                around + scope.iter().map(|span| span.record.framed().len()).sum::<usize>()
            };
            let Some(RecordSpan { resource_logs, .. }) = resource.first() else { continue };
            let around = self.of(*resource_logs);
            let scopes_len: usize = scopes().map(|scope| framed_len(scope_len(scope))).sum();
            out.header(field::RESOURCE_LOGS, length(around) + scopes_len);
            around.iter().for_each(|range| out.slice(range.clone()));
            for scope in scopes() {
                let Some(RecordSpan { scope_logs, .. }) = scope.first() else { continue };
                out.header(field::SCOPE_LOGS, scope_len(scope));
                self.of(*scope_logs).iter().for_each(|range| out.slice(range.clone()));
                scope.iter().for_each(|span| out.slice(span.record.framed()));
            }
        }
        out.finish()
    }
}

/// Where the fields of a message other than `number` stand in the batch.
fn others(batch: &[u8], place: Range<usize>, number: u32) -> Vec<Range<usize>> {
    let mut fields = Fields::new(batch.get(place.clone()).unwrap_or_default());
    let mut ranges = Vec::new();
    // The envelope was walked before, so there is no error to be seen here.
    while let Ok(Some(found)) = fields.next_field() {
        if found.number != number {
            ranges.push(place.start + found.start..place.start + found.end);
        }
    }
    ranges
}

fn length(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(Range::len).sum()
}

/// The size of a request, record by record.
#[derive(Default)]
struct Size {
    last: Option<RecordSpan>,
    /// The finished part: what is beside the `ResourceLogs`, and those before the last.
    request: usize,
    /// Content of the last `ResourceLogs` without its last scope.
    resource: usize,
    /// Content of the last `ScopeLogs`.
    scope: usize,
}

impl Size {
    fn add(&mut self, span: &RecordSpan, surroundings: &Surroundings) {
        match self.last {
            None => self.request = length(&surroundings.request),
            Some(last) if last.resource_logs != span.resource_logs => self.request = self.total(),
            Some(last) if last.scope_logs != span.scope_logs => self.resource += framed_len(self.scope),
            Some(_) => {}
        }
        if self.last.is_none_or(|last| last.resource_logs != span.resource_logs) {
            self.resource = length(surroundings.of(span.resource_logs));
        }
        if self.last.is_none_or(|last| last.scope_logs != span.scope_logs) {
            self.scope = length(surroundings.of(span.scope_logs));
        }
        self.scope += span.record.framed().len();
        self.last = Some(*span);
    }

    fn total(&self) -> usize {
        self.request + framed_len(self.resource + framed_len(self.scope))
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
