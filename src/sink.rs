//! Sinks: where batches are delivered. A source answers its client only when every required sink of [`Fanout`] has the
//! batch.

mod answer;
mod bisect;
pub mod blackhole;
mod blocking;
mod connection;
pub mod disk;
pub mod fanout;
pub mod grpc;
pub mod headers;
mod http;
pub mod line_file;
mod link;
pub mod ndjson;
mod partial_success;
mod record;
pub mod rejected;
mod rejected_writer;
mod select;

use std::sync::Arc;

use metrics::counter;
use tokio::sync::mpsc;

pub use blackhole::Blackhole;
pub use fanout::Fanout;
pub use grpc::GrpcSink;
pub use headers::Headers;
pub use ndjson::NdjsonSink;
pub use record::{DeliveryRecord, LatestDeliveries};
pub use rejected::RejectedFile;
pub use select::Only;

use crate::encoding::Format;
use crate::escape::Escaped;
use crate::pipeline::{Accepted, Batch, BatchRefusal, Signal};
use crate::telemetry::{self, Throttle};
use grpc::DeliveryFailure;

/// One configured sink.
#[derive(Debug)]
pub struct Sink {
    name: String,
    kind: SinkBackend,
    required: bool,
    only: Only,
    record: DeliveryRecord,
}

/// The way that batches of a sink take.
#[derive(Debug)]
pub enum SinkBackend {
    /// Sends it by a unary gRPC call, of OTLP or of Vector's own protocol.
    Grpc(Box<GrpcSink>),
    /// Writes it as lines of JSON.
    Ndjson(NdjsonSink),
    /// Counts and drops it.
    Blackhole(Blackhole),
}

impl Sink {
    /// Creates a sink with its name in metrics and logs. It is required, and takes every event.
    pub fn new(name: impl Into<String>, kind: SinkBackend) -> Sink {
        Sink { name: name.into(), kind, required: true, only: Only::All, record: DeliveryRecord::default() }
    }

    /// Makes it required or optional.
    #[must_use]
    pub fn with_required(self, required: bool) -> Sink {
        Sink { required, ..self }
    }

    /// Restricts it to some of the events.
    #[must_use]
    pub fn with_only(self, only: Only) -> Sink {
        Sink { only, ..self }
    }

    /// Whether the client of the source waits for it.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// The configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it delivers over the network, which can fail, so that it must deliver before local sinks write.
    pub fn is_network(&self) -> bool {
        matches!(self.kind, SinkBackend::Grpc(_))
    }

    /// Whether it accepts events of a signal that arrived in a format. JSON lines exist for log records only, and
    /// metrics and traces pass only in the format in which they arrived.
    pub fn takes(&self, format: Format, signal: Signal) -> bool {
        let passes = || matches!(&self.kind, SinkBackend::Grpc(sink) if sink.format() == format);
        signal == Signal::Logs || (self.only != Only::Hits && passes())
    }

    /// The sink, if it writes JSON lines.
    pub fn as_ndjson(&self) -> Option<&NdjsonSink> {
        match &self.kind {
            SinkBackend::Ndjson(sink) => Some(sink),
            SinkBackend::Grpc(_) | SinkBackend::Blackhole(_) => None,
        }
    }

    /// Opens the file again if it was rotated.
    pub async fn reopen(&self) {
        if let SinkBackend::Ndjson(sink) = &self.kind {
            sink.reopen(&self.name).await;
        }
    }

    /// Asks the next hop whether it accepts events; `None` if its protocol has no such request.
    pub async fn check_health(&self) -> Option<Result<(), BatchRefusal>> {
        match &self.kind {
            SinkBackend::Grpc(sink) if sink.format() == Format::Vector => Some(sink.check_health(&self.name).await),
            _ => None,
        }
    }

    /// Ready when the sink has the batch. Dropping the future cancels what can be cancelled.
    ///
    /// # Errors
    /// The sink did not accept the batch; the client of the source should retry.
    pub async fn deliver(&self, batch: &Arc<Batch>) -> Result<Accepted, BatchRefusal> {
        let mut count = CountRequest { sink: self, status: Some("cancelled") };
        let result = self.hand_over(batch).await;
        let Some(result) = result.transpose() else {
            count.status = None;
            return Ok(Accepted::default());
        };
        count.status = Some(result.as_ref().map_or_else(|failed| failed.refusal.label(), |_| "ok"));
        match result {
            Ok(accepted) => {
                self.record.succeeded();
                Ok(accepted)
            }
            Err(failed) => Err(self.log_refusal(failed)),
        }
    }

