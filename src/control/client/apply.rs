//! What the client hands to the program: a candidate, of which every segment is on disk and checked, to be made ready
//! and then put into service, unless a newer one came in between.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::intel::manifest::{Manifest, Mode};

/// Puts manifests into service. The client knows nothing of snapshots.
pub trait Apply: Send + Sync + 'static {
    /// What is made of a candidate before it serves.
    type Ready: Send + 'static;

    /// Makes a candidate ready, which may take seconds; it runs on a thread for that, one at a time for each slot.
    /// Nothing that serves may change. It should ask [`Candidate::is_current`] now and then, and give up when it is not.
    ///
    /// # Errors
    /// It cannot serve. The text is told to the control plane: what is wrong, and how to mend it.
    fn prepare(&self, mode: Mode, candidate: &Candidate) -> Result<Self::Ready, String>;

    /// Puts what was made ready into service. It must be quick and cannot fail: nothing can overtake it.
    fn publish(&self, mode: Mode, ready: Self::Ready);

    /// Frees what publishing replaced, which may take a while; called after each time.
    fn release_replaced(&self) {}

    /// Takes whatever is in the slot out of service; only [`Mode::Shadow`] is ever emptied. It must be quick.
    fn clear(&self, mode: Mode);
}

/// A manifest with its segments.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// The file of each of its segments, in the manifest's order. Their digests have been checked. They stay where they
    /// are while the manifest serves.
    pub segments: Vec<PathBuf>,
    pub(super) gate: Arc<Gate>,
}

impl Candidate {
    /// Whether it is still wanted. One that is not will not be published, whatever becomes of it.
    pub fn is_current(&self) -> bool {
        self.gate.is_current()
    }
}

/// How far a candidate is. Whoever supersedes it and whoever publishes it pass here one after the other.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    /// Wakes a fetch that is no longer wanted.
    cancelled: CancellationToken,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Its segments are being fetched: only this needs the control plane.
    #[default]
    Fetching,
    /// It is being made ready.
    Preparing,
    /// It serves, or did.
    Published,
    /// It is no longer wanted.
    Superseded,
}

impl Gate {
    /// A gate for a candidate that needs no fetch.
    pub(super) fn preparing() -> Gate {
        Gate { state: Mutex::new(State::Preparing), ..Gate::default() }
    }

    pub(super) fn is_current(&self) -> bool {
        *self.state() != State::Superseded
    }

    /// Ends the fetch. `false`: it is no longer wanted.
    pub(super) fn prepare(&self) -> bool {
        let mut state = self.state();
        if *state == State::Fetching {
            *state = State::Preparing;
        }
        *state == State::Preparing
    }

    /// Something newer came. What serves already is not taken back.
    pub(super) fn supersede(&self) {
        let mut state = self.state();
        if *state != State::Published {
            *state = State::Superseded;
            self.cancelled.cancel();
        }
    }

    /// The control plane is gone. `false`: its segments are here, so it goes on without.
    pub(super) fn break_off(&self) -> bool {
        let mut state = self.state();
        if *state == State::Fetching {
            *state = State::Superseded;
            self.cancelled.cancel();
        }
        *state == State::Superseded
    }

    /// Runs `publish` if it is still wanted, and says whether it was. Nothing can supersede it meanwhile.
    pub(super) fn publish(&self, publish: impl FnOnce()) -> bool {
        let mut state = self.state();
        let is_wanted = *state == State::Preparing;
        if is_wanted {
            publish();
            *state = State::Published;
        }
        is_wanted
    }

    /// Resolves when it is no longer wanted.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    // A panic in `publish` leaves the state as it was.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_superseded_is_not_published_and_what_was_published_is_not_taken_back() {
        let gate = Gate::default();
        assert!(!gate.publish(|| panic!("it is still being fetched")));
        assert!(gate.prepare() && gate.is_current());
        assert!(!gate.break_off(), "it needs the control plane no more");
        assert!(gate.publish(|| {}));
        gate.supersede();
        assert!(gate.is_current());
        let gate = Gate::preparing();
        gate.supersede();
        assert!(!gate.publish(|| panic!("superseded")) && !gate.is_current());
        let gate = Gate::default();
        assert!(gate.break_off() && !gate.prepare());
    }
}
