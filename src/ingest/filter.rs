//! Source `filter`: the Filter stream and Check of `proto/hotlist/filter/v1/filter.proto`, for agents of one's own.
//!
//! A plain tower service with its own framing, as for OTLP: tonic's codec would buffer messages before there is room for
//! them. The events of a stream are walked and spliced as bytes; only Check, whose values are few, is decoded.

mod check;
mod outbox;
mod stream;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use metrics::counter;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use super::message::Message;
use super::workers::WorkError;
use super::{Bound, Limits, Shared};
use crate::config::Address;
use crate::delivery::{BoxFuture, Check, Deliver, Process, Refusal};
use crate::grpc::compression::{ACCEPTED, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, InflateError};
use crate::grpc::{self, Code, Encoding, Status};
use crate::telemetry;

const STREAM: &str = "/hotlist.filter.v1.Filter/Stream";
const CHECK: &str = "/hotlist.filter.v1.Filter/Check";

/// The service. Cheap to clone: one is cloned for each connection.
#[derive(Clone)]
pub struct FilterSource {
    state: Arc<State>,
}

/// What the source may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The limits that all sources have.
    pub limits: Limits,
    /// Batches of one stream that are in work or whose answers are unsent, at most.
    pub window: usize,
}

struct State {
    name: Arc<str>,
    limits: Limits,
    window: usize,
    shared: Shared,
    process: Arc<dyn Process>,
    check: Arc<dyn Check>,
    deliver: Arc<dyn Deliver>,
}

impl FilterSource {
    /// Binds the socket; nothing is accepted before [`Bound::serve`]. Needs a tokio runtime. `name` is the source's
    /// in metrics and logs, `judge` what matches events and looks up values.
    ///
    /// # Errors
    /// The address cannot be bound, the limits cannot work, or there is no runtime.
    pub fn bind(
        name: &str,
        address: &Address,
        settings: Settings,
        shared: &Shared,
        judge: Arc<impl Process + Check>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<Bound> {
        let Settings { limits, window } = settings;
        let invalid = |bad: String| io::Error::new(io::ErrorKind::InvalidInput, bad);
        limits.check().map_err(|bad| invalid(bad.to_string()))?;
        if window == 0 {
            return Err(invalid("window is 0, it must be at least 1".to_owned()));
        }
        let (name_, limits_) = (name.into(), limits.clone());
        let (process, check) = (Arc::clone(&judge) as Arc<dyn Process>, judge as Arc<dyn Check>);
        let state = State { name: name_, limits: limits_, window, shared: shared.clone(), process, check, deliver };
        Bound::bind(name, address, limits, Routes::new(FilterSource { state: Arc::new(state) }))
    }
}

impl NamedService for FilterSource {
    const NAME: &'static str = "hotlist.filter.v1.Filter";
}

impl Service<Request<Body>> for FilterSource {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let encoding = match check_head(&request) {
                Ok(encoding) => encoding,
                Err(response) => return Ok(*response),
            };
            Ok(match request.uri().path() {
                STREAM => stream::open(&state, request, encoding),
                CHECK => check::answer(&state, request, encoding).await,
                path => {
                    refuse(&Status::new(Code::Unimplemented, format!("there is no method {path}, only {STREAM}, {CHECK}")))
                }
            })
        })
    }
}

impl State {
    /// The message without its compression.
    fn inflate(&self, message: &mut Message, encoding: Encoding) -> Result<(), Refusal> {
        if !message.compressed {
            return Ok(());
        }
        let Message { bytes, admission, .. } = message;
        let mut room = |more| admission.grow(more);
        let inflated = encoding.inflate(bytes, self.limits.max_request_bytes, &mut room);
        message.bytes = inflated.map_err(|error| match error {
            InflateError::NoRoom => Refusal::ResourceExhausted(error.to_string()),
            InflateError::TooLarge { .. } | InflateError::Corrupt { .. } => Refusal::InvalidArgument(error.to_string()),
        })?;
        message.compressed = false;
        Ok(())
    }

    fn count_received(&self, bytes: usize) {
        counter!(telemetry::SOURCE_RECEIVED_BYTES_TOTAL, "source" => self.name.to_string()).increment(bytes as u64);
    }

    fn count_answer(&self, status: &'static str) {
        counter!(telemetry::SOURCE_REQUESTS_TOTAL, "source" => self.name.to_string(), "status" => status).increment(1);
    }
}

/// Checks what can be checked before the body, and reads the encoding of the messages.
fn check_head(request: &Request<Body>) -> Result<Encoding, Box<Response<Body>>> {
    let plain = |status: StatusCode| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Box::new(response)
    };
    if request.method() != Method::POST {
        return Err(plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !grpc::is_grpc(request.headers()) {
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let Some(name) = request.headers().get(GRPC_ENCODING) else { return Ok(Encoding::Identity) };
    Encoding::parse(name.as_bytes()).ok_or_else(|| {
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let text = format!("encoding {name:?} is not known, use identity, gzip or zstd");
        Box::new(refuse(&Status::new(Code::Unimplemented, text)))
    })
}

/// An answer that is a status only.
fn refuse(status: &Status) -> Response<Body> {
    let mut response = respond(Body::empty());
    status.write(response.headers_mut());
    response
}

/// An answer with messages; its status comes behind them.
fn respond(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    headers.insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
    response
}

fn status_of(refusal: Refusal) -> Status {
    match refusal {
        Refusal::InvalidArgument(message) => Status::new(Code::InvalidArgument, message),
        Refusal::ResourceExhausted(message) => Status::new(Code::ResourceExhausted, message),
        Refusal::Unavailable(message) => Status::new(Code::Unavailable, message),
    }
}

fn refuse_work(error: WorkError) -> Refusal {
    match error {
        WorkError::Full => Refusal::ResourceExhausted(error.to_string()),
        WorkError::Panicked => Refusal::Unavailable(error.to_string()),
    }
}

/// A message that says it is compressed, in a request that names no encoding.
fn needs_encoding(message_is_compressed: bool, encoding: Encoding) -> Result<(), Refusal> {
    if message_is_compressed && encoding == Encoding::Identity {
        let text = "the message is marked as compressed, but the request has no `grpc-encoding`";
        return Err(Refusal::InvalidArgument(text.to_owned()));
    }
    Ok(())
}
