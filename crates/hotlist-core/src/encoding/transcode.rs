//! Batches in another format, for sinks that do not speak that of the source. `docs/transcoding.md` has the mapping.
//!
//! Types stay: text, bytes, integers, doubles, booleans, instants, null, nesting and order. What OTLP says in addition to the
//! document (severity, trace, resource, scope …) stands in Vector's metadata under `opentelemetry`, and comes back from
//! there. A record that cannot be read becomes a document that holds its bytes, so that nothing is lost.

mod documents;
mod otlp_to_vector;
mod parts;
mod vector_to_otlp;

use bytes::Bytes;

pub(crate) use parts::{HOW_TO_CONVERT, Kind, OPENTELEMETRY, OtlpField, RECORD_BESIDE, RESOURCE_LOGS, SCOPE_LOGS};

use super::envelope::{self, EnvelopeError, Span};
use super::wire::{Field, Fields, Payload, framed_len, put_bytes, put_header};
use super::{Format, otlp, vector};

/// Takes a conversion part by part, and says how much memory it may take.
pub trait ConversionOutput {
    /// The reason that the conversion stops.
    type Error: From<EnvelopeError>;

    /// Asked before so many bytes more are allocated, for the part that is being written and for what it is made from.
    ///
    /// # Errors
    /// They may not be; the conversion stops.
    fn reserve(&mut self, bytes: usize) -> Result<(), Self::Error>;

    /// Takes a part, and gives back what was reserved for it but the length of its message.
    ///
    /// # Errors
    /// Nobody waits for more; the conversion stops.
    fn take(&mut self, part: ConvertedMessage) -> Result<(), Self::Error>;
}

/// A whole message of the other format, with some of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConvertedMessage {
    /// The message.
    pub message: Vec<u8>,
    /// Records in it.
    pub records: usize,
    /// Records in it without what was around them, because copies of that took too many bytes by then.
    pub bare: usize,
}

/// The records of `message` for whose place, asked in order, `keep` says so, as one message of format `to`. Metrics and
/// traces among Vector's events are left out: no other format here mixes them with logs.
///
/// # Errors
/// The envelope cannot be walked.
pub fn transcode(
    message: &Bytes,
    from: Format,
    to: Format,
    keep: impl FnMut(usize) -> bool,
) -> Result<Bytes, EnvelopeError> {
    struct Whole(Vec<u8>);
    impl ConversionOutput for Whole {
        type Error = EnvelopeError;

        fn reserve(&mut self, _: usize) -> Result<(), EnvelopeError> {
            Ok(())
        }

        fn take(&mut self, part: ConvertedMessage) -> Result<(), EnvelopeError> {
            self.0 = part.message;
            Ok(())
        }
    }
    let mut whole = Whole(Vec::new());
    transcode_parts(message, from, to, keep, usize::MAX, &mut whole)?;
    Ok(Bytes::from(whole.0))
}

