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
use crate::pipeline::{Held, Stop, Work};

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
    /// There is no room for it.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

/// Why a message was not compressed.
#[derive(Debug, thiserror::Error)]
pub enum DeflateError {
    /// There is no room for it, or the client left.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// The compressor failed.
    #[error("compressing failed: {0}")]
    Failed(#[from] io::Error),
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

    /// Inflates a whole message. Room for the result is taken from `work` before it is allocated, and so is what a buffer
    /// that grows takes beside the one that replaces it.
    ///
    /// # Errors
    /// The stream is corrupt or has bytes behind its end, inflates beyond `limit` bytes, there is no room, or the client
    /// left.
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

    /// Compresses a rope for the wire; `Identity` gives the rope back without a copy. Room for the result is taken from
    /// `work` as it grows.
    ///
    /// # Errors
    /// There is no room, the client left, or the compressor failed, which it does for want of memory only.
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

    /// Reads a decoder to its end, never holding more than `limit` bytes and one more to see that there are more.
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
        // Logs compress five- to tenfold; from there on the buffer doubles. Beyond half of the limit it is as large as
        // the limit at once: to grow again it would need more room than two messages of the largest size have.
        let mut wanted = compressed_len.saturating_mul(6).max(MIN_STEP);
        let mut decoder = decoder.take(most as u64);
        loop {
            work.check()?;
            let capacity = if wanted > most / 2 { most } else { wanted };
            // The old buffer and the new one are there together for a moment.
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

/// Bytes that are compressed between two questions whether to go on.
const PIECE: usize = 256 * 1024;

fn write_parts(encoder: &mut impl Write, message: &Rope, work: &Work) -> io::Result<()> {
    for piece in message.parts().iter().flat_map(|part| part.chunks(PIECE)) {
        work.check().map_err(io::Error::other)?;
        encoder.write_all(piece)?;
    }
    Ok(())
}

/// A buffer that takes room before it grows.
struct Growing {
    bytes: Vec<u8>,
    room: Held,
    stopped: Option<Stop>,
}

impl Growing {
    fn reserve(&mut self, more: usize) -> Result<(), Stop> {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).max(MIN_STEP);
            // The old buffer and the new one are there together for a moment.
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
    use crate::pipeline::Room;
    use proptest::prelude::*;

    proptest! {
        /// Law: what was deflated inflates to itself, whatever the parts, at any limit from its own length on.
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

    /// Room of which the most that was held is remembered.
    #[derive(Debug)]
    struct Measured {
        total: usize,
        /// Now, and at most.
        held: Mutex<(usize, usize)>,
    }

    impl Room for Measured {
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

    /// A bomb of 100 MB of zeros: inflation stops near the limit, and has asked for no more room than a buffer of the
    /// limit and the one before it take.
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

    /// Guarantee: every message within the limit inflates in twice the limit less what it has on the wire, which is what
    /// the smallest room leaves it, and holds no more than its length in the end.
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

    /// A frame may ask for a window of its own choice before it has sent a byte; more than the bound is refused.
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
        assert!(matches!(result, Err(InflateError::Stopped(Stop::NoRoomEver))), "{result:?}");
    }

    /// Truncated streams and bytes behind the end are corruption, for both encodings.
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
