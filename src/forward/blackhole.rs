//! Sink `blackhole`: counts batches and drops them, for trials and benchmarks.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::delivery::Batch;

/// The sink with its counts.
#[derive(Debug, Default)]
pub struct Blackhole {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Blackhole {
    /// Counts a batch.
    pub fn deliver(&self, batch: &Batch) {
        self.records.fetch_add(batch.records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(batch.message.len() as u64, Ordering::Relaxed);
    }

    /// Log records that it dropped.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes of messages that it dropped.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Rope;
    use bytes::Bytes;

    #[test]
    fn counts_what_it_drops() {
        let blackhole = Blackhole::default();
        let batch = Batch { message: Rope::from(Bytes::from_static(b"abc")), records: 2, ..Batch::default() };
        blackhole.deliver(&batch);
        blackhole.deliver(&batch);
        assert_eq!((blackhole.records(), blackhole.bytes()), (4, 6));
    }
}
