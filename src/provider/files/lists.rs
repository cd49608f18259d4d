//! Keeps the allowlists: reads them again when a file changes, and keeps the old ones when a valid file becomes invalid,
//! since findings that a list suppressed would become hits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::config;
use crate::feed::allowlist::{self, AllowlistError};
use crate::feed::watching::changes::{Changes, Fingerprint};
use crate::feed::watching::watch::Notice;
use crate::intel::allowlist::Allowlists;

/// The active lists, and their files.
pub struct AllowlistSet {
    intel: config::Intel,
    prints: BTreeMap<PathBuf, Option<Fingerprint>>,
    changes: Changes,
    serving: Arc<Allowlists>,
}

impl AllowlistSet {
    /// Reads every list. An unusable list is logged and left out.
    pub fn load(intel: &config::Intel) -> AllowlistSet {
        let prints = prints(intel);
        let (serving, errors) = allowlist::load(intel);
        log_lists(&serving, &errors);
        AllowlistSet { intel: intel.clone(), prints, changes: Changes::default(), serving }
    }

    /// Reads every list for a configuration that is to replace the active one.
    ///
    /// # Errors
    /// A list cannot be read.
    pub fn prepare(intel: &config::Intel) -> Result<AllowlistSet, AllowlistError> {
        let prints = prints(intel);
        let (serving, mut errors) = allowlist::load(intel);
        if let Some(at) = errors.iter().position(AllowlistError::costs_a_list) {
            return Err(errors.swap_remove(at));
        }
        log_lists(&serving, &errors);
        Ok(AllowlistSet { intel: intel.clone(), prints, changes: Changes::default(), serving })
    }

    /// Returns the active lists.
    pub fn serving(&self) -> &Arc<Allowlists> {
        &self.serving
    }

    /// Returns their configuration.
    pub fn entries(&self) -> &[config::AllowlistFiles] {
        &self.intel.allowlists
    }

    /// Returns the paths and globs of the configuration.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.intel.allowlists.iter().map(|entry| entry.path.as_str())
    }

    /// Records a file system notification.
    pub fn record_notice(&mut self, notice: Notice) {
        self.changes.record_notice(notice);
    }

    /// Returns when the next check is due, if a change is pending.
    pub fn next_scan(&self) -> Option<Instant> {
        self.changes.next_look()
    }

    /// Reads the lists again if a file changed and is complete. Returns whether the lists changed.
    pub fn scan(&mut self, now: Instant) -> bool {
        let found = prints(&self.intel);
        let mut changed = false;
        for path in self.prints.keys().chain(found.keys()) {
            let (old, new) = (self.prints.get(path).copied().flatten(), found.get(path).copied().flatten());
            if old == new {
                self.changes.settled(path);
            } else if self.changes.may_read(path, new, now) {
                changed = true;
            } else {
                // Lists are read together, when all of them are complete.
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
                tracing::error!(cause = line, "intel.allowlists: list cannot be used");
            }
            tracing::error!("allowlists refused; the previous ones stay active");
            return false;
        }
        log_lists(&lists, &errors);
        self.serving = lists;
        true
    }
}

fn log_lists(lists: &Allowlists, errors: &[AllowlistError]) {
    for line in allowlist::lines(errors) {
        tracing::warn!(cause = line, "intel.allowlists: entry cannot be used");
    }
    for list in lists.lists() {
        let (list, action, entries) = (list.name(), list.action().as_str(), list.len());
        tracing::info!(list, action, entries, "allowlist loaded");
    }
}

/// Returns every file of the lists. A path without a glob counts even if it does not exist.
fn prints(intel: &config::Intel) -> BTreeMap<PathBuf, Option<Fingerprint>> {
    let mut prints = BTreeMap::new();
    for entry in intel.allowlists.iter().filter(|entry| entry.enabled) {
        for path in glob::glob(&entry.path).into_iter().flatten().flatten() {
            let print = Fingerprint::read(&path);
            prints.insert(path, print);
        }
    }
    prints
}
