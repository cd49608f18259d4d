//! The generator's OTLP/HTTP: HTTP/1.1 connections that stay open, each with one request at a time.

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One connection.
pub struct Poster {
    send: SendRequest<Full<Bytes>>,
    address: String,
}

impl Poster {
    pub async fn connect(address: &str, connections: usize) -> Result<Vec<Poster>> {
        let mut posters = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (send, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            posters.push(Poster { send, address: address.to_owned() });
        }
        Ok(posters)
    }

    /// One request, until it is answered OK. Its length is known, so it is sent without chunks.
    pub async fn post(&mut self, message: &Bytes) -> Result<()> {
        let request = Request::post("/v1/logs")
            .header("host", &self.address)
            .header("content-type", "application/x-protobuf")
            .body(Full::new(message.clone()))?;
        self.send.ready().await?;
        let response = self.send.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        ensure!(status == 200 && answer.is_empty(), "refused: {status} {answer:?}");
        Ok(())
    }
}
