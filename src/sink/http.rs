//! OTLP over HTTP: one POST per message, for receivers that support nothing else (OTLP specification, "OTLP/HTTP").
//!
//! Connections use HTTP/1.1 and are kept for a short time only, because they have no pings.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower::Service;

use super::answer::{Answer, ExchangeFailure, HttpAnswer, retry_after};
use crate::config::Endpoint;
use crate::encoding::wire::{Fields, Payload};
use crate::net::grpc::RopeBody;
use crate::net::{dial, tls};
use crate::pipeline::BoxFuture;

/// Timeout of each step of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(15);
/// Connections without a request that are kept.
const MAX_IDLE: usize = 32;
/// How many bytes of an answer are kept: a count and a sentence.
const MAX_ANSWER: usize = 64 << 10;
/// Longest text of an answer that is shown, in characters.
const MAX_TEXT: usize = 1000;

/// Sends requests to one receiver.
#[derive(Clone, Debug)]
pub(super) struct HttpClient(Client<Connect, RopeBody>);

/// Opens connections to the endpoint, whatever the address of a request is.
#[derive(Clone, Debug)]
struct Connect {
    endpoint: Endpoint,
    tls: Option<Arc<tls::Connector>>,
}

impl Connection for Box<dyn dial::Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Service<http::Uri> for Connect {
    type Response = TokioIo<Box<dyn dial::Stream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Connect { endpoint, tls } = self.clone();
        Box::pin(async move { Ok(TokioIo::new(dial::open(&endpoint, tls.as_deref(), CONNECT_TIMEOUT).await?)) })
    }
}

impl HttpClient {
    /// Creates a client. The first request opens a connection.
    pub(super) fn new(endpoint: Endpoint, tls: Option<tls::Connector>) -> HttpClient {
        let connect = Connect { endpoint, tls: tls.map(Arc::new) };
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(MAX_IDLE);
        HttpClient(builder.build(connect))
    }

    /// Sends a request once, and reads the answer.
    pub(super) async fn exchange(&self, request: Request<RopeBody>) -> Result<Answer, ExchangeFailure> {
        let response = self.0.request(request).await.map_err(|error| ExchangeFailure::connection(describe(&error)))?;
        read(response).await.map_err(ExchangeFailure::connection)
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let (head, mut body) = response.into_parts();
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the answer is incomplete: {error}"))?;
        if let Ok(data) = frame.into_data() {
            let room = MAX_ANSWER.saturating_sub(message.len());
            message.extend(data.iter().take(room));
        }
    }
    let message = message.freeze();
    let text = match head.status.is_success() {
        true => String::new(),
        false => text(head.status, &head.headers, &message),
    };
    Ok(Answer::Otlp(HttpAnswer { status: head.status, message, text, delay: retry_after(&head.headers) }))
}

/// The text of a refusal: the message of a `google.rpc.Status`, otherwise the body.
fn text(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> String {
    let is_protobuf = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().ends_with(b"protobuf"));
    let mut text = String::new();
    if is_protobuf {
        let mut fields = Fields::new(body);
        while let Ok(Some(field)) = fields.next_field() {
            if let (2, Payload::Bytes(message)) = (field.number, field.payload) {
                text = String::from_utf8_lossy(message).into_owned();
            }
        }
    } else {
        text = String::from_utf8_lossy(body).trim().to_owned();
    }
    match text.chars().take(MAX_TEXT).collect::<String>() {
        empty if empty.is_empty() => status.canonical_reason().unwrap_or_default().to_owned(),
        text => text,
    }
}

/// An error with its causes: the client's own text only states that something failed.
fn describe(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if error.is_connect() { "no connection" } else { "the request got no answer" };
    let hint = match cause.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse() => {
            "; check that it speaks HTTP/1.1 on this port, or remove `protocol` to use gRPC"
        }
        _ => "",
    };
    format!("{what}: {cause}{hint}")
}
