//! Fetches one segment, resuming where an earlier fetch stopped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use backon::BackoffBuilder;
use bytes::Bytes;
use metrics::counter;
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::cache::{Cache, CacheError, PartialSegment};
use super::idle_runtime::ReloadSchedule;
use super::link::{self, FetchRoutes};
use super::refusal::ManifestRefusal;
use super::settings::Timing;
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

/// The state that the fetches of all slots share.
pub(super) struct FetchContext {
    cache: Arc<Cache>,
    timing: Timing,
    fetching: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl FetchContext {
    pub(super) fn new(cache: Arc<Cache>, timing: Timing) -> FetchContext {
        FetchContext { cache, timing, fetching: Mutex::default() }
    }

    fn cache(&self) -> Arc<Cache> {
        Arc::clone(&self.cache)
    }

    /// Returns the lock that a fetch of this segment holds.
    fn one_at_a_time(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = fetching.get(&digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        fetching.insert(digest, Arc::downgrade(&lock));
        lock
    }
}

/// Runs cache operations on a blocking thread.
///
/// # Errors
/// The errors of `work`; a panic in `work` is an error.
pub(super) async fn blocking<T: Send + 'static>(
    schedule: &ReloadSchedule,
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    schedule.run(work).await.unwrap_or_else(|error| Err(panic_error(&error)))
}

/// The error for a panic in a cache operation.
fn panic_error(error: &JoinError) -> CacheError {
    let cause = std::io::Error::other(format!("a thread of this process failed: {error}"));
    CacheError::Io { path: "the cache".into(), what: "used", cause }
}

/// The reason that a segment was not fetched.
#[derive(Debug)]
pub(super) enum FetchFailure {
    Refused(ManifestRefusal),
    /// It was superseded.
    Cancelled,
}

impl From<CacheError> for FetchFailure {
    fn from(error: CacheError) -> FetchFailure {
        FetchFailure::Refused(ManifestRefusal::Cache(error))
    }
}

enum AttemptEnd {
    Whole,
    /// The fetch is late, and continues on the program's other threads.
    Late,
    /// The received bytes are kept.
    Broke {
        cause: String,
        progressed: bool,
    },
    Failed(FetchFailure),
}

/// Ensures that a segment is on disk, complete and verified.
pub(super) async fn ensure(
    shared: &FetchContext,
    routes: &Arc<FetchRoutes>,
    segment: SegmentRef,
    schedule: &ReloadSchedule,
    stop: &CancellationToken,
) -> Result<(), FetchFailure> {
    let SegmentRef { digest, bytes } = segment;
    // Both slots may need this segment.
    let one = shared.one_at_a_time(digest);
    let _one = one.lock().await;
    let cache = shared.cache();
    if blocking(schedule, move || cache.has(digest, bytes)).await? {
        return Ok(());
    }
    let delays = || {
        let (first, longest) = shared.timing.back_off;
        link::delays(first, longest)
    };
    let (mut delay, mut fruitless) = (delays().build(), 0);
    // A segment that is wrong although it was fetched from the beginning is not fetched again.
    let may_restart = AtomicBool::new(true);
    loop {
        if stop.is_cancelled() {
            return Err(FetchFailure::Cancelled);
        }
        match attempt(shared, routes, segment, schedule, stop, &may_restart).await {
            AttemptEnd::Whole => return Ok(()),
            AttemptEnd::Late => {}
            AttemptEnd::Failed(failure) => return Err(failure),
            AttemptEnd::Broke { cause, progressed } => {
                tracing::debug!(%digest, cause, "segment fetch interrupted");
                if progressed {
                    (delay, fruitless) = (delays().build(), 0);
                }
                fruitless += 1;
                if fruitless > ATTEMPTS {
                    return Err(FetchFailure::Refused(ManifestRefusal::Fetch { digest, cause }));
                }
                let pause = delay.next().unwrap_or(Duration::from_secs(1));
                tokio::select! {
                    () = stop.cancelled() => return Err(FetchFailure::Cancelled),
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

async fn attempt(
    shared: &FetchContext,
    routes: &Arc<FetchRoutes>,
    segment: SegmentRef,
    schedule: &ReloadSchedule,
    stop: &CancellationToken,
    may_restart: &AtomicBool,
) -> AttemptEnd {
    let SegmentRef { digest, bytes } = segment;
    let cache = shared.cache();
    let part = match blocking(schedule, move || cache.part(digest, bytes)).await {
        Ok(part) => part,
        Err(error) => return AttemptEnd::Failed(error.into()),
    };
    let offset = part.written();
    let mut transfer =
        SegmentTransfer { part, buffer: Vec::new(), digest, received_bytes: 0, schedule: schedule.clone() };
    if transfer.part.missing() > 0 {
        let ended = match schedule.is_late() {
            false => receive(routes.stream(), transfer, bytes, shared.timing.stall, LatePolicy::WhenLate, stop).await,
            true => receive_late(routes, transfer, bytes, shared.timing.stall, stop).await,
        };
        let received = match ended {
            Ok((kept, received)) => {
                transfer = kept;
                received
            }
            Err(error) => return AttemptEnd::Failed(error.into()),
        };
        match received {
            ReceiveEnd::All => {}
            ReceiveEnd::Late => return AttemptEnd::Late,
            ReceiveEnd::Cancelled => return AttemptEnd::Failed(FetchFailure::Cancelled),
            ReceiveEnd::Broke(cause) => return AttemptEnd::Broke { cause, progressed: transfer.received_bytes > 0 },
            ReceiveEnd::Refused(refusal) => return AttemptEnd::Failed(FetchFailure::Refused(refusal)),
            ReceiveEnd::Wrong(cause) => {
                let part = transfer.part;
                return AttemptEnd::Failed(match blocking(schedule, move || part.delete()).await {
                    Ok(()) => FetchFailure::Refused(ManifestRefusal::Digest { digest, cause }),
                    Err(error) => error.into(),
                });
            }
        }
    }
    let (cache, part) = (shared.cache(), transfer.part);
    match blocking(schedule, move || cache.finish(part)).await {
        Ok(()) => AttemptEnd::Whole,
        // The wrong bytes may be those that were already on disk.
        Err(CacheError::Segment { cause, .. }) if offset > 0 && may_restart.swap(false, Ordering::Relaxed) => {
            AttemptEnd::Broke { cause, progressed: true }
        }
        Err(CacheError::Segment { cause, .. }) => {
            AttemptEnd::Failed(FetchFailure::Refused(ManifestRefusal::Digest { digest, cause }))
        }
        Err(error) => AttemptEnd::Failed(error.into()),
    }
}

enum ReceiveEnd {
    All,
    /// Received some bytes, but the fetch is late.
    Late,
    Cancelled,
    Broke(String),
    Refused(ManifestRefusal),
    /// The response does not belong to this segment.
    Wrong(String),
}

/// Whether receiving stops when the reload is late.
#[derive(Clone, Copy, PartialEq)]
enum LatePolicy {
    WhenLate,
    /// The fetch already runs on the program's other threads.
    Already,
}

/// Returns the transfer with all received bytes written to disk.
async fn receive(
    channel: Channel,
    mut transfer: SegmentTransfer,
    bytes: u64,
    stall: Duration,
    late_policy: LatePolicy,
    stop: &CancellationToken,
) -> Result<(SegmentTransfer, ReceiveEnd), CacheError> {
    let mut fetch = match FetchCall::open(channel, &transfer, bytes, stall, stop).await {
        Ok(fetch) => fetch,
        Err(end) => return Ok((transfer, end)),
    };
    let end = loop {
        match fetch.next(stop).await {
            Ok(Some(data)) => transfer = transfer.take(&data).await?,
            Ok(None) => break ReceiveEnd::All,
            Err(end) => break end,
        }
        if late_policy == LatePolicy::WhenLate && fetch.left > 0 && transfer.schedule.is_late() {
            break ReceiveEnd::Late;
        }
    };
    Ok((transfer.write().await?, end))
}

/// Receives on the program's other threads.
async fn receive_late(
    routes: &Arc<FetchRoutes>,
    transfer: SegmentTransfer,
    bytes: u64,
    stall: Duration,
    stop: &CancellationToken,
) -> Result<(SegmentTransfer, ReceiveEnd), CacheError> {
    let (routes, stop, schedule) = (Arc::clone(routes), stop.clone(), transfer.schedule.clone());
    let received = schedule.run_on_program_runtime(async move {
        let channel = tokio::select! {
            () = stop.cancelled() => return Ok((transfer, ReceiveEnd::Cancelled)),
            channel = routes.late() => channel,
        };
        match channel {
            Ok(channel) => receive(channel, transfer, bytes, stall, LatePolicy::Already, &stop).await,
            Err(lost) => Ok((transfer, ReceiveEnd::Broke(lost.cause))),
        }
    });
    received.await.unwrap_or_else(|error| Err(panic_error(&error)))
}

struct FetchCall {
    chunks: Streaming<Chunk>,
    digest: Digest,
    offset: u64,
    bytes: u64,
    left: u64,
    stall: Duration,
    is_first: bool,
    empty: usize,
}

impl FetchCall {
    async fn open(
        channel: Channel,
        transfer: &SegmentTransfer,
        bytes: u64,
        stall: Duration,
        stop: &CancellationToken,
    ) -> Result<FetchCall, ReceiveEnd> {
        let (digest, offset) = (transfer.digest, transfer.part.written());
        let mut client = ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let request = FetchSegmentRequest { digest: digest.0.to_vec().into(), offset };
        let opened = tokio::select! {
            () = stop.cancelled() => return Err(ReceiveEnd::Cancelled),
            opened = timeout(stall, client.fetch_segment(request)) => opened,
        };
        let chunks = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(of_status(digest, offset, &status)),
            Err(_) => return Err(ReceiveEnd::Broke(format!("no response within {stall:?}"))),
        };
        let left = transfer.part.missing();
        Ok(FetchCall { chunks, digest, offset, bytes, left, stall, is_first: true, empty: 0 })
    }

    /// Returns the next bytes; `None` when all were received.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Bytes>, ReceiveEnd> {
        let FetchCall { digest, offset, bytes, left, stall, .. } = *self;
        if left == 0 {
            return Ok(None);
        }
        let next = tokio::select! {
            () = stop.cancelled() => return Err(ReceiveEnd::Cancelled),
            next = timeout(stall, self.chunks.message()) => next,
        };
        let chunk = match next {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(ReceiveEnd::Broke(format!("the response ended {left} bytes too early"))),
            Ok(Err(status)) => return Err(of_status(digest, offset, &status)),
            Err(_) => return Err(ReceiveEnd::Broke(format!("no data within {stall:?}"))),
        };
        if std::mem::replace(&mut self.is_first, false) {
            if chunk.segment_bytes != bytes {
                let cause = format!("it has {} bytes, and the manifest says {bytes}", chunk.segment_bytes);
                return Err(ReceiveEnd::Wrong(cause));
            }
            if offset > 0 {
                counter!(telemetry::CONTROL_RESUMED_FETCHES_TOTAL).increment(1);
            }
        }
        let length = chunk.data.len() as u64;
        self.empty = if length == 0 { self.empty + 1 } else { 0 };
        if self.empty > MAX_EMPTY {
            return Err(ReceiveEnd::Broke("its chunks are empty".to_owned()));
        }
        if length > left {
            return Err(ReceiveEnd::Wrong(format!("it is longer than the {bytes} bytes in the manifest")));
        }
        self.left -= length;
        counter!(telemetry::CONTROL_FETCHED_BYTES_TOTAL).increment(length);
        Ok(Some(chunk.data))
    }
}

fn of_status(digest: Digest, offset: u64, status: &Status) -> ReceiveEnd {
    let cause = link::describe(status);
    match status.code() {
        // The partial segment on disk is not a prefix of the control plane's segment.
        Code::OutOfRange => ReceiveEnd::Wrong(format!("the control plane's segment ends before byte {offset}")),
        Code::NotFound
        | Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Unimplemented => ReceiveEnd::Refused(ManifestRefusal::Fetch { digest, cause }),
        _ => ReceiveEnd::Broke(cause),
    }
}

/// A partial segment with its unwritten bytes: writing and hashing run on blocking threads.
struct SegmentTransfer {
    part: PartialSegment,
    buffer: Vec<u8>,
    digest: Digest,
    /// Bytes received in this attempt.
    received_bytes: u64,
    schedule: ReloadSchedule,
}

impl SegmentTransfer {
    async fn take(mut self, data: &[u8]) -> Result<SegmentTransfer, CacheError> {
        self.buffer.extend_from_slice(data);
        self.received_bytes += data.len() as u64;
        if self.buffer.len() >= BUFFER { self.write().await } else { Ok(self) }
    }

    async fn write(mut self) -> Result<SegmentTransfer, CacheError> {
        if self.buffer.is_empty() {
            return Ok(self);
        }
        let schedule = self.schedule.clone();
        blocking(&schedule, move || {
            self.part.append(&self.buffer)?;
            self.buffer.clear();
            Ok(self)
        })
        .await
    }
}
