//! `sinks`: where events go after matching.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::address::Endpoint;
use super::headers::{self, Header, read_headers, read_metadata};
use super::problem::{Fault, nearest};
use super::reader::{Item, Table};
use super::tls::ClientTls;
use super::units::{Size, Time};
use super::{schema, show};

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sink {
    /// Its name in the configuration, in metrics and in logs.
    #[serde(skip)]
    pub id: String,
    /// The names of the sources whose events it takes.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub inputs: Vec<String>,
    /// The events that the sink takes: `all`, only the `hits`, or only those that are `not hits`.
    #[schemars(extend("default" = "all"))]
    pub only: Only,
    /// Whether the collector's request waits for this sink. Failures of a sink that is not required are only counted and logged.
    #[schemars(extend("default" = true))]
    pub required: bool,
    /// The type of the sink, with its own settings.
    #[serde(flatten)]
    #[schemars(skip)]
    pub kind: SinkKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SinkKind {
    /// `type: otlp`.
    Otlp(Box<GrpcSink>),
    /// `type: vector`.
    Vector(Box<GrpcSink>),
    /// `type: ndjson`.
    Ndjson(NdjsonSink),
    /// `type: blackhole`: takes everything and keeps nothing, for tests and measurements.
    Blackhole,
}

/// A gRPC call a batch to the next hop, with or without TLS: to an OTLP receiver, or to the `vector` source of a Vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GrpcSink {
    /// The next hop: `https://host:port` for TLS, `http://host:port` without, or a Unix socket (`unix:/run/next.sock`).
    #[schemars(with = "String")]
    pub endpoint: Endpoint,
    /// The protocol of an `otlp` sink: `grpc` (most often port 4317), or `http` with protobuf (4318) for receivers without gRPC.
    #[schemars(extend("default" = "grpc"))]
    pub protocol: Protocol,
    /// The path before `/v1/logs` with `protocol: http`, such as `/otlp`. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_path: Option<String>,
    /// How requests are compressed: `none`, `gzip` or `zstd`.
    #[schemars(extend("default" = "none"))]
    pub compression: Compression,
    /// The largest request that the next hop accepts, in bytes before compression. Larger batches are split by record.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "4MiB"))]
    pub max_request_bytes: usize,
    /// The time after which a request counts as failed. Keep it below the collector's own time-out.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "8s"))]
    pub timeout: Duration,
    /// Headers of each request by name, e.g. for credentials: a text, or a table that names a file.
    #[serde(serialize_with = "headers::write_all")]
    #[schemars(schema_with = "headers::schema", extend("default" = {}))]
    pub headers: Vec<Header>,
    /// Metadata keys of the collector's request that are forwarded with their values. Absent: none.
    #[serde(serialize_with = "headers::write_names")]
    #[schemars(with = "Vec<String>", extend("default" = []))]
    pub forward_metadata: Vec<HeaderName>,
    /// The file for records that the next hop rejects for good. Absent: a batch with such a record is refused as a whole, and the collector retries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// TLS settings for an `https` endpoint. Absent: the system's authorities, and no client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
}

/// Where records go that the next hop refuses for their content or size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rejected {
    /// The file; it is created if it does not exist. `hotlist rejected` shows the records and sends them again. Relative paths start at the working directory.
    pub path: PathBuf,
    /// The maximum size of the file. When it is full, batches with such records are refused and retried.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "1GiB"))]
    pub max_bytes: usize,
}

/// One JSON document a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NdjsonSink {
    /// The file that lines are appended to; absent or `-` means standard output. Relative paths start at the working directory.
    #[serde(serialize_with = "write_path")]
    #[schemars(with = "String", extend("default" = "-"))]
    pub path: Option<PathBuf>,
    /// When lines are written to the disk: before each batch is acknowledged (`batch`), at most a second later (`interval`), or when the operating system decides (`never`). The end of the process loses nothing in any mode; a power loss loses nothing with `batch`.
    #[schemars(extend("default" = "batch"))]
    pub fsync: Fsync,
}

/// When the lines of a file are brought to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Before a batch is acknowledged.
    #[default]
    Batch,
    /// At most a second after.
    Interval,
    /// When the operating system sees fit.
    Never,
}

/// The transport of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// POSTs over HTTP/1.1.
    Http,
}

/// Compression of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    None,
    /// `grpc-encoding: gzip`.
    Gzip,
    /// `grpc-encoding: zstd`, which not every receiver knows.
    Zstd,
}

