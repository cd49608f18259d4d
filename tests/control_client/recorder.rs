//! The program that the client serves: takes notes of what is put into service, and checks each time that it may be.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use hotlist::control::client::{Apply, Candidate};
use hotlist::intel::manifest::{Digest, Mode};
use tokio::sync::watch;

use super::common::PATIENCE;

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

    pub fn notes(&self) -> Notes {
        self.notes.borrow().clone()
    }

    pub fn version(&self, mode: Mode) -> Option<u64> {
        self.notes.borrow().serving.get(&mode).copied()
    }

    /// Waits until the notes are so.
    pub async fn until(&self, what: &str, so: impl FnMut(&Notes) -> bool) {
        let mut watch = self.notes.subscribe();
        let reached = tokio::time::timeout(PATIENCE, watch.wait_for(so)).await;
        assert!(reached.is_ok(), "never: {what}: {:?}", self.notes());
    }

    /// Guarantee: the files of what serves are there and whole.
    pub fn assert_files(&self) {
        for (path, digest) in self.files.lock().unwrap().values().flatten() {
            assert_eq!(Digest::of(&std::fs::read(path).unwrap()), *digest, "{}", path.display());
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
        assert_eq!(files.len(), named.len(), "a file for each segment");
        for ((path, digest), segment) in files.iter().zip(&candidate.manifest.segments) {
            let bytes = std::fs::read(path).unwrap();
            assert_eq!((Digest::of(&bytes), bytes.len() as u64), (*digest, segment.bytes), "unverified bytes");
        }
        self.notes.send_modify(|notes| notes.begun.push((mode, version)));
        let mut held = self.held.lock().unwrap();
        while held.contains(&version) && candidate.is_current() {
            // Whether it is current, nobody tells: it is asked.
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
        self.notes.send_modify(|notes| {
            let before = notes.published.iter().rev().find(|(slot, _)| *slot == mode).map_or(0, |(_, before)| *before);
            assert!(version >= before, "{mode}: version {version} after {before}");
            notes.serving.insert(mode, version);
            notes.published.push((mode, version));
        });
    }

    fn clear(&self, mode: Mode) {
        assert_eq!(mode, Mode::Shadow);
        self.files.lock().unwrap().remove(&mode);
        self.notes.send_modify(|notes| {
            notes.serving.remove(&mode);
        });
    }
}
