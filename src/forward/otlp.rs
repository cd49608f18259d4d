//! Sink `otlp`: OTLP/gRPC to the next hop, from the rope as it is.
//!
//! Whatever the next hop answers other than OK is no fault of the collector's data, so it becomes UNAVAILABLE, which
//! collectors retry; RESOURCE_EXHAUSTED passes (design section 9).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use metrics::counter;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connector, Link};
use super::partial_success;
use crate::config::Endpoint;
use crate::delivery::{Batch, Refusal};
use crate::encoding::Rope;
use crate::grpc::compression::GRPC_ENCODING;
use crate::grpc::{self, Code, Encoding, HEADER_LEN, RopeBody, Status};
use crate::{telemetry, tls};

/// The path of the one method, from `opentelemetry/proto/collector/logs/v1/logs_service.proto`.
const EXPORT_PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Longest answer that is read; an answer is a count and a sentence.
const MAX_ANSWER: usize = 64 << 10;
/// Parts of one split batch on their way at once.
const PARTS_AT_ONCE: usize = 4;

/// Cuts a message into messages of at most so many bytes each, by record. A record that is longer alone is a part of
/// its own.
pub type Split = fn(&Bytes, usize) -> Vec<Rope>;

/// How an OTLP sink sends.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest message in bytes before compression; 4 MiB is what most receivers take.
    pub max_request_bytes: usize,
    /// How messages are compressed.
    pub compression: Encoding,
    /// How long the next hop may take for a batch, connecting included. Below the time-out of the collectors.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { max_request_bytes: 4 << 20, compression: Encoding::Identity, deadline: Duration::from_secs(8) }
    }
}

/// The sink.
#[derive(Debug)]
pub struct OtlpSink {
    connector: Connector,
    settings: Settings,
    split: Split,
    uri: Uri,
    headers: HeaderMap,
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

/// Why one attempt brought no answer.
struct Failure {
    cause: String,
    /// The next hop certainly did not see the request, so that sending it again repeats nothing.
    unseen: bool,
}

impl OtlpSink {
    /// A sink that connects with its first batch.
    pub fn new(endpoint: Endpoint, settings: Settings, split: Split) -> OtlpSink {
        let mut parts = http::uri::Parts::default();
        let encrypted = matches!(endpoint, Endpoint::Https { .. });
        parts.scheme = Some(if encrypted { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(authority(&endpoint));
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(EXPORT_PATH));
        // invariant: scheme, authority and path are all there, so the parts make a URI.
        let uri = Uri::from_parts(parts).unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
        let agent = HeaderValue::from_static(concat!("hotlist/", env!("CARGO_PKG_VERSION")));
        headers.insert(header::USER_AGENT, agent);
        if settings.compression != Encoding::Identity {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static(settings.compression.as_str()));
        }
        OtlpSink { connector: Connector::new(endpoint), settings, split, uri, headers }
    }

    /// Speaks TLS to an `https` endpoint.
    #[must_use]
    pub fn with_tls(mut self, tls: tls::Connector) -> OtlpSink {
        self.connector.set_tls(tls);
        self
    }

