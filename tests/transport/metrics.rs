//! The metrics of the test's process. Tests run side by side, so each looks only at series with labels of its own.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Metrics count from here on.
pub fn install() {
    HANDLE.get_or_init(|| hotlist::telemetry::init_metrics().unwrap());
}

/// The value of a series, 0 when there is none.
pub fn value(series: &str) -> f64 {
    let text = HANDLE.get().unwrap().render();
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}

/// Connections of a source that were closed for a reason.
pub fn closed(source: &str, reason: &str) -> f64 {
    value(&format!("hotlist_connections_closed_total{{listener=\"{source}\",reason=\"{reason}\"}}"))
}

/// Connections of a source that are open.
pub fn open(source: &str) -> f64 {
    value(&format!("hotlist_connections{{listener=\"{source}\"}}"))
}

/// Waits until something is so.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}\n{}", HANDLE.get().unwrap().render());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
