//! Source `otlp`: OTLP/gRPC, the `Export` methods of `LogsService`, `MetricsService` and `TraceService`.
//!
//! Logs are matched. Metrics and traces pass untouched, under the same limits, when a sink takes them. A plain tower
//! service with its own framing (design section 9 says why). It answers OK, UNAVAILABLE, RESOURCE_EXHAUSTED or
//! INVALID_ARGUMENT; UNIMPLEMENTED only for a method, a signal or an encoding that nobody here takes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use metrics::{counter, histogram};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use super::admission::Admission;
use super::message::{self, Message, Unread};
use super::workers::{WorkError, in_place};
use super::{Bound, Limits, Shared};
use crate::config::Address;
use crate::delivery::{Batch, BoxFuture, Deliver, Metadata, Process, Refusal, Signal};
use crate::encoding::{Format, Rope};
use crate::grpc::compression::{ACCEPTED, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, InflateError};
use crate::grpc::{self, Code, Encoding, Status, UnaryBody};
use crate::telemetry;

/// The service. Cheap to clone: one is cloned for each connection.
#[derive(Clone)]
pub struct OtlpSource {
    state: Arc<State>,
}

struct State {
    name: Arc<str>,
    limits: Limits,
    shared: Shared,
    process: Arc<dyn Process>,
    deliver: Arc<dyn Deliver>,
}

impl OtlpSource {
    /// Binds the socket; nothing is accepted before [`Bound::serve`]. Needs a tokio runtime. `name` is the source's
    /// in metrics and logs.
    ///
    /// # Errors
    /// The address cannot be bound, the limits cannot work, or there is no runtime.
    pub fn bind(
        name: &str,
        address: &Address,
        limits: Limits,
        shared: &Shared,
        process: Arc<dyn Process>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<Bound> {
        let source = OtlpSource::new(name, limits.clone(), shared, process, deliver)?;
        let (metrics, traces) = (Passing::<METRICS>(source.clone()), Passing::<TRACES>(source.clone()));
        Bound::bind(name, address, limits, Routes::new(source).add_service(metrics).add_service(traces))
    }

    /// The service alone, to be put into a server of one's own.
    ///
    /// # Errors
    /// The limits cannot work.
    pub fn new(
        name: &str,
        limits: Limits,
        shared: &Shared,
        process: Arc<dyn Process>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<OtlpSource> {
        limits.check().map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        let state = State { name: name.into(), limits, shared: shared.clone(), process, deliver };
        Ok(OtlpSource { state: Arc::new(state) })
    }
}

impl NamedService for OtlpSource {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl Service<Request<Body>> for OtlpSource {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let mut count = Count { source: state.name.clone(), status: "cancelled" };
            let answer = state.export(request).await.err().unwrap_or(Answer::Ok);
            count.status = answer.label();
            Ok(answer.into_response())
        })
    }
}

/// The source under the service's name of a signal that is not matched: tonic's router goes by that name.
#[derive(Clone)]
struct Passing<const SIGNAL: u8>(OtlpSource);

const METRICS: u8 = 0;
const TRACES: u8 = 1;

impl NamedService for Passing<METRICS> {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl NamedService for Passing<TRACES> {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl<const SIGNAL: u8> Service<Request<Body>> for Passing<SIGNAL> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

impl State {
    /// Takes one request through, from its headers to the next hop's answer.
    async fn export(self: &Arc<Self>, request: Request<Body>) -> Result<(), Answer> {
        let (signal, encoding) = check_head(&request)?;
        if !self.deliver.takes(Format::Otlp, signal) {
            let signal = signal.as_str();
            let text = format!("no sink of this source takes {signal}: add one of type otlp, or do not send {signal}");
            return Err(Answer::Unimplemented(text));
        }
        let (head, body) = request.into_parts();
        let mut stages = Stages::start();
        let message = message::read(body, &self.limits, &self.shared.in_flight).await?;
        counter!(telemetry::SOURCE_RECEIVED_BYTES_TOTAL, "source" => self.name.to_string())
            .increment(message.bytes.len() as u64);
        if message.compressed && encoding == Encoding::Identity {
            let text = "the message is marked as compressed, but the request has no `grpc-encoding`";
            return Err(Refusal::InvalidArgument(text.to_owned()).into());
        }
        stages.end("receive");
        // A compressed message of any length may inflate to the limit, so its length says nothing about the work.
        let short = message.bytes.len() < self.limits.in_place_below || signal != Signal::Logs;
        let result = if !message.compressed && short {
            in_place(|| self.match_message(signal, message, encoding))
        } else {
            let state = Arc::clone(self);
            let work = move || state.match_message(signal, message, encoding);
            self.shared.workers.run(self.limits.admission_wait, work).await
        };
        // The room is held until the batch was delivered, also when nothing of the message is left in it.
        let (batch, _admission) = result.map_err(refuse_work)??;
        stages.end("work");
        let batch = Batch { signal, metadata: Metadata::new(head.headers), ..batch };
        self.deliver.deliver(Arc::new(batch)).await?;
        stages.end("deliver");
        counter!(telemetry::SOURCE_ACKNOWLEDGED_TOTAL, "source" => self.name.to_string(), "signal" => signal.as_str())
            .increment(1);
        Ok(())
    }

