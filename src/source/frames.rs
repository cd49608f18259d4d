//! gRPC's frames in a request's body, one after the other: the header first, so that there is room before the message
//! is read. A unary call has one of them, a stream any number.

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;

use super::Limits;
use super::body::Arriving;
use super::outcome::NotTaken;
use crate::net::grpc::{Encoding, FrameHeader, HEADER_LEN};

/// A body that is read frame by frame.
pub struct Frames<'a, B> {
    body: Arriving<'a, B>,
    /// How compressed messages are compressed.
    encoding: Encoding,
    /// What arrived and was not taken.
    rest: Bytes,
}

impl<'a, B> Frames<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// At the start of a body. `encoding` is the request's, in which its messages may be compressed.
    pub fn new(body: B, encoding: Encoding, limits: &'a Limits) -> Frames<'a, B> {
        Frames { body: Arriving::new(body, limits), encoding, rest: Bytes::new() }
    }

    /// Waits for as long as it takes until a frame begins; `false`: the body ends here. The time for the frame begins
    /// then.
    ///
    /// # Errors
    /// The client went away.
    pub async fn begins(&mut self) -> Result<bool, NotTaken> {
        while self.rest.is_empty() {
            match self.body.next_at_leisure().await? {
                Some(data) => self.rest = data,
                None => return Ok(false),
            }
        }
        self.body.restart();
        Ok(true)
    }

    /// The header of a frame.
    ///
    /// # Errors
    /// Half a header, one that gRPC does not know, or it does not come in time.
    pub async fn header(&mut self) -> Result<FrameHeader, NotTaken> {
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
                NotTaken::invalid(text)
            })?;
        }
        let header = FrameHeader::read(std::array::from_fn(|_| header.get_u8()));
        header.map_err(|bad| NotTaken::invalid(bad.to_string()))
    }

    /// How the message behind a header is compressed.
    ///
    /// # Errors
    /// It is marked as compressed in a request that does not say how.
    pub fn encoding(&self, header: FrameHeader) -> Result<Encoding, NotTaken> {
        match (header.compressed, self.encoding) {
            (true, Encoding::Identity) => {
                let text = "the message is marked as compressed, but the request has no `grpc-encoding`";
                Err(NotTaken::invalid(text))
            }
            (true, encoding) => Ok(encoding),
            (false, _) => Ok(Encoding::Identity),
        }
    }

    /// The message of a unary call: `len` bytes, and nothing behind them.
    ///
    /// # Errors
    /// There are more or fewer, they do not come in time, or the client went away.
    pub async fn only(mut self, len: usize) -> Result<Bytes, NotTaken> {
        self.body.exactly(len, self.rest).await
    }

    /// The next `len` bytes; not copied when they came in one piece. There must be room for them already.
    ///
    /// # Errors
    /// The body ends before, they do not come in time, or the client went away.
    pub async fn message(&mut self, len: usize) -> Result<Bytes, NotTaken> {
        let mut joined = BytesMut::new();
        loop {
            let missing = len - joined.len();
            if self.rest.len() >= missing && joined.is_empty() {
                return Ok(self.rest.split_to(missing));
            }
            // The room was granted, so the allocation may be as large as the header says.
            joined.reserve(missing);
            joined.extend_from_slice(&self.rest.split_to(missing.min(self.rest.len())));
            if joined.len() == len {
                return Ok(joined.freeze());
            }
            self.rest = self.body.next().await?.ok_or_else(|| cut_short(joined.len(), len))?;
        }
    }

    /// Steps over the next `len` bytes as they arrive, and keeps the first `keep` of them.
    ///
    /// # Errors
    /// As [`Frames::message`].
    pub async fn skip(&mut self, len: usize, keep: usize) -> Result<Bytes, NotTaken> {
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

fn cut_short(found: usize, len: usize) -> NotTaken {
    NotTaken::invalid(format!("the request ends after {found} of the {len} bytes of its message"))
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
        /// Law: however data frames cut the wire, the messages are the same, and those stepped over leave no trace.
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
