//! `sources`: where collectors send their events to.

use super::address::Address;
use super::reader::Item;
use super::tls::ServerTls;

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name in the configuration, in metrics and in logs.
    pub id: String,
    /// What it is.
    pub kind: SourceKind,
}

/// The types of sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// `type: otlp`.
    Otlp(OtlpSource),
}

/// OTLP/gRPC, with or without TLS: logs, which are matched, and metrics and traces, which pass untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSource {
    /// Where to listen: an IP address and a port (`127.0.0.1:4317`), or a Unix socket (`unix:/run/hotlist.sock`).
    pub address: Address,
    /// The largest request that is taken, in bytes after decompression. A larger one is refused for good.
    pub max_request_bytes: usize,
    /// TLS with a certificate. Absent: there is none.
    pub tls: Option<ServerTls>,
}

impl OtlpSource {
    pub(super) const KEYS: &[&'static str] = &["type", "address", "max_request_bytes", "tls"];
}

impl Source {
    /// The address that it listens on.
    pub fn address(&self) -> &Address {
        match &self.kind {
            SourceKind::Otlp(otlp) => &otlp.address,
        }
    }

    /// The largest request that it takes, in bytes.
    pub fn max_request_bytes(&self) -> usize {
        match &self.kind {
            SourceKind::Otlp(otlp) => otlp.max_request_bytes,
        }
    }

    /// Its TLS, if it has any.
    pub fn tls(&self) -> Option<&ServerTls> {
        match &self.kind {
            SourceKind::Otlp(otlp) => otlp.tls.as_ref(),
        }
    }

    pub(super) fn read(id: &str, item: &Item<'_>) -> Option<Source> {
        #[derive(Clone, Copy)]
        enum Type {
            Otlp,
        }
        match item.any_table()?.required("type", "`otlp`")?.word(&[("otlp", Type::Otlp)])? {
            Type::Otlp => {
                let table = item.table(OtlpSource::KEYS)?;
                let max_request_bytes = table.or("max_request_bytes", 64 << 20, Item::size);
                let tls = table.get("tls").and_then(|item| ServerTls::read(&item));
                let address = table
                    .required("address", "where to listen, e.g. `127.0.0.1:4317`")?
                    .parsed("an address such as `127.0.0.1:4317` or `unix:/path`", Address::parse)?;
                let otlp = OtlpSource { address, max_request_bytes, tls };
                Some(Source { id: id.to_owned(), kind: SourceKind::Otlp(otlp) })
            }
        }
    }
}
