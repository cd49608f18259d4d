//! One delivery of one batch: its requests, the meaning of their answers, and the records that go to the rejected file.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::uri::Uri;
use http::{HeaderMap, Request, header};
use http_body::Body;
use metrics::counter;
use tokio::time::{Instant, timeout_at};

use super::GrpcSink;
use crate::encoding::Format;
use crate::encoding::Rope;
use crate::encoding::envelope::Extent;
use crate::escape::Escaped;
use crate::net::grpc::compression::DeflateError;
use crate::net::grpc::{Encoding, RopeBody};
use crate::pipeline::{Accepted, BatchRefusal, HeldMemory, Signal, StopReason, Work};
use crate::sink::answer::{Answer, AnswerMeaning, ExchangeFailure};
use crate::sink::bisect::{self, DeliveryAttempt, RefusalReason, RefusedRequest, SendVerdict};
use crate::sink::blocking::blocking;
use crate::sink::link::{ExchangeOutcome, Link};
use crate::sink::partial_success;
use crate::sink::rejected_writer::RejectedWriter;
use crate::telemetry;

/// The state that all requests of one batch share.
pub(super) struct Delivery<'a> {
    pub(super) sink: &'a GrpcSink,
    pub(super) name: &'a str,
    pub(super) signal: Signal,
    /// Limits the work on the batch.
    pub(super) work: Work,
    pub(super) method: &'static str,
    pub(super) headers: HeaderMap,
    pub(super) deadline: Instant,
    /// The combined answers to the accepted messages.
    pub(super) accepted: Mutex<Accepted>,
    /// The status of the last message that was not accepted.
    pub(super) status: Mutex<Option<String>>,
}

/// Counts the answer to a request, also when its future is dropped.
struct CountAnswer<'a> {
    sink: &'a str,
    status: Option<String>,
}

impl Drop for CountAnswer<'_> {
    fn drop(&mut self) {
        let status = self.status.take().unwrap_or_else(|| "cancelled".to_owned());
        counter!(telemetry::NEXT_HOP_ANSWERS_TOTAL, "sink" => self.sink.to_owned(), "status" => status).increment(1);
    }
}

