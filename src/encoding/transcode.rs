//! Batches in another format, for sinks that do not speak that of the source. `docs/transcoding.md` has the mapping.
//!
//! Types stay: text, bytes, integers, doubles, booleans, instants, null, nesting and order. What OTLP says beside the
//! document (severity, trace, resource, scope …) stands in Vector's metadata under `opentelemetry`, and comes back from
//! there. A record that cannot be read becomes a document that holds its bytes, so that nothing is lost.

mod documents;
mod otlp_to_vector;
mod parts;
mod vector_to_otlp;

use bytes::Bytes;

use super::envelope::{self, EnvelopeError, Span};
use super::wire::put_bytes;
use super::{Format, otlp, vector};

/// The records of `message` for whose place, asked in order, `keep` says so, as one message of format `to`. Metrics and
/// traces among Vector's events are left out: no other format here has them beside logs.
///
/// # Errors
/// The envelope cannot be walked.
pub fn transcode(
    message: &Bytes,
    from: Format,
    to: Format,
    mut keep: impl FnMut(usize) -> bool,
) -> Result<Bytes, EnvelopeError> {
    let mut out = Output::new(to, message.len());
    let mut place = 0;
    let mut context = otlp_to_vector::Context::default();
    from.envelope().records(message, |span| {
        let record = message.get(span.record.payload()).unwrap_or_default();
        if keep(place) {
            match (from, to) {
                (Format::Otlp, Format::Vector) => {
                    let group = |span: Span| message.get(span.payload()).unwrap_or_default();
                    let [resource_logs, scope_logs] = span.groups();
                    context.enter(resource_logs, scope_logs, group);
                    out.event(&otlp_to_vector::event(record, &context));
                }
                (Format::Vector, Format::Otlp) => {
                    if let Some(event) = vector_to_otlp::record(record) {
                        out.record(event.resource, event.scope, &event.record);
                    }
                }
                (Format::Filter, Format::Vector) => out.event(&documents::event(record)),
                (Format::Filter, Format::Otlp) => out.record(Vec::new(), Vec::new(), &documents::record(record)),
                // A Filter stream is no sink, and the same format needs no other bytes.
                (_, Format::Filter) | (Format::Otlp, Format::Otlp) | (Format::Vector, Format::Vector) => {
                    out.same(record);
                }
            }
        }
        place += 1;
    })?;
    Ok(out.finish())
}

/// A message while it is written.
struct Output {
    format: Format,
    message: Vec<u8>,
    /// The OTLP groups of the records that were written last: what is beside the records of `ResourceLogs` and
    /// `ScopeLogs`, and the records.
    open: Option<(Vec<u8>, Vec<u8>, Vec<u8>)>,
}

impl Output {
    fn new(format: Format, capacity: usize) -> Output {
        Output { format, message: Vec::with_capacity(capacity), open: None }
    }

    /// Writes an `EventWrapper`.
    fn event(&mut self, event: &[u8]) {
        put_bytes(&mut self.message, vector::field::EVENTS, event);
    }

    /// Writes a `LogRecord`, into the groups of the one before when they have the same beside it.
    fn record(&mut self, resource: Vec<u8>, scope: Vec<u8>, record: &[u8]) {
        if self.open.as_ref().is_none_or(|(open, inner, _)| *open != resource || *inner != scope) {
            self.close();
            self.open = Some((resource, scope, Vec::new()));
        }
        if let Some((_, _, records)) = &mut self.open {
            put_bytes(records, otlp::field::LOG_RECORDS, record);
        }
    }

    fn same(&mut self, record: &[u8]) {
        match self.format {
            Format::Otlp => self.record(Vec::new(), Vec::new(), record),
            Format::Vector => self.event(record),
            Format::Filter => put_bytes(&mut self.message, envelope::FILTER_EVENTS, record),
        }
    }

    fn close(&mut self) {
        let Some((mut resource, mut scope, records)) = self.open.take() else { return };
        scope.extend_from_slice(&records);
        put_bytes(&mut resource, otlp::field::SCOPE_LOGS, &scope);
        put_bytes(&mut self.message, otlp::field::RESOURCE_LOGS, &resource);
    }

    fn finish(mut self) -> Bytes {
        self.close();
        Bytes::from(self.message)
    }
}
