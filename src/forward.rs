//! Sinks: where batches go. A source's client is answered only when every sink of [`Fanout`] has the batch.

mod answer;
mod bisect;
pub mod blackhole;
mod connection;
pub mod fanout;
pub mod headers;
pub mod ndjson;
pub mod otlp;
mod partial_success;
pub mod rejected;

use std::sync::Arc;

use metrics::counter;

pub use blackhole::Blackhole;
pub use fanout::Fanout;
pub use headers::Headers;
pub use ndjson::NdjsonSink;
pub use otlp::OtlpSink;
pub use rejected::RejectedFile;

use crate::delivery::{Accepted, Batch, Refusal, Signal};
use crate::encoding::Format;
use crate::telemetry;

/// One configured sink.
#[derive(Debug)]
pub struct Sink {
    name: String,
    kind: SinkKind,
    required: bool,
}

/// What a sink does with a batch.
#[derive(Debug)]
pub enum SinkKind {
    /// Sends it on by OTLP/gRPC.
    Otlp(Box<OtlpSink>),
    /// Writes it as lines of JSON.
    Ndjson(NdjsonSink),
    /// Counts and drops it.
    Blackhole(Blackhole),
}

impl Sink {
    /// A sink under the name that metrics and logs call it by. It is required.
    pub fn new(name: impl Into<String>, kind: SinkKind) -> Sink {
        Sink { name: name.into(), kind, required: true }
    }

    /// The same, required or not.
    #[must_use]
    pub fn with_required(self, required: bool) -> Sink {
        Sink { required, ..self }
    }

    /// Whether a client of the source waits for it.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// The configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can fail for reasons of the network, so that it must go before anything that is written here.
    pub fn is_network(&self) -> bool {
        matches!(self.kind, SinkKind::Otlp(_))
    }

    /// Whether it can do something with a signal: lines of JSON and counts are those of log records.
    pub fn takes(&self, format: Format, signal: Signal) -> bool {
        signal == Signal::Logs || (format == Format::Otlp && matches!(self.kind, SinkKind::Otlp(_)))
    }

    /// Ready when the sink has the batch. Dropping the future cancels what can be cancelled.
    ///
    /// # Errors
    /// The sink did not take it; the client of the source is to retry.
    pub async fn deliver(&self, batch: &Arc<Batch>) -> Result<Accepted, Refusal> {
        let result = match &self.kind {
            SinkKind::Otlp(sink) => sink.deliver(&self.name, batch).await,
            SinkKind::Ndjson(sink) => sink.deliver(&self.name, batch).await.map(|()| Accepted::default()),
            SinkKind::Blackhole(sink) => {
                sink.deliver(batch);
                Ok(Accepted::default())
            }
        };
        let status = result.as_ref().map_or_else(Refusal::label, |_| "ok");
        self.count(status);
        result
    }

    fn count(&self, status: &'static str) {
        counter!(telemetry::SINK_REQUESTS_TOTAL, "sink" => self.name.clone(), "status" => status).increment(1);
    }
}
