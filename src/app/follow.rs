//! Restarts the client of the control plane after a panic: a bug in the client must stop neither the process nor the
//! updates of its indicators.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use metrics::counter;
use tokio::sync::watch;

use super::control::report_status;
use super::{StartError, wait};
use crate::escape::Escaped;
use crate::provider::control::Client;
use crate::provider::offer::SnapshotApplier;
use crate::readiness::{self, Readiness};
use crate::telemetry;

/// The pause between a panic and the next attempt.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// Opens a client. Blocks.
pub(super) type Open = Arc<dyn Fn() -> Result<Client<SnapshotApplier>, StartError> + Send + Sync>;

/// Runs a client until `stopped`, and opens another one whenever it panics.
pub(super) async fn follow(
    mut client: Client<SnapshotApplier>,
    open: Open,
    readiness: Readiness,
    stopped: watch::Receiver<bool>,
) {
    loop {
        let status = report_status(readiness.clone(), client.status());
        let status = async {
            status.await;
            // It ends together with the client.
            std::future::pending::<std::convert::Infallible>().await
        };
        // The client is dropped with the panic.
        let run = AssertUnwindSafe(client.run(wait(stopped.clone()))).catch_unwind();
        let ended = tokio::select! {
            ended = run => ended,
            never = status => match never {},
        };
        if ended.is_ok() {
            return;
        }
        counter!(telemetry::TASK_RESTARTS_TOTAL, "task" => "control").increment(1);
        tracing::error!("the control plane client panicked and will be restarted; the active snapshot stays active");
        client = loop {
            readiness.set(readiness::CONTROL, false, "the client panicked (see the log) and will be restarted");
            tokio::select! {
                () = wait(stopped.clone()) => return,
                () = tokio::time::sleep(AFTER_PANIC) => {}
            }
            let open = Arc::clone(&open);
            match tokio::task::spawn_blocking(move || open()).await {
                Ok(Ok(client)) => break client,
                Ok(Err(error)) => {
                    tracing::error!(error = %Escaped(&error), "cannot restart the control plane client yet")
                }
                // The panic was logged.
                Err(_) => {}
            }
        };
    }
}
