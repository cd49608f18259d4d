//! OTLP/HTTP: one request per POST to `/v1/logs`, `/v1/metrics` or `/v1/traces`, as protobuf or as JSON.
//!
//! Answers are those of the OTLP specification ("OTLP/HTTP Response"): 200 with an `Export…ServiceResponse`, otherwise
//! a `google.rpc.Status`, both encoded like the request. Of the statuses that are answered here, clients retry only 429
//! and 503.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body::Body as HttpBody;
use http_body_util::Full;
use serde_json::json;
use tonic::body::Body;

use super::body::{BodyReader, Message, Syntax};
use super::export_response::export_response;
use super::intake::{Intake, RequestContent};
use super::outcome::RequestFailure;
use super::unary;
use crate::encoding::{Format, wire};
use crate::net::grpc::{Code, Encoding, Status};
use crate::pipeline::{Accepted, BatchRefusal, Signal};

/// The paths of the OTLP specification ("OTLP/HTTP Request").
const PATHS: [(&str, Signal); 3] =
    [("/v1/logs", Signal::Logs), ("/v1/metrics", Signal::Metrics), ("/v1/traces", Signal::Traces)];
/// When to retry, in seconds, after overload or a transient fault.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Answers one request, whatever its path.
pub async fn call<B>(intake: &Arc<Intake>, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let count = intake.count();
    let (head, body) = request.into_parts();
    let mut body = BodyReader::new(body, intake.limits());
    // Over HTTP/1 an answer is lost if the connection is closed while the client still sends. HTTP/2 resets the stream.
    let one_way = head.version < Version::HTTP_2;
    let unasked = !head.headers.contains_key(header::EXPECT);
    let media = Media::from_headers(&head.headers);
    let answer = match check(&head, media) {
        Ok((content, syntax, encoding)) => {
            let message = async {
                let (bytes, admission) = body.all(intake.in_flight()).await?;
                Ok(Message { syntax, encoding, bytes, admission })
            };
            match intake.take(content, head.headers, message).await {
                Ok(accepted) => HttpAnswer::Taken(content.signal, accepted),
                Err(not_taken) => HttpAnswer::NotTaken(not_taken),
            }
        }
        Err(answer) => answer,
    };
    if one_way {
        body.discard(unasked).await;
    }
    count.end(answer.label());
    answer.into_response(media.unwrap_or(Media::Json))
}

/// Checks what can be checked before the body.
fn check(head: &request::Parts, media: Option<Media>) -> Result<(RequestContent, Syntax, Encoding), HttpAnswer> {
    let path = head.uri.path();
    let Some((_, signal)) = PATHS.into_iter().find(|(known, _)| *known == path) else {
        let known = PATHS.map(|(known, _)| known).join(", ");
        return Err(HttpAnswer::NoPath(format!("there is no endpoint at {path}; the endpoints are {known}")));
    };
    if head.method != Method::POST {
        return Err(HttpAnswer::Method(format!("the method {} is not supported: use POST", head.method)));
    }
    let syntax = match media {
        Some(Media::Protobuf) => Syntax::Binary,
        Some(Media::Json) => Syntax::OtlpJson,
        None => {
            let text = "the content-type must be application/x-protobuf or application/json".to_owned();
            return Err(HttpAnswer::MediaType(text));
        }
    };
    Ok((RequestContent { format: Format::Otlp, signal }, syntax, encoding(&head.headers)?))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, HttpAnswer> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let found = match (values.next(), values.next()) {
        // An empty list names no coding (RFC 9110 section 5.6.1).
        (None | Some([]), None) => Some(Encoding::Identity),
        // The same coding as gzip (RFC 9110 section 8.4.1.3).
        (Some(value), None) if value.eq_ignore_ascii_case(b"x-gzip") => Some(Encoding::Gzip),
        (Some(value), None) => Encoding::parse(value),
        (_, Some(_)) => None,
    };
    found.ok_or_else(|| HttpAnswer::Encoding("the content-encoding must be identity, gzip or zstd".to_owned()))
}

/// The encoding of a request and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Protobuf,
    Json,
}

impl Media {
    fn from_headers(headers: &HeaderMap) -> Option<Media> {
        let value = headers.get(header::CONTENT_TYPE)?.as_bytes();
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        [Media::Protobuf, Media::Json].into_iter().find(|media| essence.eq_ignore_ascii_case(media.name().as_bytes()))
    }

    fn name(self) -> &'static str {
        match self {
            Media::Protobuf => "application/x-protobuf",
            Media::Json => "application/json",
        }
    }

    fn response(self, signal: Signal, accepted: &Accepted) -> Vec<u8> {
        match self {
            Media::Protobuf => export_response(accepted),
            Media::Json if *accepted == Accepted::default() => b"{}".to_vec(),
            Media::Json => {
                let mut partial_success = serde_json::Map::new();
                if accepted.rejected > 0 {
                    let name = match signal {
                        Signal::Logs => "rejectedLogRecords",
                        Signal::Metrics => "rejectedDataPoints",
                        Signal::Traces => "rejectedSpans",
                    };
                    // The JSON mapping of protobuf writes 64-bit integers as strings.
                    partial_success.insert(name.into(), accepted.rejected.to_string().into());
                }
                if !accepted.message.is_empty() {
                    partial_success.insert("errorMessage".into(), accepted.message.clone().into());
                }
                json!({ "partialSuccess": partial_success }).to_string().into_bytes()
            }
        }
    }

    /// Writes a `google.rpc.Status`: code (1) and message (2).
    fn status(self, status: &Status) -> Vec<u8> {
        match self {
            Media::Protobuf => {
                let mut message = vec![1 << 3, status.code.number()];
                wire::put_bytes(&mut message, 2, status.message.as_bytes());
                message
            }
            Media::Json => json!({ "code": status.code.number(), "message": status.message }).to_string().into_bytes(),
        }
    }
}

