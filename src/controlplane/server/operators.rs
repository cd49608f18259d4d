//! The operators' calls, and the gRPC implementations of both services.

use std::sync::Arc;

use jiff::Timestamp;
use metrics::counter;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::quotas::PermitKind;
use super::{ControlService, ServerState, alerts, caller, fetch, permit, refused, sync};
use crate::escape::Escaped;
use crate::intel::manifest::Mode;
use crate::names::{Name, NameError};
use crate::proto::control::v1::control_server::Control;
use crate::proto::control::v1::operator_server::Operator;
use crate::proto::control::v1::{
    AlertBatch, Canary, Error, FetchSegmentRequest, Instance, ListNodesRequest, ListNodesResponse, Node, NodeStatus,
    RemoveNodeRequest, RemoveNodeResponse, Slot, SlotStatus, Statistics, SyncRequest, SyncResponse,
};
use crate::store::{AlertDisposal, NodeRecord, PublicationSet, RemoveError, SlotRecord};
use crate::telemetry::{self, Throttle};

#[tonic::async_trait]
impl Control for ControlService {
    type SyncStream = ReceiverStream<Result<SyncResponse, Status>>;
    type FetchSegmentStream = fetch::Chunks;
    type ReportAlertsStream = alerts::Acks;

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        let opened = sync::open(&self.0, request);
        opened.map(Response::new).inspect_err(|status| refused("sync", status))
    }

    async fn fetch_segment(
        &self,
        request: Request<FetchSegmentRequest>,
    ) -> Result<Response<Self::FetchSegmentStream>, Status> {
        let opened = fetch::open(&self.0, request).await;
        opened.map(Response::new).inspect_err(|status| refused("fetch_segment", status))
    }

    async fn report_alerts(
        &self,
        request: Request<Streaming<AlertBatch>>,
    ) -> Result<Response<Self::ReportAlertsStream>, Status> {
        let opened = alerts::open(&self.0, request);
        opened.map(Response::new).inspect_err(|status| refused("report_alerts", status))
    }
}

#[tonic::async_trait]
impl Operator for ControlService {
    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        list(&self.0, request).await.inspect_err(|status| refused("list_nodes", status))
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Result<Response<RemoveNodeResponse>, Status> {
        remove(&self.0, request).await.inspect_err(|status| refused("remove_node", status))
    }
}

async fn list(shared: &ServerState, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
    let caller = caller(&request);
    caller.identity.check_admin()?;
    let permit = permit(shared, "list_nodes", PermitKind::Operator, &caller)?;
    let tenant = Some(&request.get_ref().tenant).filter(|tenant| !tenant.is_empty());
    let tenant = tenant.map(|tenant| Name::parse(tenant)).transpose();
    let tenant = tenant.map_err(|error| Status::invalid_argument(format!("tenant: {error}")))?;
    let store = shared.store.clone();
    let read = tokio::task::spawn_blocking(move || store.read_nodes(tenant.as_ref())).await;
    let nodes = read.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| {
        static LINES: Throttle = Throttle::new();
        if let Some(left_out) = LINES.pass() {
            tracing::error!(error = %Escaped(&error), left_out, "cannot list nodes");
        }
        Status::unavailable("the store cannot be read; the control plane's log has the cause")
    })?;
    let (snapshot, now) = (shared.publications.current(), Timestamp::now());
    let nodes = nodes.into_iter().map(|node| node_status(node, &snapshot, now)).collect();
    let mut response = Response::new(ListNodesResponse { nodes });
    // Held until the response is sent.
    response.extensions_mut().insert(Arc::new(permit));
    Ok(response)
}

