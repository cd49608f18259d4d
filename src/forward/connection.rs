//! The HTTP/2 connection of a network sink: made when first needed, remade when lost, with back-off while that fails.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Endpoint;
use crate::delivery::BoxFuture;
use crate::escape::Escaped;
use crate::grpc::RopeBody;
use crate::{telemetry, tls};

/// First and longest pause between attempts to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long one attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest frame the next hop may send us; its answers are tiny.
const MAX_FRAME: u32 = 1 << 14;
/// How long a request may go on when its connection is over: what has arrived is read, and no more will.
const AFTER_THE_END: Duration = Duration::from_millis(500);
/// Bytes of one request that wait in the connection's buffer.
const SEND_BUFFER: usize = 1 << 20;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoConnection {
    /// The attempt just failed.
    #[error("no connection to {endpoint}: {cause}")]
    Failed {
        /// Where to.
        endpoint: String,
        /// Why not.
        cause: String,
    },
    /// The last attempt failed, and the next one is not due.
    #[error("no connection to {endpoint}: {cause}; next attempt in {wait:?}")]
    BackingOff {
        /// Where to.
        endpoint: String,
        /// Why the last attempt failed.
        cause: String,
        /// Until the next one.
        wait: Duration,
    },
}

/// Opens connections in place of the network: the other end may be in the same process.
pub trait Dial: fmt::Debug + Send + Sync {
    /// A stream to the next hop, or why there is none.
    fn dial(&self) -> BoxFuture<'_, io::Result<DuplexStream>>;
}

/// Keeps one connection to an endpoint.
#[derive(Debug)]
pub struct Connector {
    endpoint: Endpoint,
    dial: Option<Arc<dyn Dial>>,
    /// For an `https` endpoint, which is never spoken to without.
    tls: Option<tls::Connector>,
    /// Held while connecting, so that requests wait for the attempt under way instead of making their own.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    link: Option<Link>,
    delays: ExponentialBackoff,
    retry_at: Option<Instant>,
    cause: String,
}

/// A handle to the connection, one for each request.
#[derive(Clone, Debug)]
pub struct Link {
    /// Sends requests.
    pub send: SendRequest<RopeBody>,
    /// Whether the peer ever answered on it. One that takes connections only to close them is not up.
    proven: Arc<AtomicBool>,
    /// The connection is over.
    ended: CancellationToken,
}

impl Link {
    /// What `exchange` on this connection brings; `None` when it is over and brings nothing any more. hyper hands most
    /// requests back then, but not one that was sent in the moment in which the connection went: that one hangs.
    pub async fn until_ended<T>(&self, exchange: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            brought = &mut exchange => Some(brought),
            () = self.ended.cancelled() => timeout(AFTER_THE_END, exchange).await.ok(),
        }
    }

    /// Notes that the peer answered.
    pub fn prove(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }
}

impl Connector {
    /// Nothing is connected before the first request.
    pub fn new(endpoint: Endpoint) -> Connector {
        let state = State { link: None, delays: delays(), retry_at: None, cause: String::new() };
        Connector { endpoint, dial: None, tls: None, state: Mutex::new(state) }
    }

    /// Speaks TLS to an `https` endpoint; another is not changed by it.
    pub fn set_tls(&mut self, tls: tls::Connector) {
        self.tls = Some(tls);
    }

    /// Connects through `dial` and not over the network.
    pub fn set_dial(&mut self, dial: Arc<dyn Dial>) {
        self.dial = Some(dial);
    }

    /// Where it connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The connection, made now if there is none and no back-off is running.
    ///
    /// # Errors
    /// There is none, and the text says why.
    pub async fn link(&self) -> Result<Link, NoConnection> {
        let mut state = self.state.lock().await;
        match &state.link {
            Some(link) if !link.send.is_closed() => return Ok(link.clone()),
            Some(_) => self.lose(&mut state),
            None => {}
        }
        let endpoint = || self.endpoint.to_string();
        if let Some(wait) = state.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
            && !wait.is_zero()
        {
            return Err(NoConnection::BackingOff { endpoint: endpoint(), cause: state.cause.clone(), wait });
        }
        let attempt = timeout(CONNECT_TIMEOUT, self.connect()).await;
        let (cause, reason) = match attempt {
            Ok(Ok((send, ended))) => {
                let link = Link { send, proven: Arc::default(), ended };
                state.link = Some(link.clone());
                return Ok(link);
            }
            Ok(Err(Failed { cause, reason })) => (cause.to_string(), reason),
            Err(_) => (format!("connecting took longer than {CONNECT_TIMEOUT:?}"), "timeout"),
        };
        self.count_failure(reason);
        state.fail(cause.clone());
        tracing::warn!(endpoint = %self.endpoint, cause, "cannot connect to the next hop");
        Err(NoConnection::Failed { endpoint: endpoint(), cause })
    }

    async fn connect(&self) -> Result<Open, Failed> {
        match &self.dial {
            Some(dial) => Ok(handshake(dial.dial().await?).await?),
            None => connect(&self.endpoint, self.tls.as_ref()).await,
        }
    }

