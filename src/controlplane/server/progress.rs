//! Time-outs for sending and reading, the same for every call: a message that has begun must arrive, and a response that
//! has begun must be read, or the call or connection is closed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tower::BoxError;

use super::limits::Limits;
use super::quotas::{Permit, PermitHolder, PermitKind, Quotas, count_reason};
use crate::net::socket::Connection;

/// The prefix of each gRPC message: a compression flag and the length.
const HEAD: usize = 5;
/// Messages of at most this many bytes need no permit.
const SMALL: usize = 4096;

/// Returns the name of a call for metrics.
pub(super) fn call_of(path: &str) -> &'static str {
    match path {
        "/hotlist.control.v1.Control/Sync" => "sync",
        "/hotlist.control.v1.Control/FetchSegment" => "fetch_segment",
        "/hotlist.control.v1.Control/ReportAlerts" => "report_alerts",
        "/hotlist.control.v1.Operator/ListNodes" => "list_nodes",
        "/hotlist.control.v1.Operator/RemoveNode" => "remove_node",
        _ => "other",
    }
}

/// The request body of a call, with a time-out for each message.
pub(super) struct TimedRequestBody<B> {
    body: B,
    call: &'static str,
    quotas: Arc<Quotas>,
    holder: PermitHolder,
    head: [u8; HEAD],
    /// Received bytes of the prefix.
    headed: usize,
    /// Missing bytes of the message.
    missing: usize,
    /// The permit for the message being received.
    room: Option<Permit>,
    /// The deadline of the message being received; `None` between messages.
    due: Option<Pin<Box<Sleep>>>,
}

impl<B> TimedRequestBody<B> {
    pub(super) fn new(body: B, call: &'static str, quotas: Arc<Quotas>, holder: PermitHolder) -> TimedRequestBody<B> {
        // A node may open its stream before it has alerts; the call has a separate time-out.
        let due = (call != "report_alerts").then(|| Box::pin(sleep_until(Instant::now() + quotas.limits().message)));
        TimedRequestBody { body, call, quotas, holder, head: [0; HEAD], headed: 0, missing: 0, room: None, due }
    }

    /// Tracks message boundaries.
    fn arrived(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(data.len());
                (self.missing, data) = (self.missing - taken, &data[taken..]);
            } else {
                let taken = (HEAD - self.headed).min(data.len());
                self.head[self.headed..self.headed + taken].copy_from_slice(&data[..taken]);
                (self.headed, data) = (self.headed + taken, &data[taken..]);
                if self.headed < HEAD {
                    self.wait(0);
                    continue;
                }
                let [_, length @ ..] = self.head;
                (self.headed, self.missing) = (0, u32::from_be_bytes(length) as usize);
                // The decoder refuses longer messages.
                let length = self.missing.min(super::MAX_MESSAGE);
                self.room = match length {
                    0..=SMALL => None,
                    _ => Some(
                        self.quotas
                            .take(PermitKind::MessageBytes, &self.holder, length)
                            .map_err(|excess| excess.refuse(self.call, PermitKind::MessageBytes))?,
                    ),
                };
                self.wait(length);
            }
            if self.missing == 0 && self.headed == 0 {
                (self.due, self.room) = (None, None);
            }
        }
        Ok(())
    }

    fn wait(&mut self, bytes: usize) {
        let until = Instant::now() + self.quotas.limits().message + Limits::extra(bytes);
        self.due = Some(Box::pin(sleep_until(until)));
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TimedRequestBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let followed = frame.data_ref().map_or(Ok(()), |data| this.arrived(data));
                Poll::Ready(Some(followed.map(|()| frame).map_err(Into::into)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.due.as_mut().map(|due| due.as_mut().poll(context)) {
                Some(Poll::Ready(())) => {
                    this.due = None;
                    count_reason(this.call, "slow_message");
                    let text = "the message did not arrive in time; send at least 32 KiB per second";
                    Poll::Ready(Some(Err(Status::deadline_exceeded(text).into())))
                }
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The response body of a call. If the peer does not read it, the connection is closed: hyper cannot reset a stream
/// whose window is closed.
pub(super) struct TimedResponseBody<B> {
    body: B,
    due: Arc<ReadDeadline>,
    /// Held until the response is sent or aborted.
    _permit: Option<Arc<Permit>>,
    _watch: Option<AbortOnDropHandle<()>>,
    not_read: Duration,
}

/// The deadline for the peer to read; `None` while it has read everything.
#[derive(Debug)]
struct ReadDeadline(Mutex<Option<Instant>>);

impl ReadDeadline {
    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, due: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }
}

impl<B> TimedResponseBody<B> {
    pub(super) fn new(
        body: B,
        call: &'static str,
        not_read: Duration,
        permit: Option<Arc<Permit>>,
        connection: Option<Connection>,
    ) -> TimedResponseBody<B> {
        // The body is polled for its first bytes only when the peer can receive them.
        let due = Arc::new(ReadDeadline(Mutex::new(Some(Instant::now() + not_read))));
        let watch = connection.map(|connection| {
            AbortOnDropHandle::new(tokio::spawn(hang_up(call, Arc::clone(&due), not_read, connection)))
        });
        TimedResponseBody { body, due, _permit: permit, _watch: watch, not_read }
    }
}

async fn hang_up(call: &'static str, due: Arc<ReadDeadline>, not_read: Duration, connection: Connection) {
    loop {
        sleep_until(due.get().unwrap_or_else(|| Instant::now() + not_read)).await;
        if due.get().is_some_and(|due| due <= Instant::now()) {
            count_reason(call, "not_read");
            connection.hang_up();
            return;
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TimedResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.due.set(match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Some(Instant::now() + self.not_read + Limits::extra(bytes))
            }
            // The peer has nothing to read.
            Poll::Pending | Poll::Ready(_) => None,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
