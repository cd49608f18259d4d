//! The set of indicator files and their snapshot: scans the files, reads changed ones, and decides whether new content may
//! replace the held content. Only valid content does: a file that became malformed, empty or much smaller, or that
//! vanished, keeps its last good indicators.
//!
//! Has no threads and no clock; [`super::thread`] drives it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{self, OnShrink};
use crate::feed::allowlist::AllowlistError;
use crate::feed::load::{self, FeedFile, Outcome};
use crate::feed::watching::changes::{Changes, Fingerprint};
use crate::feed::watching::files;
use crate::feed::watching::watch::Notice;
use crate::intel::snapshot::{MatchOptions, ReuseError, Snapshot, SnapshotBuilder};
use crate::schema::FieldTable;

/// The files to read, and how their snapshot is built.
#[derive(Clone)]
pub struct Settings {
    pub intel: config::Intel,
    pub table: Arc<FieldTable>,
    /// How values are matched.
    pub options: MatchOptions,
}

impl Settings {
    /// Returns whether feeds of a snapshot for the other settings can be reused.
    fn alike(&self, other: &Settings) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.options == other.options
    }
}

/// The reason that a file's content is not active.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedFault {
    /// The file cannot be read, or is malformed.
    #[error("{0}")]
    Unusable(String),
    /// The file has no indicators.
    #[error("the file has no indicators; if this is intended, remove the feed from `intel.files`")]
    Empty,
    /// The file does not exist any more.
    #[error("the file is missing; if this is intended, remove it from `intel.files`")]
    Vanished,
    /// The file has less than half of the held indicators.
    #[error(
        "the feed shrank from {held} to {found} indicators; accept with `POST /feeds/FEED/confirm` at the admin listener, or set `intel.on_shrink: accept`"
    )]
    Shrunk {
        /// Indicators held.
        held: usize,
        /// Indicators found.
        found: usize,
    },
}

impl FeedFault {
    /// Returns the value of the metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            FeedFault::Unusable(_) => "unusable",
            FeedFault::Empty => "empty",
            FeedFault::Vanished => "vanished",
            FeedFault::Shrunk { .. } => "shrunk",
        }
    }
}

/// The reason that new settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsRefusal {
    /// An active feed cannot be read, and its held content does not fit the new settings.
    #[error("{}: {fault}; this change needs to read the feed again, so fix the feed first", path.display())]
    Feed {
        path: PathBuf,
        /// The fault of the file.
        fault: FeedFault,
    },
    /// The indicators cannot be indexed.
    #[error("intel.files: {0}")]
    Snapshot(#[from] ReuseError),
    /// An allowlist cannot be read.
    #[error("intel.allowlists: {0}")]
    Allowlist(#[from] AllowlistError),
    /// Applying the settings panicked.
    #[error("taking the new indicators failed because of a bug in Hotlist: the log has the panic, please report it")]
    Panicked,
}

/// The key of a file: the path, the feed, and a number among files that have both in common.
type Key = (PathBuf, String, usize);

#[derive(Clone, Debug)]
pub struct FeedFileState {
    /// The file, and how it is read.
    pub file: FeedFile,
    /// The last checked fingerprint, `Some(None)` when the file was missing. `None` requests another check.
    judged: Option<Option<Fingerprint>>,
    /// The index of its held content among the snapshot's feeds.
    pub place: Option<usize>,
    /// The digest of its held content.
    digest: Option<load::Digest>,
    /// The reason that its current content is not active.
    pub fault: Option<FeedFault>,
}

/// The result of a scan of the files.
#[derive(Default)]
pub struct FeedScan {
    /// Every file that was read.
    pub outcomes: Vec<Outcome>,
    pub faults: Vec<(PathBuf, String, FeedFault)>,
    /// Files that were dropped, since the rest of their feed has enough indicators.
    pub dropped: Vec<PathBuf>,
    /// The new snapshot, if anything changed.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The reason that there is no new snapshot although something changed.
    pub failed: Option<ReuseError>,
    /// The files with accepted content, each with the index of its outcome.
    accepted: BTreeMap<Key, usize>,
}

impl FeedScan {
    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.faults.is_empty() && self.dropped.is_empty() && self.snapshot.is_none()
    }
}

