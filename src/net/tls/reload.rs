//! A value that is loaded from files, and loaded again when they change.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use metrics::counter;

use super::TlsError;
use crate::escape::Escaped;
use crate::telemetry;

/// Minimum time between two checks of the files.
const CHECK_EVERY: Duration = Duration::from_secs(1);

type Load<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// The identity of a file's content: device, inode, length, and times of change in nanoseconds. Links are followed, so
/// that a Kubernetes secret, whose directory is swapped by a link, is recognised as changed. `None`: the file does not
/// exist.
type FileIdentity = Option<(u64, u64, u64, [i64; 4])>;

/// The value, and the files that it is loaded from.
pub(super) struct Reloaded<T> {
    of: String,
    paths: Vec<PathBuf>,
    load: Load<T>,
    current: ArcSwap<T>,
    state: Mutex<State>,
}

struct State {
    /// The files at the last attempt, successful or not: a broken file is tried once.
    identities: Vec<FileIdentity>,
    checked: Instant,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    pub(super) fn start(of: &str, paths: Vec<PathBuf>, load: Load<T>) -> Result<Arc<Reloaded<T>>, TlsError> {
        // The identities are read first, so that the next check sees a change during loading.
        let state = State { identities: identities(&paths), checked: Instant::now() };
        let current = ArcSwap::from_pointee(load()?);
        Ok(Arc::new(Reloaded { of: of.to_owned(), paths, load, current, state: Mutex::new(state) }))
    }

    /// Returns the current value. If a check is due, the caller performs it; other callers do not wait for it.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<T> {
        if self.is_due() {
            let this = Arc::clone(self);
            // The files may be on a slow network. A panic in the loader leaves the value unchanged.
            let _ = tokio::task::spawn_blocking(move || this.check()).await;
        }
        self.current.load_full()
    }

    fn is_due(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = !self.paths.is_empty() && state.checked.elapsed() >= CHECK_EVERY;
        if due {
            state.checked = Instant::now();
        }
        due
    }

    fn check(&self) {
        let now = identities(&self.paths);
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.identities == now {
                return;
            }
            state.identities = now;
        }
        let result = match (self.load)() {
            Ok(value) => {
                self.current.store(Arc::new(value));
                tracing::info!(of = self.of, "certificates reloaded");
                "ok"
            }
            Err(error) => {
                tracing::error!(of = self.of, error = %Escaped(&error), "cannot load changed certificates: the previous ones stay in use");
                "failed"
            }
        };
        counter!(telemetry::TLS_RELOADS_TOTAL, "result" => result).increment(1);
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").field("of", &self.of).field("paths", &self.paths).finish_non_exhaustive()
    }
}

fn identities(paths: &[PathBuf]) -> Vec<FileIdentity> {
    let print = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Some((found.dev(), found.ino(), found.size(), times))
    };
    paths.iter().map(print).collect()
}
