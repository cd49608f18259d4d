//! Message compression: the encodings that sources and sinks support, with inflation that stops at a limit.
//!
//! A few kilobytes can inflate to gigabytes, so inflation takes memory permits before it allocates, and stops at the
//! limit.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderName, HeaderValue};

use crate::encoding::Rope;
use crate::pipeline::{HeldMemory, StopReason, Work};

/// The header that names the encoding of the messages in a request.
pub const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// The header that lists the encodings that a peer supports.
pub const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// The value of that header: every encoding of [`Encoding`].
pub const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");

/// Memory is taken in steps of at least this many bytes.
const MIN_STEP: usize = 64 * 1024;
/// Largest zstd window that is inflated, as a power of two: the 8 MiB that RFC 8878 section 3.1.1.1.2 requires of
/// decoders. Compressors exceed it only on request (`--long`, levels above 19). The window is memory in addition to the
/// message, once per worker that inflates.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Level of gzip and zstd for outgoing messages: speed matters more than size, because next hops are near.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// The compression of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// The reason that a message was not inflated.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// The message is longer than the limit.
    #[error("the message inflates to more than {limit} bytes: send smaller batches, or raise `max_request_bytes`")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes are not valid for their encoding.
    #[error("the {encoding} stream is corrupt: {cause}")]
    Corrupt {
        /// The encoding that the request names.
        encoding: &'static str,
        /// The error of the decoder.
        cause: io::Error,
    },
    /// There is no memory for the message.
    #[error(transparent)]
    Stopped(#[from] StopReason),
}

/// The reason that a message was not compressed.
#[derive(Debug, thiserror::Error)]
pub enum DeflateError {
    /// There is no memory for the result, or the client disconnected.
    #[error(transparent)]
    Stopped(#[from] StopReason),
    #[error("compressing failed: {0}")]
    Failed(#[from] io::Error),
}

impl Encoding {
    /// The encoding that a `grpc-encoding` header names, or `None` if it is not supported.
    pub fn parse(value: &[u8]) -> Option<Encoding> {
        [Encoding::Identity, Encoding::Gzip, Encoding::Zstd]
            .into_iter()
            .find(|encoding| encoding.as_str().as_bytes().eq_ignore_ascii_case(value.trim_ascii()))
    }

    /// The name for `grpc-encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }

    /// Inflates a whole message. Memory for the result is taken from `work` before it is allocated, including the
    /// memory that a growing buffer takes in addition to the buffer that replaces it.
    ///
    /// # Errors
    /// The stream is corrupt or has trailing bytes, inflates beyond `limit` bytes, there is no memory, or the client
    /// disconnected.
    pub fn inflate(self, message: &Bytes, limit: usize, work: &Work) -> Result<Bytes, InflateError> {
        match self {
            Encoding::Identity if message.len() > limit => Err(InflateError::TooLarge { limit }),
            Encoding::Identity => Ok(message.clone()),
            Encoding::Gzip => self.drain(MultiGzDecoder::new(message.as_ref()), message.len(), limit, work),
            Encoding::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(message.as_ref())
                    .and_then(|mut decoder| decoder.window_log_max(ZSTD_WINDOW_LOG).map(|()| decoder))
                    .map_err(|cause| InflateError::Corrupt { encoding: self.as_str(), cause })?;
                self.drain(decoder, message.len(), limit, work)
            }
        }
    }

    /// Compresses a rope; `Identity` returns the rope without a copy. Memory for the result is taken from `work` as it
    /// grows.
    ///
    /// # Errors
    /// There is no memory, the client disconnected, or the compressor failed, which it does only when it runs out of
    /// memory.
    pub fn deflate(self, message: &Rope, work: &Work) -> Result<Rope, DeflateError> {
        let mut out = Growing { bytes: Vec::new(), room: work.hold(0)?, stopped: None };
        let done = match self {
            Encoding::Identity => return Ok(message.clone()),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(&mut out, flate2::Compression::new(GZIP_LEVEL));
                write_parts(&mut encoder, message, work).and_then(|()| encoder.try_finish())
            }
            Encoding::Zstd => zstd::stream::write::Encoder::new(&mut out, ZSTD_LEVEL).and_then(|mut encoder| {
                // The size in the frame's header lets the receiver allocate once.
                encoder.set_pledged_src_size(Some(message.len() as u64))?;
                write_parts(&mut encoder, message, work)?;
                encoder.finish().map(|_| ())
            }),
        };
        match (out.stopped, done) {
            (Some(stop), _) => Err(stop.into()),
            (None, Err(cause)) => match work.check() {
                Err(stop) => Err(stop.into()),
                Ok(()) => Err(cause.into()),
            },
            (None, Ok(())) => Ok(Rope::from(out.room.own(out.bytes))),
        }
    }

