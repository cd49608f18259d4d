//! The answer of the next hop, and what it means for a batch.
//!
//! There are three meanings: the next hop accepted the message; it refuses this message for its content or size; or it
//! failed for a reason that has nothing to do with this message. The status alone does not separate the last two,
//! because servers report an oversize or unreadable message in different ways, so the texts of common servers are
//! matched here.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Response, StatusCode, header};

use crate::encoding::Format;
use crate::net::grpc::retry::MAX_DELAY;
use crate::net::grpc::{Code, HEADER_LEN, Status};
use crate::pipeline::BatchRefusal;

/// How many bytes of a message are kept: an answer is a count and a sentence. The rest is read for the status after it.
const MAX_ANSWER: usize = 64 << 10;
/// Longest text of a status that is kept, in characters.
const MAX_TEXT: usize = 1000;

/// Fragments, in lower case, of the texts by which servers report that a message is too large. In this order: C++,
/// Python and Go; Go after inflating; Java; .NET; tonic; common words; Hotlist.
const TOO_LARGE: [&str; 7] = [
    "message larger than max",
    "decompression larger than max",
    "message exceeds maximum size",
    "message exceeds the maximum",
    "message length too large",
    "message too large",
    "send smaller batches",
];
/// Fragments, in lower case, of the texts by which servers report with INTERNAL that they cannot decode a message:
/// prost, Go, Python, Java.
const UNDECODABLE: [&str; 4] =
    ["failed to decode protobuf", "error unmarshalling request", "deserializing request", "invalid protobuf"];

/// A complete answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A gRPC answer, with its message.
    Grpc(Status, Bytes),
    /// An HTTP answer without a gRPC status, with its retry delay.
    Http(StatusCode, Option<Duration>),
    /// An answer of OTLP over HTTP.
    Otlp(HttpAnswer),
}

/// An answer of an OTLP receiver over HTTP.
#[derive(Clone, Debug)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    /// The `Export…ServiceResponse` of a success.
    pub(super) message: Bytes,
    /// The text of a refusal.
    pub(super) text: String,
    pub(super) delay: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerMeaning {
    /// The next hop accepted the message.
    Accepted,
    /// It will never accept this message because of its content.
    BadContent,
    /// It will never accept this message because of its length.
    TooLarge,
    Overloaded,
    /// Any other failure, not caused by the message.
    Failed,
}

