//! Threads for everything that a reload does, so that none of it delays an event: they run only where nothing else wants
//! the processor (`SCHED_IDLE`, sched(7)), and a thread with an event takes it from them at once. Where everything wants it
//! all the time they hardly run, so what takes long goes on among the program's other threads when it is late, fetches
//! over a connection of their own.

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
/// Each so many bytes of segments may take a second more.
const BYTES_A_SECOND: u64 = 64 << 20;

/// The threads: one that follows the stream, and others that are made when there is something to do and end ten seconds
/// after.
#[derive(Debug)]
pub(super) struct Background {
    /// `None` while it is dropped.
    runtime: Option<Runtime>,
    idle: Handle,
    /// Of the rest of the program, known when the stream is followed.
    others: OnceLock<Handle>,
}

impl Background {
    /// # Errors
    /// The system gives no thread, or no descriptors for its events.
    pub(super) fn start() -> io::Result<Background> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("hotlist-control").on_thread_start(stand_back);
        let runtime = builder.enable_all().build()?;
        Ok(Background { idle: runtime.handle().clone(), runtime: Some(runtime), others: OnceLock::new() })
    }

    /// Runs what follows the stream. It ends when the future here is dropped. Needs a tokio runtime, that of the program.
    pub(super) async fn follow(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.others.get_or_init(Handle::current);
        if let Err(error) = AbortOnDropHandle::new(self.idle.spawn(work)).await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    /// For one reload that begins now, over so many bytes of segments. It may take `patience` in the background, however
    /// small it is.
    pub(super) fn pace(&self, patience: Duration, bytes: u64) -> Pace {
        let late = Instant::now() + patience + Duration::from_secs(bytes / BYTES_A_SECOND);
        Pace { idle: self.idle.clone(), others: self.others().clone(), late }
    }

    /// Nothing is late before the stream is followed.
    fn others(&self) -> &Handle {
        self.others.get().unwrap_or(&self.idle)
    }

    /// Does something that blocks for a moment.
    ///
    /// # Errors
    /// A panic in `work`, or the program ends.
    pub(super) async fn at_once<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.others().spawn_blocking(work).await
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Waiting for what is at work would block a thread that may not be.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where the steps of one reload run.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    idle: Handle,
    others: Handle,
    late: Instant,
}

impl Pace {
    /// Does something that blocks: where nothing else wants to run, until the reload is late.
    ///
    /// # Errors
    /// A panic in `work`, or the program ends.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let threads = if self.is_late() { &self.others } else { &self.idle };
        threads.spawn_blocking(work).await
    }

    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.late
    }

    /// Does something that waits for a connection among the program's other threads. The connection must have been made
    /// there, or who waits for it stands back all the same.
    ///
    /// # Errors
    /// A panic in `work`, or the program ends.
    pub(super) async fn hurry<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        AbortOnDropHandle::new(self.others.spawn(work)).await
    }
}

/// This thread runs when no other wants to. It cannot be taken back without a privilege, so it is for whole threads.
fn stand_back() {
    static SAID: Once = Once::new();
    let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE);
    // Besides the policy a niceness is set, which may not be allowed and does not matter.
    if thread_schedule_policy() != Ok(IDLE) {
        let error = set.err().map(|error| error.to_string()).unwrap_or_default();
        SAID.call_once(|| {
            tracing::warn!(error, "reloads cannot stand back behind events, latency may rise while they last: allow the system call sched_setscheduler");
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    async fn policy(pace: &Pace) -> ThreadSchedulePolicy {
        pace.run(|| thread_schedule_policy().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_reload_stands_back_until_it_is_late() {
        let background = Background::start().unwrap();
        let (tell, told) = oneshot::channel();
        background.follow(async { tell.send(thread_schedule_policy()).unwrap() }).await;
        assert_eq!(told.await.unwrap(), Ok(IDLE));
        assert_eq!(policy(&background.pace(PATIENCE, 0)).await, IDLE);
        let late = Pace { late: Instant::now(), ..background.pace(PATIENCE, 0) };
        assert_ne!(policy(&late).await, IDLE);
        assert_ne!(late.hurry(async { thread_schedule_policy() }).await.unwrap(), Ok(IDLE));
        assert_ne!(background.at_once(thread_schedule_policy).await.unwrap(), Ok(IDLE));
    }

    #[tokio::test]
    async fn more_bytes_may_take_longer() {
        let background = Background::start().unwrap();
        let (small, large) = (background.pace(PATIENCE, 0), background.pace(PATIENCE, 10 * BYTES_A_SECOND));
        assert!(large.late - small.late >= Duration::from_secs(10));
        assert!(small.late.saturating_duration_since(Instant::now()) <= PATIENCE);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let background = Background::start().unwrap();
        let failed = background.pace(PATIENCE, 0).run(|| panic!("on purpose")).await;
        assert!(failed.is_err_and(|error| error.is_panic()));
    }

    #[tokio::test]
    async fn what_follows_ends_with_its_future() {
        let background = Background::start().unwrap();
        let (held, dropped) = oneshot::channel::<()>();
        let forever = async move {
            let _held = held;
            std::future::pending().await
        };
        assert!(tokio::time::timeout(Duration::from_millis(10), background.follow(forever)).await.is_err());
        assert!(dropped.await.is_err());
    }
}
