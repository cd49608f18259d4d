//! Builds the parts of an app from the sections of the configuration.

use std::io;
use std::sync::Arc;

use super::StartError;
use super::descriptors;
use crate::config::{self, Config};
use crate::detect::Budgets;
use crate::encoding::Tagging;
use crate::escape::Escaped;
use crate::intel::allowlist::Allowlists;
use crate::net::grpc;
use crate::net::tls::{self, TlsError};
use crate::policy::Policy;
use crate::publisher::MatchRules;
use crate::readiness::{Readiness, ReadinessNote};
use crate::schema::{FieldError, FieldTable};
use crate::sink::{Blackhole, Fanout, GrpcSink, Headers, NdjsonSink, RejectedFile, Sink, SinkBackend, ndjson};
use crate::source::filter;
use crate::source::health::{self, Health};
use crate::source::{BoundSource, ConnectionAge, Limits};

/// Builds the field table of a configuration.
///
/// # Errors
/// There are too many fields, or the file of a schema cannot be read.
pub fn field_table(matching: &config::Match) -> Result<FieldTable, FieldError> {
    let wanted = |name: &&str| matching.extra_fields || *name != "ecs-extra";
    let schemas: Vec<&str> = matching.schemas.iter().copied().filter(wanted).collect();
    let mut table = FieldTable::of_schemas(&schemas)?;
    for path in &matching.schema_files {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|cause| FieldError::Unreadable { path: name.clone(), cause })?;
        table.add_schema(&name, &text)?;
    }
    for field in &matching.fields {
        table.push(field.clone())?;
    }
    matching.text.fields().iter().try_for_each(|field| table.add_text(field))?;
    Ok(table)
}

/// Builds the policy of a configuration.
pub fn policy(matching: &config::Match, allowlists: Arc<Allowlists>) -> Policy {
    Policy {
        grace: matching.grace,
        c2: matching.c2.live,
        max_clock_skew: matching.max_clock_skew,
        skip_enrichment_events: matching.skip_enrichment_events,
        inbound: matching.inbound_enrichments,
        internal_networks: matching.internal_networks.as_slice().into(),
        allowlists,
        ..Policy::default()
    }
}

/// The share of `limits.in_flight_bytes` for the tagged records of one batch. Together with the list of hits, which may be
/// half as large, and a request, which may be half of all, there is room for it in an otherwise idle process.
const BATCH_TAGS: usize = 4;

/// Returns the limits of records and batches.
pub fn budgets(limits: &config::Limits) -> Budgets {
    Budgets {
        record_findings: limits.record_findings,
        record_tag_bytes: limits.record_tag_bytes,
        batch_tag_bytes: limits.in_flight_bytes / BATCH_TAGS,
    }
}

