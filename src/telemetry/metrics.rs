//! The table of all metrics of the process: name, type, unit, labels and meaning. `docs/telemetry.md` has the same table,
//! which a test compares.

mod control;
mod process;
mod sink;
mod snapshot;

use metrics::Unit;

pub use self::control::*;
pub use self::process::*;
pub use self::sink::*;
pub use self::snapshot::*;

pub const SOURCE_REQUESTS_TOTAL: &str = "hotlist_source_requests_total";
pub const SOURCE_ACKNOWLEDGED_TOTAL: &str = "hotlist_source_acknowledged_total";
pub const SOURCE_RECEIVED_BYTES_TOTAL: &str = "hotlist_source_received_bytes_total";
pub const SOURCE_MALFORMED_VALUES_TOTAL: &str = "hotlist_source_malformed_values_total";
pub const SOURCE_UNKNOWN_FIELDS_TOTAL: &str = "hotlist_source_unknown_fields_total";
pub const FILTER_STREAMS: &str = "hotlist_filter_streams";
pub const FILTER_STREAMS_ENDED_TOTAL: &str = "hotlist_filter_streams_ended_total";
pub const FILTER_STREAMS_CUT_TOTAL: &str = "hotlist_filter_streams_cut_total";
pub const NEXT_HOP_ANSWERS_TOTAL: &str = "hotlist_next_hop_answers_total";
pub const CONNECTIONS: &str = "hotlist_connections";
pub const CONNECTIONS_LIMIT: &str = "hotlist_connections_limit";
pub const CONNECTIONS_CLOSED_TOTAL: &str = "hotlist_connections_closed_total";
pub const TLS_RELOADS_TOTAL: &str = "hotlist_tls_reloads_total";
pub const IN_FLIGHT_BYTES: &str = "hotlist_in_flight_bytes";
pub const IN_FLIGHT_LIMIT_BYTES: &str = "hotlist_in_flight_limit_bytes";
pub const EVENTS_TOTAL: &str = "hotlist_events_total";
pub const EVENT_BYTES_TOTAL: &str = "hotlist_event_bytes_total";
pub const OBSERVABLES_TOTAL: &str = "hotlist_observables_total";
pub const PREFILTER_LOOKUPS_TOTAL: &str = "hotlist_prefilter_lookups_total";
pub const PREFILTER_PASSES_TOTAL: &str = "hotlist_prefilter_passes_total";
pub const PREFILTER_EXPECTED_PASS_RATIO: &str = "hotlist_prefilter_expected_pass_ratio";
pub const BLIND_FIELDS: &str = "hotlist_blind_fields";
pub const BLIND_FEEDS: &str = "hotlist_blind_feeds";
pub const FEED_UNSUPPORTED_PATTERNS: &str = "hotlist_feed_unsupported_patterns";
pub const HITS_TOTAL: &str = "hotlist_hits_total";
pub const HITS_BY_SEVERITY_TOTAL: &str = "hotlist_hits_by_severity_total";
pub const SUPPRESSIONS_TOTAL: &str = "hotlist_suppressions_total";
pub const TRUNCATED_EVENTS_TOTAL: &str = "hotlist_truncated_events_total";
pub const ALLOWLIST_HITS_TOTAL: &str = "hotlist_allowlist_hits_total";
pub const MALFORMED_RECORDS_TOTAL: &str = "hotlist_malformed_records_total";
pub const MALFORMED_DOCUMENTS_TOTAL: &str = "hotlist_malformed_documents_total";
pub const INBOUND_RECORDS_TOTAL: &str = "hotlist_inbound_records_total";
pub const SKEWED_FINDINGS_TOTAL: &str = "hotlist_skewed_findings_total";
pub const SCHEMA_EVENTS_TOTAL: &str = "hotlist_schema_events_total";
pub const MALFORMED_VALUES_TOTAL: &str = "hotlist_malformed_values_total";
pub const INDICATORS: &str = "hotlist_indicators";
pub const FEED_INDICATORS: &str = "hotlist_feed_indicators";
pub const FEED_UNUSABLE_LINES: &str = "hotlist_feed_unusable_lines";
pub const FEED_ERRORS_TOTAL: &str = "hotlist_feed_errors_total";
pub const FEED_TIMESTAMP_SECONDS: &str = "hotlist_feed_timestamp_seconds";
pub const SNAPSHOT_TIMESTAMP_SECONDS: &str = "hotlist_snapshot_timestamp_seconds";
pub const SNAPSHOT_RELOADS_TOTAL: &str = "hotlist_snapshot_reloads_total";
pub const STAGE_SECONDS: &str = "hotlist_stage_seconds";
pub const BUILD_INFO: &str = "hotlist_build_info";

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases, from 0 at the start.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts values in buckets.
    Histogram,
}

