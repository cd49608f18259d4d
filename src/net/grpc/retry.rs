//! `google.rpc.RetryInfo`: when a client should retry, in the details of a status.
//!
//! OTLP exporters drop a batch on RESOURCE_EXHAUSTED unless the details contain a retry delay (OTLP specification,
//! "OTLP/gRPC Throttling").

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderValue;

use super::Code;
use crate::encoding::wire::{Fields, Payload, put_bytes, put_number};

/// The longest delay that is accepted: a peer must not stop a collector forever.
pub const MAX_DELAY: Duration = Duration::from_secs(60 * 60);
/// The type URL of the detail.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// Peers write `-bin` headers with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Encodes a `google.rpc.Status` with this code and a delay as its only detail, as a header.
pub fn encode(code: Code, delay: Duration) -> HeaderValue {
    let [mut duration, mut info, mut any, mut status] = [const { Vec::new() }; 4];
    for (number, value) in [(1, delay.as_secs()), (2, u64::from(delay.subsec_nanos()))] {
        if value > 0 {
            put_number(&mut duration, number, value);
        }
    }
    put_bytes(&mut info, 1, &duration);
    put_bytes(&mut any, 1, RETRY_INFO.as_bytes());
    put_bytes(&mut any, 2, &info);
    put_number(&mut status, 1, u64::from(code.number()));
    put_bytes(&mut status, 3, &any);
    // Base64 is always a valid header.
    HeaderValue::try_from(BASE64.encode(status)).unwrap_or(HeaderValue::from_static(""))
}

/// Reads the delay in the details of a status, at most [`MAX_DELAY`]; `None` if there is no readable delay.
pub fn decode(details: &HeaderValue) -> Option<Duration> {
    delay(&BASE64.decode(details.as_bytes()).ok()?)
}

/// Reads the delay of a `google.rpc.Status`.
pub fn delay(status: &[u8]) -> Option<Duration> {
    let mut fields = Fields::new(status);
    while let Ok(Some(field)) = fields.next_field() {
        if let (3, Payload::Bytes(any)) = (field.number, field.payload)
            && bytes(any, 1).is_some_and(|kind| kind.ends_with(b"/google.rpc.RetryInfo"))
        {
            let duration = bytes(bytes(any, 2).unwrap_or_default(), 1).unwrap_or_default();
            let (seconds, nanos) = (number(duration, 1), number(duration, 2));
            // A negative number appears as a large one here, and is not valid.
            let sane = i64::try_from(seconds).is_ok() && nanos < 1_000_000_000;
            return sane.then(|| Duration::new(seconds, nanos as u32).min(MAX_DELAY));
        }
    }
    None
}

fn bytes(message: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut fields = Fields::new(message);
    while let Ok(Some(field)) = fields.next_field() {
        if let (true, Payload::Bytes(found)) = (field.number == wanted, field.payload) {
            return Some(found);
        }
    }
    None
}

fn number(message: &[u8], wanted: u32) -> u64 {
    let mut fields = Fields::new(message);
    while let Ok(Some(field)) = fields.next_field() {
        if let (true, Payload::Varint(found)) = (field.number == wanted, field.payload) {
            return found;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Law: a delay is read as it was written, and is never longer than the longest.
        #[test]
        fn a_delay_round_trips(seconds in 0u64..10_000, nanos in 0u32..1_000_000_000) {
            let delay = Duration::new(seconds, nanos);
            prop_assert_eq!(decode(&encode(Code::Unavailable, delay)), Some(delay.min(MAX_DELAY)));
        }

        /// Law: arbitrary details never panic.
        #[test]
        fn anything_is_safe(bytes: Vec<u8>) {
            delay(&bytes);
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                decode(&value);
            }
        }
    }

    #[test]
    fn details_without_a_delay_say_nothing() {
        for text in ["", "CAg=", "CAg", "????"] {
            assert_eq!(decode(&HeaderValue::from_static(text)), None, "{text}");
        }
    }
}
