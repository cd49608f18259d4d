//! Sinks `otlp` and `vector`: unary gRPC calls to the next hop, from the rope as it is.
//!
//! A batch that the next hop refuses for its content or its size is searched for the records that it refuses alone
//! (`bisect`); they go to the rejected file, and the rest is delivered. Whatever else the next hop answers is no fault
//! of the collector's data, so it becomes UNAVAILABLE, which collectors retry; RESOURCE_EXHAUSTED passes (design
//! section 9). `docs/delivery.md` has the table of answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use metrics::counter;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, Failure, Meaning};
use super::bisect::{self, Attempt, Memory, Reason, Refused, Sent};
use super::blocking::blocking;
pub use super::connection::Dial;
use super::connection::{Connector, Link};
use super::headers::Headers;
use super::keep::Keeper;
use super::partial_success;
use super::rejected::RejectedFile;
use crate::config::Endpoint;
use crate::delivery::{Accepted, Batch, Held, Refusal, Signal, Stop, Work};
use crate::encoding::envelope::Extent;
use crate::encoding::{Format, Rope};
use crate::grpc::compression::{DeflateError, GRPC_ENCODING};
use crate::grpc::{self, Code, Encoding, RopeBody};
use crate::telemetry::{self, Throttle};
use crate::tls;

/// Parts of one split batch on their way at once.
const PARTS_AT_ONCE: usize = 4;

/// The method that takes events of Vector's own protocol (`proto/vector/vector.proto`).
const PUSH_EVENTS: &str = "/vector.Vector/PushEvents";
/// The method that says whether it does.
const HEALTH_CHECK: &str = "/vector.Vector/HealthCheck";

/// How such a sink sends.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest message in bytes before compression; 4 MiB is what most receivers take.
    pub max_request_bytes: usize,
    /// How messages are compressed.
    pub compression: Encoding,
    /// How long the next hop may take for a batch, connecting included. Below the time-out of the collectors.
    pub deadline: Duration,
    /// What is sent with each request.
    pub headers: Arc<Headers>,
    /// Keys of the collector's request whose values are sent on.
    pub forward_metadata: Vec<HeaderName>,
    /// Where records go that the next hop refuses for good. Without it, a batch with one stays UNAVAILABLE.
    pub rejected: Option<Arc<RejectedFile>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_request_bytes: 4 << 20,
            compression: Encoding::Identity,
            deadline: Duration::from_secs(8),
            headers: Arc::default(),
            forward_metadata: Vec::new(),
            rejected: None,
        }
    }
}

/// The sink.
#[derive(Debug)]
pub struct GrpcSink {
    /// What the next hop speaks.
    format: Format,
    connector: Connector,
    settings: Settings,
    authority: Authority,
    /// What every request has.
    basic: HeaderMap,
    memory: Arc<Memory>,
}

/// What all requests of one batch share.
struct Delivery<'a> {
    sink: &'a GrpcSink,
    name: &'a str,
    signal: Signal,
    /// The bounds of what is made of the batch.
    work: Work,
    method: &'static str,
    headers: HeaderMap,
    deadline: Instant,
    /// What the next hop said of the messages that it accepted.
    accepted: Mutex<Accepted>,
}

impl GrpcSink {
    /// A sink for an OTLP receiver, that connects with its first batch.
    pub fn otlp(endpoint: Endpoint, settings: Settings) -> GrpcSink {
        GrpcSink::new(Format::Otlp, endpoint, settings)
    }

    /// A sink for a `vector` source of Vector, that connects with its first batch.
    pub fn vector(endpoint: Endpoint, settings: Settings) -> GrpcSink {
        GrpcSink::new(Format::Vector, endpoint, settings)
    }

    fn new(format: Format, endpoint: Endpoint, settings: Settings) -> GrpcSink {
        let mut basic = HeaderMap::new();
        basic.insert(header::TE, HeaderValue::from_static("trailers"));
        basic.insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
        let agent = HeaderValue::from_static(concat!("hotlist/", env!("CARGO_PKG_VERSION")));
        basic.insert(header::USER_AGENT, agent);
        if settings.compression != Encoding::Identity {
            basic.insert(GRPC_ENCODING, HeaderValue::from_static(settings.compression.as_str()));
        }
        let authority = authority(&endpoint);
        GrpcSink { format, connector: Connector::new(endpoint), settings, authority, basic, memory: Arc::default() }
    }

