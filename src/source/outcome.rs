//! The outcome of a request, in terms that every protocol of a source can express.

use std::sync::Arc;

use metrics::counter;

use crate::pipeline::BatchRefusal;
use crate::telemetry;

/// The reason that a request was not accepted.
#[derive(Debug)]
pub enum RequestFailure {
    Refused(BatchRefusal),
    /// The request is larger than the limit, so that a retry cannot succeed.
    TooLarge(String),
    /// This source does not support the method, the encoding or the signal.
    Unimplemented(String),
    /// The client disconnected in the middle of the request: there is nobody to answer.
    Gone,
}

impl RequestFailure {
    /// The request can never succeed because of its content.
    pub fn invalid(text: impl Into<String>) -> RequestFailure {
        BatchRefusal::InvalidArgument(text.into()).into()
    }

    /// The status label of metrics: the gRPC status in lower case, whatever the protocol.
    pub fn label(&self) -> &'static str {
        match self {
            RequestFailure::Refused(refusal) => refusal.label(),
            RequestFailure::TooLarge(_) => "invalid_argument",
            RequestFailure::Unimplemented(_) => "unimplemented",
            RequestFailure::Gone => "cancelled",
        }
    }
}

impl From<BatchRefusal> for RequestFailure {
    fn from(refusal: BatchRefusal) -> RequestFailure {
        RequestFailure::Refused(refusal)
    }
}

/// Counts a request when it ends, also when its future is dropped because the client disconnected.
pub struct RequestCounter {
    source: Arc<str>,
    status: &'static str,
}

impl RequestCounter {
    /// Starts counting a request to this source.
    pub fn begin(source: &Arc<str>) -> RequestCounter {
        RequestCounter { source: Arc::clone(source), status: "cancelled" }
    }

    pub fn end(mut self, status: &'static str) {
        self.status = status;
    }
}

impl Drop for RequestCounter {
    fn drop(&mut self) {
        counter!(telemetry::SOURCE_REQUESTS_TOTAL, "source" => self.source.to_string(), "status" => self.status)
            .increment(1);
    }
}
