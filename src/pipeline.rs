//! What passes between a source, the matcher and the sinks: a batch, the two traits that join them, and the three
//! ways to refuse.
//!
//! A source answers its client only after [`Deliver::deliver`] came back, so nothing acknowledged is ever held here.

mod work;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

pub use crate::encoding::Signal;
use crate::encoding::{EnvelopeError, Format, Rope};
use crate::observable::Kind;
pub use work::{Client, Held, Room, Stop, Work};

/// One request's events after matching, ready for the next hop.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// What the message holds; for a format that mixes signals in one message, see [`Batch::others`].
    pub signal: Signal,
    /// How the message is encoded.
    pub format: Format,
    /// The bytes that arrived, with the records that hit rewritten.
    pub message: Rope,
    /// Number of log records in it.
    pub records: usize,
    /// Events in it that are no log records, where the format mixes them (Vector: metrics and traces). They pass
    /// untouched.
    pub others: Others,
    /// The records that hit, tagged, in order.
    pub hits: Vec<Tagged>,
    /// The records that did not hit and were changed all the same, in order: enrichments that they arrived with are marked
    /// or removed.
    pub marked: Vec<Tagged>,
    /// The places of the records of which something could not be read, ascending.
    pub odd: Vec<usize>,
    /// The name of the snapshot that judged it; empty when none did.
    pub snapshot: Arc<str>,
    /// The headers that the request came with.
    pub metadata: Metadata,
    /// The bounds of what is made of it: the room that its bytes hold, and whether its client is still there.
    pub work: Work,
}

impl Batch {
    /// A batch that nothing judged.
    ///
    /// # Errors
    /// The envelope cannot be walked.
    pub fn unmatched(format: Format, message: Bytes) -> Result<Batch, EnvelopeError> {
        let mut batch = Batch { format, ..Batch::default() };
        format.envelope().records(&message, |span| match format.signal(&message[span.record.payload()]) {
            Signal::Logs => batch.records += 1,
            other => batch.others.add(other),
        })?;
        batch.message = Rope::from(message);
        Ok(batch)
    }
}

/// How many events of a batch are no log records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Metrics.
    pub metrics: usize,
    /// Traces.
    pub traces: usize,
}

impl Others {
    /// Counts one; a log record is none of them.
    pub fn add(&mut self, signal: Signal) {
        match signal {
            Signal::Logs => {}
            Signal::Metrics => self.metrics += 1,
            Signal::Traces => self.traces += 1,
        }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.metrics + self.traces
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Others::default()
    }
}

/// A record that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// Its place among all records of the message, from 0.
    pub place: usize,
    /// Its bytes as the format has a record; those that it came with, when it takes no tags.
    pub record: Bytes,
}

/// How a batch was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records that the next hop says it will not keep, in an answer that is otherwise OK (OTLP's partial success).
    pub rejected: u64,
    /// What it says of them; also a warning when none was rejected.
    pub message: String,
}

impl Accepted {
    /// What several sinks say of one batch, as one: the most that any of them rejected, with its words.
    pub fn add(&mut self, other: Accepted) {
        if other.rejected > self.rejected || self.message.is_empty() {
            *self = other;
        }
    }
}

/// The headers of a request, from which a sink may send some on. They can hold credentials, so that only their names
/// are ever shown.
#[derive(Clone, Default)]
pub struct Metadata(HeaderMap);

/// How many Hotlists a request passed. Each gRPC or HTTP sink sends it, one higher.
pub const HOPS: HeaderName = HeaderName::from_static("hotlist-hops");

/// How many Hotlists a request with these headers passed; 0 when they do not say it.
pub fn hops(headers: &HeaderMap) -> u32 {
    headers.get(HOPS).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0)
}

impl Metadata {
    /// How many Hotlists the request passed.
    pub fn hops(&self) -> u32 {
        hops(&self.0)
    }

