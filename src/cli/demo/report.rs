//! The output of the demo, on one screen of 80 columns: the hits as a table, one tagged event, the figures, and what to
//! do next. `--full` prints more hits, with their values, and the whole event.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cli::table::Rows;
use crate::escape::Escaped;

/// The value of `threat.enrichments.matched.type` in each enrichment of the sidecar.
pub(super) const MARK: &str = "indicator_match_rule";

/// Rows of the table. An indicator is shown once, with `--full` once for each field.
const ROWS: usize = 8;
/// Rows of the table with `--full`.
const ROWS_FULL: usize = 24;
/// The maximum length of a value in a cell, in characters, so that the table fits 80 columns.
const CELL: usize = 30;
/// The maximum length of a value in a cell with `--full`.
const CELL_FULL: usize = 48;
/// The columns of the terminal that the short event fits.
const COLUMNS: usize = 80;

/// One hit, as a row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    time: String,
    kind: String,
    indicator: String,
    field: String,
    value: String,
    feed: String,
}

/// The events that the next hop received, as far as they are shown.
#[derive(Default)]
pub(super) struct Report {
    is_full: bool,
    rows: Vec<Row>,
    shown: HashSet<(String, String)>,
    hits: u64,
    tagged: u64,
    /// A tagged event, and its lines when it is shortened.
    example: Option<(Value, usize)>,
}

pub(super) struct Figures {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) events: u64,
    pub(super) observables: u64,
    pub(super) passes: u64,
    pub(super) hits: u64,
    pub(super) indicators: u64,
    pub(super) suppressed: Vec<(String, u64)>,
    /// Time in the matching step, over all threads.
    pub(super) matching: Duration,
    /// From the first request to the last response.
    pub(super) elapsed: Duration,
}

/// Where the demo's files and addresses are while it keeps running.
pub(super) struct DemoAddresses<'a> {
    pub(super) address: &'a str,
    pub(super) admin: Option<String>,
    pub(super) directory: &'a Path,
}

/// Writes what the demo does, before it does it.
pub(super) fn write_start(events: u64, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "A sender, the sidecar and a receiver run on this machine. The sender sends {}\n\
         events with OTLP over gRPC, as a collector does; one in {} is an incident.\n",
        grouped(events),
        super::events::INCIDENT_EVERY
    )?;
    out.flush()
}

impl Report {
    /// Creates an empty report; a full one shows more hits and the whole event.
    pub(super) fn new(is_full: bool) -> Report {
        Report { is_full, ..Report::default() }
    }

    /// Adds a tagged event.
    pub(super) fn take(&mut self, event: Value) {
        self.tagged += 1;
        for row in rows(&event) {
            self.hits += 1;
            let field = if self.is_full { row.field.clone() } else { String::new() };
            let is_new = self.shown.insert((row.indicator.clone(), field));
            if is_new && self.rows.len() < if self.is_full { ROWS_FULL } else { ROWS } {
                self.rows.push(row);
            }
        }
        // The shortest, so that the report fits one screen whichever event comes first.
        let lines = wrapped(&shortened(&event), 0, 0).lines().count();
        if self.example.as_ref().is_none_or(|(_, least)| lines < *least) {
            self.example = Some((event, lines));
        }
    }

    pub(super) fn write(&self, figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
        let table = if self.is_full { self.full_table() } else { self.table() };
        write!(out, "Hits, as the receiver got them\n{table}")?;
        let more = self.hits.saturating_sub(self.rows.len() as u64);
        if more > 0 {
            writeln!(out, "and {} more", grouped(more))?;
        }
        if let Some((event, _)) = &self.example {
            let (text, length) = if self.is_full {
                (format!("{event:#}"), "in full")
            } else {
                (wrapped(&shortened(event), 0, 0), "shortened (--full: all of it)")
            };
            writeln!(out, "\nOne of {} tagged events, {length}\n{text}", grouped(self.tagged))?;
        }
        self.write_figures(figures, out)
    }

