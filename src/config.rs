//! The configuration: typed, checked as a whole, and strict. An unknown key, a wrong type or a contradiction is an
//! error that says file, line, column, path in the document, and how to fix it; all of them are reported at once.
//!
//! YAML and TOML become one tree with places (`document`), `${VAR}` is replaced in its strings (`interpolate`), and
//! each section reads its own part (`reader`). The same structs give the schema (`schema`), the tables of
//! `docs/configuration.md` and the configuration in effect as YAML (`show`); tests hold all of them to the reader.

mod address;
mod allowlist;
mod check;
mod control;
mod diff;
mod document;
mod feed_format;
mod files;
mod headers;
mod intel;
mod interpolate;
mod matching;
mod problem;
mod process;
mod reader;
mod rule;
mod schema;
mod secret;
mod show;
mod sink;
mod source;
mod text;
mod tls;
mod toml;
mod units;
mod yaml;

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

pub use address::{Address, AddressError, Endpoint};
pub use allowlist::{AllowlistAction, AllowlistFiles};
pub use control::Control;
pub use diff::{ConfigDiff, SourceChange};
pub use document::without_credentials;
pub use feed_format::FeedFormat;
pub use headers::{Header, HeaderFile, HeaderSource};
pub use intel::{Columns, Intel, IntelFiles, OnShrink};
pub use matching::{C2, Match, RegisteredDomain};
pub use problem::{ConfigErrors, Fault, Position, Problem};
pub use process::{Admin, Limits, Log, LogFormat, LogLevel, Probes, Shutdown};
pub use rule::{Rule, RuleWarning};
pub use secret::Secret;
pub use show::ShowError;
pub use sink::{Compression, Fsync, GrpcSink, NdjsonSink, Only, Protocol, Rejected, Sink, SinkKind};
pub use source::{FilterSource, OtlpSource, Source, SourceKind, VectorSource};
pub use text::TextScan;
pub use tls::{ClientTls, ServerTls};
pub use units::size as parse_size;

use reader::{Item, Problems, Table};

/// The longest configuration that is read. Real ones have a few kilobytes.
const MAX_BYTES: usize = 1 << 20;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Config {
    /// Listeners that take events from collectors, by name. At least one.
    #[serde(serialize_with = "source::write_all")]
    #[schemars(schema_with = "source::schema")]
    pub sources: Vec<Source>,
    /// Where indicators come from.
    #[schemars(with = "Option<Intel>")]
    pub intel: Intel,
    /// Which indicators can hit, under which names: rules by their ids. The order of rules counts. Absent: every entry of `intel.files` has a rule of its own, which selects all of it.
    #[serde(serialize_with = "rule::write_all", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rule::schema", default)]
    pub rules: Option<Vec<Rule>>,
    /// How events are compared with indicators.
    #[schemars(with = "Option<Match>")]
    pub r#match: Match,
    /// Where events go after matching, by name. Each source needs at least one, except sources of type `filter`.
    #[serde(serialize_with = "sink::write_all", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "sink::schema", default)]
    pub sinks: Vec<Sink>,
    /// The treatment of events while no indicators are loaded: `open` passes events untagged, `closed` refuses them.
    #[schemars(extend("default" = "open"))]
    pub failure_mode: FailureMode,
    /// Limits of what the process may use.
    #[schemars(with = "Option<Limits>")]
    pub limits: Limits,
    /// The HTTP listener for this host: probes, metrics and the configuration. Absent: no listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// The HTTP listener for other hosts: probes and metrics. Absent: no listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,
    /// The process's own log, on standard error.
    #[schemars(with = "Option<Log>")]
    pub log: Log,
    /// How the process ends.
    #[schemars(with = "Option<Shutdown>")]
    pub shutdown: Shutdown,
}

/// The treatment of events while there is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailureMode {
    /// Events pass untagged, and are counted.
    Open,
    /// Events are refused with a status that makes the collector retry.
    Closed,
}

/// The format of a configuration's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2.
    Yaml,
    /// TOML 1.0.
    Toml,
}

