//! Logs and metrics of the process: a subscriber for `tracing`, a Prometheus recorder, and the table of all metrics
//! (`telemetry/metrics.rs`, `telemetry/control_plane.rs`).

mod control_plane;
mod filter;
mod label;
mod log;
mod log_buffer;
mod metrics;
mod panics;
mod throttle;

pub use self::control_plane::*;
pub use self::metrics::*;
pub use label::BoundedLabel;
pub use throttle::Throttle;

use std::io::{self, Write as _};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Log;
use crate::escape::{Printable, Style};
use log_buffer::LogBuffer;

/// Upper bounds of the buckets of [`STAGE_SECONDS`], in seconds: from one small batch to a sink's time-out.
const STAGE_BUCKETS: [f64; 12] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 8.0, 30.0];

/// How long the process waits at its end for a reader of its log.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The writer of the log to standard error, once [`open_log`] has created it.
static OUTLET: OnceLock<LogBuffer> = OnceLock::new();

/// The environment variable that overrides the log level, in the syntax of `tracing` filters.
pub const LOG_VARIABLE: &str = "HOTLIST_LOG";

/// The reason that telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The variable is not a valid filter.
    #[error(
        "the environment variable {LOG_VARIABLE} is not a log filter: {0}; give e.g. `debug` or `hotlist=trace,info`"
    )]
    Filter(String),
    /// A subscriber is already set up.
    #[error("the log is already set up in this process: {0}; set it up once")]
    LogTwice(String),
    /// The thread of the log cannot be started.
    #[error("cannot start the thread of the log: {0}; raise the system's limit of threads")]
    Thread(io::Error),
    /// A recorder is already set up.
    #[error("metrics are already set up in this process: {0}; set them up once")]
    MetricsTwice(String),
    /// The recorder refused its settings.
    #[error("the metrics recorder refused its settings: {0}; please report this bug in Hotlist")]
    Recorder(#[from] BuildError),
}

/// Writes the output of [`init_log`] and [`write_final_message`] to standard error on a separate thread from now on, so that a slow
/// reader does not block the process. Lines that cannot be written are lost and counted.
///
/// # Errors
/// The system cannot start a thread.
pub fn open_log() -> Result<(), TelemetryError> {
    log_buffer().map(|_| ())
}

fn log_buffer() -> Result<&'static LogBuffer, TelemetryError> {
    if let Some(log_buffer) = OUTLET.get() {
        return Ok(log_buffer);
    }
    // Bypasses the standard library's buffer, whose lock may be held by a blocked writer.
    let write = |bytes: &[u8]| Ok(rustix::io::write(io::stderr(), bytes)?);
    let log_buffer = LogBuffer::start(write).map_err(TelemetryError::Thread)?;
    Ok(OUTLET.get_or_init(|| log_buffer))
}

/// Sends the process's log, panics included, to standard error. `filter`, the value of [`LOG_VARIABLE`], wins over
/// `log.level`.
pub fn init_log(log: Log, filter: Option<&str>) -> Result<(), TelemetryError> {
    let filter = log_filter(log, filter)?;
    log::subscriber(log.format, filter, has_colours(), log_buffer()?.clone())
        .try_init()
        .map_err(|error| TelemetryError::LogTwice(error.to_string()))?;
    panics::install();
    Ok(())
}

/// Writes a text for people to standard error, after the log, and waits until the log is written: without [`open_log`]
/// without a limit, otherwise for half a second.
pub fn write_final_message(text: &str) {
    let mut line = Vec::new();
    if !text.is_empty() {
        // Writing to memory cannot fail.
        let _ = writeln!(Printable::new(&mut line, Style::Text), "{text}");
    }
    match OUTLET.get() {
        Some(log_buffer) => {
            if !line.is_empty() {
                log_buffer.push(line);
            }
            log_buffer.flush(LAST_LINES);
        }
        None => {
            // A failing standard error is ignored.
            let _ = io::stderr().write_all(&line);
        }
    }
}

/// Returns whether standard error shows colours: it is a terminal with colours, and `NO_COLOR`, `CLICOLOR` and `TERM` do
/// not disable them; or `CLICOLOR_FORCE` enables them.
fn has_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

fn log_filter(log: Log, filter: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    match filter.filter(|filter| !filter.trim().is_empty()) {
        Some(filter) => filter::parse(filter).map_err(TelemetryError::Filter),
        None => Ok(EnvFilter::new(log.level.as_str())),
    }
}

/// Installs the recorder of the process and describes every metric. The handle renders the metrics as text.
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = builder()?.build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|error| TelemetryError::MetricsTwice(error.to_string()))?;
    describe();
    ::metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Measures the process itself (`process_resident_memory_bytes` and similar), for a scrape.
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

/// All metrics that a process of this program can expose.
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
        let error = log_filter(log, Some("hotlist=loud")).unwrap_err();
        assert!(matches!(error, TelemetryError::Filter(_)) && error.to_string().contains(LOG_VARIABLE), "{error}");
    }
}
