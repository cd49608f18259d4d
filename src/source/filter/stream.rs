//! One stream: requests are read one after the other, processed concurrently within the window, and answered in order.
//!
//! Reading stops while the window is full, and HTTP/2 flow control then holds the client back. A batch that is not
//! accepted is answered with a refusal, and the stream continues because its framing is intact. The stream ends only on
//! broken framing, a stall inside a message, a drain, or a client that does not read its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body as HttpBody;
use metrics::{counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;

use super::State;
use super::outbox::{Outbox, OutboxBody};
use crate::encoding::{Format, Rope, filter};
use crate::net::grpc::{Code, Encoding, RopeBody, Status};
use crate::net::socket::Connection;
use crate::pipeline::{BatchRefusal, MatchedMessage, Signal, Work};
use crate::source::admission::MessagePermit;
use crate::source::body::{self, Message, Syntax};
use crate::source::frames::Frames;
use crate::source::intake::{Intake, RequestContent, StageTimer};
use crate::source::outcome::RequestFailure;
use crate::source::unary::{grpc_response, status_of};
use crate::telemetry;

/// Bytes of memory per tagged event of an answer, in addition to the event: headers, slices, and the pieces that are
/// written.
const ANSWER_OVERHEAD: usize = 512;
/// Bytes of memory per malformed event that an answer lists.
const MALFORMED_OVERHEAD: usize = 16;

/// The content of the batches of a stream.
const CONTENT: RequestContent = RequestContent { format: Format::Filter, signal: Signal::Logs };

#[derive(Debug)]
enum StreamEnd {
    /// The client sent everything, and has every answer.
    Finished,
    /// The source drains.
    Drained,
    /// The boundaries of the requests are lost, a request stalled, or the client disconnected.
    Broken(RequestFailure),
}

/// The resources of an answer until it is written: the window slot and the memory of the batch.
#[derive(Clone)]
struct AnswerHold {
    _place: Arc<OwnedSemaphorePermit>,
    _room: Option<Arc<MessagePermit>>,
}

struct BatchAnswer {
    message: Rope,
    held: AnswerHold,
}

/// The state that all batches of a stream share.
struct Stream {
    intake: Arc<Intake>,
    window: usize,
    encoding: Encoding,
    headers: HeaderMap,
    outbox: Arc<Outbox>,
    connection: Option<Connection>,
}

type Pending = AbortOnDropHandle<BatchAnswer>;

/// Opens a stream: the response begins at once, and its body grows as requests are answered.
pub(super) fn open<B>(state: Arc<State>, request: Request<B>, encoding: Encoding) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
{
    let (head, body) = request.into_parts();
    let outbox = Outbox::new();
    let stream = Arc::new(Stream {
        intake: Arc::clone(&state.intake),
        window: state.window,
        encoding,
        connection: head.extensions.get::<Connection>().cloned(),
        headers: head.headers,
        outbox: Arc::clone(&outbox),
    });
    let count = StreamCounter::new(state.intake.name());
    let work = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&stream).run(body, count)));
    tokio::spawn(stream.watch());
    grpc_response(Body::new(OutboxBody { outbox, _work: work }))
}