impl MetricKind {
    /// Returns the word of the Prometheus text format.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// One metric: name, type, unit and labels.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The full Prometheus name.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    pub unit: Unit,
    /// The names of its labels. Each has few values: ids of the configuration, or a fixed set of words.
    pub labels: &'static [&'static str],
    /// The meaning, and what to do about bad values.
    pub help: &'static str,
}

pub(super) const fn metric(
    name: &'static str,
    kind: MetricKind,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

/// All metrics of a sidecar.
pub const METRICS: &[Metric] =
    &joined::<{ OWN_AND_SNAPSHOT.len() + control::METRICS.len() }>(OWN_AND_SNAPSHOT, control::METRICS);

const OWN_AND_SNAPSHOT: &[Metric] =
    &joined::<{ OWN_AND_PROCESS.len() + snapshot::METRICS.len() }>(OWN_AND_PROCESS, snapshot::METRICS);

const OWN_AND_PROCESS: &[Metric] = &joined::<{ OWN.len() + process::METRICS.len() }>(OWN, process::METRICS);

/// Concatenates two tables.
const fn joined<const LENGTH: usize>(first: &[Metric], second: &[Metric]) -> [Metric; LENGTH] {
    let mut all = [first[0]; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

/// The metrics of the event stream.
const OWN: &[Metric] = &[
    metric(
        SOURCE_REQUESTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source", "status"],
        "Requests answered, by source and gRPC status in lower case (ok, unavailable, resource_exhausted, invalid_argument), also over HTTP. Each batch of a Filter stream counts as a request.",
    ),
    metric(
        SOURCE_ACKNOWLEDGED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source", "signal"],
        "Requests acknowledged, by source and signal: logs, which are matched, metrics and traces, which pass untouched.",
    ),
    metric(
        SOURCE_RECEIVED_BYTES_TOTAL,
        MetricKind::Counter,
        Unit::Bytes,
        &["source"],
        "Bytes of request messages received, as on the wire.",
    ),
    metric(FILTER_STREAMS, MetricKind::Gauge, Unit::Count, &["source"], "Filter streams open now, by source."),
    metric(
        FILTER_STREAMS_ENDED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source", "end"],
        "Filter streams that ended, by source and end: finished (the client sent everything), drained, invalid_argument (a partial message, or not gRPC), unavailable (the client stalled inside a message), cancelled (the client disconnected, or its stream was closed).",
    ),
    metric(
        FILTER_STREAMS_CUT_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source"],
        "Filter streams closed because the client did not read its responses for too long. It must read responses while it sends.",
    ),
    metric(
        SOURCE_MALFORMED_VALUES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source"],
        "Malformed values of OTLP/JSON requests, which were kept as text or left out, and invalid UTF-8 sequences, which were replaced by U+FFFD; the rest of their records passed.",
    ),
    metric(
        SOURCE_UNKNOWN_FIELDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source"],
        "Members of objects in OTLP/JSON requests that were left out because OTLP does not define their name.",
    ),
    metric(
        SINK_REQUESTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink", "status"],
        "Requests sent, by sink and returned status; dropped when a sink that is not required has no room, cancelled when the client disconnected. Any status except ok of a required sink makes the collector retry.",
    ),
    metric(
        SINK_SENT_BYTES_TOTAL,
        MetricKind::Counter,
        Unit::Bytes,
        &["sink"],
        "Bytes that a sink sent or wrote, after compression.",
    ),
    metric(
        SINK_PARTIAL_REJECTED_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Records that the next hop rejected in an otherwise successful response (OTLP partial success). With a rejected file, the whole batch is kept there, marked partial; without a rejected file, the records are lost.",
    ),
    metric(
        SINK_PARTIAL_UNWRITTEN_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Partial successes whose batch could not be written to the rejected file: its half for partial successes is full, it is locked, or the disk failed. The rejected records are lost.",
    ),
    metric(
        SINK_REJECTED_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Records that the next hop permanently rejected and that are kept in the rejected file. List them with `hotlist rejected list`.",
    ),
    metric(
        SINK_REJECTED_UNWRITTEN_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Batches refused because their rejected records could not be written: the file is full or locked, or the disk failed. Collectors retry them until this is fixed.",
    ),
    metric(
        SINK_BISECTIONS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Batches that the next hop rejected for their content or size and that were searched for the rejected records.",
    ),
    metric(
        SINK_CONTEXTS_LEFT_OUT_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Log records that were converted without their resource and scope, because copies of these in every record of the batch would be too large.",
    ),
    metric(
        NEXT_HOP_ANSWERS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink", "status"],
        "Responses of the next hop to single requests: gRPC status in lower case, http_ with an HTTP status, timeout, connection, unsendable, or cancelled when the client disconnected.",
    ),
    metric(
        SINK_CONNECT_FAILURES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["endpoint", "reason"],
        "Failed attempts to connect to a next hop, by reason: connect, tls (a certificate was refused), timeout, protocol (the next hop does not speak HTTP/2), lost (closed before a response), silent (an open connection did not answer a ping).",
    ),
    metric(
        CONNECTIONS,
        MetricKind::Gauge,
        Unit::Count,
        &["listener"],
        "Connections open now, by source, or admin or probes.",
    ),
    metric(
        CONNECTIONS_LIMIT,
        MetricKind::Gauge,
        Unit::Count,
        &["listener"],
        "Maximum number of open connections: `limits.max_connections` for a source, or fewer when the limit of open files is too low.",
    ),
    metric(
        CONNECTIONS_CLOSED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["listener", "reason"],
        "Connections closed or refused: peer (the peer closed it), idle, max_age (open for longer than `limits.max_connection_age`), evicted (idle when another connection needed its place), slow (the slowest upload when another connection needed its place), capacity (refused: connection limit reached, none idle), peer_capacity (refused: the peer's connection limit reached, none idle), handshake_timeout, tls, preface (another protocol), timeout (no answer to a ping, or a slow header), not_taken (the client did not read its responses), protocol, drained, accept_failed (usually no file descriptors left).",
    ),
    metric(
        TLS_RELOADS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Certificates, keys and authorities reloaded after their files changed, by result (ok, failed). After a failure the previous ones stay in use.",
    ),
    metric(
        IN_FLIGHT_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Bytes of requests in the process now. At `limits.in_flight_bytes` requests are refused with resource_exhausted.",
    ),
    metric(
        IN_FLIGHT_LIMIT_BYTES,
        MetricKind::Gauge,
        Unit::Bytes,
        &[],
        "Maximum bytes of requests in the process: `limits.in_flight_bytes`.",
    ),
    metric(EVENTS_TOTAL, MetricKind::Counter, Unit::Count, &[], "Events that were matched."),
    metric(EVENT_BYTES_TOTAL, MetricKind::Counter, Unit::Bytes, &[], "Bytes of the events that were matched."),
    metric(OBSERVABLES_TOTAL, MetricKind::Counter, Unit::Count, &[], "Observables that were looked up."),
    metric(
        PREFILTER_LOOKUPS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Look-ups in the prefilter; one observable is looked up in each of its possible forms.",
    ),
    metric(
        PREFILTER_PASSES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Look-ups that the prefilter passed to the exact sets. Many more passes than hits indicate a poor filter.",
    ),
    metric(
        PREFILTER_EXPECTED_PASS_RATIO,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Expected false-positive rate of the prefilter, from its fill level. A much higher rate of passes per look-up, without hits, is a bug.",
    ),
    metric(
        BLIND_FIELDS,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Checked fields that no event has had since the start, of the schemas that events have. The log names them once per day.",
    ),
    metric(
        BLIND_FEEDS,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Enabled feeds without a hit since the start. The log names them once per day.",
    ),
    metric(
        HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["kind", "feed"],
        "Hits written on events, by kind of observable and feed.",
    ),
    metric(
        HITS_BY_SEVERITY_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["severity"],
        "The same hits by severity: informational, low, medium, high, critical.",
    ),
    metric(
        SUPPRESSIONS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Exact matches that policy suppressed, by reason.",
    ),
    metric(
        TRUNCATED_EVENTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["budget"],
        "Events that exceeded a budget, by budget: `record_findings`, `record_lookups`, `record_tag_bytes`, `batch_tag_bytes`, `batch_hits`, `carried_hits`.",
    ),
    metric(
        ALLOWLIST_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["list", "action"],
        "Exact matches whose value is on an allowlist, by list and action: suppress (no hit) or annotate (a hit that names the list).",
    ),
    metric(
        MALFORMED_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Malformed records, which were not matched or tagged as usual, by reason; all of them are forwarded. unreadable: a part could not be parsed, the rest was matched. own_place: the existing value of threat, tags, enrichments, osint or metadata is malformed, the tags are in hotlist.enrichments, hotlist.tags, hotlist.osint or a dotted metadata.profiles. untagged: a hit on a record that cannot be tagged.",
    ),
    metric(
        MALFORMED_DOCUMENTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Records with a text that begins like a JSON document but is malformed, by the first error. The part that can be parsed is matched.",
    ),
    metric(
        INBOUND_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["action"],
        "Records that arrived with threat.enrichments, hotlist fields, the tag threat-match or an OCSF enrichment that claims to be from Hotlist, by what match.inbound_enrichments did. Where no other Hotlist runs before this one, someone forges them.",
    ),
    metric(
        SKEWED_FINDINGS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Findings in events whose time differs from their arrival by more than match.max_clock_skew, by result: hit, or suppressed (outside the indicator's validity at both times).",
    ),
    metric(
        MALFORMED_VALUES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["field", "reason"],
        "Malformed values at checked fields, by field and reason (too_long, too_many, not_ip, not_domain, not_url, not_hash, not_email, not_number, not_time). Empty values and placeholders such as - are not counted. The first 500 fields are shown by name, the rest as (others).",
    ),
    metric(
        SCHEMA_EVENTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["schema"],
        "Events with a known field, by the schema of the first one that an indicator is looked for at. Together less than hotlist_events_total: the rest have no such field, or one that several schemas share.",
    ),
    metric(INDICATORS, MetricKind::Gauge, Unit::Count, &["kind"], "Indicators in the active snapshot, by kind."),
    metric(
        FEED_INDICATORS,
        MetricKind::Gauge,
        Unit::Count,
        &["feed"],
        "Indicators in the active snapshot, by feed. A feed that falls to 0 is probably broken.",
    ),
    metric(
        FEED_UNUSABLE_LINES,
        MetricKind::Gauge,
        Unit::Count,
        &["feed"],
        "Lines that the last import of a feed could not use. `hotlist inspect` lists them with reasons.",
    ),
    metric(
        FEED_UNSUPPORTED_PATTERNS,
        MetricKind::Gauge,
        Unit::Count,
        &["feed"],
        "Valid patterns of a feed that use unsupported operators, such as FOLLOWEDBY. `hotlist validate --feeds` lists them.",
    ),
    metric(
        FEED_ERRORS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed", "reason"],
        "Times that a file of a feed became unusable, empty, vanished or shrunk, by reason. Its last good indicators stay active.",
    ),
    metric(
        FEED_TIMESTAMP_SECONDS,
        MetricKind::Gauge,
        Unit::Seconds,
        &["feed"],
        "Time of the last successful read of a file of the feed, in seconds since 1970. An old time means that the feed is no longer delivered.",
    ),
    metric(
        SNAPSHOT_TIMESTAMP_SECONDS,
        MetricKind::Gauge,
        Unit::Seconds,
        &[],
        "Time at which the active snapshot was built, in seconds since 1970.",
    ),
    metric(
        SNAPSHOT_RELOADS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Snapshots built from changed files, by result: applied, or failed (the active snapshot stays active).",
    ),
    metric(
        STAGE_SECONDS,
        MetricKind::Histogram,
        Unit::Seconds,
        &["stage"],
        "Wall-clock time of a request in a stage: receive (its bytes, and waiting for room), work (inflating and matching, and waiting for a worker), match (matching only), deliver (until every required sink answered).",
    ),
    metric(BUILD_INFO, MetricKind::Gauge, Unit::Count, &["version"], "Always 1; the label is the running version."),
];