    fn scheme(&self) -> Scheme {
        match self.endpoint() {
            Endpoint::Https { .. } => Scheme::HTTPS,
            Endpoint::Http { .. } | Endpoint::Unix(_) => Scheme::HTTP,
        }
    }

    /// Speaks TLS to an `https` endpoint.
    #[must_use]
    pub fn with_tls(mut self, tls: tls::Connector) -> GrpcSink {
        self.connector.set_tls(tls);
        self
    }

    /// Connects through `dial` and not over the network.
    #[must_use]
    pub fn with_dial(mut self, dial: Arc<dyn Dial>) -> GrpcSink {
        self.connector.set_dial(dial);
        self
    }

    /// What the next hop speaks: a batch of another format must be converted before.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The most bytes of a request.
    pub fn max_request_bytes(&self) -> usize {
        self.settings.max_request_bytes
    }

    /// Where it sends.
    pub fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// Ready when the next hop has the batch, but for records that it refuses for good: those are on the disk.
    /// `name` is the sink's in metrics and logs.
    ///
    /// # Errors
    /// UNAVAILABLE with what went wrong, or RESOURCE_EXHAUSTED when the next hop said so.
    pub async fn deliver(&self, name: &str, batch: &Arc<Batch>) -> Result<Accepted, Refusal> {
        let delivery = self.delivery(name, batch).await;
        let (message, forwarded) = (&batch.message, self.settings.forward_metadata.as_slice());
        let attempt = Attempt::begin(&self.memory, message, delivery.method, &delivery.headers, forwarded).await;
        let attempt = attempt.map_err(|cause| delivery.refuse(&cause))?;
        let refused = if message.len() <= self.settings.max_request_bytes {
            delivery.send_whole(message, &attempt, 0).await?
        } else {
            let (message, _room) = delivery.whole(message, Extent::bytes_to_split)?;
            let parts = self.format.envelope().split(&message, self.settings.max_request_bytes);
            let (delivery, attempt) = (&delivery, &attempt);
            let refused: Vec<Vec<Refused>> = stream::iter(parts.into_iter().enumerate())
                .map(|(number, part)| async move { delivery.send_whole(&part, attempt, number).await })
                .buffer_unordered(PARTS_AT_ONCE)
                .try_collect()
                .await?;
            refused.concat()
        };
        match delivery.keep(&refused).await {
            Ok(()) => attempt.finish(),
            Err(refusal) => {
                attempt.reopen();
                return Err(refusal);
            }
        }
        Ok(delivery.accepted())
    }

    /// Sends a batch once and as it is, without splitting it or looking for bad records in it.
    ///
    /// # Errors
    /// The next hop did not take it; the text says why.
    pub async fn offer(&self, name: &str, batch: &Batch) -> Result<Accepted, Refusal> {
        let delivery = self.delivery(name, batch).await;
        let answer = delivery.send(&batch.message).await?;
        match (answer.meaning(self.format), &answer) {
            (Meaning::Accepted, Answer::Grpc(_, message)) if self.format == Format::Otlp => {
                Ok(partial_success::read(message))
            }
            (Meaning::Accepted, _) => Ok(Accepted::default()),
            (Meaning::Overloaded, _) => Err(Refusal::ResourceExhausted(answer.describe())),
            _ => Err(delivery.refuse(&answer.describe())),
        }
    }

    /// Asks a Vector whether its source takes events. An OTLP receiver knows no such question.
    ///
    /// # Errors
    /// It does not, and the text says why.
    pub async fn check_health(&self, name: &str) -> Result<(), Refusal> {
        let delivery = Delivery { method: HEALTH_CHECK, ..self.delivery(name, &Batch::default()).await };
        let answer = delivery.send(&Rope::default()).await?;
        match &answer {
            // `HealthCheckResponse.status`, field 1: 0, which is not written, is SERVING.
            Answer::Grpc(status, message) if status.code == Code::Ok && !message.starts_with(&[0x08, 0x01]) => Ok(()),
            Answer::Grpc(status, _) if status.code == Code::Ok => Err(delivery.refuse("the next hop is not serving")),
            _ => Err(delivery.refuse(&answer.describe())),
        }
    }

    fn method(&self, signal: Signal) -> &'static str {
        match self.format {
            Format::Vector => PUSH_EVENTS,
            Format::Otlp | Format::Filter => signal.export_path(),
        }
    }

    async fn delivery<'a>(&'a self, name: &'a str, batch: &Batch) -> Delivery<'a> {
        let deadline = Instant::now() + self.settings.deadline;
        let mut headers = self.basic.clone();
        for key in &self.settings.forward_metadata {
            for value in batch.metadata.values(key) {
                let mut value = value.clone();
                value.set_sensitive(true);
                headers.append(key, value);
            }
        }
        self.settings.headers.apply(&mut headers).await;
        Delivery {
            sink: self,
            name,
            signal: batch.signal,
            work: batch.work.clone(),
            method: self.method(batch.signal),
            headers,
            deadline,
            accepted: Mutex::default(),
        }
    }
}

