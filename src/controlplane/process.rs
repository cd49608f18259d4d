//! The process of a control plane: the server, and the admin listener with probes and metrics.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::server::{Limits, Server, ServerError};
use crate::admin::{Admin, AdminError, AdminPages};
use crate::config::{Address, ServerTls};
use crate::escape::Escaped;
use crate::readiness::{LISTENERS, Readiness};
use crate::store::Store;
use crate::task;

/// The grace period for calls in flight at shutdown.
pub const GRACE: Duration = Duration::from_secs(10);

/// The settings of a control plane.
#[derive(Debug)]
pub struct Settings {
    /// The store that is served.
    pub store: Store,
    /// The address of nodes and operators.
    pub listen: Address,
    /// The certificates of the server and the authority of its clients.
    pub tls: Option<ServerTls>,
    /// The limits on callers.
    pub limits: Limits,
    /// The address of the admin listener.
    pub admin: Option<Address>,
    /// Whether a failure to bind the admin listener prevents the start.
    pub requires_admin: bool,
}

/// The reason that a control plane cannot start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// The server cannot start, or failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The admin listener cannot be bound.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A background task panicked.
    #[error("the background task `{0}` panicked because of a bug in Hotlist")]
    Background(&'static str),
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All calls in flight were completed.
    Clean,
    /// The grace period ended first; calls in flight were aborted.
    Cut,
}

/// A control plane that has bound its sockets.
pub struct ControlPlane {
    server: Server,
    admin: Option<Admin>,
    readiness: Readiness,
    metrics: PrometheusHandle,
}

impl ControlPlane {
    /// Reads the publications and binds the sockets.
    ///
    /// # Errors
    /// A socket cannot be bound, or the certificates cannot be used.
    pub async fn bind(settings: Settings, metrics: PrometheusHandle) -> Result<ControlPlane, ControlPlaneError> {
        let Settings { store, listen, tls, limits, admin, requires_admin } = settings;
        let server = Server::bind(store, &listen, tls.as_ref(), limits).await?;
        let readiness = Readiness::default();
        readiness.register(LISTENERS, true);
        let admin = match admin.map(|address| Admin::bind(&address, None)) {
            None => None,
            Some(Ok(admin)) => Some(admin),
            Some(Err(error)) if requires_admin => return Err(error.into()),
            // Several control planes can run on one host.
            Some(Err(error)) => {
                tracing::warn!(error = %Escaped(&error), "admin listener failed to bind: probes and metrics are not served; give --admin another address, or `none`");
                None
            }
        };
        if let Some(admin) = &admin {
            tracing::info!(address = %admin.address(), "admin is listening: /livez /readyz /metrics");
        }
        Ok(ControlPlane { server, admin, readiness, metrics })
    }

    /// Serves until `shutdown` resolves, then turns readiness off and completes the calls in flight within the grace
    /// period. Dropping the future aborts them.
    ///
    /// # Errors
    /// The server failed, or a background task panicked.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, ControlPlaneError> {
        let ControlPlane { server, admin, readiness, metrics } = self;
        // Probes are answered until the end: the admin listener has a separate stop.
        let (end, over) = (CancellationToken::new(), CancellationToken::new());
        if let Some(admin) = admin {
            let served = admin.serve(pages(&readiness, metrics), over.clone().cancelled_owned());
            task::background("admin", async move {
                if let Err(error) = served.await {
                    tracing::error!(error = %Escaped(&error), "admin listener failed: probes and metrics are no longer served");
                }
            });
        }
        readiness.set(LISTENERS, true, server.address().to_string());
        let serving = server.serve(end.clone().cancelled_owned());
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return Ok(ended.map(|()| Drained::Clean)?),
            () = shutdown => {}
            name = task::failed() => return Err(ControlPlaneError::Background(name)),
        }
        readiness.drain();
        end.cancel();
        let ended = timeout(GRACE, serving).await;
        over.cancel();
        match ended {
            Ok(ended) => ended?,
            Err(_) => return Ok(Drained::Cut),
        }
        tracing::info!("all streams ended");
        Ok(Drained::Clean)
    }
}

fn pages(readiness: &Readiness, metrics: PrometheusHandle) -> AdminPages {
    AdminPages {
        readiness: readiness.clone(),
        metrics,
        snapshot: None,
        config: Arc::new(|| "a control plane is configured by its arguments only\n".to_owned()),
        confirm: Arc::new(|_| Box::pin(std::future::ready(false))),
        tap: None,
    }
}
