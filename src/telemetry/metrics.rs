//! The table of every metric that the process exposes: name, type, unit, labels and what it says. `docs/telemetry.md`
//! lists the same table, held to it by a test.

mod control;
mod process;
mod sink;
mod snapshot;

use metrics::Unit;

pub use self::control::*;
pub use self::process::*;
pub use self::sink::*;
pub use self::snapshot::*;

/// Requests that a source answered.
pub const SOURCE_REQUESTS_TOTAL: &str = "hotlist_source_requests_total";
/// Requests that a source acknowledged.
pub const SOURCE_ACKNOWLEDGED_TOTAL: &str = "hotlist_source_acknowledged_total";
/// Bytes of requests that a source received.
pub const SOURCE_RECEIVED_BYTES_TOTAL: &str = "hotlist_source_received_bytes_total";
/// Values of OTLP/JSON requests that a source kept as text or left out.
pub const SOURCE_ODD_VALUES_TOTAL: &str = "hotlist_source_odd_values_total";
/// Members of OTLP/JSON requests that no field has the name of.
pub const SOURCE_UNKNOWN_FIELDS_TOTAL: &str = "hotlist_source_unknown_fields_total";
/// Filter streams that are open now.
pub const FILTER_STREAMS: &str = "hotlist_filter_streams";
/// Filter streams that ended.
pub const FILTER_STREAMS_ENDED_TOTAL: &str = "hotlist_filter_streams_ended_total";
/// Filter streams that were ended because the client took no answers.
pub const FILTER_STREAMS_CUT_TOTAL: &str = "hotlist_filter_streams_cut_total";
/// Answers of the next hop.
pub const NEXT_HOP_ANSWERS_TOTAL: &str = "hotlist_next_hop_answers_total";
/// Connections that are open now.
pub const CONNECTIONS: &str = "hotlist_connections";
/// Connections that may be open at once.
pub const CONNECTIONS_LIMIT: &str = "hotlist_connections_limit";
/// Connections that were closed or refused.
pub const CONNECTIONS_CLOSED_TOTAL: &str = "hotlist_connections_closed_total";
/// Certificates that were loaded anew.
pub const TLS_RELOADS_TOTAL: &str = "hotlist_tls_reloads_total";
/// Bytes of requests that are in the process now.
pub const IN_FLIGHT_BYTES: &str = "hotlist_in_flight_bytes";
/// Bytes of requests that may be in the process at once.
pub const IN_FLIGHT_LIMIT_BYTES: &str = "hotlist_in_flight_limit_bytes";
/// Events that were matched.
pub const EVENTS_TOTAL: &str = "hotlist_events_total";
/// Bytes of the events that were matched.
pub const EVENT_BYTES_TOTAL: &str = "hotlist_event_bytes_total";
/// Observables that were looked up.
pub const OBSERVABLES_TOTAL: &str = "hotlist_observables_total";
/// Look-ups that the prefilter was asked.
pub const PREFILTER_LOOKUPS_TOTAL: &str = "hotlist_prefilter_lookups_total";
/// Look-ups that the prefilter let through.
pub const PREFILTER_PASSES_TOTAL: &str = "hotlist_prefilter_passes_total";
/// The share of look-ups that the prefilter should let through for nothing.
pub const PREFILTER_EXPECTED_PASS_RATIO: &str = "hotlist_prefilter_expected_pass_ratio";
/// Fields that are looked at and that no event had.
pub const BLIND_FIELDS: &str = "hotlist_blind_fields";
/// Feeds without a hit.
pub const BLIND_FEEDS: &str = "hotlist_blind_feeds";
/// Patterns that are not supported.
pub const FEED_UNSUPPORTED_PATTERNS: &str = "hotlist_feed_unsupported_patterns";
/// Hits.
pub const HITS_TOTAL: &str = "hotlist_hits_total";
/// Matches that policy suppressed.
pub const SUPPRESSIONS_TOTAL: &str = "hotlist_suppressions_total";
/// Events that exceeded a budget.
pub const TRUNCATED_EVENTS_TOTAL: &str = "hotlist_truncated_events_total";
/// Exact matches whose value an allowlist holds.
pub const ALLOWLIST_HITS_TOTAL: &str = "hotlist_allowlist_hits_total";
/// Records that were passed on untouched because something about them is odd.
pub const ODD_RECORDS_TOTAL: &str = "hotlist_odd_records_total";
/// Texts that begin like a JSON document and are not one.
pub const MALFORMED_DOCUMENTS_TOTAL: &str = "hotlist_malformed_documents_total";
/// Records that arrived with enrichments.
pub const INBOUND_RECORDS_TOTAL: &str = "hotlist_inbound_records_total";
/// Findings in events whose time is far from their arrival.
pub const SKEWED_FINDINGS_TOTAL: &str = "hotlist_skewed_findings_total";
/// Values that are not what their field holds.
pub const MALFORMED_VALUES_TOTAL: &str = "hotlist_malformed_values_total";
/// Indicators in the serving snapshot, by kind.
pub const INDICATORS: &str = "hotlist_indicators";
/// Indicators in the serving snapshot, by feed.
pub const FEED_INDICATORS: &str = "hotlist_feed_indicators";
/// Lines that the last import of a feed could not use.
pub const FEED_UNUSABLE_LINES: &str = "hotlist_feed_unusable_lines";
/// Faults of a feed's files.
pub const FEED_ERRORS_TOTAL: &str = "hotlist_feed_errors_total";
/// When a feed was last read well.
pub const FEED_TIMESTAMP_SECONDS: &str = "hotlist_feed_timestamp_seconds";
/// When the serving snapshot was made.
pub const SNAPSHOT_TIMESTAMP_SECONDS: &str = "hotlist_snapshot_timestamp_seconds";
/// Snapshots that were made or could not be.
pub const SNAPSHOT_RELOADS_TOTAL: &str = "hotlist_snapshot_reloads_total";
/// Time spent in a stage of a request.
pub const STAGE_SECONDS: &str = "hotlist_stage_seconds";
/// Always 1; its label says which build runs.
pub const BUILD_INFO: &str = "hotlist_build_info";

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows, from 0 at start.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution in buckets.
    Histogram,
}

