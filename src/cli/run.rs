//! `hotlist run`: the sidecar, until a signal makes it drain. SIGHUP, and with `--watch-config` a change of the file,
//! reloads the configuration.
//!
//! Signals are handled apart from everything that may block, so that SIGTERM ends a start or a reload that hangs.

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
use super::process::{CommandRuntime, EndSignal, EndSignals, listen};
use super::service::{self, State};
use crate::app::{App, Drained, Environment, Reload, ShutdownAnnouncement};
use crate::config::{Config, ConfigErrors, Fault, Position, Problem};
use crate::escape::Escaped;
use crate::telemetry;
use watch::{ConfigFile, Outcome, Request};

/// The time limit for reading the configuration.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after which a slow start is logged.
const SLOW_START: Duration = Duration::from_secs(10);
/// The time after the grace period at which the process ends although something in it still blocks.
const LAST_RESORT: Duration = Duration::from_secs(2);

/// Looks up the value of an environment variable.
type Variables = fn(&str) -> Option<String>;

enum ServeEnd {
    /// All requests were answered, or the grace period ended.
    Drained(Drained),
    /// A signal arrived before everything was set up.
    NotStarted,
    /// A second signal arrived, or something blocked past the grace period.
    Forced,
}

pub(super) fn run(args: &RunArgs, environment: Variables, seed: u64) -> Result<(), Failure> {
    let process = CommandRuntime::start()?;
    let file = args.watch_config.then(|| ConfigFile::new(&args.config));
    let config = process.block_on(async { Ok(load(&args.config, environment).await) })??;
    telemetry::init_log(config.log, environment(telemetry::LOG_VARIABLE).as_deref()).map_err(anyhow::Error::new)?;
    let metrics = telemetry::init_metrics().map_err(anyhow::Error::new)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %Escaped(args.config.display()), "hotlist starting");
    process.report();
    match process.block_on(serve(config, &args.config, file, environment, seed, metrics))? {
        ServeEnd::Drained(Drained::Clean) | ServeEnd::NotStarted => Ok(()),
        ServeEnd::Drained(Drained::Cut) => Err(Failure::Other(anyhow::anyhow!(
            "the grace period ended with requests in flight; raise `shutdown.grace`, or check the next hop"
        ))),
        ServeEnd::Forced => Err(Failure::Other(anyhow::anyhow!(
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
) -> anyhow::Result<ServeEnd> {
    let mut ends = EndSignals::listen()?;
    let hangup = listen(SignalKind::hangup(), "SIGHUP")?;
    // On a thread of its own: a path that hangs must not keep signals from being handled.
    let building = tokio::spawn(App::build(config, Environment { seed, clock: Timestamp::now, metrics }));
    let app = tokio::select! {
        built = building => built.context("the start failed")??,
        _ = ends.next() => return Ok(ServeEnd::NotStarted),
        never = report_slow_start() => match never {},
    };
    if let Some(address) = app.admin_address() {
        tracing::info!(%address, "admin is listening: /livez /readyz /metrics");
    }
    if let Some(address) = app.probes_address() {
        tracing::info!(%address, "probes are listening: /livez /readyz /metrics");
    }
    let changes = file.map(ConfigFile::follow).transpose().context("cannot start a thread")?;
    let (shutdown_announcement, reloads) =
        (app.shutdown_announcement(), reload_on(hangup, changes, app.reloads(), path.to_owned(), environment));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = tokio::spawn(async move {
        let shutdown = async {
            // Without a sender there is nothing left to serve.
            let _ = stopped.await;
        };
        tokio::select! {
            drained = app.run(shutdown) => drained,
            // Runs among the serving threads, so that it starves when they are stuck.
            never = service::feed_watchdog() => match never {},
        }
    });
    service::notify(State::Ready);
    tokio::select! {
        drained = &mut serving => Ok(ServeEnd::Drained(drained.context("serving failed")??)),
        never = reloads => match never {},
        () = end_on(&mut ends, shutdown_announcement, stop) => {
            serving.abort();
            Ok(ServeEnd::Forced)
        }
    }
}

/// Logs a slow start, and never returns.
async fn report_slow_start() -> Infallible {
    sleep(SLOW_START).await;
    tracing::warn!("the start takes longer than 10 s: indicators are large, or a file system does not answer");
    std::future::pending().await
}

/// Makes the process drain at the first signal, after the delay for SIGTERM. Returns at the second signal, or when the
/// process should have ended long ago.
async fn end_on(ends: &mut EndSignals, shutdown_announcement: ShutdownAnnouncement, stop: oneshot::Sender<()>) {
    let end = ends.next().await;
    service::notify(State::Stopping);
    let (delay, grace) = shutdown_announcement.begin();
    if end == EndSignal::Terminate && !delay.is_zero() {
        tracing::info!(delay_seconds = delay.as_secs_f64(), "no longer ready; sources stay open for `shutdown.delay`");
        tokio::select! {
            () = sleep(delay) => {}
            _ = ends.next() => return,
        }
    }
    let _ = stop.send(());
    tokio::select! {
        _ = ends.next() => tracing::warn!("second signal received; exiting now"),
        () = sleep(grace + LAST_RESORT) => tracing::error!("something blocks past the grace period; exiting now"),
    }
}

/// Reads the configuration, away from the serving threads: its file system may hang.
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

/// Reloads the configuration at every SIGHUP, and at every change of its file.
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
            // Neither signals nor changes can arrive any more.
            else => std::future::pending().await,
        };
        if request.is_none() {
            tracing::info!("SIGHUP received: reloading the configuration");
        }
        service::notify(State::Reloading);
        let (done, taken) = oneshot::channel();
        let config = load(&path, environment).await;
        // Before the configuration is tried, so that any later change triggers another try. Away from the serving threads,
        // since a file system may hang.
        let named = match (&config, &request) {
            (Ok(config), Some(_)) => {
                let config = config.clone();
                tokio::task::spawn_blocking(move || watch::named(&config)).await.unwrap_or_default()
            }
            _ => Vec::new(),
        };
        // The log reports the result. Without a receiver the process is ending.
        let is_taken = reloads.send(Reload { config, done }).await.is_ok() && taken.await.unwrap_or(false);
        if let Some(request) = request {
            let _ = request.send(if is_taken { Outcome::Applied } else { Outcome::Refused(named) });
        }
        service::notify(State::Ready);
    }
}

/// Returns the next change that asks for a reload; never returns if nothing is watched.
async fn next(changes: &mut Option<mpsc::Receiver<Request>>) -> Option<Request> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
