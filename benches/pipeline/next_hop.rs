//! The next hop of every protocol: takes everything, counts its bytes, and drops it.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use hotlist::config::Address;
use hotlist::encoding::{Format, Rope};
use hotlist::pipeline::{Accepted, Batch, BatchRefusal, BoxFuture, Deliver, MatchedMessage, Transform, Work};
use hotlist::source::health::Health;
use hotlist::source::{Limits, OtlpSource, SharedResources, VectorSource};

use crate::child::send_line;

/// Passes a message as it is.
pub struct Identity;

impl Transform for Identity {
    fn process(&self, format: Format, message: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        Ok(MatchedMessage { format, message: Rope::from(message), ..MatchedMessage::default() })
    }
}

#[derive(Default)]
struct Count(AtomicU64);

impl Deliver for Count {
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, BatchRefusal>> {
        self.0.fetch_add(batch.events.message.len() as u64, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(Accepted::default())))
    }
}

/// Says its endpoints for OTLP and for Vector's protocol, then for every line the bytes that arrived since the last.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let count = Arc::new(Count::default());
    // 16 KiB is what most receivers allow; nothing is worked on, so no worker is needed.
    let limits = Limits { max_frame_bytes: 16 << 10, in_place_below: usize::MAX, ..Limits::default() };
    let health = Health::default();
    health.set_ready(true);
    let (otlp, vector) = runtime.block_on(async {
        let shared = SharedResources::start(&limits)?;
        let address = Address::Tcp(([127, 0, 0, 1], 0).into());
        let (process, deliver) = (Arc::new(Identity), Arc::clone(&count));
        let otlp = OtlpSource::bind("otlp", &address, limits.clone(), &shared, process.clone(), deliver.clone())?;
        let vector = VectorSource::bind("vector", &address, limits, &shared, process, deliver, health)?;
        std::io::Result::Ok((otlp, vector))
    })?;
    send_line(format!("http://{} http://{}", otlp.local_address(), vector.local_address()))?;
    runtime.spawn(otlp.serve(std::future::pending()));
    runtime.spawn(vector.serve(std::future::pending()));
    for line in std::io::stdin().lock().lines() {
        line?;
        send_line(count.0.swap(0, Ordering::Relaxed))?;
    }
    Ok(())
}