    /// Checks whether the sink could accept a batch, if its last attempt failed and it can check that without
    /// delivering.
    ///
    /// # Errors
    /// The sink could not accept it.
    pub async fn check_room(&self, batch: &Arc<Batch>) -> Result<(), BatchRefusal> {
        let SinkBackend::Ndjson(sink) = &self.kind else { return Ok(()) };
        let checked = sink.check_room(&self.name, batch, self.only).await;
        match checked {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.count(refusal.label());
                Err(self.log_refusal(refusal.into()))
            }
        }
    }

    fn log_refusal(&self, failed: DeliveryFailure) -> BatchRefusal {
        let DeliveryFailure { refusal, status } = failed;
        if let Some(left_out) = self.record.failed(&status, &refusal.to_string()) {
            let (sink, required) = (&self.name, self.required);
            tracing::warn!(sink, status, required, left_out, error = %Escaped(&refusal), "the sink did not accept a batch");
        }
        refusal
    }

    /// The latest success and failure.
    pub fn latest(&self) -> LatestDeliveries {
        self.record.latest()
    }

    /// Delivers a batch; `None` if nothing of the batch is for the sink.
    async fn hand_over(&self, batch: &Arc<Batch>) -> Result<Option<Accepted>, DeliveryFailure> {
        match &self.kind {
            SinkBackend::Grpc(sink) if sink.format() != batch.events.format => self.converted(batch, sink).await,
            SinkBackend::Grpc(sink) => match self.part(batch).await? {
                Some(part) => sink.deliver(&self.name, &part).await.map(Some),
                None => Ok(None),
            },
            SinkBackend::Ndjson(sink) => {
                sink.deliver(&self.name, batch, self.only).await?;
                Ok(Some(Accepted::default()))
            }
            SinkBackend::Blackhole(sink) => {
                sink.deliver(batch, self.only);
                Ok(Some(Accepted::default()))
            }
        }
    }

    /// The part of a batch for a sink that uses its format.
    async fn part(&self, batch: &Arc<Batch>) -> Result<Option<Arc<Batch>>, BatchRefusal> {
        let only = self.only;
        if only.is_whole(batch, batch.events.format) {
            return Ok(Some(Arc::clone(batch)));
        }
        let batch = Arc::clone(batch);
        // Splitting megabytes would block the async threads.
        let part = blocking::blocking(move || only.select(&batch)).await;
        part.map_err(|error| BatchRefusal::Unavailable(format!("cutting a batch failed: {error}")))?
    }

    /// Converts a batch and sends it part by part. `None` if nothing of it is for the sink.
    async fn converted(&self, batch: &Arc<Batch>, sink: &GrpcSink) -> Result<Option<Accepted>, DeliveryFailure> {
        let (only, format, max_bytes) = (self.only, sink.format(), sink.max_request_bytes());
        // The next part is built while the previous one is sent.
        let (made, mut parts) = mpsc::channel(1);
        let of_batch = Arc::clone(batch);
        // Converting megabytes would block the async threads. The work stops when its parts are no longer received.
        let work = tokio::task::spawn_blocking(move || {
            only.convert(&of_batch, format, max_bytes, |part| made.blocking_send(part).is_ok())
        });
        let mut accepted = None;
        while let Some(part) = parts.recv().await {
            let Accepted { rejected, message } = sink.deliver(&self.name, &part).await?;
            let all: &mut Accepted = accepted.get_or_insert_default();
            all.rejected = all.rejected.saturating_add(rejected);
            if !message.is_empty() {
                all.message = message;
            }
        }
        let bare =
            work.await.map_err(|error| BatchRefusal::Unavailable(format!("converting a batch failed: {error}")))??;
        if bare > 0 {
            static LINES: Throttle = Throttle::new();
            counter!(telemetry::SINK_CONTEXTS_LEFT_OUT_TOTAL, "sink" => self.name.clone()).increment(bare as u64);
            if let Some(left_out) = LINES.pass() {
                let (sink, records) = (&self.name, bare);
                tracing::warn!(
                    sink,
                    records,
                    left_out,
                    "a batch has a large resource and many records: some records are sent without the resource"
                );
            }
        }
        Ok(accepted)
    }

    fn count(&self, status: &'static str) {
        counter!(telemetry::SINK_REQUESTS_TOTAL, "sink" => self.name.clone(), "status" => status).increment(1);
    }
}

/// Counts a request to a sink, also when its future is dropped.
struct CountRequest<'a> {
    sink: &'a Sink,
    status: Option<&'static str>,
}

impl Drop for CountRequest<'_> {
    fn drop(&mut self) {
        if let Some(status) = self.status {
            self.sink.count(status);
        }
    }
}
