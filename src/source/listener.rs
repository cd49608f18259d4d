//! The socket of a source and the protocols on it: HTTP/2 for gRPC, for some sources also HTTP/1.1, within the limits
//! of the source.
//!
//! Socket and service are separate, so that a socket can stay open while the service behind it is replaced.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;

use http::{Request, Response};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::{Limits, ServeError};
use crate::config::Address;
use crate::net::socket::{Activity, ConnectionLimits, DepartureCheck, Either, Listener, Preface, TimedHeader, Upload};
use crate::net::tls::{self, Acceptor};

/// The first bytes of every HTTP/2 connection of a client (RFC 9113 section 3.4).
const HTTP_2: Preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The same, or the first bytes of an HTTP/1 request: a method of RFC 9110 section 9 or RFC 5789, or an empty line
/// before it, which is ignored (RFC 9112 section 2.2).
const HTTP: &[Preface] = &[
    HTTP_2,
    b"POST ",
    b"GET ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"\r\n",
];
/// Streams that a client opened and reset before any handler saw them; more is an attack (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Streams that we reset because the client broke the protocol; more is an attack (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 100;
/// Bytes that are read at once from an HTTP/1 connection.
const HTTP_1_BUFFER: usize = 64 << 10;

/// A bound source that does not accept connections yet.
pub struct BoundSource {
    socket: SourceSocket,
    routes: Routes,
}

/// A bound socket without a service.
pub struct SourceSocket {
    listener: Listener,
    limits: Limits,
    tls: Option<Arc<Acceptor>>,
    /// Whether HTTP/1.1 is served in addition to HTTP/2.
    http1: bool,
}

impl BoundSource {
    /// Combines a socket with a service: `source` answers every request that none of [`BoundSource::with_services`] answers.
    pub(super) fn on<S>(listener: Listener, limits: Limits, source: S) -> BoundSource
    where
        S: Service<Request<axum::body::Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let socket = SourceSocket { listener, limits, tls: None, http1: false };
        let routes = Routes::from(axum::Router::new().fallback_service(source));
        BoundSource { socket, routes }
    }

    /// The socket, for a source that takes over from this one.
    pub fn listener(&self) -> &Listener {
        &self.socket.listener
    }

    /// The address it listens on, with the port that the system chose if 0 was configured.
    pub fn local_address(&self) -> &Address {
        self.socket.listener.local_address()
    }

    /// Also serves HTTP/1.1, to clients that start with it.
    #[must_use]
    pub(super) fn with_http1(mut self) -> BoundSource {
        self.socket.http1 = true;
        self
    }

    /// The protocols to offer in the TLS handshake.
    pub fn protocols(&self) -> tls::Protocols {
        if self.socket.http1 { tls::HTTP } else { tls::HTTP_2 }
    }

    /// Accepts only TLS connections.
    #[must_use]
    pub fn with_tls(mut self, tls: Acceptor) -> BoundSource {
        self.socket.tls = Some(Arc::new(tls));
        self
    }

    /// Serves more services on the same socket (health, reflection).
    #[must_use]
    pub fn with_services(mut self, add: impl FnOnce(Routes) -> Routes) -> BoundSource {
        self.routes = add(self.routes);
        self
    }

    /// Splits it into the socket and its services.
    pub fn into_parts(self) -> (SourceSocket, Routes) {
        (self.socket, self.routes)
    }

    /// Accepts and answers until `shutdown` is ready, then stops accepting, asks clients to disconnect (GOAWAY),
    /// finishes the requests in flight and returns. A caller that cannot wait so long drops the future.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.socket.serve(self.routes, shutdown).await
    }
}

impl SourceSocket {
    /// Like [`BoundSource::serve`], with any service. The service is cloned for each connection and called for each request,
    /// so a service that resolves its target at each call can be replaced while the socket serves.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn serve<S>(self, service: S, shutdown: impl Future<Output = ()>) -> Result<(), ServeError>
    where
        S: Service<Request<Upload>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let SourceSocket { listener, limits, tls, http1 } = self;
        let (name, address) = (listener.name(), listener.local_address());
        tracing::info!(source = name, %address, tls = tls.is_some(), "source is listening");
        if tls.is_none() && !address.is_local() {
            tracing::warn!(
                source = name,
                %address,
                "other hosts can send events without encryption: set `sources.<id>.tls`, or listen on a loopback address"
            );
        }
        let prefaces: &[Preface] = if http1 { HTTP } else { &[HTTP_2] };
        let (http1, http2) = (http_1(&limits), http_2(&limits));
        let bounds = ConnectionLimits {
            max_connections: limits.max_connections,
            max_connections_per_peer: limits.max_connections_per_peer,
            max_waiting: limits.max_waiting.unwrap_or(limits.max_connections),
            min_upload_rate: limits.min_upload_rate,
            handshake_timeout: limits.handshake_timeout,
            idle_timeout: limits.idle_timeout,
            max_age: limits.max_connection_age,
        };
        let open = move |stream, preface, activity: Activity| {
            let service = activity.clone().watch(service.clone());
            if preface == HTTP_2 {
                return Either::Two(Box::pin(http2.serve_connection(TokioIo::new(stream), service)));
            }
            let stream = TimedHeader::new(stream, activity.clone(), limits.handshake_timeout);
            let stream = DepartureCheck::new(stream, activity);
            Either::One(Box::pin(http1.serve_connection(TokioIo::new(stream), service)))
        };
        listener.serve(bounds, tls, prefaces, open, shutdown).await
    }
}

pub(super) fn bind(name: &str, address: &Address) -> io::Result<Listener> {
    bind_beside(name, address, &[])
}

/// Binds the socket of a source where some of `others` may listen on overlapping addresses.
pub(crate) fn bind_beside(name: &str, address: &Address, others: &[&Listener]) -> io::Result<Listener> {
    Listener::bind_beside(name, address, others)
        .map_err(|cause| io::Error::new(cause.kind(), format!("a source cannot listen at {address}: {cause}")))
}

fn http_1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // hyper's timeout would also run while a connection waits for its next request: see TimedHeader.
        .header_read_timeout(None)
        // A client that closes its sending side after the request still waits for the answer: see DepartureCheck.
        .half_close(true)
        .max_header_size(limits.max_header_bytes as usize)
        .max_buf_size(HTTP_1_BUFFER);
    builder
}

fn http_2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(limits.max_frame_bytes)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_bytes)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .keep_alive_interval(limits.ping_after)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}
