//! Readiness: a few named checks. The code that registers a check decides whether it counts, so that a failure of matching
//! need not become an outage of logging.

use std::fmt::{self, Write as _};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::escape::Escaped;

/// The name of the check that every listener is bound.
pub const LISTENERS: &str = "listeners";
/// The name of the check that there is a snapshot to match with.
pub const SNAPSHOT: &str = "snapshot";
/// The name of the check that all indicator files are valid.
pub const FEEDS: &str = "feeds";
/// The name of the check of the control plane. It never counts: a lost control plane must not stop events.
pub const CONTROL: &str = "control";
/// The name of the check that the whole configuration file is active. It never counts, and appears when it fails.
pub const CONFIGURATION: &str = "configuration";
/// The name of the check that rules select every feed. It never counts, and appears when it fails.
pub const RULES: &str = "rules";
/// The name of the check that the events of every source have checked fields. It never counts, and appears when it fails.
pub const STREAMS: &str = "streams";
/// The check that the canary is found. It never counts.
pub const CANARY: &str = "canary";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessCheck {
    pub name: &'static str,
    /// Whether a failure makes the process unready.
    pub counts: bool,
    /// Whether the check passes.
    pub good: bool,
    /// Details for people.
    pub detail: String,
}

/// A line of the report that does not affect readiness, created on request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessNote {
    /// Its subject.
    pub name: String,
    /// Whether its subject works.
    pub good: bool,
    /// Details for people.
    pub detail: String,
}

#[derive(Default)]
struct Notes(Option<Box<dyn Fn() -> Vec<ReadinessNote> + Send + Sync>>);

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notes").field(&self.0.is_some()).finish()
    }
}

/// The readiness of the process, shared between the parts that set it and those that read it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<SharedReadiness>);

#[derive(Debug, Default)]
struct SharedReadiness {
    checks: RwLock<ReadinessState>,
    /// Creates the lines below the checks.
    notes: RwLock<Notes>,
    /// The current readiness, for those who wait for a change.
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct ReadinessState {
    draining: bool,
    checks: Vec<ReadinessCheck>,
}

impl Readiness {
    /// Registers a check, which fails at first. A check that does not count is only shown. Registering again resets it.
    pub fn register(&self, name: &'static str, counts: bool) {
        self.change(|state| {
            state.checks.retain(|check| check.name != name);
            state.checks.push(ReadinessCheck { name, counts, good: false, detail: "not yet".to_owned() });
        });
    }

    /// Sets a registered check; another name is ignored.
    pub fn set(&self, name: &'static str, good: bool, detail: impl Into<String>) {
        let detail = detail.into();
        self.change(|state| {
            if let Some(check) = state.checks.iter_mut().find(|check| check.name == name) {
                (check.good, check.detail) = (good, detail);
            }
        });
    }

    /// Changes whether a registered check counts; another name is ignored.
    pub fn set_counts(&self, name: &'static str, counts: bool) {
        self.change(|state| {
            if let Some(check) = state.checks.iter_mut().find(|check| check.name == name) {
                check.counts = counts;
            }
        });
    }

    /// Sets the notes below the checks, replacing earlier ones.
    pub fn annotate(&self, notes: impl Fn() -> Vec<ReadinessNote> + Send + Sync + 'static) {
        *self.0.notes.write().unwrap_or_else(PoisonError::into_inner) = Notes(Some(Box::new(notes)));
    }

    /// Turns readiness off permanently, before the process drains.
    pub fn drain(&self) {
        self.change(|state| state.draining = true);
    }

    /// Returns whether the process is ready. Without any check it is not: nothing has been set up yet.
    pub fn is_ready(&self) -> bool {
        self.read(ReadinessState::are_good)
    }

    /// Returns the current readiness, and every change of it.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// Returns every check, in the order of registration.
    pub fn checks(&self) -> Vec<ReadinessCheck> {
        self.read(|state| state.checks.clone())
    }

    /// Formats one line per check, for `/readyz?verbose`.
    pub(super) fn report(&self) -> String {
        let mut text = String::new();
        self.read(|state| {
            for ReadinessCheck { name, counts, good, detail } in &state.checks {
                let sign = match (good, counts) {
                    (true, _) => "[+]",
                    (false, true) => "[-]",
                    (false, false) => "[i]",
                };
                let colon = if detail.is_empty() { "" } else { ": " };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{sign} {name}{colon}{}", Escaped(detail));
            }
            if state.draining {
                text.push_str("[-] draining\n");
            }
        });
        let notes = self.0.notes.read().unwrap_or_else(PoisonError::into_inner);
        for ReadinessNote { name, good, detail } in notes.0.as_ref().map(|notes| notes()).unwrap_or_default() {
            let sign = if good { "[+]" } else { "[i]" };
            let _ = writeln!(text, "{sign} {}: {}", Escaped(name), Escaped(detail));
        }
        text
    }

    // A panic elsewhere leaves a consistent state, so a poisoned lock can be used.
    fn change(&self, change: impl FnOnce(&mut ReadinessState)) {
        let mut checks = self.0.checks.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut checks);
        // Under the lock, so that watchers see the last change last.
        let ready = checks.are_good();
        self.0.ready.send_if_modified(|shown| std::mem::replace(shown, ready) != ready);
    }

    fn read<T>(&self, read: impl FnOnce(&ReadinessState) -> T) -> T {
        read(&self.0.checks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ReadinessState {
    fn are_good(&self) -> bool {
        !self.draining && !self.checks.is_empty() && self.checks.iter().all(|check| check.good || !check.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: notes show the state at the time of the request, and do not affect readiness.
    #[test]
    fn notes_are_shown_and_do_not_count() {
        let readiness = Readiness::default();
        readiness.register("a", true);
        readiness.set("a", true, "");
        let note = |good, detail: &str| ReadinessNote { name: "sink next".to_owned(), good, detail: detail.to_owned() };
        readiness.annotate(move || vec![note(true, "works"), note(false, "fails\nbadly")]);
        assert_eq!(readiness.report(), "[+] a\n[+] sink next: works\n[i] sink next: fails\\nbadly\n");
        assert!(readiness.is_ready());
    }

    /// Guarantee: watchers see each change once, and a drain is permanent.
    #[test]
    fn a_change_is_told_once() {
        let readiness = Readiness::default();
        let mut watch = readiness.watch();
        readiness.register("a", true);
        assert!(!watch.has_changed().unwrap());
        readiness.set("a", true, "");
        assert!(*watch.borrow_and_update());
        readiness.set("a", true, "again");
        assert!(!watch.has_changed().unwrap());
        readiness.drain();
        assert!(!*watch.borrow_and_update());
        readiness.set("a", true, "");
        assert!(!watch.has_changed().unwrap());
    }
}
