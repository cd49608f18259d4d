//! Threads for CPU-bound work behind a bounded queue, so that async threads never block on matching.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The reason that work has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The queue stayed full.
    #[error("all workers are busy and their queue is full: retry later, or raise `workers` or `queue`")]
    Full,
    /// The work panicked because of a bug in Hotlist; the panic message in the log has the place.
    #[error("matching panicked, which is a bug in Hotlist: report it with the panic message in the log")]
    Panicked,
}

/// A pool of threads. They end when the pool is dropped and the queue is empty.
#[derive(Debug)]
pub struct Workers {
    jobs: Sender<Job>,
    /// One permit per place in the queue: async callers can wait for a permit, but not for the channel.
    places: Arc<Semaphore>,
}

struct Job {
    run: Box<dyn FnOnce() + Send>,
    place: OwnedSemaphorePermit,
}

impl Workers {
    /// Starts `threads` threads with a queue of `queue` places.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn start(threads: usize, queue: usize) -> std::io::Result<Workers> {
        let (jobs, queued) = bounded::<Job>(queue);
        for number in 0..threads {
            let queued = queued.clone();
            std::thread::Builder::new().name(format!("hotlist-match-{number}")).spawn(move || work_off(&queued))?;
        }
        Ok(Workers { jobs, places: Arc::new(Semaphore::new(queue)) })
    }

    /// Runs `work` on a worker. If the future is dropped before a worker starts, `work` is not run.
    ///
    /// # Errors
    /// The queue was full for as long as `wait`, or `work` panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        wait: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => tokio::time::timeout(wait, Arc::clone(&self.places).acquire_owned())
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or(WorkError::Full)?,
        };
        let (answer, result) = oneshot::channel();
        let run = Box::new(move || {
            if !answer.is_closed() {
                // The client may have disconnected; then nobody needs the result.
                let _ = answer.send(in_place(work));
            }
        });
        // invariant: the number of places equals the channel's capacity, so the channel is full only if a place was
        // leaked.
        self.jobs.try_send(Job { run, place }).map_err(|_| WorkError::Full)?;
        result.await.unwrap_or(Err(WorkError::Panicked))
    }
}

/// Runs `work` on this thread, and turns a panic into an error.
pub fn in_place<T>(work: impl FnOnce() -> T) -> Result<T, WorkError> {
    // The closure owns what it changes, and what it shares is immutable: no half-changed state is visible afterwards.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| WorkError::Panicked)
}

fn work_off(queued: &Receiver<Job>) {
    while let Ok(Job { run, place }) = queued.recv() {
        drop(place);
        run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_worker_lives_on() {
        let workers = Workers::start(1, 1).unwrap();
        let result = workers.run(Duration::from_secs(5), || panic!("on purpose")).await;
        assert_eq!(result, Err::<(), _>(WorkError::Panicked));
        assert_eq!(workers.run(Duration::from_secs(5), || 7).await, Ok(7));
    }

    /// One worker, blocked by a gate, and a queue of one: the third caller is refused after the wait, the second runs
    /// when the gate opens, and the work of a caller that gave up is not run.
    #[tokio::test]
    async fn a_full_queue_refuses_and_abandoned_work_is_not_run() {
        let workers = Arc::new(Workers::start(1, 1).unwrap());
        let (open, gate) = mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let wait = Duration::from_secs(5);
        let held = tokio::spawn({
            let workers = Arc::clone(&workers);
            async move {
                let work = move || {
                    started.send(()).unwrap();
                    gate.recv().unwrap();
                };
                workers.run(wait, work).await
            }
        });
        running.await.unwrap();
        let (ran, was_run) = mpsc::channel::<()>();
        {
            let mut abandoned = Box::pin(workers.run(wait, move || ran.send(()).unwrap()));
            assert!(futures_util::poll!(&mut abandoned).is_pending());
            assert_eq!(workers.run(Duration::ZERO, || ()).await, Err(WorkError::Full));
        }
        open.send(()).unwrap();
        assert_eq!(held.await.unwrap(), Ok(()));
        assert_eq!(workers.run(wait, || 7).await, Ok(7));
        assert!(was_run.recv().is_err(), "the abandoned work was dropped, not run");
    }
}
