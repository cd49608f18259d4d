//! One job on a slot, from fetching to recording. Jobs of a slot run one after the other: a superseded job has ended
//! before the next one begins.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::{StreamExt as _, stream};
use metrics::counter;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apply::{Apply, Candidate, Gate};
use super::background::{Background, Pace};
use super::cache::{Cache, CacheError, Keep};
use super::fetch::{self, Failure};
use super::judge::Judged;
use super::link::Road;
use super::refusal::Refusal;
use super::settings::Timing;
use crate::escape::Escaped;
use crate::intel::manifest::{Digest, Mode};
use crate::telemetry;

/// The maximum number of concurrent segment fetches per slot.
const FETCHES: usize = 4;

pub(super) struct Shared<A> {
    cache: Arc<Cache>,
    pub(super) apply: Arc<A>,
    pub(super) timing: Timing,
    /// Carries one message per job, so it holds no more than the number of started jobs.
    done: mpsc::UnboundedSender<Done>,
    pub(super) background: Arc<Background>,
    /// Every job that was started and has not ended.
    jobs: TaskTracker,
    /// Held by the active job of each slot.
    turns: [tokio::sync::Mutex<()>; 2],
    fetching: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

/// The result of a job.
pub(super) struct Done {
    pub(super) mode: Mode,
    /// The number of the job within its slot.
    pub(super) number: u64,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    /// The candidate is active, though it may not be recorded.
    Serves(Judged, Option<CacheError>),
    /// The slot is empty.
    Cleared,
    /// The candidate was refused; nothing changed.
    Refused(Refusal),
    /// The job was superseded before activation, or the stream ended.
    Dropped,
}

pub(super) enum Task {
    /// Activate a manifest, fetching its segments over these routes.
    Serve(Judged, Arc<Road>),
    /// Clear the slot.
    Clear,
}

impl<A: Apply> Shared<A> {
    pub(super) fn new(
        cache: Cache,
        apply: Arc<A>,
        timing: Timing,
        background: Arc<Background>,
        done: mpsc::UnboundedSender<Done>,
    ) -> Shared<A> {
        let (jobs, turns, fetching) = (TaskTracker::new(), Default::default(), Mutex::default());
        Shared { cache: Arc::new(cache), apply, timing, done, background, jobs, turns, fetching }
    }

    pub(super) fn cache(&self) -> Arc<Cache> {
        Arc::clone(&self.cache)
    }

