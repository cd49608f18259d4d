//! What passes between a source, the matcher and the sinks: a batch, the two traits that join them, and the three
//! ways to refuse.
//!
//! A source answers its client only after [`Deliver::deliver`] came back, so nothing acknowledged is ever held here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::Rope;

/// One request's events after matching, ready for the next hop.
#[derive(Clone, Debug)]
pub struct Batch {
    /// An OTLP `ExportLogsServiceRequest`: the bytes that arrived, with the records that hit rewritten.
    pub message: Rope,
    /// Number of log records in it.
    pub records: usize,
    /// The records that hit, tagged, each the bytes of one OTLP `LogRecord`, in order.
    pub hits: Vec<Bytes>,
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
    /// The request can never succeed; the client must not retry it.
    #[error("{0}")]
    InvalidArgument(String),
}

impl Refusal {
    /// A low-cardinality word for metrics: the gRPC status name in lower case.
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::Unavailable(_) => "unavailable",
            Refusal::ResourceExhausted(_) => "resource_exhausted",
            Refusal::InvalidArgument(_) => "invalid_argument",
        }
    }
}

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Matches and tags one message. CPU-bound and synchronous: sources decide on which thread.
pub trait Process: Send + Sync + 'static {
    /// `message` is a whole, decompressed OTLP `ExportLogsServiceRequest`.
    fn process(&self, message: Bytes) -> Result<Batch, Refusal>;
}

/// Takes a batch onward. Ready only when every required hop has it.
pub trait Deliver: Send + Sync + 'static {
    /// Delivers, or says why not. Dropping the future cancels.
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), Refusal>>;
}
