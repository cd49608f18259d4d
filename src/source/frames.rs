//! Reads the gRPC frames of a request body one after the other: first the header, so that memory is taken before the
//! message is read. A unary call has one frame, a stream any number.

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;

use super::Limits;
use super::body::BodyReader;
use super::outcome::RequestFailure;
use crate::net::grpc::{Encoding, FrameHeader, HEADER_LEN};

/// A body that is read frame by frame.
pub struct Frames<'a, B> {
    body: BodyReader<'a, B>,
    /// The compression of messages that are marked as compressed.
    encoding: Encoding,
    /// Bytes that were received and not consumed.
    rest: Bytes,
}

impl<'a, B> Frames<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Starts at the beginning of a body. `encoding` is the request's, in which its messages may be compressed.
    pub fn new(body: B, encoding: Encoding, limits: &'a Limits) -> Frames<'a, B> {
        Frames { body: BodyReader::new(body, limits), encoding, rest: Bytes::new() }
    }

    /// Waits without a timeout until a frame begins; returns `false` if the body ends here. The timeouts of the frame
    /// start then.
    ///
    /// # Errors
    /// The client disconnected.
    pub async fn begins(&mut self) -> Result<bool, RequestFailure> {
        while self.rest.is_empty() {
            match self.body.next_at_leisure().await? {
                Some(data) => self.rest = data,
                None => return Ok(false),
            }
        }
        self.body.restart();
        Ok(true)
    }

    /// Reads the header of a frame.
    ///
    /// # Errors
    /// The header is incomplete, unknown to gRPC, or does not arrive in time.
    pub async fn header(&mut self) -> Result<FrameHeader, RequestFailure> {
        let mut header = BytesMut::with_capacity(HEADER_LEN);
        loop {
            let missing = (HEADER_LEN - header.len()).min(self.rest.len());
            header.extend_from_slice(&self.rest.split_to(missing));
            if header.len() == HEADER_LEN {
                break;
            }
            self.rest = self.body.next().await?.ok_or_else(|| {
                let found = header.len();
                let text = format!("the request ends after {found} of the {HEADER_LEN} bytes of its gRPC header");
                RequestFailure::invalid(text)
            })?;
        }
        let header = FrameHeader::read(std::array::from_fn(|_| header.get_u8()));
        header.map_err(|bad| RequestFailure::invalid(bad.to_string()))
    }

    /// Returns the compression of the message that follows a header.
    ///
    /// # Errors
    /// The message is marked as compressed in a request that does not name a compression.
    pub fn encoding(&self, header: FrameHeader) -> Result<Encoding, RequestFailure> {
        match (header.compressed, self.encoding) {
            (true, Encoding::Identity) => {
                let text = "the message is marked as compressed, but the request has no `grpc-encoding`";
                Err(RequestFailure::invalid(text))
            }
            (true, encoding) => Ok(encoding),
            (false, _) => Ok(Encoding::Identity),
        }
    }

    /// Reads the message of a unary call: `len` bytes, and nothing after them.
    ///
    /// # Errors
    /// The body is longer or shorter, does not arrive in time, or the client disconnected.
    pub async fn only(mut self, len: usize) -> Result<Bytes, RequestFailure> {
        self.body.exactly(len, self.rest).await
    }

    /// Reads the next `len` bytes; they are not copied when they arrived in one piece. The caller must have taken
    /// memory for them.
    ///
    /// # Errors
    /// The body ends early, does not arrive in time, or the client disconnected.
    pub async fn message(&mut self, len: usize) -> Result<Bytes, RequestFailure> {
        let mut joined = BytesMut::new();
        loop {
            let missing = len - joined.len();
            if self.rest.len() >= missing && joined.is_empty() {
                return Ok(self.rest.split_to(missing));
            }
            // Memory was taken, so the allocation may be as large as the header announces.
            joined.reserve(missing);
            joined.extend_from_slice(&self.rest.split_to(missing.min(self.rest.len())));
            if joined.len() == len {
                return Ok(joined.freeze());
            }
            self.rest = self.body.next().await?.ok_or_else(|| cut_short(joined.len(), len))?;
        }
    }

    /// Skips the next `len` bytes as they arrive, and returns the first `keep` of them.
    ///
    /// # Errors
    /// The same as [`Frames::message`].
    pub async fn skip(&mut self, len: usize, keep: usize) -> Result<Bytes, RequestFailure> {
        let mut kept = BytesMut::new();
        let mut left = len;
        loop {
            let passed = self.rest.split_to(left.min(self.rest.len()));
            left -= passed.len();
            kept.extend_from_slice(&passed[..passed.len().min(keep - kept.len())]);
            if left == 0 {
                return Ok(kept.freeze());
            }
            self.rest = self.body.next().await?.ok_or_else(|| cut_short(len - left, len))?;
        }
    }
}

fn cut_short(found: usize, len: usize) -> RequestFailure {
    RequestFailure::invalid(format!("the request ends after {found} of the {len} bytes of its message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use proptest::prelude::*;
    use std::convert::Infallible;

    proptest! {
        /// Law: however data frames cut the wire, the messages are the same, and skipped messages leave no trace.
        #[test]
        fn cuts_do_not_matter(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..8),
            cuts in prop::collection::vec(1usize..30, 1..10),
        ) {
            let mut wire = Vec::new();
            for (message, _) in &messages {
                wire.extend(FrameHeader { compressed: false, len: message.len() as u32 }.write());
                wire.extend(message);
            }
            let mut wire = Bytes::from(wire);
            let mut data = Vec::new();
            for cut in cuts.iter().cycle() {
                if wire.is_empty() {
                    break;
                }
                data.push(Ok::<_, Infallible>(Frame::data(wire.split_to((*cut).min(wire.len())))));
            }
            let limits = Limits::default();
            let mut frames = Frames::new(StreamBody::new(stream::iter(data)), Encoding::Identity, &limits);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                for (message, is_read) in messages {
                    assert!(frames.begins().await.unwrap());
                    let header = frames.header().await.unwrap();
                    assert_eq!(header.len as usize, message.len());
                    if is_read {
                        assert_eq!(frames.message(message.len()).await.unwrap(), message);
                    } else {
                        assert_eq!(frames.skip(message.len(), 3).await.unwrap(), message[..message.len().min(3)]);
                    }
                }
                assert!(!frames.begins().await.unwrap());
            });
        }
    }
}
