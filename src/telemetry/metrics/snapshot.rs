//! The metrics of what serves: its size, what stands beside it, and whether it finds what it must.

use metrics::Unit;

use super::{Metric, MetricKind, metric};

/// Bytes of what serves, mapped or not.
pub const SNAPSHOT_BYTES: &str = "hotlist_snapshot_bytes";
/// Hits of the shadow.
pub const SHADOW_HITS_TOTAL: &str = "hotlist_shadow_hits_total";
/// Hits that only the shadow has.
pub const SHADOW_ONLY_HITS_TOTAL: &str = "hotlist_shadow_only_hits_total";
/// Hits that the shadow does not have.
pub const SHADOW_MISSING_HITS_TOTAL: &str = "hotlist_shadow_missing_hits_total";
/// Whether the canary is found.
pub const CANARY_FOUND: &str = "hotlist_canary_found";

/// Their part of the table.
pub(super) const METRICS: &[Metric] = &[
    metric(
        SNAPSHOT_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Memory of the serving snapshot: its segments, mapped or not, what is merged of them, and its prefilter. `intel.max_bytes` is its limit.",
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
