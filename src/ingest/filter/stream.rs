//! One stream: requests are read one after the other, worked on side by side within the window, and answered in order.
//!
//! Reading stops while the window is full, and HTTP/2 flow control then holds the client back. A batch that is not
//! taken is answered with a refusal, and the stream goes on: its framing is sound. Only what breaks the framing, a
//! stall inside a message, a drain and a client that takes no answers end it.

use std::sync::Arc;
use std::time::Instant as Clock;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use metrics::{counter, gauge, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;

use super::outbox::{Outbox, OutboxBody};
use super::{State, needs_encoding, refuse_work, respond, status_of};
use crate::delivery::{Batch, Metadata, Refusal, Signal};
use crate::encoding::{Format, Rope, filter};
use crate::grpc::{Code, Encoding, FrameHeader, Status};
use crate::ingest::admission::Admission;
use crate::ingest::message::{self, Frames, Message, Unread};
use crate::ingest::workers::in_place;
use crate::socket::Connection;
use crate::telemetry;

/// How a stream came to its end.
#[derive(Debug)]
enum End {
    /// The client sent everything, and has every answer.
    Finished,
    /// The source drains.
    Drained,
    /// The requests can no longer be told apart, or one of them stalled.
    Broken(Refusal),
    /// The client is gone.
    Gone,
}

/// What an answer holds until it is written: the place in the window, and the room of the batch.
#[derive(Clone)]
struct Held {
    _place: Arc<OwnedSemaphorePermit>,
    _room: Vec<Arc<Admission>>,
}

/// The answer to one batch.
struct Answer {
    message: Rope,
    held: Held,
}

/// What every batch of a stream has in common.
struct Stream {
    state: Arc<State>,
    encoding: Encoding,
    headers: HeaderMap,
    outbox: Arc<Outbox>,
    connection: Option<Connection>,
}

type Pending = AbortOnDropHandle<Answer>;

/// Opens a stream: the response begins at once, its body comes as requests are answered.
pub(super) fn open(state: &Arc<State>, request: Request<Body>, encoding: Encoding) -> Response<Body> {
    let (head, body) = request.into_parts();
    let outbox = Outbox::new();
    let stream = Arc::new(Stream {
        state: Arc::clone(state),
        encoding,
        connection: head.extensions.get::<Connection>().cloned(),
        headers: head.headers,
        outbox: Arc::clone(&outbox),
    });
    let count = Count::new(state);
    let work = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&stream).run(body, count)));
    tokio::spawn(stream.watch());
    respond(Body::new(OutboxBody { outbox, _work: work }))
}

impl Stream {
    async fn run(self: Arc<Self>, body: Body, mut count: Count) {
        let (pending, answers) = mpsc::unbounded_channel();
        let (end, ()) = tokio::join!(self.take(Frames::new(body), pending), self.answer(answers));
        count.end = match &end {
            End::Finished => "finished",
            End::Drained => "drained",
            End::Broken(_) => "broken",
            End::Gone => "cancelled",
        };
        let status = match end {
            End::Finished => Status::new(Code::Ok, ""),
            End::Drained => Status::new(
                Code::Unavailable,
                "Hotlist shuts down: connect again, and send again what has no answer",
            ),
            End::Broken(refusal) => status_of(refusal),
            End::Gone => Status::new(Code::Unavailable, "the stream was not received whole"),
        };
        self.outbox.finish(&status);
    }

    /// Ends a stream whose client does not take its answers; when it does not take the end either, its connection.
    async fn watch(self: Arc<Self>) {
        let limits = &self.state.limits;
        if !self.outbox.is_left_lying(limits.receive_timeout).await {
            return;
        }
        let limit = limits.receive_timeout.as_millis();
        let text = format!("no answer was taken for {limit} ms: read answers while sending, then connect again");
        self.outbox.cut(&Status::new(Code::Unavailable, text));
        counter!(telemetry::FILTER_STREAMS_CUT_TOTAL, "source" => self.state.name.to_string()).increment(1);
        if self.outbox.is_left_lying(limits.stall_timeout).await
            && let Some(connection) = &self.connection
        {
            connection.hang_up();
        }
    }