    fn table(&self) -> Rows {
        let mut table = Rows::new(["KIND", "INDICATOR", "FIELD", "FEED"]);
        for row in &self.rows {
            table.add([&row.kind, &row.indicator, &row.field, &row.feed].map(|cell| short(cell, CELL)));
        }
        table
    }

    fn full_table(&self) -> Rows {
        let mut table = Rows::new(["TIME", "KIND", "INDICATOR", "FIELD", "VALUE", "FEED"]);
        for row in &self.rows {
            let cells = [&row.time, &row.kind, &row.indicator, &row.field, &row.value, &row.feed];
            table.add(cells.map(|cell| short(cell, CELL_FULL)));
        }
        table
    }

    fn write_figures(&self, figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
        let per = |count: u64, of: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        writeln!(out)?;
        let mut line = |name: &str, text: String| writeln!(out, "  {name:<12}{text}");
        line("indicators", grouped(figures.indicators))?;
        let received = grouped(figures.received);
        line(
            "events",
            format!("{} sent, {} matched, {received} received", grouped(figures.sent), grouped(figures.events)),
        )?;
        let each = per(figures.observables, figures.events);
        line("observables", format!("{} ({each:.1} per event)", grouped(figures.observables)))?;
        let rate = 100.0 * per(figures.passes, figures.observables);
        line("prefilter", format!("{rate:.2} % of the look-ups passed ({})", grouped(figures.passes)))?;
        line("hits", format!("{} on {} events", grouped(figures.hits), grouped(self.tagged)))?;
        let reasons: Vec<String> = figures.suppressed.iter().map(|(why, n)| format!("{why} {}", grouped(*n))).collect();
        line("suppressed", if reasons.is_empty() { "0".to_owned() } else { reasons.join(", ") })?;
        let seconds = figures.elapsed.as_secs_f64().max(1e-9);
        let build = if env!("HOTLIST_OPT_LEVEL") == "3" { "release build" } else { "a release build is faster" };
        let speed = grouped((figures.sent as f64 / seconds).round() as u64);
        line("speed", format!("{speed} events per second with sender and receiver"))?;
        let micros = per(figures.matching.as_nanos() as u64, figures.events) / 1000.0;
        line("matching", format!("{micros:.2} µs per event ({build})"))
    }
}

/// Writes what to do after the demo.
pub(super) fn write_next_steps(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(
        b"
Next
  hotlist scan --indicators FEED --events LOG  match a file of your own events
  hotlist init --collector fluent-bit          configurations; or vector, otel
  hotlist demo --keep                          send your own events to this demo
  docs/tutorial.md                             your own logs to a first hit
",
    )
}

/// Writes how to send events to the running demo: commands to copy as they are.
pub(super) fn write_how_to_send(place: &DemoAddresses<'_>, out: &mut dyn Write) -> io::Result<()> {
    let DemoAddresses { address, admin, directory } = place;
    let hits = directory.join("hits.ndjson");
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    writeln!(
        out,
        r#"
Serving until Ctrl-C: OTLP/gRPC at {address}. Hits appear below, and whole events in
  tail -f '{hits}'

Send one with the OpenTelemetry SDK for Python
  python3 -m venv otel-venv && otel-venv/bin/pip install --quiet 'opentelemetry-exporter-otlp-proto-grpc>=1.30,<2'
  otel-venv/bin/python - <<'EOF'
{python}EOF

Or from Fluent Bit
  outputs:
    - {{ name: opentelemetry, match: "*", host: {host}, port: {port}, grpc: on, net.keepalive: off,
        net.io_timeout: 10, batch_size: 100000, logs_body_key: $__none__, retry_limit: no_limits }}
"#,
        hits = hits.display(),
        python = python(address),
    )?;
    if let Some(admin) = admin {
        writeln!(out, "Metrics\n  curl http://{admin}/metrics\n")?;
    }
    Ok(())
}

