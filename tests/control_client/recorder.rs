//! The program that the client serves: records which versions are activated, and checks each time that the version may
//! be.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use hotlist::intel::manifest::{Digest, Mode};
use hotlist::provider::control::{Apply, Candidate};
use tokio::sync::watch;

use super::common::PATIENCE;

/// The feed of manifests that must never come here.
pub const BAD: &str = "bad";

/// What is in service, and what was.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// The version in each slot.
    pub serving: HashMap<Mode, u64>,
    /// Everything that was published, in order.
    pub published: Vec<(Mode, u64)>,
    /// Everything that was begun to be made ready.
    pub begun: Vec<(Mode, u64)>,
    /// Versions that were given up because they were no longer current.
    pub given_up: Vec<u64>,
    /// What should never have come here. A panic would only be a refusal.
    violations: Vec<String>,
}

/// The program.
pub struct Recorder {
    notes: watch::Sender<Notes>,
    /// Versions that wait until they are let go.
    held: Mutex<HashSet<u64>>,
    released: std::sync::Condvar,
    /// Versions that cannot be made ready.
    bad: Mutex<HashSet<u64>>,
    /// The files of what serves: they must stay.
    files: Mutex<HashMap<Mode, Vec<(std::path::PathBuf, Digest)>>>,
}

impl Recorder {
    pub fn new() -> Arc<Recorder> {
        let (notes, _) = watch::channel(Notes::default());
        let (held, released, bad, files) = Default::default();
        Arc::new(Recorder { notes, held, released, bad, files })
    }

    /// This version is not made ready before [`Recorder::release`].
    pub fn hold(&self, version: u64) {
        self.held.lock().unwrap().insert(version);
    }

    pub fn release(&self, version: u64) {
        self.held.lock().unwrap().remove(&version);
        self.released.notify_all();
    }

    pub fn refuse(&self, version: u64) {
        self.bad.lock().unwrap().insert(version);
    }

    /// Guarantee, asked whenever anything is: nothing came that should not.
    pub fn notes(&self) -> Notes {
        let notes = self.notes.borrow().clone();
        assert!(notes.violations.is_empty(), "{:?}", notes.violations);
        notes
    }

    pub fn version(&self, mode: Mode) -> Option<u64> {
        self.notes().serving.get(&mode).copied()
    }

    fn hold_to(&self, is_so: bool, what: &str) {
        if !is_so {
            self.notes.send_modify(|notes| notes.violations.push(what.to_owned()));
        }
    }

    /// Waits until the notes are so.
    pub async fn until(&self, what: &str, so: impl FnMut(&Notes) -> bool) {
        let mut watch = self.notes.subscribe();
        let reached = tokio::time::timeout(PATIENCE, watch.wait_for(so)).await;
        assert!(reached.is_ok(), "never: {what}: {:?}", self.notes());
    }

    /// Guarantee: the files of what serves are there and whole.
    pub fn assert_files(&self) {
        self.notes();
        for (path, digest) in self.files.lock().unwrap().values().flatten() {
            assert_eq!(Digest::sha256(&std::fs::read(path).unwrap()), *digest, "{}", path.display());
        }
    }
}

/// What a candidate becomes.
pub struct Ready(u64, Vec<(std::path::PathBuf, Digest)>);

impl Apply for Recorder {
    type Ready = Ready;

    fn prepare(&self, mode: Mode, candidate: &Candidate) -> Result<Ready, String> {
        let version = candidate.manifest.version;
        let named: Vec<Digest> = candidate.manifest.segments.iter().map(|segment| segment.digest).collect();
        let files: Vec<(std::path::PathBuf, Digest)> = candidate.segments.iter().cloned().zip(named.clone()).collect();
        self.hold_to(candidate.segments.len() == named.len(), "another number of files than of segments");
        for ((path, digest), segment) in files.iter().zip(&candidate.manifest.segments) {
            let is_right = std::fs::read(path)
                .is_ok_and(|bytes| Digest::sha256(&bytes) == *digest && bytes.len() as u64 == segment.bytes);
            self.hold_to(is_right, "a segment that is not what its name says");
        }
        let is_good = candidate.manifest.mode == mode && candidate.manifest.rules.iter().all(|rule| rule.feed != BAD);
        self.hold_to(is_good, "a manifest that nobody may take");
        self.notes.send_modify(|notes| notes.begun.push((mode, version)));
        let mut held = self.held.lock().unwrap();
        while held.contains(&version) && candidate.is_current() {
            // There is no notification when it becomes current, so it is polled.
            held = self.released.wait_timeout(held, std::time::Duration::from_millis(5)).unwrap().0;
        }
        drop(held);
        if !candidate.is_current() {
            self.notes.send_modify(|notes| notes.given_up.push(version));
        }
        match self.bad.lock().unwrap().contains(&version) {
            true => Err(format!("version {version} makes no snapshot; publish another")),
            false => Ok(Ready(version, files)),
        }
    }

    fn publish(&self, mode: Mode, Ready(version, files): Ready) {
        self.files.lock().unwrap().insert(mode, files);
        let published = self.notes.borrow().published.clone();
        let before = published.iter().rev().find(|(slot, _)| *slot == mode).map_or(0, |(_, before)| *before);
        self.hold_to(version >= before, "a version that goes back");
        self.notes.send_modify(|notes| {
            notes.serving.insert(mode, version);
            notes.published.push((mode, version));
        });
    }

    fn clear(&self, mode: Mode) {
        self.hold_to(mode == Mode::Shadow, "an empty slot that never is");
        self.files.lock().unwrap().remove(&mode);
        self.notes.send_modify(|notes| {
            notes.serving.remove(&mode);
        });
    }
}
