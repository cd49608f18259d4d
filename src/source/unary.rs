//! Unary gRPC calls: one framed message in, one out, with our own framing (`docs/adr/0005-own-grpc-framing.md`).
//!
//! A call is answered OK, UNAVAILABLE, RESOURCE_EXHAUSTED or INVALID_ARGUMENT; UNIMPLEMENTED only for a method, signal
//! or encoding that this source does not support.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, StatusCode, Version, header};
use http_body::Body as HttpBody;
use tonic::body::Body;

use super::intake::{Intake, RequestContent};
use super::message;
use super::outcome::RequestFailure;
use crate::net::grpc::compression::{ACCEPTED, GRPC_ACCEPT_ENCODING, GRPC_ENCODING};
use crate::net::grpc::{self, Code, Encoding, Status, UnaryBody};
use crate::pipeline::{Accepted, BatchRefusal};

/// A method that receives events.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    pub content: RequestContent,
    /// Writes the message of the answer once the events were accepted.
    pub answer: fn(&Accepted) -> Vec<u8>,
}

/// Answers a call of one of `methods`; the answer to an unknown method lists them.
pub async fn call<B>(intake: &Arc<Intake>, methods: &[Method], request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let count = intake.count();
    let answer = match check(methods, &request) {
        Ok((method, encoding)) => {
            let (head, body) = request.into_parts();
            let message = message::read(body, encoding, intake.limits(), intake.in_flight());
            match intake.take(method.content, head.headers, message).await {
                Ok(accepted) => UnaryAnswer::Taken((method.answer)(&accepted)),
                Err(not_taken) => UnaryAnswer::NotTaken(not_taken),
            }
        }
        Err(answer) => answer,
    };
    count.end(answer.label());
    answer.into_response()
}

/// Checks everything that can be checked before the body, and returns the method and the encoding of the message.
fn check<'a, B>(methods: &'a [Method], request: &Request<B>) -> Result<(&'a Method, Encoding), UnaryAnswer> {
    find_method(methods, |method| method.path, request)
}

/// Finds the method of a request among methods of any type, with their paths.
pub fn find_method<'a, M, B>(
    methods: &'a [M],
    path_of: impl Fn(&M) -> &'static str,
    request: &Request<B>,
) -> Result<(&'a M, Encoding), UnaryAnswer> {
    if request.method() != HttpMethod::POST {
        return Err(UnaryAnswer::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !grpc::is_grpc(request.headers()) {
        return Err(UnaryAnswer::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    if request.version() != Version::HTTP_2 {
        return Err(UnaryAnswer::Http(StatusCode::HTTP_VERSION_NOT_SUPPORTED));
    }
    let path = request.uri().path();
    let Some(method) = methods.iter().find(|method| path_of(method) == path) else {
        let known = methods.iter().map(path_of).collect::<Vec<_>>().join(", ");
        return Err(UnaryAnswer::unimplemented(format!("there is no method {path}; the methods are {known}")));
    };
    Ok((method, encoding(request.headers())?))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, UnaryAnswer> {
    let Some(name) = headers.get(GRPC_ENCODING) else { return Ok(Encoding::Identity) };
    Encoding::parse(name.as_bytes()).ok_or_else(|| {
        let name = String::from_utf8_lossy(name.as_bytes());
        UnaryAnswer::unimplemented(format!("encoding {name:?} is not supported: use identity, gzip or zstd"))
    })
}

/// An answer to a client.
pub enum UnaryAnswer {
    /// OK, with this message.
    Taken(Vec<u8>),
    /// The request was not accepted.
    NotTaken(RequestFailure),
    /// The request is not gRPC, so the answer is plain HTTP.
    Http(StatusCode),
}

impl UnaryAnswer {
    fn unimplemented(text: String) -> UnaryAnswer {
        UnaryAnswer::NotTaken(RequestFailure::Unimplemented(text))
    }

    /// The status label of metrics.
    pub fn label(&self) -> &'static str {
        match self {
            UnaryAnswer::Taken(_) => "ok",
            UnaryAnswer::NotTaken(not_taken) => not_taken.label(),
            UnaryAnswer::Http(_) => "not_grpc",
        }
    }

    /// Builds the HTTP response.
    pub fn into_response(self) -> Response<Body> {
        let not_taken = match self {
            UnaryAnswer::Taken(message) => return taken(&message),
            UnaryAnswer::Http(status) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                return response;
            }
            UnaryAnswer::NotTaken(not_taken) => not_taken,
        };
        let mut response = grpc_response(Body::empty());
        let headers = response.headers_mut();
        if let RequestFailure::Unimplemented(_) = &not_taken {
            headers.insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
        }
        status_of(not_taken).write(headers);
        response
    }
}

/// Builds an OK response with a message.
pub fn taken(message: &[u8]) -> Response<Body> {
    grpc_response(Body::new(UnaryBody::new(message)))
}

/// Builds a response that may have messages; its status follows in the trailers.
pub fn grpc_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    response
}

/// The status for gRPC, and for every other protocol that sends a `google.rpc.Status`.
pub fn status_of(not_taken: RequestFailure) -> Status {
    match not_taken {
        RequestFailure::Refused(BatchRefusal::InvalidArgument(text)) | RequestFailure::TooLarge(text) => {
            Status::new(Code::InvalidArgument, text)
        }
        RequestFailure::Refused(BatchRefusal::ResourceExhausted(text)) => Status::new(Code::ResourceExhausted, text),
        RequestFailure::Refused(BatchRefusal::Later { cause, delay, overloaded }) => {
            let code = if overloaded { Code::ResourceExhausted } else { Code::Unavailable };
            Status::new(code, cause).with_retry_delay(delay)
        }
        RequestFailure::Refused(BatchRefusal::Unavailable(text)) => Status::new(Code::Unavailable, text),
        RequestFailure::Unimplemented(text) => Status::new(Code::Unimplemented, text),
        // Nobody receives this status.
        RequestFailure::Gone => Status::new(Code::Unavailable, "the request was not received completely"),
    }
}