impl Answer {
    /// Reads an answer; the error describes what is wrong with it.
    pub(super) async fn read(response: Response<RecvStream>) -> Result<Answer, String> {
        let (head, mut body) = response.into_parts();
        if let Some(status) = Status::read(&head.headers) {
            return Ok(Answer::Grpc(shortened(status), Bytes::new()));
        }
        if head.status != StatusCode::OK {
            return Ok(Answer::Http(head.status, retry_after(&head.headers)));
        }
        let broke_off = |error: h2::Error| format!("the answer is incomplete: {error}");
        let mut framed = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(broke_off)?;
            // A finished stream needs no window, and reports that it ended.
            let _ = body.flow_control().release_capacity(data.len());
            let room = (HEADER_LEN + MAX_ANSWER).saturating_sub(framed.len());
            framed.extend(data.iter().take(room));
        }
        let trailers = body.trailers().await.map_err(broke_off)?;
        let status = trailers.as_ref().and_then(Status::read).ok_or("the answer has no `grpc-status`")?;
        let mut message = framed.freeze();
        Ok(Answer::Grpc(shortened(status), message.split_off(HEADER_LEN.min(message.len()))))
    }

    /// The meaning of the answer. `docs/delivery.md` has the table.
    pub(super) fn meaning(&self, format: Format) -> AnswerMeaning {
        let status = match self {
            Answer::Grpc(status, _) => status,
            Answer::Http(StatusCode::PAYLOAD_TOO_LARGE, _) => return AnswerMeaning::TooLarge,
            Answer::Http(..) => return AnswerMeaning::Failed,
            Answer::Otlp(answer) => return answer.meaning(),
        };
        let text = status.message.to_lowercase();
        let mentions = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        match status.code {
            Code::Ok => AnswerMeaning::Accepted,
            // Only tonic answers OUT_OF_RANGE to an export: for a message over its limit.
            Code::OutOfRange => AnswerMeaning::TooLarge,
            Code::InvalidArgument | Code::ResourceExhausted if mentions(&TOO_LARGE) => AnswerMeaning::TooLarge,
            Code::InvalidArgument => AnswerMeaning::BadContent,
            Code::ResourceExhausted => AnswerMeaning::Overloaded,
            Code::Internal if mentions(&UNDECODABLE) => AnswerMeaning::BadContent,
            // Vector reports with this status that the sink behind its source rejected events of the batch, which is
            // final.
            Code::DataLoss if format == Format::Vector => AnswerMeaning::BadContent,
            _ => AnswerMeaning::Failed,
        }
    }

    /// Whether the answer means that the credentials are not valid.
    pub(super) fn is_unauthenticated(&self) -> bool {
        match self {
            Answer::Grpc(status, _) => status.code == Code::Unauthenticated,
            Answer::Http(status, _) | Answer::Otlp(HttpAnswer { status, .. }) => *status == StatusCode::UNAUTHORIZED,
        }
    }

    /// A low-cardinality label for metrics and files: the gRPC name in lower case, or `http_` with the status.
    pub(super) fn label(&self) -> String {
        match self {
            Answer::Grpc(status, _) => status.code.to_string().to_lowercase(),
            // Registered statuses only, so that a next hop cannot invent labels.
            Answer::Otlp(answer) if answer.status.is_success() => "ok".to_owned(),
            Answer::Http(status, _) | Answer::Otlp(HttpAnswer { status, .. })
                if status.canonical_reason().is_some() =>
            {
                format!("http_{}", status.as_u16())
            }
            Answer::Http(..) | Answer::Otlp(_) => "http_other".to_owned(),
        }
    }

    /// The text for humans in the answer.
    pub(super) fn text(&self) -> String {
        match self {
            Answer::Grpc(status, _) => status.message.clone(),
            Answer::Http(status, _) => status.canonical_reason().unwrap_or_default().to_owned(),
            Answer::Otlp(answer) => answer.text.clone(),
        }
    }

    /// The text for the collector.
    pub(super) fn describe(&self) -> String {
        match self {
            Answer::Grpc(status, _) => format!("the next hop answered {status}"),
            Answer::Http(status, _) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
                format!("the next hop, or a gateway in front of it, answered HTTP {status}")
            }
            Answer::Http(status, _) => {
                format!("the next hop answered HTTP {status}; check that it is a gRPC receiver of this protocol")
            }
            Answer::Otlp(HttpAnswer { status, text, .. }) => {
                let hint = match *status {
                    StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                        "; check that it is an OTLP/HTTP receiver, and check `base_path`"
                    }
                    StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                        "; check that it accepts protobuf and the `compression` of the sink"
                    }
                    _ => "",
                };
                format!("the next hop answered HTTP {}: {text}{hint}", status.as_u16())
            }
        }
    }

    /// The message of a success.
    pub(super) fn message(&self) -> &[u8] {
        match self {
            Answer::Grpc(_, message) | Answer::Otlp(HttpAnswer { message, .. }) => message,
            Answer::Http(..) => &[],
        }
    }

    /// The refusal for the collector when the batch is not accepted for now, with the retry delay of the next hop.
    pub(super) fn refusal(&self, overloaded: bool) -> BatchRefusal {
        let delay = match self {
            Answer::Grpc(status, _) => status.retry_delay,
            Answer::Http(_, delay) | Answer::Otlp(HttpAnswer { delay, .. }) => *delay,
        };
        BatchRefusal::transient(self.describe(), overloaded, delay)
    }
}

impl HttpAnswer {
    /// The OTLP specification ("OTLP/HTTP Response") defines 400 for content that cannot be read. Other refusals are
    /// caused by the configuration of Hotlist or of the receiver, not by the records.
    fn meaning(&self) -> AnswerMeaning {
        let text = self.text.to_lowercase();
        match self.status {
            status if status.is_success() => AnswerMeaning::Accepted,
            StatusCode::PAYLOAD_TOO_LARGE => AnswerMeaning::TooLarge,
            StatusCode::BAD_REQUEST if TOO_LARGE.iter().any(|part| text.contains(part)) => AnswerMeaning::TooLarge,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => AnswerMeaning::BadContent,
            StatusCode::TOO_MANY_REQUESTS => AnswerMeaning::Overloaded,
            _ => AnswerMeaning::Failed,
        }
    }
}