/// A program that sends one event that hits.
fn python(address: &str) -> String {
    format!(
        r#"import logging
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
provider = LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(endpoint="{address}", insecure=True)))
logging.getLogger().addHandler(LoggingHandler(logger_provider=provider))
logging.warning("connection", extra={{"destination.ip": "198.51.100.77", "host.name": "my-host"}})
provider.shutdown()
"#
    )
}

/// Writes one line per hit, while the demo keeps running.
pub(super) fn write_live(event: &Value, out: &mut dyn Write) -> io::Result<()> {
    for Row { time, kind, indicator, field, value, feed } in rows(event) {
        let [kind, indicator, field, value, feed] =
            [kind, indicator, field, value, feed].map(|text| short(&text, CELL_FULL));
        writeln!(out, "hit {time}  {kind}  {indicator}  at {field} = {value}  ({feed})")?;
    }
    Ok(())
}

/// Returns the hits in an event.
fn rows(event: &Value) -> Vec<Row> {
    let text =
        |value: &Value, path: &[&str]| at(value, path).and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
    let enrichments = at(event, &["threat", "enrichments"]).and_then(Value::as_array).into_iter().flatten();
    enrichments
        .filter(|enrichment| is_ours(enrichment))
        .map(|enrichment| Row {
            time: text(enrichment, &["matched", "occurred"]).get(11..19).unwrap_or_default().to_owned(),
            kind: text(enrichment, &["indicator", "type"]),
            indicator: text(enrichment, &["indicator", "name"]),
            field: text(enrichment, &["matched", "field"]),
            value: text(enrichment, &["matched", "atomic"]),
            feed: text(enrichment, &["feed", "name"]),
        })
        .collect()
}

/// The event may have had enrichments before, which are marked but have no detection type.
fn is_ours(enrichment: &Value) -> bool {
    enrichment.pointer("/hotlist/detection").is_some()
}

/// Returns the value at a path, nested, dotted or mixed.
fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    (1..=path.len()).find_map(|keys| {
        let (key, rest) = path.split_at_checked(keys)?;
        at(value.get(key.join("."))?, rest)
    })
}

/// Returns the event without what the reader does not need to see once: of its first enrichment what hit where, and why.
fn shortened(event: &Value) -> Value {
    const OMITTED: [&str; 2] = ["@timestamp", "event"];
    const KEPT: [(&str, &[&str]); 4] = [
        ("indicator", &["type", "name"]),
        ("matched", &["atomic", "field"]),
        ("feed", &["name"]),
        ("hotlist", &["rule", "detection"]),
    ];
    let pick = |value: &Value, names: &[&str]| -> Value {
        names.iter().filter_map(|name| Some(((*name).to_owned(), value.get(name)?.clone()))).collect()
    };
    let enrichment = |value: &Value| -> Value {
        KEPT.iter().filter_map(|(name, of)| Some(((*name).to_owned(), pick(value.get(name)?, of)))).collect()
    };
    let Value::Object(members) = event else { return event.clone() };
    let kept = members.iter().filter(|(name, _)| !OMITTED.contains(&name.as_str()));
    kept.map(|(name, value)| match value.get("enrichments").and_then(Value::as_array) {
        Some(list) => {
            let first: Vec<Value> = list.iter().filter(|one| is_ours(one)).take(1).map(enrichment).collect();
            (name.clone(), serde_json::json!({ "enrichments": first }))
        }
        None => (name.clone(), value.clone()),
    })
    .collect()
}

