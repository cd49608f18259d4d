//! A collector, by hand: sends whatever bytes a test wants, and shows the answer as it is.

use std::convert::Infallible;

use bytes::Bytes;
use hotlist::config::Address;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

pub const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

pub type Body = BoxBody<Bytes, Infallible>;

/// One connection to the sidecar.
pub struct Client {
    send: SendRequest<Body>,
    connection: AbortHandle,
}

/// The answer.
#[derive(Debug)]
pub struct Answer {
    pub http: u16,
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The gRPC status, wherever it stands; -1 when there is none.
    pub fn status(&self) -> i32 {
        let value = self.headers.get("grpc-status").or(self.trailers.get("grpc-status"));
        value.map_or(-1, |value| value.to_str().unwrap().parse().unwrap())
    }

    pub fn message(&self) -> String {
        self.headers.get("grpc-message").map_or(String::new(), |value| value.to_str().unwrap().replace("%25", "%"))
    }
}

impl Client {
    pub async fn connect(address: &Address) -> Client {
        Client::connect_with(address, &mut Builder::new(TokioExecutor::new())).await
    }

    pub async fn connect_with(address: &Address, builder: &mut Builder<TokioExecutor>) -> Client {
        let client = match address {
            Address::Tcp(address) => Client::over(TcpStream::connect(address).await.unwrap(), builder).await,
            Address::Unix(path) => Client::over(UnixStream::connect(path).await.unwrap(), builder).await,
        };
        client.unwrap()
    }

    /// Over a connection that the test made; `None` when it does not come to HTTP/2.
    pub async fn over<S>(stream: S, builder: &mut Builder<TokioExecutor>) -> Option<Client>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = builder.handshake(TokioIo::new(stream)).await.ok()?;
        Some(Client { send, connection: tokio::spawn(connection).abort_handle() })
    }

    /// As [`Client::export`], or `None` when the connection is lost.
    pub async fn try_export(&self, wire: Bytes) -> Option<Answer> {
        self.try_send(request(&[]).body(full(wire)).unwrap()).await
    }

    /// Sends what a collector sends, with the wire bytes given.
    pub async fn export(&self, wire: Bytes) -> Answer {
        self.send(request(&[]).body(full(wire)).unwrap()).await
    }

    /// The same with a `grpc-encoding`.
    pub async fn export_encoded(&self, encoding: &str, wire: Bytes) -> Answer {
        self.send(request(&[("grpc-encoding", encoding)]).body(full(wire)).unwrap()).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    async fn try_send(&self, request: Request<Body>) -> Option<Answer> {
        let response = self.send.clone().send_request(request).await.ok()?;
        let (head, body) = response.into_parts();
        let whole = body.collect().await.ok()?;
        let trailers = whole.trailers().cloned().unwrap_or_default();
        Some(Answer { http: head.status.as_u16(), headers: head.headers, trailers, body: whole.to_bytes() })
    }

    /// Goes away without a word.
    pub fn vanish(self) {
        self.connection.abort();
    }
}

pub fn full(wire: Bytes) -> Body {
    Full::new(wire).boxed()
}

/// The request of Fluent Bit: no user agent, no time-out.
pub fn request(more: &[(&str, &str)]) -> http::request::Builder {
    let mut request = Request::post(format!("http://sidecar{EXPORT}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request
}
