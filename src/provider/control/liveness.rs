//! Checks that the control plane is alive. On a silent connection the client calls the health service, which every gRPC
//! server answers, if only with UNIMPLEMENTED. HTTP/2 pings would do the same, but stock gRPC servers close connections
//! that ping more often than every five minutes (`too_many_pings`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::settings::Timing;

/// The extra time to wait for a response: a thread that waited for CPU finds its time-out expired before it has read
/// what arrived meanwhile.
const GRACE: Duration = Duration::from_millis(200);

/// The time of the last received data.
#[derive(Debug)]
pub(super) struct LastReceived {
    start: Instant,
    /// Microseconds after `start`.
    last: AtomicU64,
}

impl LastReceived {
    pub(super) fn new() -> Arc<LastReceived> {
        Arc::new(LastReceived { start: Instant::now(), last: AtomicU64::new(0) })
    }

    fn record_now(&self) {
        let since = self.start.elapsed().as_micros();
        self.last.fetch_max(since.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the time since the last received data.
    fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_micros(self.last.load(Ordering::Relaxed)))
    }
}

/// Calls the health service, and returns `false` when nothing arrives in time. Any received data counts as a response.
pub(super) async fn ask(channel: &Channel, heard: &LastReceived, ping_timeout: Duration) -> bool {
    let before = heard.last.load(Ordering::Relaxed);
    let is_heard = || heard.last.load(Ordering::Relaxed) != before;
    let mut client = HealthClient::new(channel.clone());
    let _ = timeout(ping_timeout, client.check(HealthCheckRequest::default())).await;
    if !is_heard() {
        sleep(GRACE).await;
    }
    is_heard()
}

/// Checks the control plane whenever the connection is silent. Resolves when a check fails, with the cause.
pub(super) async fn watch(channel: Channel, heard: Arc<LastReceived>, timing: Timing) -> String {
    loop {
        let silence = heard.silence();
        if silence < timing.ping_after {
            sleep(timing.ping_after - silence).await;
        } else if !ask(&channel, &heard, timing.ping_timeout).await {
            return format!("the control plane did not answer a health check within {:?}", timing.ping_timeout);
        }
    }
}

/// A connection that records the time of received data.
pub(super) struct TrackedConnection<S> {
    pub(super) socket: S,
    pub(super) heard: Arc<LastReceived>,
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedConnection<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, into);
        if into.filled().len() > before {
            self.heard.record_now();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedConnection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
