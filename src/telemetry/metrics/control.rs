//! The metrics of a node's control stream.

use metrics::Unit;

use super::{Metric, MetricKind, metric};

/// Whether the control stream is open.
pub const CONTROL_CONNECTED: &str = "hotlist_control_connected";
/// The time since the last response of the control plane.
pub const CONTROL_STALENESS_SECONDS: &str = "hotlist_control_staleness_seconds";
/// Control streams that could not be opened, or ended.
pub const CONTROL_DISCONNECTS_TOTAL: &str = "hotlist_control_disconnects_total";
/// The version of the active manifest.
pub const CONTROL_VERSION: &str = "hotlist_control_version";
/// Whether the active manifest has expired.
pub const CONTROL_EXPIRED: &str = "hotlist_control_expired";
/// Manifests that were activated.
pub const CONTROL_APPLIED_TOTAL: &str = "hotlist_control_applied_total";
/// Manifests that were refused.
pub const CONTROL_REFUSED_TOTAL: &str = "hotlist_control_refused_total";
/// Bytes of segments that were fetched.
pub const CONTROL_FETCHED_BYTES_TOTAL: &str = "hotlist_control_fetched_bytes_total";
/// Fetches that resumed an interrupted one.
pub const CONTROL_RESUMED_FETCHES_TOTAL: &str = "hotlist_control_resumed_fetches_total";
/// Bytes of segments on disk.
pub const CONTROL_CACHE_BYTES: &str = "hotlist_control_cache_bytes";
/// The maximum bytes of segments on disk.
pub const CONTROL_CACHE_LIMIT_BYTES: &str = "hotlist_control_cache_limit_bytes";

/// The metrics of the control stream.
pub(super) const METRICS: &[Metric] = &[
    metric(
        CONTROL_CONNECTED,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "1 while the stream to the control plane is open, else 0; the last good version stays active.",
    ),
    metric(
        CONTROL_STALENESS_SECONDS,
        MetricKind::Gauge,
        Unit::Seconds,
        &[],
        "Time since the control plane last answered; 0 while the stream is open, because unanswered pings close it. Absent before the first answer in this process.",
    ),
    metric(
        CONTROL_DISCONNECTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Control streams that could not be opened or ended, by reason: connect, refused (the control plane's status), lost, protocol (the control plane broke the protocol), retry (reopened to retry a refused version).",
    ),
    metric(
        CONTROL_VERSION,
        MetricKind::Gauge,
        Unit::Count,
        &["slot"],
        "Version of the active manifest, by slot: serve or shadow. 0 if there is none.",
    ),
    metric(
        CONTROL_EXPIRED,
        MetricKind::Gauge,
        Unit::Count,
        &["slot"],
        "1 when the active manifest has expired, else 0. It stays active: publish a new one.",
    ),
    metric(
        CONTROL_APPLIED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["slot"],
        "Manifests that were activated, including the last good one at start.",
    ),
    metric(
        CONTROL_REFUSED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["slot", "reason"],
        "Refused manifests (the previous one stays active), by reason: format, signature, audience, slot, version, expired, digest (the bytes of a segment differ from the manifest), fetch, cache (full, or the disk failed), apply (a snapshot cannot be built).",
    ),
    metric(
        CONTROL_FETCHED_BYTES_TOTAL,
        MetricKind::Counter,
        Unit::Bytes,
        &[],
        "Bytes of segments fetched from the control plane.",
    ),
    metric(
        CONTROL_RESUMED_FETCHES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Segment fetches that resumed an interrupted one.",
    ),
    metric(
        CONTROL_CACHE_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Bytes of segments on disk, including partially fetched ones.",
    ),
    metric(
        CONTROL_CACHE_LIMIT_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Maximum bytes of segments on disk: `intel.control.cache_bytes`.",
    ),
];
