//! Notices that the client of an HTTP/1.1 request disconnected, so that the work for it ends.
//!
//! HTTP/2 resets the stream. In HTTP/1.1 a client that disconnected looks like one that only closed its sending side
//! and waits for the answer: in both cases the stream ends. They differ in what happens to bytes that are sent to them:
//! the host of a client that disconnected resets the connection. While an answer takes long and the stream has ended,
//! `100 Continue` is sent, which a client of HTTP/1.1 ignores (RFC 9110 section 15.2).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;

/// How long an answer takes before the client is checked. Doubled after each check.
const FIRST_CHECK: Duration = Duration::from_secs(1);
/// The most checks of a request: some clients accept five interim responses.
const MAX_CHECKS: u32 = 5;
const INTERIM_RESPONSE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An HTTP/1 stream that fails when its client disconnected during a request.
pub struct DepartureCheck<S> {
    stream: S,
    activity: Activity,
    read_ahead: ReadAhead,
    /// The number of the request that is not checked any more, because its answer has begun.
    done: u64,
    /// The number of the request that waits for its answer, and its checks so far.
    waiting: (u64, u32),
    timer: Option<Pin<Box<Sleep>>>,
    /// The part of an interim response that is not sent yet.
    unsent: &'static [u8],
}

/// The bytes that were read to find the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadAhead {
    Nothing,
    /// The first byte of the next request.
    Byte(u8),
    End,
}

impl<S> DepartureCheck<S> {
    /// Wraps a stream on which `activity` counts the requests.
    pub fn new(stream: S, activity: Activity) -> DepartureCheck<S> {
        let read_ahead = ReadAhead::Nothing;
        DepartureCheck { stream, activity, read_ahead, done: 0, waiting: (0, 0), timer: None, unsent: &[] }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> DepartureCheck<S> {
    /// Checks the client if its request has waited long enough. Called while nothing of an answer is unsent.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(request) = self.activity.awaited_request().filter(|request| *request != self.done) else {
            return Ok(());
        };
        if self.waiting.0 != request {
            self.waiting = (request, 0);
            self.restart_timer(FIRST_CHECK);
        }
        while self.waiting.1 < MAX_CHECKS
            && self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready())
        {
            match self.poll_end(context) {
                // The task is polled again when something arrives.
                Poll::Pending => break,
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    self.done = request;
                    break;
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
            self.unsent = INTERIM_RESPONSE;
            let _ = self.poll_unsent(context)?;
            self.waiting.1 += 1;
            self.restart_timer(FIRST_CHECK * (1 << self.waiting.1) / 2);
        }
        Ok(())
    }

    /// Returns whether the stream has ended; false if the next request has begun.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.read_ahead == ReadAhead::Nothing {
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            self.read_ahead = buffer.filled().first().map_or(ReadAhead::End, |byte| ReadAhead::Byte(*byte));
        }
        Poll::Ready(Ok(self.read_ahead == ReadAhead::End))
    }

    fn poll_unsent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, self.unsent))?;
            self.unsent = self.unsent.get(sent.max(1)..).unwrap_or_default();
        }
        Poll::Ready(Ok(()))
    }

    fn restart_timer(&mut self, after: Duration) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + after),
            None => self.timer = Some(Box::pin(sleep(after))),
        }
    }

    /// Notes that bytes of an answer were sent.
    fn note_answer(&mut self) {
        self.done = self.activity.newest_request();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for DepartureCheck<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.read_ahead {
            ReadAhead::Nothing => Pin::new(&mut self.stream).poll_read(context, into),
            ReadAhead::End => Poll::Ready(Ok(())),
            ReadAhead::Byte(byte) => {
                if into.remaining() > 0 {
                    into.put_slice(&[byte]);
                    self.read_ahead = ReadAhead::Nothing;
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for DepartureCheck<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(context))?;
        self.note_answer();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(context))?;
        self.note_answer();
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        ready!(self.poll_unsent(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
