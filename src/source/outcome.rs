//! How a request ends, in words that every protocol of a source can say in its own way.

use std::sync::Arc;

use metrics::counter;

use crate::pipeline::Refusal;
use crate::telemetry;

/// Why a request was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It is refused.
    Refused(Refusal),
    /// It is larger than the limit, and never can be taken.
    TooLarge(String),
    /// Nobody here takes such requests.
    Unimplemented(String),
    /// The client went away in the middle: nobody is there to be answered.
    Gone,
}

impl NotTaken {
    /// It can never succeed, because of what it holds.
    pub fn invalid(text: impl Into<String>) -> NotTaken {
        Refusal::InvalidArgument(text.into()).into()
    }

    /// The status in metrics: that of gRPC in lower case, whatever the protocol.
    pub fn label(&self) -> &'static str {
        match self {
            NotTaken::Refused(refusal) => refusal.label(),
            NotTaken::TooLarge(_) => "invalid_argument",
            NotTaken::Unimplemented(_) => "unimplemented",
            NotTaken::Gone => "cancelled",
        }
    }
}

impl From<Refusal> for NotTaken {
    fn from(refusal: Refusal) -> NotTaken {
        NotTaken::Refused(refusal)
    }
}

/// Counts a request when it ends, also when its future is dropped because the client went away.
pub struct Count {
    source: Arc<str>,
    status: &'static str,
}

impl Count {
    /// Of a request to this source that begins now.
    pub fn begin(source: &Arc<str>) -> Count {
        Count { source: Arc::clone(source), status: "cancelled" }
    }

    /// It ends with this status.
    pub fn end(mut self, status: &'static str) {
        self.status = status;
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        counter!(telemetry::SOURCE_REQUESTS_TOTAL, "source" => self.source.to_string(), "status" => self.status)
            .increment(1);
    }
}
