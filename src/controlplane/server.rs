//! The control plane: answers nodes and operators from a store. All its state is in the store, so that several control
//! planes can serve one store, and a node may switch between them at any time.

mod alerts;
mod fetch;
mod identity;
mod limits;
mod operators;
mod progress;
mod quotas;
mod session;
mod slot;
mod sync;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use metrics::{counter, gauge};
use tokio::time::interval;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use crate::config::{Address, ServerTls};
use crate::escape::Escaped;
use crate::net::grpc::Code;
use crate::net::socket::{Activity, Connection, ConnectionLimits, Listener, Preface, ServeError, Stream, Upload};
use crate::net::tls::{Acceptor, HTTP_2, TlsError};
use crate::proto::control::FILE_DESCRIPTOR_SET;
use crate::proto::control::v1::control_server::ControlServer;
use crate::proto::control::v1::operator_server::OperatorServer;
use crate::store::{PublicationWatch, Store};
use crate::task;
use crate::telemetry;
use identity::Identity;
use progress::{TimedRequestBody, TimedResponseBody, call_of};
use quotas::{ExceededLimit, Permit, PermitHolder, PermitKind, Quotas};

pub use limits::{Limits, Quota};

/// The first bytes of every HTTP/2 connection of a client (RFC 9113 section 3.4).
const PREFACE: &[Preface] = &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
/// The time limit for the TLS handshake and the first bytes of a connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum time that a connection may have no call.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// The silence after which a connection is pinged, and the time limit for the response.
const PING_AFTER: Duration = Duration::from_secs(20);
/// The maximum number of concurrent calls per connection.
const MAX_CALLS: u32 = 64;
/// The maximum size of a call's headers in bytes.
const MAX_HEADER: u32 = 16 << 10;
/// The maximum number of streams that were opened and reset by the client before a handler saw them (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// The maximum number of streams that were reset because of the client's protocol errors (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 100;
/// The maximum size of a received message in bytes: a batch of alerts is the largest.
const MAX_MESSAGE: usize = 4 << 20;

/// The interval of removing the files of silent nodes.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// The refusal of a client whose certificate has expired.
const EXPIRED: &str = "the client certificate has expired; connect again with a new one";

/// The reason that the control plane cannot start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is reachable from other hosts, but clients do not authenticate.
    #[error(
        "{0} is reachable from other hosts, so clients must authenticate with certificates: give a server certificate, its key and the authority of clients (--tls-cert, --tls-key, --tls-client-ca), or listen on a loopback address or a Unix socket"
    )]
    Open(Address),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {cause}; give another address, or end the process that listens there")]
    Bind { address: Address, cause: io::Error },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The bound socket failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// A bound control plane that does not answer calls yet.
pub struct Server {
    listener: Listener,
    tls: Option<Arc<Acceptor>>,
    /// Whether every client must authenticate with a certificate.
    certified: bool,
    shared: Arc<ServerState>,
}

/// The state that all calls share.
struct ServerState {
    store: Store,
    publications: PublicationWatch,
    tasks: TaskTracker,
    quotas: Arc<Quotas>,
}

/// The implementation of the services Control and Operator.
#[derive(Clone)]
struct ControlService(Arc<ServerState>);

impl Server {
    /// Reads the publications and binds the address.
    ///
    /// # Errors
    /// The address cannot be bound, is reachable from other hosts without client certificates, or the certificates cannot
    /// be used.
    pub async fn bind(
        store: Store,
        address: &Address,
        tls: Option<&ServerTls>,
        limits: Limits,
    ) -> Result<Server, ServerError> {
        let certified = tls.is_some_and(|tls| tls.client_ca_file.is_some());
        if !certified && !address.is_local() {
            return Err(ServerError::Open(address.clone()));
        }
        let tls = tls.map(|tls| Acceptor::load("control plane", tls, HTTP_2)).transpose()?.map(Arc::new);
        let listener = Listener::bind("control-plane", address)
            .map_err(|cause| ServerError::Bind { address: address.clone(), cause })?;
        gauge!(telemetry::CONTROL_PLANE_NODES).set(0.0);
        gauge!(telemetry::CONTROL_PLANE_DUPLICATE_NODES).set(0.0);
        let publications = PublicationWatch::start(store.clone()).await;
        let shared = ServerState { store, publications, tasks: TaskTracker::new(), quotas: Quotas::new(limits) };
        let shared = Arc::new(shared);
        Ok(Server { listener, tls, certified, shared })
    }

    /// Returns the bound address, with the port that the system chose for port 0.
    pub fn address(&self) -> &Address {
        self.listener.local_address()
    }

