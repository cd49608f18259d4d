//! The generator's unary gRPC calls: OTLP/gRPC and Vector's protocol, which differ in their path alone.

use std::convert::Infallible;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// The method that takes logs of OTLP.
pub const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// The method that takes events of Vector.
pub const PUSH_EVENTS: &str = "/vector.Vector/PushEvents";
/// The connections that calls share.
const CONNECTIONS: usize = 2;

/// A part of a request's body.
pub type Data = Result<Frame<Bytes>, Infallible>;
type Body = StreamBody<stream::Iter<std::vec::IntoIter<Data>>>;

/// Makes one call after the other.
pub struct Caller {
    send: SendRequest<Body>,
    method: Uri,
    frame_bytes: usize,
}

impl Caller {
    /// So many callers on a few connections.
    pub async fn connect(address: &str, method: &str, frame_bytes: usize, callers: usize) -> Result<Vec<Caller>> {
        let method: Uri = format!("http://{address}{method}").parse()?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (send, connection) = Builder::new(TokioExecutor::new())
                .max_send_buf_size(1 << 20)
                .handshake::<_, Body>(TokioIo::new(stream))
                .await?;
            tokio::spawn(connection);
            connections.push(send);
        }
        let caller = |send: &SendRequest<Body>| Caller { send: send.clone(), method: method.clone(), frame_bytes };
        Ok(connections.iter().cycle().take(callers).map(caller).collect())
    }

    /// One call, until it is answered OK.
    pub async fn call(&mut self, message: &Bytes) -> Result<()> {
        let request = Request::post(self.method.clone())
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(StreamBody::new(stream::iter(framed(message, self.frame_bytes)?)))?;
        self.send.ready().await?;
        let response = self.send.send_request(request).await?;
        ensure!(response.headers().get("grpc-status").is_none(), "refused: {:?}", response.headers());
        let whole = response.into_body().collect().await?;
        let status = whole.trailers().and_then(|trailers| trailers.get("grpc-status"));
        ensure!(status.is_some_and(|status| status == "0"), "refused: {:?}", whole.trailers());
        Ok(())
    }
}

/// A message with the five bytes that gRPC puts before it, in frames of HTTP/2.
pub fn framed(message: &Bytes, frame_bytes: usize) -> Result<Vec<Data>> {
    let header = [&[0], u32::try_from(message.len())?.to_be_bytes().as_slice()].concat();
    let parts = message.chunks(frame_bytes).map(|part| message.slice_ref(part));
    Ok(std::iter::once(Bytes::from(header)).chain(parts).map(|part| Ok(Frame::data(part))).collect())
}
