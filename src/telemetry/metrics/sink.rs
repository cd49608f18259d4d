//! The names of the sinks' metrics.

/// Requests that a sink sent.
pub const SINK_REQUESTS_TOTAL: &str = "hotlist_sink_requests_total";
pub const SINK_SENT_BYTES_TOTAL: &str = "hotlist_sink_sent_bytes_total";
/// Records that the next hop rejected in an otherwise successful answer.
pub const SINK_PARTIAL_REJECTED_RECORDS_TOTAL: &str = "hotlist_sink_partial_rejected_records_total";
/// Partial successes whose batch could not be written to the rejected file.
pub const SINK_PARTIAL_UNWRITTEN_TOTAL: &str = "hotlist_sink_partial_unwritten_total";
/// Records that the next hop permanently rejected, and that were written to the rejected file.
pub const SINK_REJECTED_RECORDS_TOTAL: &str = "hotlist_sink_rejected_records_total";
/// Batches with refused records that could not be written to the rejected file.
pub const SINK_REJECTED_UNWRITTEN_TOTAL: &str = "hotlist_sink_rejected_unwritten_total";
/// Searches for the rejected records of a batch.
pub const SINK_BISECTIONS_TOTAL: &str = "hotlist_sink_bisections_total";
/// Records sent without their resource and scope.
pub const SINK_CONTEXTS_LEFT_OUT_TOTAL: &str = "hotlist_sink_contexts_left_out_total";
/// Failed connection attempts to a next hop.
pub const SINK_CONNECT_FAILURES_TOTAL: &str = "hotlist_sink_connect_failures_total";
