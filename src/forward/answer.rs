//! What the next hop answered, and what that means for a batch.
//!
//! Three meanings: it took the message; it refuses the message itself, for its content or its size; or something is
//! wrong that has nothing to do with this message. The statuses alone do not tell the last two apart, because servers
//! report an oversize or an unreadable message in their own ways, so the texts of the common ones are known here.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use crate::encoding::Format;
use crate::grpc::{Code, HEADER_LEN, Status};

/// Longest answer that is read; an answer is a count and a sentence.
const MAX_ANSWER: usize = 64 << 10;

/// Parts of the texts, in lower case, with which servers say that a message is too large. In this order: C++, Python and
/// Go; Go after inflating; Java; .NET; tonic; common words; Hotlist.
const TOO_LARGE: [&str; 7] = [
    "message larger than max",
    "decompression larger than max",
    "message exceeds maximum size",
    "message exceeds the maximum",
    "message length too large",
    "message too large",
    "send smaller batches",
];
/// Parts of the texts, in lower case, with which servers say under INTERNAL that they cannot decode a message: prost,
/// Go, Python, Java.
const UNDECODABLE: [&str; 4] =
    ["failed to decode protobuf", "error unmarshalling request", "deserializing request", "invalid protobuf"];

/// An answer, whole.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// gRPC's, with its message.
    Grpc(Status, Bytes),
    /// HTTP's, without a gRPC status.
    Http(StatusCode),
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It has the message.
    Accepted,
    /// It will never take this message, for what is in it.
    BadContent,
    /// It will never take this message, for its length.
    TooLarge,
    /// It has too much to do.
    Overloaded,
    /// Anything else: not the message's fault.
    Failed,
}

impl Answer {
    /// Reads an answer, or says what is wrong with it.
    pub(super) async fn read(response: Response<Incoming>) -> Result<Answer, String> {
        let (head, body) = response.into_parts();
        if let Some(status) = Status::read(&head.headers) {
            return Ok(Answer::Grpc(status, Bytes::new()));
        }
        if head.status != StatusCode::OK {
            return Ok(Answer::Http(head.status));
        }
        let whole =
            Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| format!("the answer broke off: {error}"))?;
        let status = whole.trailers().and_then(Status::read).ok_or("the answer has no grpc-status")?;
        let mut message = whole.to_bytes();
        Ok(Answer::Grpc(status, message.split_off(HEADER_LEN.min(message.len()))))
    }

    /// What it means. `docs/delivery.md` has the table.
    pub(super) fn meaning(&self, format: Format) -> Meaning {
        let status = match self {
            Answer::Grpc(status, _) => status,
            Answer::Http(StatusCode::PAYLOAD_TOO_LARGE) => return Meaning::TooLarge,
            Answer::Http(_) => return Meaning::Failed,
        };
        let text = status.message.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        match status.code {
            Code::Ok => Meaning::Accepted,
            // Nothing else answers OUT_OF_RANGE to an export: it is tonic's word for a message over its limit.
            Code::OutOfRange => Meaning::TooLarge,
            Code::InvalidArgument | Code::ResourceExhausted if says(&TOO_LARGE) => Meaning::TooLarge,
            Code::InvalidArgument => Meaning::BadContent,
            Code::ResourceExhausted => Meaning::Overloaded,
            Code::Internal if says(&UNDECODABLE) => Meaning::BadContent,
            // Vector says so when the sink behind its source rejected events of the batch, which is final.
            Code::DataLoss if format == Format::Vector => Meaning::BadContent,
            _ => Meaning::Failed,
        }
    }

    /// Whether it says that the credentials are not good.
    pub(super) fn is_unauthenticated(&self) -> bool {
        match self {
            Answer::Grpc(status, _) => status.code == Code::Unauthenticated,
            Answer::Http(status) => *status == StatusCode::UNAUTHORIZED,
        }
    }

    /// A low-cardinality word for metrics and files: gRPC's name in lower case, or `http_` with the status.
    pub(super) fn label(&self) -> String {
        match self {
            Answer::Grpc(status, _) => status.code.to_string().to_lowercase(),
            // Only registered ones, so that a next hop cannot make labels up.
            Answer::Http(status) if status.canonical_reason().is_some() => format!("http_{}", status.as_u16()),
            Answer::Http(_) => "http_other".to_owned(),
        }
    }

    /// The text for humans that came with it.
    pub(super) fn text(&self) -> String {
        match self {
            Answer::Grpc(status, _) => status.message.clone(),
            Answer::Http(status) => status.canonical_reason().unwrap_or_default().to_owned(),
        }
    }

    /// The sentence that a collector gets to see.
    pub(super) fn describe(&self) -> String {
        match self {
            Answer::Grpc(status, _) => format!("the next hop answered {status}"),
            Answer::Http(status) => {
                format!("the next hop answered HTTP {status}, is it a gRPC receiver of this protocol?")
            }
        }
    }
}

