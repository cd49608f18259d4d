//! The only wiring: a configuration becomes an [`App`], an app runs until it is told to drain.
//!
//! [`App::build`] binds every socket, opens every output and loads the indicators, so that whatever is wrong stops the
//! start. [`App::run`] serves until the shutdown future is ready, then turns readiness off, stops accepting, finishes
//! what is in flight within the grace period and returns.

pub mod indicators;
mod live;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Admin, AdminError, Pages, Readiness};
use crate::config::{self, Config, FailureMode};
use crate::delivery::Deliver;
use crate::detect::Detector;
use crate::encoding::otlp;
use crate::fields::{FieldError, FieldTable};
use crate::forward::{Blackhole, Fanout, NdjsonSink, OtlpSink, Sink, SinkKind, ndjson};
use crate::grpc;
use crate::ingest::health::{self, Health};
use crate::ingest::{Bound, Limits, OtlpSource, ServeError, Shared};
use crate::intel::snapshot::SnapshotError;
use crate::policy::Policy;
use crate::tls::{self, TlsError};
use live::Live;

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A source cannot be bound.
    #[error("source `{id}`: {cause}; set a free `sources.{id}.address`")]
    Source {
        /// Its id.
        id: String,
        /// Why.
        cause: io::Error,
    },
    /// The certificate of a source cannot be used.
    #[error("sources.{id}.tls: {cause}")]
    SourceTls {
        /// The source's id.
        id: String,
        /// Why not.
        cause: TlsError,
    },
    /// A sink cannot be opened.
    #[error("sink `{id}`: {cause}; mend `sinks.{id}`")]
    Sink {
        /// Its id.
        id: String,
        /// Why.
        cause: String,
    },
    /// The admin listener cannot be bound.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The field table cannot be used.
    #[error("match.fields: {0}")]
    Fields(#[from] FieldError),
    /// The indicators cannot be indexed.
    #[error("intel.files: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The limits cannot work or the system gives no threads.
    #[error("limits: {0}")]
    Limits(io::Error),
}

/// Why the process stopped other than by a drain.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A source broke down.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The admin listener broke down.
    #[error("the admin listener stopped: {0}")]
    Admin(AdminError),
    /// A task panicked: a fault of the program.
    #[error("a listener's task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything in flight was finished.
    Clean,
    /// The grace period ended first; what was in flight was not acknowledged.
    Cut,
}

/// What comes from outside the configuration.
pub struct Environment {
    /// Keys the hashes of this process.
    pub seed: u64,
    /// The time of arrival for events that have none.
    pub clock: fn() -> Timestamp,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
}

/// A process that is bound and loaded, and does not accept yet.
pub struct App {
    sources: Vec<Bound>,
    admin: Option<Admin>,
    readiness: Readiness,
    health: Health,
    metrics: PrometheusHandle,
    grace: Duration,
    /// What `/config` shows.
    config: Arc<Config>,
}

