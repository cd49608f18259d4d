//! Many sinks as one [`Deliver`]: network sinks first and together, then the ones that write here.
//!
//! What a network sink refuses will come again, and must not stand in a file twice. All sinks are required: the first
//! refusal is the answer.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::Sink;
use crate::delivery::{Batch, BoxFuture, Deliver, Refusal};

/// The sinks of a pipeline.
#[derive(Debug)]
pub struct Fanout {
    network: Vec<Arc<Sink>>,
    local: Vec<Arc<Sink>>,
}

impl Fanout {
    /// Orders the sinks by what they do.
    pub fn new(sinks: impl IntoIterator<Item = Arc<Sink>>) -> Fanout {
        let (network, local) = sinks.into_iter().partition(|sink| sink.is_network());
        Fanout { network, local }
    }

    async fn deliver_all(&self, batch: &Arc<Batch>) -> Result<(), Refusal> {
        for sinks in [&self.network, &self.local] {
            match sinks.as_slice() {
                [] => {}
                [only] => only.deliver(batch).await?,
                many => {
                    try_join_all(many.iter().map(|sink| sink.deliver(batch))).await?;
                }
            }
        }
        Ok(())
    }
}

impl Deliver for Fanout {
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { self.deliver_all(&batch).await })
    }
}