/// An answer to a client.
enum HttpAnswer {
    Taken(Signal, Accepted),
    NotTaken(RequestFailure),
    NoPath(String),
    Method(String),
    MediaType(String),
    Encoding(String),
}

impl HttpAnswer {
    /// The status label of metrics, in the words of gRPC.
    fn label(&self) -> &'static str {
        match self {
            HttpAnswer::Taken(..) => "ok",
            HttpAnswer::NotTaken(not_taken) => not_taken.label(),
            HttpAnswer::NoPath(_) | HttpAnswer::Method(_) | HttpAnswer::MediaType(_) | HttpAnswer::Encoding(_) => {
                "unimplemented"
            }
        }
    }

    /// The HTTP status, with a header that names what is supported or when to retry.
    fn status(&self) -> (StatusCode, Option<(header::HeaderName, HeaderValue)>) {
        let supported = |name, value| Some((name, HeaderValue::from_static(value)));
        match self {
            HttpAnswer::Taken(..) => (StatusCode::OK, None),
            HttpAnswer::NotTaken(RequestFailure::Refused(BatchRefusal::InvalidArgument(_))) => {
                (StatusCode::BAD_REQUEST, None)
            }
            HttpAnswer::NotTaken(RequestFailure::TooLarge(_)) => (StatusCode::PAYLOAD_TOO_LARGE, None),
            HttpAnswer::NotTaken(RequestFailure::Refused(BatchRefusal::ResourceExhausted(_))) => {
                (StatusCode::TOO_MANY_REQUESTS, Some((header::RETRY_AFTER, RETRY_AFTER)))
            }
            HttpAnswer::NotTaken(RequestFailure::Refused(BatchRefusal::Unavailable(_)) | RequestFailure::Gone) => {
                (StatusCode::SERVICE_UNAVAILABLE, Some((header::RETRY_AFTER, RETRY_AFTER)))
            }
            HttpAnswer::NotTaken(RequestFailure::Refused(BatchRefusal::Later { delay, overloaded, .. })) => {
                let status = if *overloaded { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::SERVICE_UNAVAILABLE };
                // In whole seconds, and never sooner than requested (RFC 9110 section 10.2.3).
                let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
                (status, Some((header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))))
            }
            HttpAnswer::NotTaken(RequestFailure::Unimplemented(_)) | HttpAnswer::NoPath(_) => {
                (StatusCode::NOT_FOUND, None)
            }
            HttpAnswer::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, supported(header::ALLOW, "POST")),
            HttpAnswer::MediaType(_) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                supported(header::ACCEPT, "application/x-protobuf, application/json"),
            ),
            // RFC 7694 section 3.
            HttpAnswer::Encoding(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, supported(header::ACCEPT_ENCODING, "identity, gzip, zstd"))
            }
        }
    }

    fn into_response(self, media: Media) -> Response<Body> {
        let (status, more) = self.status();
        let body = match self {
            HttpAnswer::Taken(signal, accepted) => media.response(signal, &accepted),
            HttpAnswer::NotTaken(not_taken) => media.status(&unary::status_of(not_taken)),
            HttpAnswer::NoPath(text)
            | HttpAnswer::Method(text)
            | HttpAnswer::MediaType(text)
            | HttpAnswer::Encoding(text) => media.status(&Status::new(Code::Unimplemented, text)),
        };
        let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media.name()));
        headers.extend(more);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_media_type_is_read_without_its_parameters() {
        for (value, expected) in [
            ("application/x-protobuf", Some(Media::Protobuf)),
            ("Application/JSON; charset=utf-8", Some(Media::Json)),
            ("application/json ;charset=utf-8", Some(Media::Json)),
            ("application/json-seq", None),
            ("application/protobuf", None),
            ("text/plain", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(Media::from_headers(&headers), expected, "{value}");
        }
        assert_eq!(Media::from_headers(&HeaderMap::new()), None);
    }

    proptest! {
        /// Law: the JSON of an answer has the same content as its protobuf.
        #[test]
        fn json_and_protobuf_agree(rejected in 0..=i64::MAX, text: String, which in 0usize..3) {
            let names = ["rejectedLogRecords", "rejectedDataPoints", "rejectedSpans"];
            let (signal, name) = ([Signal::Logs, Signal::Metrics, Signal::Traces][which], names[which]);
            let accepted = Accepted { rejected: rejected as u64, message: text.clone() };
            let json: serde_json::Value = serde_json::from_slice(&Media::Json.response(signal, &accepted)).unwrap();
            let said = &json["partialSuccess"];
            let count = said[name].as_str().map_or(0, |count| count.parse().unwrap());
            prop_assert_eq!((count, said["errorMessage"].as_str().unwrap_or_default()), (rejected, text.as_str()));
            prop_assert_eq!(json == json!({}), accepted == Accepted::default());

            let status = Status::new(Code::Unavailable, text);
            let json: serde_json::Value = serde_json::from_slice(&Media::Json.status(&status)).unwrap();
            prop_assert_eq!(json, json!({ "code": 14, "message": status.message }));
            let mut fields = vec![];
            let message = Media::Protobuf.status(&status);
            let mut reader = wire::Fields::new(&message);
            while let Some(field) = reader.next_field().unwrap() {
                fields.push((field.number, field.payload));
            }
            let expected = [(1, wire::Payload::Varint(14)), (2, wire::Payload::Bytes(status.message.as_bytes()))];
            prop_assert_eq!(fields, expected);
        }
    }
}
