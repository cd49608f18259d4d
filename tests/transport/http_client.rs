//! A collector that speaks OTLP/HTTP: over HTTP/1.1 with a client, or byte by byte.

use std::time::Duration;

use bytes::Bytes;
use hotlist::config::Address;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Answer, Body, full};
use crate::metrics::PATIENCE;

pub const LOGS: &str = "/v1/logs";
pub const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// One HTTP/1.1 connection.
pub struct HttpClient(SendRequest<Body>);

impl HttpClient {
    pub async fn connect(address: &Address) -> HttpClient {
        HttpClient::over(dial(address).await).await
    }

    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> HttpClient {
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        HttpClient(send)
    }

    /// Logs as protobuf.
    pub async fn export(&mut self, body: &[u8]) -> Answer {
        self.post(LOGS, &[PROTOBUF], body).await
    }

    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(request("POST", path, headers, full(Bytes::copy_from_slice(body)))).await
    }

    pub async fn send(&mut self, request: Request<Body>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// The same; an error when the connection is closed instead of an answer.
    pub async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Answer> {
        timeout(PATIENCE, self.0.ready()).await.unwrap()?;
        let response = timeout(PATIENCE, self.0.send_request(request)).await.unwrap()?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { http: head.status.as_u16(), headers: head.headers, trailers: http::HeaderMap::new(), body })
    }
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "sidecar");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// A body of unknown length in parts of so many bytes.
pub fn chunked(bytes: &[u8], part: usize) -> Body {
    let parts: Vec<_> = bytes.chunks(part).map(|part| Ok(Frame::data(Bytes::copy_from_slice(part)))).collect();
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(parts)))
}

pub async fn dial(address: &Address) -> TcpStream {
    let Address::Tcp(address) = address else { panic!("{address}") };
    TcpStream::connect(address).await.unwrap()
}

/// A connection byte by byte.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(address: &Address) -> Raw {
        Raw(dial(address).await)
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Reads until this text has come.
    pub async fn until(&mut self, text: &str) -> String {
        let mut found = String::new();
        while !found.contains(text) {
            let mut buffer = [0; 1024];
            let read = timeout(PATIENCE, self.0.read(&mut buffer)).await.unwrap().unwrap();
            assert!(read > 0, "closed after {found:?}");
            found.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        found
    }

    /// Everything until the other side closes, and how long that took.
    pub async fn until_closed(mut self) -> (String, Duration) {
        let (begun, mut bytes) = (std::time::Instant::now(), Vec::new());
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.expect("the connection stays open");
        (String::from_utf8(bytes).unwrap(), begun.elapsed())
    }
}

/// The head of an export of this many bytes, or of chunks.
pub fn head(length: Option<usize>, more: &str) -> Vec<u8> {
    let length = length.map_or("transfer-encoding: chunked".to_owned(), |length| format!("content-length: {length}"));
    format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n{length}\r\n{more}\r\n")
        .into()
}