/// Returns the settings of matching.
pub(super) fn rules(config: &Config, allowlists: Arc<Allowlists>) -> MatchRules {
    let policy = Policy { rules: config.enabled_rules(), ..policy(&config.r#match, allowlists) };
    let budgets = budgets(&config.limits);
    let config::Match { tag_into, tag_as, flat, .. } = config.r#match;
    let tagging = Tagging { into: tag_into, form: tag_as, flat };
    MatchRules { policy, tagging, budgets, failure_mode: config.failure_mode }
}

/// Returns the limits of every source.
pub(super) fn limits(config: &Config) -> Limits {
    let largest = config.sources.iter().map(config::Source::max_request_bytes).max();
    let limits = Limits {
        in_flight_bytes: config.limits.in_flight_bytes,
        max_request_bytes: largest.unwrap_or(Limits::default().max_request_bytes),
        max_connections: config.limits.max_connections,
        max_connections_per_peer: config
            .limits
            .max_connections_per_peer
            .unwrap_or_else(|| config.limits.max_connections.div_ceil(2)),
        min_upload_rate: config.limits.min_upload_rate as u64,
        idle_timeout: config.limits.idle_timeout,
        max_connection_age: config
            .limits
            .max_connection_age
            .map(|after| ConnectionAge { after, grace: config.limits.max_connection_age_grace }),
        max_hops: u32::try_from(config.limits.max_hops).unwrap_or(u32::MAX),
        ..Limits::default()
    };
    let limits = match config.limits.workers {
        Some(workers) => Limits { workers, queue: workers * 8, ..limits },
        None => limits,
    };
    descriptors::bound(config, limits)
}

/// Adds what all sources have in addition to their protocol: TLS, health, and reflection for this host.
pub(super) fn equip(bound: BoundSource, source: &config::Source, health: &Health) -> Result<BoundSource, StartError> {
    let local = bound.local_address().is_local();
    let bound = match source.tls() {
        Some(tls) => {
            let acceptor = tls::Acceptor::load(&format!("source {}", source.id), tls, bound.protocols());
            bound.with_tls(acceptor.map_err(|cause| StartError::SourceTls { id: source.id.clone(), cause })?)
        }
        None => bound,
    };
    Ok(bound.with_services(|routes| {
        let routes = health.serve_in(routes);
        let own = match &source.kind {
            config::SourceKind::Otlp(_) | config::SourceKind::Vector(_) => None,
            config::SourceKind::Filter(_) => Some(filter::DESCRIPTORS),
        };
        if local { health::reflect_with(routes, own) } else { routes }
    }))
}

/// Builds TLS, if the endpoint of a sink needs it.
fn client_tls(id: &str, settings: &config::GrpcSink) -> Result<Option<tls::Connector>, TlsError> {
    let endpoint = &settings.endpoint;
    if !endpoint.is_private() {
        tracing::warn!(sink = id, %endpoint, "events leave this host without encryption: set an `https://` endpoint");
    }
    let config::Endpoint::Https { host, .. } = endpoint else { return Ok(None) };
    let tls = settings.tls.clone().unwrap_or_default();
    let protocols = match settings.protocol {
        config::Protocol::Grpc => tls::HTTP_2,
        config::Protocol::Http => tls::HTTP_1,
    };
    tls::Connector::load_for(&format!("sink {id}"), &tls, host, protocols).map(Some)
}

/// Builds the network sink of a configured sink.
///
/// # Errors
/// The TLS files cannot be used.
pub(super) fn network_sink(
    sink: &config::Sink,
    settings: &config::GrpcSink,
    forward: crate::sink::grpc::Settings,
) -> Result<GrpcSink, TlsError> {
    let (endpoint, base_path) = (settings.endpoint.clone(), settings.base_path.as_deref().unwrap_or_default());
    let tls = client_tls(&sink.id, settings)?;
    let made = match (&sink.kind, settings.protocol) {
        (config::SinkKind::Vector(_), _) => GrpcSink::vector(endpoint, forward),
        (_, config::Protocol::Grpc) => GrpcSink::otlp(endpoint, forward),
        (_, config::Protocol::Http) => GrpcSink::otlp_http(endpoint, base_path, tls.clone(), forward),
    };
    Ok(match tls {
        Some(tls) => made.with_tls(tls),
        None => made,
    })
}

/// A sink, and the configuration that it was built from.
pub(super) struct ConfiguredSink {
    pub(super) config: config::Sink,
    pub(super) sink: Arc<Sink>,
}

/// Builds the sinks of a configuration. Those in `kept` are reused, so that their connections and files stay open. Needs a runtime, on which new sinks check the health of their next hops.
///
/// # Errors
/// A sink cannot be opened.
pub(super) fn sinks(
    config: &Config,
    before: &[ConfiguredSink],
    kept: &[String],
) -> Result<Vec<ConfiguredSink>, StartError> {
    let wire = |wanted: &config::Sink| {
        let is_known = |configured: &&ConfiguredSink| configured.config.id == wanted.id && kept.contains(&wanted.id);
        let known = before.iter().find(is_known);
        let sink = match known {
            Some(configured) => Arc::clone(&configured.sink),
            None => {
                let sink = Arc::new(open(wanted, before)?);
                tokio::spawn(log_health(Arc::clone(&sink)));
                sink
            }
        };
        Ok(ConfiguredSink { config: wanted.clone(), sink })
    };
    config.sinks.iter().map(wire).collect()
}

/// Logs the health of a next hop. Batches are delivered in any case.
async fn log_health(sink: Arc<Sink>) {
    match sink.check_health().await {
        None => {}
        Some(Ok(())) => tracing::info!(sink = sink.name(), "the next hop is healthy"),
        Some(Err(error)) => tracing::warn!(sink = sink.name(), error = %Escaped(&error), "the next hop is not healthy"),
    }
}

/// Shows the recent deliveries of each sink in the readiness report.
pub(super) fn show_sinks(readiness: &Readiness, sinks: &[ConfiguredSink]) {
    let sinks: Vec<Arc<Sink>> = sinks.iter().map(|configured| Arc::clone(&configured.sink)).collect();
    let note = |sink: &Arc<Sink>| {
        let latest = sink.latest();
        ReadinessNote { name: format!("sink {}", sink.name()), good: latest.is_good(), detail: latest.to_string() }
    };
    readiness.annotate(move || sinks.iter().map(note).collect());
}

/// Combines the sinks of a source.
pub(super) fn fanout(source: &str, sinks: &[ConfiguredSink]) -> Fanout {
    let takes = |configured: &&ConfiguredSink| configured.config.inputs.iter().any(|input| input == source);
    Fanout::new(sinks.iter().filter(takes).map(|configured| Arc::clone(&configured.sink)))
}

/// Opens a sink. A file that a previous sink writes to stays open, with its lock.
fn open(sink: &config::Sink, before: &[ConfiguredSink]) -> Result<Sink, StartError> {
    let failed = |cause: String| StartError::Sink { id: sink.id.clone(), cause };
    let kind = match &sink.kind {
        config::SinkKind::Otlp(settings) | config::SinkKind::Vector(settings) => {
            let compression = match settings.compression {
                config::Compression::None => grpc::compression::Encoding::Identity,
                config::Compression::Gzip => grpc::compression::Encoding::Gzip,
                config::Compression::Zstd => grpc::compression::Encoding::Zstd,
            };
            let rejected = settings.rejected.as_ref();
            let rejected = rejected.map(|file| RejectedFile::open(file.path.clone(), file.max_bytes as u64));
            let forward = crate::sink::grpc::Settings {
                max_request_bytes: settings.max_request_bytes,
                compression,
                deadline: settings.timeout,
                headers: Arc::new(headers(settings).map_err(|cause| failed(format!("headers: {cause}")))?),
                forward_metadata: settings.forward_metadata.clone(),
                rejected: rejected.transpose().map_err(|cause| failed(cause.to_string()))?.map(Arc::new),
            };
            let made = network_sink(sink, settings, forward).map_err(|cause| failed(cause.to_string()))?;
            SinkBackend::Grpc(Box::new(made))
        }
        config::SinkKind::Ndjson(settings) => {
            let output = match &settings.path {
                Some(path) => ndjson::Output::File(path.clone()),
                None => ndjson::Output::Stdout,
            };
            let fsync = settings.fsync;
            let mut known = before.iter().filter_map(|configured| configured.sink.as_ndjson());
            SinkBackend::Ndjson(match known.find(|known| *known.output() == output) {
                Some(known) => known.share(fsync),
                None => NdjsonSink::open(output, fsync).map_err(|cause| failed(cause.to_string()))?,
            })
        }
        config::SinkKind::Blackhole => SinkBackend::Blackhole(Blackhole::default()),
    };
    Ok(Sink::new(&sink.id, kind).with_required(sink.required).with_only(sink.only))
}

pub(super) fn headers(sink: &config::GrpcSink) -> io::Result<Headers> {
    let mut headers = Headers::default();
    for header in &sink.headers {
        match &header.value {
            config::HeaderSource::Literal(secret) => headers.fixed(header.name.clone(), secret.reveal())?,
            config::HeaderSource::File(from) => headers.file(header.name.clone(), from.file.clone())?,
        }
    }
    Ok(headers)
}