impl Delivery<'_> {
    /// Sends one message, number `part` of its batch, completely or without the records that are refused alone.
    pub(super) async fn send_whole(
        &self,
        message: &Rope,
        attempt: &DeliveryAttempt,
        number: usize,
    ) -> Result<Vec<RefusedRequest>, BatchRefusal> {
        let has_file = self.sink.settings.rejected.is_some();
        if attempt.has_delivered(number) {
            return Ok(Vec::new());
        }
        let mut refusal = None;
        if !attempt.has_begun(number) {
            match self.send_for_verdict(message).await? {
                (SendVerdict::Accepted, _) => {
                    attempt.accepted_whole(number);
                    return Ok(Vec::new());
                }
                // A batch that is too large may pass in parts, but malformed content stays malformed wherever it is
                // split.
                (SendVerdict::Refused(reason), AnswerMeaning::BadContent) if !has_file => {
                    return Err(self.refuse_without_file(&reason));
                }
                (SendVerdict::Refused(reason), _) => refusal = Some(reason),
            }
            counter!(telemetry::SINK_BISECTIONS_TOTAL, "sink" => self.name.to_owned()).increment(1);
        }
        let (message, _room) = self.whole(message, Extent::bytes_to_pick)?;
        let send = |part: Rope| async move {
            let (sent, _) = self.send_for_verdict(&part).await?;
            Ok(sent)
        };
        let (envelope, memory) = (self.sink.format.envelope(), &self.sink.memory);
        let refused = bisect::bisect(envelope, message, attempt, number, refusal, memory, send).await;
        match refused.map_err(|refusal| self.named(refusal))?.as_slice() {
            [first, ..] if !has_file => {
                attempt.reopen();
                Err(self.refuse_without_file(&first.reason))
            }
            refused => Ok(refused.to_vec()),
        }
    }

    /// Writes refused records to the rejected file.
    pub(super) async fn keep(&self, refused: &[RefusedRequest]) -> Result<(), BatchRefusal> {
        match self.rejected_writer() {
            Some(rejected_writer) if !refused.is_empty() => {
                rejected_writer.refused(refused).await.map_err(|cause| self.refuse(&cause))
            }
            _ => Ok(()),
        }
    }

    fn rejected_writer(&self) -> Option<RejectedWriter<'_>> {
        let (sink, endpoint, format, signal) = (self.name, self.sink.endpoint(), self.sink.format, self.signal);
        self.sink.settings.rejected.as_ref().map(|file| RejectedWriter { file, sink, endpoint, format, signal })
    }

    /// Sends one message, and returns whether the next hop accepts it.
    async fn send_for_verdict(&self, message: &Rope) -> Result<(SendVerdict, AnswerMeaning), BatchRefusal> {
        let answer = self.send(message).await?;
        let meaning = answer.meaning(self.sink.format);
        match meaning {
            AnswerMeaning::Accepted => {
                self.sink.memory.accepted();
                Ok((SendVerdict::Accepted, meaning))
            }
            AnswerMeaning::BadContent | AnswerMeaning::TooLarge => {
                Ok((SendVerdict::Refused(RefusalReason { status: answer.label(), text: answer.text() }), meaning))
            }
            AnswerMeaning::Overloaded => Err(self.named(answer.refusal(true))),
            AnswerMeaning::Failed => Err(self.named(answer.refusal(false))),
        }
    }

    /// Joins a message into one piece, with memory for it and for `bytes` of its records. A message that cannot be
    /// walked needs no memory: it is sent unchanged.
    pub(super) fn whole(
        &self,
        message: &Rope,
        bytes: fn(Extent) -> usize,
    ) -> Result<(Bytes, HeldMemory), BatchRefusal> {
        let copied = if message.parts().len() > 1 { message.len() } else { 0 };
        let named = |stop: StopReason| self.named(stop.into());
        let mut room = self.work.hold(copied).map_err(named)?;
        let message = message.to_bytes();
        let extent = Extent::measure(self.sink.format.envelope(), &message).unwrap_or_default();
        room.grow(bytes(extent)).map_err(named)?;
        Ok((message, room))
    }

    /// Sends one message, again if the next hop certainly did not process it, and records the answer.
    pub(super) async fn send(&self, message: &Rope) -> Result<Answer, BatchRefusal> {
        let compression = self.sink.settings.compression;
        let deflated;
        let plain = message;
        let message = if compression == Encoding::Identity {
            message
        } else {
            let (message, work) = (message.clone(), self.work.clone());
            let compressed = blocking(move || compression.deflate(&message, &work)).await;
            deflated = match compressed {
                Ok(Ok(deflated)) => deflated,
                Ok(Err(DeflateError::Stopped(stop))) => return Err(self.named(stop.into())),
                Ok(Err(error)) => return Err(self.refuse(&error.to_string())),
                Err(error) => return Err(self.refuse(&format!("compressing failed: {error}"))),
            };
            &deflated
        };
        let _joined = self.work.hold(RopeBody::copied(message)).map_err(|stop| self.named(stop.into()))?;
        let mut count = CountAnswer { sink: self.name, status: None };
        let answer = match self.attempt(message).await {
            Err(ExchangeFailure { unseen: true, .. }) => self.attempt(message).await,
            result => result,
        };
        let label = answer.as_ref().map_or_else(|failure| failure.label.to_owned(), Answer::label);
        count.status = Some(label.clone());
        drop(count);
        if !answer.as_ref().is_ok_and(|answer| answer.meaning(self.sink.format) == AnswerMeaning::Accepted) {
            *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(label);
        }
        let answer = answer.map_err(|failure| self.refuse(&failure.cause))?;
        if answer.is_unauthenticated() {
            self.sink.settings.headers.expire();
        }
        if answer.meaning(self.sink.format) == AnswerMeaning::Accepted {
            counter!(telemetry::SINK_SENT_BYTES_TOTAL, "sink" => self.name.to_owned()).increment(message.len() as u64);
            if self.sink.format == Format::Otlp {
                self.report_partial_success(plain, answer.message()).await;
            }
        }
        Ok(answer)
    }

    /// Sends one message once, and reads the answer.
    async fn attempt(&self, message: &Rope) -> Result<Answer, ExchangeFailure> {
        let connector = &self.sink.connector;
        let late =
            || ExchangeFailure::timeout(format!("no answer within {} ms", self.sink.settings.deadline.as_millis()));
        if let Some((client, base_path)) = &self.sink.http {
            let request = self.request(base_path, RopeBody::unframed(message))?;
            return timeout_at(self.deadline, client.exchange(request)).await.unwrap_or_else(|_| Err(late()));
        }
        let link = timeout_at(self.deadline, connector.link()).await.map_err(|_| late())?;
        let link = link.map_err(|error| ExchangeFailure::connection(error.to_string()))?;
        let outcome = timeout_at(self.deadline, link.run(self.exchange(&link, message))).await;
        let failure = match outcome {
            Ok(ExchangeOutcome::Done(Ok(answer))) => return Ok(answer),
            Ok(ExchangeOutcome::Done(Err(failure))) if !failure.unseen => return Err(failure),
            Ok(ExchangeOutcome::Done(Err(failure))) => failure,
            Ok(ExchangeOutcome::Ended) => ExchangeFailure::connection(link.end()),
            Ok(ExchangeOutcome::Silent) => {
                ExchangeFailure::connection("the connection is dead: the next hop does not answer a ping".to_owned())
            }
            // The peer may have disappeared silently; only a new connection detects that.
            Err(_) => late(),
        };
        connector.retire(&link).await;
        Err(failure)
    }

    async fn exchange(&self, link: &Link, message: &Rope) -> Result<Answer, ExchangeFailure> {
        let compressed = self.sink.settings.compression != Encoding::Identity;
        let body = RopeBody::new(message, compressed).map_err(|error| unsendable(&error))?;
        let (head, body) = self.request("", body)?.into_parts();
        let request = Request::from_parts(head, ());
        let response = link.request(request, body).await.map_err(|error| ExchangeFailure::unsent(&error, true))?;
        let response = response.await.map_err(|error| ExchangeFailure::unsent(&error, false))?;
        link.prove();
        Answer::read(response).await.map_err(ExchangeFailure::connection)
    }

    fn request(&self, base_path: &str, body: RopeBody) -> Result<Request<RopeBody>, ExchangeFailure> {
        let uri = Uri::builder()
            .scheme(self.sink.scheme())
            .authority(self.sink.authority.clone())
            .path_and_query(format!("{base_path}{}", self.method));
        let uri = uri.build().map_err(|error| unsendable(&error))?;
        let length = body.size_hint().exact();
        let mut request = Request::post(uri).body(body).map_err(|error| unsendable(&error))?;
        *request.headers_mut() = self.headers.clone();
        if let Some(length) = length {
            request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        Ok(request)
    }

    /// Logs and counts a partial success, and keeps its request before the client is answered.
    async fn report_partial_success(&self, request: &Rope, response: &[u8]) {
        let answer = partial_success::read(response);
        let Accepted { rejected, message } = &answer;
        if *rejected == 0 && message.is_empty() {
            return;
        }
        if let Some(left_out) = self.sink.partials.pass() {
            let sink = self.name;
            tracing::warn!(sink, rejected, left_out, text = %Escaped(message), "the next hop answered with a partial success");
        }
        if *rejected > 0 {
            counter!(telemetry::SINK_PARTIAL_REJECTED_RECORDS_TOTAL, "sink" => self.name.to_owned())
                .increment(*rejected);
            if let Some(rejected_writer) = self.rejected_writer() {
                rejected_writer.partial(request, &answer).await;
            }
        }
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        *accepted = Accepted { rejected: accepted.rejected.saturating_add(*rejected), message: answer.message };
    }

    pub(super) fn accepted(&self) -> Accepted {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn refuse(&self, cause: &str) -> BatchRefusal {
        self.named(BatchRefusal::Unavailable(cause.to_owned()))
    }

    fn refuse_without_file(&self, reason: &RefusalReason) -> BatchRefusal {
        let RefusalReason { status, text } = reason;
        let status = status.to_uppercase();
        self.refuse(&format!(
            "the next hop answered {status}: {text}; set `rejected` of the sink to keep such records in a file"
        ))
    }

    /// Adds the name of the sink to the refusal.
    fn named(&self, refusal: BatchRefusal) -> BatchRefusal {
        let name = |cause: String| match cause.starts_with("sink ") {
            true => cause,
            false => format!("sink {}, {}: {cause}", self.name, self.sink.endpoint()),
        };
        refusal.map(name)
    }
}

fn unsendable(error: &dyn std::error::Error) -> ExchangeFailure {
    ExchangeFailure { label: "unsendable", ..ExchangeFailure::connection(error.to_string()) }
}
