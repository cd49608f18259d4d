//! The ReportAlerts call: receives batches of alerts, and acknowledges each after it is on disk.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use metrics::counter;
use tokio::time::sleep;
use tonic::{Request, Status, Streaming};

use super::identity::Identity;
use super::quotas::{Permit, PermitKind, count_reason};
use super::{ServerState, caller, draining, permit, refused};
use crate::escape::Escaped;
use crate::names::Name;
use crate::net::socket::Connection;
use crate::proto::control::v1::{AlertAck, AlertBatch};
use crate::store::{AlertLog, AlertLogError};
use crate::telemetry::{self, Throttle};

/// The maximum number of alerts in a batch.
const MAX_ALERTS: usize = 10_000;

pub(super) type Acks = BoxStream<'static, Result<AlertAck, Status>>;

struct AlertReceiver {
    shared: Arc<ServerState>,
    identity: Identity,
    tenant: Option<Name>,
    connection: Option<Connection>,
    batches: Streaming<AlertBatch>,
    /// Set once the node has sent its name.
    log: Option<AlertLog>,
    _permit: Permit,
}

pub(super) fn open(shared: &Arc<ServerState>, request: Request<Streaming<AlertBatch>>) -> Result<Acks, Status> {
    let caller = caller(&request);
    let tenant = caller.identity.tenant()?.cloned();
    let permit = permit(shared, "report_alerts", PermitKind::Alerts, &caller)?;
    let (connection, identity) = (request.extensions().get().cloned(), caller.identity);
    let (shared, batches) = (Arc::clone(shared), request.into_inner());
    let reporter = AlertReceiver { shared, identity, tenant, connection, batches, log: None, _permit: permit };
    let acks = stream::try_unfold(reporter, |mut reporter| async move {
        let ack = reporter.next().await.inspect_err(|status| refused("report_alerts", status))?;
        Ok(ack.map(|ack| (ack, reporter)))
    });
    Ok(acks.boxed())
}

impl AlertReceiver {
    /// Stores the next batch.
    async fn next(&mut self) -> Result<Option<AlertAck>, Status> {
        let connection = self.connection.as_ref();
        let drained = async {
            match connection {
                Some(connection) => connection.draining().await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            next = self.batches.message() => next,
            () = drained => return Err(draining()),
            () = sleep(self.shared.quotas.limits().silent) => {
                count_reason("report_alerts", "silent");
                return Err(Status::deadline_exceeded("no batch arrived for a while; open a stream when there are alerts"));
            }
        };
        // The client disconnected, or sent a malformed batch, which the library has answered.
        let Some(AlertBatch { id, alerts, node }) = next? else { return Ok(None) };
        if alerts.len() > MAX_ALERTS {
            return Err(Status::invalid_argument(format!("alerts: send at most {MAX_ALERTS} per batch")));
        }
        let mut log = match self.log.take() {
            Some(log) => log,
            None => {
                let node = Name::parse(&node).map_err(|error| Status::invalid_argument(format!("node: {error}")))?;
                self.identity.check_node("report_alerts", &node)?;
                self.shared.store.alert_log(self.tenant.as_ref(), &node)
            }
        };
        let count = alerts.len() as u64;
        let append = move || {
            let kept = if alerts.is_empty() { Ok(()) } else { log.append(&alerts, Timestamp::now()) };
            (log, kept)
        };
        let done = tokio::task::spawn_blocking(append).await;
        let (log, kept) = done.map_err(|error| Status::internal(error.to_string()))?;
        kept.map_err(|error| status(&error))?;
        self.log = Some(log);
        counter!(telemetry::CONTROL_PLANE_ALERTS_TOTAL).increment(count);
        Ok(Some(AlertAck { id }))
    }
}

fn status(error: &AlertLogError) -> Status {
    static LINES: Throttle = Throttle::new();
    if let Some(left_out) = LINES.pass() {
        tracing::error!(error = %Escaped(&error), left_out, "cannot store alerts, nodes keep them");
    }
    match error {
        AlertLogError::Io { .. } => Status::unavailable("cannot store alerts at the moment; send them again later"),
        AlertLogError::Full { .. } | AlertLogError::Tenant(_) => {
            count_reason("report_alerts", if matches!(error, AlertLogError::Tenant(_)) { "bytes" } else { "files" });
            Status::resource_exhausted("there is no room for more alerts of this node; send them again later")
        }
    }
}
