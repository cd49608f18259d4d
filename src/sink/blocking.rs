//! Work that blocks or takes long, away from the async threads.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` on a blocking thread. A runtime with one thread runs it in place: no other task waits there, and its
/// order of events is reproducible (`tests/simulation`).
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