async fn remove(
    shared: &ServerState,
    request: Request<RemoveNodeRequest>,
) -> Result<Response<RemoveNodeResponse>, Status> {
    let caller = caller(&request);
    caller.identity.check_admin()?;
    let _permit = permit(shared, "remove_node", PermitKind::Operator, &caller)?;
    let RemoveNodeRequest { tenant, name, alerts } = request.into_inner();
    let invalid = |of: &str, error: NameError| Status::invalid_argument(format!("{of}: {error}"));
    let name = Name::parse(&name).map_err(|error| invalid("name", error))?;
    let tenant = Some(tenant).filter(|tenant| !tenant.is_empty()).map(|tenant| Name::parse(&tenant)).transpose();
    let tenant = tenant.map_err(|error| invalid("tenant", error))?;
    let alerts = if alerts { AlertDisposal::Remove } else { AlertDisposal::Keep };
    let store = shared.store.clone();
    let (of_tenant, node) = (tenant.as_ref().map(Name::to_string), name.to_string());
    let remove = move || store.remove_node(tenant.as_ref(), &name, alerts, Timestamp::now());
    let removed = tokio::task::spawn_blocking(remove).await.map_err(|error| Status::internal(error.to_string()))?;
    let (alert_files, alert_bytes) = removed.map_err(|error| match &error {
        RemoveError::Unknown { .. } => Status::not_found(error.to_string()),
        RemoveError::Connected { .. } | RemoveError::Alerts { .. } => Status::failed_precondition(error.to_string()),
        RemoveError::Store(cause) => {
            static LINES: Throttle = Throttle::new();
            if let Some(left_out) = LINES.pass() {
                tracing::error!(node, error = %Escaped(cause), left_out, "cannot remove node");
            }
            Status::unavailable(format!(
                "node {node}: the store cannot be changed; the control plane's log has the cause"
            ))
        }
    })?;
    counter!(telemetry::CONTROL_PLANE_REMOVED_NODES_TOTAL).increment(1);
    let (tenant, with_alerts) = (of_tenant, alerts == AlertDisposal::Remove);
    static LINES: Throttle = Throttle::new();
    if let Some(left_out) = LINES.pass() {
        tracing::info!(tenant, node, with_alerts, alert_files, left_out, "node removed by an operator");
    }
    Ok(Response::new(RemoveNodeResponse { alert_files, alert_bytes }))
}

fn node_status(node: NodeRecord, snapshot: &PublicationSet, now: Timestamp) -> NodeStatus {
    let slots = Mode::ALL.into_iter().filter_map(|mode| {
        let wanted = snapshot.wanted(&node.labels, mode).map_or(0, |of| of.manifest.version);
        let known = node.slots.iter().find(|slot| slot.mode == mode);
        (known.is_some() || wanted != 0).then(|| slot_status(mode, known, wanted))
    });
    let mut present = node.duplicates(now);
    if present.is_empty() && node.is_connected(now) {
        present = node.instances.iter().filter(|one| one.id == node.instance).collect();
    }
    let instances = present.into_iter().map(|one| Instance {
        id: one.id.clone(),
        address: one.address.clone(),
        age_seconds: now.as_second().saturating_sub(one.heard.as_second()).try_into().unwrap_or(0),
    });
    NodeStatus {
        instances: instances.collect(),
        slots: slots.collect(),
        connected: node.is_connected(now),
        age_seconds: node.age_seconds(now),
        tenant: node.tenant.unwrap_or_default(),
        statistics: node.statistics.map(|of| Statistics {
            events: of.events,
            hits: of.hits,
            indicators: of.indicators,
            newest_feed_age_seconds: of.newest_feed_age_seconds,
            canary: i32::from(match of.canary_found {
                None => Canary::Unspecified,
                Some(true) => Canary::Found,
                Some(false) => Canary::Missing,
            }),
        }),
        node: Some(Node {
            name: node.name,
            labels: node.labels.into_iter().collect(),
            software: node.software,
            instance: node.instance,
        }),
    }
}

fn slot_status(mode: Mode, known: Option<&SlotRecord>, wanted_version: u64) -> SlotStatus {
    let slot = match mode {
        Mode::Serve => Slot::Serve,
        Mode::Shadow => Slot::Shadow,
    };
    let mut status = SlotStatus { wanted_version, ..SlotStatus::default() };
    status.set_slot(slot);
    if let Some(known) = known {
        status.version = known.version;
        status.refused_version = known.refused_version;
        let error = Error { code: known.code, message: known.reason.clone() };
        status.error = (known.refused_version != 0 || !known.reason.is_empty()).then_some(error);
    }
    status
}
