//! The answers of one stream on their way to the client: a queue that is the body of the response, and the check that
//! the client reads them.
//!
//! Every piece holds the memory and the window slot of its batch until HTTP/2 has written it, so that neither is free
//! while bytes wait. A piece is small compared to what a slow link transfers in the time that a client has, so that a
//! slow client is not mistaken for one that does not read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::encoding::Rope;
use crate::net::grpc::{RopeBody, Status};

/// Most bytes per piece.
const PIECE: usize = 256 * 1024;

/// The queued answers of a stream, and their state.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Notified of each change that the check may wait for.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// The queue accepts no more answers.
    ended: bool,
    /// The body is gone: HTTP/2 holds what is still to be written.
    closed: bool,
    /// Pieces that are not written yet.
    unwritten: usize,
    /// Since when the client could have read something and did not.
    since: Instant,
    waker: Option<Waker>,
}

/// Bytes with what they hold until they are written.
struct Piece<H> {
    bytes: Bytes,
    _held: H,
    outbox: Arc<Outbox>,
}

impl<H> AsRef<[u8]> for Piece<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<H> Drop for Piece<H> {
    fn drop(&mut self) {
        let mut state = self.outbox.lock();
        state.unwritten -= 1;
        state.since = Instant::now();
        let nothing_left = state.unwritten == 0;
        drop(state);
        if nothing_left {
            self.outbox.changed.notify_waiters();
        }
    }
}

impl Outbox {
    pub(super) fn new() -> Arc<Outbox> {
        let state = State {
            pieces: VecDeque::new(),
            trailers: None,
            ended: false,
            closed: false,
            unwritten: 0,
            since: Instant::now(),
            waker: None,
        };
        Arc::new(Outbox { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Queues a message. `held` is dropped when its last byte is written or discarded.
    ///
    /// # Errors
    /// The message is too long for a frame.
    pub(super) fn send<H: Clone + Send + Sync + 'static>(
        self: &Arc<Self>,
        message: &Rope,
        held: &H,
    ) -> Result<(), String> {
        let mut body = RopeBody::new(message, false).map_err(|error| error.to_string())?;
        let mut pieces = Vec::new();
        while let Some(mut part) = body.next_part() {
            while !part.is_empty() {
                pieces.push(part.split_to(part.len().min(PIECE)));
            }
        }
        let mut state = self.lock();
        if state.ended || state.closed {
            return Ok(());
        }
        if state.unwritten == 0 {
            state.since = Instant::now();
        }
        state.unwritten += pieces.len();
        let own = |bytes| Bytes::from_owner(Piece { bytes, _held: held.clone(), outbox: Arc::clone(self) });
        state.pieces.extend(pieces.into_iter().map(own));
        self.wake(state);
        Ok(())
    }

    /// Ends the stream after the queued answers.
    pub(super) fn finish(&self, status: &Status) {
        self.end(status, false);
    }

    /// Ends the stream at once and discards what was not handed to HTTP/2.
    pub(super) fn cut(&self, status: &Status) {
        self.end(status, true);
    }

    fn end(&self, status: &Status, cut: bool) {
        let mut state = self.lock();
        if state.trailers.is_some() {
            return;
        }
        let mut trailers = HeaderMap::new();
        status.write(&mut trailers);
        state.trailers = Some(trailers);
        state.ended = true;
        let given_up = if cut { std::mem::take(&mut state.pieces) } else { VecDeque::new() };
        self.wake(state);
        drop(given_up);
    }

    /// Wakes the waiting tasks after a change.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_waiters();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until the client has read nothing for `limit` although there was something to read (`true`), or until
    /// nothing is left to check: the body is gone and everything is written (`false`).
    pub(super) async fn is_unread_for(&self, limit: Duration) -> bool {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let (unwritten, since, closed) = {
                let state = self.lock();
                (state.unwritten, state.since, state.closed)
            };
            match unwritten {
                0 if closed => return false,
                0 => changed.await,
                _ if since + limit <= Instant::now() => return true,
                _ => tokio::select! {
                    () = changed => {}
                    () = sleep_until(since + limit) => {}
                },
            }
        }
    }

    // A panic elsewhere cannot leave the state half-changed, so the state behind a poisoned lock is valid.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outbox as the body of a response. `work` is dropped with it, because nobody is left to answer.
#[derive(Debug)]
pub(super) struct OutboxBody<W> {
    pub(super) outbox: Arc<Outbox>,
    pub(super) _work: W,
}

impl<W: Unpin> Body for OutboxBody<W> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut state = self.outbox.lock();
        if let Some(piece) = state.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &mut state.trailers {
            Some(trailers) if trailers.is_empty() => Poll::Ready(None),
            Some(trailers) => Poll::Ready(Some(Ok(Frame::trailers(std::mem::take(trailers))))),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.outbox.lock();
        state.pieces.is_empty() && state.trailers.as_ref().is_some_and(HeaderMap::is_empty)
    }
}

impl<W> Drop for OutboxBody<W> {
    fn drop(&mut self) {
        let mut state = self.outbox.lock();
        (state.closed, state.ended) = (true, true);
        let given_up = std::mem::take(&mut state.pieces);
        drop(state);
        drop(given_up);
        self.outbox.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::grpc::Code;
    use http_body_util::BodyExt;
    use std::sync::Weak;

    fn rope(len: usize) -> Rope {
        Rope::from(Bytes::from(vec![7; len]))
    }

    fn send(outbox: &Arc<Outbox>, len: usize) -> Weak<()> {
        let held = Arc::new(());
        outbox.send(&rope(len), &held).unwrap();
        Arc::downgrade(&held)
    }

    /// Guarantee: what a message holds is held until the last of its pieces is gone, and the trailers come last.
    #[tokio::test]
    async fn a_message_holds_its_room_until_it_is_written() {
        let outbox = Outbox::new();
        let mut body = OutboxBody { outbox: Arc::clone(&outbox), _work: () };
        let held = send(&outbox, PIECE + 1);
        outbox.finish(&Status::new(Code::Ok, ""));
        assert!(send(&outbox, 1).upgrade().is_none(), "nothing comes behind the end");
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(data) => pieces.push(data),
                Err(trailers) => assert_eq!(trailers.trailers_ref().unwrap()["grpc-status"], "0"),
            }
        }
        assert!(body.is_end_stream());
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), PIECE + 1 + 5);
        pieces.drain(1..);
        assert!(held.upgrade().is_some());
        pieces.clear();
        assert!(held.upgrade().is_none());
    }

    /// Scenario: a client reads one piece per second, then none. Guarantee: the check fires only when nothing was read
    /// for the whole time, and a cut discards what was not handed out.
    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_seen() {
        let (outbox, limit) = (Outbox::new(), Duration::from_secs(5));
        let mut body = OutboxBody { outbox: Arc::clone(&outbox), _work: () };
        let watch = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.is_unread_for(limit).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!watch.is_finished(), "there is nothing to take");
        let held = send(&outbox, PIECE * 9);
        let start = Instant::now();
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(body.frame().await);
        }
        assert!(watch.await.unwrap());
        assert_eq!(start.elapsed(), Duration::from_secs(12) + limit);
        outbox.cut(&Status::new(Code::Unavailable, "late"));
        assert!(held.upgrade().is_none());
        assert!(body.frame().await.unwrap().unwrap().is_trailers());
        drop(body);
        assert!(!outbox.is_unread_for(limit).await, "nothing is left to watch");
    }
}