impl Delivery<'_> {
    /// Sends one message, the one with this number in its batch, or all of it but the records that are refused alone.
    async fn send_whole(&self, message: &Rope, attempt: &Attempt, number: usize) -> Result<Vec<Refused>, Refusal> {
        let has_file = self.sink.settings.rejected.is_some();
        if attempt.has_delivered(number) {
            return Ok(Vec::new());
        }
        let mut refusal = None;
        if !attempt.has_begun(number) {
            match self.send_for_verdict(message).await? {
                (Sent::Accepted, _) => {
                    attempt.accepted_whole(number);
                    return Ok(Vec::new());
                }
                // Too large a batch may go through in parts, but odd content stays odd wherever it is cut.
                (Sent::Refused(reason), Meaning::BadContent) if !has_file => {
                    return Err(self.refuse_without_file(&reason));
                }
                (Sent::Refused(reason), _) => refusal = Some(reason),
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
    async fn keep(&self, refused: &[Refused]) -> Result<(), Refusal> {
        match self.keeper() {
            Some(keeper) if !refused.is_empty() => keeper.refused(refused).await.map_err(|cause| self.refuse(&cause)),
            _ => Ok(()),
        }
    }

    fn keeper(&self) -> Option<Keeper<'_>> {
        let (sink, endpoint, format, signal) = (self.name, self.sink.endpoint(), self.sink.format, self.signal);
        self.sink.settings.rejected.as_ref().map(|file| Keeper { file, sink, endpoint, format, signal })
    }

    /// Sends one message, and says whether the next hop takes it.
    async fn send_for_verdict(&self, message: &Rope) -> Result<(Sent, Meaning), Refusal> {
        let answer = self.send(message).await?;
        let meaning = answer.meaning(self.sink.format);
        match meaning {
            Meaning::Accepted => {
                self.sink.memory.accepted();
                Ok((Sent::Accepted, meaning))
            }
            Meaning::BadContent | Meaning::TooLarge => {
                Ok((Sent::Refused(Reason { status: answer.label(), text: answer.text() }), meaning))
            }
            Meaning::Overloaded => Err(self.named(Refusal::ResourceExhausted(answer.describe()))),
            Meaning::Failed => Err(self.refuse(&answer.describe())),
        }
    }

    /// A message in one piece, with room for it and for what `bytes` says of its records. A message that cannot be walked
    /// needs none: it is sent as it is.
    fn whole(&self, message: &Rope, bytes: fn(Extent) -> usize) -> Result<(Bytes, Held), Refusal> {
        let copied = if message.parts().len() > 1 { message.len() } else { 0 };
        let named = |stop: Stop| self.named(stop.into());
        let mut room = self.work.hold(copied).map_err(named)?;
        let message = message.to_bytes();
        let extent = Extent::of(self.sink.format.envelope(), &message).unwrap_or_default();
        room.grow(bytes(extent)).map_err(named)?;
        Ok((message, room))
    }

    /// Sends one message, once more when the next hop certainly did not see it, and takes note of the answer.
    async fn send(&self, message: &Rope) -> Result<Answer, Refusal> {
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
        let answer = match self.attempt(message).await {
            Err(Failure { unseen: true, .. }) => self.attempt(message).await,
            result => result,
        };
        let label = answer.as_ref().map_or_else(|failure| failure.label.to_owned(), Answer::label);
        counter!(telemetry::NEXT_HOP_ANSWERS_TOTAL, "sink" => self.name.to_owned(), "status" => label).increment(1);
        let answer = answer.map_err(|failure| self.refuse(&failure.cause))?;
        if answer.is_unauthenticated() {
            self.sink.settings.headers.expire();
        }
        if let (Meaning::Accepted, Answer::Grpc(_, response)) = (answer.meaning(self.sink.format), &answer) {
            counter!(telemetry::SINK_SENT_BYTES_TOTAL, "sink" => self.name.to_owned()).increment(message.len() as u64);
            if self.sink.format == Format::Otlp {
                self.note_partial_success(plain, response).await;
            }
        }
        Ok(answer)
    }

    /// Sends one message once, and reads the answer.
    async fn attempt(&self, message: &Rope) -> Result<Answer, Failure> {
        let connector = &self.sink.connector;
        let late = || Failure::timeout(format!("no answer within {} ms", self.sink.settings.deadline.as_millis()));
        let link = timeout_at(self.deadline, connector.link()).await.map_err(|_| late())?;
        let mut link = link.map_err(|error| Failure::connection(error.to_string()))?;
        let watch = link.clone();
        match timeout_at(self.deadline, watch.until_ended(self.exchange(&mut link, message))).await {
            Ok(Some(Ok(answer))) => Ok(answer),
            Ok(None) => {
                connector.retire(&link).await;
                Err(Failure::connection("the connection closed before an answer came".to_owned()))
            }
            Ok(Some(Err(failure))) => {
                if failure.unseen {
                    connector.retire(&link).await;
                }
                Err(failure)
            }
            Err(_) => {
                // The peer may be gone without a word; then only a new connection finds out.
                connector.retire(&link).await;
                Err(late())
            }
        }
    }

    async fn exchange(&self, link: &mut Link, message: &Rope) -> Result<Answer, Failure> {
        let compressed = self.sink.settings.compression != Encoding::Identity;
        let unsendable = |error: String| Failure { label: "unsendable", ..Failure::connection(error) };
        let body = RopeBody::new(message, compressed).map_err(|error| unsendable(error.to_string()))?;
        let uri = Uri::builder()
            .scheme(self.sink.scheme())
            .authority(self.sink.authority.clone())
            .path_and_query(PathAndQuery::from_static(self.method));
        let uri = uri.build().map_err(|error| unsendable(error.to_string()))?;
        let mut request = Request::post(uri).body(body).map_err(|error| unsendable(error.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        link.send.ready().await.map_err(|error| Failure { unseen: true, ..Failure::unsent(&error, true) })?;
        let response = link.send.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            Failure::unsent(&error.into_error(), unsent)
        })?;
        link.prove();
        Answer::read(response).await.map_err(Failure::connection)
    }

    /// Takes note of a partial success, and keeps its request before anybody is answered.
    async fn note_partial_success(&self, request: &Rope, response: &[u8]) {
        let answer = partial_success::read(response);
        let Accepted { rejected, message } = &answer;
        if *rejected == 0 && message.is_empty() {
            return;
        }
        static LINES: Throttle = Throttle::new();
        if let Some(left_out) = LINES.pass() {
            tracing::warn!(sink = self.name, rejected, message, left_out, "the next hop accepted a batch only in part");
        }
        if *rejected > 0 {
            counter!(telemetry::SINK_PARTIAL_REJECTED_RECORDS_TOTAL, "sink" => self.name.to_owned())
                .increment(*rejected);
            if let Some(keeper) = self.keeper() {
                keeper.partial(request, &answer).await;
            }
        }
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        *accepted = Accepted { rejected: accepted.rejected.saturating_add(*rejected), message: answer.message };
    }

    fn accepted(&self) -> Accepted {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, cause: &str) -> Refusal {
        self.named(Refusal::Unavailable(cause.to_owned()))
    }

    fn refuse_without_file(&self, reason: &Reason) -> Refusal {
        let Reason { status, text } = reason;
        let status = status.to_uppercase();
        self.refuse(&format!("the next hop answered {status}: {text}; set `rejected` of the sink to keep such records"))
    }

    /// The refusal with the name of the sink.
    fn named(&self, refusal: Refusal) -> Refusal {
        let name = |cause: String| match cause.starts_with("sink ") {
            true => cause,
            false => format!("sink {}, {}: {cause}", self.name, self.sink.endpoint()),
        };
        match refusal {
            Refusal::Unavailable(cause) => Refusal::Unavailable(name(cause)),
            Refusal::ResourceExhausted(cause) => Refusal::ResourceExhausted(name(cause)),
            Refusal::InvalidArgument(cause) => Refusal::InvalidArgument(name(cause)),
        }
    }
}

/// What goes into `:authority`; a Unix socket has no name of its own, gRPC uses `localhost` there.
fn authority(endpoint: &Endpoint) -> Authority {
    let text = endpoint.to_string();
    let named = match endpoint {
        Endpoint::Http { .. } | Endpoint::Https { .. } => {
            text.split_once("://").and_then(|(_, authority)| authority.parse().ok())
        }
        Endpoint::Unix(_) => None,
    };
    named.unwrap_or_else(|| Authority::from_static("localhost"))
}
