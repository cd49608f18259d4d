//! The way of every request through a source, whatever its protocol: from its body, through matching, to the answer of
//! the next hop.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use metrics::{counter, histogram};

use super::admission::{Admission, InFlight};
use super::body::{self, Message, Syntax};
use super::outcome::{Count, NotTaken};
use super::workers::{WorkError, in_place};
use super::{Limits, Shared};
use crate::delivery::{Accepted, Batch, Deliver, Metadata, Others, Process, Refusal, Room, Signal};
use crate::encoding::{Format, Rope, otlp};
use crate::grpc::Encoding;
use crate::grpc::compression::InflateError;
use crate::telemetry;

/// What a source is made of beside its protocol.
pub struct Intake {
    name: Arc<str>,
    limits: Limits,
    shared: Shared,
    process: Arc<dyn Process>,
    deliver: Arc<dyn Deliver>,
}

/// What a request holds, as its head says.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// How the message is encoded.
    pub format: Format,
    /// What is in it; logs where the format mixes signals.
    pub signal: Signal,
}

impl Intake {
    /// `name` is the source's in metrics and logs.
    ///
    /// # Errors
    /// The limits cannot work.
    pub fn new(
        name: &str,
        limits: Limits,
        shared: &Shared,
        process: Arc<dyn Process>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<Intake> {
        limits.check().map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        Ok(Intake { name: name.into(), limits, shared: shared.clone(), process, deliver })
    }

    /// What the source takes at most.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The room for messages.
    pub fn in_flight(&self) -> &InFlight {
        &self.shared.in_flight
    }

    /// A request begins; it is counted under the status with which it ends.
    pub fn count(&self) -> Count {
        Count::begin(&self.name)
    }

    /// Takes one request through, until the next hop has answered. `message` reads its body, and is not polled when
    /// nobody takes such content.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn take(
        self: &Arc<Self>,
        content: Content,
        headers: HeaderMap,
        message: impl Future<Output = Result<Message, NotTaken>>,
    ) -> Result<Accepted, NotTaken> {
        let signal = content.signal;
        if !self.deliver.takes(content.format, signal) {
            return Err(nobody_takes(content.format, signal));
        }
        let mut stages = Stages::start();
        let message = message.await?;
        counter!(telemetry::SOURCE_RECEIVED_BYTES_TOTAL, "source" => self.name.to_string())
            .increment(message.bytes.len() as u64);
        stages.end("receive");
        // A compressed message of any length may inflate to the limit, so its length says nothing about the work.
        let short = message.bytes.len() < self.limits.in_place_below || !content.is_matched();
        let result = if message.encoding == Encoding::Identity && short {
            in_place(|| self.work(content, message))
        } else {
            let this = Arc::clone(self);
            self.shared.workers.run(self.limits.admission_wait, move || this.work(content, message)).await
        };
        // The room is held until the batch was delivered, also when nothing of the message is left in it.
        let (batch, admission) = result.map_err(refuse_work)??;
        stages.end("work");
        let Others { metrics, traces } = batch.others;
        for (signal, count) in [(Signal::Metrics, metrics), (Signal::Traces, traces)] {
            if count > 0 && !self.deliver.takes(content.format, signal) {
                return Err(nobody_takes(content.format, signal));
            }
        }
        let room: Arc<dyn Room> = admission;
        let batch = Batch { signal, metadata: Metadata::new(headers), room: Some(room), ..batch };
        let accepted = self.deliver.deliver(Arc::new(batch)).await?;
        stages.end("deliver");
        counter!(telemetry::SOURCE_ACKNOWLEDGED_TOTAL, "source" => self.name.to_string(), "signal" => signal.as_str())
            .increment(1);
        Ok(accepted)
    }

    /// Inflates, converts, and matches and tags what is to be matched.
    fn work(&self, content: Content, message: Message) -> Result<(Batch, Arc<Admission>), NotTaken> {
        let Message { syntax, encoding, bytes, mut admission } = message;
        let bytes = self.inflate(bytes, encoding, &mut admission)?;
        let bytes = match syntax {
            Syntax::Binary => bytes,
            Syntax::OtlpJson => self.convert(&bytes, &mut admission)?,
        };
        let admission = Arc::new(admission);
        let message = admission.attach(bytes);
        let batch = match content.is_matched() {
            true => self.process.process(content.format, message)?,
            false => Batch { format: content.format, message: Rope::from(message), ..Batch::default() },
        };
        Ok((batch, admission))
    }

    fn inflate(&self, bytes: Bytes, encoding: Encoding, admission: &mut Admission) -> Result<Bytes, NotTaken> {
        let mut room = |more| admission.grow(more);
        encoding.inflate(&bytes, self.limits.max_request_bytes, &mut room).map_err(|error| match error {
            InflateError::NoRoom => Refusal::ResourceExhausted(error.to_string()).into(),
            InflateError::TooLarge { .. } => NotTaken::TooLarge(error.to_string()),
            InflateError::Corrupt { .. } => NotTaken::invalid(error.to_string()),
        })
    }

    /// JSON to protobuf, most often to fewer bytes: room for as many is taken before.
    fn convert(&self, text: &Bytes, admission: &mut Admission) -> Result<Bytes, NotTaken> {
        let limit = self.limits.max_request_bytes;
        if !admission.grow(text.len()) {
            return Err(body::no_room(&self.limits));
        }
        let converted = otlp::from_json(text).map_err(|error| NotTaken::invalid(error.to_string()))?;
        if converted.odd > 0 {
            counter!(telemetry::SOURCE_ODD_VALUES_TOTAL, "source" => self.name.to_string()).increment(converted.odd);
        }
        let len = converted.message.len();
        if len > limit {
            return Err(NotTaken::TooLarge(format!(
                "the message has {len} bytes as protobuf, more than {limit}: send smaller batches, or raise \
                 `max_request_bytes`"
            )));
        }
        if len > text.len() && !admission.grow(len - text.len()) {
            return Err(body::no_room(&self.limits));
        }
        Ok(converted.message.into())
    }
}

impl Content {
    /// Whether there can be log records in it. All else passes as it is.
    fn is_matched(self) -> bool {
        self.signal == Signal::Logs
    }
}

fn nobody_takes(format: Format, signal: Signal) -> NotTaken {
    let (signal, sink) = (signal.as_str(), if format == Format::Vector { "vector" } else { "otlp" });
    let text = format!("no sink of this source takes {signal}: add one of type {sink}, or do not send {signal}");
    NotTaken::Unimplemented(text)
}

fn refuse_work(error: WorkError) -> Refusal {
    match error {
        WorkError::Full => Refusal::ResourceExhausted(error.to_string()),
        WorkError::Panicked => Refusal::Unavailable(error.to_string()),
    }
}

/// Measures one stage of a request after the other. A stage that does not come to its end is not measured.
struct Stages(Instant);

impl Stages {
    fn start() -> Stages {
        Stages(Instant::now())
    }

    fn end(&mut self, stage: &'static str) {
        let now = Instant::now();
        histogram!(telemetry::STAGE_SECONDS, "stage" => stage).record(now.duration_since(self.0).as_secs_f64());
        self.0 = now;
    }
}
