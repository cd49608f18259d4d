//! `sources`: where collectors send their events to.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::address::Address;
use super::problem::Fault;
use super::reader::{Item, Table};
use super::tls::ServerTls;
use super::units::Size;
use super::{schema, show};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Its name in the configuration, in metrics and in logs.
    #[serde(skip)]
    pub id: String,
    #[serde(flatten)]
    pub kind: SourceKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SourceKind {
    /// `type: otlp`.
    Otlp(OtlpSource),
    /// `type: vector`.
    Vector(VectorSource),
    /// `type: filter`.
    Filter(FilterSource),
}

/// OTLP/gRPC and OTLP/HTTP on one address, with or without TLS: logs, which are matched, and metrics and traces, which
/// pass untouched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct OtlpSource {
    /// Where to listen: an IP address and a port (`127.0.0.1:14317`), or a Unix socket (`unix:/run/hotlist.sock`).
    #[schemars(with = "String")]
    pub address: Address,
    /// The largest request that is accepted, in bytes after decompression. A larger request is refused permanently.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "64MiB"))]
    pub max_request_bytes: usize,
    /// TLS with a certificate. Absent: no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// The protocol of Vector's `vector` sink, with or without TLS: log events, which are matched, and metrics and traces, which pass untouched to sinks of type `vector`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VectorSource {
    /// Where to listen: an IP address and a port (`127.0.0.1:16000`), or a Unix socket (`unix:/run/hotlist.sock`).
    #[schemars(with = "String")]
    pub address: Address,
    /// The largest request that is accepted, in bytes after decompression. A larger request is refused permanently.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "64MiB"))]
    pub max_request_bytes: usize,
    /// TLS with a certificate. Absent: no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// The Filter stream of `filter.proto`, for your own agents: events arrive, and are returned with their hits. It needs no sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FilterSource {
    /// Where to listen: an IP address and a port (`127.0.0.1:14319`), or a Unix socket (`unix:/run/hotlist.sock`).
    #[schemars(with = "String")]
    pub address: Address,
    /// The largest batch that is accepted, in bytes after decompression. A larger batch is refused permanently.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "4MiB"))]
    pub max_request_bytes: usize,
    /// Batches of one stream that are in progress or whose responses the client has not read, 1 to 1024. At this number, reading from the stream pauses.
    #[schemars(extend("default" = 8, "minimum" = 1, "maximum" = 1024))]
    pub window: usize,
    /// TLS with a certificate. Absent: no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// The most batches of a stream at once.
const MAX_WINDOW: usize = 1024;

/// Writes `sources`.
pub(super) fn write_all<S: Serializer>(sources: &[Source], serializer: S) -> Result<S::Ok, S::Error> {
    show::as_table(sources, |source| (&source.id, source), serializer)
}

/// The schema of `sources`.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let none = Schema::default();
    schema::parts_by_name(&[
        schema::part("otlp", &none, OtlpSource::json_schema(generator)),
        schema::part("vector", &none, VectorSource::json_schema(generator)),
        schema::part("filter", &Schema::default(), FilterSource::json_schema(generator)),
    ])
}

impl OtlpSource {
    pub(super) const KEYS: &[&'static str] = &["type", "address", "max_request_bytes", "tls"];
}

impl VectorSource {
    pub(super) const KEYS: &[&'static str] = OtlpSource::KEYS;
}

impl FilterSource {
    pub(super) const KEYS: &[&'static str] = &["type", "address", "max_request_bytes", "window", "tls"];
}

impl Source {
    /// The address that it listens on.
    pub fn address(&self) -> &Address {
        match &self.kind {
            SourceKind::Otlp(otlp) => &otlp.address,
            SourceKind::Vector(vector) => &vector.address,
            SourceKind::Filter(filter) => &filter.address,
        }
    }

    /// The largest request that it takes, in bytes.
    pub fn max_request_bytes(&self) -> usize {
        match &self.kind {
            SourceKind::Otlp(otlp) => otlp.max_request_bytes,
            SourceKind::Vector(vector) => vector.max_request_bytes,
            SourceKind::Filter(filter) => filter.max_request_bytes,
        }
    }

    pub fn tls(&self) -> Option<&ServerTls> {
        match &self.kind {
            SourceKind::Otlp(otlp) => otlp.tls.as_ref(),
            SourceKind::Vector(vector) => vector.tls.as_ref(),
            SourceKind::Filter(filter) => filter.tls.as_ref(),
        }
    }

    pub(super) fn read(id: &str, item: &Item<'_>) -> Option<Source> {
        let kind = match Type::read(item)? {
            Type::Otlp => {
                let (address, max_request_bytes, tls) = collector(item)?;
                SourceKind::Otlp(OtlpSource { address, max_request_bytes, tls })
            }
            Type::Vector => {
                let (address, max_request_bytes, tls) = collector(item)?;
                SourceKind::Vector(VectorSource { address, max_request_bytes, tls })
            }
            Type::Filter => {
                let table = item.table(FilterSource::KEYS)?;
                let max_request_bytes = table.or("max_request_bytes", 4 << 20, max_request_bytes);
                let window = table.or("window", 8, window);
                let tls = table.get("tls").and_then(|item| ServerTls::read(&item));
                let address = address(&table)?;
                SourceKind::Filter(FilterSource { address, max_request_bytes, window, tls })
            }
        };
        Some(Source { id: id.to_owned(), kind })
    }

    /// Whether a source, usable or not, needs no sink because its answers are what it is for.
    pub(super) fn needs_no_sink(item: &Item<'_>) -> bool {
        item.is_table() && item.any_table().and_then(|table| table.get("type")).is_some_and(|word| word.is("filter"))
    }
}

#[derive(Clone, Copy)]
enum Type {
    Otlp,
    Vector,
    Filter,
}

impl Type {
    fn read(item: &Item<'_>) -> Option<Type> {
        let words = [("otlp", Type::Otlp), ("vector", Type::Vector), ("filter", Type::Filter)];
        item.any_table()?.required("type", "`otlp`, `vector` or `filter`")?.word(&words)
    }
}

/// The settings of a source for collectors.
fn collector(item: &Item<'_>) -> Option<(Address, usize, Option<ServerTls>)> {
    let table = item.table(OtlpSource::KEYS)?;
    let max_request_bytes = table.or("max_request_bytes", 64 << 20, max_request_bytes);
    let tls = table.get("tls").and_then(|item| ServerTls::read(&item));
    Some((address(&table)?, max_request_bytes, tls))
}

fn address(table: &Table<'_>) -> Option<Address> {
    table
        .required("address", "where to listen, e.g. `127.0.0.1:14317`")?
        .parsed("an address such as `127.0.0.1:14317` or `unix:/path`", Address::parse)
}

fn window(item: &Item<'_>) -> Option<usize> {
    let window = item.count()?;
    if window > MAX_WINDOW {
        let reason = format!("is out of range; give a whole number from 1 to {MAX_WINDOW}");
        item.report(Fault::BadValue { value: window.to_string(), reason });
        return None;
    }
    Some(window)
}

/// The length of a gRPC message has four bytes.
fn max_request_bytes(item: &Item<'_>) -> Option<usize> {
    let bytes = item.size()?;
    if u32::try_from(bytes).is_err() {
        let reason = format!("bytes are more than a gRPC message can have; give at most {}", u32::MAX);
        item.report(Fault::BadValue { value: bytes.to_string(), reason });
        return None;
    }
    Some(bytes)
}