impl Format {
    /// The format that a file's extension says.
    pub fn from_path(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            // JSON is YAML.
            "yaml" | "yml" | "json" => Some(Format::Yaml),
            "toml" => Some(Format::Toml),
            _ => None,
        }
    }
}

impl Config {
    const KEYS: &[&'static str] = &[
        "sources",
        "intel",
        "rules",
        "match",
        "sinks",
        "failure_mode",
        "limits",
        "admin",
        "probes",
        "log",
        "shutdown",
    ];

    /// Reads and checks a file. `environment` gives the values of variables. Relative paths in the file are relative
    /// to the working directory of the process, not to the file.
    pub fn load(path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        let file = path.display().to_string();
        let whole = |fault| {
            let problem = Problem { position: Position::default(), path: String::new(), fault };
            ConfigErrors { file: file.clone(), problems: vec![problem] }
        };
        let format = Format::from_path(path).ok_or_else(|| whole(Fault::Extension))?;
        let text = std::fs::read_to_string(path).map_err(|error| whole(Fault::Read(error.to_string())))?;
        Config::parse(&text, format, environment).map_err(|errors| ConfigErrors { file: file.clone(), ..errors })
    }

    /// Reads and checks a text. In its errors the file is called `configuration`.
    pub fn parse(
        text: &str,
        format: Format,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        parse(text, format, environment).map_err(|problems| ConfigErrors { file: "configuration".to_owned(), problems })
    }

    /// Every key that a configuration may have, by section: the reference is held to this.
    pub fn keys() -> Vec<(&'static str, &'static [&'static str])> {
        vec![
            ("", Config::KEYS),
            ("sources.<id> (otlp)", OtlpSource::KEYS),
            ("sources.<id> (vector)", VectorSource::KEYS),
            ("sources.<id> (filter)", FilterSource::KEYS),
            ("sources.<id>.tls", ServerTls::KEYS),
            ("intel", Intel::KEYS),
            ("intel.files[]", IntelFiles::KEYS),
            ("intel.files[].columns", Columns::KEYS),
            ("intel.allowlists[]", AllowlistFiles::KEYS),
            ("intel.control", Control::KEYS),
            ("intel.control.tls", ClientTls::KEYS),
            ("rules.<id>", Rule::KEYS),
            ("match", Match::KEYS),
            ("match.c2", C2::KEYS),
            ("match.fields[]", Match::FIELD_KEYS),
            ("sinks.<id> (otlp)", GrpcSink::KEYS),
            ("sinks.<id> (vector)", GrpcSink::KEYS),
            ("sinks.<id>.headers.<name>", HeaderFile::KEYS),
            ("sinks.<id>.rejected", Rejected::KEYS),
            ("sinks.<id>.tls", ClientTls::KEYS),
            ("sinks.<id> (ndjson)", NdjsonSink::KEYS),
            ("sinks.<id> (blackhole)", Sink::BLACKHOLE_KEYS),
            ("limits", Limits::KEYS),
            ("admin", Admin::KEYS),
            ("admin.tls", ServerTls::KEYS),
            ("probes", Probes::KEYS),
            ("probes.tls", ServerTls::KEYS),
            ("log", Log::KEYS),
            ("shutdown", Shutdown::KEYS),
        ]
    }
}

fn parse(text: &str, format: Format, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
    // A byte order mark is not part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        let fault = Fault::TooLarge { bytes: text.len(), max: MAX_BYTES };
        return Err(vec![Problem { position: Position::default(), path: String::new(), fault }]);
    }
    let mut root = match format {
        Format::Yaml => yaml::parse(text).map_err(|problem| vec![problem])?,
        Format::Toml => toml::parse(text)?,
    };
    if root.value == document::Value::Null {
        // An empty file is an empty table, in YAML as it is in TOML.
        root.value = document::Value::Mapping(Vec::new());
    }
    let mut unset = Vec::new();
    root.expand("", environment, &mut unset);
    let problems = Problems::default();
    unset.into_iter().for_each(|problem| problems.push(problem));
    let config = read(&Item::root(&root, &problems), &problems);
    let problems = problems.into_sorted();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

/// Reads every section, then checks them against each other.
fn read(root: &Item<'_>, problems: &Problems) -> Option<Config> {
    let table = root.table(Config::KEYS)?;
    let (source_ids, sources) = read_sources(&table);
    let sinks = read_sinks(&table, &source_ids);
    let modes = [("open", FailureMode::Open), ("closed", FailureMode::Closed)];
    let intel = table.or("intel", Intel::default(), Intel::read);
    let config = Config {
        sources,
        rules: Rule::read_all(&table, &intel),
        intel,
        r#match: table.or("match", Match::default(), Match::read),
        sinks,
        failure_mode: table.or("failure_mode", FailureMode::Open, |item| item.word(&modes)),
        limits: table.or("limits", Limits::default(), Limits::read),
        admin: table.get("admin").and_then(|item| Admin::read(&item)),
        probes: table.get("probes").and_then(|item| Probes::read(&item)),
        log: table.or("log", Log::default(), Log::read),
        shutdown: table.or("shutdown", Shutdown::default(), Shutdown::read),
    };
    check::check(&config, &table, problems);
    Some(config)
}

/// The names of all sources, usable or not, and the usable ones.
fn read_sources<'a>(root: &Table<'a>) -> (Vec<&'a str>, Vec<Source>) {
    let Some(item) = root.get("sources") else {
        root.item.report(Fault::NoSource);
        return Default::default();
    };
    let Some(table) = item.any_table() else { return Default::default() };
    if table.iter().next().is_none() {
        item.report(Fault::NoSource);
    }
    let ids = table.iter().map(|(id, _)| id).collect();
    let sources =
        table.iter().filter(|(id, item)| usable_id(id, item)).filter_map(|(id, item)| Source::read(id, &item));
    (ids, sources.collect())
}

