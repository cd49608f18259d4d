//! One job on a slot, from fetching to recording. Jobs of a slot run one after the other: a superseded job has ended
//! before the next one begins.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use metrics::counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apply::{Apply, CancelGate, Candidate};
use super::cache::{Cache, CacheError, KeepReason};
use super::fetch::{self, FetchContext, FetchFailure, blocking};
use super::idle_runtime::{IdleRuntime, ReloadSchedule};
use super::link::FetchRoutes;
use super::refusal::ManifestRefusal;
use super::settings::Timing;
use super::verify::VerifiedManifest;
use crate::escape::Escaped;
use crate::intel::manifest::Mode;
use crate::telemetry;

/// The maximum number of concurrent segment fetches per slot.
const FETCHES: usize = 4;

pub(super) struct JobContext<A> {
    cache: Arc<Cache>,
    pub(super) apply: Arc<A>,
    pub(super) timing: Timing,
    /// Carries one message per job, so it holds no more than the number of started jobs.
    done: mpsc::UnboundedSender<JobResult>,
    pub(super) idle_runtime: Arc<IdleRuntime>,
    /// Every job that was started and has not ended.
    jobs: TaskTracker,
    /// Held by the active job of each slot.
    turns: [tokio::sync::Mutex<()>; 2],
    fetches: FetchContext,
}

pub(super) struct JobResult {
    pub(super) mode: Mode,
    /// The number of the job within its slot.
    pub(super) number: u64,
    pub(super) outcome: JobOutcome,
}

pub(super) enum JobOutcome {
    /// The candidate is active, though it may not be recorded.
    Activated(VerifiedManifest, Option<CacheError>),
    /// The slot is empty.
    Cleared,
    /// The candidate was refused; nothing changed.
    Refused(ManifestRefusal),
    /// The job was superseded before activation, or the stream ended.
    Dropped,
}

pub(super) enum JobTask {
    /// Activate a manifest, fetching its segments over these routes.
    Serve(VerifiedManifest, Arc<FetchRoutes>),
    /// Clear the slot.
    Clear,
}

impl<A: Apply> JobContext<A> {
    pub(super) fn new(
        cache: Cache,
        apply: Arc<A>,
        timing: Timing,
        idle_runtime: Arc<IdleRuntime>,
        done: mpsc::UnboundedSender<JobResult>,
    ) -> JobContext<A> {
        let (cache, jobs, turns) = (Arc::new(cache), TaskTracker::new(), Default::default());
        let fetches = FetchContext::new(Arc::clone(&cache), timing);
        JobContext { cache, apply, timing, done, idle_runtime, jobs, turns, fetches }
    }

    pub(super) fn cache(&self) -> Arc<Cache> {
        Arc::clone(&self.cache)
    }

    fn turn(&self, mode: Mode) -> &tokio::sync::Mutex<()> {
        let [serve, shadow] = &self.turns;
        match mode {
            Mode::Serve => serve,
            Mode::Shadow => shadow,
        }
    }

    /// Waits until every job has ended. No job may be started after this.
    pub(super) async fn wait_for_jobs(&self) {
        self.jobs.close();
        self.jobs.wait().await;
    }
}

pub(super) fn start<A: Apply>(
    shared: &Arc<JobContext<A>>,
    mode: Mode,
    number: u64,
    gate: Arc<CancelGate>,
    task: JobTask,
) {
    let jobs = shared.jobs.clone();
    let shared = Arc::clone(shared);
    jobs.spawn(async move {
        let _turn = shared.turn(mode).lock().await;
        let outcome = match task {
            JobTask::Serve(verified, routes) => serve(&shared, mode, &gate, verified, &routes).await,
            JobTask::Clear => clear(&shared, mode, gate).await,
        };
        // The receiver is gone when the client has ended.
        let _ = shared.done.send(JobResult { mode, number, outcome });
    });
}

async fn serve<A: Apply>(
    shared: &Arc<JobContext<A>>,
    mode: Mode,
    gate: &Arc<CancelGate>,
    verified: VerifiedManifest,
    routes: &Arc<FetchRoutes>,
) -> JobOutcome {
    let bytes = verified.manifest.segments.iter().fold(0u64, |sum, segment| sum.saturating_add(segment.bytes));
    let schedule = shared.idle_runtime.schedule(shared.timing.patience, bytes);
    match ensure_segments(shared, mode, gate, &verified, routes, &schedule).await {
        Ok(()) => {}
        Err(FetchFailure::Cancelled) => return JobOutcome::Dropped,
        Err(FetchFailure::Refused(_)) if !gate.is_current() => return JobOutcome::Dropped,
        Err(FetchFailure::Refused(refusal)) => return refused(shared, mode, refusal),
    }
    if !gate.prepare() {
        return JobOutcome::Dropped;
    }
    let (shared, gate) = (Arc::clone(shared), Arc::clone(gate));
    run_blocking_job(&schedule, move || match activate(&shared, mode, gate, verified) {
        JobOutcome::Refused(refusal) => refused(&shared, mode, refusal),
        outcome => {
            tidy_up(&shared.cache);
            outcome
        }
    })
    .await
}

