//! The admin listener: probes and metrics over HTTP/1, apart from the listeners that take events.
//!
//! Liveness says only that the process serves. Readiness is a handful of named checks; which of them count is decided
//! by whoever registers them, so that a fault of detection need not become an outage of logging.

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

/// The name of the check that every listener is bound.
pub const LISTENERS: &str = "listeners";
/// The name of the check that there is a snapshot to match with.
pub const SNAPSHOT: &str = "snapshot";
/// The name of the check that every file of indicators is as it should be.
pub const FEEDS: &str = "feeds";

/// Why the admin listener does not work.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("admin.address: cannot listen on {address}: {source}; give another address, or end what listens there")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The bound socket does not work.
    #[error("admin.address: the listener failed: {0}; start the process again")]
    Serve(#[from] io::Error),
}

/// One check of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Whether the process is ready only when it is good.
    pub counts: bool,
    /// Whether it is good.
    pub good: bool,
    /// What to show beside it, for people.
    pub detail: String,
}

/// Whether the process should get work, shared between those who know and those who ask.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<RwLock<Checks>>);

#[derive(Debug, Default)]
struct Checks {
    draining: bool,
    checks: Vec<Check>,
}

impl Readiness {
    /// Registers a check, bad at first. One that does not count is shown only. A name registered again starts anew.
    pub fn register(&self, name: &'static str, counts: bool) {
        self.change(|state| {
            state.checks.retain(|check| check.name != name);
            state.checks.push(Check { name, counts, good: false, detail: "not yet".to_owned() });
        });
    }

    /// Sets a registered check; another name is ignored.
    pub fn set(&self, name: &'static str, good: bool, detail: impl Into<String>) {
        let detail = detail.into();
        self.change(|state| {
            if let Some(check) = state.checks.iter_mut().find(|check| check.name == name) {
                (check.good, check.detail) = (good, detail);
            }
        });
    }

    /// Says anew whether a registered check counts; another name is ignored.
    pub fn weigh(&self, name: &'static str, counts: bool) {
        self.change(|state| {
            if let Some(check) = state.checks.iter_mut().find(|check| check.name == name) {
                check.counts = counts;
            }
        });
    }

    /// Turns readiness off for good, before the process drains.
    pub fn drain(&self) {
        self.change(|state| state.draining = true);
    }

    /// Whether work should come. Without any check it should not: nothing has been set up yet.
    pub fn is_ready(&self) -> bool {
        self.read(|state| {
            !state.draining && !state.checks.is_empty() && state.checks.iter().all(|check| check.good || !check.counts)
        })
    }

    /// Every check, in the order of registration.
    pub fn checks(&self) -> Vec<Check> {
        self.read(|state| state.checks.clone())
    }

    /// One line a check, as `/readyz?verbose` shows it.
    fn report(&self) -> String {
        let mut text = String::new();
        self.read(|state| {
            for Check { name, counts, good, detail } in &state.checks {
                let sign = match (good, counts) {
                    (true, _) => "[+]",
                    (false, true) => "[-]",
                    (false, false) => "[i]",
                };
                let colon = if detail.is_empty() { "" } else { ": " };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{sign} {name}{colon}{detail}");
            }
            if state.draining {
                text.push_str("[-] draining\n");
            }
        });
        text
    }

