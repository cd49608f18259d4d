//! `hotlist run`: the sidecar, until a signal tells it to drain.

use anyhow::Context;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::args::RunArgs;
use crate::app::{App, Drained, Environment};
use crate::config::Config;
use crate::telemetry;

pub(super) fn run(args: &RunArgs, environment: &dyn Fn(&str) -> Option<String>, seed: u64) -> Result<(), Failure> {
    let config = Config::load(&args.config, environment)?;
    telemetry::init_log(config.log, environment(telemetry::LOG_VARIABLE).as_deref()).map_err(anyhow::Error::new)?;
    let metrics = telemetry::init_metrics().map_err(anyhow::Error::new)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %args.config.display(), "hotlist starts");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let drained = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let app = App::build(config, Environment { seed, clock: Timestamp::now, metrics }).await?;
        if let Some(address) = app.admin_address() {
            tracing::info!(%address, "admin is listening: /livez /readyz /metrics");
        }
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM received"),
                _ = interrupt.recv() => tracing::info!("SIGINT received"),
            }
        };
        Ok::<_, anyhow::Error>(app.run(shutdown).await?)
    })?;
    match drained {
        Drained::Clean => Ok(()),
        Drained::Cut => Err(Failure::Other(anyhow::anyhow!(
            "the grace period ended with requests in flight; raise `shutdown.grace`, or look at the next hop"
        ))),
    }
}
