//! A runtime with a separate thread, so that liveness is answered while every other thread is busy.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A runtime that has no thread yet.
#[derive(Debug)]
pub(super) struct SeparateRuntime(Option<Runtime>);

impl SeparateRuntime {
    /// Creates the runtime without a thread. Sockets that are bound while it is entered belong to it.
    pub(super) fn new() -> io::Result<SeparateRuntime> {
        Ok(SeparateRuntime(Some(Builder::new_current_thread().enable_all().build()?)))
    }

    pub(super) fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }

    /// Runs a future on the thread; it is dropped together with the future that this returns.
    pub(super) async fn run<T: Send + 'static>(
        mut self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let ended = || io::Error::other("the thread of the listener ended");
        let runtime = self.0.take().ok_or_else(ended)?;
        let (done, result) = oneshot::channel();
        let dropped = CancellationToken::new();
        let _guard = dropped.clone().drop_guard();
        std::thread::Builder::new().name("hotlist-admin".to_owned()).spawn(move || {
            let work = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = dropped.cancelled() => None,
                    result = work => Some(result),
                }
            });
            if let Some(result) = work {
                // Without a receiver the result is not needed any more.
                let _ = done.send(result);
            }
        })?;
        result.await.map_err(|_| ended())
    }
}

impl Drop for SeparateRuntime {
    fn drop(&mut self) {
        // A runtime must not be dropped inside another one if it blocks.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
