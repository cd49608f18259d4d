//! The path of every request through a source, whatever its protocol: from its body, through matching, to the answer of
//! the next hop.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use metrics::{counter, histogram};

use super::admission::MessageMemory;
use super::body::{Message, Syntax};
use super::outcome::{RequestCounter, RequestFailure};
use super::workers::{WorkError, in_place};
use super::{Limits, SharedResources};
use crate::encoding::{Format, Rope, otlp};
use crate::net::grpc::Encoding;
use crate::net::grpc::compression::InflateError;
use crate::pipeline::{
    self, Accepted, Batch, BatchRefusal, ClientGuard, Deliver, MatchedMessage, Metadata, NonLogEvents, Signal,
    Transform, Work,
};
use crate::telemetry::{self, Throttle};

/// The parts of a source apart from its protocol.
pub struct Intake {
    name: Arc<str>,
    limits: Limits,
    shared: SharedResources,
    process: Arc<dyn Transform>,
    deliver: Arc<dyn Deliver>,
}

/// The content of a request, according to its head.
#[derive(Clone, Copy, Debug)]
pub struct RequestContent {
    /// How the message is encoded.
    pub format: Format,
    /// The signal of its events; logs where the format mixes signals.
    pub signal: Signal,
}

impl Intake {
    /// Creates an intake. `name` is the source's name in metrics and logs.
    ///
    /// # Errors
    /// The limits contradict each other.
    pub fn new(
        name: &str,
        limits: Limits,
        shared: &SharedResources,
        process: Arc<dyn Transform>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<Intake> {
        limits.check().map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        Ok(Intake { name: name.into(), limits, shared: shared.clone(), process, deliver })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The name of the source in metrics and logs.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The match stage.
    pub fn process(&self) -> &dyn Transform {
        &*self.process
    }

    /// Delivers a matched batch to the sinks, and counts it once they have accepted it.
    ///
    /// # Errors
    /// A required sink did not accept it.
    async fn deliver(&self, batch: Batch) -> Result<Accepted, BatchRefusal> {
        let signal = batch.signal.as_str();
        let accepted = self.deliver.deliver(Arc::new(batch)).await?;
        counter!(telemetry::SOURCE_ACKNOWLEDGED_TOTAL, "source" => self.name.to_string(), "signal" => signal)
            .increment(1);
        Ok(accepted)
    }

    /// Runs work that takes as long as a message of `len` bytes is large: on this thread, or on a worker if it would
    /// hold up a thread that others wait for. `length` is `None` when the length does not predict the work.
    ///
    /// # Errors
    /// All workers are busy, or the work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        length: Option<usize>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BatchRefusal> {
        let result = match length {
            Some(length) if length < self.limits.in_place_below => in_place(work),
            _ => self.shared.workers.run(self.limits.admission_wait, work).await,
        };
        result.map_err(refuse_work)
    }

    pub fn count_received(&self, bytes: usize) {
        counter!(telemetry::SOURCE_RECEIVED_BYTES_TOTAL, "source" => self.name.to_string()).increment(bytes as u64);
    }

    pub fn in_flight(&self) -> &MessageMemory {
        &self.shared.in_flight
    }

    /// Starts counting a request; it is counted with the status with which it ends.
    pub fn count(&self) -> RequestCounter {
        RequestCounter::begin(&self.name)
    }

    /// Takes one request through the pipeline until the next hop has answered. `message` reads its body, and is not
    /// polled if no sink accepts such content.
    ///
    /// # Errors
    /// The answer to the client.
    pub async fn take(
        self: &Arc<Self>,
        content: RequestContent,
        headers: HeaderMap,
        message: impl Future<Output = Result<Message, RequestFailure>>,
    ) -> Result<Accepted, RequestFailure> {
        let RequestContent { format, signal } = content;
        if !self.deliver.takes(format, signal) {
            return Err(nobody_takes(format, signal));
        }
        self.check_hops(&headers)?;
        let mut stages = StageTimer::start();
        let message = message.await?;
        self.count_received(message.bytes.len());
        stages.end("receive");
        let length = match content.is_matched() || message.syntax == Syntax::OtlpJson {
            true => message.bytes.len(),
            false => 0,
        };
        let work = move |intake: &Intake, message: Message, work: &Work| Ok((intake.work(content, message, work)?, ()));
        let (accepted, ()) = self.pass(content, headers, message, length, stages, work).await?;
        Ok(accepted)
    }

    /// Takes a received message through matching and delivery. `work` inflates and matches it, where it may block and for
    /// about as long as `length` says; what it returns besides the events is returned when these are delivered.
    ///
    /// # Errors
    /// The answer to the client.
    pub async fn pass<T: Send + 'static>(
        self: &Arc<Self>,
        content: RequestContent,
        headers: HeaderMap,
        message: Message,
        length: usize,
        mut stages: StageTimer,
        work: impl FnOnce(&Intake, Message, &Work) -> Result<(MatchedMessage, T), RequestFailure> + Send + 'static,
    ) -> Result<(Accepted, T), RequestFailure> {
        // A compressed message of any length may inflate to the limit, so its length does not predict the work.
        let length = (message.encoding == Encoding::Identity).then_some(length);
        // Dropped with this future when the client disconnects, which cancels its work.
        let client = ClientGuard::default();
        // The memory is held until the batch was delivered, even if nothing of the message remains in it.
        let of_batch = Work::within(message.admission.clone()).until(&client);
        let (intake, of_work) = (Arc::clone(self), of_batch.clone());
        let (events, made) = self.run(length, move || work(&intake, message, &of_work)).await??;
        stages.end("work");
        let NonLogEvents { metrics, traces } = events.others;
        for (signal, count) in [(Signal::Metrics, metrics), (Signal::Traces, traces)] {
            if count > 0 && !self.deliver.takes(content.format, signal) {
                return Err(nobody_takes(content.format, signal));
            }
        }
        let batch = Batch { signal: content.signal, events, metadata: Metadata::new(headers), work: of_batch };
        let accepted = self.deliver(batch).await?;
        client.finish();
        stages.end("deliver");
        Ok((accepted, made))
    }

