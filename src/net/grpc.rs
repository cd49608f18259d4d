//! gRPC message framing over HTTP/2, as far as the event path needs it.
//!
//! tonic's codec checks limits, decompression bombs and corrupt compression before any handler runs, and answers with
//! the wrong statuses (`docs/adr/0005-own-grpc-framing.md`). So sources and sinks frame messages with this module,
//! which depends only on `http` and `bytes`. The standard is "gRPC over HTTP2" (`PROTOCOL-HTTP2.md` in the grpc
//! repository).

pub mod body;
mod code;
pub mod compression;
pub mod retry;
pub mod status;

pub use body::{RopeBody, UnaryBody};
pub use code::Code;
pub use compression::Encoding;
pub use status::Status;

use http::HeaderMap;

/// Length-Prefixed-Message: one flag byte and four bytes of big-endian length precede the message.
pub const HEADER_LEN: usize = 5;

/// The `content-type` of gRPC requests and answers.
pub const CONTENT_TYPE: &str = "application/grpc";

/// The five bytes that precede a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The message is compressed with the request's `grpc-encoding`.
    pub compressed: bool,
    /// Length of the message in bytes, as it is on the wire.
    pub len: u32,
}

/// A frame header that gRPC does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the compressed flag of the gRPC message is {flag}, but must be 0 or 1: check that the client speaks gRPC")]
pub struct BadFlag {
    /// The flag byte found.
    pub flag: u8,
}

impl FrameHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// The flag is neither 0 nor 1.
    pub fn read(bytes: [u8; HEADER_LEN]) -> Result<FrameHeader, BadFlag> {
        let [flag, length @ ..] = bytes;
        match flag {
            0 | 1 => Ok(FrameHeader { compressed: flag == 1, len: u32::from_be_bytes(length) }),
            flag => Err(BadFlag { flag }),
        }
    }

    pub fn write(self) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = self.len.to_be_bytes();
        [u8::from(self.compressed), a, b, c, d]
    }
}

/// Whether the `content-type` is gRPC with protobuf messages: `application/grpc`, also with `+proto` or parameters, but
/// not `application/grpc-web` or `application/grpc+json`.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(http::header::CONTENT_TYPE) else { return false };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/grpc") || essence.eq_ignore_ascii_case(b"application/grpc+proto")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Law: a written header reads back as itself.
        #[test]
        fn header_round_trips(compressed: bool, len: u32) {
            let header = FrameHeader { compressed, len };
            prop_assert_eq!(FrameHeader::read(header.write()), Ok(header));
        }
    }

    #[test]
    fn a_flag_that_grpc_does_not_know_is_refused() {
        assert_eq!(FrameHeader::read([2, 0, 0, 0, 0]), Err(BadFlag { flag: 2 }));
    }

    #[test]
    fn only_grpc_with_protobuf_is_grpc() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc+json", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
