//! A simulated next hop: an HTTP/2 server at the other end of a pipe in memory, which changes its mind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use hotlist::encoding::otlp::request_of;
use hotlist::encoding::{Format, wire};
use hotlist::pipeline::BoxFuture;
use hotlist::sink::grpc::Dial;
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::json;
use tokio::io::DuplexStream;
use tokio::task::AbortHandle;

use crate::chance::Chance;

/// How often each record occurs.
pub type Counts = BTreeMap<String, usize>;

/// A record that no next hop refuses for its content.
pub const GOOD: &str = "good";

/// The answers of a next hop to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes what has none of its bad records, and refuses the rest for its content.
    Honest,
    /// Refuses everything for its content.
    RefusesAll,
    /// A gRPC status that is not the records' fault.
    Fails(u8),
    /// Refuses what is longer for its size; else it is honest.
    Takes(usize),
    /// Is honest, but rejects some of what it takes.
    Partial,
    /// Takes what it gets, and its answer is lost: the stream is reset.
    LosesAnswers,
    /// Takes what it gets, and never answers.
    Silent,
    /// Closes each connection when a request has arrived.
    Closes,
}

#[derive(Clone)]
pub struct NextHop(Arc<Mutex<State>>);

struct State {
    chance: Chance,
    mood: Mood,
    /// Its answers take up to so many milliseconds.
    delay: usize,
    bad: BTreeSet<String>,
    refuses_connections: bool,
    connections: Vec<AbortHandle>,
    taken: Counts,
    rejected: Counts,
    requests: usize,
}

/// A batch of these records.
pub fn batch(records: &[String]) -> Bytes {
    let documents: Vec<_> = records.iter().map(|record| json!({ "message": record })).collect();
    Bytes::from(request_of(documents.iter().map(|document| (1, document))))
}

/// The records of a batch.
pub fn records(message: &Bytes) -> Vec<String> {
    let record = |record: &Bytes| {
        let document: serde_json::Value = serde_json::from_slice(&Format::Otlp.render_record(record)).unwrap();
        document["message"].as_str().unwrap().to_owned()
    };
    Format::Otlp.records(message).unwrap().iter().map(record).collect()
}

pub fn count<'a>(counts: &mut Counts, records: impl IntoIterator<Item = &'a String>) {
    records.into_iter().for_each(|record| *counts.entry(record.clone()).or_default() += 1);
}

impl NextHop {
    pub fn new(chance: Chance) -> NextHop {
        NextHop(Arc::new(Mutex::new(State {
            chance,
            mood: Mood::Honest,
            delay: 1,
            bad: BTreeSet::new(),
            refuses_connections: false,
            connections: Vec::new(),
            taken: Counts::new(),
            rejected: Counts::new(),
            requests: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn set(&self, mood: Mood, delay: usize, refuses_connections: bool) {
        let mut state = self.state();
        (state.mood, state.delay, state.refuses_connections) = (mood, delay, refuses_connections);
    }

    /// From now on it refuses a record that it took, or the other way round.
    pub fn change_mind(&self, record: &str) {
        let mut state = self.state();
        if record != GOOD && !state.bad.remove(record) {
            state.bad.insert(record.to_owned());
        }
    }

    /// From now on no record is bad.
    pub fn forgive(&self) {
        self.state().bad.clear();
    }

    pub fn close_connections(&self) {
        self.state().connections.drain(..).for_each(|connection| connection.abort());
    }

    /// The records that it took and did not reject in a partial success.
    pub fn taken(&self) -> Counts {
        self.state().taken.clone()
    }

    /// The records that it rejected in partial successes.
    pub fn rejected(&self) -> Counts {
        self.state().rejected.clone()
    }

    pub fn requests(&self) -> usize {
        self.state().requests
    }

    async fn serve(self, stream: DuplexStream) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(self.clone().answer(request, respond));
        }
    }

    async fn answer(self, request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
        let (mut body, mut whole) = (request.into_body(), BytesMut::new());
        while let Some(data) = body.data().await {
            // A request that is taken back never arrives.
            let Ok(data) = data else { return };
            let _ = body.flow_control().release_capacity(data.len());
            whole.extend_from_slice(&data);
        }
        let delay = {
            let mut state = self.state();
            let delay = state.delay;
            state.chance.below(delay) as u64
        };
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let message = whole.freeze().slice(5..);
        if self.decide(&message, &mut respond) == Answer::Never {
            let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
        }
    }

    fn decide(&self, message: &Bytes, respond: &mut SendResponse<Bytes>) -> Answer {
        let records = records(message);
        let mut state = self.state();
        state.requests += 1;
        let is_bad = records.iter().any(|record| state.bad.contains(record));
        match state.mood {
            Mood::RefusesAll => refuse(respond, 3, "refused"),
            Mood::Fails(status) => refuse(respond, status, "not now"),
            Mood::Takes(most) if message.len() > most => refuse(respond, 11, "message length too large"),
            Mood::Closes => {
                state.connections.drain(..).for_each(|connection| connection.abort());
            }
            _ if is_bad => refuse(respond, 3, "malformed record"),
            Mood::Honest | Mood::Takes(_) => {
                count(&mut state.taken, &records);
                accept(respond, 0);
            }
            Mood::Partial => {
                let rejected = state.chance.below(records.len() + 1);
                let (out, kept) = records.split_at(rejected);
                count(&mut state.rejected, out);
                count(&mut state.taken, kept);
                accept(respond, rejected);
            }
            Mood::LosesAnswers => {
                count(&mut state.taken, &records);
                respond.send_reset(h2::Reason::INTERNAL_ERROR);
            }
            Mood::Silent => {
                count(&mut state.taken, &records);
                return Answer::Never;
            }
        }
        Answer::Given
    }
}

#[derive(PartialEq, Eq)]
enum Answer {
    Given,
    Never,
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn refuse(respond: &mut SendResponse<Bytes>, status: u8, message: &'static str) {
    let mut head = head();
    head.headers_mut().insert("grpc-status", HeaderValue::from(u16::from(status)));
    head.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
    let _ = respond.send_response(head, true);
}

/// OK, with a partial success when records are rejected.
fn accept(respond: &mut SendResponse<Bytes>, rejected: usize) {
    let Ok(mut stream) = respond.send_response(head(), false) else { return };
    let mut answer = Vec::new();
    if rejected > 0 {
        let mut partial = Vec::new();
        wire::put_varint(&mut partial, 1 << 3);
        wire::put_varint(&mut partial, rejected as u64);
        wire::put_bytes(&mut answer, 1, &partial);
    }
    let framed = [&[0][..], &(answer.len() as u32).to_be_bytes(), &answer].concat();
    let _ = stream.send_data(Bytes::from(framed), false);
    let _ = stream.send_trailers(HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]));
}

impl Dial for NextHop {
    fn dial(&self) -> BoxFuture<'_, io::Result<DuplexStream>> {
        Box::pin(async move {
            if self.state().refuses_connections {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let task = tokio::spawn(self.clone().serve(theirs));
            self.state().connections.push(task.abort_handle());
            Ok(ours)
        })
    }
}

impl fmt::Debug for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated next hop")
    }
}
