//! The stream to the control plane: connecting, and its events.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBuilder;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::liveness::{self, LastReceived, TrackedConnection};
use super::settings::Timing;
use crate::config::Endpoint;
use crate::intel::manifest;
use crate::net::dial;
use crate::net::tls;
use crate::proto::control::v1::control_client::ControlClient;
use crate::proto::control::v1::{SyncRequest, SyncResponse};

/// The maximum size of a response: a manifest, and room for signatures.
const MAX_MESSAGE: usize = manifest::MAX_BYTES + (64 << 10);
/// The capacity of the queue of requests. If the control plane lets it fill up, the stream is closed.
const REQUESTS: usize = 64;
/// The maximum length of a shown message from a peer.
const SHOWN: usize = 200;

/// The reason that there is no stream.
#[derive(Debug)]
pub(super) struct StreamLoss {
    pub(super) cause: String,
    /// The value of the metric's label.
    pub(super) reason: &'static str,
}

/// Opens streams.
#[derive(Clone)]
pub(super) struct Dialer {
    endpoint: Endpoint,
    tls: Option<Arc<tls::Connector>>,
    timing: Timing,
}

/// The connections over which the segments of one version are fetched.
pub(super) struct FetchRoutes {
    /// The connection of the stream. Its threads run at idle priority.
    stream: Channel,
    dialer: Dialer,
    late: OnceCell<Channel>,
}

/// An open stream.
pub(super) struct Stream {
    channel: Channel,
    requests: mpsc::Sender<SyncRequest>,
    responses: Responses,
    /// Resolves when the control plane no longer answers, with the cause.
    silent: Pin<Box<dyn Future<Output = String> + Send>>,
}

enum Responses {
    /// The response head has not arrived: stock gRPC servers send it with the first response.
    Expected(Pin<Box<Head>>),
    /// Responses arrive.
    Coming(Box<Streaming<SyncResponse>>),
}

/// The response head of a Sync call.
type Head = dyn Future<Output = Result<tonic::Response<Streaming<SyncResponse>>, Status>> + Send;

impl Responses {
    /// Cancel-safe.
    async fn next(&mut self) -> Result<Option<SyncResponse>, Status> {
        loop {
            match self {
                Responses::Expected(head) => {
                    let responses = head.as_mut().await?.into_inner();
                    *self = Responses::Coming(Box::new(responses));
                }
                Responses::Coming(responses) => return responses.message().await,
            }
        }
    }
}

/// The state of the stream.
pub(super) enum Link {
    /// Waiting for the next attempt.
    Waiting(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// An attempt is running.
    Dialling(Pin<Box<dyn Future<Output = Result<Stream, StreamLoss>> + Send>>),
    Open(Box<Stream>),
}

/// An event of the stream.
pub(super) enum Event {
    /// The next attempt is due.
    Due,
    /// The attempt succeeded.
    Opened(Stream),
    /// A response arrived.
    Response(SyncResponse),
    /// The stream ended, or the attempt failed.
    Lost(StreamLoss),
}

impl Link {
    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        match self {
            Link::Waiting(pause) => {
                pause.as_mut().await;
                Event::Due
            }
            Link::Dialling(attempt) => match attempt.as_mut().await {
                Ok(stream) => Event::Opened(stream),
                Err(lost) => Event::Lost(lost),
            },
            Link::Open(stream) => {
                let Stream { responses, silent, .. } = &mut **stream;
                let lost = |cause| Event::Lost(StreamLoss { cause, reason: "lost" });
                tokio::select! {
                    biased;
                    response = responses.next() => match response {
                        Ok(Some(response)) => Event::Response(response),
                        Ok(None) => lost("the control plane closed the stream".to_owned()),
                        Err(status) => lost(describe(&status)),
                    },
                    cause = silent => lost(cause),
                }
            }
        }
    }

    pub(super) fn stream(&self) -> Option<&Stream> {
        match self {
            Link::Open(stream) => Some(stream),
            Link::Waiting(_) | Link::Dialling(_) => None,
        }
    }
}

impl Stream {
    /// Sends a request. Returns `false` if the queue is full.
    pub(super) fn send(&self, request: SyncRequest) -> bool {
        self.requests.try_send(request).is_ok()
    }
}

