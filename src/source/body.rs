//! Reads the body of a request in time, and only as many bytes as there is memory for.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::Limits;
use super::admission::{MessageMemory, MessagePermit};
use super::outcome::RequestFailure;
use crate::net::grpc::Encoding;
use crate::pipeline::{BatchRefusal, Work};

/// Step in bytes in which memory is taken for a body of unknown length, at least.
const STEP: usize = 64 << 10;

/// A message as it was received, with the memory it holds.
#[derive(Debug)]
pub struct Message {
    /// The encoding of the message below its compression.
    pub syntax: Syntax,
    /// How `bytes` are compressed.
    pub encoding: Encoding,
    /// The message; not copied when it arrived in one piece.
    pub bytes: Bytes,
    /// The memory permit for `bytes`.
    pub admission: Arc<MessagePermit>,
}

/// The encoding of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// The binary encoding of its format.
    Binary,
    /// OTLP's logs as JSON.
    OtlpJson,
}

/// A request body that is being received.
pub struct BodyReader<'a, B> {
    body: B,
    limits: &'a Limits,
    /// When reading the body began.
    since: Instant,
    /// Bytes received so far.
    arrived: u64,
    /// Whether any of the body was requested from the client.
    begun: bool,
    /// Whether the client disconnected or is too slow.
    lost: bool,
}

