//! The metrics of a control plane.

use metrics::Unit;

use super::metrics::{Metric, MetricKind, metric};

/// Nodes that are connected.
pub const CONTROL_PLANE_NODES: &str = "hotlist_control_plane_nodes";
/// Active publications.
pub const CONTROL_PLANE_PUBLICATIONS: &str = "hotlist_control_plane_publications";
/// Publications that could not be used.
pub const CONTROL_PLANE_PUBLICATION_ERRORS_TOTAL: &str = "hotlist_control_plane_publication_errors_total";
/// Manifests that were sent.
pub const CONTROL_PLANE_PUSHES_TOTAL: &str = "hotlist_control_plane_pushes_total";
/// Answers of nodes.
pub const CONTROL_PLANE_ANSWERS_TOTAL: &str = "hotlist_control_plane_answers_total";
/// Bytes of segments that were sent.
pub const CONTROL_PLANE_FETCHED_BYTES_TOTAL: &str = "hotlist_control_plane_fetched_bytes_total";
/// Stored alerts.
pub const CONTROL_PLANE_ALERTS_TOTAL: &str = "hotlist_control_plane_alerts_total";
/// Calls that were refused.
pub const CONTROL_PLANE_REFUSALS_TOTAL: &str = "hotlist_control_plane_refusals_total";
/// Reasons that calls were refused or ended.
pub const CONTROL_PLANE_REFUSAL_REASONS_TOTAL: &str = "hotlist_control_plane_refusal_reasons_total";
/// Calls with a certificate that names no node.
pub const CONTROL_PLANE_UNBOUND_NODES_TOTAL: &str = "hotlist_control_plane_unbound_nodes_total";
/// Nodes whose name another process uses.
pub const CONTROL_PLANE_DUPLICATE_NODES: &str = "hotlist_control_plane_duplicate_nodes";
/// Nodes that an operator removed.
pub const CONTROL_PLANE_REMOVED_NODES_TOTAL: &str = "hotlist_control_plane_removed_nodes_total";
/// Silent nodes that were removed.
pub const CONTROL_PLANE_FORGOTTEN_NODES_TOTAL: &str = "hotlist_control_plane_forgotten_nodes_total";

pub const CONTROL_PLANE_METRICS: &[Metric] = &[
    metric(
        CONTROL_PLANE_NODES,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Nodes that have a stream open to this control plane.",
    ),
    metric(
        CONTROL_PLANE_PUBLICATIONS,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Active publications of this control plane.",
    ),
    metric(
        CONTROL_PLANE_PUBLICATION_ERRORS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Times that a publication, or the directory of publications, could not be used. The last good ones stay active; the log has the cause.",
    ),
    metric(
        CONTROL_PLANE_PUSHES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["slot"],
        "Manifests sent to nodes, by slot (serve, shadow). Emptying a slot counts as a manifest.",
    ),
    metric(
        CONTROL_PLANE_ANSWERS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["slot", "answer"],
        "Answers of nodes, by slot and answer: ack, nack (refused, `hotlist nodes` shows the reason), stale (to a superseded manifest).",
    ),
    metric(
        CONTROL_PLANE_FETCHED_BYTES_TOTAL,
        MetricKind::Counter,
        Unit::Bytes,
        &[],
        "Bytes of segments sent to nodes.",
    ),
    metric(
        CONTROL_PLANE_ALERTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Alerts of nodes that were written to disk. An alert that is sent again counts again.",
    ),
    metric(
        CONTROL_PLANE_REFUSALS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["call", "status"],
        "Calls refused, by call (sync, fetch_segment, report_alerts, list_nodes, remove_node) and gRPC status in lower case.",
    ),
    metric(
        CONTROL_PLANE_REFUSAL_REASONS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["call", "reason"],
        "Calls refused or ended by a quota, a time-out or the name in a certificate, by call (sync, fetch_segment, report_alerts, list_nodes, remove_node, other) and reason: connection, node, tenant, total (the exceeded quota), nodes, bytes, files (of a tenant in the store), node_name (differs from the certificate), slow_message, not_read, no_hello, no_answer, silent (time-outs).",
    ),
    metric(
        CONTROL_PLANE_UNBOUND_NODES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Streams of nodes whose certificate names a tenant but no node, so that they may use any node name of the tenant.",
    ),
    metric(
        CONTROL_PLANE_DUPLICATE_NODES,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Streams open to this control plane under a node name that another process uses at the same time. `hotlist nodes` shows their addresses.",
    ),
    metric(
        CONTROL_PLANE_REMOVED_NODES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Nodes that operators removed with `hotlist nodes remove`.",
    ),
    metric(
        CONTROL_PLANE_FORGOTTEN_NODES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Nodes whose files were removed because they were silent for `--forget-nodes-after`.",
    ),
];