/// The files and their snapshot.
pub struct FeedSet {
    settings: Settings,
    seed: u64,
    files: BTreeMap<Key, FeedFileState>,
    missing: Vec<String>,
    changes: Changes,
    confirmed: BTreeSet<String>,
    serving: Option<Arc<Snapshot>>,
}

impl FeedSet {
    /// Creates an empty set. `seed` keys the hash of every snapshot.
    pub fn new(settings: Settings, seed: u64) -> FeedSet {
        FeedSet {
            settings,
            seed,
            files: BTreeMap::new(),
            missing: Vec::new(),
            changes: Changes::default(),
            confirmed: BTreeSet::new(),
            serving: None,
        }
    }

    /// Returns the active snapshot.
    pub fn serving(&self) -> Option<&Arc<Snapshot>> {
        self.serving.as_ref()
    }

    /// Returns every file, by path and feed.
    pub fn files(&self) -> impl Iterator<Item = &FeedFileState> {
        self.files.values()
    }

    /// Returns the entries of the configuration that match no file.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Returns the paths and globs of the configuration.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.settings.intel.files.iter().map(|entry| entry.path.as_str())
    }

    /// Records a file system notification.
    pub fn record_notice(&mut self, notice: Notice) {
        self.changes.record_notice(notice);
    }

    /// Makes the next scan check every file again, as after a scan that panicked. Held content stays held.
    pub fn recheck_all(&mut self) {
        self.files.values_mut().for_each(|kept| kept.judged = None);
    }

    /// Returns when the next scan is due, if a change is pending.
    pub fn next_scan(&self) -> Option<Instant> {
        self.changes.next_look()
    }

    /// Makes the next scan accept the size of a feed, unless it is empty. Returns whether there is such a feed.
    pub fn confirm(&mut self, feed: &str) -> bool {
        let mut known = false;
        for kept in self.files.values_mut().filter(|kept| kept.file.feed.name == feed) {
            known = true;
            if matches!(kept.fault, Some(FeedFault::Shrunk { .. } | FeedFault::Vanished)) {
                kept.judged = None;
                self.confirmed.insert(feed.to_owned());
            }
        }
        known
    }

    /// Scans every file, and reads those that changed and are complete by `now`. `None` reads all of them at once.
    pub fn scan(&mut self, now: Option<Instant>) -> FeedScan {
        let mut scan = FeedScan::default();
        let found = self.resolve();
        for (key, file) in &found {
            let print = Fingerprint::read(&key.0);
            let kept = self.files.get(key);
            if kept.is_some_and(|kept| kept.judged == Some(print) && kept.file == *file) {
                self.changes.settled(&key.0);
                continue;
            }
            // A confirmed file is read without a delay.
            let asked_for = kept.is_some_and(|kept| kept.judged.is_none());
            if !asked_for && now.is_some_and(|now| !self.changes.may_read(&key.0, print, now)) {
                continue;
            }
            let outcome = load::load(file.clone(), &self.settings.table);
            // It was written while it was read, so the content was never complete.
            if now.is_some() && Fingerprint::read(&key.0) != print {
                continue;
            }
            self.changes.settled(&key.0);
            let fault = self.check_replacement(key, &outcome);
            if fault.is_none() {
                scan.accepted.insert(key.clone(), scan.outcomes.len());
            }
            let digest = outcome.digest;
            scan.outcomes.push(outcome);
            self.remember(key, file, print, fault, &mut scan);
            if let (Some(kept), true) = (self.files.get_mut(key), scan.accepted.contains_key(key)) {
                kept.digest = digest;
            }
        }
        // Feeds may have thousands of files, so the work per file must not scan all of them.
        let present: HashSet<&Key> = found.iter().map(|(key, _)| key).collect();
        self.check_vanished(&present, now, &mut scan);
        self.rebuild(&mut scan);
        self.changes.end_look();
        self.confirmed.clear();
        scan
    }

    /// Applies other settings: reads what they change, and keeps the rest. On an error everything stays unchanged.
    ///
    /// # Errors
    /// An active feed cannot be read under the new settings, or the indicators cannot be indexed.
    pub fn reconfigure(&mut self, settings: Settings) -> Result<FeedScan, SettingsRefusal> {
        let alike = self.settings.alike(&settings);
        let mut next = FeedSet::new(settings, self.seed);
        next.serving = self.serving.clone().filter(|_| alike);
        let found: HashMap<Key, FeedFile> = next.resolve().into_iter().collect();
        for (key, kept) in &self.files {
            let is_found = found.get(key);
            let unchanged = is_found.is_some_and(|file| *file == kept.file);
            let is_held = kept.place.is_some();
            let gone = is_found.is_none() && is_held && asks_for(&next.settings.intel, key);
            if alike && (unchanged || gone) {
                let mut kept = kept.clone();
                if next.settings.intel.on_shrink == OnShrink::Accept
                    && matches!(kept.fault, Some(FeedFault::Shrunk { .. }))
                {
                    kept.judged = None;
                }
                next.files.insert(key.clone(), kept);
            } else if gone {
                return Err(SettingsRefusal::Feed { path: key.0.clone(), fault: FeedFault::Vanished });
            }
        }
        let scan = next.scan(None);
        for (path, feed, fault) in &scan.faults {
            let was_held = self
                .files
                .values()
                .any(|kept| kept.file.path == *path && kept.file.feed.name == *feed && kept.place.is_some());
            let is_held = next.files.values().any(|kept| kept.file.path == *path && kept.place.is_some());
            if was_held && !is_held {
                return Err(SettingsRefusal::Feed { path: path.clone(), fault: fault.clone() });
            }
        }
        match scan.failed {
            Some(failed) => Err(SettingsRefusal::Snapshot(failed)),
            None => {
                *self = next;
                Ok(scan)
            }
        }
    }

    /// Returns the files that the configuration names now.
    fn resolve(&mut self) -> Vec<(Key, FeedFile)> {
        let (files, missing) = files::configured(&self.settings.intel);
        self.missing = missing.iter().map(ToString::to_string).collect();
        let mut numbers: BTreeMap<(PathBuf, String), usize> = BTreeMap::new();
        let numbered = files.into_iter().map(|file| {
            let number = numbers.entry((file.path.clone(), file.feed.name.clone())).or_default();
            *number += 1;
            ((file.path.clone(), file.feed.name.clone(), *number), file)
        });
        numbered.collect()
    }

    /// Returns the number of held indicators of a file.
    fn held(&self, kept: &FeedFileState) -> usize {
        let length = |place| self.serving.as_ref().map_or(0, |serving| serving.feed_len(place));
        kept.place.map_or(0, length)
    }

    /// Decides whether new content may replace the held content.
    fn check_replacement(&self, key: &Key, outcome: &Outcome) -> Option<FeedFault> {
        if let Err(error) = &outcome.import {
            return Some(FeedFault::Unusable(error.to_string()));
        }
        let (held, found) = (self.files.get(key).map_or(0, |kept| self.held(kept)), outcome.indicators);
        let guarded = self.settings.intel.on_shrink == OnShrink::Confirm && !self.confirmed.contains(&key.1);
        match found {
            0 => Some(FeedFault::Empty),
            found if guarded && found < held.div_ceil(2) => Some(FeedFault::Shrunk { held, found }),
            _ => None,
        }
    }

    fn remember(
        &mut self,
        key: &Key,
        file: &FeedFile,
        print: Option<Fingerprint>,
        fault: Option<FeedFault>,
        scan: &mut FeedScan,
    ) {
        let known = self.files.get(key);
        if let Some(fault) = fault.clone().filter(|_| known.is_none_or(|kept| kept.fault != fault)) {
            scan.faults.push((key.0.clone(), key.1.clone(), fault));
        }
        let (place, digest) = known.map_or((None, None), |kept| (kept.place, kept.digest));
        self.files.insert(key.clone(), FeedFileState { file: file.clone(), judged: Some(print), place, digest, fault });
    }

    /// Handles missing files. Their held content is dropped when enough of their feed remains.
    fn check_vanished(&mut self, present: &HashSet<&Key>, now: Option<Instant>, scan: &mut FeedScan) {
        let gone: Vec<Key> = self.files.keys().filter(|key| !present.contains(key)).cloned().collect();
        for key in gone {
            let Some(kept) = self.files.get(&key).cloned() else { continue };
            if kept.place.is_none() {
                self.files.remove(&key);
                continue;
            }
            let asked_for = kept.judged.is_none();
            let waits = |now: Instant| !self.changes.may_read(&key.0, None, now);
            if kept.judged == Some(None) || (!asked_for && now.is_some_and(waits)) {
                continue;
            }
            self.changes.settled(&key.0);
            let (stays, whole) = self.sizes_without(&key, scan);
            let guarded = self.settings.intel.on_shrink == OnShrink::Confirm && !self.confirmed.contains(&key.1);
            if stays > 0 && (!guarded || stays * 2 >= whole) {
                self.files.remove(&key);
                scan.dropped.push(key.0);
            } else {
                self.remember(&key, &kept.file, None, Some(FeedFault::Vanished), scan);
            }
        }
    }

    /// Returns the size of a file's feed without the file, including new content, and the active size of the feed.
    fn sizes_without(&self, without: &Key, scan: &FeedScan) -> (usize, usize) {
        let (mut stays, mut whole) = (0, 0);
        for (key, kept) in self.files.iter().filter(|(key, _)| key.1 == without.1) {
            whole += self.held(kept);
            let read = scan.accepted.get(key).and_then(|at| scan.outcomes.get(*at));
            let size = read.map_or_else(|| self.held(kept), |outcome| outcome.indicators);
            stays += if key == without { 0 } else { size };
        }
        (stays, whole)
    }

    /// Builds the next snapshot, if anything changed: reuses unchanged feeds, and adds the new content.
    fn rebuild(&mut self, scan: &mut FeedScan) {
        let replaced = |key: &Key| scan.accepted.contains_key(key);
        let carried = self.files.iter().filter(|(key, _)| !replaced(key));
        let stay: BTreeSet<usize> = carried.filter_map(|(_, kept)| kept.place).collect();
        let places = self.serving.as_ref().map_or(0, |serving| serving.feeds().len());
        let changes = stay.len() < places || !scan.accepted.is_empty();
        // A configuration without files has an empty snapshot, which is intended.
        let first = self.serving.is_none() && self.settings.intel.files.iter().all(|entry| !entry.enabled);
        if !changes && !first {
            return;
        }
        let mut builder = SnapshotBuilder::new(self.settings.table.clone(), self.settings.options, self.seed);
        let mut new_places = BTreeMap::new();
        let built = (|| {
            if let Some(older) = &self.serving {
                builder.reuse_feeds(older, |place| stay.contains(&place))?;
            }
            for (number, (key, at)) in scan.accepted.iter().enumerate() {
                new_places.insert(key.clone(), stay.len() + number);
                if let Some(Outcome { file, import: Ok(import), .. }) = scan.outcomes.get_mut(*at) {
                    builder.add_feed(file.feed.clone(), std::mem::take(&mut import.indicators))?;
                }
            }
            Ok::<(), ReuseError>(())
        })();
        if let Err(error) = built {
            scan.failed = Some(error);
            return;
        }
        let carried: BTreeMap<usize, usize> = stay.into_iter().enumerate().map(|(new, old)| (old, new)).collect();
        for (key, kept) in &mut self.files {
            let carried = kept.place.and_then(|place| carried.get(&place).copied());
            kept.place = new_places.get(key).copied().or(carried);
        }
        let held = self.files.values().filter(|kept| kept.place.is_some());
        let name = load::name(held.map(|kept| (kept.file.feed.name.as_str(), kept.digest.as_ref())));
        let snapshot = Arc::new(builder.build(name));
        self.serving = Some(Arc::clone(&snapshot));
        scan.snapshot = Some(snapshot);
    }
}

/// Returns whether a configuration still names a missing file.
fn asks_for(intel: &config::Intel, (path, feed, _): &Key) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    intel.files.iter().any(|entry| {
        let by_path = glob::Pattern::new(&entry.path).is_ok_and(|glob| glob.matches_path_with(path, options));
        by_path && entry.feed.as_ref().is_none_or(|name| name == feed)
    })
}
