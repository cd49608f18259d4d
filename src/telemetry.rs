//! Logs and metrics of the process itself: one subscriber for `tracing`, one Prometheus recorder, and the table of
//! every metric there is. `docs/telemetry.md` lists the same table, held to it by a test.

mod throttle;

pub use throttle::Throttle;

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Requests that a source answered.
pub const SOURCE_REQUESTS_TOTAL: &str = "hotlist_source_requests_total";
/// Requests that a source acknowledged.
pub const SOURCE_ACKNOWLEDGED_TOTAL: &str = "hotlist_source_acknowledged_total";
/// Bytes of requests that a source received.
pub const SOURCE_RECEIVED_BYTES_TOTAL: &str = "hotlist_source_received_bytes_total";
/// Requests that a sink sent.
pub const SINK_REQUESTS_TOTAL: &str = "hotlist_sink_requests_total";
/// Bytes that a sink sent.
pub const SINK_SENT_BYTES_TOTAL: &str = "hotlist_sink_sent_bytes_total";
/// Records that the next hop rejected in an otherwise successful answer.
pub const SINK_PARTIAL_REJECTED_RECORDS_TOTAL: &str = "hotlist_sink_partial_rejected_records_total";
/// Records that the next hop refused alone and that were written to the rejected file.
pub const SINK_REJECTED_RECORDS_TOTAL: &str = "hotlist_sink_rejected_records_total";
/// Batches with refused records that could not be written to the rejected file.
pub const SINK_REJECTED_UNWRITTEN_TOTAL: &str = "hotlist_sink_rejected_unwritten_total";
/// Searches for the records that the next hop refuses.
pub const SINK_BISECTIONS_TOTAL: &str = "hotlist_sink_bisections_total";
/// Answers of the next hop.
pub const NEXT_HOP_ANSWERS_TOTAL: &str = "hotlist_next_hop_answers_total";
/// Connections that failed on their way to a next hop.
pub const SINK_CONNECT_FAILURES_TOTAL: &str = "hotlist_sink_connect_failures_total";
/// Connections that are open now.
pub const CONNECTIONS: &str = "hotlist_connections";
/// Connections that were closed or refused.
pub const CONNECTIONS_CLOSED_TOTAL: &str = "hotlist_connections_closed_total";
/// Certificates that were loaded anew.
pub const TLS_RELOADS_TOTAL: &str = "hotlist_tls_reloads_total";
/// Bytes of requests that are in the process now.
pub const IN_FLIGHT_BYTES: &str = "hotlist_in_flight_bytes";
/// Events that were matched.
pub const EVENTS_TOTAL: &str = "hotlist_events_total";
/// Bytes of the events that were matched.
pub const EVENT_BYTES_TOTAL: &str = "hotlist_event_bytes_total";
/// Observables that were looked up.
pub const OBSERVABLES_TOTAL: &str = "hotlist_observables_total";
/// Look-ups that the prefilter let through.
pub const PREFILTER_PASSES_TOTAL: &str = "hotlist_prefilter_passes_total";
/// Hits.
pub const HITS_TOTAL: &str = "hotlist_hits_total";
/// Matches that policy suppressed.
pub const SUPPRESSIONS_TOTAL: &str = "hotlist_suppressions_total";
/// Exact matches whose value an allowlist holds.
pub const ALLOWLIST_HITS_TOTAL: &str = "hotlist_allowlist_hits_total";
/// Records that were passed on untouched because something about them is odd.
pub const ODD_RECORDS_TOTAL: &str = "hotlist_odd_records_total";
/// Indicators in the serving snapshot, by kind.
pub const INDICATORS: &str = "hotlist_indicators";
/// Indicators in the serving snapshot, by feed.
pub const FEED_INDICATORS: &str = "hotlist_feed_indicators";
/// Lines that the last import of a feed could not use.
pub const FEED_UNUSABLE_LINES: &str = "hotlist_feed_unusable_lines";
/// Faults of a feed's files.
pub const FEED_ERRORS_TOTAL: &str = "hotlist_feed_errors_total";
/// When a feed was last read well.
pub const FEED_TIMESTAMP_SECONDS: &str = "hotlist_feed_timestamp_seconds";
/// Version of the serving snapshot.
pub const SNAPSHOT_VERSION: &str = "hotlist_snapshot_version";
/// When the serving snapshot was made.
pub const SNAPSHOT_TIMESTAMP_SECONDS: &str = "hotlist_snapshot_timestamp_seconds";
/// Snapshots that were made or could not be.
pub const SNAPSHOT_RELOADS_TOTAL: &str = "hotlist_snapshot_reloads_total";
/// Configurations that SIGHUP asked for.
pub const CONFIG_RELOADS_TOTAL: &str = "hotlist_config_reloads_total";
/// Time spent in a stage of a request.
pub const STAGE_SECONDS: &str = "hotlist_stage_seconds";
/// Always 1; its label says which build runs.
pub const BUILD_INFO: &str = "hotlist_build_info";

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows, from 0 at start.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution in buckets.
    Histogram,
}

