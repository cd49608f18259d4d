//! Fetches one segment, resuming where an earlier fetch stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::BackoffBuilder;
use bytes::Bytes;
use metrics::counter;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::apply::Apply;
use super::background::Pace;
use super::cache::{CacheError, Part};
use super::job::{Shared, blocking, broken_down};
use super::link::{self, Road};
use super::refusal::Refusal;
use crate::intel::manifest::{Digest, SegmentRef};
use crate::proto::control::v1::control_client::ControlClient;
use crate::proto::control::v1::{Chunk, FetchSegmentRequest};
use crate::telemetry;

/// The buffer size before a write, in bytes.
const BUFFER: usize = 128 << 10;
/// The maximum message size; chunks have 64 KiB.
const MAX_MESSAGE: usize = 1 << 20;
/// The maximum number of consecutive attempts without progress.
const ATTEMPTS: usize = 5;
/// The maximum number of consecutive empty chunks.
const MAX_EMPTY: usize = 16;

/// The reason that a segment was not fetched.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    /// It was superseded.
    Cancelled,
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Failure {
        Failure::Refused(Refusal::Cache(error))
    }
}

enum End {
    Whole,
    /// The fetch is late, and continues on the program's other threads.
    Late,
    /// The received bytes are kept.
    Broke {
        cause: String,
        progressed: bool,
    },
    Failed(Failure),
}

