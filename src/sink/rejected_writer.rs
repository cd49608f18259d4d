//! Writes to the rejected file of a sink: records that the next hop refuses, and the requests of its partial successes.

use std::sync::Arc;

use jiff::Timestamp;
use metrics::counter;

use super::bisect::RefusedRequest;
use super::blocking::blocking;
use super::rejected::{Entry, RejectedFile};
use crate::config::Endpoint;
use crate::encoding::{Format, Rope};
use crate::pipeline::{Accepted, Signal};
use crate::telemetry::{self, Throttle};

/// The rejected file of a sink, for the records of one delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct RejectedWriter<'a> {
    pub(super) file: &'a Arc<RejectedFile>,
    pub(super) sink: &'a str,
    pub(super) endpoint: &'a Endpoint,
    pub(super) format: Format,
    pub(super) signal: Signal,
}

impl RejectedWriter<'_> {
    /// Writes refused records. They are synced to the disk when this is ready.
    ///
    /// # Errors
    /// The records are not on the disk, so the batch must be refused; the text states the cause.
    pub(super) async fn refused(&self, refused: &[RefusedRequest]) -> Result<(), String> {
        let entry = |one: &RefusedRequest| Entry {
            status: one.reason.status.clone(),
            message: one.reason.text.clone(),
            ..self.entry(&one.request)
        };
        let (sink, records, path) = (self.sink, refused.len(), self.file.path().display().to_string());
        let (file, entries) = (Arc::clone(self.file), refused.iter().map(entry).collect::<Vec<_>>());
        let written = blocking(move || file.append(&entries).map_err(|error| error.to_string()));
        if let Err(cause) = written.await.flatten() {
            counter!(telemetry::SINK_REJECTED_UNWRITTEN_TOTAL, "sink" => sink.to_owned()).increment(1);
            static LINES: Throttle = Throttle::new();
            if let Some(left_out) = LINES.pass() {
                tracing::error!(sink, records, cause, left_out, "cannot write rejected records: the batch is refused");
            }
            return Err(cause);
        }
        counter!(telemetry::SINK_REJECTED_RECORDS_TOTAL, "sink" => sink.to_owned()).increment(records as u64);
        let reason = refused.first().map(|one| format!("{}: {}", one.reason.status, one.reason.text));
        static LINES: Throttle = Throttle::new();
        if let Some(left_out) = LINES.pass() {
            tracing::warn!(
                sink,
                records,
                path,
                reason,
                left_out,
                "the next hop refuses records: they are written to the rejected file"
            );
        }
        Ok(())
    }

    /// Writes a request that the next hop accepted only in part. If it cannot be written, it is counted, but the batch
    /// is not refused: OTLP forbids sending it again.
    pub(super) async fn partial(&self, request: &Rope, answer: &Accepted) {
        let entry = Entry {
            status: "ok".to_owned(),
            message: answer.message.clone(),
            partial: Some(answer.rejected),
            ..self.entry(request)
        };
        let (sink, rejected, file) = (self.sink, answer.rejected, Arc::clone(self.file));
        let written = blocking(move || file.append_partial(entry).map_err(|error| error.to_string()));
        if let Err(cause) = written.await.flatten() {
            counter!(telemetry::SINK_PARTIAL_UNWRITTEN_TOTAL, "sink" => sink.to_owned()).increment(1);
            static LINES: Throttle = Throttle::new();
            if let Some(left_out) = LINES.pass() {
                tracing::error!(
                    sink,
                    rejected,
                    cause,
                    left_out,
                    "cannot write the batch of a partial success: records are lost"
                );
            }
        }
    }

    fn entry(&self, request: &Rope) -> Entry {
        Entry {
            time: Timestamp::now(),
            sink: self.sink.to_owned(),
            endpoint: self.endpoint.to_string(),
            format: self.format,
            signal: self.signal,
            status: String::new(),
            message: String::new(),
            partial: None,
            request: request.to_bytes(),
        }
    }
}
