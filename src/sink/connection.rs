//! The HTTP/2 connection of a network sink: made when first needed, remade when lost or silent, with back-off while that
//! fails.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use metrics::counter;
use tokio::io::DuplexStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::link::{Link, OpenError};
use crate::config::Endpoint;
use crate::net::dial::{self, DialError};
use crate::net::tls;
use crate::pipeline::BoxFuture;
use crate::telemetry;

/// First and longest pause between attempts to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long one attempt may take, and each of its steps.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection that is asked whether it is alive may take, before a new one is opened beside it.
const ASK_TIMEOUT: Duration = Duration::from_millis(250);

/// What may be wrong when a peer closes a connection at once, with TLS and without.
const HINT_TLS: &str = "perhaps it wants a certificate: set `tls.cert_file` and `tls.key_file`";
const HINT_PLAIN: &str = "is it a gRPC receiver without TLS? For TLS give an `https://` endpoint, for OTLP over HTTP set \
                          `protocol: http`";

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoConnection {
    /// The attempt just failed.
    #[error("no connection: {cause}")]
    Failed {
        /// Why not.
        cause: String,
    },
    /// The last attempt failed, and the next one is not due.
    #[error("no connection: {cause}; next attempt in {wait:?}")]
    BackingOff {
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
        match state.link.clone() {
            Some(link) if !link.is_open() => self.lose(&mut state),
            Some(link) if link.is_fresh() => return Ok(link),
            Some(link) => return self.ask(&mut state, link).await,
            None => {}
        }
        if let Some(wait) = state.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
            && !wait.is_zero()
        {
            return Err(NoConnection::BackingOff { cause: state.cause.clone(), wait });
        }
        let opened = self.open().await;
        self.take(&mut state, opened)
    }

    /// A connection that was silent, when it still answers, or a new one in its place. Requests under way on the old one
    /// go on.
    async fn ask(&self, state: &mut State, silent: Link) -> Result<Link, NoConnection> {
        let mut asked = std::pin::pin!(silent.ask());
        if timeout(ASK_TIMEOUT, &mut asked).await.is_ok() {
            return Ok(silent.clone());
        }
        let opened = tokio::select! {
            biased;
            () = &mut asked => return Ok(silent.clone()),
            opened = self.open() => opened,
        };
        if opened.is_err() && silent.is_open() && timeout(CONNECT_TIMEOUT, asked).await.is_ok() {
            return Ok(silent.clone());
        }
        if opened.is_ok() {
            self.count_failure("silent");
            tracing::info!(endpoint = %self.endpoint, "a silent connection to the next hop was replaced");
        }
        self.take(state, opened)
    }

    /// Keeps what an attempt brought.
    fn take(&self, state: &mut State, opened: Result<Link, Failed>) -> Result<Link, NoConnection> {
        match opened {
            Ok(link) => {
                state.link = Some(link.clone());
                Ok(link)
            }
            Err(Failed { cause, reason }) => {
                self.count_failure(reason);
                state.link = None;
                state.fail(cause.clone());
                Err(NoConnection::Failed { cause })
            }
        }
    }

    async fn open(&self) -> Result<Link, Failed> {
        match &self.dial {
            Some(dial) => Ok(Link::open(dial.dial().await?, CONNECT_TIMEOUT).await?),
            None => {
                let stream = dial::open(&self.endpoint, self.tls.as_ref(), CONNECT_TIMEOUT).await?;
                Link::open(stream, CONNECT_TIMEOUT).await.map_err(|error| match error {
                    OpenError::Ended(cause) => {
                        let hint = if self.tls.is_some() { HINT_TLS } else { HINT_PLAIN };
                        OpenError::Ended(format!("{cause}; {hint}")).into()
                    }
                    error => error.into(),
                })
            }
        }
    }

    /// Gives up on a connection: the next request makes a new one. Requests under way on it go on.
    pub async fn retire(&self, link: &Link) {
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|current| current.is(link)) {
            self.lose(&mut state);
        }
    }

    /// Drops the connection; one that never answered anything counts as a failed attempt.
    fn lose(&self, state: &mut State) {
        match state.link.take() {
            Some(link) if link.is_proven() => {
                state.delays = delays();
                state.retry_at = None;
            }
            lost => {
                self.count_failure("lost");
                let why = lost.map(|link| link.end()).unwrap_or_default();
                state.fail(format!("the connection was lost before a request was answered: {why}"));
            }
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
    cause: String,
    reason: &'static str,
}

impl From<io::Error> for Failed {
    fn from(cause: io::Error) -> Failed {
        let reason = if cause.kind() == io::ErrorKind::TimedOut { "timeout" } else { "connect" };
        Failed { cause: cause.to_string(), reason }
    }
}

impl From<DialError> for Failed {
    fn from(error: DialError) -> Failed {
        match error {
            DialError::Connect(cause) => Failed::from(cause),
            DialError::Tls(cause) => Failed { cause: cause.to_string(), reason: "tls" },
        }
    }
}

impl From<OpenError> for Failed {
    fn from(error: OpenError) -> Failed {
        let reason = match error {
            OpenError::Silent(_) => "timeout",
            OpenError::Protocol(_) => "protocol",
            OpenError::Tls(_) => "tls",
            OpenError::Ended(_) => "lost",
        };
        Failed { cause: error.to_string(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    async fn free_port() -> (TcpListener, Endpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        (listener, endpoint)
    }

    /// Speaks HTTP/2 on every connection, and answers no request.
    fn serve(listener: TcpListener) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while connection.accept().await.is_some() {}
                });
            }
        })
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
        let (listener, endpoint) = free_port().await;
        let _serving = serve(listener);
        let connector = Connector::new(endpoint);
        let link = connector.link().await.unwrap();
        link.prove();
        connector.retire(&link).await;
        let link = connector.link().await.unwrap();
        connector.retire(&link).await;
        assert!(matches!(connector.link().await, Err(NoConnection::BackingOff { .. })));
    }
}
