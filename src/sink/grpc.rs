//! Sinks `otlp` and `vector`: unary gRPC calls to the next hop, or POSTs of OTLP over HTTP, without copying the
//! message.
//!
//! If the next hop refuses a batch for its content or size, the records that it refuses alone are searched (`bisect`)
//! and written to the rejected file, and the rest is delivered. Any other failure is not caused by the collector's
//! data, so it becomes UNAVAILABLE, which collectors retry; RESOURCE_EXHAUSTED is passed on. `docs/delivery.md` has the
//! table of answers.

mod delivery;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

use self::delivery::Delivery;
use super::answer::{Answer, AnswerMeaning};
use super::bisect::{DeliveryAttempt, RefusedRequest, SearchMemory};
use super::connection::Connector;
pub use super::connection::Dial;
use super::headers::Headers;
use super::http::HttpClient;
use super::partial_success;
use super::rejected::RejectedFile;
use crate::config::Endpoint;
use crate::encoding::envelope::Extent;
use crate::encoding::{Format, Rope};
use crate::net::grpc::compression::GRPC_ENCODING;
use crate::net::grpc::{self, Code, Encoding};
use crate::net::tls;
use crate::pipeline::{Accepted, Batch, BatchRefusal, HOPS, Signal};
use crate::telemetry::Throttle;

/// Parts of one split batch that are sent concurrently.
pub const PARTS_AT_ONCE: usize = 4;

/// The method that receives events in Vector's own protocol (`proto/vector/vector.proto`).
const PUSH_EVENTS: &str = "/vector.Vector/PushEvents";
/// The method that reports whether it does.
const HEALTH_CHECK: &str = "/vector.Vector/HealthCheck";

/// The settings of a network sink.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest message in bytes before compression; most receivers accept 4 MiB.
    pub max_request_bytes: usize,
    /// The compression of messages.
    pub compression: Encoding,
    /// How long the next hop may take for a batch, connecting included. Shorter than the timeout of the collectors.
    pub deadline: Duration,
    /// Headers that are sent with each request.
    pub headers: Arc<Headers>,
    /// Keys of the collector's request whose values are forwarded.
    pub forward_metadata: Vec<HeaderName>,
    /// The file for records that the next hop refuses permanently. Without it, a batch with such a record stays
    /// UNAVAILABLE.
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

/// A network sink.
#[derive(Debug)]
pub struct GrpcSink {
    /// The protocol of the next hop.
    format: Format,
    connector: Connector,
    /// Set for OTLP over HTTP: its connections, and the prefix of the OTLP paths.
    http: Option<(HttpClient, String)>,
    settings: Settings,
    authority: Authority,
    /// The headers of every request.
    basic: HeaderMap,
    memory: Arc<SearchMemory>,
    /// Throttles the log lines about partial successes.
    partials: Throttle,
}

/// A batch that was not delivered.
#[derive(Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct DeliveryFailure {
    /// The answer to the collector.
    pub refusal: BatchRefusal,
    /// The answer of the next hop as a metric label, or the label of our own refusal.
    pub status: String,
}

impl From<BatchRefusal> for DeliveryFailure {
    fn from(refusal: BatchRefusal) -> DeliveryFailure {
        DeliveryFailure { status: refusal.label().to_owned(), refusal }
    }
}

impl GrpcSink {
    /// Creates a sink for an OTLP receiver. It connects with its first batch.
    pub fn otlp(endpoint: Endpoint, settings: Settings) -> GrpcSink {
        GrpcSink::new(Format::Otlp, endpoint, settings)
    }