    /// Reads requests until there are no more, and hands over the answer to each, in order.
    async fn take(self: &Arc<Self>, mut frames: Frames<Body>, pending: mpsc::UnboundedSender<Pending>) -> End {
        let window = Arc::new(Semaphore::new(self.state.window));
        let draining = async {
            match &self.connection {
                Some(connection) => connection.draining().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(draining);
        loop {
            let next = async {
                // The semaphore is never closed.
                let place = Arc::clone(&window).acquire_owned().await.map_err(|_| Unread::Gone)?;
                self.next(&mut frames, Arc::new(place)).await
            };
            let next = tokio::select! {
                biased;
                () = &mut draining => return End::Drained,
                next = next => next,
            };
            let answer = match next {
                Ok(Some(answer)) => answer,
                Ok(None) => return End::Finished,
                Err(Unread::Gone) => return End::Gone,
                Err(Unread::Refused(refusal)) => return End::Broken(refusal),
            };
            if pending.send(answer).is_err() {
                return End::Gone;
            }
        }
    }

    /// Sends the answers in the order of the requests.
    async fn answer(&self, mut answers: mpsc::UnboundedReceiver<Pending>) {
        while let Some(pending) = answers.recv().await {
            // A task that panicked took its batch's place and room with it; the order of the answers is lost.
            let Ok(Answer { message, held }) = pending.await else {
                let text = "a batch failed on a fault of Hotlist's own: see the panic message in the log, and report it";
                return self.outbox.cut(&Status::new(Code::Unavailable, text));
            };
            if let Err(text) = self.outbox.send(&message, &held) {
                return self.outbox.cut(&Status::new(Code::ResourceExhausted, text));
            }
        }
    }

    /// Reads the next request and sets work on it going. `None`: there are no more.
    async fn next(
        self: &Arc<Self>,
        frames: &mut Frames<Body>,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<Option<Pending>, Unread> {
        let limits = &self.state.limits;
        // Between requests a stream may idle for as long as it likes: pings of HTTP/2 watch the connection.
        let Some(FrameHeader { compressed, len }) = frames.header(limits, None).await? else { return Ok(None) };
        let start = Clock::now();
        let (len, deadline) = (len as usize, Instant::now() + limits.receive_timeout);
        let admitted = if len > limits.max_request_bytes {
            Err(message::too_large(len, limits))
        } else {
            let admission = self.state.shared.in_flight.admit(len, limits.admission_wait).await;
            admission.ok_or_else(|| message::no_room(limits))
        };
        let held = Held { _place: place, _room: Vec::new() };
        let stream = Arc::clone(self);
        let work = match admitted {
            Ok(admission) => {
                let bytes = frames.bytes(len, limits, deadline).await?;
                measure("receive", start);
                self.state.count_received(len);
                let message = Message { compressed, bytes, admission };
                tokio::spawn(async move { stream.work(message, held).await })
            }
            Err(refusal) => {
                let start = frames.skip(len, filter::LEADING_ID_LEN, limits, deadline).await?;
                let id = if compressed { None } else { filter::leading_id(&start) };
                tokio::spawn(async move { stream.refuse(id.unwrap_or(0), refusal, held) })
            }
        };
        Ok(Some(AbortOnDropHandle::new(work)))
    }

    /// Takes one batch through: matches, delivers, and makes its answer.
    async fn work(self: Arc<Self>, message: Message, held: Held) -> Answer {
        let mut id = 0;
        match self.judge(message, &mut id).await {
            Ok((message, room)) => {
                self.state.count_answer("ok");
                counter!(
                    telemetry::SOURCE_ACKNOWLEDGED_TOTAL,
                    "source" => self.state.name.to_string(), "signal" => Signal::Logs.as_str()
                )
                .increment(1);
                Answer { message, held: Held { _room: room, ..held } }
            }
            Err(refusal) => self.refuse(id, refusal, held),
        }
    }

    fn refuse(&self, id: u64, refusal: Refusal, held: Held) -> Answer {
        self.state.count_answer(refusal.label());
        let status = status_of(refusal);
        Answer { message: Rope::from(filter::refusal(id, status.code.number(), &status.message)), held }
    }

    async fn judge(self: &Arc<Self>, message: Message, id: &mut u64) -> Result<(Rope, Vec<Arc<Admission>>), Refusal> {
        needs_encoding(message.compressed, self.encoding)?;
        let start = Clock::now();
        let limits = &self.state.limits;
        if !message.compressed {
            *id = filter::leading_id(&message.bytes).unwrap_or(0);
        }
        let result = if !message.compressed && message.bytes.len() < limits.in_place_below {
            in_place(|| self.match_message(message))
        } else {
            let stream = Arc::clone(self);
            self.state.shared.workers.run(limits.admission_wait, move || stream.match_message(message)).await
        };
        let Judged { id: found, batch, answer, admission, more } = result.map_err(refuse_work)??;
        *id = found;
        let mut room = vec![admission];
        if more > 0 {
            // What the tags add to the answer is memory, too, and may lie here until the client takes it.
            let admitted = self.state.shared.in_flight.admit(more, limits.admission_wait).await;
            room.push(Arc::new(admitted.ok_or_else(|| message::no_room(limits))?));
        }
        measure("work", start);
        let start = Clock::now();
        let batch = Batch { metadata: Metadata::new(self.headers.clone()), ..batch };
        self.state.deliver.deliver(Arc::new(batch)).await?;
        measure("deliver", start);
        Ok((answer, room))
    }

    /// Inflates, matches and tags, and writes the answer. Runs where it may take its time.
    fn match_message(&self, mut message: Message) -> Result<Judged, Refusal> {
        self.state.inflate(&mut message, self.encoding)?;
        let admission = Arc::new(message.admission);
        let request: Bytes = admission.attach(message.bytes);
        let batch = self.state.process.process(Format::Filter, request.clone())?;
        let tagged = batch.hits.iter().map(|hit| (hit.place, &hit.record));
        let verdict = filter::Verdict { snapshot: batch.snapshot, odd: &batch.odd };
        let (id, answer) = filter::answer(&request, tagged, &verdict)
            .map_err(|error| Refusal::InvalidArgument(error.to_string()))?;
        let more = batch.hits.iter().map(|hit| hit.record.len()).sum();
        Ok(Judged { id, batch, answer, admission, more })
    }
}

/// A batch that was matched.
struct Judged {
    id: u64,
    batch: Batch,
    answer: Rope,
    admission: Arc<Admission>,
    /// Bytes of tagged events.
    more: usize,
}

fn measure(stage: &'static str, start: Clock) {
    histogram!(telemetry::STAGE_SECONDS, "stage" => stage).record(start.elapsed().as_secs_f64());
}

/// Counts a stream while it is open, and how it ended, also when its task is dropped because the client went away.
struct Count {
    source: Arc<str>,
    end: &'static str,
}

impl Count {
    fn new(state: &State) -> Count {
        gauge!(telemetry::FILTER_STREAMS, "source" => state.name.to_string()).increment(1.0);
        Count { source: Arc::clone(&state.name), end: "cancelled" }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        gauge!(telemetry::FILTER_STREAMS, "source" => self.source.to_string()).decrement(1.0);
        let labels = [("source", self.source.to_string()), ("end", self.end.to_owned())];
        counter!(telemetry::FILTER_STREAMS_ENDED_TOTAL, &labels).increment(1);
    }
}
