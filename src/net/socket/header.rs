//! A timeout for the header of a request, for the protocol that has no ping to check that the peer is still there:
//! HTTP/1.
//!
//! The timeout runs from the first byte of a header, and not while a connection that is kept alive waits for the next
//! request: that time has its own limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;
use super::stream::Stream;
use crate::net::forward::forward_write;

/// A header that was started but not finished in time.
#[derive(Debug, thiserror::Error)]
#[error("the header of a request did not arrive in time")]
pub(super) struct HeaderTimeout;

/// A stream that fails when the peer takes too long for a header.
pub struct TimedHeader {
    stream: Stream,
    activity: Activity,
    timeout: Duration,
    begun: Option<Begun>,
}

/// A header of which some bytes have arrived.
struct Begun {
    /// Since when there was no request before it.
    idle_since: Instant,
    time: Pin<Box<Sleep>>,
}

impl TimedHeader {
    /// Wraps a stream. Bytes that arrive while `activity` has no open request belong to a header.
    pub fn new(stream: Stream, activity: Activity, timeout: Duration) -> TimedHeader {
        TimedHeader { stream, activity, timeout, begun: None }
    }
}

impl AsyncRead for TimedHeader {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let idle_since = this.activity.idle_since();
        if let Some(begun) = &mut this.begun {
            if idle_since != Some(begun.idle_since) {
                this.begun = None;
            } else if begun.time.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, HeaderTimeout)));
            }
        }
        let before = into.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, into);
        if let (Some(idle_since), None) = (idle_since, &this.begun)
            && into.filled().len() > before
        {
            this.begun = Some(Begun { idle_since, time: Box::pin(sleep(this.timeout)) });
        }
        read
    }
}

forward_write!(TimedHeader);
