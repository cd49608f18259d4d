//! The generator: sends requests that it encoded before, several at once, and says how long that took.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::ValueEnum;

use crate::child::send_line;
use crate::events::{BATCH, batches};
use crate::filter::Judged;
use crate::grpc::{Caller, EXPORT, PUSH_EVENTS};
use crate::http1::Poster;
use crate::source::Source;

/// Requests under way at once.
const IN_FLIGHT: usize = 8;
/// The Filter streams that share them.
const STREAMS: usize = 2;

/// Says the bytes that an event has in each of the sources, then for every line `SOURCE ADDRESS EVENTS` sends, and says
/// `BYTES SECONDS`.
pub fn run(sources: &[Source], distinct: usize, frame_bytes: usize) -> Result<()> {
    let batches = batches(distinct);
    let mut encoded = Vec::new();
    for source in sources {
        encoded.push((*source, Arc::new(source.encode(&batches)?)));
    }
    drop(batches);
    let bytes_per_event = |(_, batches): &(_, Arc<Vec<Bytes>>)| {
        let total: usize = batches.iter().map(Bytes::len).sum();
        (total as f64 / (batches.len() * BATCH) as f64).to_string()
    };
    send_line(encoded.iter().map(bytes_per_event).collect::<Vec<_>>().join(" "))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let mut word = || words.next().context("a line is SOURCE ADDRESS EVENTS");
        let source = Source::from_str(word()?, false).map_err(anyhow::Error::msg)?;
        let (address, events) = (word()?, word()?.parse::<u64>()?);
        let (_, batches) = encoded.iter().find(|(known, _)| *known == source).context("a source that is not sent")?;
        let turns =
            Turns { batches: Arc::clone(batches), requests: events.div_ceil(BATCH as u64), next: Arc::default() };
        let (bytes, seconds) = runtime.block_on(send_all(source, address, turns, frame_bytes))?;
        send_line(format!("{bytes} {seconds}"))?;
    }
    Ok(())
}

/// The requests that are still to be sent. Clones take from the same.
#[derive(Clone)]
struct Turns {
    batches: Arc<Vec<Bytes>>,
    requests: u64,
    next: Arc<AtomicU64>,
}

impl Iterator for Turns {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        (turn < self.requests).then(|| self.batches[turn as usize % self.batches.len()].clone())
    }
}

/// What has one request under way, or a stream several.
enum Sender {
    Grpc(Caller),
    Http1(Poster),
    Filter(Judged),
}

impl Sender {
    async fn connect(source: Source, address: &str, frame_bytes: usize) -> Result<Vec<Sender>> {
        let call = async |method| Caller::connect(address, method, frame_bytes, IN_FLIGHT).await;
        Ok(match source {
            Source::Otlp => call(EXPORT).await?.into_iter().map(Sender::Grpc).collect(),
            Source::Vector => call(PUSH_EVENTS).await?.into_iter().map(Sender::Grpc).collect(),
            Source::OtlpHttp => Poster::connect(address, IN_FLIGHT).await?.into_iter().map(Sender::Http1).collect(),
            Source::Filter => {
                Judged::open(address, frame_bytes, STREAMS).await?.into_iter().map(Sender::Filter).collect()
            }
        })
    }

    /// Sends until there is nothing left; the bytes that it sent.
    async fn run(self, turns: Turns) -> Result<u64> {
        let mut bytes = 0;
        match self {
            Sender::Grpc(mut caller) => {
                for batch in turns {
                    caller.call(&batch).await?;
                    bytes += batch.len() as u64;
                }
            }
            Sender::Http1(mut poster) => {
                for batch in turns {
                    poster.post(&batch).await?;
                    bytes += batch.len() as u64;
                }
            }
            Sender::Filter(stream) => bytes = stream.run(turns, IN_FLIGHT / STREAMS).await?,
        }
        Ok(bytes)
    }
}

async fn send_all(source: Source, address: &str, turns: Turns, frame_bytes: usize) -> Result<(u64, f64)> {
    let senders = Sender::connect(source, address, frame_bytes).await?;
    let started = Instant::now();
    let tasks: Vec<_> = senders.into_iter().map(|sender| tokio::spawn(sender.run(turns.clone()))).collect();
    let mut bytes = 0;
    for task in tasks {
        bytes += task.await??;
    }
    Ok((bytes, started.elapsed().as_secs_f64()))
}