impl MetricKind {
    /// The word of the Prometheus text format.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// One metric: what is exposed, in which unit, under which labels.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The full Prometheus name.
    pub name: &'static str,
    /// What it does over time.
    pub kind: MetricKind,
    /// What is counted or measured.
    pub unit: Unit,
    /// The names of its labels. Each takes few values: ids of the configuration, or a closed set of words.
    pub labels: &'static [&'static str],
    /// What it says, and when to worry.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: MetricKind,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

/// Every metric that the process exposes.
pub const METRICS: &[Metric] = &[
    metric(
        SOURCE_REQUESTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source", "status"],
        "Requests answered, by source and gRPC status in lower case (ok, unavailable, resource_exhausted, invalid_argument).",
    ),
    metric(
        SOURCE_ACKNOWLEDGED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source", "signal"],
        "Requests acknowledged, by source and signal: logs, which are matched, metrics and traces, which pass untouched.",
    ),
    metric(
        SOURCE_RECEIVED_BYTES_TOTAL,
        MetricKind::Counter,
        Unit::Bytes,
        &["source"],
        "Bytes of request messages received, as they came over the wire.",
    ),
    metric(
        SINK_REQUESTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink", "status"],
        "Requests sent, by sink and the status that came back; dropped when a sink that is not required has no room. Anything but ok from a required one makes the collector retry.",
    ),
    metric(
        SINK_SENT_BYTES_TOTAL,
        MetricKind::Counter,
        Unit::Bytes,
        &["sink"],
        "Bytes that a sink sent or wrote, after compression.",
    ),
    metric(
        SINK_PARTIAL_REJECTED_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Records that the next hop rejected in an otherwise successful answer (OTLP partial success). They are lost there.",
    ),
    metric(
        SINK_REJECTED_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Records that the next hop refuses for good and that are kept in the rejected file. Look at them with `hotlist rejected list`.",
    ),
    metric(
        SINK_REJECTED_UNWRITTEN_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Batches refused because their rejected records could not be written: the file is full, locked, or the disk fails. Collectors retry them until it is mended.",
    ),
    metric(
        SINK_BISECTIONS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Batches that the next hop refused for their content or size and that were searched for the records it refuses.",
    ),
    metric(
        NEXT_HOP_ANSWERS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink", "status"],
        "Answers of the next hop to single requests as it gave them: gRPC status in lower case, http_ with an HTTP status, timeout, connection, or unsendable.",
    ),
    metric(
        SINK_CONNECT_FAILURES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["endpoint", "reason"],
        "Attempts to connect to a next hop that failed, by reason: connect, tls (its certificate, or ours, was refused), timeout, lost (closed before it answered anything).",
    ),
    metric(CONNECTIONS, MetricKind::Gauge, Unit::Count, &["listener"], "Connections open now, by source, or admin."),
    metric(
        CONNECTIONS_CLOSED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["listener", "reason"],
        "Connections closed or refused: peer (it closed), idle, evicted (it idled when another needed its place), capacity (refused, all were busy), handshake_timeout, tls, preface (another protocol), timeout (no answer to a ping, or a slow header), protocol, drained, accept_failed (most likely no file descriptors).",
    ),
    metric(
        TLS_RELOADS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Certificates, keys and authorities loaded anew after their files changed, by result (ok, failed). A failed one leaves those before it in use.",
    ),
    metric(
        IN_FLIGHT_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Bytes of requests in the process now. At `limits.in_flight_bytes` requests are refused with resource_exhausted.",
    ),
    metric(EVENTS_TOTAL, MetricKind::Counter, Unit::Count, &[], "Events that were matched."),
    metric(EVENT_BYTES_TOTAL, MetricKind::Counter, Unit::Bytes, &[], "Bytes of the events that were matched."),
    metric(OBSERVABLES_TOTAL, MetricKind::Counter, Unit::Count, &[], "Observables that were looked up."),
    metric(
        PREFILTER_PASSES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Look-ups that the prefilter let through to the exact sets. Far more than hits means a poor filter.",
    ),
    metric(
        HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["kind", "feed"],
        "Hits written on events, by kind of observable and feed.",
    ),
    metric(
        SUPPRESSIONS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Exact matches that policy suppressed, by reason.",
    ),
    metric(
        ALLOWLIST_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["list", "action"],
        "Exact matches whose value an allowlist holds, by list and what it does: suppress (no hit) or annotate (a hit that names the list).",
    ),
    metric(
        ODD_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Records passed on although they could not be walked or tagged as usual, by reason.",
    ),
    metric(INDICATORS, MetricKind::Gauge, Unit::Count, &["kind"], "Indicators in the serving snapshot, by kind."),
    metric(
        FEED_INDICATORS,
        MetricKind::Gauge,
        Unit::Count,
        &["feed"],
        "Indicators in the serving snapshot, by feed. A feed that falls to 0 is probably broken.",
    ),
    metric(
        FEED_UNUSABLE_LINES,
        MetricKind::Gauge,
        Unit::Count,
        &["feed"],
        "Lines that the last import of a feed could not use. `hotlist inspect` lists them with reasons.",
    ),
    metric(
        FEED_ERRORS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed", "reason"],
        "Times that a file of a feed became unusable, empty, vanished or shrunk. Its last good indicators stay in force.",
    ),
    metric(
        FEED_TIMESTAMP_SECONDS,
        MetricKind::Gauge,
        Unit::Seconds,
        &["feed"],
        "When a file of the feed was last read well, in seconds since 1970. Its age tells a feed that is no longer delivered.",
    ),
    metric(
        SNAPSHOT_VERSION,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Version of the serving snapshot; it grows with every accepted reload. 0 means that nothing is matched.",
    ),
    metric(
        SNAPSHOT_TIMESTAMP_SECONDS,
        MetricKind::Gauge,
        Unit::Seconds,
        &[],
        "When the serving snapshot was made, in seconds since 1970.",
    ),
    metric(
        SNAPSHOT_RELOADS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Snapshots made of changed files: applied, or failed, when the serving one stays.",
    ),
    metric(
        CONFIG_RELOADS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Reloads of the configuration on SIGHUP: applied, or refused, when the old one stays.",
    ),
    metric(
        STAGE_SECONDS,
        MetricKind::Histogram,
        Unit::Seconds,
        &["stage"],
        "Wall-clock time of one batch in a stage of its way through the process.",
    ),
    metric(BUILD_INFO, MetricKind::Gauge, Unit::Count, &["version"], "Always 1; the label says which version runs."),
];

