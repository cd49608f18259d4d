//! Work that blocks or takes long, away from the threads that answer.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` on a thread of its own. A runtime with one thread runs it in place: it has no other work to do for
/// anybody who waits, and its order of events can be repeated (`tests/simulation`).
///
/// # Errors
/// The work panicked, or the runtime shuts down.
pub(super) async fn blocking<T, F>(work: F) -> Result<T, String>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string()),
    }
}