    // A panic elsewhere cannot leave the state half changed, so a poisoned lock is still good.
    fn change(&self, change: impl FnOnce(&mut Checks)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn read<T>(&self, read: impl FnOnce(&Checks) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A bound admin listener that does not answer yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds at once, so that an address in use stops the start and not the first scrape.
    pub async fn bind(address: SocketAddr) -> Result<Admin, AdminError> {
        let listener = TcpListener::bind(address).await.map_err(|source| AdminError::Bind { address, source })?;
        let address = listener.local_addr()?;
        Ok(Admin { listener, address })
    }

    /// The address it is bound to, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`, then finishes what is in flight. End it last: probes should see a drain.
    pub async fn serve(
        self,
        readiness: Readiness,
        metrics: PrometheusHandle,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AdminError> {
        let router = Router::new()
            .route("/livez", get(async || text(StatusCode::OK, "ok\n")))
            .route("/readyz", get(readyz).with_state(readiness))
            .route("/metrics", get(render).with_state(metrics));
        Ok(axum::serve(self.listener, router).with_graceful_shutdown(shutdown).await?)
    }
}

async fn readyz(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> Response {
    let ready = readiness.is_ready();
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part == "verbose=1"));
    let mut body = if verbose { readiness.report() } else { String::new() };
    body.push_str(if ready { "ok\n" } else { "not ready\n" });
    text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

async fn render(State(metrics): State<PrometheusHandle>) -> Response {
    // Without its own listener the exporter leaves it to us to fold recorded values into their distributions.
    metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// A running admin listener; dropping `stop` ends it.
    struct Running {
        address: SocketAddr,
        readiness: Readiness,
        stop: oneshot::Sender<()>,
        done: tokio::task::JoinHandle<Result<(), AdminError>>,
    }

    async fn start() -> Running {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("hotlist_events_total").increment(7));
        let admin = Admin::bind(ANY).await.unwrap();
        let (address, readiness) = (admin.address(), Readiness::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let done = tokio::spawn(admin.serve(readiness.clone(), recorder.handle(), shutdown));
        Running { address, readiness, stop, done }
    }

    /// Status line and body of one GET over its own connection.
    async fn request(address: SocketAddr, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    const OK: &str = "HTTP/1.1 200 OK";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable";

    #[tokio::test]
    async fn liveness_does_not_depend_on_readiness() {
        let running = start().await;
        running.readiness.register(LISTENERS, true);
        running.readiness.drain();
        assert_eq!(request(running.address, "/livez").await, (OK.into(), "ok\n".into()));
        assert_eq!(request(running.address, "/readyz").await, (BUSY.into(), "not ready\n".into()));
    }

    #[tokio::test]
    async fn readiness_follows_the_checks_that_count_and_shows_all_of_them() {
        let running = start().await;
        assert_eq!(request(running.address, "/readyz").await.0, BUSY);
        running.readiness.register(LISTENERS, true);
        running.readiness.register(SNAPSHOT, false);
        assert_eq!(request(running.address, "/readyz").await.0, BUSY);
        running.readiness.set(LISTENERS, true, "2 bound");
        assert_eq!(
            request(running.address, "/readyz?verbose").await,
            (OK.into(), "[+] listeners: 2 bound\n[i] snapshot: not yet\nok\n".into())
        );
        running.readiness.set(SNAPSHOT, true, "");
        running.readiness.drain();
        assert_eq!(
            request(running.address, "/readyz?verbose=1").await,
            (BUSY.into(), "[+] listeners: 2 bound\n[+] snapshot\n[-] draining\nnot ready\n".into())
        );
    }

    #[tokio::test]
    async fn a_bad_check_that_counts_makes_the_process_unready() {
        let running = start().await;
        running.readiness.register(SNAPSHOT, true);
        running.readiness.set(SNAPSHOT, false, "no file matches");
        assert_eq!(
            request(running.address, "/readyz?verbose").await,
            (BUSY.into(), "[-] snapshot: no file matches\nnot ready\n".into())
        );
    }

    #[tokio::test]
    async fn metrics_are_served_as_text_and_unknown_paths_are_not_found() {
        let running = start().await;
        let (status, body) = request(running.address, "/metrics").await;
        assert_eq!(status, OK);
        assert!(body.contains("hotlist_events_total 7\n"), "{body}");
        assert_eq!(request(running.address, "/").await.0, "HTTP/1.1 404 Not Found");
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error_at_bind_and_shutdown_frees_it() {
        let running = start().await;
        let error = Admin::bind(running.address).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("admin.address: cannot listen on {}: ", running.address)), "{error}");
        running.stop.send(()).unwrap();
        running.done.await.unwrap().unwrap();
        Admin::bind(running.address).await.unwrap();
    }
}