/// The usable sinks. Every source that needs a sink must be read by one, unless a sink's inputs are unreadable: then
/// nobody knows.
fn read_sinks(root: &Table<'_>, sources: &[&str]) -> Vec<Sink> {
    let written = root.get("sources").filter(Item::is_table).and_then(|item| item.any_table());
    let unread = |inputs: &[String]| -> Vec<(String, Item<'_>)> {
        let needs = written.iter().flat_map(Table::iter).filter(|(_, item)| !Source::needs_no_sink(item));
        let unread = needs.filter(|(id, _)| !inputs.iter().any(|input| input == id));
        unread.map(|(id, item)| (id.to_owned(), item)).collect()
    };
    // Without any usable source nobody knows what is needed.
    let is_needed = sources.is_empty() || !unread(&[]).is_empty();
    let Some(item) = root.get("sinks") else {
        if is_needed {
            root.item.report(Fault::NoSink);
        }
        return Vec::new();
    };
    let Some(table) = item.any_table() else { return Vec::new() };
    if table.iter().next().is_none() {
        if is_needed {
            item.report(Fault::NoSink);
        }
        return Vec::new();
    }
    let mut inputs = Some(Vec::new());
    let mut sinks = Vec::new();
    for (id, item) in table.iter() {
        let (mut more, sink) = Sink::read(id, &item, sources);
        inputs = inputs.zip(more.as_mut()).map(|(mut all, more)| {
            all.append(more);
            all
        });
        sinks.extend(sink.filter(|_| usable_id(id, &item)));
    }
    for (source_id, item) in inputs.as_deref().map(unread).unwrap_or_default() {
        item.report(Fault::UnreadSource { source_id });
    }
    sinks
}

/// Names become metric labels and stand in paths, so they are kept simple.
fn usable_id(id: &str, item: &Item<'_>) -> bool {
    let usable = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !usable {
        let reason = "is not a usable name; give letters, digits, `_` and `-` only".to_owned();
        item.report(Fault::BadValue { value: document::shorten(id), reason });
    }
    usable
}

#[cfg(test)]
mod secrecy;
#[cfg(test)]
mod tests;
