//! An agent that sends its events to the Filter stream to be matched: reads NDJSON from a file or standard input, and prints the
//! events, tagged where they hit, or only those that hit.
//!
//! `cargo run --example filter_client -- --address http://127.0.0.1:14319 --hits FILE`
//!
//! What a client has to do in addition to sending: read answers while it sends, know which batches are unanswered, send a refused
//! batch again when the refusal says so, and connect again when the stream ends with UNAVAILABLE, as it does when Hotlist
//! restarts.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use hotlist::proto::filter::v1::filter_client::FilterClient;
use hotlist::proto::filter::v1::{Answer, FilterRequest, FilterResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// Batches that are sent and unanswered, at most. More than the source's `window` only wait in sockets.
const UNANSWERED: usize = 16;
/// The pause before a refused batch is sent again, or a connection is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Connections that fail one after the other, before this gives up.
const ATTEMPTS: u32 = 20;

#[derive(Parser)]
struct Args {
    /// Where the source of type filter listens.
    #[arg(long, default_value = "http://127.0.0.1:14319")]
    address: String,
    /// Print only the events that hit.
    #[arg(long)]
    hits: bool,
    /// Events in a batch.
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// Events, one JSON object a line; standard input when absent.
    file: Option<PathBuf>,
}

/// Cuts lines into batches.
struct Batches {
    lines: Box<dyn BufRead>,
    size: usize,
    next_id: u64,
    answer: Answer,
}

impl Batches {
    fn next_batch(&mut self) -> io::Result<Option<FilterRequest>> {
        let mut events = Vec::new();
        while events.len() < self.size {
            let mut line = Vec::new();
            if self.lines.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let line = line.trim_ascii_end();
            if !line.is_empty() {
                events.push(Bytes::copy_from_slice(line));
            }
        }
        if events.is_empty() {
            return Ok(None);
        }
        self.next_id += 1;
        Ok(Some(FilterRequest { id: self.next_id, events, answer: self.answer.into() }))
    }
}

/// What is to be sent, and what was and has no answer.
struct Agent {
    batches: Batches,
    /// Refused, or lost with a connection: sent again before anything new.
    again: VecDeque<FilterRequest>,
    unanswered: VecDeque<FilterRequest>,
    at_end: bool,
    /// Batches that Hotlist will never take.
    failed: u64,
}

impl Agent {
    fn next_request(&mut self) -> io::Result<Option<FilterRequest>> {
        if let Some(request) = self.again.pop_front() {
            return Ok(Some(request));
        }
        let next = if self.at_end { None } else { self.batches.next_batch()? };
        self.at_end |= next.is_none();
        Ok(next)
    }

    fn is_done(&self) -> bool {
        self.at_end && self.again.is_empty() && self.unanswered.is_empty()
    }

    /// One connection, until everything is answered (`true`), or it is lost.
    async fn session(&mut self, address: &str, out: &mut impl Write) -> Result<bool> {
        let Ok(mut client) = FilterClient::connect(address.to_owned()).await else { return Ok(false) };
        client = client.max_decoding_message_size(usize::MAX);
        let (send, queue) = mpsc::channel(1);
        let mut answers = match client.stream(ReceiverStream::new(queue)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return lost(&status),
        };
        while !self.is_done() {
            if self.unanswered.len() < UNANSWERED
                && let Some(request) = self.next_request()?
            {
                // Known as unanswered before it is sent, so that it is not lost with the connection.
                self.unanswered.push_back(request.clone());
                tokio::select! {
                    _ = send.send(request) => {}
                    answer = answers.message() => {
                        // What was not sent is tried again.
                        self.again.extend(self.unanswered.pop_back());
                        match answer {
                            Ok(Some(answer)) => self.take(answer, out).await?,
                            Ok(None) => return Ok(false),
                            Err(status) => return lost(&status),
                        }
                    }
                }
                continue;
            }
            match answers.message().await {
                Ok(Some(answer)) => self.take(answer, out).await?,
                Ok(None) => return Ok(false),
                Err(status) => return lost(&status),
            }
        }
        Ok(true)
    }

    /// Answers come in the order of the requests.
    async fn take(&mut self, answer: FilterResponse, out: &mut impl Write) -> Result<()> {
        let request = self.unanswered.pop_front().context("an answer to nothing")?;
        if let Some(refusal) = answer.refusal {
            let code = Code::from_i32(refusal.code as i32);
            eprintln(&format!("batch {} was refused: {code:?}: {}", request.id, refusal.message));
            match code {
                Code::Unavailable | Code::ResourceExhausted => {
                    self.again.push_back(request);
                    tokio::time::sleep(PAUSE).await;
                }
                _ => self.failed += 1,
            }
            return Ok(());
        }
        for event in answer.events.iter().chain(answer.hits.iter().map(|hit| &hit.event)) {
            out.write_all(event)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Whether a stream that ended is worth another connection.
fn lost(status: &tonic::Status) -> Result<bool> {
    match status.code() {
        // Of a broken connection, tonic says what it makes of it.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal => {
            eprintln(&format!("the stream ended: {:?}: {}", status.code(), status.message()));
            Ok(false)
        }
        code => anyhow::bail!("the stream ended: {code:?}: {}", status.message()),
    }
}

fn eprintln(text: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let lines: Box<dyn BufRead> = match &args.file {
        Some(path) => Box::new(BufReader::new(File::open(path).with_context(|| path.display().to_string())?)),
        None => Box::new(io::stdin().lock()),
    };
    let answer = if args.hits { Answer::Hits } else { Answer::Events };
    let batches = Batches { lines, size: args.batch.max(1), next_id: 0, answer };
    let (again, unanswered) = (VecDeque::new(), VecDeque::new());
    let mut agent = Agent { batches, again, unanswered, at_end: false, failed: 0 };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut attempts = 0;
    while !agent.session(&args.address, &mut out).await? {
        // What has no answer was not taken, as far as anybody knows: it is sent again, in its order.
        agent.unanswered.append(&mut agent.again);
        std::mem::swap(&mut agent.again, &mut agent.unanswered);
        attempts += 1;
        anyhow::ensure!(attempts < ATTEMPTS, "{} cannot be reached: start Hotlist, or give --address", args.address);
        tokio::time::sleep(PAUSE).await;
    }
    out.flush()?;
    anyhow::ensure!(agent.failed == 0, "{} batches can never be taken", agent.failed);
    Ok(())
}