fn shortened(status: Status) -> Status {
    match status.message.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => Status { message: format!("{}…", status.message.get(..end).unwrap_or_default()), ..status },
        None => status,
    }
}

/// The seconds of `Retry-After` (RFC 9110 section 10.2.3). A date is ignored: the clocks of two hosts differ.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_DELAY))
}

/// The reason that a request got no answer.
pub(super) struct ExchangeFailure {
    /// A text for humans.
    pub(super) cause: String,
    /// The label for metrics.
    pub(super) label: &'static str,
    /// Whether the next hop certainly did not process the request, so that sending it again duplicates nothing.
    pub(super) unseen: bool,
}

impl ExchangeFailure {
    /// There is no connection, or it broke.
    pub(super) fn connection(cause: String) -> ExchangeFailure {
        ExchangeFailure { cause, label: "connection", unseen: false }
    }

    /// The deadline passed.
    pub(super) fn timeout(cause: String) -> ExchangeFailure {
        ExchangeFailure { cause, label: "timeout", unseen: false }
    }

    /// The HTTP/2 client could not send the request, or it got no answer.
    pub(super) fn unsent(error: &h2::Error, unsent: bool) -> ExchangeFailure {
        ExchangeFailure { unseen: unsent || was_turned_away(error), ..ExchangeFailure::connection(error.to_string()) }
    }
}

/// Whether the peer reported that it did not process the request: REFUSED_STREAM, or a GOAWAY that excludes it (RFC
/// 9113 sections 8.7 and 6.8).
fn was_turned_away(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of real servers for a message over their limit, a message they cannot decode, and overload.
    #[test]
    fn the_words_of_real_servers() {
        use AnswerMeaning::{BadContent, Failed, Overloaded, TooLarge};
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
            (Code::InvalidArgument, "the body is malformed", BadContent),
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

    /// Vector's source answers DATA_LOSS when the sink behind it rejected the events; OTLP does not define that.
    #[test]
    fn data_loss_is_final_for_vector_only() {
        let answer = Answer::Grpc(Status::new(Code::DataLoss, "Delivery failed"), Bytes::new());
        assert_eq!(answer.meaning(Format::Vector), AnswerMeaning::BadContent);
        assert_eq!(answer.meaning(Format::Otlp), AnswerMeaning::Failed);
    }

    /// The statuses of OTLP over HTTP: content, size, overload, and failures that the records did not cause.
    #[test]
    fn the_statuses_of_otlp_over_http() {
        use AnswerMeaning::{Accepted, BadContent, Failed, Overloaded, TooLarge};
        let cases = [
            (200, "", Accepted),
            (202, "", Accepted),
            (400, "bad mapping", BadContent),
            (400, "http: request body too large: send smaller batches", TooLarge),
            (413, "", TooLarge),
            (422, "", BadContent),
            (429, "", Overloaded),
        ];
        let failed = [301, 401, 403, 404, 405, 408, 415, 500, 502, 503, 504].map(|status| (status, "", Failed));
        for (status, text, meaning) in cases.into_iter().chain(failed) {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = HttpAnswer { status, message: Bytes::new(), text: text.to_owned(), delay: None };
            assert_eq!(Answer::Otlp(answer).meaning(Format::Otlp), meaning, "{status} {text}");
        }
    }

    #[test]
    fn labels_are_few() {
        let label = |status: u16| Answer::Http(StatusCode::from_u16(status).unwrap(), None).label();
        assert_eq!([label(503), label(413), label(799)], ["http_503", "http_413", "http_other"]);
        let answer = Answer::Grpc(Status::new(Code::DeadlineExceeded, "x"), Bytes::new());
        assert_eq!(answer.label(), "deadline_exceeded");
    }
}