/// Ensures that a segment is on disk, complete and verified.
pub(super) async fn ensure<A: Apply>(
    shared: &Shared<A>,
    road: &Arc<Road>,
    segment: SegmentRef,
    pace: &Pace,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let SegmentRef { digest, bytes } = segment;
    // Both slots may need this segment.
    let one = shared.one_at_a_time(digest);
    let _one = one.lock().await;
    let cache = shared.cache();
    if blocking(pace, move || cache.has(digest, bytes)).await? {
        return Ok(());
    }
    let delays = || {
        let (first, longest) = shared.timing.back_off;
        link::delays(first, longest)
    };
    let (mut delay, mut fruitless) = (delays().build(), 0);
    // A segment that is wrong although it was fetched from the beginning is not fetched again.
    let anew = AtomicBool::new(true);
    loop {
        if stop.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        match attempt(shared, road, segment, pace, stop, &anew).await {
            End::Whole => return Ok(()),
            End::Late => {}
            End::Failed(failure) => return Err(failure),
            End::Broke { cause, progressed } => {
                tracing::debug!(%digest, cause, "segment fetch interrupted");
                if progressed {
                    (delay, fruitless) = (delays().build(), 0);
                }
                fruitless += 1;
                if fruitless > ATTEMPTS {
                    return Err(Failure::Refused(Refusal::Fetch { digest, cause }));
                }
                let pause = delay.next().unwrap_or(Duration::from_secs(1));
                tokio::select! {
                    () = stop.cancelled() => return Err(Failure::Cancelled),
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

async fn attempt<A: Apply>(
    shared: &Shared<A>,
    road: &Arc<Road>,
    segment: SegmentRef,
    pace: &Pace,
    stop: &CancellationToken,
    anew: &AtomicBool,
) -> End {
    let SegmentRef { digest, bytes } = segment;
    let cache = shared.cache();
    let part = match blocking(pace, move || cache.part(digest, bytes)).await {
        Ok(part) => part,
        Err(error) => return End::Failed(error.into()),
    };
    let offset = part.written();
    let mut transfer = Transfer { part, buffer: Vec::new(), digest, came: 0, pace: pace.clone() };
    if transfer.part.missing() > 0 {
        let came = match pace.is_late() {
            false => receive(road.stream(), transfer, bytes, shared.timing.stall, Hurry::WhenLate, stop).await,
            true => receive_late(road, transfer, bytes, shared.timing.stall, stop).await,
        };
        let received = match came {
            Ok((kept, received)) => {
                transfer = kept;
                received
            }
            Err(error) => return End::Failed(error.into()),
        };
        match received {
            Received::All => {}
            Received::Late => return End::Late,
            Received::Cancelled => return End::Failed(Failure::Cancelled),
            Received::Broke(cause) => return End::Broke { cause, progressed: transfer.came > 0 },
            Received::Refused(refusal) => return End::Failed(Failure::Refused(refusal)),
            Received::Wrong(cause) => {
                let part = transfer.part;
                return End::Failed(match blocking(pace, move || part.delete()).await {
                    Ok(()) => Failure::Refused(Refusal::Digest { digest, cause }),
                    Err(error) => error.into(),
                });
            }
        }
    }
    let (cache, part) = (shared.cache(), transfer.part);
    match blocking(pace, move || cache.finish(part)).await {
        Ok(()) => End::Whole,
        // The wrong bytes may be those that were already on disk.
        Err(CacheError::Segment { cause, .. }) if offset > 0 && anew.swap(false, Ordering::Relaxed) => {
            End::Broke { cause, progressed: true }
        }
        Err(CacheError::Segment { cause, .. }) => End::Failed(Failure::Refused(Refusal::Digest { digest, cause })),
        Err(error) => End::Failed(error.into()),
    }
}

enum Received {
    All,
    /// Received some bytes, but the fetch is late.
    Late,
    Cancelled,
    Broke(String),
    Refused(Refusal),
    /// The response does not belong to this segment.
    Wrong(String),
}

/// Whether receiving stops when the reload is late.
#[derive(Clone, Copy, PartialEq)]
enum Hurry {
    WhenLate,
    /// The fetch already runs on the program's other threads.
    Already,
}

/// Returns the transfer with all received bytes written to disk.
async fn receive(
    channel: Channel,
    mut transfer: Transfer,
    bytes: u64,
    stall: Duration,
    hurry: Hurry,
    stop: &CancellationToken,
) -> Result<(Transfer, Received), CacheError> {
    let mut fetch = match Fetch::open(channel, &transfer, bytes, stall, stop).await {
        Ok(fetch) => fetch,
        Err(end) => return Ok((transfer, end)),
    };
    let end = loop {
        match fetch.next(stop).await {
            Ok(Some(data)) => transfer = transfer.take(&data).await?,
            Ok(None) => break Received::All,
            Err(end) => break end,
        }
        if hurry == Hurry::WhenLate && fetch.left > 0 && transfer.pace.is_late() {
            break Received::Late;
        }
    };
    Ok((transfer.write().await?, end))
}

/// Receives on the program's other threads.
async fn receive_late(
    road: &Arc<Road>,
    transfer: Transfer,
    bytes: u64,
    stall: Duration,
    stop: &CancellationToken,
) -> Result<(Transfer, Received), CacheError> {
    let (road, stop, pace) = (Arc::clone(road), stop.clone(), transfer.pace.clone());
    let received = pace.hurry(async move {
        let channel = tokio::select! {
            () = stop.cancelled() => return Ok((transfer, Received::Cancelled)),
            channel = road.late() => channel,
        };
        match channel {
            Ok(channel) => receive(channel, transfer, bytes, stall, Hurry::Already, &stop).await,
            Err(lost) => Ok((transfer, Received::Broke(lost.cause))),
        }
    });
    received.await.unwrap_or_else(|error| Err(broken_down(&error)))
}

struct Fetch {
    chunks: Streaming<Chunk>,
    digest: Digest,
    offset: u64,
    bytes: u64,
    left: u64,
    stall: Duration,
    is_first: bool,
    empty: usize,
}

impl Fetch {
    async fn open(
        channel: Channel,
        transfer: &Transfer,
        bytes: u64,
        stall: Duration,
        stop: &CancellationToken,
    ) -> Result<Fetch, Received> {
        let (digest, offset) = (transfer.digest, transfer.part.written());
        let mut client = ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let request = FetchSegmentRequest { digest: digest.0.to_vec().into(), offset };
        let opened = tokio::select! {
            () = stop.cancelled() => return Err(Received::Cancelled),
            opened = timeout(stall, client.fetch_segment(request)) => opened,
        };
        let chunks = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(of_status(digest, offset, &status)),
            Err(_) => return Err(Received::Broke(format!("no response within {stall:?}"))),
        };
        let left = transfer.part.missing();
        Ok(Fetch { chunks, digest, offset, bytes, left, stall, is_first: true, empty: 0 })
    }

    /// Returns the next bytes; `None` when all were received.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Bytes>, Received> {
        let Fetch { digest, offset, bytes, left, stall, .. } = *self;
        if left == 0 {
            return Ok(None);
        }
        let next = tokio::select! {
            () = stop.cancelled() => return Err(Received::Cancelled),
            next = timeout(stall, self.chunks.message()) => next,
        };
        let chunk = match next {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(Received::Broke(format!("the response ended {left} bytes too early"))),
            Ok(Err(status)) => return Err(of_status(digest, offset, &status)),
            Err(_) => return Err(Received::Broke(format!("no data within {stall:?}"))),
        };
        if std::mem::replace(&mut self.is_first, false) {
            if chunk.segment_bytes != bytes {
                let cause = format!("it has {} bytes, and the manifest says {bytes}", chunk.segment_bytes);
                return Err(Received::Wrong(cause));
            }
            if offset > 0 {
                counter!(telemetry::CONTROL_RESUMED_FETCHES_TOTAL).increment(1);
            }
        }
        let length = chunk.data.len() as u64;
        self.empty = if length == 0 { self.empty + 1 } else { 0 };
        if self.empty > MAX_EMPTY {
            return Err(Received::Broke("its chunks are empty".to_owned()));
        }
        if length > left {
            return Err(Received::Wrong(format!("it is longer than the {bytes} bytes in the manifest")));
        }
        self.left -= length;
        counter!(telemetry::CONTROL_FETCHED_BYTES_TOTAL).increment(length);
        Ok(Some(chunk.data))
    }
}

fn of_status(digest: Digest, offset: u64, status: &Status) -> Received {
    let cause = link::describe(status);
    match status.code() {
        // The partial segment on disk is not a prefix of the control plane's segment.
        Code::OutOfRange => Received::Wrong(format!("the control plane's segment ends before byte {offset}")),
        Code::NotFound
        | Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Unimplemented => Received::Refused(Refusal::Fetch { digest, cause }),
        _ => Received::Broke(cause),
    }
}

/// A partial segment with its unwritten bytes: writing and hashing run on blocking threads.
struct Transfer {
    part: Part,
    buffer: Vec<u8>,
    digest: Digest,
    /// Bytes received in this attempt.
    came: u64,
    pace: Pace,
}

impl Transfer {
    async fn take(mut self, data: &[u8]) -> Result<Transfer, CacheError> {
        self.buffer.extend_from_slice(data);
        self.came += data.len() as u64;
        if self.buffer.len() >= BUFFER { self.write().await } else { Ok(self) }
    }

    async fn write(mut self) -> Result<Transfer, CacheError> {
        if self.buffer.is_empty() {
            return Ok(self);
        }
        let pace = self.pace.clone();
        blocking(&pace, move || {
            self.part.append(&self.buffer)?;
            self.buffer.clear();
            Ok(self)
        })
        .await
    }
}