/// Removes the segments that a refused manifest would have needed.
fn refused<A>(shared: &JobContext<A>, mode: Mode, refusal: ManifestRefusal) -> JobOutcome {
    if !refusal.may_pass() {
        shared.cache.keep(mode, KeepReason::Candidate, None);
    }
    JobOutcome::Refused(refusal)
}

/// Runs the program's work on a candidate on a blocking thread.
async fn run_blocking_job(schedule: &ReloadSchedule, work: impl FnOnce() -> JobOutcome + Send + 'static) -> JobOutcome {
    schedule.run(work).await.unwrap_or_else(|error| {
        JobOutcome::Refused(ManifestRefusal::Apply(format!(
            "this node failed to process it: {error}; please report this bug in Hotlist"
        )))
    })
}

/// Ensures that every segment is on disk. The version is recorded first.
async fn ensure_segments<A: Apply>(
    shared: &Arc<JobContext<A>>,
    mode: Mode,
    gate: &CancelGate,
    verified: &VerifiedManifest,
    routes: &Arc<FetchRoutes>,
    schedule: &ReloadSchedule,
) -> Result<(), FetchFailure> {
    if !gate.is_current() {
        return Err(FetchFailure::Cancelled);
    }
    let (cache, highest, manifest) = (shared.cache(), verified.as_highest(), Arc::clone(&verified.manifest));
    blocking(schedule, move || {
        cache.raise(mode, highest)?;
        cache.make_room(mode, &manifest)
    })
    .await?;
    let mut seen = HashSet::new();
    let segments = verified.manifest.segments.iter().copied().filter(|segment| seen.insert(segment.digest));
    let stop = CancellationToken::new();
    let fetches = segments.map(|segment| fetch::ensure(&shared.fetches, routes, segment, schedule, &stop));
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
            None => return if gate.is_current() { result } else { Err(FetchFailure::Cancelled) },
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
pub(super) fn activate<A: Apply>(
    shared: &JobContext<A>,
    mode: Mode,
    gate: Arc<CancelGate>,
    verified: VerifiedManifest,
) -> JobOutcome {
    let cache = &shared.cache;
    let VerifiedManifest { manifest, signed, .. } = &verified;
    let segments = manifest.segments.iter().map(|segment| cache.path(segment.digest)).collect();
    let candidate = Candidate { manifest: Arc::clone(manifest), segments, gate };
    let ready = match shared.apply.prepare(mode, &candidate) {
        _ if !candidate.is_current() => return JobOutcome::Dropped,
        Ok(ready) => ready,
        Err(text) => return JobOutcome::Refused(ManifestRefusal::Apply(text)),
    };
    if let Err(error) = cache.stage(mode, signed) {
        return JobOutcome::Refused(error.into());
    }
    let published = candidate.gate.publish(|| {
        cache.keep(mode, KeepReason::Serving, Some(manifest));
        shared.apply.publish(mode, ready);
    });
    if !published {
        return JobOutcome::Dropped;
    }
    counter!(telemetry::CONTROL_APPLIED_TOTAL, "slot" => mode.as_str()).increment(1);
    let unrecorded = cache.commit(mode, manifest).err();
    cache.keep(mode, KeepReason::Candidate, None);
    shared.apply.release_replaced();
    JobOutcome::Activated(verified, unrecorded)
}

fn tidy_up(cache: &Cache) {
    if let Err(error) = cache.collect_garbage() {
        tracing::warn!(error = %Escaped(&error), "cannot delete old segments");
    }
}

async fn clear<A: Apply>(shared: &Arc<JobContext<A>>, mode: Mode, gate: Arc<CancelGate>) -> JobOutcome {
    let (shared, schedule) = (Arc::clone(shared), shared.idle_runtime.schedule(shared.timing.patience, 0));
    run_blocking_job(&schedule, move || {
        let cache = &shared.cache;
        // Recorded before it is deactivated: it must not be restored after a restart.
        if let Err(error) = cache.forget(mode) {
            return JobOutcome::Refused(error.into());
        }
        if !gate.publish(|| shared.apply.clear(mode)) {
            return JobOutcome::Dropped;
        }
        [KeepReason::Serving, KeepReason::Candidate].into_iter().for_each(|keep| cache.keep(mode, keep, None));
        tidy_up(cache);
        JobOutcome::Cleared
    })
    .await
}