    /// Reads a decoder to its end, holding at most `limit` bytes and one more to detect that there are more.
    fn drain(
        self,
        decoder: impl Read,
        compressed_len: usize,
        limit: usize,
        work: &Work,
    ) -> Result<Bytes, InflateError> {
        let most = limit.saturating_add(1);
        let mut out = Vec::new();
        let mut room = work.hold(0)?;
        // Logs compress five- to tenfold; from there on the buffer doubles. Above half of the limit it grows to the
        // limit at once: growing again would need more memory than two messages of the largest size have.
        let mut wanted = compressed_len.saturating_mul(6).max(MIN_STEP);
        let mut decoder = decoder.take(most as u64);
        loop {
            work.check()?;
            let capacity = if wanted > most / 2 { most } else { wanted };
            // The old and the new buffer exist at the same time for a moment.
            room.grow(capacity)?;
            let mut larger = Vec::with_capacity(capacity);
            larger.extend_from_slice(&out);
            out = larger;
            room.shrink_to(capacity);
            let left = capacity - out.len();
            let read = (&mut decoder)
                .take(left as u64)
                .read_to_end(&mut out)
                .map_err(|cause| InflateError::Corrupt { encoding: self.as_str(), cause })?;
            if out.len() > limit {
                return Err(InflateError::TooLarge { limit });
            }
            if read < left {
                if out.len() < capacity / 2 {
                    out.shrink_to_fit();
                }
                room.shrink_to(out.len());
                return Ok(room.own(out));
            }
            wanted = out.len().saturating_mul(2);
        }
    }
}

/// Bytes that are compressed between two checks whether to continue.
const PIECE: usize = 256 * 1024;

fn write_parts(encoder: &mut impl Write, message: &Rope, work: &Work) -> io::Result<()> {
    for piece in message.parts().iter().flat_map(|part| part.chunks(PIECE)) {
        work.check().map_err(io::Error::other)?;
        encoder.write_all(piece)?;
    }
    Ok(())
}

/// A buffer that takes memory permits before it grows.
struct Growing {
    bytes: Vec<u8>,
    room: HeldMemory,
    stopped: Option<StopReason>,
}

