//! Reads the one message of a unary gRPC request: first its header, then memory is taken, then its bytes are read.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use super::Limits;
use super::admission::MessageMemory;
use super::body::{Message, Syntax, admit};
use super::frames::Frames;
use super::outcome::RequestFailure;
use crate::net::grpc::Encoding;

/// Reads the message; `encoding` is the compression that the request names.
///
/// # Errors
/// The body is not exactly one message within the limits, there is no memory, or the client disconnected.
pub async fn read<B>(
    body: B,
    encoding: Encoding,
    limits: &Limits,
    in_flight: &MessageMemory,
) -> Result<Message, RequestFailure>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut frames = Frames::new(body, encoding, limits);
    let header = frames.header().await?;
    let encoding = frames.encoding(header)?;
    let len = header.len as usize;
    let admission = admit(len, limits, in_flight).await?;
    let bytes = frames.only(len).await?;
    Ok(Message { syntax: Syntax::Binary, encoding, bytes, admission: Arc::new(admission) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::grpc::FrameHeader;
    use crate::pipeline::BatchRefusal;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use proptest::prelude::*;
    use std::io;
    use std::time::Duration;

    type Wire = Vec<io::Result<Frame<Bytes>>>;

    async fn read_frames(frames: Wire, limits: &Limits) -> Result<Message, RequestFailure> {
        let body = StreamBody::new(stream::iter(frames));
        read(body, Encoding::Identity, limits, &MessageMemory::new(limits.in_flight_bytes, 0)).await
    }

    fn framed(message: &[u8], cuts: &[usize]) -> Wire {
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

    /// Wrong lengths, an unknown flag and too many bytes are INVALID_ARGUMENT, and the text names the fault.
    #[tokio::test]
    async fn what_is_not_one_message_is_invalid() {
        let limits = Limits { max_request_bytes: 100, ..Limits::default() };
        let data = |bytes: &[u8]| vec![Ok(Frame::data(Bytes::copy_from_slice(bytes)))];
        let cases: [(Wire, &str); 8] = [
            (vec![], "after 0 of the 5 bytes"),
            (data(&[0, 0, 0]), "after 3 of the 5 bytes"),
            (data(&[0, 0, 0, 0, 4, 1, 2]), "after 2 of the 4 bytes"),
            (data(&[0, 0, 0, 0, 1, 1, 2]), "after its message of 1"),
            (data(&[0, 0, 0, 0, 0, 1]), "after its message of 0"),
            (data(&[9, 0, 0, 0, 0]), "gRPC message is 9"),
            (data(&[1, 0, 0, 0, 1, 1]), "has no `grpc-encoding`"),
            (data(&[0, 0, 0, 0, 101]), "101 bytes, more than 100"),
        ];
        for (frames, expected) in cases {
            match read_frames(frames, &limits).await {
                Err(RequestFailure::Refused(BatchRefusal::InvalidArgument(text)) | RequestFailure::TooLarge(text)) => {
                    assert!(text.contains(expected), "{text}");
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_body_error_means_that_the_client_is_gone() {
        let mut frames = framed(&[7; 30], &[10]);
        frames.pop();
        frames.push(Err(io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(read_frames(frames, &Limits::default()).await, Err(RequestFailure::Gone)));
    }

    fn refusal(result: Result<Message, RequestFailure>) -> String {
        match result {
            Err(RequestFailure::Refused(BatchRefusal::Unavailable(text))) => text,
            other => panic!("{other:?}"),
        }
    }

    /// A client that sends no faster than the least rate does not hold its memory forever.
    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_unavailable() {
        let start = tokio::time::Instant::now();
        let drip = stream::unfold(0, |at: u32| async move {
            tokio::time::sleep(Duration::from_secs(u64::from(at.min(1)) * 9)).await;
            let bytes = if at == 0 {
                framed(&[7; 3_000_000], &[10])[0].as_ref().unwrap().data_ref().unwrap().clone()
            } else {
                Bytes::from(vec![7; 10 << 10])
            };
            Some((Ok::<_, io::Error>(Frame::data(bytes)), at + 1))
        });
        let limits = Limits::default();
        let in_flight = MessageMemory::new(limits.in_flight_bytes, 0);
        let result = read(Box::pin(StreamBody::new(drip)), Encoding::Identity, &limits, &in_flight).await;
        let text = refusal(result);
        assert!(text.contains("not arrive completely") && text.contains("60000 ms"), "{text}");
        assert_eq!(start.elapsed(), limits.receive_timeout);
        assert!(in_flight.admit(limits.in_flight_bytes, Duration::ZERO).await.is_some(), "its room is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_is_unavailable() {
        let start = tokio::time::Instant::now();
        let frames = stream::iter(framed(&[7; 30], &[10]).into_iter().take(1));
        let body = StreamBody::new(futures_util::StreamExt::chain(frames, stream::pending()));
        let limits = Limits::default();
        let result = read(body, Encoding::Identity, &limits, &MessageMemory::new(limits.in_flight_bytes, 0)).await;
        let text = refusal(result);
        assert!(text.contains("stalled") && text.contains("10000 ms"), "{text}");
        assert_eq!(start.elapsed(), limits.stall_timeout);
    }
}
