//! The metrics of the control stream, as a node sees it.

use metrics::Unit;

use super::{Metric, MetricKind, metric};

/// Whether the control stream is open.
pub const CONTROL_CONNECTED: &str = "hotlist_control_connected";
/// How long the control plane has been silent.
pub const CONTROL_STALENESS_SECONDS: &str = "hotlist_control_staleness_seconds";
/// Control streams that could not be opened, or broke off.
pub const CONTROL_DISCONNECTS_TOTAL: &str = "hotlist_control_disconnects_total";
/// Version of the manifest that serves.
pub const CONTROL_VERSION: &str = "hotlist_control_version";
/// Whether the manifest that serves has expired.
pub const CONTROL_EXPIRED: &str = "hotlist_control_expired";
/// Manifests that serve now or did.
pub const CONTROL_APPLIED_TOTAL: &str = "hotlist_control_applied_total";
/// Manifests that were refused.
pub const CONTROL_REFUSED_TOTAL: &str = "hotlist_control_refused_total";
/// Bytes of segments that were fetched.
pub const CONTROL_FETCHED_BYTES_TOTAL: &str = "hotlist_control_fetched_bytes_total";
/// Fetches that went on where one before them broke off.
pub const CONTROL_RESUMED_FETCHES_TOTAL: &str = "hotlist_control_resumed_fetches_total";
/// Bytes of segments on disk.
pub const CONTROL_CACHE_BYTES: &str = "hotlist_control_cache_bytes";
/// Bytes of segments that may be on disk.
pub const CONTROL_CACHE_LIMIT_BYTES: &str = "hotlist_control_cache_limit_bytes";

/// Their part of the table.
pub(super) const METRICS: &[Metric] = &[
    metric(
        CONTROL_CONNECTED,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "1 while the stream to the control plane is open, else 0; then the last good version serves.",
    ),
    metric(
        CONTROL_STALENESS_SECONDS,
        MetricKind::Gauge,
        Unit::Seconds,
        &[],
        "Time since the control plane was last heard: an open stream counts, as unanswered pings close it. Absent before the first time in this process.",
    ),
    metric(
        CONTROL_DISCONNECTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Control streams that could not be opened or ended: connect, refused (the control plane's status), lost, protocol (it broke the rules), retry (opened anew to try a refused version again).",
    ),
    metric(
        CONTROL_VERSION,
        MetricKind::Gauge,
        Unit::Count,
        &["slot"],
        "Version of the manifest that serves, by slot: serve or shadow. 0 is none.",
    ),
    metric(
        CONTROL_EXPIRED,
        MetricKind::Gauge,
        Unit::Count,
        &["slot"],
        "1 when the manifest that serves has expired, else 0. It goes on serving: publish a new one.",
    ),
    metric(
        CONTROL_APPLIED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["slot"],
        "Manifests that were put into service, the last good one at start included.",
    ),
    metric(
        CONTROL_REFUSED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["slot", "reason"],
        "Manifests that were refused while the one before went on serving, by reason: format, signature, audience, slot, version, expired, digest (a segment's bytes are not what the manifest says), fetch, cache (full, or the disk failed), apply (no snapshot can be made of it).",
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
        "Fetches of a segment that went on where an earlier one broke off.",
    ),
    metric(
        CONTROL_CACHE_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Bytes of segments on disk, half-fetched ones included.",
    ),
    metric(
        CONTROL_CACHE_LIMIT_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Bytes of segments that may be on disk: `intel.control.cache_bytes`.",
    ),
];
