//! `limits`, `admin`, `probes`, `log` and `shutdown`: settings of the process itself.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::address::Address;
use super::problem::Fault;
use super::reader::Item;
use super::schema::Count;
use super::tls::ServerTls;
use super::units::{Size, Time};
use crate::detect::Budgets;

/// Limits of what the process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of requests that may be in progress at once. Further requests are refused as overload, and the collector retries.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "256MiB"))]
    pub in_flight_bytes: usize,
    /// Threads that match large batches. Absent: one per core that the process may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Count>")]
    pub workers: Option<usize>,
    /// Connections that each source has open at once. A further connection replaces the one that has been idle longest, else the one whose upload is slowest and below `min_upload_rate`; if there is neither, it waits for 2 s and is then refused. If the process's limit of open files is too low, fewer connections are accepted; the log reports this at start.
    #[schemars(with = "Count", extend("default" = 1024))]
    pub max_connections: usize,
    /// Connections of one peer (an IPv4 address, an IPv6 network of /64) that each source has open at once, of those that are not on this host. Absent: half of `max_connections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Count>")]
    pub max_connections_per_peer: Option<usize>,
    /// Bytes per second at which the body of a request must arrive, on average, after 10 s. A slower request is refused as a temporary fault, and its connection is the first to be closed when another needs its place.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "1KiB"))]
    pub min_upload_rate: usize,
    /// The time without a request after which a connection of a source is closed. The collector opens another when it needs one.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "5m"))]
    pub idle_timeout: Duration,
    /// The maximum age of a connection of a source, give or take a tenth. After that the collector is asked to open another connection (GOAWAY, or `Connection: close` over HTTP/1.1), so that collectors behind a load balancer also use new sidecars. Absent: no limit.
    #[serde(serialize_with = "Time::serialize_some", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub max_connection_age: Option<Duration>,
    /// The time for requests to finish on a connection that has reached `max_connection_age`. After that it is closed.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "30s"))]
    pub max_connection_age_grace: Duration,
    /// How many Hotlists a request may have passed before it reaches a source. More counts as a loop and is refused as a temporary fault.
    #[schemars(with = "Count", extend("default" = 8))]
    pub max_hops: usize,
    /// The maximum number of findings of one event: this many of single values, and this many of patterns that need several values. Above it, the findings with the highest confidence are kept, and the event is marked `hotlist.truncated`.
    #[schemars(with = "Count", extend("default" = 256))]
    pub record_findings: usize,
    /// The maximum size of the enrichments of one event. Above it, those with the highest confidence are kept, and the event is marked `hotlist.truncated`.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "256KiB"))]
    pub record_tag_bytes: usize,
}

/// The HTTP listener for this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// Where `/livez`, `/readyz`, `/metrics` and `/config` are served: an IP address and a port, or a Unix socket (`unix:/path`). Use a loopback address or a Unix socket: at another address `/config` is not served. For probes and scrapes from other hosts use `probes`.
    #[schemars(with = "String")]
    pub address: Address,
    /// TLS with a certificate. Absent: no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// The HTTP listener for probes and metrics that other hosts ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Probes {
    /// Where `/livez`, `/readyz` and `/metrics` are served, and nothing else: an IP address and a port (`0.0.0.0:9467`), or a Unix socket (`unix:/path`). A kubelet and Prometheus use the pod's address.
    #[schemars(with = "String")]
    pub address: Address,
    /// TLS with a certificate. Absent: no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// The process's own log, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Log {
    /// `text` for people, `json` for log collectors.
    #[schemars(extend("default" = "text"))]
    pub format: LogFormat,
    /// The least severe level that is written: `error`, `warn`, `info`, `debug` or `trace`. The environment variable `HOTLIST_LOG` overrides it.
    #[schemars(extend("default" = "info"))]
    pub level: LogLevel,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A level of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is wrong but work continues.
    Warn,
    /// Events for operators, such as starts and reloads.
    Info,
    /// Details for developers.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word of the configuration, which is also a filter directive.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Shutdown {
    /// The time in which the process must end after SIGTERM, including `delay`. Requests that are still in flight then are dropped, not acknowledged.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "30s"))]
    pub grace: Duration,
    /// The time after SIGTERM in which sources still accept requests, while readiness is already off: collectors that end at the same time can flush, and load balancers notice that the process is ending. The default is at most half of `grace`. After SIGINT there is no delay, and a second signal ends the process at once.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "4s"))]
    pub delay: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            in_flight_bytes: 256 << 20,
            workers: None,
            max_connections: 1024,
            max_connections_per_peer: None,
            min_upload_rate: 1 << 10,
            idle_timeout: Duration::from_secs(300),
            max_connection_age: None,
            max_connection_age_grace: Duration::from_secs(30),
            max_hops: 8,
            record_findings: Budgets::default().record_findings,
            record_tag_bytes: Budgets::default().record_tag_bytes,
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Text, level: LogLevel::Info }
    }
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown { grace: Duration::from_secs(30), delay: Duration::from_secs(4) }
    }
}

