//! The types between a source, the match stage and the sinks: the batch, the traits that connect them, and the ways to
//! refuse a batch.
//!
//! A source answers its client only after [`Deliver::deliver`] returned, so nothing acknowledged is ever held here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::detect::DetectError;
pub use crate::detect::{ChangedRecord, HitRecord, KnownIndicator, MatchedMessage, NonLogEvents};
pub use crate::encoding::Signal;
use crate::encoding::{EnvelopeError, Format};
pub use crate::work::{ClientGuard, HeldMemory, MemoryPermit, StopReason, Work};

/// The events of one request after matching, ready for the next hop.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The signal of the message; for a format that mixes signals in one message, see
    /// [`MatchedMessage::others`].
    pub signal: Signal,
    /// The events, with those that hit.
    pub events: MatchedMessage,
    /// The headers of the request.
    pub metadata: Metadata,
    /// Limits the work on the batch: the memory that its bytes hold, and whether its client is still connected.
    pub work: Work,
}

/// The answer of the next hop to a batch that it accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records that the next hop rejected in an otherwise OK answer (OTLP's partial success).
    pub rejected: u64,
    /// Its message about them; a warning if none was rejected.
    pub message: String,
}

impl Accepted {
    /// Combines the answers of several sinks to one batch: the most that any of them rejected, with its message.
    pub fn add(&mut self, other: Accepted) {
        if other.rejected > self.rejected || self.message.is_empty() {
            *self = other;
        }
    }
}

/// The headers of a request, some of which a sink may forward. They can hold credentials, so only their names are ever
/// logged.
#[derive(Clone, Default)]
pub struct Metadata(HeaderMap);

/// The header with the number of Hotlists that a request passed. Each gRPC or HTTP sink increments it.
pub const HOPS: HeaderName = HeaderName::from_static("hotlist-hops");

/// The number of Hotlists that a request with these headers passed; 0 if the header is absent.
pub fn hops(headers: &HeaderMap) -> u32 {
    headers.get(HOPS).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0)
}

impl Metadata {
    /// The number of Hotlists that the request passed.
    pub fn hops(&self) -> u32 {
        hops(&self.0)
    }

    /// Wraps the headers of a request.
    pub fn new(headers: HeaderMap) -> Metadata {
        Metadata(headers)
    }

    /// The values of one key, in order.
    pub fn values(&self, key: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.get_all(key).iter()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The reason that a batch was not accepted, as the gRPC statuses that collectors understand (`docs/delivery.md`):
/// sources answer nothing else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    /// A transient fault; the client retries.
    #[error("{0}")]
    Unavailable(String),
    /// Overload; the client retries later.
    #[error("{0}")]
    ResourceExhausted(String),
    /// A transient fault or overload for which the next hop specified a retry delay.
    #[error("{cause}")]
    Later {
        cause: String,
        delay: Duration,
        /// Whether the cause is overload.
        overloaded: bool,
    },
    /// The request can never succeed; the client must not retry it.
    #[error("{0}")]
    InvalidArgument(String),
}

impl BatchRefusal {
    /// The status label of metrics: the gRPC status in lower case.
    pub fn label(&self) -> &'static str {
        match self {
            BatchRefusal::Unavailable(_) | BatchRefusal::Later { overloaded: false, .. } => "unavailable",
            BatchRefusal::ResourceExhausted(_) | BatchRefusal::Later { overloaded: true, .. } => "resource_exhausted",
            BatchRefusal::InvalidArgument(_) => "invalid_argument",
        }
    }
}

impl BatchRefusal {
    /// Creates a refusal for overload or a transient fault, with the retry delay of the next hop.
    pub fn transient(cause: String, overloaded: bool, delay: Option<Duration>) -> BatchRefusal {
        match (delay, overloaded) {
            (Some(delay), overloaded) => BatchRefusal::Later { cause, delay, overloaded },
            (None, true) => BatchRefusal::ResourceExhausted(cause),
            (None, false) => BatchRefusal::Unavailable(cause),
        }
    }

    /// Changes the text.
    #[must_use]
    pub fn map(self, change: impl FnOnce(String) -> String) -> BatchRefusal {
        match self {
            BatchRefusal::Unavailable(cause) => BatchRefusal::Unavailable(change(cause)),
            BatchRefusal::ResourceExhausted(cause) => BatchRefusal::ResourceExhausted(change(cause)),
            BatchRefusal::Later { cause, delay, overloaded } => {
                BatchRefusal::Later { cause: change(cause), delay, overloaded }
            }
            BatchRefusal::InvalidArgument(cause) => BatchRefusal::InvalidArgument(change(cause)),
        }
    }
}

impl From<MatchedMessage> for Batch {
    fn from(events: MatchedMessage) -> Batch {
        Batch { events, ..Batch::default() }
    }
}

impl From<DetectError> for BatchRefusal {
    fn from(error: DetectError) -> BatchRefusal {
        match error {
            DetectError::Envelope(error) => error.into(),
            DetectError::Stop(stop) => stop.into(),
        }
    }
}

impl From<StopReason> for BatchRefusal {
    fn from(stop: StopReason) -> BatchRefusal {
        match stop {
            StopReason::NoMemoryNow => BatchRefusal::ResourceExhausted(stop.to_string()),
            StopReason::NeverEnoughMemory => BatchRefusal::InvalidArgument(stop.to_string()),
            StopReason::Cancelled => BatchRefusal::Unavailable(stop.to_string()),
        }
    }
}

impl From<EnvelopeError> for BatchRefusal {
    fn from(error: EnvelopeError) -> BatchRefusal {
        BatchRefusal::InvalidArgument(error.to_string())
    }
}

/// A boxed future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Matches and tags one message. CPU-bound and synchronous: the source chooses the thread.
pub trait Transform: Send + Sync + 'static {
    /// Processes `message`, a whole, decompressed message of log records. `work` limits memory and time.
    fn process(&self, format: Format, message: Bytes, work: &Work) -> Result<MatchedMessage, BatchRefusal>;
}

/// The results for several values, all from one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupResults {
    /// One result per value, in order; an error is a sentence for the caller.
    pub results: Vec<Result<Vec<KnownIndicator>, String>>,
    /// The name of the snapshot that was used; empty if there is none.
    pub snapshot: Arc<str>,
}

/// Looks up single values by the rules of [`Transform`]. CPU-bound and synchronous, too.
pub trait ValueLookup: Send + Sync + 'static {
    /// Looks up `values`, which are pairs of a kind and a value.
    ///
    /// # Errors
    /// No snapshot can be used now.
    fn check(&self, values: &[(&str, &str)]) -> Result<LookupResults, BatchRefusal>;
}

/// Delivers a batch to the next hops. Ready only when every required next hop has accepted it.
pub trait Deliver: Send + Sync + 'static {
    /// Delivers a batch, or returns why it was not accepted. Dropping the future cancels the delivery.
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, BatchRefusal>>;

    /// Whether any sink accepts events of `signal` in `format`. Events that no sink accepts must not be acknowledged.
    fn takes(&self, format: Format, signal: Signal) -> bool {
        let _ = format;
        signal == Signal::Logs
    }
}