/// The events that a sink takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Every event.
    #[default]
    All,
    /// Only events with a hit.
    Hits,
    /// Only events without a hit; metrics and traces, which are not matched, are among them.
    #[serde(rename = "not hits")]
    NotHits,
}

/// Writes `sinks`.
pub(super) fn write_all<S: Serializer>(sinks: &[Sink], serializer: S) -> Result<S::Ok, S::Error> {
    show::as_table(sinks, |sink| (&sink.id, sink), serializer)
}

/// The schema of `sinks`.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let common = Sink::json_schema(generator);
    let blackhole = json_schema!({
        "description": "Takes everything and keeps nothing, for tests and measurements.",
        "type": "object",
        "additionalProperties": false,
    });
    schema::parts_by_name(&[
        schema::part("otlp", &common, GrpcSink::json_schema(generator)),
        schema::part("vector", &common, GrpcSink::json_schema(generator)),
        schema::part("ndjson", &common, NdjsonSink::json_schema(generator)),
        schema::part("blackhole", &common, blackhole),
    ])
}

/// Writes the path of a file; none is standard output.
fn write_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_deref().unwrap_or(Path::new("-")).serialize(serializer)
}

impl Sink {
    pub(super) const BLACKHOLE_KEYS: &[&'static str] = &["type", "inputs", "only", "required"];

    /// Reads a sink, and its inputs even when the rest of it is unusable: other checks need them.
    pub(super) fn read(id: &str, item: &Item<'_>, sources: &[&str]) -> (Option<Vec<String>>, Option<Sink>) {
        let Some(table) = item.any_table() else { return (None, None) };
        let inputs = inputs(&table, sources);
        let words = [("all", Only::All), ("hits", Only::Hits), ("not hits", Only::NotHits)];
        let only = table.or("only", Only::All, |item| item.word(&words));
        let required = table.or("required", true, Item::boolean);
        let sink = match (&inputs, SinkKind::read(item)) {
            (Some(inputs), Some(kind)) => {
                Some(Sink { id: id.to_owned(), inputs: inputs.clone(), only, required, kind })
            }
            _ => None,
        };
        (inputs, sink)
    }
}

impl SinkKind {
    fn read(item: &Item<'_>) -> Option<SinkKind> {
        #[derive(Clone, Copy)]
        enum Type {
            Otlp,
            Vector,
            Ndjson,
            Blackhole,
        }
        let words =
            [("otlp", Type::Otlp), ("vector", Type::Vector), ("ndjson", Type::Ndjson), ("blackhole", Type::Blackhole)];
        match item.any_table()?.required("type", "`otlp`, `vector`, `ndjson` or `blackhole`")?.word(&words)? {
            Type::Otlp => GrpcSink::read(&item.table(GrpcSink::KEYS)?).map(|grpc| SinkKind::Otlp(Box::new(grpc))),
            Type::Vector => {
                let table = item.table(GrpcSink::KEYS)?;
                let grpc = GrpcSink::read(&table)?;
                if let (Protocol::Http, Some(item)) = (grpc.protocol, table.get("protocol")) {
                    let reason = "is for sinks of `type: otlp`; a Vector takes its events over gRPC only".to_owned();
                    item.report(Fault::BadValue { value: "http".to_owned(), reason });
                }
                Some(SinkKind::Vector(Box::new(grpc)))
            }
            Type::Ndjson => Some(SinkKind::Ndjson(NdjsonSink::read(&item.table(NdjsonSink::KEYS)?))),
            Type::Blackhole => item.table(Sink::BLACKHOLE_KEYS).map(|_| SinkKind::Blackhole),
        }
    }
}

/// Reads `inputs` and checks that each names a source.
fn inputs(table: &Table<'_>, sources: &[&str]) -> Option<Vec<String>> {
    let list = table.required("inputs", "a list of sources, e.g. `[agents]`")?;
    let items = list.list("a list of sources, e.g. `[agents]`")?;
    if items.is_empty() {
        list.report(Fault::BadValue {
            value: "[]".to_owned(),
            reason: "names no source; give at least one".to_owned(),
        });
        return None;
    }
    let mut inputs: Vec<String> = Vec::new();
    let mut complete = true;
    for item in items {
        match item.text() {
            Some(name) if !sources.contains(&name.as_str()) => {
                let hint = nearest(&name, sources, "the sources are");
                item.report(Fault::UnknownInput { name, hint });
                complete = false;
            }
            Some(name) if inputs.contains(&name) => item.report(Fault::BadValue {
                value: name,
                reason: "is duplicated in the list; every event would be written twice".to_owned(),
            }),
            Some(name) => inputs.push(name),
            None => complete = false,
        }
    }
    complete.then_some(inputs)
}

impl GrpcSink {
    pub(super) const KEYS: &[&'static str] = &[
        "type",
        "inputs",
        "only",
        "required",
        "endpoint",
        "protocol",
        "base_path",
        "compression",
        "max_request_bytes",
        "timeout",
        "headers",
        "forward_metadata",
        "rejected",
        "tls",
    ];