impl Stream {
    async fn run<B>(self: Arc<Self>, body: B, mut count: StreamCounter)
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        // Each answer in this queue has a window slot, so that sending never waits unless work panicked.
        let (pending, answers) = mpsc::channel(self.window.max(1));
        let frames = Frames::new(body, self.encoding, self.intake.limits());
        let (end, ()) = tokio::join!(self.take(frames, pending), self.answer(answers));
        let status = match end {
            StreamEnd::Finished => {
                count.end = "finished";
                Status::new(Code::Ok, "")
            }
            StreamEnd::Drained => {
                count.end = "drained";
                let text = "Hotlist is shutting down: reconnect, and resend the batches that have no answer";
                Status::new(Code::Unavailable, text)
            }
            StreamEnd::Broken(not_taken) => {
                count.end = not_taken.label();
                status_of(not_taken)
            }
        };
        self.outbox.finish(&status);
    }

    /// Ends a stream whose client does not read its answers; if the client does not read that end either, closes its
    /// connection.
    async fn watch(self: Arc<Self>) {
        let limits = self.intake.limits();
        if !self.outbox.is_unread_for(limits.receive_timeout).await {
            return;
        }
        let limit = limits.receive_timeout.as_millis();
        let text = format!("the client read no answer for {limit} ms: read answers while sending, then reconnect");
        self.outbox.cut(&Status::new(Code::Unavailable, text));
        counter!(telemetry::FILTER_STREAMS_CUT_TOTAL, "source" => self.intake.name().to_string()).increment(1);
        if self.outbox.is_unread_for(limits.stall_timeout).await
            && let Some(connection) = &self.connection
        {
            connection.hang_up();
        }
    }

    /// Reads requests until there are no more, and hands over the answer to each, in order.
    async fn take<B>(self: &Arc<Self>, mut frames: Frames<'_, B>, pending: mpsc::Sender<Pending>) -> StreamEnd
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let window = Arc::new(Semaphore::new(self.window));
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
                let place = Arc::clone(&window).acquire_owned().await.map_err(|_| RequestFailure::Gone)?;
                self.next(&mut frames, Arc::new(place)).await
            };
            let next = tokio::select! {
                biased;
                () = &mut draining => return StreamEnd::Drained,
                next = next => next,
            };
            let answer = match next {
                Ok(Some(answer)) => answer,
                Ok(None) => return StreamEnd::Finished,
                Err(not_taken) => return StreamEnd::Broken(not_taken),
            };
            // An error means that answering ended, and the stream with it.
            if pending.send(answer).await.is_err() {
                return StreamEnd::Finished;
            }
        }
    }

    /// Sends the answers in the order of the requests.
    async fn answer(&self, mut answers: mpsc::Receiver<Pending>) {
        while let Some(pending) = answers.recv().await {
            // A task that panicked took the slot and the memory of its batch with it; the order of the answers is lost.
            let Ok(BatchAnswer { message, held }) = pending.await else {
                let text = "a batch panicked, which is a bug in Hotlist: report it with the panic message in the log";
                return self.outbox.cut(&Status::new(Code::Unavailable, text));
            };
            if let Err(text) = self.outbox.send(&message, &held) {
                return self.outbox.cut(&Status::new(Code::ResourceExhausted, text));
            }
        }
    }

    /// Reads the next request and starts work on it. Returns `None` if there are no more.
    async fn next<B>(
        self: &Arc<Self>,
        frames: &mut Frames<'_, B>,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<Option<Pending>, RequestFailure>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        // Between requests a stream may idle indefinitely: HTTP/2 pings check the connection.
        if !frames.begins().await? {
            return Ok(None);
        }
        let mut stages = StageTimer::start();
        let header = frames.header().await?;
        let len = header.len as usize;
        let admitted = match frames.encoding(header) {
            Ok(encoding) => {
                let admission = body::admit(len, self.intake.limits(), self.intake.in_flight()).await;
                admission.map(|admission| (encoding, admission))
            }
            Err(not_taken) => Err(not_taken),
        };
        let (stream, count) = (Arc::clone(self), self.intake.count());
        let held = AnswerHold { _place: place, _room: None };
        let work = match admitted {
            Ok((encoding, admission)) => {
                let bytes = frames.message(len).await?;
                stages.end("receive");
                self.intake.count_received(len);
                let admission = Arc::new(admission);
                let message = Message { syntax: Syntax::Binary, encoding, bytes, admission };
                tokio::spawn(async move {
                    let (answer, status) = stream.work(message, held, stages).await;
                    count.end(status);
                    answer
                })
            }
            Err(not_taken) => {
                let start = frames.skip(len, filter::LEADING_ID_LEN).await?;
                let id = if header.compressed { None } else { filter::leading_id(&start) };
                count.end(not_taken.label());
                let answer = refuse(id.unwrap_or(0), not_taken, held);
                tokio::spawn(std::future::ready(answer))
            }
        };
        Ok(Some(AbortOnDropHandle::new(work)))
    }

    /// Processes one batch: matches it, delivers it, and returns its answer with the status label of metrics.
    async fn work(
        self: Arc<Self>,
        message: Message,
        held: AnswerHold,
        stages: StageTimer,
    ) -> (BatchAnswer, &'static str) {
        let id = match message.encoding {
            Encoding::Identity => filter::leading_id(&message.bytes).unwrap_or(0),
            Encoding::Gzip | Encoding::Zstd => 0,
        };
        // A compressed message is inflated first.
        let id = Arc::new(AtomicU64::new(id));
        match self.pass(message, &id, stages).await {
            Ok((message, room)) => (BatchAnswer { message, held: AnswerHold { _room: Some(room), ..held } }, "ok"),
            Err(not_taken) => {
                let status = not_taken.label();
                (refuse(id.load(Ordering::Relaxed), not_taken, held), status)
            }
        }
    }

    /// Takes a batch through matching and delivery, and returns its answer with the memory that it holds. `id` becomes the
    /// id of the batch as soon as that can be read.
    async fn pass(
        &self,
        message: Message,
        id: &Arc<AtomicU64>,
        stages: StageTimer,
    ) -> Result<(Rope, Arc<MessagePermit>), RequestFailure> {
        self.intake.check_hops(&self.headers)?;
        let (length, room, id) = (message.bytes.len(), message.admission.clone(), Arc::clone(id));
        let work = move |intake: &Intake, message: Message, work: &Work| {
            let (batch_id, events, answer) = match_message(intake, message, work)?;
            id.store(batch_id, Ordering::Relaxed);
            Ok((events, answer))
        };
        let (_, answer) = self.intake.pass(CONTENT, self.headers.clone(), message, length, stages, work).await?;
        Ok((answer, room))
    }
}