    /// Creates a sink for a `vector` source of Vector. It connects with its first batch.
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
        let connector = Connector::new(endpoint);
        let (memory, partials) = (Arc::default(), Throttle::once_a_minute());
        GrpcSink { format, connector, http: None, settings, authority, basic, memory, partials }
    }

    fn scheme(&self) -> Scheme {
        match self.endpoint() {
            Endpoint::Https { .. } => Scheme::HTTPS,
            Endpoint::Http { .. } | Endpoint::Unix(_) => Scheme::HTTP,
        }
    }

    /// Creates a sink for an OTLP receiver over HTTP. `base_path` precedes `/v1/logs`; `tls` is for an `https`
    /// endpoint.
    pub fn otlp_http(endpoint: Endpoint, base_path: &str, tls: Option<tls::Connector>, settings: Settings) -> GrpcSink {
        let client = HttpClient::new(endpoint.clone(), tls);
        let mut sink = GrpcSink::otlp(endpoint, settings);
        sink.basic.remove(header::TE);
        sink.basic.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if let Some(encoding) = sink.basic.remove(GRPC_ENCODING) {
            sink.basic.insert(header::CONTENT_ENCODING, encoding);
        }
        GrpcSink { http: Some((client, base_path.trim_end_matches('/').to_owned())), ..sink }
    }

    /// Uses TLS for an `https` endpoint.
    #[must_use]
    pub fn with_tls(mut self, tls: tls::Connector) -> GrpcSink {
        self.connector.set_tls(tls);
        self
    }

    /// Connects through `dial` instead of the network.
    #[must_use]
    pub fn with_dial(mut self, dial: Arc<dyn Dial>) -> GrpcSink {
        self.connector.set_dial(dial);
        self
    }

    /// The protocol of the next hop: a batch in another format must be converted first.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The most bytes per request.
    pub fn max_request_bytes(&self) -> usize {
        self.settings.max_request_bytes
    }

    /// The endpoint it sends to.
    pub fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// Ready when the next hop has the batch, except for records that it refuses permanently, which are in the rejected
    /// file. `name` is the sink's name in metrics and logs.
    ///
    /// # Errors
    /// UNAVAILABLE with the cause, or RESOURCE_EXHAUSTED if the next hop answered that.
    pub async fn deliver(&self, name: &str, batch: &Arc<Batch>) -> Result<Accepted, DeliveryFailure> {
        let delivery = self.delivery(name, batch).await;
        self.deliver_by(&delivery, batch).await.map_err(|refusal| {
            let status = delivery.status.lock().unwrap_or_else(PoisonError::into_inner).take();
            DeliveryFailure { status: status.unwrap_or_else(|| refusal.label().to_owned()), refusal }
        })
    }

    async fn deliver_by(&self, delivery: &Delivery<'_>, batch: &Arc<Batch>) -> Result<Accepted, BatchRefusal> {
        let (message, forwarded) = (&batch.events.message, self.settings.forward_metadata.as_slice());
        let attempt =
            DeliveryAttempt::begin(&self.memory, message, delivery.method, &delivery.headers, forwarded).await;
        let attempt = attempt.map_err(|cause| delivery.refuse(&cause))?;
        let refused = if message.len() <= self.settings.max_request_bytes {
            delivery.send_whole(message, &attempt, 0).await?
        } else {
            let (message, _room) = delivery.whole(message, Extent::bytes_to_split)?;
            let parts = self.format.envelope().split(&message, self.settings.max_request_bytes);
            let attempt = &attempt;
            let refused: Vec<Vec<RefusedRequest>> = stream::iter(parts.enumerate())
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

    /// Sends a batch once and unchanged, without splitting it or searching it for refused records.
    ///
    /// # Errors
    /// The next hop did not accept it; the text states the cause.
    pub async fn offer(&self, name: &str, batch: &Batch) -> Result<Accepted, BatchRefusal> {
        let delivery = self.delivery(name, batch).await;
        let answer = delivery.send(&batch.events.message).await?;
        match (answer.meaning(self.format), &answer) {
            (AnswerMeaning::Accepted, answer) if self.format == Format::Otlp => {
                Ok(partial_success::read(answer.message()))
            }
            (AnswerMeaning::Accepted, _) => Ok(Accepted::default()),
            (AnswerMeaning::Overloaded, _) => Err(answer.refusal(true)),
            _ => Err(delivery.refuse(&answer.describe())),
        }
    }

    /// Asks a Vector whether its source accepts events. OTLP has no such request.
    ///
    /// # Errors
    /// It does not; the text states the cause.
    pub async fn check_health(&self, name: &str) -> Result<(), BatchRefusal> {
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
            Format::Otlp if self.http.is_some() => signal.http_path(),
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
        headers.insert(HOPS, HeaderValue::from(batch.metadata.hops().saturating_add(1)));
        Delivery {
            sink: self,
            name,
            signal: batch.signal,
            work: batch.work.clone(),
            method: self.method(batch.signal),
            headers,
            deadline,
            accepted: Mutex::default(),
            status: Mutex::default(),
        }
    }
}

/// The value of `:authority`; a Unix socket has no name, so gRPC uses `localhost`.
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
