//! One HTTP/2 connection to a next hop, with detection of a silent peer.
//!
//! A connection that a firewall dropped, or whose peer lost power, accepts requests and returns nothing. So a silent
//! connection is pinged before a request is sent on it, and a request that waits in silence pings, too. gRPC servers
//! close connections that ping often without requests being answered, so there are at most [`PINGS`] pings between two
//! answers, and none on an idle connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, PingPong};
use http::Request;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::escape::Escaped;
use crate::net::forward::forward_write;
use crate::net::grpc::RopeBody;
use crate::net::tls;

/// A connection that was silent for longer is pinged before it is used.
const FRESH: Duration = Duration::from_millis(250);
/// The same after an answered ping: the peer is alive, but slow.
const FRESH_AFTER_PING: Duration = Duration::from_secs(2);
/// A request that gets no data for this long pings the connection.
const PING_AFTER: Duration = Duration::from_secs(3);
/// How long a ping may take before the connection counts as dead.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Pings between two answers. gRPC servers close a connection at the third unexpected ping.
const PINGS: usize = 2;
/// Largest frame that the next hop may send; its answers are tiny.
const MAX_FRAME: u32 = 1 << 14;
/// Longest headers or trailers of an answer: a status with its text and details. Servers learn this limit, and most
/// truncate longer texts themselves.
const MAX_HEADERS: u32 = 1 << 20;
/// Bytes that the peer may send before we read, for all streams and for one.
const WINDOWS: (u32, u32) = (1 << 20, 1 << 18);
/// Bytes of one request that wait in the connection's buffer.
const SEND_BUFFER: usize = 1 << 20;
/// How long a request may continue after its connection ended: received data is read, but no more will arrive.
const AFTER_THE_END: Duration = Duration::from_millis(500);
/// Bytes of the peer's first data that are kept, to identify its protocol.
const FIRST_WORDS: usize = 24;

/// A handle to a connection, one per request.
#[derive(Clone, Debug)]
pub struct Link {
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

/// The reason that a stream is not an HTTP/2 connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The peer sent nothing in time.
    #[error("the peer accepted the connection but sent nothing within {0:?}: check that it is a gRPC receiver")]
    Silent(Duration),
    /// The peer speaks another protocol.
    #[error("{0}")]
    Protocol(String),
    /// The peer refused our certificate or requires one: with TLS 1.3 it reports that after the handshake.
    #[error("{0}")]
    Tls(String),
    /// The connection ended at once.
    #[error("{0}")]
    Ended(String),
}

/// The result of a request on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum ExchangeOutcome<T> {
    /// The exchange ended.
    Done(T),
    /// The connection ended.
    Ended,
    /// The peer answers nothing, not even a ping.
    Silent,
}

#[derive(Debug)]
struct Shared {
    /// Whether the peer ever answered a request. A peer that accepts connections only to close them is not up.
    proven: AtomicBool,
    /// Cancelled when the connection ends.
    ended: CancellationToken,
    /// The reason that it ended.
    cause: OnceLock<String>,
    heard: Arc<ReceivedData>,
    ping: Notify,
    /// Whether a ping is unanswered: further callers wait for the same answer.
    is_asking: AtomicBool,
    /// Pings since the last answer.
    pings: AtomicUsize,
    /// Whether a request was given up while the peer was silent.
    is_suspect: AtomicBool,
}

/// When data last arrived, and the first bytes of it.
#[derive(Debug)]
struct ReceivedData {
    last: watch::Sender<Instant>,
    first: OnceLock<Vec<u8>>,
}

