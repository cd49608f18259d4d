//! Tasks and threads that run as long as the process. A panic in one ends the process gracefully, so that none is ever
//! missing unnoticed.
//!
//! Work on a connection or a request is not such a task: its panic fails only that work, is logged and counted.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The name of the first task that panicked.
static FAILED: LazyLock<watch::Sender<Option<&'static str>>> = LazyLock::new(watch::Sender::default);

/// Spawns a task that runs as long as the process, or as long as the owner of the handle. If it panics, [`failed`]
/// resolves.
pub fn background(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        // The task's state is not used after a panic.
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            fail(name);
        }
    })
}

/// Starts a thread that runs as long as the process, or until its work is done. If it panics, [`failed`] resolves.
///
/// # Errors
/// The system cannot start a thread.
pub fn background_thread(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            fail(name);
        }
    })?;
    Ok(())
}

fn fail(name: &'static str) {
    FAILED.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert(name);
        is_first
    });
}

/// Resolves when a background task or thread of the process has panicked; returns its name.
pub async fn failed() -> &'static str {
    let mut failed = FAILED.subscribe();
    let first = failed.wait_for(Option::is_some).await.map(|first| *first);
    match first {
        Ok(Some(name)) => name,
        // The sender lives as long as the process.
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_background_task_is_seen_and_its_end_is_not() {
        background("well", async {}).await.unwrap();
        assert!(failed().now_or_never().is_none());
        background_thread("broken", || panic!("on purpose")).unwrap();
        assert_eq!(failed().await, "broken");
        background("later", async { panic!("on purpose") }).await.unwrap();
        assert_eq!(failed().await, "broken");
    }
}
