//! The generator: sends requests that it encoded before, several at once, and says how long that took.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::child::tell;
use crate::events::{BATCH, batches};

const PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Requests under way at once, and the connections they share.
const IN_FLIGHT: usize = 8;
const CONNECTIONS: usize = 2;

type Body =
    StreamBody<futures_util::stream::Iter<std::collections::vec_deque::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// Says the bytes an event has, then for every line `ADDRESS EVENTS` sends, and says `BYTES SECONDS`.
pub fn run(distinct: usize, frame_bytes: usize) -> Result<()> {
    let batches = Arc::new(batches(distinct));
    let total: usize = batches.iter().map(Bytes::len).sum();
    tell(total as f64 / (batches.len() * BATCH) as f64)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (address, events) = line.split_once(' ').context("a line is ADDRESS EVENTS")?;
        let requests = events.parse::<u64>()?.div_ceil(BATCH as u64);
        let (bytes, seconds) =
            runtime.block_on(send_all(address.to_owned(), requests, Arc::clone(&batches), frame_bytes))?;
        tell(format!("{bytes} {seconds}"))?;
    }
    Ok(())
}

async fn send_all(address: String, requests: u64, batches: Arc<Vec<Bytes>>, frame_bytes: usize) -> Result<(u64, f64)> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = Builder::new(TokioExecutor::new())
            .max_send_buf_size(1 << 20)
            .handshake::<_, Body>(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        connections.push(send);
    }
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let senders = (0..IN_FLIGHT).map(|number| {
        let send = connections[number % CONNECTIONS].clone();
        let (next, batches, address) = (Arc::clone(&next), Arc::clone(&batches), address.clone());
        tokio::spawn(async move {
            let mut bytes = 0;
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= requests {
                    return anyhow::Ok(bytes);
                }
                let batch = &batches[turn as usize % batches.len()];
                export(send.clone(), &address, batch, frame_bytes).await?;
                bytes += batch.len() as u64;
            }
        })
    });
    let mut bytes = 0;
    for sender in senders.collect::<Vec<_>>() {
        bytes += sender.await??;
    }
    Ok((bytes, started.elapsed().as_secs_f64()))
}

async fn export(mut send: SendRequest<Body>, address: &str, message: &Bytes, frame_bytes: usize) -> Result<()> {
    let mut frames = VecDeque::new();
    let header = [&[0], u32::try_from(message.len())?.to_be_bytes().as_slice()].concat();
    frames.push_back(Ok(Frame::data(Bytes::from(header))));
    frames.extend(message.chunks(frame_bytes).map(|part| Ok(Frame::data(message.slice_ref(part)))));
    let request = Request::post(format!("http://{address}{PATH}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(StreamBody::new(futures_util::stream::iter(frames)))?;
    send.ready().await?;
    let response = send.send_request(request).await?;
    ensure!(response.headers().get("grpc-status").is_none(), "refused: {:?}", response.headers());
    let whole = response.into_body().collect().await?;
    let status = whole.trailers().and_then(|trailers| trailers.get("grpc-status"));
    ensure!(status.is_some_and(|status| status == "0"), "refused: {:?}", whole.trailers());
    Ok(())
}
