//! The next hop of the demo: an OTLP receiver that counts the events and forwards the tagged ones to the report.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use super::report;
use crate::config::Address;
use crate::encoding::{Format, envelope, otlp};
use crate::pipeline::{Accepted, Batch, BatchRefusal, BoxFuture, Deliver, HitRecord, MatchedMessage, Transform, Work};
use crate::source::{BoundSource, Limits, OtlpSource, ServeError, SharedResources};

/// Capacity for tagged events that wait for the terminal; when it is full, the next hop answers later, without loss.
const WAITING: usize = 1024;

/// A bound receiver that does not accept connections yet.
pub(super) struct NextHop {
    bound: BoundSource,
    received: Received,
}

/// The number of received events.
#[derive(Clone, Default)]
pub(super) struct Received(Arc<AtomicU64>);

impl Received {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl NextHop {
    /// Binds a loopback port. Tagged events are sent to the channel as JSON.
    pub(super) fn bind() -> io::Result<(NextHop, mpsc::Receiver<Value>)> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        let address = Address::parse("127.0.0.1:0").map_err(invalid)?;
        let limits = Limits::default();
        let shared = SharedResources::start(&limits)?;
        let (sender, tagged) = mpsc::channel(WAITING);
        let received = Received::default();
        let take = CountingSink { received: received.clone(), tagged: sender };
        let bound =
            OtlpSource::bind("demo-next-hop", &address, limits, &shared, Arc::new(TaggedFilter), Arc::new(take))?;
        Ok((NextHop { bound, received }, tagged))
    }

    pub(super) fn address(&self) -> String {
        self.bound.local_address().to_string()
    }

    pub(super) fn received(&self) -> Received {
        self.received.clone()
    }

    pub(super) async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.bound.serve(shutdown).await
    }
}

/// Selects the records that the sidecar enriched.
struct TaggedFilter;

impl Transform for TaggedFilter {
    fn process(&self, _: Format, message: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        let mut batch = MatchedMessage::default();
        envelope::OTLP
            .records(&message, |span| {
                let place = batch.records;
                batch.records += 1;
                let record = message.slice(span.record.payload());
                if memchr::memmem::find(&record, report::MARK.as_bytes()).is_some() {
                    batch.hits.push(HitRecord { place, record, ..HitRecord::default() });
                }
            })
            .map_err(|error| BatchRefusal::InvalidArgument(error.to_string()))?;
        Ok(batch)
    }
}

/// Counts the events, and sends the selected ones to the report.
struct CountingSink {
    received: Received,
    tagged: mpsc::Sender<Value>,
}

impl Deliver for CountingSink {
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, BatchRefusal>> {
        Box::pin(async move {
            for HitRecord { record, .. } in &batch.events.hits {
                let event = serde_json::from_slice(&otlp::render_record(record)).map_err(|error| {
                    BatchRefusal::InvalidArgument(format!("a tagged record is not a JSON document: {error}"))
                })?;
                // Nobody receives any more when the demo ends; the events have arrived nevertheless.
                let _ = self.tagged.send(event).await;
            }
            self.received.0.fetch_add(batch.events.records as u64, Ordering::Relaxed);
            Ok(Accepted::default())
        })
    }
}
