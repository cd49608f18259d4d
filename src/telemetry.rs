//! Logs and metrics of the process itself: one subscriber for `tracing`, one Prometheus recorder, and the table of
//! every metric there is (`telemetry/metrics.rs`, `telemetry/control_plane.rs`).

mod control_plane;
mod filter;
mod log;
mod metrics;
mod outlet;
mod panics;
mod throttle;

pub use self::control_plane::*;
pub use self::metrics::*;
pub use throttle::Throttle;

use std::io::{self, Write as _};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Log;
use crate::escape::{Printable, Style};
use outlet::Outlet;

/// Upper bounds of the buckets of [`STAGE_SECONDS`], in seconds: from one small batch to a sink's time-out.
const STAGE_BUCKETS: [f64; 12] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 8.0, 30.0];

/// How long the end of the process waits for a reader of its log.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The log's way to standard error, once [`open_log`] made it.
static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// The environment variable that overrides the level of the log, in the syntax of `tracing` filters.
pub const LOG_VARIABLE: &str = "HOTLIST_LOG";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The variable holds no filter.
    #[error(
        "the environment variable {LOG_VARIABLE} is not a log filter: {0}; give e.g. `debug` or `hotlist=trace,info`"
    )]
    Filter(String),
    /// A subscriber was set up before.
    #[error("the log is already set up in this process: {0}; set it up once")]
    LogTwice(String),
    /// There is no thread that writes the log.
    #[error("the log has no thread: {0}; raise the system's limit of threads")]
    Thread(io::Error),
    /// A recorder was set up before.
    #[error("metrics are already set up in this process: {0}; set them up once")]
    MetricsTwice(String),
    /// The recorder refused its settings.
    #[error("the metrics recorder refused its settings: {0}; this is a fault of the program")]
    Recorder(#[from] BuildError),
}

/// Has a thread of its own write to standard error whatever [`init_log`] and [`last_words`] say from now on, so that no
/// reader of it holds the process up. Lines that cannot be written are lost and counted.
///
/// # Errors
/// The system gives no thread.
pub fn open_log() -> Result<(), TelemetryError> {
    outlet().map(|_| ())
}

fn outlet() -> Result<&'static Outlet, TelemetryError> {
    if let Some(outlet) = OUTLET.get() {
        return Ok(outlet);
    }
    // Not by way of the standard library's buffer, whose lock another writer might hold for as long as it is blocked.
    let write = |bytes: &[u8]| Ok(rustix::io::write(io::stderr(), bytes)?);
    let outlet = Outlet::start(write).map_err(TelemetryError::Thread)?;
    Ok(OUTLET.get_or_init(|| outlet))
}

/// Sends the process's log, panics included, to standard error. `filter`, the value of [`LOG_VARIABLE`], wins over
/// `log.level`.
pub fn init_log(log: Log, filter: Option<&str>) -> Result<(), TelemetryError> {
    let filter = log_filter(log, filter)?;
    log::subscriber(log.format, filter, has_colours(), outlet()?.clone())
        .try_init()
        .map_err(|error| TelemetryError::LogTwice(error.to_string()))?;
    panics::install();
    Ok(())
}

/// Writes a text for people to standard error, behind what the log has written, and waits for the log's last lines:
/// without [`open_log`] for as long as it takes, else for half a second.
pub fn last_words(text: &str) {
    let mut line = Vec::new();
    if !text.is_empty() {
        // Writing to memory cannot fail.
        let _ = writeln!(Printable::new(&mut line, Style::Text), "{text}");
    }
    match OUTLET.get() {
        Some(outlet) => {
            if !line.is_empty() {
                outlet.push(line);
            }
            outlet.flush(LAST_LINES);
        }
        None => {
            // Nothing is left to do when standard error is gone, too.
            let _ = io::stderr().write_all(&line);
        }
    }
}

/// Whether standard error shows colours: it is a terminal that has them, and `NO_COLOR`, `CLICOLOR` and `TERM` do not say
/// otherwise; or `CLICOLOR_FORCE` asks for them.
fn has_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

fn log_filter(log: Log, filter: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    match filter.filter(|filter| !filter.trim().is_empty()) {
        Some(filter) => filter::parse(filter).map_err(TelemetryError::Filter),
        None => Ok(EnvFilter::new(log.level.as_str())),
    }
}

/// Installs the recorder of the whole process and describes every metric. The handle renders them as text.
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = builder()?.build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|error| TelemetryError::MetricsTwice(error.to_string()))?;
    describe();
    ::metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Measures the process itself (`process_resident_memory_bytes` and the like), for a scrape that comes now.
pub fn measure_process() {
    static PROCESS: LazyLock<metrics_process::Collector> = LazyLock::new(|| {
        let process = metrics_process::Collector::default();
        process.describe();
        process
    });
    PROCESS.collect();
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Full(STAGE_SECONDS.to_owned()), &STAGE_BUCKETS)
}

/// Every metric that a process of this program can expose.
fn every_metric() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(CONTROL_PLANE_METRICS)
}

/// Registers unit and help text of every metric with the current recorder.
pub fn describe() {
    for metric in every_metric() {
        match metric.kind {
            MetricKind::Counter => ::metrics::describe_counter!(metric.name, metric.unit, metric.help),
            MetricKind::Gauge => ::metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            MetricKind::Histogram => ::metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ::metrics::Unit;

    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn every_metric_is_exposed_with_its_help_under_its_own_name() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        ::metrics::with_local_recorder(&recorder, || {
            describe();
            for metric in every_metric() {
                let labels: Vec<::metrics::Label> =
                    metric.labels.iter().map(|name| ::metrics::Label::new(*name, "x")).collect();
                match metric.kind {
                    MetricKind::Counter => ::metrics::counter!(metric.name, labels).increment(1),
                    MetricKind::Gauge => ::metrics::gauge!(metric.name, labels).set(1.0),
                    MetricKind::Histogram => ::metrics::histogram!(metric.name, labels).record(0.002),
                }
            }
        });
        let text = handle.render();
        for metric in every_metric() {
            assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.as_str())), "{text}");
            assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}\n{text}", metric.name);
        }
        assert!(text.contains("hotlist_stage_seconds_bucket{stage=\"x\",le=\"0.003\"} 1\n"), "{text}");
        assert!(text.contains("hotlist_hits_total{kind=\"x\",feed=\"x\"} 1\n"), "{text}");
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let names: BTreeSet<&str> = every_metric().map(|metric| metric.name).collect();
        assert_eq!(names.len(), every_metric().count());
        for metric in every_metric() {
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
        let wanted: Vec<String> = every_metric().map(row).collect();
        assert_eq!(written, wanted, "the table of docs/telemetry.md should be:\n{}", wanted.join("\n"));
    }

    #[test]
    fn the_variable_wins_over_the_configured_level_and_a_bad_one_is_named() {
        let log = Log { level: LogLevel::Warn, ..Log::default() };
        assert_eq!(log_filter(log, None).unwrap().to_string(), "warn");
        assert_eq!(log_filter(log, Some(" ")).unwrap().to_string(), "warn");
        assert_eq!(log_filter(log, Some("hotlist=trace")).unwrap().to_string(), "hotlist=trace");
        let error = log_filter(log, Some("hotlist=loud")).unwrap_err().to_string();
        assert!(error.starts_with("the environment variable HOTLIST_LOG is not a log filter: "), "{error}");
    }
}
