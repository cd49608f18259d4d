//! Reads the messages of a gRPC request, the one of a unary call or one after the other: header first, then room for
//! it, then its bytes.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::Limits;
use super::admission::{Admission, InFlight};
use crate::delivery::Refusal;
use crate::grpc::{FrameHeader, HEADER_LEN};

/// What a client did that sent nothing for too long.
const STALLED: &str = "stalled for";

/// A message as it was on the wire, with the room it holds.
#[derive(Debug)]
pub struct Message {
    /// Whether `bytes` are compressed with the request's encoding.
    pub compressed: bool,
    /// The message without its header; not copied when it came in one data frame.
    pub bytes: Bytes,
    /// Room for `bytes`.
    pub admission: Admission,
}

/// Why there is no message.
#[derive(Debug)]
pub enum Unread {
    /// The request is refused.
    Refused(Refusal),
    /// The client went away in the middle: nobody is there to be answered.
    Gone,
}

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Unread {
        Unread::Refused(refusal)
    }
}

/// Reads the one message of a unary request.
///
/// # Errors
/// What the wire holds is not exactly one message within the limits, there is no room, or the client went away.
pub async fn read<B>(body: B, limits: &Limits, in_flight: &InFlight) -> Result<Message, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut frames = Frames::new(body);
    let Some(header) = frames.header(limits, Some(limits.stall_timeout)).await? else {
        return Err(invalid(format!("the request ends after 0 of the {HEADER_LEN} bytes of its gRPC header")));
    };
    let len = header.len as usize;
    if len > limits.max_request_bytes {
        return Err(too_large(len, limits).into());
    }
    let admission = in_flight.admit(len, limits.admission_wait).await.ok_or_else(|| no_room(limits))?;
    let deadline = Instant::now() + limits.receive_timeout;
    let bytes = frames.bytes(len, limits, deadline).await?;
    frames.end(len, limits, deadline).await?;
    Ok(Message { compressed: header.compressed, bytes, admission })
}

/// Why a message of `len` bytes is not read.
pub fn too_large(len: usize, limits: &Limits) -> Refusal {
    let limit = limits.max_request_bytes;
    Refusal::InvalidArgument(format!(
        "the message has {len} bytes, more than {limit}: send smaller batches, or raise `max_request_bytes`"
    ))
}

/// Why a message is not read now.
pub fn no_room(limits: &Limits) -> Refusal {
    Refusal::ResourceExhausted(format!(
        "more than {} bytes are in flight: retry later, or raise `limits.in_flight_bytes`",
        limits.in_flight_bytes
    ))
}

/// The messages of a request's body, read one after the other; each step says what the next one may cost.
pub struct Frames<B> {
    body: B,
    /// What arrived and was not taken.
    rest: Bytes,
}

impl<B: Body<Data = Bytes> + Unpin> Frames<B> {
    /// A reader at the start of a body.
    pub fn new(body: B) -> Frames<B> {
        Frames { body, rest: Bytes::new() }
    }

    /// The header of the next message, `None` at the end of the body. `first` is how long its first byte may take;
    /// each further one may take the time of a stall.
    ///
    /// # Errors
    /// Half a header, one that gRPC does not know, or a client that stalls or is gone.
    pub async fn header(&mut self, limits: &Limits, first: Option<Duration>) -> Result<Option<FrameHeader>, Unread> {
        let stalled = || format!("the request's body {STALLED} {} ms", limits.stall_timeout.as_millis());
        let mut header = BytesMut::with_capacity(HEADER_LEN);
        loop {
            let missing = (HEADER_LEN - header.len()).min(self.rest.len());
            header.extend_from_slice(&self.rest.split_to(missing));
            if header.len() == HEADER_LEN {
                break;
            }
            let patience = if header.is_empty() { first } else { Some(limits.stall_timeout) };
            match next_data(&mut self.body, patience, stalled).await? {
                Some(data) => self.rest = data,
                None if header.is_empty() => return Ok(None),
                None => {
                    let found = header.len();
                    return Err(invalid(format!(
                        "the request ends after {found} of the {HEADER_LEN} bytes of its gRPC header"
                    )));
                }
            }
        }
        let header = FrameHeader::read(std::array::from_fn(|_| header.get_u8()));
        header.map(Some).map_err(|bad| invalid(bad.to_string()))
    }

