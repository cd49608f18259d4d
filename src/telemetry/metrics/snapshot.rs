//! The metrics of what serves: its size, what stands beside it, and whether it finds what it must.

use metrics::Unit;

use super::{Metric, MetricKind, metric};

/// Bytes of what serves, mapped or not.
pub const SNAPSHOT_BYTES: &str = "hotlist_snapshot_bytes";
/// Sources without a known field.
pub const BLIND_SOURCES: &str = "hotlist_blind_sources";
/// Always 1; its label names what serves.
pub const SNAPSHOT_INFO: &str = "hotlist_snapshot_info";
/// Hits of the shadow.
pub const SHADOW_HITS_TOTAL: &str = "hotlist_shadow_hits_total";
/// Hits that only the shadow has.
pub const SHADOW_ONLY_HITS_TOTAL: &str = "hotlist_shadow_only_hits_total";
/// Hits that the shadow does not have.
pub const SHADOW_MISSING_HITS_TOTAL: &str = "hotlist_shadow_missing_hits_total";
/// Whether the canary is found.
pub const CANARY_FOUND: &str = "hotlist_canary_found";

const INFO: &str = "Always 1; the label names the snapshot that serves, the same in every process with the same indicators: the manifest's audience and version (`acme@42`), the digest of the files (`files:3f9a1c2b4d5e`), both (`acme@42+files:3f9a1c2b4d5e`), or `none`.";

/// [`SNAPSHOT_INFO`] in the Prometheus text format. It is written here and not recorded, since a recorder keeps every value
/// that a label ever had.
pub fn snapshot_info(name: &str) -> String {
    format!("# HELP {SNAPSHOT_INFO} {INFO}\n# TYPE {SNAPSHOT_INFO} gauge\n{SNAPSHOT_INFO}{{snapshot=\"{name}\"}} 1\n\n")
}

/// Their part of the table.
pub(super) const METRICS: &[Metric] = &[
    metric(SNAPSHOT_INFO, MetricKind::Gauge, Unit::Count, &["snapshot"], INFO),
    metric(
        SNAPSHOT_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Memory of the serving snapshot: its segments, mapped or not, what is merged of them, and its prefilter. `intel.max_bytes` is its limit.",
    ),
    metric(
        BLIND_SOURCES,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Sources of whose events none has had a field that an indicator is looked for in, 20 s or more after the first event: nothing of them is matched. `/readyz?verbose` names them.",
    ),
    metric(
        SHADOW_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed"],
        "Hits of the snapshot in the slot `shadow`, by feed. They tag nothing.",
    ),
    metric(
        SHADOW_ONLY_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed"],
        "Hits of the shadow that the serving snapshot does not have, by feed: what would come. The log has samples.",
    ),
    metric(
        SHADOW_MISSING_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed"],
        "Hits of the serving snapshot that the shadow does not have, by feed: what would go.",
    ),
    metric(
        CANARY_FOUND,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "1 when the last look, once a minute, found `intel.canary` through the whole match path, else 0.",
    ),
];
