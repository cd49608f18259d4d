//! The next hop: takes everything, counts its bytes, and drops it.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use hotlist::config::Address;
use hotlist::delivery::{Accepted, Batch, BoxFuture, Deliver, Process, Refusal};
use hotlist::encoding::{Format, Rope};
use hotlist::ingest::{Limits, OtlpSource, Shared};

use crate::child::tell;

/// Passes a message as it is.
pub struct Identity;

impl Process for Identity {
    fn process(&self, _: Format, message: Bytes) -> Result<Batch, Refusal> {
        Ok(Batch { message: Rope::from(message), ..Batch::default() })
    }
}

#[derive(Default)]
struct Count(AtomicU64);

impl Deliver for Count {
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, Refusal>> {
        self.0.fetch_add(batch.message.len() as u64, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(Accepted::default())))
    }
}

/// Says its endpoint, then for every line the bytes that arrived since the last.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let count = Arc::new(Count::default());
    let deliver = Arc::clone(&count);
    // 16 KiB is what most receivers allow; nothing is worked on, so no worker is needed.
    let limits = Limits { max_frame_bytes: 16 << 10, in_place_below: usize::MAX, ..Limits::default() };
    let bound = runtime.block_on(async {
        let shared = Shared::start(&limits)?;
        let address = Address::Tcp(([127, 0, 0, 1], 0).into());
        OtlpSource::bind("next-hop", &address, limits, &shared, Arc::new(Identity), deliver)
    })?;
    tell(format!("http://{}", bound.local_address()))?;
    runtime.spawn(bound.serve(std::future::pending()));
    for line in std::io::stdin().lock().lines() {
        line?;
        tell(count.0.swap(0, Ordering::Relaxed))?;
    }
    Ok(())
}