impl<'a, B> BodyReader<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Starts the timeouts of the body.
    pub fn new(body: B, limits: &'a Limits) -> BodyReader<'a, B> {
        BodyReader { body, limits, since: Instant::now(), arrived: 0, begun: false, lost: false }
    }

    /// Restarts the timeouts for the next message of a body that holds several.
    pub fn restart(&mut self) {
        (self.since, self.arrived) = (Instant::now(), 0);
    }

    /// Returns the next bytes, or `None` at the end. Trailers of a request are ignored.
    ///
    /// # Errors
    /// The bytes do not arrive in time, or the client disconnected.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RequestFailure> {
        let now = Instant::now();
        let (wait, late) = [
            (self.since + self.limits.receive_timeout, BodyTimeout::Whole),
            (now + self.limits.stall_timeout, BodyTimeout::Stalled),
            (self.since + self.time_for_arrived(), BodyTimeout::Slow),
        ]
        .into_iter()
        .min_by_key(|(until, _)| *until)
        .map_or((Duration::ZERO, BodyTimeout::Whole), |(until, late)| (until.saturating_duration_since(now), late));
        match tokio::time::timeout(wait, self.next_at_leisure()).await {
            Ok(next) => {
                self.arrived += next.as_ref().ok().and_then(Option::as_ref).map_or(0, |data| data.len() as u64);
                next
            }
            Err(_) => {
                self.lost = true;
                Err(self.late(late))
            }
        }
    }

    /// The time that the received bytes may take at the least rate, in addition to the time that every body has.
    fn time_for_arrived(&self) -> Duration {
        let rate = self.limits.min_upload_rate.max(1);
        self.limits.stall_timeout + Duration::from_millis(self.arrived.saturating_mul(1000) / rate)
    }

    /// Returns the next bytes without any timeout: a stream that holds no memory may idle.
    ///
    /// # Errors
    /// The client disconnected.
    pub async fn next_at_leisure(&mut self) -> Result<Option<Bytes>, RequestFailure> {
        self.begun = true;
        loop {
            if self.body.is_end_stream() {
                return Ok(None);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(_)) => {
                    self.lost = true;
                    return Err(RequestFailure::Gone);
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Returns exactly `len` bytes, which must reach to the end of the body; `first` are the first of them. The caller
    /// must have taken memory for them.
    ///
    /// # Errors
    /// The body is longer or shorter, does not arrive in time, or the client disconnected.
    pub async fn exactly(&mut self, len: usize, first: Bytes) -> Result<Bytes, RequestFailure> {
        let mut whole = Bytes::new();
        let mut joined = BytesMut::new();
        let mut next = first;
        loop {
            let found = whole.len() + joined.len() + next.len();
            if found > len {
                return Err(RequestFailure::invalid(format!("the request continues after its message of {len} bytes")));
            }
            if next.len() == len {
                whole = next;
            } else if !next.is_empty() {
                // Memory was taken, so the allocation may be as large as the header announces.
                joined.reserve(len - joined.len());
                joined.extend_from_slice(&next);
            }
            match self.next().await? {
                Some(data) => next = data,
                None if found < len => {
                    let text = format!("the request ends after {found} of the {len} bytes of its message");
                    return Err(RequestFailure::invalid(text));
                }
                None if whole.is_empty() => return Ok(joined.freeze()),
                None => return Ok(whole),
            }
        }
    }

    /// Returns all bytes up to the end. Memory is taken in advance if the length is known, otherwise in steps.
    ///
    /// # Errors
    /// The body is longer than a message may be, there is no memory, it does not arrive in time, or the client
    /// disconnected.
    pub async fn all(&mut self, in_flight: &MessageMemory) -> Result<(Bytes, Arc<MessagePermit>), RequestFailure> {
        if let Some(len) = self.body.size_hint().exact() {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let admission = admit(len, self.limits, in_flight).await?;
            return Ok((self.exactly(len, Bytes::new()).await?, Arc::new(admission)));
        }
        let limit = self.limits.max_request_bytes;
        let mut granted = STEP.min(limit);
        let admission = Arc::new(admit(granted, self.limits, in_flight).await?);
        let mut joined = Vec::with_capacity(granted);
        while let Some(data) = self.next().await? {
            let len = joined.len() + data.len();
            if len > limit {
                return Err(RequestFailure::TooLarge(format!(
                    "the message has more than {limit} bytes: send smaller batches, or raise `max_request_bytes`"
                )));
            }
            if len > granted {
                let wanted = granted.saturating_mul(2).clamp(len, limit);
                let work = Work::within(admission.clone());
                // The old and the new buffer exist at the same time for a moment.
                let old = work.hold(joined.capacity()).map_err(BatchRefusal::from)?;
                work.take(wanted - granted).map_err(BatchRefusal::from)?;
                granted = wanted;
                joined.reserve_exact(granted - joined.len());
                drop(old);
            }
            joined.extend_from_slice(&data);
        }
        Ok((Bytes::from(joined), admission))
    }

    /// Reads and drops the rest of the body, because some clients read an answer only after they have sent everything.
    /// Does nothing when the client disconnected or is too slow, when the body is far longer than a message may be, or
    /// when the client waits for `100 Continue` and did not get it; `unasked` means that the client does not wait for
    /// it.
    pub async fn discard(&mut self, unasked: bool) {
        let mut left = self.limits.max_request_bytes.saturating_mul(4);
        while (self.begun || unasked) && !self.lost && left > 0 {
            let Ok(Some(data)) = self.next().await else { return };
            left = left.saturating_sub(data.len());
        }
    }

    /// Returns the error for a client that is too slow.
    fn late(&self, late: BodyTimeout) -> RequestFailure {
        let text = match late {
            BodyTimeout::Whole => {
                format!(
                    "the request body did not arrive completely within {} ms",
                    self.limits.receive_timeout.as_millis()
                )
            }
            BodyTimeout::Stalled => {
                format!("the request body stalled for {} ms", self.limits.stall_timeout.as_millis())
            }
            BodyTimeout::Slow => {
                let rate = self.limits.min_upload_rate;
                format!(
                    "the request body arrives at less than {rate} bytes per second: send faster, or lower `limits.min_upload_rate`"
                )
            }
        };
        BatchRefusal::Unavailable(text).into()
    }
}

/// The timeout that a body exceeded.
#[derive(Clone, Copy)]
enum BodyTimeout {
    Whole,
    Stalled,
    Slow,
}

/// Takes memory for a message of `len` bytes.
///
/// # Errors
/// The message is longer than the limit, or there is no memory.
pub async fn admit(len: usize, limits: &Limits, in_flight: &MessageMemory) -> Result<MessagePermit, RequestFailure> {
    let limit = limits.max_request_bytes;
    if len > limit {
        return Err(RequestFailure::TooLarge(format!(
            "the message has {len} bytes, more than {limit}: send smaller batches, or raise `max_request_bytes`"
        )));
    }
    in_flight.admit(len, limits.admission_wait).await.ok_or_else(|| no_room(limits))
}

/// Returns the error for a request that got no memory.
pub fn no_room(limits: &Limits) -> RequestFailure {
    let limit = limits.in_flight_bytes;
    let text = format!("more than {limit} bytes are in flight: retry later, or raise `limits.in_flight_bytes`");
    BatchRefusal::ResourceExhausted(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    /// Scenario: a body arrives in one piece per second. Guarantee: at the least rate it is read to its end; below it,
    /// it is refused with a retryable error, after the time that every body has.
    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_least_rate() {
        let limits = Limits { min_upload_rate: 100, ..Limits::default() };
        for (piece, is_slow) in [(100, false), (50, true)] {
            let pieces = stream::iter(0..40).then(move |_| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![7; piece])))
            });
            let body = StreamBody::new(Box::pin(pieces));
            let begun = Instant::now();
            let read = BodyReader::new(body, &limits).exactly(40 * piece, Bytes::new()).await;
            let RequestFailure::Refused(BatchRefusal::Unavailable(text)) = (match read {
                Ok(bytes) => {
                    assert!(!is_slow && bytes.len() == 4000);
                    continue;
                }
                Err(not_taken) => not_taken,
            }) else {
                panic!("another refusal")
            };
            assert!(is_slow && text.contains("min_upload_rate"), "{text}");
            // 10 s, and half a second for each second that passed.
            assert_eq!(begun.elapsed().as_secs(), 19);
        }
    }
}