    /// Checks that a request passed few enough other Hotlists. A source whose sinks lead back to it would forward each
    /// batch forever.
    ///
    /// # Errors
    /// It passed too many.
    pub fn check_hops(&self, headers: &HeaderMap) -> Result<(), BatchRefusal> {
        static LINES: Throttle = Throttle::once_a_minute();
        let (hops, max) = (pipeline::hops(headers), self.limits.max_hops);
        if hops <= max {
            return Ok(());
        }
        let source = &*self.name;
        if let Some(left_out) = LINES.pass() {
            tracing::warn!(source, hops, max, left_out, "request loop: a sink leads back to this source");
        }
        Err(BatchRefusal::Unavailable(format!(
            "source {source}: the request passed {hops} Hotlists already, and `limits.max_hops` allows {max}: does the \
             `endpoint` of a sink lead back here?"
        )))
    }

    /// Inflates and converts a message, then matches and tags it if it contains log records.
    fn work(&self, content: RequestContent, message: Message, work: &Work) -> Result<MatchedMessage, RequestFailure> {
        let Message { syntax, encoding, bytes, admission } = message;
        let bytes = self.inflate(bytes, encoding, work)?;
        let bytes = match syntax {
            Syntax::Binary => bytes,
            Syntax::OtlpJson => self.convert(content.signal, &bytes, work)?,
        };
        let message = admission.attach(bytes);
        Ok(match content.is_matched() {
            true => self.process.process(content.format, message, work)?,
            false => {
                MatchedMessage { format: content.format, message: Rope::from(message), ..MatchedMessage::default() }
            }
        })
    }

    /// Decompresses a message, which holds memory for all of it.
    ///
    /// # Errors
    /// The message is corrupt or too large, there is no memory, or the client disconnected.
    pub fn inflate(&self, bytes: Bytes, encoding: Encoding, work: &Work) -> Result<Bytes, RequestFailure> {
        encoding.inflate(&bytes, self.limits.max_request_bytes, work).map_err(|error| match error {
            InflateError::Stopped(stop) => BatchRefusal::from(stop).into(),
            InflateError::TooLarge { .. } => RequestFailure::TooLarge(error.to_string()),
            InflateError::Corrupt { .. } => RequestFailure::invalid(error.to_string()),
        })
    }

    /// Converts JSON to protobuf, which is usually shorter.
    fn convert(&self, signal: Signal, text: &Bytes, work: &Work) -> Result<Bytes, RequestFailure> {
        let limit = self.limits.max_request_bytes;
        let mut room = work.hold(0).map_err(BatchRefusal::from)?;
        let mut stopped = None;
        let mut take = |bytes| match room.grow(bytes) {
            Ok(()) => true,
            Err(stop) => {
                stopped = Some(stop);
                false
            }
        };
        let export = match signal {
            Signal::Logs => otlp::Export::Logs,
            Signal::Metrics => otlp::Export::Metrics,
            Signal::Traces => otlp::Export::Traces,
        };
        let converted = otlp::from_json_within(export, text, &mut take);
        if let Some(stop) = stopped {
            return Err(BatchRefusal::from(stop).into());
        }
        let converted = converted.map_err(|error| RequestFailure::invalid(error.to_string()))?;
        if converted.malformed > 0 {
            counter!(telemetry::SOURCE_MALFORMED_VALUES_TOTAL, "source" => self.name.to_string())
                .increment(converted.malformed);
        }
        if converted.unknown > 0 {
            counter!(telemetry::SOURCE_UNKNOWN_FIELDS_TOTAL, "source" => self.name.to_string())
                .increment(converted.unknown);
        }
        let len = converted.message.len();
        if len > limit {
            return Err(RequestFailure::TooLarge(format!(
                "the message has {len} bytes as protobuf, more than {limit}: send smaller batches, or raise \
                 `max_request_bytes`"
            )));
        }
        room.shrink_to(len);
        Ok(room.own(converted.message))
    }
}

impl RequestContent {
    /// Whether it can contain log records. Everything else passes unchanged.
    fn is_matched(self) -> bool {
        self.signal == Signal::Logs
    }
}

fn nobody_takes(format: Format, signal: Signal) -> RequestFailure {
    let (signal, sink) = (signal.as_str(), if format == Format::Vector { "vector" } else { "otlp" });
    let text = format!("no sink of this source accepts {signal}: add a sink of type {sink}, or do not send {signal}");
    RequestFailure::Unimplemented(text)
}

fn refuse_work(error: WorkError) -> BatchRefusal {
    match error {
        WorkError::Full => BatchRefusal::ResourceExhausted(error.to_string()),
        WorkError::Panicked => BatchRefusal::Unavailable(error.to_string()),
    }
}

/// Measures the stages of a request one after the other. A stage that does not finish is not measured.
pub struct StageTimer(Instant);

impl StageTimer {
    /// Starts the first stage.
    pub fn start() -> StageTimer {
        StageTimer(Instant::now())
    }

    /// Ends a stage and starts the next one.
    pub fn end(&mut self, stage: &'static str) {
        let now = Instant::now();
        histogram!(telemetry::STAGE_SECONDS, "stage" => stage).record(now.duration_since(self.0).as_secs_f64());
        self.0 = now;
    }
}
