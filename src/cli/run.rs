//! `hotlist run`: the sidecar, until a signal tells it to drain. SIGHUP, and with `--watch-config` a change of the file,
//! reads its configuration again.
//!
//! Signals are waited for apart from everything that may block, so that SIGTERM ends a start or a reload that hangs.

mod watch;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::Failure;
use super::args::RunArgs;
use super::process::{End, Ends, Process, listen};
use super::service::{self, State};
use crate::app::{App, Drained, Environment, Leaving, Reload};
use crate::config::{Config, ConfigErrors, Fault, Position, Problem};
use crate::escape::Escaped;
use crate::telemetry;
use watch::{ConfigFile, Outcome, Request};

/// How long reading the configuration may take.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// When a start that is not over yet is logged.
const SLOW_START: Duration = Duration::from_secs(10);
/// How long after the grace period the process ends although something in it still blocks.
const LAST_RESORT: Duration = Duration::from_secs(2);

/// Gives the value of an environment variable.
type Variables = fn(&str) -> Option<String>;

/// How serving ended.
enum Ended {
    /// As it should.
    Drained(Drained),
    /// A signal came before everything was set up.
    NotStarted,
    /// A second signal came, or something blocked beyond all time.
    Forced,
}

pub(super) fn run(args: &RunArgs, environment: Variables, seed: u64) -> Result<(), Failure> {
    let process = Process::start()?;
    let file = args.watch_config.then(|| ConfigFile::new(&args.config));
    let config = process.block_on(async { Ok(load(&args.config, environment).await) })??;
    telemetry::init_log(config.log, environment(telemetry::LOG_VARIABLE).as_deref()).map_err(anyhow::Error::new)?;
    let metrics = telemetry::init_metrics().map_err(anyhow::Error::new)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %Escaped(args.config.display()), "hotlist starts");
    process.report();
    match process.block_on(serve(config, &args.config, file, environment, seed, metrics))? {
        Ended::Drained(Drained::Clean) | Ended::NotStarted => Ok(()),
        Ended::Drained(Drained::Cut) => Err(Failure::Other(anyhow::anyhow!(
            "the grace period ended with requests in flight; raise `shutdown.grace`, or look at the next hop"
        ))),
        Ended::Forced => Err(Failure::Other(anyhow::anyhow!(
            "the process ended before it had drained: requests in flight were dropped, not acknowledged"
        ))),
    }
}

async fn serve(
    config: Config,
    path: &Path,
    file: Option<ConfigFile>,
    environment: Variables,
    seed: u64,
    metrics: PrometheusHandle,
) -> anyhow::Result<Ended> {
    let mut ends = Ends::listen()?;
    let hangup = listen(SignalKind::hangup(), "SIGHUP")?;
    // On a thread of its own: a path that hangs must not keep signals from being heard.
    let building = tokio::spawn(App::build(config, Environment { seed, clock: Timestamp::now, metrics }));
    let app = tokio::select! {
        built = building => built.context("the start failed")??,
        _ = ends.next() => return Ok(Ended::NotStarted),
        never = report_slow_start() => match never {},
    };
    if let Some(address) = app.admin_address() {
        tracing::info!(%address, "admin is listening: /livez /readyz /metrics");
    }
    if let Some(address) = app.probes_address() {
        tracing::info!(%address, "probes are listening: /livez /readyz /metrics");
    }
    let changes = file.map(ConfigFile::follow).transpose().context("cannot start a thread")?;
    let (leaving, reloads) = (app.leaving(), reload_on(hangup, changes, app.reloads(), path.to_owned(), environment));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = tokio::spawn(async move {
        let shutdown = async {
            // Without a sender there is nobody left to serve for.
            let _ = stopped.await;
        };
        tokio::select! {
            drained = app.run(shutdown) => drained,
            // Among the threads that serve, so that it starves when they are stuck.
            never = service::feed_watchdog() => match never {},
        }
    });
    service::tell(State::Ready);
    tokio::select! {
        drained = &mut serving => Ok(Ended::Drained(drained.context("serving failed")??)),
        never = reloads => match never {},
        () = end_on(&mut ends, leaving, stop) => {
            serving.abort();
            Ok(Ended::Forced)
        }
    }
}