    /// The next `len` bytes; not copied when they came in one data frame. Room for them was granted.
    ///
    /// # Errors
    /// The body ends before, or the client stalls, is too slow or gone.
    pub async fn bytes(&mut self, len: usize, limits: &Limits, deadline: Instant) -> Result<Bytes, Unread> {
        let mut joined = BytesMut::new();
        loop {
            let missing = len - joined.len();
            if self.rest.len() >= missing {
                let last = self.rest.split_to(missing);
                if joined.is_empty() {
                    return Ok(last);
                }
                joined.extend_from_slice(&last);
                return Ok(joined.freeze());
            }
            if !self.rest.is_empty() {
                // The room was granted, so the allocation may be as large as the header says.
                joined.reserve(missing);
                joined.extend_from_slice(&self.rest);
                self.rest = Bytes::new();
            }
            match self.more(limits, deadline).await? {
                Some(data) => self.rest = data,
                None => return Err(cut_short(joined.len(), len)),
            }
        }
    }

    /// Steps over the next `len` bytes as they arrive, and keeps the first `keep` of them.
    ///
    /// # Errors
    /// As [`Frames::bytes`].
    pub async fn skip(&mut self, len: usize, keep: usize, limits: &Limits, deadline: Instant) -> Result<Bytes, Unread> {
        let mut kept = BytesMut::new();
        let mut left = len;
        loop {
            let passed = self.rest.split_to(left.min(self.rest.len()));
            left -= passed.len();
            kept.extend_from_slice(&passed[..passed.len().min(keep - kept.len())]);
            if left == 0 {
                return Ok(kept.freeze());
            }
            match self.more(limits, deadline).await? {
                Some(data) => self.rest = data,
                None => return Err(cut_short(len - left, len)),
            }
        }
    }

    /// Sees to it that nothing follows the one message of a unary request, which had `len` bytes.
    async fn end(&mut self, len: usize, limits: &Limits, deadline: Instant) -> Result<(), Unread> {
        while self.rest.is_empty() {
            match self.more(limits, deadline).await? {
                Some(data) => self.rest = data,
                None => return Ok(()),
            }
        }
        Err(invalid(format!("the request has bytes behind its message of {len} bytes")))
    }

    /// The next data frame inside a message.
    async fn more(&mut self, limits: &Limits, deadline: Instant) -> Result<Option<Bytes>, Unread> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (limit, complaint) = match left < limits.stall_timeout {
            true => (limits.receive_timeout, "did not arrive whole within"),
            false => (limits.stall_timeout, STALLED),
        };
        let late = || format!("the request's body {complaint} {} ms", limit.as_millis());
        next_data(&mut self.body, Some(left.min(limits.stall_timeout)), late).await
    }
}

/// The next data frame, or `None` at the end; `late` says why there is none when it does not come within `timeout`.
/// Trailers of a request mean nothing in gRPC.
async fn next_data<B>(
    body: &mut B,
    timeout: Option<Duration>,
    late: impl Fn() -> String,
) -> Result<Option<Bytes>, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        if body.is_end_stream() {
            return Ok(None);
        }
        let next = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, body.frame()).await,
            None => Ok(body.frame().await),
        };
        match next {
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Unread::Gone),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Err(_) => return Err(Refusal::Unavailable(late()).into()),
        }
    }
}

fn cut_short(found: usize, len: usize) -> Unread {
    invalid(format!("the request ends after {found} of the {len} bytes of its message"))
}