impl MetricKind {
    /// The word of the Prometheus text format.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// One metric: what is exposed, in which unit, under which labels.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The full Prometheus name.
    pub name: &'static str,
    /// What it does over time.
    pub kind: MetricKind,
    /// What is counted or measured.
    pub unit: Unit,
    /// The names of its labels. Each takes few values: ids of the configuration, or a closed set of words.
    pub labels: &'static [&'static str],
    /// What it says, and when to worry.
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

/// Every metric that the process exposes.
pub const METRICS: &[Metric] =
    &joined::<{ OWN_AND_SNAPSHOT.len() + control::METRICS.len() }>(OWN_AND_SNAPSHOT, control::METRICS);

const OWN_AND_SNAPSHOT: &[Metric] =
    &joined::<{ OWN_AND_PROCESS.len() + snapshot::METRICS.len() }>(OWN_AND_PROCESS, snapshot::METRICS);

const OWN_AND_PROCESS: &[Metric] = &joined::<{ OWN.len() + process::METRICS.len() }>(OWN, process::METRICS);

/// Two tables as one.
const fn joined<const LENGTH: usize>(first: &[Metric], second: &[Metric]) -> [Metric; LENGTH] {
    let mut all = [first[0]; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

/// Those of the stream of events and of the process.
const OWN: &[Metric] = &[
    metric(
        SOURCE_REQUESTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source", "status"],
        "Requests answered, by source and gRPC status in lower case (ok, unavailable, resource_exhausted, invalid_argument), over HTTP too. Of a Filter stream each batch is one.",
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
        "Bytes of request messages received, as they came over the wire.",
    ),
    metric(FILTER_STREAMS, MetricKind::Gauge, Unit::Count, &["source"], "Filter streams open now, by source."),
    metric(
        FILTER_STREAMS_ENDED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source", "end"],
        "Filter streams that ended, by source and how: finished (the client sent everything), drained, invalid_argument (half a message, or no gRPC), unavailable (it stalled inside a message), cancelled (the client went away, or was cut).",
    ),
    metric(
        FILTER_STREAMS_CUT_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source"],
        "Filter streams ended because the client took no answer for too long. It must read answers while it sends.",
    ),
    metric(
        SOURCE_ODD_VALUES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source"],
        "Values of OTLP/JSON requests that were not what OTLP says, and were kept as text or left out, and sequences of bytes that were not UTF-8, and became U+FFFD; the rest of their records passed.",
    ),
    metric(
        SOURCE_UNKNOWN_FIELDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["source"],
        "Members of objects in OTLP/JSON requests that were left out because no field of OTLP has their name.",
    ),
    metric(
        SINK_REQUESTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink", "status"],
        "Requests sent, by sink and the status that came back; dropped when a sink that is not required has no room, cancelled when the client did not wait. Anything but ok from a required one makes the collector retry.",
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
        "Records that the next hop rejected in an otherwise successful answer (OTLP partial success). With a rejected file the whole batch is kept there, marked partial; without one they are lost.",
    ),
    metric(
        SINK_PARTIAL_UNWRITTEN_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Partial successes whose batch is not in the rejected file because the half of the file that is for them is full, or the file is locked, or the disk fails. What the next hop rejected of them is lost.",
    ),
    metric(
        SINK_REJECTED_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Records that the next hop refuses for good and that are kept in the rejected file. Look at them with `hotlist rejected list`.",
    ),
    metric(
        SINK_REJECTED_UNWRITTEN_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Batches refused because their rejected records could not be written: the file is full, locked, or the disk fails. Collectors retry them until it is mended.",
    ),
    metric(
        SINK_BISECTIONS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Batches that the next hop refused for their content or size and that were searched for the records it refuses.",
    ),
    metric(
        SINK_CONTEXTS_LEFT_OUT_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink"],
        "Log records that were converted without the resource and scope around them, because copies of these in every record of the batch would be too large.",
    ),
    metric(
        NEXT_HOP_ANSWERS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["sink", "status"],
        "Answers of the next hop to single requests as it gave them: gRPC status in lower case, http_ with an HTTP status, timeout, connection, unsendable, or cancelled when nobody waited.",
    ),
    metric(
        SINK_CONNECT_FAILURES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["endpoint", "reason"],
        "Attempts to connect to a next hop that failed, by reason: connect, tls (its certificate, or ours, was refused), timeout, protocol (it does not speak HTTP/2), lost (closed before it answered a request), silent (no ping was answered on an open connection).",
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
        "Connections that may be open at once: `limits.max_connections` for a source, or fewer when the limit of open files is too low for them.",
    ),
    metric(
        CONNECTIONS_CLOSED_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["listener", "reason"],
        "Connections closed or refused: peer (it closed), idle, max_age (open for longer than `limits.max_connection_age`), evicted (it idled when another needed its place), slow (its upload was the slowest when another needed its place), capacity (refused, all were busy), peer_capacity (refused, all that its peer may have were busy), handshake_timeout, tls, preface (another protocol), timeout (no answer to a ping, or a slow header), not_taken (it left its answers lying), protocol, drained, accept_failed (most likely no file descriptors).",
    ),
    metric(
        TLS_RELOADS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Certificates, keys and authorities loaded anew after their files changed, by result (ok, failed). A failed one leaves those before it in use.",
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
        "Bytes of requests that may be in the process at once: `limits.in_flight_bytes`.",
    ),
    metric(EVENTS_TOTAL, MetricKind::Counter, Unit::Count, &[], "Events that were matched."),
    metric(EVENT_BYTES_TOTAL, MetricKind::Counter, Unit::Bytes, &[], "Bytes of the events that were matched."),
    metric(OBSERVABLES_TOTAL, MetricKind::Counter, Unit::Count, &[], "Observables that were looked up."),
    metric(
        PREFILTER_LOOKUPS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Look-ups that the prefilter was asked; one observable is looked up as everything that it may be.",
    ),
    metric(
        PREFILTER_PASSES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &[],
        "Look-ups that the prefilter let through to the exact sets. Far more than hits means a poor filter.",
    ),
    metric(
        PREFILTER_EXPECTED_PASS_RATIO,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Share of look-ups that the prefilter should let through for nothing, by how full it is. Passes over look-ups far above it, without hits, are a fault.",
    ),
    metric(
        BLIND_FIELDS,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Fields that some indicator is looked for at and that no event has had since the start. The log names them once a day.",
    ),
    metric(
        BLIND_FEEDS,
        MetricKind::Gauge,
        Unit::Count,
        &[],
        "Enabled feeds without a hit since the start. The log names them once a day.",
    ),
    metric(
        HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["kind", "feed"],
        "Hits written on events, by kind of observable and feed.",
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
        "Events that exceeded a budget, by budget: `record_findings`, `record_lookups`, `record_tag_bytes`, `batch_tag_bytes`, `batch_hits`.",
    ),
    metric(
        ALLOWLIST_HITS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["list", "action"],
        "Exact matches whose value an allowlist holds, by list and what it does: suppress (no hit) or annotate (a hit that names the list).",
    ),
    metric(
        ODD_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Records that were not matched or tagged as usual, by reason; all of them are passed on. unreadable: some of it could not be read, the rest was matched. own_place: what stands where tags go cannot be read, the tags are in hotlist.enrichments and hotlist.tags. untagged: a hit that takes no tags.",
    ),
    metric(
        MALFORMED_DOCUMENTS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["reason"],
        "Records with a text that begins like a JSON document and is not one, by what is wrong first. What can be read of it is matched.",
    ),
    metric(
        INBOUND_RECORDS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["action"],
        "Records that arrived with threat.enrichments, hotlist fields or the tag threat-match, by what match.inbound_enrichments did. Where no other Hotlist runs before this one, someone forges them.",
    ),
    metric(
        SKEWED_FINDINGS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Findings in events whose time is further than match.max_clock_skew from their arrival: hits, and those outside the indicator's validity at both times.",
    ),
    metric(
        MALFORMED_VALUES_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["field", "reason"],
        "Values at fields with indicators that are not what the field holds, or only in part, by field and reason (too_long, too_many, not_ip, not_domain, not_url, not_hash, not_email, not_number, not_time). Empty values and placeholders such as - are not counted.",
    ),
    metric(INDICATORS, MetricKind::Gauge, Unit::Count, &["kind"], "Indicators in the serving snapshot, by kind."),
    metric(
        FEED_INDICATORS,
        MetricKind::Gauge,
        Unit::Count,
        &["feed"],
        "Indicators in the serving snapshot, by feed. A feed that falls to 0 is probably broken.",
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
        "Patterns of a feed that are right but use what is not matched, such as FOLLOWEDBY. `hotlist validate --feeds` lists them.",
    ),
    metric(
        FEED_ERRORS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["feed", "reason"],
        "Times that a file of a feed became unusable, empty, vanished or shrunk. Its last good indicators stay in force.",
    ),
    metric(
        FEED_TIMESTAMP_SECONDS,
        MetricKind::Gauge,
        Unit::Seconds,
        &["feed"],
        "When a file of the feed was last read well, in seconds since 1970. Its age tells a feed that is no longer delivered.",
    ),
    metric(
        SNAPSHOT_TIMESTAMP_SECONDS,
        MetricKind::Gauge,
        Unit::Seconds,
        &[],
        "When the serving snapshot was made, in seconds since 1970.",
    ),
    metric(
        SNAPSHOT_RELOADS_TOTAL,
        MetricKind::Counter,
        Unit::Count,
        &["result"],
        "Snapshots made of changed files: applied, or failed, when the serving one stays.",
    ),
    metric(
        STAGE_SECONDS,
        MetricKind::Histogram,
        Unit::Seconds,
        &["stage"],
        "Wall-clock time of one request in a stage: receive (its bytes, and waiting for room), work (inflating and matching, and waiting for a worker), match (matching alone), deliver (until every required sink answered).",
    ),
    metric(BUILD_INFO, MetricKind::Gauge, Unit::Count, &["version"], "Always 1; the label says which version runs."),
];