/// Upper bounds of the buckets of [`STAGE_SECONDS`], in seconds: from one small batch to a sink's time-out.
const STAGE_BUCKETS: [f64; 12] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 8.0, 30.0];

/// The environment variable that overrides the level of the log, in the syntax of `tracing` filters.
pub const LOG_VARIABLE: &str = "HOTLIST_LOG";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The variable holds no filter.
    #[error(
        "the environment variable {LOG_VARIABLE} holds no log filter: {0}; give e.g. `debug` or `hotlist=trace,info`"
    )]
    Filter(String),
    /// A subscriber was set up before.
    #[error("the log is already set up in this process: {0}; set it up once")]
    LogTwice(String),
    /// A recorder was set up before.
    #[error("metrics are already set up in this process: {0}; set them up once")]
    MetricsTwice(String),
    /// The recorder refused its settings.
    #[error("the metrics recorder refused its settings: {0}; this is a fault of the program")]
    Recorder(#[from] BuildError),
}

/// Sends the process's log to standard error. `filter`, the value of [`LOG_VARIABLE`], wins over `log.level`.
pub fn init_log(log: Log, filter: Option<&str>) -> Result<(), TelemetryError> {
    let filter = log_filter(log, filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| TelemetryError::LogTwice(error.to_string()))
}