fn invalid(message: String) -> Unread {
    Refusal::InvalidArgument(message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use proptest::prelude::*;
    use std::io;

    type Frames = Vec<io::Result<Frame<Bytes>>>;

    async fn read_frames(frames: Frames, limits: &Limits) -> Result<Message, Unread> {
        let body = StreamBody::new(stream::iter(frames));
        read(body, limits, &InFlight::new(limits.in_flight_bytes, 0)).await
    }

    fn framed(message: &[u8], cuts: &[usize]) -> Frames {
        let header = FrameHeader { compressed: false, len: message.len() as u32 };
        let mut wire = Bytes::from([header.write().as_slice(), message].concat());
        let mut frames = Vec::new();
        for cut in cuts {
            frames.push(Ok(Frame::data(wire.split_to((*cut).min(wire.len())))));
        }
        frames.push(Ok(Frame::data(wire)));
        frames
    }

    proptest! {
        /// Law: however the data frames cut the wire, the message is the same.
        #[test]
        fn cuts_do_not_matter(message: Vec<u8>, cuts in prop::collection::vec(0usize..20, 0..10)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let read = runtime.block_on(read_frames(framed(&message, &cuts), &Limits::default())).unwrap();
            prop_assert_eq!(read.bytes, Bytes::from(message));
        }
    }

    #[tokio::test]
    async fn a_message_in_one_frame_is_not_copied() {
        for cuts in [&[][..], &[5]] {
            let frames = framed(&[7; 3000], cuts);
            let last = frames.last().unwrap().as_ref().unwrap().data_ref().unwrap().clone();
            let read = read_frames(frames, &Limits::default()).await.unwrap();
            assert_eq!(read.bytes.as_ptr(), last[last.len() - 3000..].as_ptr());
        }
    }

    /// Wrong lengths, an unknown flag and too many bytes are INVALID_ARGUMENT, and the text says what is wrong.
    #[tokio::test]
    async fn what_is_not_one_message_is_invalid() {
        let limits = Limits { max_request_bytes: 100, ..Limits::default() };
        let data = |bytes: &[u8]| vec![Ok(Frame::data(Bytes::copy_from_slice(bytes)))];
        let cases: [(Frames, &str); 7] = [
            (vec![], "after 0 of the 5 bytes"),
            (data(&[0, 0, 0]), "after 3 of the 5 bytes"),
            (data(&[0, 0, 0, 0, 4, 1, 2]), "after 2 of the 4 bytes"),
            (data(&[0, 0, 0, 0, 1, 1, 2]), "bytes behind its message of 1 bytes"),
            (data(&[0, 0, 0, 0, 0, 1]), "bytes behind its message of 0 bytes"),
            (data(&[9, 0, 0, 0, 0]), "flag of the gRPC message is 9"),
            (data(&[0, 0, 0, 0, 101]), "101 bytes, more than 100"),
        ];
        for (frames, expected) in cases {
            match read_frames(frames, &limits).await {
                Err(Unread::Refused(Refusal::InvalidArgument(text))) => assert!(text.contains(expected), "{text}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_body_error_means_that_the_client_is_gone() {
        let mut frames = framed(&[7; 30], &[10]);
        frames.pop();
        frames.push(Err(io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(read_frames(frames, &Limits::default()).await, Err(Unread::Gone)));
    }

    fn refusal(result: Result<Message, Unread>) -> String {
        match result {
            Err(Unread::Refused(Refusal::Unavailable(text))) => text,
            other => panic!("{other:?}"),
        }
    }

    /// A client that sends its header and then nothing, or a byte now and then, does not hold its room for ever.
    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_unavailable() {
        let start = tokio::time::Instant::now();
        let drip = stream::unfold(0, |at: u32| async move {
            tokio::time::sleep(Duration::from_secs(u64::from(at.min(1)) * 9)).await;
            let bytes = if at == 0 {
                framed(&[7; 3000], &[10])[0].as_ref().unwrap().data_ref().unwrap().clone()
            } else {
                Bytes::from_static(&[7])
            };
            Some((Ok::<_, io::Error>(Frame::data(bytes)), at + 1))
        });
        let limits = Limits::default();
        let in_flight = InFlight::new(limits.in_flight_bytes, 0);
        let result = read(Box::pin(StreamBody::new(drip)), &limits, &in_flight).await;
        assert_eq!(refusal(result), "the request's body did not arrive whole within 60000 ms");
        assert_eq!(start.elapsed(), limits.receive_timeout);
        assert!(in_flight.admit(limits.in_flight_bytes, Duration::ZERO).await.is_some(), "its room is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_is_unavailable() {
        let start = tokio::time::Instant::now();
        let frames = stream::iter(framed(&[7; 30], &[10]).into_iter().take(1));
        let body = StreamBody::new(futures_util::StreamExt::chain(frames, stream::pending()));
        let limits = Limits::default();
        let result = read(body, &limits, &InFlight::new(limits.in_flight_bytes, 0)).await;
        assert_eq!(refusal(result), "the request's body stalled for 10000 ms");
        assert_eq!(start.elapsed(), limits.stall_timeout);
    }
}
