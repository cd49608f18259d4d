//! A collector by hand: one connection an export, whatever headers and bytes a test wants, and errors as values, because
//! here the other side is killed.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

pub const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// The answer: a gRPC status and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    pub message: String,
}

/// One export of a plain message, as most collectors send it.
pub async fn export(address: &str, message: &[u8]) -> Result<Answer, String> {
    send(address, EXPORT, &[("te", "trailers"), ("content-type", "application/grpc")], frame(0, message)).await
}

/// The same with a compressed message.
pub async fn export_encoded(address: &str, encoding: &str, message: &[u8]) -> Result<Answer, String> {
    let headers = [("te", "trailers"), ("content-type", "application/grpc"), ("grpc-encoding", encoding)];
    send(address, EXPORT, &headers, frame(1, message)).await
}

/// One request over a connection of its own. An error is one of the connection: there was no answer.
pub async fn send(address: &str, path: &str, headers: &[(&str, &str)], wire: Bytes) -> Result<Answer, String> {
    Connection::open(address).await?.send(path, headers, wire).await
}

/// A connection that takes one request after another. Closed when dropped.
pub struct Connection {
    send: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Connection {
    pub async fn open(address: &str) -> Result<Connection, String> {
        let text = |error: std::io::Error| error.to_string();
        match address.strip_prefix("unix:") {
            Some(path) => Connection::over(UnixStream::connect(path).await.map_err(text)?).await,
            None => {
                let stream = TcpStream::connect(address).await.map_err(text)?;
                // Else each request after the first waits for the delayed acknowledgement of the previous request.
                stream.set_nodelay(true).map_err(text)?;
                Connection::over(stream).await
            }
        }
    }

    async fn over<S>(stream: S) -> Result<Connection, String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (send, connection) = handshake.map_err(|error| error.to_string())?;
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { send, task })
    }

    pub async fn send(&mut self, path: &str, headers: &[(&str, &str)], wire: Bytes) -> Result<Answer, String> {
        let mut request = Request::post(format!("http://sidecar{path}")).body(Full::new(wire)).unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let text = |error: hyper::Error| error.to_string();
        let response = self.send.send_request(request).await.map_err(text)?;
        let (head, body) = response.into_parts();
        assert_eq!(head.status, 200);
        let whole = body.collect().await.map_err(text)?;
        let trailers = whole.trailers().cloned().unwrap_or_default();
        answer(&head.headers).or(answer(&trailers)).ok_or("no grpc-status".to_owned())
    }

    /// One export of a plain message.
    pub async fn export(&mut self, message: &[u8]) -> Result<Answer, String> {
        self.send(EXPORT, &[("te", "trailers"), ("content-type", "application/grpc")], frame(0, message)).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(headers: &HeaderMap) -> Option<Answer> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
    let status = text("grpc-status")?.parse().unwrap();
    Some(Answer { status, message: text("grpc-message").unwrap_or_default() })
}

/// Frames a message as gRPC does.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Bytes::from([&[flag], length.as_slice(), message].concat())
}