/// The same as messages of at most `max_bytes` each, one after the other, so that they need not all be there at once. A
/// record that is larger stands alone. There is always one part, which may be empty.
///
/// OTLP has a resource once for all of its records, and Vector in each event. So that a small request does not become a
/// huge one, all copies together have at most [`CONTEXT_FACTOR`] times the bytes of the request, and [`CONTEXT_MIN`]; the
/// events after that have no more of it than a mark. This depends on nothing but the request.
///
/// # Errors
/// The envelope cannot be walked, or `parts` has enough.
pub fn transcode_parts<P: ConversionOutput>(
    message: &Bytes,
    from: Format,
    to: Format,
    mut keep: impl FnMut(usize) -> bool,
    max_bytes: usize,
    parts: &mut P,
) -> Result<(), P::Error> {
    let mut out = Output::new(to, max_bytes);
    let mut place = 0;
    let mut context = otlp_to_vector::Context::default();
    let mut copies = message.len().saturating_mul(CONTEXT_FACTOR).saturating_add(CONTEXT_MIN);
    from.envelope().try_records(message, |span| -> Result<(), P::Error> {
        let record = message.get(span.record.payload()).unwrap_or_default();
        place += 1;
        if !keep(place - 1) {
            return Ok(());
        }
        out.reserve(cost(record, from), parts)?;
        match (from, to) {
            (Format::Otlp, Format::Vector) => {
                let group = |span: Span| message.get(span.payload()).unwrap_or_default();
                let [resource_logs, scope_logs] = span.groups();
                if context.is_other(resource_logs, scope_logs) {
                    out.reserve(around_cost(group(resource_logs)) + around_cost(group(scope_logs)), parts)?;
                    context.enter(resource_logs, scope_logs, group);
                }
                let fits = context.len() <= copies;
                copies -= if fits { context.len() } else { 0 };
                let event = otlp_to_vector::Event::new(record, if fits { &context } else { &otlp_to_vector::LEFT_OUT });
                out.event(event.len(), |message| event.put(message), parts)?;
                out.bare += usize::from(!fits);
            }
            (Format::Vector, Format::Otlp) => {
                if let Some(event) = vector_to_otlp::record(record) {
                    out.record(event.resource, event.scope, &event.record, parts)?;
                }
            }
            (Format::Filter, Format::Vector) => {
                let event = documents::event(record);
                out.event(event.len(), |message| message.extend_from_slice(&event), parts)?;
            }
            (Format::Filter, Format::Otlp) => {
                out.record(Vec::new(), Vec::new(), &documents::record(record), parts)?;
            }
            // A Filter stream is not a sink, and the same format needs no other bytes.
            (_, Format::Filter) | (Format::Otlp, Format::Otlp) | (Format::Vector, Format::Vector) => {
                out.same(record, parts)?;
            }
        }
        Ok(())
    })?;
    out.finish(parts)
}

/// How many times the bytes of a request all copies of its resources and scopes may have.
pub const CONTEXT_FACTOR: usize = 64;

/// The memory that they may have, however small the request is.
pub const CONTEXT_MIN: usize = 1 << 20;

/// A record below this many bytes takes little while it is converted, whatever it holds.
const CHEAP: usize = 16 << 10;

/// Bytes of memory that converting a message takes at most, besides the result: nested values are copied level by level,
/// and each entry has a place in a list. An entry begins with a tag whose first byte is one of two (as the fields of a
/// message that are entries themselves are not, every field of it counts), or with a comma in JSON.
fn cost(message: &[u8], from: Format) -> usize {
    if message.len() < CHEAP {
        return 0;
    }
    let entries = match from {
        Format::Filter => memchr::memchr_iter(b',', message).count(),
        Format::Otlp | Format::Vector => {
            let mut fields = Fields::new(message);
            let nested = memchr::memchr2_iter(0x0a, 0x8a, message).count();
            std::iter::from_fn(|| fields.next_field().ok().flatten()).count() + nested
        }
    };
    message.len() * COPIES + entries * ENTRY
}

/// The same for what is next to the messages that a group holds.
fn around_cost(group: &[u8]) -> usize {
    let mut fields = Fields::new(group);
    let around = std::iter::from_fn(|| fields.next_field().ok().flatten());
    let cost_of = |field: Field<'_>| match field.payload {
        Payload::Bytes(content) if field.number != otlp::field::SCOPE_LOGS => cost(content, Format::Otlp),
        _ => 0,
    };
    around.map(cost_of).sum()
}

/// Copies of a value that are there at once while it is converted.
const COPIES: usize = 6;

/// Bytes of memory of an entry in the lists that it stands in.
const ENTRY: usize = 192;

/// A message while it is written.
struct Output {
    format: Format,
    max_bytes: usize,
    message: Vec<u8>,
    records: usize,
    bare: usize,
    /// Bytes that were reserved for this part.
    reserved: usize,
    /// Bytes that are reserved besides those of the message.
    extra: usize,
    /// Whether there was a part.
    taken: bool,
    /// The OTLP groups of the records that were written last: what is next to the records of `ResourceLogs` and
    /// `ScopeLogs`, and the records.
    open: Option<(Vec<u8>, Vec<u8>, Vec<u8>)>,
}

impl Output {
    fn new(format: Format, max_bytes: usize) -> Output {
        Output {
            format,
            max_bytes,
            message: Vec::new(),
            records: 0,
            bare: 0,
            reserved: 0,
            extra: 0,
            taken: false,
            open: None,
        }
    }

