//! The generator's Filter streams: a few that stay open, each with several batches unanswered, whose answers are read
//! and checked.

use std::collections::VecDeque;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use hotlist::encoding::{Format, wire};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::grpc::{Data, framed};

const STREAM: &str = "/hotlist.filter.v1.Filter/Stream";
/// `id` and `events` of `FilterRequest` and of `FilterResponse` alike (`proto/hotlist/filter/v1/filter.proto`).
const ID: u32 = 1;
const EVENTS: u32 = 2;

type Body = StreamBody<UnboundedReceiverStream<Data>>;

/// A `FilterRequest` with the records of an OTLP request as JSON, which asks for all of them back.
pub fn request(batch: &Bytes) -> Result<Bytes> {
    let mut request = Vec::with_capacity(batch.len());
    wire::put_varint(&mut request, u64::from(ID) << 3);
    wire::put_varint(&mut request, 1);
    for record in Format::Otlp.records(batch)? {
        wire::put_bytes(&mut request, EVENTS, &Format::Otlp.render_record(&record));
    }
    Ok(request.into())
}

/// One stream, on a connection of its own.
pub struct Judged {
    requests: UnboundedSender<Data>,
    answers: Incoming,
    found: BytesMut,
    frame_bytes: usize,
}

impl Judged {
    pub async fn open(address: &str, frame_bytes: usize, streams: usize) -> Result<Vec<Judged>> {
        let mut open = Vec::new();
        for _ in 0..streams {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut send, connection) = Builder::new(TokioExecutor::new())
                .max_send_buf_size(1 << 20)
                .handshake::<_, Body>(TokioIo::new(stream))
                .await?;
            tokio::spawn(connection);
            let (requests, frames) = unbounded_channel();
            let request = Request::post(format!("http://{address}{STREAM}"))
                .header("te", "trailers")
                .header("content-type", "application/grpc")
                .body(StreamBody::new(UnboundedReceiverStream::new(frames)))?;
            let response = send.send_request(request).await?;
            ensure!(response.headers().get("grpc-status").is_none(), "refused: {:?}", response.headers());
            open.push(Judged { requests, answers: response.into_body(), found: BytesMut::new(), frame_bytes });
        }
        Ok(open)
    }

    /// Sends until there is nothing left, with so many unanswered at most; the bytes that it sent.
    pub async fn run(mut self, mut batches: impl Iterator<Item = Bytes>, window: usize) -> Result<u64> {
        let (mut bytes, mut unanswered) = (0, VecDeque::new());
        loop {
            while unanswered.len() < window
                && let Some(batch) = batches.next()
            {
                for frame in framed(&batch, self.frame_bytes)? {
                    self.requests.send(frame).ok().context("the stream is closed")?;
                }
                unanswered.push_back(batch);
            }
            let Some(batch) = unanswered.pop_front() else { return Ok(bytes) };
            // Nothing hits, so that every event comes back as it is; the version of the indicators follows.
            ensure!(self.answer().await?.starts_with(&batch), "the answer has not the events of its request");
            bytes += batch.len() as u64;
        }
    }

    async fn answer(&mut self) -> Result<Bytes> {
        loop {
            if let Some((head, _)) = self.found.split_first_chunk::<5>() {
                let [_, length @ ..] = *head;
                let length = u32::from_be_bytes(length) as usize;
                if self.found.len() >= 5 + length {
                    self.found.advance(5);
                    return Ok(self.found.split_to(length).freeze());
                }
            }
            let frame = self.answers.frame().await.context("the stream ended")??;
            let data = frame.into_data().ok().context("the stream ended with a status")?;
            self.found.extend_from_slice(&data);
        }
    }
}
