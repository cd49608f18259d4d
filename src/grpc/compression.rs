//! Message compression: the encodings that sources and sinks speak, with inflation that stops at a limit.
//!
//! A few kilobytes can inflate to gigabytes, so inflation asks for room before it takes it and ends at the limit, long
//! before the stream does.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderName, HeaderValue};

use crate::encoding::Rope;

/// The header that names the encoding of the messages in a request.
pub const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// The header that lists the encodings a peer understands.
pub const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// What to put there: every encoding of [`Encoding`].
pub const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");

/// Room is taken in steps of at least this many bytes.
const MIN_STEP: usize = 64 * 1024;
/// Largest zstd window that is inflated, as a power of two: the 8 MiB that RFC 8878 section 3.1.1.1.2 asks decoders for.
/// Compressors stay within it unless they are told not to (`--long`, levels above 19). The window is memory beside the
/// message, one for each worker that inflates.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Level of gzip and zstd out: speed before size, next hops are near.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// How a message is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Why a message was not inflated.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// It is longer than the limit.
    #[error("the message inflates to more than {limit} bytes: send smaller batches, or raise `max_request_bytes`")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It is not what its encoding promises.
    #[error("the {encoding} stream is corrupt: {cause}")]
    Corrupt {
        /// The encoding the request names.
        encoding: &'static str,
        /// What the decoder says.
        cause: io::Error,
    },
    /// No room was granted.
    #[error("too many bytes are in flight: retry later, or raise `limits.in_flight_bytes`")]
    NoRoom,
}

impl Encoding {
    /// The encoding a `grpc-encoding` header names, or `None` when it is not one of these.
    pub fn parse(value: &[u8]) -> Option<Encoding> {
        [Encoding::Identity, Encoding::Gzip, Encoding::Zstd]
            .into_iter()
            .find(|encoding| encoding.as_str().as_bytes().eq_ignore_ascii_case(value.trim_ascii()))
    }

    /// The name in `grpc-encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }

    /// Inflates a whole message. `room(n)` is asked before `n` more bytes are held and says whether they may be; the
    /// sum of what was granted is at least the length of the result.
    ///
    /// # Errors
    /// The stream is corrupt or has bytes behind its end, inflates beyond `limit` bytes, or no room was granted.
    pub fn inflate(
        self,
        message: &Bytes,
        limit: usize,
        room: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Bytes, InflateError> {
        match self {
            Encoding::Identity if message.len() > limit => Err(InflateError::TooLarge { limit }),
            Encoding::Identity => Ok(message.clone()),
            Encoding::Gzip => self.drain(MultiGzDecoder::new(message.as_ref()), message.len(), limit, room),
            Encoding::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(message.as_ref())
                    .and_then(|mut decoder| decoder.window_log_max(ZSTD_WINDOW_LOG).map(|()| decoder))
                    .map_err(|cause| InflateError::Corrupt { encoding: self.as_str(), cause })?;
                self.drain(decoder, message.len(), limit, room)
            }
        }
    }