/// Formats JSON with each object or array on one line if it fits. The text begins after `used` characters of a line.
fn wrapped(value: &Value, indent: usize, used: usize) -> String {
    let line = one_line(value);
    if used + line.chars().count() < COLUMNS {
        return line;
    }
    let inner = indent + 2;
    let (open, close, parts): (char, char, Vec<String>) = match value {
        Value::Object(members) => {
            let part = |(name, value): (&String, &Value)| {
                let name = Value::from(name.as_str()).to_string() + ": ";
                let value = wrapped(value, inner, inner + name.chars().count());
                name + &value
            };
            ('{', '}', members.iter().map(part).collect())
        }
        Value::Array(items) => ('[', ']', items.iter().map(|item| wrapped(item, inner, inner)).collect()),
        _ => return line,
    };
    let space = " ".repeat(inner);
    format!("{open}\n{space}{}\n{}{close}", parts.join(&format!(",\n{space}")), " ".repeat(indent))
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let parts =
                members.iter().map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), one_line(value)));
            format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn short(text: &str, limit: usize) -> String {
    let is_cut = text.chars().nth(limit).is_some();
    let (kept, cut) = if is_cut { (limit - 1, "…") } else { (limit, "") };
    format!("{}{cut}", Escaped(text.chars().take(kept).collect::<String>()))
}

/// Formats a number with a comma at every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns the samples of a metric in the Prometheus text format: labels and value.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.parse().ok()?))
    })
}

pub(super) fn sum(text: &str, name: &str) -> f64 {
    samples(text, name).map(|(_, value)| value).sum()
}

/// Returns the time that all requests together spent in a stage.
pub(super) fn stage_seconds(text: &str, stage: &str) -> f64 {
    let label = format!("stage=\"{stage}\"");
    let sums = samples(text, "hotlist_stage_seconds_sum");
    sums.filter(|(labels, _)| *labels == label).map(|(_, value)| value).sum()
}

/// Returns the non-zero samples of a metric, by the value of its one label.
pub(super) fn by_label(text: &str, name: &str, label: &str) -> Vec<(String, u64)> {
    let mut found: Vec<(String, u64)> = samples(text, name)
        .filter(|(_, value)| *value > 0.0)
        .filter_map(|(labels, value)| {
            let word = labels.strip_prefix(label)?.strip_prefix("=\"")?.strip_suffix('"')?;
            Some((word.to_owned(), value as u64))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prometheus_text_is_summed_by_exact_name() {
        let text = "# HELP a_total x\na_total{k=\"x\"} 2\na_total{k=\"y\"} 0\na_total_more 9\na_total 3\n";
        assert_eq!(sum(text, "a_total"), 5.0);
        assert_eq!(by_label(text, "a_total", "k"), [("x".to_owned(), 2)]);
    }

    /// The sidecar's enrichments are found in each spelling of the event; those of others are not shown as hits.
    #[test]
    fn hits_are_read_nested_and_dotted_and_only_the_sidecars_own() {
        let enrichment = json!({
            "indicator": { "type": "ipv4-addr", "name": "192.0.2.1" },
            "matched": { "field": "source.ip", "atomic": "192.0.2.1", "occurred": "2025-01-01T10:20:30Z" },
            "feed": { "name": "f" }, "hotlist": { "detection": "CTI" },
        });
        let others = json!({ "indicator": { "name": "x" }, "hotlist": { "verified": false } });
        let all = json!([others, enrichment]);
        for event in [json!({ "threat": { "enrichments": all } }), json!({ "threat.enrichments": all })] {
            let rows = rows(&event);
            assert_eq!((rows.len(), rows[0].time.as_str(), rows[0].field.as_str()), (1, "10:20:30", "source.ip"));
        }
        assert!(rows(&json!({ "message": "indicator_match_rule" })).is_empty());
    }

    /// Wrapped text is the same document, and no line that could be broken is wider than the screen.
    #[test]
    fn a_wrapped_document_is_the_same_and_fits() {
        let list: Vec<Value> = (0..9).map(|n| json!({ "name": "n".repeat(n * 3), "of": [n, { "deep": n }] })).collect();
        let event = json!({ "a": {}, "b": [], "list": list, "text": "é".repeat(60), "n": 1.5, "none": null });
        let text = wrapped(&event, 0, 0);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), event);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn numbers_are_grouped_and_long_values_cut_at_a_character() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(short(&"é".repeat(9), 8), format!("{}…", "é".repeat(7)));
        assert_eq!(short(&"é".repeat(8), 8), "é".repeat(8));
    }
}
