//! The control plane: answers nodes and operators from a store. It keeps nothing that the store does not have, so that
//! several can serve one store, and a node may come to another one at any time.

mod alerts;
mod fetch;
mod identity;
mod operators;
mod session;
mod slot;
mod sync;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use metrics::{counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::store::{Store, Watched};
use crate::config::{Address, ServerTls};
use crate::grpc::Code;
use crate::proto::control::FILE_DESCRIPTOR_SET;
use crate::proto::control::v1::control_server::ControlServer;
use crate::proto::control::v1::operator_server::OperatorServer;
use crate::socket::{Activity, Bounds, Listener, Preface, ServeError, Stream, Upload};
use crate::telemetry;
use crate::tls::{Acceptor, HTTP_2, TlsError};
use identity::Identity;

/// The first bytes of every HTTP/2 connection of a client (RFC 9113 section 3.4).
const PREFACE: &[Preface] = &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
/// Connections at once; a node has one.
const MAX_CONNECTIONS: usize = 8192;
/// How long a peer may take for TLS and the first bytes.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be without a call.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// A peer that says nothing for so long is asked whether it is there, and has as long again to say so.
const PING_AFTER: Duration = Duration::from_secs(20);
/// Calls at once on a connection.
const MAX_CALLS: u32 = 64;
/// Bytes of a call's headers.
const MAX_HEADER: u32 = 16 << 10;
/// Streams that a client opened and took back, and that no handler has seen: more is an attack (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Streams that we reset, because the client broke the protocol in them: more is an attack (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 100;
/// Bytes of a message to us: a batch of alerts is the longest.
const MAX_MESSAGE: usize = 4 << 20;
/// Streams of one kind at once.
const MAX_STREAMS: usize = 8192;
/// Segments that are being sent at once.
const MAX_FETCHES: usize = 512;

/// What a client is told whose certificate's time is over.
const EXPIRED: &str = "the time of the client certificate is over; connect again with a new one";

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Anybody could connect, and would be taken for a tenant's node or an operator.
    #[error(
        "{0} can be reached from other hosts, so nodes must show certificates: give a server certificate, its key and the authority of clients (--tls-cert, --tls-key, --tls-client-ca), or listen on a loopback address or a Unix socket"
    )]
    Open(Address),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {cause}; give another address, or end what listens there")]
    Bind {
        /// Where.
        address: Address,
        /// Why not.
        cause: io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The bound socket does not work.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// A bound control plane that does not answer yet.
pub struct Server {
    listener: Listener,
    tls: Option<Arc<Acceptor>>,
    /// Whether every client has shown a certificate.
    certified: bool,
    shared: Arc<Shared>,
}

/// What all calls have in common.
struct Shared {
    store: Store,
    publications: Watched,
    tasks: TaskTracker,
    nodes: Arc<Semaphore>,
    alerts: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
}

/// The service of Control and of Operator.
#[derive(Clone)]
struct Calls(Arc<Shared>);

impl Server {
    /// Reads the publications and binds.
    ///
    /// # Errors
    /// The address cannot be bound, is open to other hosts without client certificates, or the certificates cannot be
    /// used.
    pub async fn bind(store: Store, address: &Address, tls: Option<&ServerTls>) -> Result<Server, ServerError> {
        let certified = tls.is_some_and(|tls| tls.client_ca_file.is_some());
        if !certified && !address.is_local() {
            return Err(ServerError::Open(address.clone()));
        }
        let tls = tls.map(|tls| Acceptor::load("control plane", tls, HTTP_2)).transpose()?.map(Arc::new);
        let listener = Listener::bind("control-plane", address)
            .map_err(|cause| ServerError::Bind { address: address.clone(), cause })?;
        gauge!(telemetry::CONTROL_PLANE_NODES).set(0.0);
        let publications = Watched::start(store.clone()).await;
        let [nodes, alerts] = [MAX_STREAMS; 2].map(|most| Arc::new(Semaphore::new(most)));
        let fetches = Arc::new(Semaphore::new(MAX_FETCHES));
        let shared = Arc::new(Shared { store, publications, tasks: TaskTracker::new(), nodes, alerts, fetches });
        Ok(Server { listener, tls, certified, shared })
    }

    /// Where it listens; the port that the system chose when 0 was asked for.
    pub fn address(&self) -> &Address {
        self.listener.local_address()
    }

    /// Answers until `shutdown` is ready, then ends streams, so that nodes go elsewhere, finishes what is in flight and
    /// returns. Whoever cannot wait so long drops the future.
    ///
    /// # Errors
    /// The socket broke down.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Server { listener, tls, certified, shared } = self;
        let address = listener.local_address();
        tracing::info!(%address, tls = tls.is_some(), client_certificates = certified, store = %shared.store.root().display(), "control plane is listening");
        let routes = routes(&shared, address.is_local()).await;
        let http2 = http_2();
        let bounds = Bounds {
            max_connections: MAX_CONNECTIONS,
            max_connections_per_peer: MAX_CONNECTIONS,
            // Streams of nodes say little for days.
            min_upload_rate: 0,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
        };
        let open = move |stream: Stream, _, activity: Activity| {
            let identity = match stream.peer_certificate() {
                Some(certificate) if certified => Identity::of_certificate(certificate),
                None if certified => Identity::Unusable("the client showed no certificate".to_owned()),
                _ => Identity::Local,
            };
            let service = Identified { routes: routes.clone(), identity };
            http2.serve_connection(TokioIo::new(stream), activity.watch(service))
        };
        let served = listener.serve(bounds, tls, PREFACE, open, shutdown).await;
        // Streams note how they ended.
        shared.tasks.close();
        shared.tasks.wait().await;
        Ok(served?)
    }
}