impl App {
    /// Binds, opens and loads everything that the configuration names.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub async fn build(config: Config, environment: Environment) -> Result<App, StartError> {
        let readiness = Readiness::default();
        readiness.register(admin::LISTENERS, true);
        readiness.register(admin::SNAPSHOT, config.failure_mode == FailureMode::Closed);
        let admin = match &config.admin {
            Some(admin) => Some(Admin::bind(&admin.address, admin.tls.as_ref())?),
            None => None,
        };
        let table = Arc::new(field_table(&config.r#match)?);
        let intel = config.intel.clone();
        let options = indicators::options(&config.r#match);
        let seed = environment.seed;
        // Loading reads files and sorts millions of keys: not on the threads that will answer probes.
        let loaded = tokio::task::spawn_blocking(move || indicators::load(&intel, table, options, seed))
            .await
            .map_err(|error| StartError::Limits(io::Error::other(error)))??;
        match &loaded.snapshot {
            Some(snapshot) => readiness.set(
                admin::SNAPSHOT,
                true,
                format!("version {}, {} indicators", snapshot.version(), snapshot.len()),
            ),
            None => readiness.set(admin::SNAPSHOT, false, "no file of indicators could be loaded"),
        }
        let detector = loaded.snapshot.map(|snapshot| Detector {
            snapshot,
            policy: Some(policy(&config.r#match)),
            tag_into: match config.r#match.tag_into {
                config::TagInto::Auto => otlp::TagInto::Auto,
                config::TagInto::Body => otlp::TagInto::Body,
                config::TagInto::Attributes => otlp::TagInto::Attributes,
            },
        });
        let live = Arc::new(Live::new(detector, config.failure_mode, environment.clock));
        let sinks = sinks(&config)?;
        let limits = limits(&config);
        let shared = Shared::start(&limits).map_err(StartError::Limits)?;
        let health = Health::default();
        let mut sources = Vec::new();
        for source in &config.sources {
            let inputs = sinks.iter().filter(|wired| wired.inputs.contains(&source.id)).map(|wired| wired.sink.clone());
            let deliver: Arc<dyn Deliver> = Arc::new(Fanout::new(inputs));
            let limits = Limits { max_request_bytes: source.max_request_bytes(), ..limits.clone() };
            let bound = OtlpSource::bind(&source.id, source.address(), limits, &shared, live.clone(), deliver)
                .map_err(|cause| StartError::Source { id: source.id.clone(), cause })?;
            sources.push(equip(bound, source, &health)?);
        }
        let grace = config.shutdown.grace;
        Ok(App { sources, admin, readiness, health, metrics: environment.metrics, grace, config: Arc::new(config) })
    }

    /// Where the sources listen, in the order of the configuration.
    pub fn source_addresses(&self) -> Vec<config::Address> {
        self.sources.iter().map(|source| source.local_address().clone()).collect()
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> Option<&config::Address> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Serves until `shutdown`, then drains.
    ///
    /// # Errors
    /// A listener broke down.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, RunError> {
        let (stop, stopped) = watch::channel(false);
        let wait = |mut stopped: watch::Receiver<bool>| async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let mut serving = JoinSet::new();
        for source in self.sources {
            let stopped = wait(stopped.clone());
            serving.spawn(async move { source.serve(stopped).await.map_err(RunError::Serve) });
        }
        // Probes are answered until the very end: the admin listener has its own stop.
        let (stop_admin, admin_stopped) = watch::channel(false);
        let mut probes = JoinSet::new();
        if let Some(admin) = self.admin {
            let (config, stopped) = (self.config, wait(admin_stopped));
            let pages = Pages {
                readiness: self.readiness.clone(),
                metrics: self.metrics.clone(),
                // A secret, should a key ever hold one, masks itself wherever it is printed for debugging.
                config: Arc::new(move || format!("{config:#?}\n")),
            };
            probes.spawn(async move { admin.serve(pages, stopped).await.map_err(RunError::Admin) });
        }
        let (health, mut ready) = (self.health.clone(), self.readiness.watch());
        // Ends with the last handle to readiness.
        let told = tokio::spawn(async move {
            loop {
                health.set_ready(*ready.borrow_and_update());
                if ready.changed().await.is_err() {
                    break;
                }
            }
        });
        self.readiness.set(admin::LISTENERS, true, "bound");
        tokio::pin!(shutdown);
        tokio::select! {
            () = &mut shutdown => {}
            Some(ended) = serving.join_next() => ended??,
            Some(ended) = probes.join_next() => ended??,
        }
        self.readiness.drain();
        self.health.drain();
        told.abort();
        tracing::info!(grace_seconds = self.grace.as_secs(), "draining: no new requests, finishing those in flight");
        let _ = stop.send(true);
        let finish = async {
            while let Some(ended) = serving.join_next().await {
                ended??;
            }
            Ok::<(), RunError>(())
        };
        let drained = match tokio::time::timeout(self.grace, finish).await {
            Ok(finished) => {
                finished?;
                tracing::info!("drained: everything in flight was answered");
                Drained::Clean
            }
            Err(_) => {
                tracing::warn!("the grace period ended: requests in flight are dropped, not acknowledged");
                Drained::Cut
            }
        };
        serving.shutdown().await;
        let _ = stop_admin.send(true);
        probes.shutdown().await;
        Ok(drained)
    }
}

/// The field table that a configuration asks for.
///
/// # Errors
/// Too many fields.
pub fn field_table(matching: &config::Match) -> Result<FieldTable, FieldError> {
    let mut table = FieldTable::embedded(matching.extra_fields)?;
    for field in &matching.fields {
        table.push(field.clone())?;
    }
    Ok(table)
}

/// The policy that a configuration asks for.
pub fn policy(matching: &config::Match) -> Policy {
    Policy { grace: matching.grace, c2_only_at_destination: matching.c2.live, ..Policy::default() }
}

fn limits(config: &Config) -> Limits {
    let limits = Limits {
        in_flight_bytes: config.limits.in_flight_bytes,
        max_connections: config.limits.max_connections,
        idle_timeout: config.limits.idle_timeout,
        ..Limits::default()
    };
    match config.limits.workers {
        Some(workers) => Limits { workers, queue: workers * 8, ..limits },
        None => limits,
    }
}

/// Gives a source what all of them have beside their protocol: TLS, health, and reflection for this host.
fn equip(bound: Bound, source: &config::Source, health: &Health) -> Result<Bound, StartError> {
    let local = bound.local_address().is_local();
    let bound = match source.tls() {
        Some(tls) => {
            let acceptor = tls::Acceptor::load(&format!("source {}", source.id), tls, tls::HTTP_2);
            bound.with_tls(acceptor.map_err(|cause| StartError::SourceTls { id: source.id.clone(), cause })?)
        }
        None => bound,
    };
    Ok(bound.with_services(|routes| {
        let routes = health.serve_in(routes);
        if local { health::reflect_in(routes) } else { routes }
    }))
}

/// The sink, with TLS when its endpoint asks for it.
fn secure(sink: OtlpSink, id: &str, settings: &config::OtlpSink) -> Result<OtlpSink, TlsError> {
    let endpoint = &settings.endpoint;
    if !endpoint.is_private() {
        tracing::warn!(sink = id, %endpoint, "events leave this host without encryption: give an `https://` endpoint");
    }
    match endpoint {
        config::Endpoint::Https { host, .. } => {
            let tls = settings.tls.clone().unwrap_or_default();
            Ok(sink.with_tls(tls::Connector::load(&format!("sink {id}"), &tls, host)?))
        }
        config::Endpoint::Http { .. } | config::Endpoint::Unix(_) => Ok(sink),
    }
}

/// A sink and the ids of the sources that it takes from.
struct Wired {
    inputs: Vec<String>,
    sink: Arc<Sink>,
}

fn sinks(config: &Config) -> Result<Vec<Wired>, StartError> {
    let mut sinks = Vec::new();
    for sink in &config.sinks {
        let failed = |cause: String| StartError::Sink { id: sink.id.clone(), cause };
        let kind = match &sink.kind {
            config::SinkKind::Otlp(settings) => {
                let compression = match settings.compression {
                    config::Compression::None => grpc::compression::Encoding::Identity,
                    config::Compression::Gzip => grpc::compression::Encoding::Gzip,
                    config::Compression::Zstd => grpc::compression::Encoding::Zstd,
                };
                let forward = crate::forward::otlp::Settings {
                    max_request_bytes: settings.max_request_bytes,
                    compression,
                    deadline: settings.timeout,
                };
                let otlp = OtlpSink::new(settings.endpoint.clone(), forward, otlp::split);
                SinkKind::Otlp(Box::new(secure(otlp, &sink.id, settings).map_err(|cause| failed(cause.to_string()))?))
            }
            config::SinkKind::Ndjson(settings) => {
                let output = match &settings.path {
                    Some(path) => ndjson::Output::File(path.clone()),
                    None => ndjson::Output::Stdout,
                };
                let only = match settings.only {
                    config::Only::Hits => ndjson::Only::Hits,
                    config::Only::All => ndjson::Only::All,
                };
                let opened = NdjsonSink::open(output, only, otlp::render_record, record_bytes);
                SinkKind::Ndjson(opened.map_err(|cause| failed(cause.to_string()))?)
            }
            config::SinkKind::Blackhole => SinkKind::Blackhole(Blackhole::default()),
        };
        let required = match &sink.kind {
            config::SinkKind::Otlp(settings) => settings.required,
            config::SinkKind::Ndjson(_) | config::SinkKind::Blackhole => true,
        };
        let sink_of_id = Sink::new(&sink.id, kind).with_required(required);
        sinks.push(Wired { inputs: sink.inputs.clone(), sink: Arc::new(sink_of_id) });
    }
    Ok(sinks)
}

/// The records of a request, for sinks that write each on its own. The request was walked before.
fn record_bytes(message: &Bytes) -> Vec<Bytes> {
    let mut records = Vec::new();
    let _ = otlp::records(message, |span| records.push(message.slice(span.record.payload())));
    records
}
