//! Keeps the allowlists: reads them again when one of their files changes, and keeps the old ones when a file that was
//! good is not any more, since findings that a list held back would come in as hits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::config;
use crate::feed::allowlist::{self, AllowlistError};
use crate::feed::changes::{Changes, Fingerprint};
use crate::feed::watch::Notice;
use crate::intel::allowlist::Allowlists;

/// The lists in force, and the files that they are from.
pub struct Lists {
    intel: config::Intel,
    prints: BTreeMap<PathBuf, Option<Fingerprint>>,
    changes: Changes,
    serving: Arc<Allowlists>,
}

impl Lists {
    /// Reads every list. What cannot be used is logged and costs itself only.
    pub fn load(intel: &config::Intel) -> Lists {
        let prints = prints(intel);
        let (serving, errors) = allowlist::load(intel);
        tell(&serving, &errors);
        Lists { intel: intel.clone(), prints, changes: Changes::default(), serving }
    }

    /// The same for a configuration that is to replace the one in force.
    ///
    /// # Errors
    /// A list cannot be read.
    pub fn prepare(intel: &config::Intel) -> Result<Lists, AllowlistError> {
        let prints = prints(intel);
        let (serving, mut errors) = allowlist::load(intel);
        if let Some(at) = errors.iter().position(AllowlistError::costs_a_list) {
            return Err(errors.swap_remove(at));
        }
        tell(&serving, &errors);
        Ok(Lists { intel: intel.clone(), prints, changes: Changes::default(), serving })
    }

    /// The lists in force.
    pub fn serving(&self) -> &Arc<Allowlists> {
        &self.serving
    }

    /// What the configuration says of them.
    pub fn entries(&self) -> &[config::AllowlistFiles] {
        &self.intel.allowlists
    }

    /// The paths and globs of the configuration.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.intel.allowlists.iter().map(|entry| entry.path.as_str())
    }

    /// Takes note of what the system says of a path.
    pub fn note(&mut self, notice: Notice) {
        self.changes.note(notice);
    }

    /// When to look again at the latest, if something is waited for.
    pub fn next_look(&self) -> Option<Instant> {
        self.changes.next_look()
    }

    /// Reads the lists again if a file of them changed and may be read. Says whether others are in force now.
    pub fn look(&mut self, now: Instant) -> bool {
        let found = prints(&self.intel);
        let mut changed = false;
        for path in self.prints.keys().chain(found.keys()) {
            let (old, new) = (self.prints.get(path).copied().flatten(), found.get(path).copied().flatten());
            if old == new {
                self.changes.settled(path);
            } else if self.changes.may_read(path, new, now) {
                changed = true;
            } else {
                // Lists are read together, when all of them are whole.
                return false;
            }
        }
        if !changed {
            self.changes.end_look();
            return false;
        }
        found.keys().for_each(|path| self.changes.settled(path));
        self.changes.end_look();
        let (lists, errors) = allowlist::load(&self.intel);
        self.prints = found;
        if errors.iter().any(AllowlistError::costs_a_list) {
            for line in allowlist::lines(&errors) {
                tracing::error!("intel.allowlists: {line}");
            }
            tracing::error!("a list cannot be read any more: the old allowlists stay in force");
            return false;
        }
        tell(&lists, &errors);
        self.serving = lists;
        true
    }
}

fn tell(lists: &Allowlists, errors: &[AllowlistError]) {
    for line in allowlist::lines(errors) {
        tracing::warn!("intel.allowlists: {line}");
    }
    for list in lists.lists() {
        let (list, action, entries) = (list.name(), list.action().as_str(), list.len());
        tracing::info!(list, action, entries, "allowlist is loaded");
    }
}

/// Every file of the lists. A path without a glob counts also while nothing is there.
fn prints(intel: &config::Intel) -> BTreeMap<PathBuf, Option<Fingerprint>> {
    let mut prints = BTreeMap::new();
    for entry in intel.allowlists.iter().filter(|entry| entry.enabled) {
        for path in glob::glob(&entry.path).into_iter().flatten().flatten() {
            let print = Fingerprint::of(&path);
            prints.insert(path, print);
        }
    }
    prints
}
