//! Compressed messages: inflation never goes beyond its limit or its room, and undoes deflation.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hotlist::encoding::Rope;
use hotlist::net::grpc::Encoding;
use hotlist::net::grpc::compression::InflateError;
use hotlist::pipeline::{MemoryPermit, Work};

/// What a message may inflate to: more than one step of room.
const LIMIT: usize = 200 << 10;

/// Room without an end, of which the most that was held is remembered.
#[derive(Debug, Default)]
struct Counted {
    held: AtomicUsize,
    most: AtomicUsize,
}

impl MemoryPermit for Counted {
    fn take(&self, bytes: usize) -> bool {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(held, Ordering::Relaxed);
        true
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn left_alone(&self) -> usize {
        usize::MAX
    }
}

/// No room at all.
#[derive(Debug)]
struct Full;

impl MemoryPermit for Full {
    fn take(&self, bytes: usize) -> bool {
        bytes == 0
    }

    fn give_back(&self, _: usize) {}

    fn left_alone(&self) -> usize {
        0
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let message = Bytes::copy_from_slice(bytes);
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
        for limit in [0, 100, LIMIT] {
            let room = Arc::new(Counted::default());
            let inflated = encoding.inflate(&message, limit, &Work::within(room.clone()));
            let most = room.most.load(Ordering::Relaxed);
            assert!(most <= (limit + 1) / 2 * 3 + 1, "{encoding:?}: {most} bytes of room for a limit of {limit}");
            match inflated {
                Ok(inflated) if encoding == Encoding::Identity => assert_eq!(inflated, message),
                Ok(inflated) => assert!(inflated.len() <= limit.min(most), "{encoding:?}: {} bytes", inflated.len()),
                Err(error) => assert!(!matches!(error, InflateError::Stopped(_)), "there was room"),
            }
        }
        let refused = encoding.inflate(&message, LIMIT, &Work::within(Arc::new(Full)));
        assert!(encoding == Encoding::Identity || matches!(refused, Err(InflateError::Stopped(_))), "{refused:?}");

        let unbounded = Work::default();
        let deflated = encoding.deflate(&Rope::from(message.clone()), &unbounded).expect("there is memory").to_bytes();
        let inflated = encoding.inflate(&deflated, message.len(), &unbounded).expect("it was deflated here");
        assert_eq!(inflated, message, "{encoding:?}");
        if let Some(less) = message.len().checked_sub(1) {
            let refused = encoding.inflate(&deflated, less, &unbounded);
            assert!(matches!(refused, Err(InflateError::TooLarge { .. })), "{refused:?}");
        }
    }
});