impl FetchRoutes {
    pub(super) fn new(stream: &Stream, dialer: Dialer) -> FetchRoutes {
        FetchRoutes { stream: stream.channel.clone(), dialer, late: OnceCell::new() }
    }

    pub(super) fn stream(&self) -> Channel {
        self.stream.clone()
    }

    /// Returns the connection for a late reload, which is made on first use, on the caller's threads.
    pub(super) async fn late(&self) -> Result<Channel, StreamLoss> {
        self.late.get_or_try_init(|| self.dialer.connect()).await.cloned()
    }
}

impl Dialer {
    pub(super) fn new(endpoint: Endpoint, tls: Option<tls::Connector>, timing: Timing) -> Dialer {
        Dialer { endpoint, tls: tls.map(Arc::new), timing }
    }

    /// Connects and opens the stream, with these first requests.
    pub(super) async fn open(self, first: Vec<SyncRequest>) -> Result<Stream, StreamLoss> {
        let (channel, heard) = self.dial().await?;
        let (requests, queue) = mpsc::channel(REQUESTS);
        for request in first {
            // The queue has room for the first few.
            let _ = requests.try_send(request);
        }
        let mut client = ControlClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let mut head: Pin<Box<Head>> = Box::pin(async move { client.sync(ReceiverStream::new(queue)).await });
        let Timing { open, ping_timeout, .. } = self.timing;
        let responses = match timeout(open, &mut head).await {
            Ok(Ok(response)) => Responses::Coming(Box::new(response.into_inner())),
            Ok(Err(status)) => return Err(StreamLoss { cause: describe(&status), reason: "refused" }),
            Err(_) if liveness::ask(&channel, &heard, ping_timeout.min(open)).await => Responses::Expected(head),
            Err(_) => {
                return Err(StreamLoss {
                    cause: format!("the control plane did not open the stream within {open:?}"),
                    reason: "refused",
                });
            }
        };
        let silent = Box::pin(liveness::watch(channel.clone(), heard, self.timing));
        Ok(Stream { channel, requests, responses, silent })
    }

    async fn connect(&self) -> Result<Channel, StreamLoss> {
        self.dial().await.map(|(channel, _)| channel)
    }

    /// Connects, and returns the channel and the time of the last received data.
    async fn dial(&self) -> Result<(Channel, Arc<LastReceived>), StreamLoss> {
        let (scheme, authority) = match &self.endpoint {
            Endpoint::Http { host, port } => ("http", authority(host, *port)),
            Endpoint::Https { host, port } => ("https", authority(host, *port)),
            Endpoint::Unix(_) => ("http", "localhost".to_owned()),
        };
        let failed = |cause: String| StreamLoss { cause, reason: "connect" };
        let origin: Uri = format!("{scheme}://{authority}").parse().map_err(|error| failed(format!("{error}")))?;
        // The connector handles TLS itself, so for tonic the connection is plaintext.
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|error| failed(error.to_string()))?
            .origin(origin)
            .user_agent(concat!("hotlist/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| failed(error.to_string()))?;
        let (dialer, heard) = (self.clone(), LastReceived::new());
        let hears = Arc::clone(&heard);
        let connector = tower::service_fn(move |_: Uri| {
            let (dialer, heard) = (dialer.clone(), Arc::clone(&hears));
            async move {
                let stream = dial::open(&dialer.endpoint, dialer.tls.as_deref(), dialer.timing.open).await;
                stream.map(|socket| TokioIo::new(TrackedConnection { socket, heard })).map_err(io::Error::from)
            }
        });
        match timeout(self.timing.open, endpoint.connect_with_connector(connector)).await {
            Ok(Ok(channel)) => Ok((channel, heard)),
            Ok(Err(error)) => Err(failed(innermost(&error))),
            Err(_) => Err(failed(format!("connecting took longer than {:?}", self.timing.open))),
        }
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Pauses that double, with jitter, without a limit on their number.
pub(super) fn delays(first: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest).with_jitter().without_max_times()
}

/// Formats a status on one line. Its text may be the peer's.
pub(super) fn describe(status: &Status) -> String {
    let source = status.source().map(|error| format!(": {}", innermost(error))).unwrap_or_default();
    let text: String = status.message().chars().take(SHOWN).flat_map(char::escape_debug).collect();
    format!("{}: {text}{source}", status.code().description())
}

/// Returns the innermost error of a chain; the outer ones only state that something failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
