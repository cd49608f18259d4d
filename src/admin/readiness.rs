//! Readiness: a handful of named checks. Which of them count is decided by whoever registers them, so that a fault of
//! detection need not become an outage of logging.

use std::fmt::{self, Write as _};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::escape::Escaped;

/// One check of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Whether the process is ready only when it is good.
    pub counts: bool,
    /// Whether it is good.
    pub good: bool,
    /// What to show beside it, for people.
    pub detail: String,
}

/// A line of the report that no decision depends on, made when somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub name: String,
    /// Whether it is good.
    pub good: bool,
    /// What to show beside it, for people.
    pub detail: String,
}

/// What makes notes.
#[derive(Default)]
struct Notes(Option<Box<dyn Fn() -> Vec<Note> + Send + Sync>>);

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notes").field(&self.0.is_some()).finish()
    }
}

/// Whether the process should get work, shared between those who know and those who ask.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    checks: RwLock<Checks>,
    /// Shown below the checks.
    notes: RwLock<Notes>,
    /// Whether it is ready, for those who wait for that to change.
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Checks {
    draining: bool,
    checks: Vec<Check>,
}

impl Readiness {
    /// Registers a check, bad at first. One that does not count is shown only. A name registered again starts anew.
    pub fn register(&self, name: &'static str, counts: bool) {
        self.change(|state| {
            state.checks.retain(|check| check.name != name);
            state.checks.push(Check { name, counts, good: false, detail: "not yet".to_owned() });
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

    /// Says anew whether a registered check counts; another name is ignored.
    pub fn weigh(&self, name: &'static str, counts: bool) {
        self.change(|state| {
            if let Some(check) = state.checks.iter_mut().find(|check| check.name == name) {
                check.counts = counts;
            }
        });
    }

    /// Shows notes below the checks from now on, in the place of those before.
    pub fn annotate(&self, notes: impl Fn() -> Vec<Note> + Send + Sync + 'static) {
        *self.0.notes.write().unwrap_or_else(PoisonError::into_inner) = Notes(Some(Box::new(notes)));
    }

    /// Turns readiness off for good, before the process drains.
    pub fn drain(&self) {
        self.change(|state| state.draining = true);
    }

    /// Whether work should come. Without any check it should not: nothing has been set up yet.
    pub fn is_ready(&self) -> bool {
        self.read(Checks::are_good)
    }

    /// The same, and every change of it.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// Every check, in the order of registration.
    pub fn checks(&self) -> Vec<Check> {
        self.read(|state| state.checks.clone())
    }

    /// One line a check, as `/readyz?verbose` shows it.
    pub(super) fn report(&self) -> String {
        let mut text = String::new();
        self.read(|state| {
            for Check { name, counts, good, detail } in &state.checks {
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
        for Note { name, good, detail } in notes.0.as_ref().map(|notes| notes()).unwrap_or_default() {
            let sign = if good { "[+]" } else { "[i]" };
            let _ = writeln!(text, "{sign} {}: {}", Escaped(name), Escaped(detail));
        }
        text
    }

    // A panic elsewhere cannot leave the state half changed, so a poisoned lock is still good.
    fn change(&self, change: impl FnOnce(&mut Checks)) {
        let mut checks = self.0.checks.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut checks);
        // Under the lock, so that the last change is also the last that is told.
        let ready = checks.are_good();
        self.0.ready.send_if_modified(|told| std::mem::replace(told, ready) != ready);
    }

    fn read<T>(&self, read: impl FnOnce(&Checks) -> T) -> T {
        read(&self.0.checks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Checks {
    fn are_good(&self) -> bool {
        !self.draining && !self.checks.is_empty() && self.checks.iter().all(|check| check.good || !check.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: notes are shown as they are at the moment of asking, and change nothing about readiness.
    #[test]
    fn notes_are_shown_and_do_not_count() {
        let readiness = Readiness::default();
        readiness.register("a", true);
        readiness.set("a", true, "");
        let note = |good, detail: &str| Note { name: "sink next".to_owned(), good, detail: detail.to_owned() };
        readiness.annotate(move || vec![note(true, "works"), note(false, "fails\nbadly")]);
        assert_eq!(readiness.report(), "[+] a\n[+] sink next: works\n[i] sink next: fails\\nbadly\n");
        assert!(readiness.is_ready());
    }

    /// Guarantee: whoever watches is told of each change once, and a drain is for good.
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
