//! The metrics of the process itself: its log, its panics, and its tasks.

use metrics::Unit;

use super::{Metric, MetricKind, metric};

pub const LOG_LINES_LOST_TOTAL: &str = "hotlist_log_lines_lost_total";
pub const PANICS_TOTAL: &str = "hotlist_panics_total";
/// Background tasks that were restarted after a panic.
pub const TASK_RESTARTS_TOTAL: &str = "hotlist_task_restarts_total";
/// Reloads of the configuration.
pub const CONFIG_RELOADS_TOTAL: &str = "hotlist_config_reloads_total";
/// Changed keys of the configuration that need a restart.
pub const CONFIG_RESTART_NEEDED: &str = "hotlist_config_restart_needed";

pub(super) const METRICS: &[Metric] = &[
    metric(
        LOG_LINES_LOST_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Lines of the process's own log that were lost, by reason: buffer_full (standard error is not read fast enough), write_failed (standard error is closed, or its disk is full). Events are not affected.",
    ),
    metric(
        PANICS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Panics of any thread. Each is a bug in Hotlist and is logged: please report it.",
    ),
    metric(
        TASK_RESTARTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["task"],
        "Background tasks that were restarted after a panic, by task: indicators, control. Meanwhile the active snapshot stays active, and readiness shows the panic.",
    ),
    metric(
        CONFIG_RELOADS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Reloads of the configuration, by result: applied, or refused (the previous one stays active).",
    ),
    metric(
        CONFIG_RESTART_NEEDED,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Keys of the configuration that changed in a reload and take effect at the next start only. 0 when the whole file is active.",
    ),
];