fn log_filter(log: Log, filter: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    match filter.filter(|filter| !filter.trim().is_empty()) {
        Some(filter) => EnvFilter::try_new(filter).map_err(|error| TelemetryError::Filter(error.to_string())),
        None => Ok(EnvFilter::new(log.level.as_str())),
    }
}

/// Installs the recorder of the whole process and describes every metric. The handle renders them as text.
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = builder()?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| TelemetryError::MetricsTwice(error.to_string()))?;
    describe();
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Full(STAGE_SECONDS.to_owned()), &STAGE_BUCKETS)
}

/// Registers unit and help text of every metric with the current recorder.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn every_metric_is_exposed_with_its_help_under_its_own_name() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            for metric in METRICS {
                let labels: Vec<metrics::Label> =
                    metric.labels.iter().map(|name| metrics::Label::new(*name, "x")).collect();
                match metric.kind {
                    MetricKind::Counter => metrics::counter!(metric.name, labels).increment(1),
                    MetricKind::Gauge => metrics::gauge!(metric.name, labels).set(1.0),
                    MetricKind::Histogram => metrics::histogram!(metric.name, labels).record(0.002),
                }
            }
        });
        let text = handle.render();
        for metric in METRICS {
            assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.as_str())), "{text}");
            assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}\n{text}", metric.name);
        }
        assert!(text.contains("hotlist_stage_seconds_bucket{stage=\"x\",le=\"0.003\"} 1\n"), "{text}");
        assert!(text.contains("hotlist_hits_total{kind=\"x\",feed=\"x\"} 1\n"), "{text}");
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert!(metric.name.starts_with("hotlist_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{}", metric.name);
            assert_eq!(metric.name.contains("bytes"), metric.unit == Unit::Bytes, "{}", metric.name);
        }
    }

    #[test]
    fn the_reference_lists_exactly_these_metrics() {
        let row = |metric: &Metric| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let (kind, unit) = (metric.kind.as_str(), metric.unit.as_str());
            format!("| `{}` | {kind} | {unit} | {} | {} |", metric.name, labels.join(", "), metric.help)
        };
        let written: Vec<&str> =
            include_str!("../docs/telemetry.md").lines().filter(|line| line.starts_with("| `hotlist_")).collect();
        let wanted: Vec<String> = METRICS.iter().map(row).collect();
        assert_eq!(written, wanted, "the table of docs/telemetry.md should be:\n{}", wanted.join("\n"));
    }

    #[test]
    fn the_variable_wins_over_the_configured_level_and_a_bad_one_is_named() {
        let log = Log { level: LogLevel::Warn, ..Log::default() };
        assert_eq!(log_filter(log, None).unwrap().to_string(), "warn");
        assert_eq!(log_filter(log, Some(" ")).unwrap().to_string(), "warn");
        assert_eq!(log_filter(log, Some("hotlist=trace")).unwrap().to_string(), "hotlist=trace");
        let error = log_filter(log, Some("hotlist=loud")).unwrap_err().to_string();
        assert!(error.starts_with("the environment variable HOTLIST_LOG holds no log filter: "), "{error}");
    }
}