/// Why one attempt brought no answer.
pub(super) struct Failure {
    /// For humans.
    pub(super) cause: String,
    /// The word for metrics.
    pub(super) label: &'static str,
    /// The next hop certainly did not see the request, so that sending it again repeats nothing.
    pub(super) unseen: bool,
}

impl Failure {
    /// There is no connection, or it broke.
    pub(super) fn connection(cause: String) -> Failure {
        Failure { cause, label: "connection", unseen: false }
    }

    /// The deadline passed.
    pub(super) fn timeout(cause: String) -> Failure {
        Failure { cause, label: "timeout", unseen: false }
    }

    /// A request that the HTTP/2 client could not send, or that got no answer.
    pub(super) fn unsent(error: &hyper::Error, unsent: bool) -> Failure {
        Failure { unseen: unsent || was_turned_away(error), ..Failure::connection(describe(error)) }
    }
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
    // The alert's name in RFC 8446 section 6 says it, but not what is to be done.
    if text.contains("CertificateRequired") {
        text.push_str("; the next hop wants a certificate, see `tls`");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of real servers, as they answer a message over their limit, one they cannot decode, and overload.
    #[test]
    fn the_words_of_real_servers() {
        use Meaning::{BadContent, Failed, Overloaded, TooLarge};
        let cases = [
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes",
                TooLarge,
            ),
            (Code::ResourceExhausted, "Received message larger than max (9 vs. 4)", TooLarge),
            (Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 4)", TooLarge),
            (Code::ResourceExhausted, "grpc: received message after decompression larger than max 4", TooLarge),
            (Code::ResourceExhausted, "gRPC message exceeds maximum size 4: 9", TooLarge),
            (Code::ResourceExhausted, "Received message exceeds the maximum configured message size.", TooLarge),
            (
                Code::InvalidArgument,
                "the message has 9 bytes, more than 4: send smaller batches, or raise it",
                TooLarge,
            ),
            (Code::ResourceExhausted, "too many requests", Overloaded),
            (Code::ResourceExhausted, "", Overloaded),
            (Code::InvalidArgument, "the body is odd", BadContent),
            (Code::Internal, "failed to decode Protobuf message: invalid string value", BadContent),
            (Code::Internal, "grpc: error unmarshalling request: string field contains invalid UTF-8", BadContent),
            (Code::Internal, "Exception deserializing request!", BadContent),
            (Code::Internal, "the disk is gone", Failed),
            (Code::DataLoss, "message too large", Failed),
        ];
        for (code, text, meaning) in cases {
            let answer = Answer::Grpc(Status::new(code, text), Bytes::new());
            assert_eq!(answer.meaning(Format::Otlp), meaning, "{code}: {text}");
        }
    }

    /// Vector's source answers DATA_LOSS when the sink behind it rejected the events; of OTLP it says nothing.
    #[test]
    fn data_loss_is_final_for_vector_only() {
        let answer = Answer::Grpc(Status::new(Code::DataLoss, "Delivery failed"), Bytes::new());
        assert_eq!(answer.meaning(Format::Vector), Meaning::BadContent);
        assert_eq!(answer.meaning(Format::Otlp), Meaning::Failed);
    }

    #[test]
    fn labels_are_few() {
        let label = |status: u16| Answer::Http(StatusCode::from_u16(status).unwrap()).label();
        assert_eq!([label(503), label(413), label(799)], ["http_503", "http_413", "http_other"]);
        let answer = Answer::Grpc(Status::new(Code::DeadlineExceeded, "x"), Bytes::new());
        assert_eq!(answer.label(), "deadline_exceeded");
    }
}