async fn routes(shared: &Arc<Shared>, describe: bool) -> Routes {
    let control = ControlServer::new(Calls(Arc::clone(shared))).max_decoding_message_size(MAX_MESSAGE);
    let operator = OperatorServer::new(Calls(Arc::clone(shared))).max_decoding_message_size(MAX_MESSAGE);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ControlServer<Calls>>().await;
    let mut routes = Routes::new(control).add_service(operator).add_service(health_service);
    if describe {
        let builder = || {
            [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET].into_iter().fold(
                tonic_reflection::server::Builder::configure(),
                tonic_reflection::server::Builder::register_encoded_file_descriptor_set,
            )
        };
        match (builder().build_v1(), builder().build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "gRPC reflection is not served: its descriptors cannot be read");
            }
        }
    }
    routes
}

fn http_2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_CALLS)
        .max_header_list_size(MAX_HEADER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_AFTER);
    builder
}

/// Says to each call who calls.
#[derive(Clone)]
struct Identified {
    routes: Routes,
    identity: Identity,
}

impl Service<Request<Upload>> for Identified {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Routes as Service<Request<Upload>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Routes as Service<Request<Upload>>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, mut request: Request<Upload>) -> Self::Future {
        request.extensions_mut().insert(self.identity.clone());
        self.routes.call(request)
    }
}

/// Who calls. Without a word nobody is let in, nor is anyone on a connection that outlived its certificate.
fn identity<T>(request: &tonic::Request<T>) -> Identity {
    let identity = request.extensions().get::<Identity>().cloned();
    match identity.filter(|identity| identity.left(Timestamp::now()) != Some(Duration::ZERO)) {
        Some(identity) => identity,
        None => Identity::Unusable(EXPIRED.to_owned()),
    }
}

fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let full = |_| Status::resource_exhausted("too many streams of this kind are open; come again later");
    Arc::clone(of).try_acquire_owned().map_err(full)
}

fn draining() -> Status {
    Status::unavailable("this control plane ends; connect again")
}

/// Counts a refusal. A peer that went away was not refused.
fn refused(call: &'static str, status: &Status) {
    if matches!(status.code(), tonic::Code::Cancelled | tonic::Code::Unknown) {
        return;
    }
    let code = Code::from_number(status.code() as u32).to_string().to_lowercase();
    counter!(telemetry::CONTROL_PLANE_REFUSALS_TOTAL, "call" => call, "status" => code).increment(1);
}