    /// Reserves what making the next record takes, until its part is taken.
    fn reserve<P: ConversionOutput>(&mut self, extra: usize, parts: &mut P) -> Result<(), P::Error> {
        self.extra = self.extra.max(extra);
        self.cover(self.len(), parts)
    }

    /// Reserves for a message of so many bytes: buffers grow by doubling, and the groups of OTLP are put into each other.
    fn cover<P: ConversionOutput>(&mut self, len: usize, parts: &mut P) -> Result<(), P::Error> {
        let needed = len.saturating_mul(4).saturating_add(self.extra);
        if needed > self.reserved {
            parts.reserve(needed - self.reserved)?;
            self.reserved = needed;
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.message.len()
            + self.open.as_ref().map_or(0, |(resource, scope, records)| group_len(resource, scope, records))
    }

    /// Makes room for a record of so many bytes with what is around it: in this part, or in the next one.
    fn make_room<P: ConversionOutput>(&mut self, more: usize, parts: &mut P) -> Result<(), P::Error> {
        if self.records > 0 && self.len().saturating_add(more) > self.max_bytes {
            self.flush(parts)?;
        }
        self.cover(self.len() + more, parts)?;
        self.records += 1;
        Ok(())
    }

    /// Writes an `EventWrapper` of `len` bytes, which `put` appends.
    fn event<P: ConversionOutput>(
        &mut self,
        len: usize,
        put: impl FnOnce(&mut Vec<u8>),
        parts: &mut P,
    ) -> Result<(), P::Error> {
        self.make_room(framed_len(len), parts)?;
        self.message.reserve(framed_len(len));
        put_header(&mut self.message, vector::field::EVENTS, len);
        put(&mut self.message);
        Ok(())
    }

    /// Writes a `LogRecord`, into the groups of the previous record if these have the same contents around it.
    fn record<P: ConversionOutput>(
        &mut self,
        resource: Vec<u8>,
        scope: Vec<u8>,
        record: &[u8],
        parts: &mut P,
    ) -> Result<(), P::Error> {
        // The lengths of the groups may take some bytes more as they grow.
        self.make_room(resource.len() + scope.len() + framed_len(record.len()) + 3 * HEADER, parts)?;
        if self.open.as_ref().is_none_or(|(open, inner, _)| *open != resource || *inner != scope) {
            self.close();
            self.open = Some((resource, scope, Vec::new()));
        }
        if let Some((_, _, records)) = &mut self.open {
            put_bytes(records, otlp::field::LOG_RECORDS, record);
        }
        Ok(())
    }

    fn same<P: ConversionOutput>(&mut self, record: &[u8], parts: &mut P) -> Result<(), P::Error> {
        match self.format {
            Format::Otlp => self.record(Vec::new(), Vec::new(), record, parts),
            Format::Vector => self.event(record.len(), |message| message.extend_from_slice(record), parts),
            Format::Filter => {
                self.make_room(framed_len(record.len()), parts)?;
                put_bytes(&mut self.message, envelope::FILTER_EVENTS, record);
                Ok(())
            }
        }
    }

    fn close(&mut self) {
        let Some((mut resource, mut scope, records)) = self.open.take() else { return };
        scope.extend_from_slice(&records);
        put_bytes(&mut resource, otlp::field::SCOPE_LOGS, &scope);
        put_bytes(&mut self.message, otlp::field::RESOURCE_LOGS, &resource);
    }

    /// Hands over what was written.
    fn flush<P: ConversionOutput>(&mut self, parts: &mut P) -> Result<(), P::Error> {
        self.close();
        let (records, bare) = (std::mem::take(&mut self.records), std::mem::take(&mut self.bare));
        (self.reserved, self.taken) = (0, true);
        parts.take(ConvertedMessage { message: std::mem::take(&mut self.message), records, bare })
    }

    fn finish<P: ConversionOutput>(mut self, parts: &mut P) -> Result<(), P::Error> {
        if self.records > 0 || !self.taken { self.flush(parts) } else { Ok(()) }
    }
}

/// The most bytes of a tag below 16 and a length.
const HEADER: usize = 6;

fn group_len(resource: &[u8], scope: &[u8], records: &[u8]) -> usize {
    framed_len(resource.len() + framed_len(scope.len() + records.len()))
}