    /// Where it sends.
    pub fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// Ready when the next hop has the batch, whole. `name` is the sink's in metrics and logs.
    ///
    /// # Errors
    /// UNAVAILABLE with what went wrong, or RESOURCE_EXHAUSTED when the next hop said so.
    pub async fn deliver(&self, name: &str, batch: &Arc<Batch>) -> Result<(), Refusal> {
        let deadline = Instant::now() + self.settings.deadline;
        if batch.message.len() <= self.settings.max_request_bytes {
            return self.send(name, &batch.message, deadline).await;
        }
        let parts = (self.split)(&batch.message.to_bytes(), self.settings.max_request_bytes);
        stream::iter(parts)
            .map(|part| async move { self.send(name, &part, deadline).await })
            .buffer_unordered(PARTS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Sends one message.
    async fn send(&self, name: &str, message: &Rope, deadline: Instant) -> Result<(), Refusal> {
        let compression = self.settings.compression;
        let deflated;
        let message = if compression == Encoding::Identity {
            message
        } else {
            let message = message.clone();
            deflated = tokio::task::spawn_blocking(move || compression.deflate(&message))
                .await
                .map_err(|error| Refusal::Unavailable(format!("compressing for sink {name} failed: {error}")))?
                .map_err(|error| Refusal::Unavailable(format!("compressing for sink {name} failed: {error}")))?;
            &deflated
        };
        let refuse = |cause: String| Refusal::Unavailable(format!("sink {name}, {}: {cause}", self.endpoint()));
        let response = match self.attempt(message, deadline).await {
            Err(Failure { unseen: true, .. }) => self.attempt(message, deadline).await,
            result => result,
        };
        let (status, answer) = response.map_err(|failure| refuse(failure.cause))?;
        match status.code {
            Code::Ok => {
                counter!(telemetry::SINK_SENT_BYTES_TOTAL, "sink" => name.to_owned()).increment(message.len() as u64);
                self.note_partial_success(name, &answer);
                Ok(())
            }
            Code::ResourceExhausted => Err(Refusal::ResourceExhausted(format!(
                "sink {name}, {}: the next hop answered {status}",
                self.endpoint()
            ))),
            _ => Err(refuse(format!("the next hop answered {status}"))),
        }
    }

    /// Sends one message once, and reads the answer.
    async fn attempt(&self, message: &Rope, deadline: Instant) -> Result<(Status, Bytes), Failure> {
        let late = || format!("no answer within {} ms", self.settings.deadline.as_millis());
        let failed = |cause: String| Failure { cause, unseen: false };
        let link = timeout_at(deadline, self.connector.link()).await.map_err(|_| failed(late()))?;
        let mut link = link.map_err(|error| failed(error.to_string()))?;
        match timeout_at(deadline, self.exchange(&mut link, message)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => {
                if failure.unseen {
                    self.connector.retire(&link).await;
                }
                Err(failure)
            }
            Err(_) => {
                // The peer may be gone without a word; then only a new connection finds out.
                self.connector.retire(&link).await;
                Err(failed(late()))
            }
        }
    }

    async fn exchange(&self, link: &mut Link, message: &Rope) -> Result<(Status, Bytes), Failure> {
        let compressed = self.settings.compression != Encoding::Identity;
        let body =
            RopeBody::new(message, compressed).map_err(|error| Failure { cause: error.to_string(), unseen: false })?;
        let mut request = Request::post(self.uri.clone())
            .body(body)
            .map_err(|error| Failure { cause: error.to_string(), unseen: false })?;
        *request.headers_mut() = self.headers.clone();
        link.send.ready().await.map_err(|error| Failure { cause: describe(&error), unseen: true })?;
        let response = link.send.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            Failure { cause: describe(&error), unseen: unsent || was_turned_away(&error) }
        })?;
        link.prove();
        read_answer(response).await.map_err(|cause| Failure { cause, unseen: false })
    }

    fn note_partial_success(&self, name: &str, answer: &[u8]) {
        let partial = partial_success::read(answer);
        if partial.rejected > 0 {
            counter!(telemetry::SINK_PARTIAL_REJECTED_RECORDS_TOTAL, "sink" => name.to_owned())
                .increment(partial.rejected);
        }
        if partial.rejected > 0 || !partial.message.is_empty() {
            let (rejected, message) = (partial.rejected, partial.message);
            tracing::warn!(sink = name, rejected, message, "the next hop accepted a batch only in part");
        }
    }
}

/// The status and the message of an answer, or what is wrong with it.
async fn read_answer(response: Response<Incoming>) -> Result<(Status, Bytes), String> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("the next hop answered HTTP {}, is it an OTLP/gRPC receiver?", head.status));
    }
    if let Some(status) = Status::read(&head.headers) {
        return Ok((status, Bytes::new()));
    }
    let whole =
        Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| format!("the answer broke off: {error}"))?;
    let status = whole.trailers().and_then(Status::read).ok_or("the answer has no grpc-status")?;
    let mut message = whole.to_bytes();
    Ok((status, message.split_off(HEADER_LEN.min(message.len()))))
}

/// Whether the peer said that it did not process the request: REFUSED_STREAM, or a GOAWAY that leaves it out (RFC 9113
/// sections 8.7 and 6.8).
fn was_turned_away(error: &hyper::Error) -> bool {
    let Some(cause) = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>()) else {
        return false;
    };
    cause.is_remote()
        && (cause.is_go_away() || (cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM)))
}

/// An error with its causes: hyper's own text says only that something failed.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