    /// Gives up on a connection: the next request makes a new one. Requests under way on it go on.
    pub async fn retire(&self, link: &Link) {
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(&current.proven, &link.proven)) {
            self.lose(&mut state);
        }
    }

    /// Drops the connection; one that never answered anything counts as a failed attempt.
    fn lose(&self, state: &mut State) {
        if state.link.take().is_some_and(|link| link.proven.load(Ordering::Relaxed)) {
            state.delays = delays();
            state.retry_at = None;
        } else {
            self.count_failure("lost");
            let hint = if self.tls.is_some() { "; perhaps it wants a certificate, see `tls`" } else { "" };
            state.fail(format!("the connection was lost before the next hop answered anything{hint}"));
        }
    }

    fn count_failure(&self, reason: &'static str) {
        let endpoint = self.endpoint.to_string();
        counter!(telemetry::SINK_CONNECT_FAILURES_TOTAL, "endpoint" => endpoint, "reason" => reason).increment(1);
    }
}

impl State {
    fn fail(&mut self, cause: String) {
        let delay = self.delays.next().unwrap_or(BACK_OFF.1).min(BACK_OFF.1);
        self.retry_at = Some(Instant::now() + delay);
        self.cause = cause;
    }
}

fn delays() -> ExponentialBackoff {
    let (first, longest) = BACK_OFF;
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Why one attempt failed, and the metric's word for it.
struct Failed {
    cause: io::Error,
    reason: &'static str,
}

impl From<io::Error> for Failed {
    fn from(cause: io::Error) -> Failed {
        Failed { cause, reason: "connect" }
    }
}

async fn connect(endpoint: &Endpoint, tls: Option<&tls::Connector>) -> Result<Open, Failed> {
    match endpoint {
        Endpoint::Http { host, port } => Ok(handshake(tcp(host, *port).await?).await?),
        Endpoint::Https { host, port } => {
            let failed = |cause| Failed { cause, reason: "tls" };
            let tls = tls.ok_or_else(|| failed(io::Error::other("the sink was made without TLS")))?;
            let stream = tls.connect(tcp(host, *port).await?).await.map_err(failed)?;
            Ok(handshake(stream).await?)
        }
        Endpoint::Unix(path) => Ok(handshake(UnixStream::connect(path).await?).await?),
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An open connection, and what tells that it is over.
type Open = (SendRequest<RopeBody>, CancellationToken);

async fn handshake<S>(stream: S) -> io::Result<Open>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let ended = CancellationToken::new();
    let end = ended.clone().drop_guard();
    tokio::spawn(async move {
        let _end = end;
        // Requests on the connection see the error themselves.
        if let Err(error) = connection.await {
            tracing::debug!(error = %Escaped(&error), "the connection to the next hop ended");
        }
    });
    Ok((send, ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn free_port() -> (TcpListener, Endpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        (listener, endpoint)
    }

    /// A request that nobody answers any more ends with its connection, and not with its deadline; what was brought before
    /// the end counts.
    #[tokio::test(start_paused = true)]
    async fn nothing_waits_on_a_connection_that_is_over() {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let (send, ended) = handshake(ours).await.unwrap();
        let link = Link { send, proven: Arc::default(), ended };
        assert_eq!(link.until_ended(async { 1 }).await, Some(1));
        drop(theirs);
        let start = Instant::now();
        assert_eq!(link.until_ended(std::future::pending::<u8>()).await, None);
        assert_eq!(start.elapsed().as_millis(), AFTER_THE_END.as_millis());
        assert_eq!(link.until_ended(async { 2 }).await, Some(2));
    }

    /// Nobody listens: the first request fails by itself, the next ones at once and without an attempt, until the
    /// back-off (here forced to have passed) lets one try again.
    #[tokio::test]
    async fn backs_off_while_nobody_listens() {
        let (listener, endpoint) = free_port().await;
        drop(listener);
        let connector = Connector::new(endpoint);
        assert!(matches!(connector.link().await, Err(NoConnection::Failed { .. })));
        connector.state.lock().await.retry_at = Some(Instant::now() + Duration::from_secs(60));
        assert!(matches!(connector.link().await, Err(NoConnection::BackingOff { .. })));
        connector.state.lock().await.retry_at = Some(Instant::now());
        assert!(matches!(connector.link().await, Err(NoConnection::Failed { .. })));
    }

    /// The pauses grow and stay below the longest, whatever the jitter.
    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_the_longest() {
        let mut state = State { link: None, delays: delays(), retry_at: None, cause: String::new() };
        let mut pauses = Vec::new();
        for _ in 0..12 {
            state.fail(String::new());
            pauses.push(state.retry_at.unwrap() - Instant::now());
        }
        assert!(pauses[0] >= BACK_OFF.0 && pauses[0] <= BACK_OFF.0 * 2, "{pauses:?}");
        assert_eq!(pauses[11], BACK_OFF.1, "{pauses:?}");
    }

    /// A connection that was retired before the peer answered is a failure; after an answer it is not.
    #[tokio::test]
    async fn only_a_proven_connection_is_replaced_at_once() {
        let (_listener, endpoint) = free_port().await;
        let connector = Connector::new(endpoint);
        let link = connector.link().await.unwrap();
        link.prove();
        connector.retire(&link).await;
        let link = connector.link().await.unwrap();
        connector.retire(&link).await;
        assert!(matches!(connector.link().await, Err(NoConnection::BackingOff { .. })));
    }
}