    /// The headers of a request, as they came.
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

/// Why a batch was not taken. The words are those of the gRPC statuses that the collectors understand (design
/// section 9): nothing else is ever answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A transient fault; the client retries.
    #[error("{0}")]
    Unavailable(String),
    /// Overload; the client retries later.
    #[error("{0}")]
    ResourceExhausted(String),
    /// One of both, of which the next hop says when to come again.
    #[error("{cause}")]
    Later {
        /// Why.
        cause: String,
        /// When to come again.
        delay: Duration,
        /// Whether it is overload.
        overloaded: bool,
    },
    /// The request can never succeed; the client must not retry it.
    #[error("{0}")]
    InvalidArgument(String),
}

impl Refusal {
    /// A low-cardinality word for metrics: the gRPC status name in lower case.
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::Unavailable(_) | Refusal::Later { overloaded: false, .. } => "unavailable",
            Refusal::ResourceExhausted(_) | Refusal::Later { overloaded: true, .. } => "resource_exhausted",
            Refusal::InvalidArgument(_) => "invalid_argument",
        }
    }
}

impl Refusal {
    /// A refusal for overload or for a transient fault, with the time after which the next hop wants the request again.
    pub fn transient(cause: String, overloaded: bool, delay: Option<Duration>) -> Refusal {
        match (delay, overloaded) {
            (Some(delay), overloaded) => Refusal::Later { cause, delay, overloaded },
            (None, true) => Refusal::ResourceExhausted(cause),
            (None, false) => Refusal::Unavailable(cause),
        }
    }

    /// The same with another text.
    #[must_use]
    pub fn map(self, change: impl FnOnce(String) -> String) -> Refusal {
        match self {
            Refusal::Unavailable(cause) => Refusal::Unavailable(change(cause)),
            Refusal::ResourceExhausted(cause) => Refusal::ResourceExhausted(change(cause)),
            Refusal::Later { cause, delay, overloaded } => Refusal::Later { cause: change(cause), delay, overloaded },
            Refusal::InvalidArgument(cause) => Refusal::InvalidArgument(change(cause)),
        }
    }
}

impl From<EnvelopeError> for Refusal {
    fn from(error: EnvelopeError) -> Refusal {
        Refusal::InvalidArgument(error.to_string())
    }
}

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Matches and tags one message. CPU-bound and synchronous: sources decide on which thread.
pub trait Process: Send + Sync + 'static {
    /// `message` is a whole, decompressed message of the format, of log records. `work` bounds what is made of it.
    fn process(&self, format: Format, message: Bytes, work: &Work) -> Result<Batch, Refusal>;
}

/// An indicator that a single value is known as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its value in canonical form.
    pub indicator: String,
    /// The feed that has it.
    pub feed: String,
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: Kind,
    /// What an event would get, as JSON.
    pub enrichment: Bytes,
}

/// Answers to several values, all given by one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// One for each value, in order; an error is a sentence for the caller.
    pub results: Vec<Result<Vec<Known>, String>>,
    /// The name of the snapshot that was asked; empty when there is none.
    pub snapshot: Arc<str>,
}

/// Looks up single values as [`Process`] judges events. CPU-bound and synchronous, too.
pub trait Check: Send + Sync + 'static {
    /// `values` are pairs of a kind and a value.
    ///
    /// # Errors
    /// Nothing can be looked up now.
    fn check(&self, values: &[(&str, &str)]) -> Result<Checked, Refusal>;
}

/// Takes a batch onward. Ready only when every required hop has it.
pub trait Deliver: Send + Sync + 'static {
    /// Delivers, or says why not. Dropping the future cancels.
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, Refusal>>;

    /// Whether anything behind this takes events of `signal` that came in `format`. What nobody takes must not be
    /// acknowledged.
    fn takes(&self, format: Format, signal: Signal) -> bool {
        let _ = format;
        signal == Signal::Logs
    }
}