impl Limits {
    pub(super) const KEYS: &[&'static str] = &[
        "in_flight_bytes",
        "workers",
        "max_connections",
        "max_connections_per_peer",
        "min_upload_rate",
        "idle_timeout",
        "max_connection_age",
        "max_connection_age_grace",
        "max_hops",
        "record_findings",
        "record_tag_bytes",
    ];

    pub(super) fn read(item: &Item<'_>) -> Option<Limits> {
        let table = item.table(Limits::KEYS)?;
        Some(Limits {
            in_flight_bytes: table.or("in_flight_bytes", Limits::default().in_flight_bytes, Item::size),
            workers: table.get("workers").and_then(|item| workers(&item)),
            max_connections: table.or("max_connections", Limits::default().max_connections, Item::count),
            max_connections_per_peer: table.get("max_connections_per_peer").and_then(|item| item.count()),
            min_upload_rate: table.or("min_upload_rate", Limits::default().min_upload_rate, Item::size),
            idle_timeout: table.or("idle_timeout", Limits::default().idle_timeout, Item::timeout),
            max_connection_age: table.get("max_connection_age").and_then(|item| item.timeout()),
            max_connection_age_grace: table.or(
                "max_connection_age_grace",
                Limits::default().max_connection_age_grace,
                Item::timeout,
            ),
            max_hops: table.or("max_hops", Limits::default().max_hops, Item::count),
            record_findings: table.or("record_findings", Limits::default().record_findings, Item::count),
            record_tag_bytes: table.or("record_tag_bytes", Limits::default().record_tag_bytes, Item::size),
        })
    }
}

/// Beyond any machine: a larger number was meant for another key.
const MAX_WORKERS: usize = 1024;

fn workers(item: &Item<'_>) -> Option<usize> {
    let workers = item.count()?;
    if workers > MAX_WORKERS {
        let reason = format!("threads are more than any machine can use; give at most {MAX_WORKERS}");
        item.report(Fault::BadValue { value: workers.to_string(), reason });
        return None;
    }
    Some(workers)
}

impl Admin {
    pub(super) const KEYS: &[&'static str] = &["address", "tls"];

    pub(super) fn read(item: &Item<'_>) -> Option<Admin> {
        let table = item.table(Admin::KEYS)?;
        let tls = table.get("tls").and_then(|item| ServerTls::read(&item));
        let address = table
            .required("address", "where to listen, e.g. `127.0.0.1:9465`")?
            .parsed("an address such as `127.0.0.1:9465` or `unix:/path`", Address::parse)?;
        Some(Admin { address, tls })
    }
}

impl Probes {
    pub(super) const KEYS: &[&'static str] = &["address", "tls"];

    pub(super) fn read(item: &Item<'_>) -> Option<Probes> {
        let table = item.table(Probes::KEYS)?;
        let tls = table.get("tls").and_then(|item| ServerTls::read(&item));
        let address = table
            .required("address", "where to listen, e.g. `0.0.0.0:9467`")?
            .parsed("an address such as `0.0.0.0:9467` or `unix:/path`", Address::parse)?;
        Some(Probes { address, tls })
    }
}

impl Log {
    pub(super) const KEYS: &[&'static str] = &["format", "level"];

    pub(super) fn read(item: &Item<'_>) -> Option<Log> {
        let table = item.table(Log::KEYS)?;
        let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
            .map(|l| (l.as_str(), l));
        Some(Log {
            format: table.or("format", LogFormat::Text, |item| {
                item.word(&[("text", LogFormat::Text), ("json", LogFormat::Json)])
            }),
            level: table.or("level", LogLevel::Info, |item| item.word(&levels)),
        })
    }
}

impl Shutdown {
    pub(super) const KEYS: &[&'static str] = &["grace", "delay"];

    pub(super) fn read(item: &Item<'_>) -> Option<Shutdown> {
        let table = item.table(Shutdown::KEYS)?;
        let grace = table.or("grace", Shutdown::default().grace, Item::duration);
        let delay = table.or("delay", Shutdown::default().delay.min(grace / 2), |item| {
            let delay = item.duration()?;
            if delay > Duration::ZERO && delay >= grace {
                let reason = "leaves no time to finish requests; give less than `shutdown.grace`".to_owned();
                item.report(Fault::BadValue { value: format!("{delay:?}"), reason });
            }
            Some(delay)
        });
        Some(Shutdown { grace, delay })
    }
}
