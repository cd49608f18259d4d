//! Several sinks as one [`Deliver`]: network sinks first and concurrently, then the local ones.
//!
//! A batch that a network sink refuses is retried by the client, and must not be written to a file twice. A file whose
//! last write failed is checked for free space before anything is sent: otherwise each retry would send one more copy
//! to the next hop. The first refusal of a required sink is the answer. Optional sinks get the batch once the required
//! ones have it, and nobody waits for them.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use super::Sink;
use crate::encoding::Format;
use crate::pipeline::{Accepted, Batch, BatchRefusal, BoxFuture, Deliver, Signal};

/// Most batches on their way to one optional sink. Further batches are dropped for that sink and counted.
const OPTIONAL_AT_ONCE: usize = 8;

/// The sinks of a pipeline.
#[derive(Debug)]
pub struct Fanout {
    network: Vec<Arc<Sink>>,
    local: Vec<Arc<Sink>>,
    optional: Vec<(Arc<Sink>, Arc<Semaphore>)>,
}

impl Fanout {
    /// Groups the sinks by kind.
    pub fn new(sinks: impl IntoIterator<Item = Arc<Sink>>) -> Fanout {
        let (required, optional): (Vec<_>, Vec<_>) = sinks.into_iter().partition(|sink| sink.is_required());
        let (network, local) = required.into_iter().partition(|sink| sink.is_network());
        let room = || Arc::new(Semaphore::new(OPTIONAL_AT_ONCE));
        let optional = optional.into_iter().map(|sink| (sink, room())).collect();
        Fanout { network, local, optional }
    }

    async fn deliver_all(&self, batch: &Arc<Batch>) -> Result<Accepted, BatchRefusal> {
        let mut all = Accepted::default();
        let taking = |sinks: &[Arc<Sink>]| -> Vec<Arc<Sink>> {
            sinks.iter().filter(|sink| sink.takes(batch.events.format, batch.signal)).cloned().collect()
        };
        if !self.network.is_empty() {
            for sink in self.local.iter().filter(|sink| sink.takes(batch.events.format, batch.signal)) {
                sink.check_room(batch).await?;
            }
        }
        for sinks in [&self.network, &self.local] {
            match taking(sinks).as_slice() {
                [] => {}
                [only] => all.add(only.deliver(batch).await?),
                many => {
                    let accepted = try_join_all(many.iter().map(|sink| sink.deliver(batch))).await?;
                    accepted.into_iter().for_each(|one| all.add(one));
                }
            }
        }
        for (sink, room) in self.optional.iter().filter(|(sink, _)| sink.takes(batch.events.format, batch.signal)) {
            match Arc::clone(room).try_acquire_owned() {
                Ok(room) => {
                    let (sink, batch) = (Arc::clone(sink), Arc::clone(batch));
                    tokio::spawn(async move {
                        // The sink counts its refusals; nothing else is done about them.
                        let _ = sink.deliver(&batch).await;
                        drop(room);
                    });
                }
                Err(_) => sink.count("dropped"),
            }
        }
        Ok(all)
    }
}

impl Deliver for Fanout {
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, BatchRefusal>> {
        Box::pin(async move { self.deliver_all(&batch).await })
    }

    fn takes(&self, format: Format, signal: Signal) -> bool {
        let optional = self.optional.iter().map(|(sink, _)| sink);
        let mut all = self.network.iter().chain(&self.local).chain(optional);
        // A source without any sink is the caller's decision, and accepts what it is made for.
        signal == Signal::Logs || all.any(|sink| sink.takes(format, signal))
    }
}