/// Inflates, matches and tags a batch, and writes the answer. Runs where it may block.
fn match_message(
    intake: &Intake,
    message: Message,
    work: &Work,
) -> Result<(u64, MatchedMessage, Rope), RequestFailure> {
    let Message { encoding, bytes, admission, .. } = message;
    let bytes = intake.inflate(bytes, encoding, work)?;
    let request = admission.attach(bytes);
    let events = intake.process().process(Format::Filter, request.clone(), work)?;
    // The bytes around the events of the answer, and the pieces in which it is written.
    let around =
        (events.hits.len() + events.marked.len()) * ANSWER_OVERHEAD + events.malformed.len() * MALFORMED_OVERHEAD;
    work.take(around).map_err(BatchRefusal::from)?;
    let tagged = events.hits.iter().map(|hit| (hit.place, &hit.record));
    let marked: Vec<(usize, &Bytes)> = events.marked.iter().map(|event| (event.place, &event.record)).collect();
    let verdict = filter::Verdict { snapshot: &events.snapshot, malformed: &events.malformed, marked: &marked };
    let (id, answer) =
        filter::answer(&request, tagged, &verdict).map_err(|error| RequestFailure::invalid(error.to_string()))?;
    work.take(RopeBody::copied(&answer)).map_err(BatchRefusal::from)?;
    Ok((id, events, answer))
}

fn refuse(id: u64, not_taken: RequestFailure, held: AnswerHold) -> BatchAnswer {
    let status = status_of(not_taken);
    BatchAnswer { message: Rope::from(filter::refusal(id, status.code.number(), &status.message)), held }
}

/// Counts a stream while it is open, and how it ended, also when its task is dropped because the client disconnected.
struct StreamCounter {
    source: Arc<str>,
    end: &'static str,
}

impl StreamCounter {
    fn new(source: &Arc<str>) -> StreamCounter {
        gauge!(telemetry::FILTER_STREAMS, "source" => source.to_string()).increment(1.0);
        StreamCounter { source: Arc::clone(source), end: "cancelled" }
    }
}

impl Drop for StreamCounter {
    fn drop(&mut self) {
        gauge!(telemetry::FILTER_STREAMS, "source" => self.source.to_string()).decrement(1.0);
        let labels = [("source", self.source.to_string()), ("end", self.end.to_owned())];
        counter!(telemetry::FILTER_STREAMS_ENDED_TOTAL, &labels).increment(1);
    }
}
