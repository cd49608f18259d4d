//! The interface between the client and the program: a candidate, whose segments are all on disk and verified, is
//! prepared and then activated, unless a newer candidate superseded it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::intel::manifest::{Manifest, Mode};

/// Activates manifests. The client does not depend on snapshots.
pub trait Apply: Send + Sync + 'static {
    /// A prepared candidate.
    type Ready: Send + 'static;

    /// Prepares a candidate, which may take seconds; runs on a blocking thread, one at a time per slot. Must not change
    /// the active snapshot. It should check [`Candidate::is_current`] regularly, and return when the candidate is not.
    ///
    /// # Errors
    /// The candidate cannot be activated. The text is reported to the control plane: what is wrong, and how to fix it.
    fn prepare(&self, mode: Mode, candidate: &Candidate) -> Result<Self::Ready, String>;

    /// Activates a prepared candidate. Must be quick and cannot fail; nothing can supersede the candidate meanwhile.
    fn publish(&self, mode: Mode, ready: Self::Ready);

    /// Frees what publishing replaced, which may take a while; called after each [`Apply::publish`].
    fn release_replaced(&self) {}

    /// Deactivates the content of a slot; only [`Mode::Shadow`] is ever cleared. Must be quick.
    fn clear(&self, mode: Mode);
}

/// A manifest with its segments.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub manifest: Arc<Manifest>,
    /// The file of each of its segments, in the manifest's order. Their digests are verified. The files are kept as long
    /// as the manifest is active.
    pub segments: Vec<PathBuf>,
    pub(super) gate: Arc<CancelGate>,
}

impl Candidate {
    /// Returns whether the candidate is still wanted. A superseded candidate is never published.
    pub fn is_current(&self) -> bool {
        self.gate.is_current()
    }
}

/// The progress of a candidate, which orders superseding and publishing.
#[derive(Debug, Default)]
pub(super) struct CancelGate {
    state: Mutex<State>,
    /// Wakes a cancelled fetch.
    cancelled: CancellationToken,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Its segments are being fetched: only this step needs the control plane.
    #[default]
    Fetching,
    /// It is being prepared.
    Preparing,
    Published,
    Superseded,
}

impl CancelGate {
    /// Creates the gate of a candidate that needs no fetch.
    pub(super) fn preparing() -> CancelGate {
        CancelGate { state: Mutex::new(State::Preparing), ..CancelGate::default() }
    }

    pub(super) fn is_current(&self) -> bool {
        *self.state() != State::Superseded
    }

    /// Ends the fetch. Returns `false` if the candidate was superseded.
    pub(super) fn prepare(&self) -> bool {
        let mut state = self.state();
        if *state == State::Fetching {
            *state = State::Preparing;
        }
        *state == State::Preparing
    }

    /// Supersedes the candidate, unless it was published.
    pub(super) fn supersede(&self) {
        let mut state = self.state();
        if *state != State::Published {
            *state = State::Superseded;
            self.cancelled.cancel();
        }
    }

    /// Cancels the fetch, because the stream ended. Returns `false` if all segments are on disk, so that the job continues.
    pub(super) fn on_stream_end(&self) -> bool {
        let mut state = self.state();
        if *state == State::Fetching {
            *state = State::Superseded;
            self.cancelled.cancel();
        }
        *state == State::Superseded
    }

    /// Runs `publish` unless the candidate was superseded, and returns whether it ran. Nothing can supersede it meanwhile.
    pub(super) fn publish(&self, publish: impl FnOnce()) -> bool {
        let mut state = self.state();
        let is_wanted = *state == State::Preparing;
        if is_wanted {
            publish();
            *state = State::Published;
        }
        is_wanted
    }

    /// Resolves when the candidate is superseded.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    // A panic in `publish` leaves the state unchanged.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_superseded_is_not_published_and_what_was_published_is_not_taken_back() {
        let gate = CancelGate::default();
        assert!(!gate.publish(|| panic!("it is still being fetched")));
        assert!(gate.prepare() && gate.is_current());
        assert!(!gate.on_stream_end(), "it needs the control plane no more");
        assert!(gate.publish(|| {}));
        gate.supersede();
        assert!(gate.is_current());
        let gate = CancelGate::preparing();
        gate.supersede();
        assert!(!gate.publish(|| panic!("superseded")) && !gate.is_current());
        let gate = CancelGate::default();
        assert!(gate.on_stream_end() && !gate.prepare());
    }
}
