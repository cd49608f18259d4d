//! The sinks of a source, replaceable while it serves: a batch is delivered to the sinks that were set when it was matched.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::encoding::Format;
use crate::pipeline::{Accepted, Batch, BatchRefusal, BoxFuture, Deliver, Signal};
use crate::sink::Fanout;

/// Delivers to the current sinks.
pub(super) struct ReloadableSinks(ArcSwap<Fanout>);

impl ReloadableSinks {
    pub(super) fn new(sinks: Fanout) -> ReloadableSinks {
        ReloadableSinks(ArcSwap::from_pointee(sinks))
    }

    /// Replaces the sinks. Deliveries in progress continue to the old ones.
    pub(super) fn set(&self, sinks: Fanout) {
        self.0.store(Arc::new(sinks));
    }
}

impl Deliver for ReloadableSinks {
    fn takes(&self, format: Format, signal: Signal) -> bool {
        self.0.load().takes(format, signal)
    }

    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, BatchRefusal>> {
        let sinks = self.0.load_full();
        Box::pin(async move { sinks.deliver(batch).await })
    }
}
