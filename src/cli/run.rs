//! `hotlist run`: the sidecar, until a signal tells it to drain. SIGHUP reads its configuration again.

use anyhow::Context;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::Failure;
use super::args::RunArgs;
use super::service::{self, State};
use crate::app::{App, Drained, Environment, Reload};
use crate::config::{Config, ConfigErrors};
use crate::escape::Escaped;
use crate::telemetry;

pub(super) fn run(args: &RunArgs, environment: &dyn Fn(&str) -> Option<String>, seed: u64) -> Result<(), Failure> {
    let config = Config::load(&args.config, environment)?;
    telemetry::init_log(config.log, environment(telemetry::LOG_VARIABLE).as_deref()).map_err(anyhow::Error::new)?;
    let metrics = telemetry::init_metrics().map_err(anyhow::Error::new)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %Escaped(args.config.display()), "hotlist starts");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let drained = runtime.block_on(async {
        let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
        let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
        let hangup = listen(SignalKind::hangup(), "SIGHUP")?;
        let app = App::build(config, Environment { seed, clock: Timestamp::now, metrics }).await?;
        if let Some(address) = app.admin_address() {
            tracing::info!(%address, "admin is listening: /livez /readyz /metrics");
        }
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM received"),
                _ = interrupt.recv() => tracing::info!("SIGINT received"),
            }
            service::tell(State::Stopping);
        };
        let reloads = reload_on(hangup, app.reloads(), || Config::load(&args.config, environment));
        service::tell(State::Ready);
        tokio::select! {
            drained = app.run(shutdown) => Ok::<_, anyhow::Error>(drained?),
            never = reloads => match never {},
            never = service::feed_watchdog() => match never {},
        }
    })?;
    match drained {
        Drained::Clean => Ok(()),
        Drained::Cut => Err(Failure::Other(anyhow::anyhow!(
            "the grace period ended with requests in flight; raise `shutdown.grace`, or look at the next hop"
        ))),
    }
}

fn listen(kind: SignalKind, name: &str) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("cannot listen for {name}"))
}

/// Has the configuration read and taken at every SIGHUP.
async fn reload_on(
    mut hangup: Signal,
    reloads: mpsc::Sender<Reload>,
    load: impl Fn() -> Result<Config, ConfigErrors>,
) -> std::convert::Infallible {
    loop {
        if hangup.recv().await.is_none() {
            // No more signals will come.
            std::future::pending::<()>().await;
        }
        tracing::info!("SIGHUP received: reading the configuration again");
        service::tell(State::Reloading);
        let (done, taken) = oneshot::channel();
        if reloads.send(Reload { config: load(), done }).await.is_ok() {
            // The log says whether it was taken.
            let _ = taken.await;
        }
        service::tell(State::Ready);
    }
}