    /// Answers calls until `shutdown` resolves, then closes streams, so that nodes reconnect elsewhere, completes the calls
    /// in flight and returns. Dropping the future aborts them.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Server { listener, tls, certified, shared } = self;
        let address = listener.local_address();
        tracing::info!(%address, tls = tls.is_some(), client_certificates = certified, store = %Escaped(shared.store.root().display()), "control plane is listening");
        let routes = routes(&shared, address.is_local()).await;
        let http2 = http_2();
        let bounds = ConnectionLimits {
            max_connections: shared.quotas.limits().connections.total,
            // Many tenants may share one address; their certificates identify them.
            max_connections_per_peer: shared.quotas.limits().connections.total,
            max_waiting: shared.quotas.limits().connections.total,
            // Node streams send little for days.
            min_upload_rate: 0,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            max_age: None,
        };
        let (quotas, numbers) = (Arc::clone(&shared.quotas), AtomicU64::new(0));
        let open = move |stream: Stream, _, activity: Activity| {
            let identity = match stream.peer_certificate() {
                Some(certificate) if certified => Identity::from_certificate(certificate),
                None if certified => Identity::Unusable("the client sent no certificate".to_owned()),
                _ => Identity::Local,
            };
            let holder = identity.holder(numbers.fetch_add(1, Ordering::Relaxed));
            let place = quotas.take(PermitKind::Connection, &holder, 1).map(Arc::new);
            let caller = Caller { identity, holder, address: stream.peer_address() };
            let service = IdentifiedService { routes: routes.clone(), caller, place, quotas: Arc::clone(&quotas) };
            http2.serve_connection(TokioIo::new(stream), activity.watch(service))
        };
        let forgets = shared.quotas.limits().forget_nodes_after;
        let forgetting = forgets.map(|after| {
            AbortOnDropHandle::new(task::background("node cleanup", forget_nodes(shared.store.clone(), after)))
        });
        let served = listener.serve(bounds, tls, PREFACE, open, shutdown).await;
        drop(forgetting);
        // Streams record how they ended.
        shared.tasks.close();
        shared.tasks.wait().await;
        Ok(served?)
    }
}

/// Removes the files of silent nodes, at start and once per hour. Never returns.
async fn forget_nodes(store: Store, after: Duration) {
    let mut every = interval(FORGET_EVERY);
    loop {
        every.tick().await;
        let store = store.clone();
        let forget = move || store.forget_nodes(Timestamp::now().checked_sub(after).unwrap_or(Timestamp::MIN));
        match tokio::task::spawn_blocking(forget).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(nodes)) => {
                counter!(telemetry::CONTROL_PLANE_FORGOTTEN_NODES_TOTAL).increment(nodes as u64);
                tracing::info!(nodes, after = ?after, "removed files of silent nodes");
            }
            Ok(Err(error)) => tracing::warn!(error = %Escaped(&error), "cannot remove files of silent nodes"),
        }
    }
}

async fn routes(shared: &Arc<ServerState>, describe: bool) -> Routes {
    let control = ControlServer::new(ControlService(Arc::clone(shared))).max_decoding_message_size(MAX_MESSAGE);
    let operator = OperatorServer::new(ControlService(Arc::clone(shared))).max_decoding_message_size(MAX_MESSAGE);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ControlServer<ControlService>>().await;
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
                tracing::error!(error = %Escaped(&error), "cannot read descriptors, gRPC reflection is not served");
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

/// The caller's identity, and the holder whose quotas its calls count towards.
#[derive(Clone)]
struct Caller {
    identity: Identity,
    holder: PermitHolder,
    /// The address of a peer that came over TCP.
    address: Option<SocketAddr>,
}

/// Attaches the identity of its caller to each call, and applies the time-outs.
#[derive(Clone)]
struct IdentifiedService {
    routes: Routes,
    caller: Caller,
    /// Released when the connection and its calls have ended. Without a permit every call is refused, so the connection
    /// is idle, and is closed when another connection needs its place.
    place: Result<Arc<Permit>, ExceededLimit>,
    quotas: Arc<Quotas>,
}

impl Service<Request<Upload>> for IdentifiedService {
    type Response = Response<TimedResponseBody<Body>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Routes as Service<Request<TimedRequestBody<Upload>>>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, request: Request<Upload>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let call = call_of(parts.uri.path());
        let connection = parts.extensions.get::<Connection>().cloned();
        let not_read = self.quotas.limits().not_read;
        if let Err(excess) = self.place {
            let status = excess.refuse(call, PermitKind::Connection);
            let answer =
                status.into_http::<Body>().map(|body| TimedResponseBody::new(body, call, not_read, None, connection));
            return Box::pin(std::future::ready(Ok(answer)));
        }
        parts.extensions.insert(self.caller.clone());
        let body = TimedRequestBody::new(body, call, Arc::clone(&self.quotas), self.caller.holder.clone());
        let answer = self.routes.call(Request::from_parts(parts, body));
        Box::pin(async move {
            let answer = answer.await?;
            let permit = answer.extensions().get::<Arc<Permit>>().cloned();
            Ok(answer.map(|body| TimedResponseBody::new(body, call, not_read, permit, connection)))
        })
    }
}

/// Returns the caller. Refuses connections without an identity, and connections that outlived their certificate.
fn caller<T>(request: &tonic::Request<T>) -> Caller {
    let caller = request.extensions().get::<Caller>().cloned();
    match caller.filter(|caller| caller.identity.left(Timestamp::now()) != Some(Duration::ZERO)) {
        Some(caller) => caller,
        None => {
            let identity = Identity::Unusable(EXPIRED.to_owned());
            let holder = identity.holder(0);
            Caller { identity, holder, address: None }
        }
    }
}

fn permit(shared: &ServerState, call: &'static str, kind: PermitKind, caller: &Caller) -> Result<Permit, Status> {
    shared.quotas.take(kind, &caller.holder, 1).map_err(|excess| excess.refuse(call, kind))
}

fn draining() -> Status {
    Status::unavailable("this control plane is shutting down; connect again")
}

/// Counts a refusal. A cancelled call does not count.
fn refused(call: &'static str, status: &Status) {
    if matches!(status.code(), tonic::Code::Cancelled | tonic::Code::Unknown) {
        return;
    }
    let code = Code::from_number(status.code() as u32).to_string().to_lowercase();
    counter!(telemetry::CONTROL_PLANE_REFUSALS_TOTAL, "call" => call, "status" => code).increment(1);
}
