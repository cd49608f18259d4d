//! The sinks of a source, replaced while it serves: a batch goes to those that were there when it was matched.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::encoding::Format;
use crate::pipeline::{Accepted, Batch, BoxFuture, Deliver, Refusal, Signal};
use crate::sink::Fanout;

/// Delivers to the sinks that are set now.
pub(super) struct Switch(ArcSwap<Fanout>);

impl Switch {
    pub(super) fn new(sinks: Fanout) -> Switch {
        Switch(ArcSwap::from_pointee(sinks))
    }

    /// Replaces the sinks. What is on its way to the old ones stays on its way.
    pub(super) fn set(&self, sinks: Fanout) {
        self.0.store(Arc::new(sinks));
    }
}

impl Deliver for Switch {
    fn takes(&self, format: Format, signal: Signal) -> bool {
        self.0.load().takes(format, signal)
    }

    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, Refusal>> {
        let sinks = self.0.load_full();
        Box::pin(async move { sinks.deliver(batch).await })
    }
}
