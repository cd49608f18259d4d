//! The admin listener: probes, metrics and the configuration over HTTP/1, separate from the listeners for events; and the
//! listener for probes from other hosts, which serves nothing else.
//!
//! Liveness depends on nothing but the process. Pages that describe the deployment (`/config`, `/tap`) or change
//! something (`/feeds/{feed}/confirm`) are served only where no other host can connect, and not to a web page in a
//! browser on this host (`origin`). Probes and metrics answer under any host name: a kubelet and Prometheus use the
//! address of a pod.

mod origin;
mod tap;
mod thread;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::{Address, ServerTls};
use crate::escape::Escaped;
use crate::net::socket::unix::SocketOffer;
use crate::net::socket::{Activity, ConnectionLimits, Listener, ServeError};
use crate::net::tls::{Acceptor, HTTP_1, TlsError};
use crate::pipeline::BoxFuture;
use crate::readiness::Readiness;
use crate::telemetry;

pub use tap::{Counts, HitTap};
use thread::SeparateRuntime;

/// The name of the listener for this host, in the configuration, metrics and logs.
const ADMIN: &str = "admin";
/// The name of the listener for probes.
const PROBES: &str = "probes";

/// The maximum number of connections: probes and scrapes are few.
const MAX_CONNECTIONS: usize = 64;
/// File descriptors reserved for probes while the process has no others left, two per connection.
const SPARE_DESCRIPTORS: usize = 8;
/// The time limit for the TLS handshake, and for the header of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum time that a connection may be idle; scrapers connect more often.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The upload rate in bytes per second below which a connection may be closed for another; no request here has a body.
const MIN_UPLOAD_RATE: u64 = 1 << 10;

/// The maximum size of a request's header in bytes.
const MAX_HEADER: usize = 16 << 10;

/// The reason that the admin listener failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error(
        "{name}.address: cannot listen on {address}: {source}; give another address, or end the process that listens there"
    )]
    Bind {
        /// The listener's key in the configuration.
        name: &'static str,
        address: Address,
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("{name}.tls: {cause}")]
    Tls {
        /// The listener's key in the configuration.
        name: &'static str,
        cause: TlsError,
    },
    /// Its thread cannot be started.
    #[error("cannot start the thread of the admin listener: {0}; raise the system's limit of threads")]
    Thread(io::Error),
    /// The bound socket failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Returns the name of the active snapshot, on each request.
pub type SnapshotName = Arc<dyn Fn() -> Arc<str> + Send + Sync>;

