//! The HTTP/2 connection of a network sink: opened on first use, reopened when lost or silent, with back-off on
//! failures.

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

/// Shortest and longest pause between attempts to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Timeout of each step of an attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a ping on a silent connection may take before a new connection is opened.
const ASK_TIMEOUT: Duration = Duration::from_millis(250);

/// Likely causes when a peer closes a connection at once, with and without TLS.
const HINT_TLS: &str = "the peer may require a client certificate: set `tls.cert_file` and `tls.key_file`";
const HINT_PLAIN: &str = "check that it is a gRPC receiver without TLS: for TLS use an `https://` endpoint, for OTLP over HTTP set \
                          `protocol: http`";

/// The reason that there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The attempt just failed.
    #[error("no connection: {cause}")]
    Failed { cause: String },
    /// The last attempt failed, and the next one is not due yet.
    #[error("no connection: {cause}; next attempt in {wait:?}")]
    BackingOff {
        /// The error of the last attempt.
        cause: String,
        /// Time until the next attempt.
        wait: Duration,
    },
}

/// Opens connections without the network, for example to the same process.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Opens a stream to the next hop.
    fn dial(&self) -> BoxFuture<'_, io::Result<DuplexStream>>;
}

/// Maintains one connection to an endpoint.
#[derive(Debug)]
pub struct Connector {
    endpoint: Endpoint,
    dial: Option<Arc<dyn Dial>>,
    /// Required for an `https` endpoint, which is never used without TLS.
    tls: Option<tls::Connector>,
    /// Held while connecting, so that requests wait for the attempt under way instead of starting their own.
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
    /// Creates a connector. The first request opens the connection.
    pub fn new(endpoint: Endpoint) -> Connector {
        let state = State { link: None, delays: delays(), retry_at: None, cause: String::new() };
        Connector { endpoint, dial: None, tls: None, state: Mutex::new(state) }
    }

    /// Sets TLS for an `https` endpoint; other endpoints are not affected.
    pub fn set_tls(&mut self, tls: tls::Connector) {
        self.tls = Some(tls);
    }

    /// Connects through `dial` instead of the network.
    pub fn set_dial(&mut self, dial: Arc<dyn Dial>) {
        self.dial = Some(dial);
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the connection, opening it if there is none and no back-off is running.
    ///
    /// # Errors
    /// There is no connection; the text states the cause.
    pub async fn link(&self) -> Result<Link, ConnectError> {
        let mut state = self.state.lock().await;
        match state.link.clone() {
            Some(link) if !link.is_open() => self.lose(&mut state),
            Some(link) if link.is_fresh() => return Ok(link),
            Some(link) => return self.probe(&mut state, link).await,
            None => {}
        }
        if let Some(wait) = state.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
            && !wait.is_zero()
        {
            return Err(ConnectError::BackingOff { cause: state.cause.clone(), wait });
        }
        let opened = self.open().await;
        self.take(&mut state, opened)
    }

    /// Returns a silent connection if it still answers a ping, otherwise a new one. Requests on the old connection
    /// continue.
    async fn probe(&self, state: &mut State, silent: Link) -> Result<Link, ConnectError> {
        let mut asked = std::pin::pin!(silent.ping());
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
            tracing::info!(endpoint = %self.endpoint, "replaced a silent connection to the next hop");
        }
        self.take(state, opened)
    }

    /// Stores the result of an attempt.
    fn take(&self, state: &mut State, opened: Result<Link, FailedAttempt>) -> Result<Link, ConnectError> {
        match opened {
            Ok(link) => {
                state.link = Some(link.clone());
                Ok(link)
            }
            Err(FailedAttempt { cause, reason }) => {
                self.count_failure(reason);
                state.link = None;
                state.fail(cause.clone());
                Err(ConnectError::Failed { cause })
            }
        }
    }

    async fn open(&self) -> Result<Link, FailedAttempt> {
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

    /// Stops using a connection: the next request opens a new one. Requests on it continue.
    pub async fn retire(&self, link: &Link) {
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|current| current.is_same(link)) {
            self.lose(&mut state);
        }
    }

    /// Drops the connection; one that never answered a request counts as a failed attempt.
    fn lose(&self, state: &mut State) {
        match state.link.take() {
            Some(link) if link.is_proven() => {
                state.delays = delays();
                state.retry_at = None;
            }
            lost => {
                self.count_failure("lost");
                let why = lost.map(|link| link.end()).unwrap_or_default();
                state.fail(format!("the connection was lost before it answered a request: {why}"));
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

/// The reason that one attempt failed, and the metric label.
struct FailedAttempt {
    cause: String,
    reason: &'static str,
}

impl From<io::Error> for FailedAttempt {
    fn from(cause: io::Error) -> FailedAttempt {
        let reason = if cause.kind() == io::ErrorKind::TimedOut { "timeout" } else { "connect" };
        FailedAttempt { cause: cause.to_string(), reason }
    }
}

impl From<DialError> for FailedAttempt {
    fn from(error: DialError) -> FailedAttempt {
        match error {
            DialError::Connect(cause) => FailedAttempt::from(cause),
            DialError::Tls(cause) => FailedAttempt { cause: cause.to_string(), reason: "tls" },
        }
    }
}

impl From<OpenError> for FailedAttempt {
    fn from(error: OpenError) -> FailedAttempt {
        let reason = match error {
            OpenError::Silent(_) => "timeout",
            OpenError::Protocol(_) => "protocol",
            OpenError::Tls(_) => "tls",
            OpenError::Ended(_) => "lost",
        };
        FailedAttempt { cause: error.to_string(), reason }
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

    /// Nobody listens: the first request fails by its own attempt, the next ones at once and without an attempt, until
    /// the back-off (here forced to have passed) allows another attempt.
    #[tokio::test]
    async fn backs_off_while_nobody_listens() {
        let (listener, endpoint) = free_port().await;
        drop(listener);
        let connector = Connector::new(endpoint);
        assert!(matches!(connector.link().await, Err(ConnectError::Failed { .. })));
        connector.state.lock().await.retry_at = Some(Instant::now() + Duration::from_secs(60));
        assert!(matches!(connector.link().await, Err(ConnectError::BackingOff { .. })));
        connector.state.lock().await.retry_at = Some(Instant::now());
        assert!(matches!(connector.link().await, Err(ConnectError::Failed { .. })));
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
        assert!(matches!(connector.link().await, Err(ConnectError::BackingOff { .. })));
    }
}
