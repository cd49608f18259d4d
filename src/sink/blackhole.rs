//! Sink `blackhole`: counts batches and drops them, for trials and benchmarks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Only;
use crate::pipeline::Batch;

/// The sink with its counters.
#[derive(Debug, Default)]
pub struct Blackhole {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Blackhole {
    /// Counts the part of a batch that `only` selects.
    pub fn deliver(&self, batch: &Batch, only: Only) {
        let (hits, bytes) =
            (batch.events.hits.len(), batch.events.hits.iter().map(|hit| hit.record.len()).sum::<usize>());
        let (records, bytes) = match only {
            Only::All => (batch.events.records, batch.events.message.len()),
            Only::Hits => (hits, bytes),
            Only::NotHits => {
                (batch.events.records.saturating_sub(hits), batch.events.message.len().saturating_sub(bytes))
            }
        };
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Log records that were dropped.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes of messages that were dropped.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Rope;
    use crate::pipeline::MatchedMessage;
    use bytes::Bytes;

    #[test]
    fn counts_what_it_drops() {
        let blackhole = Blackhole::default();
        let message = Rope::from(Bytes::from_static(b"abc"));
        let batch = Batch::from(MatchedMessage { message, records: 2, ..MatchedMessage::default() });
        blackhole.deliver(&batch, Only::All);
        blackhole.deliver(&batch, Only::NotHits);
        blackhole.deliver(&batch, Only::Hits);
        assert_eq!((blackhole.records(), blackhole.bytes()), (4, 6));
    }
}
