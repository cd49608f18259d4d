//! HTTP bodies of unary gRPC calls: a [`Rope`] with its five-byte header, and the short message that answers it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{Code, Status};
use super::{FrameHeader, HEADER_LEN};
use crate::encoding::Rope;

/// Parts shorter than this many bytes are joined with their neighbours: a separate data frame and I/O slice cost more
/// than the copy.
const JOIN_BELOW: usize = 1024;

/// A framed message as a request body. The parts of the rope are sent without a copy; only tiny neighbours are joined.
#[derive(Debug)]
pub struct RopeBody {
    frames: VecDeque<Bytes>,
    left: u64,
}

/// A message that does not fit the four length bytes of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {len} bytes does not fit a gRPC frame (4 GiB): split the batch")]
pub struct TooLong {
    /// Its length in bytes.
    pub len: usize,
}

impl RopeBody {
    /// Frames a message; `compressed` states that `message` is already compressed.
    ///
    /// # Errors
    /// The message is longer than 4 GiB.
    pub fn new(message: &Rope, compressed: bool) -> Result<RopeBody, TooLong> {
        let len = u32::try_from(message.len()).map_err(|_| TooLong { len: message.len() })?;
        Ok(RopeBody::behind(&FrameHeader { compressed, len }.write(), message))
    }

    /// Wraps a message without a frame, for HTTP without gRPC.
    pub fn unframed(message: &Rope) -> RopeBody {
        RopeBody::behind(&[], message)
    }

    fn behind(header: &[u8], message: &Rope) -> RopeBody {
        let mut frames = VecDeque::with_capacity(message.parts().len() + 1);
        let mut joined = BytesMut::from(header);
        for part in message.parts() {
            if part.len() < JOIN_BELOW {
                joined.extend_from_slice(part);
                continue;
            }
            if !joined.is_empty() {
                frames.push_back(joined.split().freeze());
            }
            frames.push_back(part.clone());
        }
        if !joined.is_empty() {
            frames.push_back(joined.freeze());
        }
        RopeBody { frames, left: (header.len() + message.len()) as u64 }
    }

    /// Bytes of memory that the body of a message takes in addition to the message: tiny parts are copied.
    pub fn copied(message: &Rope) -> usize {
        let is_tiny = |part: &&Bytes| part.len() < JOIN_BELOW;
        // A growing buffer has up to twice its bytes, and the previous buffer exists at the same time for a moment.
        let tiny: usize = message.parts().iter().filter(is_tiny).map(Bytes::len).sum();
        tiny * 3 + size_of_val(message.parts())
    }

    /// Returns the next part of the framed message, for bodies that hold several messages.
    pub fn next_part(&mut self) -> Option<Bytes> {
        let next = self.frames.pop_front();
        self.left = self.left.saturating_sub(next.as_ref().map_or(0, |part| part.len() as u64));
        next
    }
}

impl Body for RopeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next_part().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The body of an OK answer: a message, usually empty, and `grpc-status: 0`.
#[derive(Debug)]
pub enum UnaryBody {
    /// The message, with its header, is to be sent next.
    Message(Bytes),
    /// The trailers are to be sent next.
    Trailers,
    /// Everything was sent.
    Done,
}

impl UnaryBody {
    /// Frames a message. A message that does not fit a frame is left out: the status suffices.
    pub fn new(message: &[u8]) -> UnaryBody {
        match u32::try_from(message.len()) {
            Ok(len) if len > 0 => {
                let header = FrameHeader { compressed: false, len }.write();
                UnaryBody::Message(Bytes::from([header.as_slice(), message].concat()))
            }
            _ => UnaryBody::Message(Bytes::from_static(&[0; HEADER_LEN])),
        }
    }
}

impl Body for UnaryBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (frame, next) = match &mut *self {
            UnaryBody::Message(framed) => (Some(Frame::data(std::mem::take(framed))), UnaryBody::Trailers),
            UnaryBody::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                Status::new(Code::Ok, "").write(&mut trailers);
                (Some(Frame::trailers(trailers)), UnaryBody::Done)
            }
            UnaryBody::Done => (None, UnaryBody::Done),
        };
        *self = next;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, UnaryBody::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    fn rope(parts: &[usize]) -> Rope {
        let mut rope = Rope::default();
        for (index, len) in parts.iter().enumerate() {
            rope.push(Bytes::from(vec![index as u8; *len]));
        }
        rope
    }

    proptest! {
        /// Law: the body is the header followed by the rope's bytes, and announces its size correctly.
        #[test]
        fn body_is_header_and_message(parts in prop::collection::vec(0usize..3000, 0..12)) {
            let rope = rope(&parts);
            let body = RopeBody::new(&rope, false).unwrap();
            let announced = body.size_hint().exact();
            let bytes = futures_util::FutureExt::now_or_never(body.collect()).unwrap().unwrap().to_bytes();
            prop_assert_eq!(announced, Some(bytes.len() as u64));
            let header = FrameHeader { compressed: false, len: rope.len() as u32 };
            prop_assert_eq!(&bytes[..HEADER_LEN], &header.write());
            prop_assert_eq!(&bytes[HEADER_LEN..], &rope.to_bytes()[..]);
        }
    }

    #[test]
    fn large_parts_are_not_copied_and_tiny_neighbours_are_joined() {
        let rope = rope(&[5000, 10, 20, 6000, 7]);
        let body = RopeBody::new(&rope, true).unwrap();
        let lengths: Vec<usize> = body.frames.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [5, 5000, 30, 6000, 7]);
        assert_eq!(body.frames[1].as_ptr(), rope.parts()[0].as_ptr());
    }
}