impl Growing {
    fn reserve(&mut self, more: usize) -> Result<(), StopReason> {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).max(MIN_STEP);
            // The old and the new buffer exist at the same time for a moment.
            self.room.grow(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
            self.room.shrink_to(capacity);
        }
        Ok(())
    }
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(stop) = self.reserve(bytes.len()) {
            self.stopped = Some(stop);
            return Err(io::Error::other(stop));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::pipeline::MemoryPermit;
    use proptest::prelude::*;

    proptest! {
        /// Law: whatever the parts, a compressed message inflates to itself at any limit from its own length on.
        #[test]
        fn deflate_then_inflate(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..5)) {
            let mut rope = Rope::default();
            parts.into_iter().for_each(|part| rope.push(Bytes::from(part)));
            for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
                let deflated = encoding.deflate(&rope, &Work::default()).unwrap().to_bytes();
                let inflated = encoding.inflate(&deflated, rope.len(), &Work::default()).unwrap();
                prop_assert_eq!(inflated, rope.to_bytes());
            }
        }

        /// Law: arbitrary bytes never panic.
        #[test]
        fn inflating_anything_is_safe(bytes: Vec<u8>) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                let _ = encoding.inflate(&Bytes::from(bytes.clone()), 1000, &Work::default());
            }
        }
    }

    /// A memory permit that records the most that was held.
    #[derive(Debug)]
    struct Measured {
        total: usize,
        /// Held now, and the most that was held.
        held: Mutex<(usize, usize)>,
    }

    impl MemoryPermit for Measured {
        fn take(&self, bytes: usize) -> bool {
            let (held, most) = &mut *self.held.lock().unwrap();
            let fits = *held + bytes <= self.total;
            *held += if fits { bytes } else { 0 };
            *most = (*most).max(*held);
            fits
        }

        fn give_back(&self, bytes: usize) {
            self.held.lock().unwrap().0 -= bytes;
        }

        fn left_alone(&self) -> usize {
            self.total - self.held.lock().unwrap().0
        }
    }

    fn measured(total: usize) -> (Arc<Measured>, Work) {
        let room = Arc::new(Measured { total, held: Mutex::default() });
        (room.clone(), Work::within(room))
    }

    /// A bomb of 100 MB of zeros: inflation stops near the limit, and takes no more memory than a buffer of the limit
    /// and the previous buffer need.
    #[test]
    fn a_bomb_stops_at_the_limit() {
        let rope = Rope::from(Bytes::from(vec![0; 100 << 20]));
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let bomb = encoding.deflate(&rope, &Work::default()).unwrap().to_bytes();
            let (room, work) = measured(usize::MAX);
            let result = encoding.inflate(&bomb, 1 << 20, &work);
            assert!(matches!(result, Err(InflateError::TooLarge { limit: 1048576 })), "{result:?}");
            let (held, most) = *room.held.lock().unwrap();
            assert!(most <= (3 << 19) + 1, "{most}");
            assert_eq!(held, 0);
        }
    }

    /// Guarantee: every message within the limit inflates in twice the limit minus its length on the wire, which is
    /// what the smallest permit allows, and holds no more than its length in the end.
    #[test]
    fn a_message_within_the_limit_fits_the_smallest_room() {
        let limit = 1 << 20;
        for len in [1, 1000, MIN_STEP, limit / 4, limit / 2 - 1, limit / 2, limit / 2 + 1, limit - 7, limit] {
            for noise in [0, 1, 8, 16, 64] {
                let message: Vec<u8> =
                    (0..len).map(|at| if at % 64 < noise { (at * at / 7) as u8 } else { 0 }).collect();
                for encoding in [Encoding::Gzip, Encoding::Zstd] {
                    let deflated =
                        encoding.deflate(&Rope::from(Bytes::from(message.clone())), &Work::default()).unwrap();
                    let (room, work) = measured((2 * limit).saturating_sub(deflated.len().min(limit - 1)));
                    let inflated = encoding.inflate(&deflated.to_bytes(), limit, &work).unwrap();
                    assert_eq!(inflated, message);
                    assert_eq!(room.held.lock().unwrap().0, len, "{encoding:?} {noise}");
                    drop(inflated);
                    assert_eq!(room.held.lock().unwrap().0, 0);
                }
            }
        }
    }

    /// A frame may announce any window before it has sent a byte; a window above the bound is refused.
    #[test]
    fn a_large_zstd_window_is_refused() {
        for (window, fits) in [(ZSTD_WINDOW_LOG, true), (ZSTD_WINDOW_LOG + 1, false), (27, false)] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(b"short").unwrap();
            let message = Bytes::from(encoder.finish().unwrap());
            let result = Encoding::Zstd.inflate(&message, 1 << 30, &Work::default());
            assert_eq!(result.is_ok(), fits, "{window}: {result:?}");
        }
    }

    #[test]
    fn no_room_is_not_corruption() {
        let rope = Rope::from(Bytes::from(vec![0; 1 << 20]));
        let message = Encoding::Gzip.deflate(&rope, &Work::default()).unwrap().to_bytes();
        let result = Encoding::Gzip.inflate(&message, 1 << 20, &measured(1000).1);
        assert!(matches!(result, Err(InflateError::Stopped(StopReason::NeverEnoughMemory))), "{result:?}");
    }

    /// Truncated streams and trailing bytes are corruption, for both encodings.
    #[test]
    fn truncated_and_trailing_bytes_are_corrupt() {
        let rope = Rope::from(Bytes::from_static(b"some message that is long enough to be cut"));
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let whole = encoding.deflate(&rope, &Work::default()).unwrap().to_bytes();
            let mut trailing = whole.to_vec();
            trailing.extend_from_slice(b"garbage");
            for message in [whole.slice(..whole.len() - 3), Bytes::from(trailing), Bytes::from_static(b"not at all")] {
                let result = encoding.inflate(&message, 1 << 20, &Work::default());
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