    /// Inflates, and matches and tags logs.
    fn match_message(
        &self,
        signal: Signal,
        message: Message,
        encoding: Encoding,
    ) -> Result<(Batch, Arc<Admission>), Refusal> {
        let Message { compressed, bytes, mut admission } = message;
        let bytes = if compressed { self.inflate(bytes, encoding, &mut admission)? } else { bytes };
        let admission = Arc::new(admission);
        let message = admission.attach(bytes);
        let batch = match signal {
            Signal::Logs => self.process.process(Format::Otlp, message)?,
            Signal::Metrics | Signal::Traces => Batch { message: Rope::from(message), ..Batch::default() },
        };
        Ok((batch, admission))
    }

    fn inflate(&self, bytes: Bytes, encoding: Encoding, admission: &mut Admission) -> Result<Bytes, Refusal> {
        let mut room = |more| admission.grow(more);
        encoding.inflate(&bytes, self.limits.max_request_bytes, &mut room).map_err(|error| match error {
            InflateError::NoRoom => Refusal::ResourceExhausted(error.to_string()),
            InflateError::TooLarge { .. } | InflateError::Corrupt { .. } => Refusal::InvalidArgument(error.to_string()),
        })
    }
}

/// Checks what can be checked before the body, and reads the signal and the encoding of the message.
fn check_head(request: &Request<Body>) -> Result<(Signal, Encoding), Answer> {
    if request.method() != Method::POST {
        return Err(Answer::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !grpc::is_grpc(request.headers()) {
        return Err(Answer::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let path = request.uri().path();
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.export_path() == path) else {
        let known = Signal::ALL.map(Signal::export_path).join(", ");
        return Err(Answer::Unimplemented(format!("there is no method {path}, only {known}")));
    };
    let Some(name) = request.headers().get(GRPC_ENCODING) else { return Ok((signal, Encoding::Identity)) };
    let encoding = Encoding::parse(name.as_bytes()).ok_or_else(|| {
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        Answer::Unimplemented(format!("encoding {name:?} is not known, use identity, gzip or zstd"))
    })?;
    Ok((signal, encoding))
}

fn refuse_work(error: WorkError) -> Refusal {
    match error {
        WorkError::Full => Refusal::ResourceExhausted(error.to_string()),
        WorkError::Panicked => Refusal::Unavailable(error.to_string()),
    }
}

/// What a client can be told.
enum Answer {
    Ok,
    Refused(Refusal),
    Unimplemented(String),
    /// Not gRPC at all, so the answer is not either.
    Http(StatusCode),
    /// The client is gone; this is written to nobody.
    Gone,
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        Answer::Refused(refusal)
    }
}

impl From<Unread> for Answer {
    fn from(unread: Unread) -> Answer {
        match unread {
            Unread::Refused(refusal) => Answer::Refused(refusal),
            Unread::Gone => Answer::Gone,
        }
    }
}

impl Answer {
    fn label(&self) -> &'static str {
        match self {
            Answer::Ok => "ok",
            Answer::Refused(refusal) => refusal.label(),
            Answer::Unimplemented(_) => "unimplemented",
            Answer::Http(_) => "not_grpc",
            Answer::Gone => "cancelled",
        }
    }

    fn into_response(self) -> Response<Body> {
        let status = match self {
            Answer::Ok => {
                let mut response = Response::new(Body::new(UnaryBody::Message));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
                return response;
            }
            Answer::Http(status) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                return response;
            }
            Answer::Refused(Refusal::InvalidArgument(message)) => Status::new(Code::InvalidArgument, message),
            Answer::Refused(Refusal::ResourceExhausted(message)) => Status::new(Code::ResourceExhausted, message),
            Answer::Refused(Refusal::Unavailable(message)) => Status::new(Code::Unavailable, message),
            Answer::Unimplemented(message) => Status::new(Code::Unimplemented, message),
            Answer::Gone => Status::new(Code::Unavailable, "the request was not received whole"),
        };
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
        if status.code == Code::Unimplemented {
            headers.insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
        }
        status.write(headers);
        response
    }
}

/// Measures one stage of a request after the other. A stage that does not come to its end is not measured.
struct Stages(Instant);

impl Stages {
    fn start() -> Stages {
        Stages(Instant::now())
    }

    fn end(&mut self, stage: &'static str) {
        let now = Instant::now();
        histogram!(telemetry::STAGE_SECONDS, "stage" => stage).record(now.duration_since(self.0).as_secs_f64());
        self.0 = now;
    }
}

/// Counts the request when it ends, also when its future is dropped because the client went away.
struct Count {
    source: Arc<str>,
    status: &'static str,
}

impl Drop for Count {
    fn drop(&mut self) {
        counter!(telemetry::SOURCE_REQUESTS_TOTAL, "source" => self.source.to_string(), "status" => self.status)
            .increment(1);
    }
}