impl Link {
    /// Opens HTTP/2 on a stream. Ready when the peer has sent HTTP/2 data, or `within` has passed.
    ///
    /// # Errors
    /// The peer speaks another protocol, or sent nothing; the text states which.
    pub async fn open<S>(stream: S, within: Duration) -> Result<Link, OpenError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let heard = Arc::new(ReceivedData { last: watch::Sender::new(Instant::now()), first: OnceLock::new() });
        let mut first = heard.last.subscribe();
        let stream = WatchedStream { stream, heard: Arc::clone(&heard) };
        let (send, mut connection) = Builder::new()
            .max_frame_size(MAX_FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEADERS)
            .initial_connection_window_size(WINDOWS.0)
            .initial_window_size(WINDOWS.1)
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(|error| OpenError::Ended(error.to_string()))?;
        let shared = Arc::new(Shared {
            proven: AtomicBool::new(false),
            ended: CancellationToken::new(),
            cause: OnceLock::new(),
            heard,
            ping: Notify::new(),
            is_asking: AtomicBool::new(false),
            pings: AtomicUsize::new(0),
            is_suspect: AtomicBool::new(false),
        });
        let pings = connection.ping_pong();
        let (of_task, end) = (Arc::clone(&shared), shared.ended.clone().drop_guard());
        tokio::spawn(async move {
            let _end = end;
            let over = tokio::select! {
                over = connection => over,
                () = send_pings(&of_task, pings) => Ok(()),
            };
            // Requests on the connection get the error, too.
            if let Err(error) = over {
                tracing::debug!(error = %Escaped(&error), "connection to the next hop ended");
                let _ = of_task.cause.set(error.to_string());
            }
        });
        let link = Link { send, shared };
        let spoke = tokio::select! {
            biased;
            changed = first.changed() => changed.is_ok(),
            () = link.shared.ended.cancelled() => false,
            () = sleep(within) => return Err(OpenError::Silent(within)),
        };
        match link.wrong_protocol() {
            Some(text) => Err(OpenError::Protocol(text)),
            None if spoke => Ok(link),
            None => {
                let end = link.end();
                Err(if end.contains("fatal alert") { OpenError::Tls(end) } else { OpenError::Ended(end) })
            }
        }
    }

    /// Whether requests can be sent on it, as far as is known.
    pub fn is_open(&self) -> bool {
        let mut send = self.send.clone();
        let ready = poll_fn(|context| send.poll_ready(context)).now_or_never();
        !self.shared.ended.is_cancelled() && !matches!(ready, Some(Err(_)))
    }

    /// Whether data arrived recently enough that no ping is needed, or no further ping is allowed.
    pub fn is_fresh(&self) -> bool {
        if self.shared.is_suspect.load(Ordering::Relaxed) {
            return false;
        }
        let asked = self.shared.pings.load(Ordering::Relaxed);
        let enough = if asked > 0 { FRESH_AFTER_PING } else { FRESH };
        asked >= PINGS || self.silence() < enough
    }

    fn silence(&self) -> Duration {
        self.shared.heard.last.borrow().elapsed()
    }

    /// Pings the peer, and is ready when any data arrives.
    pub async fn ping(&self) {
        let mut heard = self.shared.heard.last.subscribe();
        let is_first = !self.shared.is_asking.load(Ordering::Relaxed);
        if is_first && self.shared.pings.fetch_add(1, Ordering::Relaxed) < PINGS {
            self.shared.is_asking.store(true, Ordering::Relaxed);
            self.shared.ping.notify_one();
        }
        // The sender is in `shared`, so this never fails.
        let _ = heard.changed().await;
        self.shared.is_suspect.store(false, Ordering::Relaxed);
    }

    /// Sends a request, and returns the future of its response.
    ///
    /// # Errors
    /// The request was not sent.
    pub async fn request(&self, request: Request<()>, mut body: RopeBody) -> Result<ResponseFuture, h2::Error> {
        let mut send = self.send.clone();
        poll_fn(|context| send.poll_ready(context)).await?;
        let (response, mut stream) = send.send_request(request, false)?;
        // The parts are queued at once, and wait in the connection for the peer's window. They are not copied.
        while let Some(part) = body.next_part() {
            // If the peer closed the stream in the meantime, the response has its answer.
            if stream.send_data(part, body.is_end_stream()).is_err() {
                break;
            }
        }
        Ok(response)
    }

    /// Returns the result of `exchange` on this connection, or that the connection ended or is silent.
    pub async fn run<T>(&self, exchange: impl Future<Output = T>) -> ExchangeOutcome<T> {
        let mut exchange = pin!(exchange);
        let waiting = WaitingRequest { link: self };
        let outcome = tokio::select! {
            biased;
            brought = &mut exchange => ExchangeOutcome::Done(brought),
            // Most requests notice the end themselves, but not a request that was sent at the same moment.
            () = self.shared.ended.cancelled() => {
                timeout(AFTER_THE_END, exchange).await.map_or(ExchangeOutcome::Ended, ExchangeOutcome::Done)
            }
            () = self.until_silent() => ExchangeOutcome::Silent,
        };
        std::mem::forget(waiting);
        outcome
    }

    /// Ready when the peer was silent for long, and did not answer a ping either.
    async fn until_silent(&self) {
        loop {
            let silence = self.silence();
            if silence < PING_AFTER {
                sleep(PING_AFTER - silence).await;
            } else if self.shared.pings.load(Ordering::Relaxed) >= PINGS {
                // No further ping is allowed before the next answer: the deadline ends the request.
                std::future::pending::<()>().await;
            } else if timeout(PING_TIMEOUT, self.ping()).await.is_err() {
                return;
            }
        }
    }

    /// Records that the peer answered a request.
    pub fn prove(&self) {
        self.shared.proven.store(true, Ordering::Relaxed);
        self.shared.is_suspect.store(false, Ordering::Relaxed);
        self.shared.pings.store(0, Ordering::Relaxed);
    }

    /// Whether the peer ever answered a request.
    pub fn is_proven(&self) -> bool {
        self.shared.proven.load(Ordering::Relaxed)
    }

    /// Whether both are handles to the same connection.
    pub fn is_same(&self, other: &Link) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The reason that the connection ended.
    pub fn end(&self) -> String {
        let ended = || "the peer closed the connection before it answered anything".to_owned();
        self.wrong_protocol().or_else(|| self.shared.cause.get().cloned()).unwrap_or_else(ended)
    }

    /// Names the protocol of a peer that does not speak HTTP/2: the first frame of a server is SETTINGS (RFC 9113
    /// section 3.4).
    pub fn wrong_protocol(&self) -> Option<String> {
        let first = self.shared.heard.first.get()?;
        let is_text = first.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t'));
        match first.as_slice() {
            [0x15 | 0x16, 3, ..] => Some(
                "the peer speaks TLS on this port: use an `https://` endpoint, or the peer's port without TLS"
                    .to_owned(),
            ),
            text if is_text => Some(format!(
                "the peer speaks HTTP/1 on this port, not gRPC (its answer begins with {:?}): give the port of its gRPC \
                 receiver, often 4317, or set `protocol: http` for OTLP over HTTP",
                String::from_utf8_lossy(text)
            )),
            [_, _, _, frame, ..] if *frame != 4 => Some("the peer does not speak HTTP/2 on this port".to_owned()),
            _ => None,
        }
    }
}