    /// Returns the lock that a fetch of this segment holds.
    pub(super) fn one_at_a_time(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = fetching.get(&digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        fetching.insert(digest, Arc::downgrade(&lock));
        lock
    }

    fn turn(&self, mode: Mode) -> &tokio::sync::Mutex<()> {
        let [serve, shadow] = &self.turns;
        match mode {
            Mode::Serve => serve,
            Mode::Shadow => shadow,
        }
    }

    /// Waits until every job has ended. No job may be started after this.
    pub(super) async fn idle(&self) {
        self.jobs.close();
        self.jobs.wait().await;
    }
}

/// Runs cache operations on a blocking thread.
///
/// # Errors
/// The errors of `work`; a panic in `work` is an error.
pub(super) async fn blocking<T: Send + 'static>(
    pace: &Pace,
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    pace.run(work).await.unwrap_or_else(|error| Err(broken_down(&error)))
}

/// The error for a panic in a cache operation.
pub(super) fn broken_down(error: &JoinError) -> CacheError {
    let cause = std::io::Error::other(format!("a thread of this process failed: {error}"));
    CacheError::Io { path: "the cache".into(), what: "used", cause }
}

pub(super) fn start<A: Apply>(shared: &Arc<Shared<A>>, mode: Mode, number: u64, gate: Arc<Gate>, task: Task) {
    let jobs = shared.jobs.clone();
    let shared = Arc::clone(shared);
    jobs.spawn(async move {
        let _turn = shared.turn(mode).lock().await;
        let outcome = match task {
            Task::Serve(judged, road) => serve(&shared, mode, &gate, judged, &road).await,
            Task::Clear => clear(&shared, mode, gate).await,
        };
        // The receiver is gone when the client has ended.
        let _ = shared.done.send(Done { mode, number, outcome });
    });
}

async fn serve<A: Apply>(
    shared: &Arc<Shared<A>>,
    mode: Mode,
    gate: &Arc<Gate>,
    judged: Judged,
    road: &Arc<Road>,
) -> Outcome {
    let bytes = judged.manifest.segments.iter().fold(0u64, |sum, segment| sum.saturating_add(segment.bytes));
    let pace = shared.background.pace(shared.timing.patience, bytes);
    match fetched(shared, mode, gate, &judged, road, &pace).await {
        Ok(()) => {}
        Err(Failure::Cancelled) => return Outcome::Dropped,
        Err(Failure::Refused(_)) if !gate.is_current() => return Outcome::Dropped,
        Err(Failure::Refused(refusal)) => return refused(shared, mode, refusal),
    }
    if !gate.prepare() {
        return Outcome::Dropped;
    }
    let (shared, gate) = (Arc::clone(shared), Arc::clone(gate));
    off_the_loop(&pace, move || match put_into_service(&shared, mode, gate, judged) {
        Outcome::Refused(refusal) => refused(&shared, mode, refusal),
        outcome => {
            tidy_up(&shared.cache);
            outcome
        }
    })
    .await
}

/// Removes the segments that a refused manifest would have needed.
fn refused<A>(shared: &Shared<A>, mode: Mode, refusal: Refusal) -> Outcome {
    if !refusal.may_pass() {
        shared.cache.keep(mode, Keep::Candidate, None);
    }
    Outcome::Refused(refusal)
}

/// Runs the program's work on a candidate on a blocking thread.
async fn off_the_loop(pace: &Pace, work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    pace.run(work).await.unwrap_or_else(|error| {
        Outcome::Refused(Refusal::Apply(format!(
            "this node failed to process it: {error}; please report this bug in Hotlist"
        )))
    })
}

/// Ensures that every segment is on disk. The version is recorded first.
async fn fetched<A: Apply>(
    shared: &Arc<Shared<A>>,
    mode: Mode,
    gate: &Gate,
    judged: &Judged,
    road: &Arc<Road>,
    pace: &Pace,
) -> Result<(), Failure> {
    if !gate.is_current() {
        return Err(Failure::Cancelled);
    }
    let (cache, highest, manifest) = (shared.cache(), judged.as_highest(), Arc::clone(&judged.manifest));
    blocking(pace, move || {
        cache.raise(mode, highest)?;
        cache.make_room(mode, &manifest)
    })
    .await?;
    let mut seen = HashSet::new();
    let segments = judged.manifest.segments.iter().copied().filter(|segment| seen.insert(segment.digest));
    let stop = CancellationToken::new();
    let fetches = segments.map(|segment| fetch::ensure(shared, road, segment, pace, &stop));
    let mut fetches = stream::iter(fetches).buffer_unordered(FETCHES);
    let mut result = Ok(());
    loop {
        // Fetches under way are awaited in any case, so that the received bytes are written to disk.
        let next = tokio::select! {
            () = gate.cancelled(), if !stop.is_cancelled() => {
                stop.cancel();
                continue;
            }
            next = fetches.next() => next,
        };
        match next {
            None => return if gate.is_current() { result } else { Err(Failure::Cancelled) },
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                stop.cancel();
                // The first failure is the cause, the others were only cancelled.
                if result.is_ok() {
                    result = Err(failure);
                }
            }
        }
    }
}

/// Publishes a candidate unless it was superseded, and records it after that. Blocks.
pub(super) fn put_into_service<A: Apply>(shared: &Shared<A>, mode: Mode, gate: Arc<Gate>, judged: Judged) -> Outcome {
    let cache = &shared.cache;
    let Judged { manifest, signed, .. } = &judged;
    let segments = manifest.segments.iter().map(|segment| cache.path(segment.digest)).collect();
    let candidate = Candidate { manifest: Arc::clone(manifest), segments, gate };
    let ready = match shared.apply.prepare(mode, &candidate) {
        _ if !candidate.is_current() => return Outcome::Dropped,
        Ok(ready) => ready,
        Err(text) => return Outcome::Refused(Refusal::Apply(text)),
    };
    if let Err(error) = cache.stage(mode, signed) {
        return Outcome::Refused(error.into());
    }
    let published = candidate.gate.publish(|| {
        cache.keep(mode, Keep::Serving, Some(manifest));
        shared.apply.publish(mode, ready);
    });
    if !published {
        return Outcome::Dropped;
    }
    counter!(telemetry::CONTROL_APPLIED_TOTAL, "slot" => mode.as_str()).increment(1);
    let unkept = cache.commit(mode, manifest).err();
    cache.keep(mode, Keep::Candidate, None);
    shared.apply.release_replaced();
    Outcome::Serves(judged, unkept)
}

fn tidy_up(cache: &Cache) {
    if let Err(error) = cache.collect_garbage() {
        tracing::warn!(error = %Escaped(&error), "cannot delete old segments");
    }
}

async fn clear<A: Apply>(shared: &Arc<Shared<A>>, mode: Mode, gate: Arc<Gate>) -> Outcome {
    let (shared, pace) = (Arc::clone(shared), shared.background.pace(shared.timing.patience, 0));
    off_the_loop(&pace, move || {
        let cache = &shared.cache;
        // Recorded before it is deactivated: it must not be restored after a restart.
        if let Err(error) = cache.forget(mode) {
            return Outcome::Refused(error.into());
        }
        if !gate.publish(|| shared.apply.clear(mode)) {
            return Outcome::Dropped;
        }
        [Keep::Serving, Keep::Candidate].into_iter().for_each(|keep| cache.keep(mode, keep, None));
        tidy_up(cache);
        Outcome::Cleared
    })
    .await
}