    /// Compresses a rope for the wire; `Identity` gives the rope back without a copy.
    ///
    /// # Errors
    /// The compressor failed, which it does for want of memory only.
    pub fn deflate(self, message: &Rope) -> io::Result<Rope> {
        let out = Vec::with_capacity(message.len() / 4);
        let compressed = match self {
            Encoding::Identity => return Ok(message.clone()),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                message.parts().iter().try_for_each(|part| encoder.write_all(part))?;
                encoder.finish()?
            }
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                // The size in the frame's header lets the receiver allocate once.
                encoder.set_pledged_src_size(Some(message.len() as u64))?;
                message.parts().iter().try_for_each(|part| encoder.write_all(part))?;
                encoder.finish()?
            }
        };
        Ok(Rope::from(Bytes::from(compressed)))
    }

    /// Reads a decoder to its end, never holding more than `limit` bytes and one more to see that there are more.
    fn drain(
        self,
        decoder: impl Read,
        compressed_len: usize,
        limit: usize,
        room: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Bytes, InflateError> {
        let mut decoder = decoder.take((limit as u64).saturating_add(1));
        let mut out = Vec::new();
        // Logs compress five- to tenfold; from there on the buffer doubles.
        let mut step = compressed_len.saturating_mul(6).max(MIN_STEP);
        loop {
            let want = step.min(limit.saturating_add(1).saturating_sub(out.len())).max(1);
            if !room(want) {
                return Err(InflateError::NoRoom);
            }
            out.reserve_exact(want);
            let read = (&mut decoder)
                .take(want as u64)
                .read_to_end(&mut out)
                .map_err(|cause| InflateError::Corrupt { encoding: self.as_str(), cause })?;
            if out.len() > limit {
                return Err(InflateError::TooLarge { limit });
            }
            if read < want {
                return Ok(Bytes::from(out));
            }
            step = out.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plenty(_: usize) -> bool {
        true
    }

    proptest! {
        /// Law: what was deflated inflates to itself, whatever the parts, at any limit from its own length on.
        #[test]
        fn deflate_then_inflate(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..5)) {
            let mut rope = Rope::default();
            parts.into_iter().for_each(|part| rope.push(Bytes::from(part)));
            for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
                let deflated = encoding.deflate(&rope).unwrap().to_bytes();
                let inflated = encoding.inflate(&deflated, rope.len(), &mut plenty).unwrap();
                prop_assert_eq!(inflated, rope.to_bytes());
            }
        }

        /// Law: arbitrary bytes never panic.
        #[test]
        fn inflating_anything_is_safe(bytes: Vec<u8>) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                let _ = encoding.inflate(&Bytes::from(bytes.clone()), 1000, &mut plenty);
            }
        }
    }

    /// A bomb of 100 MB of zeros: inflation stops near the limit, and has asked for no more room than that.
    #[test]
    fn a_bomb_stops_at_the_limit() {
        let rope = Rope::from(Bytes::from(vec![0; 100 << 20]));
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let bomb = encoding.deflate(&rope).unwrap().to_bytes();
            let mut granted = 0;
            let result = encoding.inflate(&bomb, 1 << 20, &mut |bytes| {
                granted += bytes;
                true
            });
            assert!(matches!(result, Err(InflateError::TooLarge { limit: 1048576 })), "{result:?}");
            assert!(granted <= (1 << 20) + 1, "{granted}");
        }
    }

    /// A frame may ask for a window of its own choice before it has sent a byte; more than the bound is refused.
    #[test]
    fn a_large_zstd_window_is_refused() {
        for (window, fits) in [(ZSTD_WINDOW_LOG, true), (ZSTD_WINDOW_LOG + 1, false), (27, false)] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(b"short").unwrap();
            let message = Bytes::from(encoder.finish().unwrap());
            let result = Encoding::Zstd.inflate(&message, 1 << 30, &mut plenty);
            assert_eq!(result.is_ok(), fits, "{window}: {result:?}");
        }
    }

    #[test]
    fn no_room_is_not_corruption() {
        let rope = Rope::from(Bytes::from(vec![0; 1 << 20]));
        let message = Encoding::Gzip.deflate(&rope).unwrap().to_bytes();
        let result = Encoding::Gzip.inflate(&message, 1 << 20, &mut |_| false);
        assert!(matches!(result, Err(InflateError::NoRoom)), "{result:?}");
    }

    /// Truncated streams and bytes behind the end are corruption, for both encodings.
    #[test]
    fn truncated_and_trailing_bytes_are_corrupt() {
        let rope = Rope::from(Bytes::from_static(b"some message that is long enough to be cut"));
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let whole = encoding.deflate(&rope).unwrap().to_bytes();
            let mut trailing = whole.to_vec();
            trailing.extend_from_slice(b"garbage");
            for message in [whole.slice(..whole.len() - 3), Bytes::from(trailing), Bytes::from_static(b"not at all")] {
                let result = encoding.inflate(&message, 1 << 20, &mut plenty);
                assert!(matches!(result, Err(InflateError::Corrupt { .. })), "{encoding:?} {result:?}");
            }
        }
    }

    #[test]
    fn names_are_those_of_the_header() {
        assert_eq!(Encoding::parse(b"GZIP "), Some(Encoding::Gzip));
        assert_eq!(Encoding::parse(b"zstd"), Some(Encoding::Zstd));
        assert_eq!(Encoding::parse(b"identity"), Some(Encoding::Identity));
        assert_eq!(Encoding::parse(b"snappy"), None);
    }
}
