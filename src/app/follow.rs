//! The client of the control plane, opened again after a panic: a fault in it must not end the process with its events,
//! nor the updates of its indicators.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use metrics::counter;
use tokio::sync::watch;

use super::control::{Applier, tell};
use super::{StartError, wait};
use crate::admin::{self, Readiness};
use crate::control::client::Client;
use crate::escape::Escaped;
use crate::telemetry;

/// Pause between a panic and the next attempt.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// Opens a client. Blocks.
pub(super) type Open = Arc<dyn Fn() -> Result<Client<Applier>, StartError> + Send + Sync>;

/// Runs a client until `stopped`, and opens another one whenever it panics.
pub(super) async fn follow(
    mut client: Client<Applier>,
    open: Open,
    readiness: Readiness,
    stopped: watch::Receiver<bool>,
) {
    loop {
        let status = tell(readiness.clone(), client.status());
        let status = async {
            status.await;
            // Its end comes with that of the client.
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
        tracing::error!(
            "the client of the control plane panicked: the active snapshot stays, and the client is opened again"
        );
        client = loop {
            readiness.set(admin::CONTROL, false, "its client panicked, the log says where; it is opened again");
            tokio::select! {
                () = wait(stopped.clone()) => return,
                () = tokio::time::sleep(AFTER_PANIC) => {}
            }
            let open = Arc::clone(&open);
            match tokio::task::spawn_blocking(move || open()).await {
                Ok(Ok(client)) => break client,
                Ok(Err(error)) => tracing::error!(error = %Escaped(&error), "the client cannot be opened again yet"),
                // The panic is in the log.
                Err(_) => {}
            }
        };
    }
}