/// A waiting request. Dropping it without an outcome means that its client or its deadline gave up.
struct WaitingRequest<'a> {
    link: &'a Link,
}

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        if self.link.silence() >= FRESH_AFTER_PING {
            self.link.shared.is_suspect.store(true, Ordering::Relaxed);
        }
    }
}

/// Sends a ping when one is requested, and waits for its answer before the next.
async fn send_pings(shared: &Shared, pings: Option<PingPong>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        shared.ping.notified().await;
        if pings.ping(Ping::opaque()).await.is_err() {
            // The connection ended, and reports that itself.
            std::future::pending::<()>().await;
        }
        shared.is_asking.store(false, Ordering::Relaxed);
    }
}

/// A stream that records when data arrives on it.
struct WatchedStream<S> {
    stream: S,
    heard: Arc<ReceivedData>,
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            self.heard.first.get_or_init(|| new.iter().take(FIRST_WORDS).copied().collect());
            self.heard.last.send_replace(Instant::now());
        }
        polled.map_err(tls::explain)
    }
}

forward_write!(WatchedStream<S>, S);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    const PATIENCE: Duration = Duration::from_secs(3);

    /// A link, and the stream of its peer, which answered with `first` and nothing more.
    async fn link_to(first: &[u8]) -> (Result<Link, OpenError>, DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        theirs.write_all(first).await.unwrap();
        (Link::open(ours, PATIENCE).await, theirs)
    }

    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    /// An unanswered request ends with its connection, and not with its deadline; data that arrived before the end
    /// counts.
    #[tokio::test(start_paused = true)]
    async fn nothing_waits_on_a_connection_that_is_over() {
        let (link, theirs) = link_to(SETTINGS).await;
        let link = link.unwrap();
        assert_eq!(link.run(async { 1 }).await, ExchangeOutcome::Done(1));
        drop(theirs);
        let start = Instant::now();
        assert_eq!(link.run(std::future::pending::<u8>()).await, ExchangeOutcome::Ended);
        assert_eq!(start.elapsed().as_millis(), AFTER_THE_END.as_millis());
        assert_eq!(link.run(async { 2 }).await, ExchangeOutcome::Done(2));
        assert!(!link.is_open());
    }

    /// Scenario: the peer stops sending, and its connection stays open. Guarantee: a request detects that after a ping.
    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_noticed() {
        let (link, _theirs) = link_to(SETTINGS).await;
        let link = link.unwrap();
        let start = Instant::now();
        assert_eq!(link.run(std::future::pending::<u8>()).await, ExchangeOutcome::Silent);
        assert_eq!(start.elapsed().as_secs(), (PING_AFTER + PING_TIMEOUT).as_secs());
    }

    /// Scenario: the client of a request gives up, while the peer is silent, then while it is not. Guarantee: in the
    /// first case the connection is pinged before it is used again, however often it was pinged.
    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_a_suspicion() {
        let (link, mut theirs) = link_to(SETTINGS).await;
        let link = link.unwrap();
        let soon = FRESH_AFTER_PING / 2;
        assert!(timeout(soon, link.run(std::future::pending::<()>())).await.is_err());
        link.shared.pings.store(PINGS, Ordering::Relaxed);
        assert!(link.is_fresh());
        theirs.write_all(SETTINGS).await.unwrap();
        assert!(timeout(2 * soon + soon, link.run(std::future::pending::<()>())).await.is_err());
        assert!(!link.is_fresh());
    }

    /// Guarantee: whatever a peer does without answering a request, it gets no more pings than gRPC servers tolerate;
    /// an answer allows new ones.
    #[tokio::test(start_paused = true)]
    async fn pings_are_few_between_answers() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(theirs).await.unwrap();
            while connection.accept().await.is_some() {}
        });
        let link = Link::open(ours, PATIENCE).await.unwrap();
        assert!(link.is_fresh());
        for asked in 1..=PINGS {
            sleep(FRESH_AFTER_PING).await;
            assert!(!link.is_fresh());
            // A caller that pings at the same time waits for the same answer.
            tokio::join!(link.ping(), link.ping());
            assert_eq!(link.shared.pings.load(Ordering::Relaxed), asked);
        }
        sleep(FRESH_AFTER_PING).await;
        assert!(link.is_fresh(), "nothing more may be asked");
        link.prove();
        assert!(!link.is_fresh());
    }

    /// Guarantee: a peer that speaks another protocol is named, with the setting to change.
    #[tokio::test(start_paused = true)]
    async fn another_protocol_is_named() {
        for (first, says) in [
            (b"HTTP/1.1 400 Bad Request\r\n".as_slice(), "speaks HTTP/1"),
            (b"<!DOCTYPE HTML>", "protocol: http"),
            (&[0x15, 3, 3, 0, 2, 2, 70], "speaks TLS"),
            (&[0x16, 3, 1, 0, 2, 2, 70], "https://"),
            (&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "does not speak HTTP/2"),
            (b"", "sent nothing within 3s"),
        ] {
            let (link, _theirs) = link_to(first).await;
            let text = link.unwrap_err().to_string();
            assert!(text.contains(says), "{first:?}: {text}");
        }
    }

    /// Guarantee: an error states that the peer closed at once.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_closes_at_once() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        drop(theirs);
        let text = Link::open(ours, PATIENCE).await.unwrap_err().to_string();
        assert!(text.contains("closed") || text.contains("broke") || text.contains("broken pipe"), "{text}");
    }
}
