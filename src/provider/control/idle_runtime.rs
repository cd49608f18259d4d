//! Threads for reloads that do not delay events: they run at idle CPU priority (`SCHED_IDLE`, sched(7)), and a thread
//! with an event preempts them at once. On a busy host they hardly run, so a late reload continues on the program's
//! other threads, and fetches over a separate connection.

use std::future::Future;
use std::io;
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    thread_schedule_policy,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

const IDLE: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
/// A reload may take one second more for each this many bytes of segments.
const BYTES_A_SECOND: u64 = 64 << 20;

/// The runtime: one thread that follows the stream, and blocking threads that are started on demand and end after ten
/// idle seconds.
#[derive(Debug)]
pub(super) struct IdleRuntime {
    /// `None` while it is dropped.
    runtime: Option<Runtime>,
    idle: Handle,
    /// The runtime of the program, set when the stream is followed.
    program_runtime: OnceLock<Handle>,
}

impl IdleRuntime {
    /// # Errors
    /// The system cannot start a thread, or has no descriptors for its events.
    pub(super) fn start() -> io::Result<IdleRuntime> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("hotlist-control").on_thread_start(set_idle_priority);
        let runtime = builder.enable_all().build()?;
        Ok(IdleRuntime { idle: runtime.handle().clone(), runtime: Some(runtime), program_runtime: OnceLock::new() })
    }

    /// Runs the future that follows the stream. It ends when this future is dropped. Needs the tokio runtime of the program.
    pub(super) async fn follow(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.program_runtime.get_or_init(Handle::current);
        if let Err(error) = AbortOnDropHandle::new(self.idle.spawn(work)).await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    /// Starts the schedule of one reload with this many bytes of segments. It may run at idle priority for at least
    /// `patience`.
    pub(super) fn schedule(&self, patience: Duration, bytes: u64) -> ReloadSchedule {
        let late = Instant::now() + patience + Duration::from_secs(bytes / BYTES_A_SECOND);
        ReloadSchedule { idle: self.idle.clone(), program_runtime: self.program_runtime().clone(), late }
    }

    /// No reload is late before the stream is followed.
    fn program_runtime(&self) -> &Handle {
        self.program_runtime.get().unwrap_or(&self.idle)
    }

    /// Runs work that blocks briefly.
    ///
    /// # Errors
    /// `work` panicked, or the program ends.
    pub(super) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.program_runtime().spawn_blocking(work).await
    }
}

impl Drop for IdleRuntime {
    fn drop(&mut self) {
        // Waiting for running work would block a thread that must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where the steps of one reload run.
#[derive(Clone, Debug)]
pub(super) struct ReloadSchedule {
    idle: Handle,
    program_runtime: Handle,
    late: Instant,
}

impl ReloadSchedule {
    /// Runs blocking work: at idle priority, until the reload is late.
    ///
    /// # Errors
    /// `work` panicked, or the program ends.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let threads = if self.is_late() { &self.program_runtime } else { &self.idle };
        threads.spawn_blocking(work).await
    }

    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.late
    }

    /// Runs work that waits for a connection on the program's other threads. The connection must have been made there,
    /// or the work still waits for a thread at idle priority.
    ///
    /// # Errors
    /// `work` panicked, or the program ends.
    pub(super) async fn run_on_program_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        AbortOnDropHandle::new(self.program_runtime.spawn(work)).await
    }
}

/// Sets this thread to idle priority. This cannot be undone without a privilege, so it applies to whole threads.
fn set_idle_priority() {
    static LOGGED: Once = Once::new();
    let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE);
    // The niceness is set in addition to the policy, which may not be permitted and does not matter.
    if thread_schedule_policy() != Ok(IDLE) {
        let error = set.err().map(|error| error.to_string()).unwrap_or_default();
        LOGGED.call_once(|| {
            tracing::warn!(error, "cannot set idle priority for reloads, latency may rise during reloads: allow the system call sched_setscheduler");
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    async fn policy(schedule: &ReloadSchedule) -> ThreadSchedulePolicy {
        schedule.run(|| thread_schedule_policy().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_reload_stands_back_until_it_is_late() {
        let idle_runtime = IdleRuntime::start().unwrap();
        let (send, received) = oneshot::channel();
        idle_runtime.follow(async { send.send(thread_schedule_policy()).unwrap() }).await;
        assert_eq!(received.await.unwrap(), Ok(IDLE));
        assert_eq!(policy(&idle_runtime.schedule(PATIENCE, 0)).await, IDLE);
        let late = ReloadSchedule { late: Instant::now(), ..idle_runtime.schedule(PATIENCE, 0) };
        assert_ne!(policy(&late).await, IDLE);
        assert_ne!(late.run_on_program_runtime(async { thread_schedule_policy() }).await.unwrap(), Ok(IDLE));
        assert_ne!(idle_runtime.run_blocking(thread_schedule_policy).await.unwrap(), Ok(IDLE));
    }

    #[tokio::test]
    async fn more_bytes_may_take_longer() {
        let idle_runtime = IdleRuntime::start().unwrap();
        let (small, large) = (idle_runtime.schedule(PATIENCE, 0), idle_runtime.schedule(PATIENCE, 10 * BYTES_A_SECOND));
        assert!(large.late - small.late >= Duration::from_secs(10));
        assert!(small.late.saturating_duration_since(Instant::now()) <= PATIENCE);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let idle_runtime = IdleRuntime::start().unwrap();
        let failed = idle_runtime.schedule(PATIENCE, 0).run(|| panic!("on purpose")).await;
        assert!(failed.is_err_and(|error| error.is_panic()));
    }

    #[tokio::test]
    async fn what_follows_ends_with_its_future() {
        let idle_runtime = IdleRuntime::start().unwrap();
        let (held, dropped) = oneshot::channel::<()>();
        let forever = async move {
            let _held = held;
            std::future::pending().await
        };
        assert!(tokio::time::timeout(Duration::from_millis(10), idle_runtime.follow(forever)).await.is_err());
        assert!(dropped.await.is_err());
    }
}