    fn read(table: &Table<'_>) -> Option<GrpcSink> {
        let words = [("grpc", Protocol::Grpc), ("http", Protocol::Http)];
        let protocol = table.or("protocol", Protocol::Grpc, |item| item.word(&words));
        let base_path = table.get("base_path").and_then(|item| item.parsed("a path such as `/otlp`", path_of_url));
        let words = [("none", Compression::None), ("gzip", Compression::Gzip), ("zstd", Compression::Zstd)];
        let compression = table.or("compression", Compression::None, |item| item.word(&words));
        let max_request_bytes = table.or("max_request_bytes", 4 << 20, Item::size);
        let timeout = table.or("timeout", Duration::from_secs(8), Item::timeout);
        let headers = table.or("headers", Vec::new(), read_headers);
        let forward_metadata = table.or("forward_metadata", Vec::new(), |item| read_metadata(item, &headers));
        let rejected = table.get("rejected").and_then(|item| Rejected::read(&item));
        let tls = table.get("tls").and_then(|item| ClientTls::read(&item));
        let endpoint = table
            .required("endpoint", "the next hop, e.g. `http://127.0.0.1:24317`")?
            .parsed("an endpoint such as `https://host:port`, `http://host:port` or `unix:/path`", Endpoint::parse)?;
        if let Some(item) = table.get("tls").filter(|_| !matches!(endpoint, Endpoint::Https { .. })) {
            item.report(Fault::BadValue {
                value: endpoint.to_string(),
                reason: "does not use TLS; give an `https://` endpoint, or leave `tls` out".to_owned(),
            });
        }
        if let Some(item) = table.get("base_path").filter(|_| protocol == Protocol::Grpc) {
            let reason = "is for `protocol: http`; gRPC has paths of its own, leave it out".to_owned();
            item.report(Fault::BadValue { value: base_path.clone().unwrap_or_default(), reason });
        }
        Some(GrpcSink {
            endpoint,
            protocol,
            base_path,
            compression,
            max_request_bytes,
            timeout,
            headers,
            forward_metadata,
            rejected,
            tls,
        })
    }
}

impl Rejected {
    pub(super) const KEYS: &[&'static str] = &["path", "max_bytes"];

    fn read(item: &Item<'_>) -> Option<Rejected> {
        let table = item.table(Rejected::KEYS)?;
        let max_bytes = table.or("max_bytes", 1 << 30, Item::size);
        let item = table.required("path", "a file, e.g. `rejected.ndjson`")?;
        let path = item.parsed("the path of a file", |text| match path(text)? {
            Some(path) => Ok(path),
            None => Err("is not a file; give the path of one".to_owned()),
        })?;
        Some(Rejected { path, max_bytes })
    }
}

impl NdjsonSink {
    pub(super) const KEYS: &[&'static str] = &["type", "inputs", "only", "required", "path", "fsync"];

    fn read(table: &Table<'_>) -> NdjsonSink {
        let path = table.or("path", None, |item| item.parsed("a path, or `-` for standard output", path));
        let words = [("batch", Fsync::Batch), ("interval", Fsync::Interval), ("never", Fsync::Never)];
        let fsync = table.or("fsync", Fsync::Batch, |item| item.word(&words));
        NdjsonSink { path, fsync }
    }
}

fn path_of_url(text: &str) -> Result<String, String> {
    match http::uri::PathAndQuery::try_from(text) {
        Ok(path) if text.starts_with('/') && path.query().is_none() => Ok(text.to_owned()),
        _ => Err("is not a URL path; give one such as `/otlp`, without `/v1/logs`".to_owned()),
    }
}

fn path(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "-" => Ok(None),
        _ if text.contains('\0') => Err("has a NUL character, which no path can have".to_owned()),
        _ if text.ends_with('/') => Err("is a directory; give the path of a file".to_owned()),
        _ => Ok(Some(PathBuf::from(text))),
    }
}
