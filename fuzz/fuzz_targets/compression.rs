//! Compressed messages: inflation never goes beyond its limit or its room, and undoes deflation.
#![no_main]

use bytes::Bytes;
use hotlist::encoding::Rope;
use hotlist::grpc::Encoding;
use hotlist::grpc::compression::InflateError;

/// What a message may inflate to: more than one step of room.
const LIMIT: usize = 200 << 10;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let message = Bytes::copy_from_slice(bytes);
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
        for limit in [0, 100, LIMIT] {
            let mut granted = 0;
            let inflated = encoding.inflate(&message, limit, &mut |more| {
                granted += more;
                true
            });
            assert!(granted <= limit + 1, "{encoding:?}: {granted} bytes of room for a limit of {limit}");
            match inflated {
                Ok(inflated) if encoding == Encoding::Identity => assert_eq!(inflated, message),
                Ok(inflated) => assert!(inflated.len() <= limit.min(granted), "{encoding:?}: {} bytes", inflated.len()),
                Err(error) => assert!(!matches!(error, InflateError::NoRoom), "there was room"),
            }
        }
        let refused = encoding.inflate(&message, LIMIT, &mut |_| false);
        assert!(encoding == Encoding::Identity || matches!(refused, Err(InflateError::NoRoom)), "{refused:?}");

        let deflated = encoding.deflate(&Rope::from(message.clone())).expect("there is memory").to_bytes();
        let inflated = encoding.inflate(&deflated, message.len(), &mut |_| true).expect("it was deflated here");
        assert_eq!(inflated, message, "{encoding:?}");
        if let Some(less) = message.len().checked_sub(1) {
            let refused = encoding.inflate(&deflated, less, &mut |_| true);
            assert!(matches!(refused, Err(InflateError::TooLarge { .. })), "{refused:?}");
        }
    }
});
