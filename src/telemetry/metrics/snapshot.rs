//! The metrics of the active snapshot, the shadow snapshot and the canary.

use metrics::Unit;

use super::{Metric, MetricKind, metric};

/// Bytes of the active snapshot, mapped or not.
pub const SNAPSHOT_BYTES: &str = "hotlist_snapshot_bytes";
/// Sources whose events have no checked field.
pub const BLIND_SOURCES: &str = "hotlist_blind_sources";
/// Always 1; its label is the name of the active snapshot.
pub const SNAPSHOT_INFO: &str = "hotlist_snapshot_info";
pub const SHADOW_HITS_TOTAL: &str = "hotlist_shadow_hits_total";
pub const SHADOW_ONLY_HITS_TOTAL: &str = "hotlist_shadow_only_hits_total";
pub const SHADOW_MISSING_HITS_TOTAL: &str = "hotlist_shadow_missing_hits_total";
pub const CANARY_FOUND: &str = "hotlist_canary_found";

const INFO: &str = "Always 1; the label names the active snapshot, the same in every process with the same indicators: the manifest's audience and version (`acme@42`), the digest of the files (`files:3f9a1c2b4d5e`), both (`acme@42+files:3f9a1c2b4d5e`), or `none`.";

/// Formats [`SNAPSHOT_INFO`] in the Prometheus text format. It is not recorded, because a recorder keeps every value that
/// a label ever had.
pub fn snapshot_info(name: &str) -> String {
    format!("# HELP {SNAPSHOT_INFO} {INFO}\n# TYPE {SNAPSHOT_INFO} gauge\n{SNAPSHOT_INFO}{{snapshot=\"{name}\"}} 1\n\n")
}

pub(super) const METRICS: &[Metric] = &[
    metric(SNAPSHOT_INFO, MetricKind::Gauge, Unit::Count, &["snapshot"], INFO),
    metric(
        SNAPSHOT_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Memory of the active snapshot: its segments, mapped or not, their merged parts, and its prefilter. `intel.max_bytes` is its limit.",
    ),
    metric(
        BLIND_SOURCES,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Sources without a checked field in any event, 20 s or more after the first event: nothing of them is matched. `/readyz?verbose` names them.",
    ),
    metric(
        SHADOW_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed"],
        "Hits of the shadow snapshot, by feed. They tag nothing.",
    ),
    metric(
        SHADOW_ONLY_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed"],
        "Hits of the shadow snapshot that the active one does not have, by feed: hits that a promotion would add. The log has samples.",
    ),
    metric(
        SHADOW_MISSING_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed"],
        "Hits of the active snapshot that the shadow one does not have, by feed: hits that a promotion would remove.",
    ),
    metric(
        CANARY_FOUND,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "1 when the last check, once per minute, found `intel.canary` through the whole match path, else 0.",
    ),
];
