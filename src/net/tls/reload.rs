//! A value made from files, made anew when they change.

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

/// The files are looked at no more often than this.
const CHECK_EVERY: Duration = Duration::from_secs(1);

type Load<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// What a file is now: device, number, length, and times of change in nanoseconds. Links are followed, so that a
/// Kubernetes secret, whose directory is swapped by a link, changes too. `None`: there is no such file.
type Print = Option<(u64, u64, u64, [i64; 4])>;

/// The value, and the files that it is made from.
pub(super) struct Reloaded<T> {
    of: String,
    paths: Vec<PathBuf>,
    load: Load<T>,
    current: ArcSwap<T>,
    state: Mutex<State>,
}

struct State {
    /// Of the last attempt, whether it succeeded or not: a broken file is tried once.
    prints: Vec<Print>,
    checked: Instant,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    pub(super) fn start(of: &str, paths: Vec<PathBuf>, load: Load<T>) -> Result<Arc<Reloaded<T>>, TlsError> {
        // Prints are taken first: a change while loading is seen by the next check.
        let state = State { prints: prints(&paths), checked: Instant::now() };
        let current = ArcSwap::from_pointee(load()?);
        Ok(Arc::new(Reloaded { of: of.to_owned(), paths, load, current, state: Mutex::new(state) }))
    }

    /// The value of now. Whoever finds that it is time looks at the files; others do not wait for that.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<T> {
        if self.is_due() {
            let this = Arc::clone(self);
            // Files may lie on a slow network. A panic in the loader leaves the value as it is.
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
        let now = prints(&self.paths);
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.prints == now {
                return;
            }
            state.prints = now;
        }
        let result = match (self.load)() {
            Ok(value) => {
                self.current.store(Arc::new(value));
                tracing::info!(of = self.of, "certificates were loaded anew");
                "ok"
            }
            Err(error) => {
                tracing::error!(of = self.of, error = %Escaped(&error), "changed certificates cannot be used, those before stay in use");
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

fn prints(paths: &[PathBuf]) -> Vec<Print> {
    let print = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Some((found.dev(), found.ino(), found.size(), times))
    };
    paths.iter().map(print).collect()
}