/// Reports a start that takes long, and never returns.
async fn report_slow_start() -> Infallible {
    sleep(SLOW_START).await;
    tracing::warn!("the start is not over after 10 s: indicators are large, or a file system does not answer");
    std::future::pending().await
}

/// Has the process end at the first signal, after the delay for SIGTERM. Returns at the second one, or when the process
/// should have ended long ago.
async fn end_on(ends: &mut Ends, leaving: Leaving, stop: oneshot::Sender<()>) {
    let end = ends.next().await;
    service::tell(State::Stopping);
    let (delay, grace) = leaving.begin();
    if end == End::Terminate && !delay.is_zero() {
        tracing::info!(
            delay_seconds = delay.as_secs_f64(),
            "not ready any more, sources stay open for `shutdown.delay`"
        );
        tokio::select! {
            () = sleep(delay) => {}
            _ = ends.next() => return,
        }
    }
    let _ = stop.send(());
    tokio::select! {
        _ = ends.next() => tracing::warn!("a second signal: the process ends now"),
        () = sleep(grace + LAST_RESORT) => tracing::error!("something blocks although the grace period is over: the process ends now"),
    }
}

/// Reads the configuration, away from the threads that answer: its file system may hang.
async fn load(path: &Path, environment: Variables) -> Result<Config, ConfigErrors> {
    let of_thread = path.to_owned();
    let loading = tokio::task::spawn_blocking(move || Config::load(&of_thread, &environment));
    let failed = |cause: &str| {
        let problem =
            Problem { position: Position::default(), path: String::new(), fault: Fault::Read(cause.to_owned()) };
        Err(ConfigErrors { file: path.display().to_string(), problems: vec![problem] })
    };
    match timeout(LOAD_TIMEOUT, loading).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(_)) => failed("reading it panicked because of a bug in Hotlist"),
        Err(_) => {
            failed("reading it takes longer than 10 s: it is a pipe that nobody writes to, or its file system hangs")
        }
    }
}

/// Has the configuration read and taken at every SIGHUP, and at every change of its file.
async fn reload_on(
    mut hangup: Signal,
    mut changes: Option<mpsc::Receiver<Request>>,
    reloads: mpsc::Sender<Reload>,
    path: PathBuf,
    environment: Variables,
) -> Infallible {
    loop {
        let request = tokio::select! {
            Some(()) = hangup.recv() => None,
            Some(request) = next(&mut changes) => Some(request),
            // Neither signals nor changes will come.
            else => std::future::pending().await,
        };
        if request.is_none() {
            tracing::info!("SIGHUP received: reading the configuration again");
        }
        service::tell(State::Reloading);
        let (done, taken) = oneshot::channel();
        let config = load(&path, environment).await;
        // Before the configuration is tried: what changes meanwhile is a reason to try it again. Away from the threads that
        // answer, since a file system may hang.
        let named = match (&config, &request) {
            (Ok(config), Some(_)) => {
                let config = config.clone();
                tokio::task::spawn_blocking(move || watch::named(&config)).await.unwrap_or_default()
            }
            _ => Vec::new(),
        };
        // The log says whether it was taken. Without a receiver the process is at its end.
        let is_taken = reloads.send(Reload { config, done }).await.is_ok() && taken.await.unwrap_or(false);
        if let Some(request) = request {
            let _ = request.send(if is_taken { Outcome::Applied } else { Outcome::Refused(named) });
        }
        service::tell(State::Ready);
    }
}

/// The next change that asks for a reload; none where nothing is watched.
async fn next(changes: &mut Option<mpsc::Receiver<Request>>) -> Option<Request> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