/// The content of the admin listener.
#[derive(Clone)]
pub struct AdminPages {
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/metrics`.
    pub metrics: PrometheusHandle,
    /// The name of the active snapshot, for `/metrics`; `None` if nothing is matched.
    pub snapshot: Option<SnapshotName>,
    /// `/config`: the active configuration, without secrets, read on each request.
    pub config: Arc<dyn Fn() -> String + Send + Sync>,
    /// `POST /feeds/{feed}/confirm`: accepts the current size of a feed; `false` if there is no feed of this name.
    pub confirm: Arc<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync>,
    /// `/tap`: hits and counters. `None` if nothing is matched.
    pub tap: Option<(HitTap, Counts)>,
}

/// A bound admin listener that does not answer yet.
#[derive(Debug)]
pub struct Admin {
    name: &'static str,
    listener: Listener,
    tls: Option<Arc<Acceptor>>,
    /// The runtime of the listener, separate from matching.
    thread: SeparateRuntime,
}

impl Admin {
    /// Binds at once, so that an address in use prevents the start. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound, or the certificate cannot be used.
    pub fn bind(address: &Address, tls: Option<&ServerTls>) -> Result<Admin, AdminError> {
        Admin::bind_as(ADMIN, address, tls)
    }

    /// Binds the listener that serves only probes and metrics.
    ///
    /// # Errors
    /// The address cannot be bound, or the certificate cannot be used.
    pub fn bind_probes(address: &Address, tls: Option<&ServerTls>) -> Result<Admin, AdminError> {
        Admin::bind_as(PROBES, address, tls)
    }

    fn bind_as(name: &'static str, address: &Address, tls: Option<&ServerTls>) -> Result<Admin, AdminError> {
        let tls = tls.map(|tls| Acceptor::load(name, tls, HTTP_1)).transpose();
        let tls = tls.map_err(|cause| AdminError::Tls { name, cause })?.map(Arc::new);
        let failed = |source| AdminError::Bind { name, address: address.clone(), source };
        let thread = SeparateRuntime::new().map_err(failed)?;
        let entered = thread.enter();
        let listener = Listener::bind(name, address).map_err(failed)?.with_spare_descriptors(SPARE_DESCRIPTORS);
        drop(entered);
        Ok(Admin { name, listener, tls, thread })
    }

    /// Returns the bound address, with the port that the system chose for port 0.
    pub fn address(&self) -> &Address {
        self.listener.local_address()
    }

    /// Returns the handle that lets another process take over the name of a Unix socket.
    pub fn offer(&self) -> Option<SocketOffer> {
        self.listener.offer()
    }

    /// Answers until `shutdown`, then completes the requests in flight. Should end last, so that probes see a drain. Runs on
    /// a separate thread, so that work on events never delays a probe.
    ///
    /// # Errors
    /// The socket failed, or the system cannot start a thread.
    pub async fn serve(
        self,
        pages: AdminPages,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AdminError> {
        let Admin { name, listener, tls, thread } = self;
        thread.run(serve(name, listener, tls, pages, shutdown)).await.map_err(AdminError::Thread)?
    }
}

/// Serves on the thread that polls this.
async fn serve(
    name: &'static str,
    listener: Listener,
    tls: Option<Arc<Acceptor>>,
    pages: AdminPages,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AdminError> {
    let address = listener.local_address();
    if tls.is_none() && !address.is_local() {
        tracing::warn!(%address, "probes and metrics are reachable from other hosts without encryption: set `{name}.tls`");
    }
    let mut router = Router::new()
        .route("/livez", get(async || text(StatusCode::OK, "ok\n")))
        .route("/readyz", get(readyz).with_state(pages.readiness))
        .route("/metrics", get(render).with_state((pages.metrics, pages.snapshot)));
    if name == ADMIN && address.is_local() {
        let AdminPages { config, confirm, tap, .. } = pages;
        let mut private = Router::new().route("/config", get(async move || text(StatusCode::OK, config())));
        if let Some(tap) = tap {
            private = private.merge(Router::new().route("/tap", get(tap::tap)).with_state(tap));
        }
        private = private.route(
            "/feeds/{feed}/confirm",
            post(async move |Path(feed): Path<String>| match confirm(feed.clone()).await {
                true => text(StatusCode::OK, "confirmed\n"),
                false => text(StatusCode::NOT_FOUND, format!("feed {} does not exist\n", Escaped(feed))),
            }),
        );
        // Web pages cannot use a Unix socket.
        if let Address::Tcp(_) = address {
            private = private.route_layer(from_fn(refuse_pages));
        }
        router = router.merge(private);
    }
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER).half_close(true);
    let bounds = ConnectionLimits {
        max_connections: MAX_CONNECTIONS,
        max_connections_per_peer: MAX_CONNECTIONS / 2,
        max_waiting: MAX_CONNECTIONS,
        min_upload_rate: MIN_UPLOAD_RATE,
        handshake_timeout: HEADER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        max_age: None,
    };
    let open = move |stream, _, activity: Activity| {
        http1.serve_connection(TokioIo::new(stream), activity.watch(router.clone()))
    };
    Ok(listener.serve(bounds, tls, &[b""], open, shutdown).await?)
}

/// Refuses requests that a web page in a browser on this host could have sent.
async fn refuse_pages(request: Request, next: Next) -> Response {
    match origin::check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => text(StatusCode::FORBIDDEN, format!("{refusal}\n")),
    }
}

async fn readyz(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> Response {
    let ready = readiness.is_ready();
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part == "verbose=1"));
    let mut body = if verbose { readiness.report() } else { String::new() };
    body.push_str(if ready { "ok\n" } else { "not ready\n" });
    text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

async fn render(State((metrics, snapshot)): State<(PrometheusHandle, Option<SnapshotName>)>) -> Response {
    telemetry::measure_process();
    // Without its own listener the exporter does not fold recorded values into their distributions.
    metrics.run_upkeep();
    let mut text = metrics.render();
    if let Some(snapshot) = snapshot {
        text.push_str(&telemetry::snapshot_info(&snapshot()));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::sync::oneshot;

    use super::*;
    use crate::readiness::{LISTENERS, SNAPSHOT};

    /// A running admin listener; dropping `stop` ends it.
    struct Running {
        address: Address,
        readiness: Readiness,
        stop: oneshot::Sender<()>,
        done: tokio::task::JoinHandle<Result<(), AdminError>>,
    }

    async fn start() -> Running {
        start_at("127.0.0.1:0").await
    }

    async fn start_at(address: &str) -> Running {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("hotlist_events_total").increment(7));
        let admin = Admin::bind(&Address::parse(address).unwrap(), None).unwrap();
        let (address, readiness) = (admin.address().clone(), Readiness::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let pages = AdminPages {
            readiness: readiness.clone(),
            metrics: recorder.handle(),
            snapshot: Some(Arc::new(|| "acme@42".into())),
            config: Arc::new(|| "shutdown.grace = 30s\n".to_owned()),
            confirm: Arc::new(|feed| Box::pin(std::future::ready(feed == "known"))),
            tap: Some((HitTap::default(), Arc::new(|| (0, 0)))),
        };
        let shutdown = async {
            let _ = stopped.await;
        };
        let done = tokio::spawn(admin.serve(pages, shutdown));
        Running { address, readiness, stop, done }
    }

    /// Status line and body of one GET over its own connection.
    async fn request(address: &Address, path: &str) -> (String, String) {
        ask(address, "GET", path, "host: localhost\r\n").await
    }

    /// Sends a request with any method and headers.
    async fn ask(address: &Address, method: &str, path: &str, headers: &str) -> (String, String) {
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        let mut answer = String::new();
        match address {
            Address::Tcp(address) => {
                // A listener on all addresses is reached by loopback.
                let mut stream = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                stream.read_to_string(&mut answer).await.unwrap();
            }
            Address::Unix(path) => {
                let mut stream = UnixStream::connect(path).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                stream.read_to_string(&mut answer).await.unwrap();
            }
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    const OK: &str = "HTTP/1.1 200 OK";
    const MISSING: &str = "HTTP/1.1 404 Not Found";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable";

    #[tokio::test]
    async fn liveness_does_not_depend_on_readiness() {
        let running = start().await;
        running.readiness.register(LISTENERS, true);
        running.readiness.drain();
        assert_eq!(request(&running.address, "/livez").await, (OK.into(), "ok\n".into()));
        assert_eq!(request(&running.address, "/readyz").await, (BUSY.into(), "not ready\n".into()));
    }

    #[tokio::test]
    async fn readiness_follows_the_checks_that_count_and_shows_all_of_them() {
        let running = start().await;
        assert_eq!(request(&running.address, "/readyz").await.0, BUSY);
        running.readiness.register(LISTENERS, true);
        running.readiness.register(SNAPSHOT, false);
        assert_eq!(request(&running.address, "/readyz").await.0, BUSY);
        running.readiness.set(LISTENERS, true, "2 bound");
        assert_eq!(
            request(&running.address, "/readyz?verbose").await,
            (OK.into(), "[+] listeners: 2 bound\n[i] snapshot: not yet\nok\n".into())
        );
        running.readiness.set(SNAPSHOT, true, "");
        running.readiness.drain();
        assert_eq!(
            request(&running.address, "/readyz?verbose=1").await,
            (BUSY.into(), "[+] listeners: 2 bound\n[+] snapshot\n[-] draining\nnot ready\n".into())
        );
    }

    #[tokio::test]
    async fn a_bad_check_that_counts_makes_the_process_unready() {
        let running = start().await;
        running.readiness.register(SNAPSHOT, true);
        running.readiness.set(SNAPSHOT, false, "no file matches");
        assert_eq!(
            request(&running.address, "/readyz?verbose").await,
            (BUSY.into(), "[-] snapshot: no file matches\nnot ready\n".into())
        );
    }

    #[tokio::test]
    async fn metrics_are_served_as_text_and_unknown_paths_are_not_found() {
        let running = start().await;
        let (status, body) = request(&running.address, "/metrics").await;
        assert_eq!(status, OK);
        assert!(body.contains("hotlist_events_total 7\n"), "{body}");
        assert!(body.contains("hotlist_snapshot_info{snapshot=\"acme@42\"} 1\n"), "{body}");
        assert_eq!(request(&running.address, "/").await.0, MISSING);
    }

    /// Guarantee: every page requires exactly one `Host` (RFC 9112, section 3.2).
    #[tokio::test]
    async fn a_request_without_one_host_is_refused() {
        let running = start().await;
        for (path, host) in [("/livez", ""), ("/metrics", "host: localhost\r\nhost: localhost\r\n"), ("/config", "")] {
            let (status, body) = ask(&running.address, "GET", path, host).await;
            assert_eq!((&*status, body.contains("exactly one")), ("HTTP/1.1 400 Bad Request", true), "{path}");
        }
    }

    /// Guarantee: the configuration is shown where only this host can ask, and nowhere else; all else is.
    #[tokio::test]
    async fn the_configuration_is_for_this_host_only() {
        let directory = tempfile::tempdir().unwrap();
        let socket = format!("unix:{}", directory.path().join("admin.sock").display());
        for (address, seen) in [("127.0.0.1:0", true), (&*socket, true), ("0.0.0.0:0", false)] {
            let running = start_at(address).await;
            running.readiness.register(LISTENERS, true);
            running.readiness.set(LISTENERS, true, "bound");
            let (status, body) = request(&running.address, "/config").await;
            assert_eq!(
                (&*status, body.contains("shutdown.grace")),
                (if seen { OK } else { MISSING }, seen),
                "{address}"
            );
            for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
                assert_eq!(request(&running.address, path).await.0, OK, "{address} {path}");
            }
        }
    }

    /// Scenario: requests as a page of another site makes them, by a name that was made to resolve to this host or
    /// across sites. Guarantee: they see no configuration and confirm nothing; probes and metrics answer every host name,
    /// and a Unix socket, which no page reaches, answers under any name.
    #[tokio::test]
    async fn a_page_in_a_browser_gets_nothing_that_is_for_this_host() {
        let running = start().await;
        let own = format!("host: {}\r\n", running.address);
        let foreign = [
            "host: evil.example\r\n".to_owned(),
            format!("{own}origin: https://evil.example\r\n"),
            format!("{own}origin: null\r\n"),
            format!("{own}sec-fetch-site: cross-site\r\n"),
            "host: evil.example\r\norigin: http://evil.example\r\nsec-fetch-site: same-origin\r\n".to_owned(),
        ];
        for (method, path) in [("GET", "/config"), ("POST", "/feeds/known/confirm")] {
            for headers in &foreign {
                let (status, body) = ask(&running.address, method, path, headers).await;
                assert_eq!(status, "HTTP/1.1 403 Forbidden", "{method} {path} {headers}");
                assert!(!body.contains("grace") && body.contains("; use "), "{body}");
            }
            assert_eq!(ask(&running.address, method, path, &own).await.0, OK);
        }
        running.readiness.register(LISTENERS, false);
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(ask(&running.address, "GET", path, &foreign[4]).await.0, OK, "{path}");
        }
        let refused = ask(&running.address, "GET", "/feeds/known/confirm", &own).await;
        assert_eq!(refused.0, "HTTP/1.1 405 Method Not Allowed");
        let directory = tempfile::tempdir().unwrap();
        let socket = start_at(&format!("unix:{}", directory.path().join("admin.sock").display())).await;
        assert_eq!(ask(&socket.address, "GET", "/config", "host: x\r\n").await.0, OK);
    }

    /// Scenario: as many peers as there may be connections send half a request and nothing more. Guarantee: a probe is
    /// answered nevertheless.
    #[tokio::test]
    async fn slow_peers_do_not_lock_probes_out() {
        let running = start().await;
        let Address::Tcp(address) = running.address.clone() else { panic!("{}", running.address) };
        let mut peers = Vec::new();
        for _ in 0..MAX_CONNECTIONS + 5 {
            let mut peer = TcpStream::connect(address).await.unwrap();
            peer.write_all(b"GET /livez HTTP/1.1\r\nho").await.unwrap();
            peers.push(peer);
        }
        assert_eq!(request(&running.address, "/livez").await.0, OK);
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error_at_bind_and_shutdown_frees_it() {
        let running = start().await;
        let error = Admin::bind(&running.address, None).unwrap_err().to_string();
        assert!(error.starts_with(&format!("admin.address: cannot listen on {}: ", running.address)), "{error}");
        running.stop.send(()).unwrap();
        running.done.await.unwrap().unwrap();
        Admin::bind(&running.address, None).unwrap();
    }

    /// Scenario: every thread of the process's runtime is at work and lets nobody else run. Guarantee: liveness is answered
    /// nevertheless.
    #[test]
    fn liveness_is_answered_while_every_thread_is_busy() {
        use std::io::{Read, Write};
        use std::sync::Barrier;
        use std::sync::atomic::{AtomicBool, Ordering};

        const THREADS: usize = 2;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
        let running = runtime.block_on(start());
        let Address::Tcp(address) = running.address else { panic!("{}", running.address) };
        let (busy, done) = (Arc::new(Barrier::new(THREADS + 1)), Arc::new(AtomicBool::new(false)));
        for _ in 0..THREADS {
            let (busy, done) = (Arc::clone(&busy), Arc::clone(&done));
            runtime.spawn(async move {
                busy.wait();
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        busy.wait();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        done.store(true, Ordering::Relaxed);
        read.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}
