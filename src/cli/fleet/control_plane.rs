//! `hotlist control-plane`: serves a store until a signal ends the process.

use std::time::Duration;

use anyhow::Context;
use jiff::{Span, SpanRelativeTo};
use tokio_util::sync::CancellationToken;

use crate::cli::Failure;
use crate::cli::args::ControlPlaneArgs;
use crate::cli::process::{CommandRuntime, EndSignals};
use crate::cli::service::{self, State};
use crate::config::{Address, Log, ServerTls, parse_size};
use crate::controlplane::process::{ControlPlane, Drained, GRACE, Settings};
use crate::controlplane::server::Limits;
use crate::escape::Escaped;
use crate::store::{Store, TenantQuotas};
use crate::telemetry;

/// A connected node's file is written twice per minute, so a shorter time would remove it.
const SHORTEST_MEMORY: Duration = Duration::from_secs(600);

/// The address of the admin listener without `--admin`.
const DEFAULT_ADMIN: &str = "127.0.0.1:9466";

pub(super) fn run(args: &ControlPlaneArgs, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), Failure> {
    let listen = address("--listen", &args.listen)?;
    let admin = Some(args.admin.as_deref().unwrap_or(DEFAULT_ADMIN)).filter(|text| *text != "none");
    let admin = admin.map(|text| address("--admin", text)).transpose()?;
    let process = CommandRuntime::start()?;
    let quotas = TenantQuotas { nodes: args.tenant_nodes as usize, bytes: bytes(&args.tenant_bytes)? };
    let limits = Limits { forget_nodes_after: forget_after(&args.forget_nodes_after)?, ..Limits::default() };
    telemetry::init_log(Log::default(), environment(telemetry::LOG_VARIABLE).as_deref()).map_err(anyhow::Error::new)?;
    let metrics = telemetry::init_metrics().map_err(anyhow::Error::new)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), store = %Escaped(args.store.display()), "hotlist control-plane starting");
    process.report();
    let store = Store::open(&args.store).map_err(anyhow::Error::new)?.with_quotas(quotas);
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let client_ca_file = args.tls_client_ca.clone();
    let tls = tls.map(|(cert_file, key_file)| ServerTls { cert_file, key_file, client_ca_file });
    let settings = Settings { store, listen, tls, limits, admin, requires_admin: args.admin.is_some() };
    let drained = process.block_on(async {
        let mut ends = EndSignals::listen()?;
        let plane = ControlPlane::bind(settings, metrics).await?;
        let stop = CancellationToken::new();
        let mut serving = tokio::spawn(plane.run(stop.clone().cancelled_owned()));
        service::notify(State::Ready);
        tokio::select! {
            ended = &mut serving => return Ok(ended??),
            _ = ends.next() => {}
            never = service::feed_watchdog() => match never {},
        }
        service::notify(State::Stopping);
        stop.cancel();
        tokio::select! {
            ended = serving => Ok(ended??),
            _ = ends.next() => Ok(Drained::Cut),
        }
    })?;
    if drained == Drained::Clean {
        return Ok(());
    }
    Err(Failure::Other(anyhow::anyhow!(
        "calls still in flight {} s after the signal, or at a second signal, were aborted",
        GRACE.as_secs()
    )))
}

fn address(of: &str, text: &str) -> anyhow::Result<Address> {
    Address::parse(text).with_context(|| format!("{of} {text}"))
}

fn bytes(text: &str) -> anyhow::Result<u64> {
    let bytes = parse_size(text).map(|bytes| bytes as u64).filter(|bytes| *bytes > 0);
    bytes.with_context(|| format!("--tenant-bytes {text}: give a size, e.g. `8GiB` or `500MiB`"))
}

fn forget_after(text: &str) -> anyhow::Result<Option<Duration>> {
    if text == "never" {
        return Ok(None);
    }
    let wanted = || format!("--forget-nodes-after {text}: give a time, e.g. `30d` or `12h`, or `never`");
    let span: Span = text.parse().with_context(wanted)?;
    let after = span.to_duration(SpanRelativeTo::days_are_24_hours()).with_context(wanted)?;
    let after = Duration::try_from(after).ok().filter(|after| *after >= SHORTEST_MEMORY);
    after.map(Some).with_context(|| format!("{}, of at least {} minutes", wanted(), SHORTEST_MEMORY.as_secs() / 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked() {
        assert_eq!(bytes("1MiB").unwrap(), 1 << 20);
        assert_eq!(forget_after("2d").unwrap(), Some(Duration::from_secs(2 * 24 * 3600)));
        assert_eq!(forget_after("never").unwrap(), None);
        for bad in ["", "0", "much"] {
            assert!(bytes(bad).unwrap_err().to_string().starts_with("--tenant-bytes"), "{bad}");
        }
        for bad in ["", "soon", "-1d", "0s", "5m"] {
            assert!(forget_after(bad).unwrap_err().to_string().starts_with("--forget-nodes-after"), "{bad}");
        }
    }
}
