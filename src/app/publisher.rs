//! Builds the active snapshot from the snapshot of the files and the segments of the active manifest.
//!
//! Two sides change it: the thread of the files, and the client of the control stream. Each combines its part with the
//! other's part, off the path of events, and one lock orders them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use metrics::{counter, gauge};

use super::indicators::Settings;
use super::match_stage::{MatchRules, MatchStage};
use super::release::release;
use crate::admin::{self, Readiness};
use crate::escape::Escaped;
use crate::intel::allowlist::Allowlists;
use crate::intel::manifest::{Manifest, Mode, Revocation};
use crate::intel::segment::{Digest, Segment, SegmentFeed};
use crate::intel::snapshot::{Feed, ReuseError, Revoked, RevokedBy, Snapshot, SnapshotBuilder, SnapshotError};
use crate::intel::term;
use crate::observable::Kind;
use crate::telemetry;

/// The reason that a snapshot cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotBuildError {
    /// It would be too large.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The files were read for another field table.
    #[error(transparent)]
    NotCarried(#[from] ReuseError),
    /// The value of a revocation is not valid.
    #[error(
        "a revocation of feed `{feed}`: `{value}` is not a valid {kind} value; fix or remove it, and publish the manifest again"
    )]
    Revocation {
        /// The feed.
        feed: String,
        /// The kind of the value.
        kind: Kind,
        /// The value.
        value: String,
    },
    /// It would exceed the memory limit.
    #[error(
        "the indicators would need {needed} bytes of memory, but `intel.max_bytes` allows {allowed}: remove feeds, or raise the limit"
    )]
    OverBudget {
        /// The size of prefilter and segments.
        needed: usize,
        /// The limit.
        allowed: usize,
    },
}

/// Checks the memory size of a snapshot.
///
/// # Errors
/// It exceeds the limit.
pub fn within(snapshot: &Snapshot, max_bytes: Option<usize>) -> Result<(), SnapshotBuildError> {
    let needed = snapshot.memory_bytes();
    match max_bytes {
        Some(allowed) if needed > allowed => Err(SnapshotBuildError::OverBudget { needed, allowed }),
        _ => Ok(()),
    }
}

/// Builds one snapshot from the files and a manifest. Reuses segments of `like`.
///
/// # Errors
/// It cannot be built, or would exceed `max_bytes`.
pub(super) fn compose(
    settings: &Settings,
    seed: u64,
    max_bytes: Option<usize>,
    files: Option<&Snapshot>,
    opened: &OpenedManifest,
    like: Option<&Snapshot>,
) -> Result<Snapshot, SnapshotBuildError> {
    let mut builder = SnapshotBuilder::new(Arc::clone(&settings.table), settings.options, seed);
    if let Some(files) = files {
        builder.reuse_feeds(files, |_| true)?;
    }
    if let Some(like) = like {
        builder.reuse(like);
    }
    for (_, segment) in &opened.segments {
        builder.add_segment(Arc::clone(segment), |feed| opened.feed(feed))?;
    }
    builder.revoke(opened.revoked()?);
    // A snapshot that is certain to be too large is not built; merging many segments may need more memory.
    let needed = builder.size_bytes();
    if let Some(allowed) = max_bytes.filter(|allowed| needed > *allowed) {
        return Err(SnapshotBuildError::OverBudget { needed, allowed });
    }
    let Manifest { audience, version, .. } = &*opened.manifest;
    let name = match files.filter(|files| !files.is_empty()) {
        Some(files) => format!("{audience}@{version}+{}", files.name()),
        None => format!("{audience}@{version}"),
    };
    let snapshot = builder.build(name);
    within(&snapshot, max_bytes)?;
    Ok(snapshot)
}

/// A manifest with its opened segments.
#[derive(Debug)]
pub struct OpenedManifest {
    manifest: Arc<Manifest>,
    segments: Vec<(Digest, Arc<Segment>)>,
}

impl OpenedManifest {
    /// Creates it from the segments of a manifest, in its order.
    pub fn new(manifest: Arc<Manifest>, segments: Vec<(Digest, Arc<Segment>)>) -> OpenedManifest {
        OpenedManifest { manifest, segments }
    }

    fn feed(&self, of: &SegmentFeed) -> Feed {
        let rule = self.manifest.rules.iter().find(|rule| rule.feed == of.name);
        let origin = rule.map_or(of.origin, |rule| rule.origin);
        Feed { origin, enabled: rule.is_some_and(|rule| rule.enabled), ..Feed::named(&of.name) }
    }

    /// Returns the indicators that the manifest revokes.
    ///
    /// # Errors
    /// A value is not valid: the indicator that it means to revoke would continue to match.
    fn revoked(&self) -> Result<Vec<Revoked>, SnapshotBuildError> {
        let read = |revocation: &Revocation| match revocation {
            Revocation::Id { feed, id } => Ok(Revoked { feed: feed.clone(), by: RevokedBy::Id(id.clone()) }),
            Revocation::Value { feed, kind, value } => match term::value(*kind, value) {
                Some(found) => Ok(Revoked { feed: feed.clone(), by: RevokedBy::Value(found) }),
                None => Err(SnapshotBuildError::Revocation { feed: feed.clone(), kind: *kind, value: value.clone() }),
            },
        };
        self.manifest.revocations.iter().map(read).collect()
    }
}

/// A snapshot that was prepared for a slot.
pub struct PreparedSnapshot {
    opened: Arc<OpenedManifest>,
    snapshot: Snapshot,
    /// The generation of the files in it.
    files: u64,
}

/// The owner of the active snapshot.
pub struct SnapshotPublisher {
    live: Arc<MatchStage>,
    readiness: Readiness,
    clock: fn() -> Timestamp,
    seed: u64,
    max_bytes: Option<usize>,
    /// Whether there is a control plane: without one, the snapshot of the files is the active one.
    has_control: bool,
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    files: Option<Arc<Snapshot>>,
    /// Counts the changes of the files and of the settings.
    generation: u64,
    allowlists: Arc<Allowlists>,
    serve: Option<Arc<OpenedManifest>>,
    shadow: Option<Arc<OpenedManifest>>,
    serving: Option<Arc<Snapshot>>,
    /// The time of the newest indicators.
    newest: Option<Timestamp>,
    /// Every feed with a gauge, so that the gauge of a removed feed is reset.
    feeds: BTreeSet<String>,
    /// Replaced snapshots that are not freed yet.
    replaced: Vec<Arc<Snapshot>>,
}

impl State {
    /// Returns the active snapshot, and the snapshot of the files in it.
    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.serving.iter().chain(&self.files).map(Arc::clone).collect()
    }
}

impl SnapshotPublisher {
    /// Creates a publisher for `live`, in which `files` are already active.
    pub fn new(
        live: Arc<MatchStage>,
        readiness: Readiness,
        clock: fn() -> Timestamp,
        settings: Settings,
        seed: u64,
        files: Option<Arc<Snapshot>>,
    ) -> SnapshotPublisher {
        let (max_bytes, has_control) = (settings.intel.max_bytes, settings.intel.control.is_some());
        let state = State {
            settings,
            generation: 0,
            allowlists: live.allowlists(),
            serve: None,
            shadow: None,
            serving: None,
            newest: files.as_ref().map(|_| clock()),
            feeds: BTreeSet::new(),
            replaced: Vec::new(),
            files,
        };
        let publisher =
            SnapshotPublisher { live, readiness, clock, seed, max_bytes, has_control, state: Mutex::new(state) };
        let mut state = publisher.state();
        // The files are active until there is a manifest, which may take long.
        let alone = state.files.clone().filter(|files| has_control && !files.is_empty());
        if let Some(files) = alone {
            publisher.report_active(&mut state, &files);
            state.serving = Some(files);
        }
        drop(state);
        publisher
    }

    /// Replaces the files.
    pub fn set_files(&self, files: Option<Arc<Snapshot>>, allowlists: Arc<Allowlists>) {
        self.replace(|state| {
            let rules = self.live.rules();
            self.take_files(state, files, allowlists, rules);
        });
    }

    /// Replaces the files together with settings and rules.
    pub fn configure(
        &self,
        settings: Settings,
        rules: MatchRules,
        files: Option<Arc<Snapshot>>,
        allowlists: Arc<Allowlists>,
    ) {
        self.replace(|state| {
            state.settings = settings;
            self.take_files(state, files, allowlists, rules);
        });
    }

    /// Changes the state, and frees the replaced snapshots.
    fn replace(&self, change: impl FnOnce(&mut State)) {
        self.change(change);
        self.release_replaced();
    }

    /// Changes the state, and keeps the replaced snapshots for [`SnapshotPublisher::release_replaced`].
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let before = state.snapshots();
        change(&mut state);
        let now = state.snapshots();
        let is_kept = |of: &Arc<Snapshot>, among: &[Arc<Snapshot>]| among.iter().any(|kept| Arc::ptr_eq(kept, of));
        for replaced in before {
            // One snapshot may have been both that of the files and the active one.
            if !is_kept(&replaced, &now) && !is_kept(&replaced, &state.replaced) {
                state.replaced.push(replaced);
            }
        }
    }

    /// Frees replaced snapshots, once no batch uses them any more. May block briefly.
    pub fn release_replaced(&self) {
        let replaced = std::mem::take(&mut self.state().replaced);
        release(replaced);
    }

    fn take_files(
        &self,
        state: &mut State,
        files: Option<Arc<Snapshot>>,
        allowlists: Arc<Allowlists>,
        mut rules: MatchRules,
    ) {
        rules.policy.allowlists = Arc::clone(&allowlists);
        let files = match files.as_deref().map(|files| within(files, self.max_bytes)) {
            Some(Err(error)) => {
                counter!(telemetry::SNAPSHOT_RELOADS_TOTAL, "result" => "failed").increment(1);
                tracing::error!(error = %Escaped(&error), "indicator files refused; the previous ones stay active");
                state.files.clone()
            }
            _ => files,
        };
        let is_new = !state.files.iter().zip(&files).all(|(old, new)| Arc::ptr_eq(old, new));
        if is_new || state.files.is_some() != files.is_some() {
            state.newest = Some((self.clock)());
        }
        (state.files, state.allowlists) = (files, allowlists);
        state.generation += 1;
        if !self.has_control {
            self.live.configure(rules, state.files.clone());
            return;
        }
        let Some(serve) = state.serve.clone() else {
            let files = state.files.clone().filter(|files| !files.is_empty());
            if let Some(files) = files {
                self.live.configure(rules, Some(Arc::clone(&files)));
                self.report_active(state, &files);
                state.serving = Some(files);
            } else {
                self.live.configure(rules, None);
                self.report_none(state);
            }
            return;
        };
        match self.compose(&state.settings, state.files.as_deref(), &serve, state.serving.as_deref()) {
            Ok(snapshot) => self.serve(state, snapshot, rules),
            // The active snapshot stays, with the new rules.
            Err(error) => {
                tracing::error!(error = %Escaped(&error), "cannot build snapshot; the active one stays active");
                self.live.configure(rules, state.serving.clone());
            }
        }
        if let Some(shadow) = state.shadow.clone() {
            match self.compose(&state.settings, state.files.as_deref(), &shadow, None) {
                Ok(snapshot) => self.live.set_shadow(Some(Arc::new(snapshot))),
                Err(error) => {
                    tracing::error!(error = %Escaped(&error), "cannot build shadow snapshot; the previous one stays")
                }
            }
        }
    }

    /// Builds a snapshot from a manifest and the files, which takes a while.
    ///
    /// # Errors
    /// It cannot be built, or would be too large.
    pub fn prepare(&self, opened: OpenedManifest) -> Result<PreparedSnapshot, SnapshotBuildError> {
        let opened = Arc::new(opened);
        let (settings, files, generation, serving) = {
            let state = self.state();
            (state.settings.clone(), state.files.clone(), state.generation, state.serving.clone())
        };
        let snapshot = self.compose(&settings, files.as_deref(), &opened, serving.as_deref())?;
        Ok(PreparedSnapshot { opened, snapshot, files: generation })
    }

    /// Activates a prepared snapshot. The replaced one is kept until [`SnapshotPublisher::release_replaced`].
    pub fn publish(&self, mode: Mode, ready: PreparedSnapshot) {
        self.change(|state| self.publish_to(state, mode, ready));
    }

    fn publish_to(&self, state: &mut State, mode: Mode, ready: PreparedSnapshot) {
        let PreparedSnapshot { opened, mut snapshot, files } = ready;
        if files != state.generation {
            // The files changed meanwhile, which is rare enough to build the snapshot again here.
            match self.compose(&state.settings, state.files.as_deref(), &opened, None) {
                Ok(rebuilt) => snapshot = rebuilt,
                Err(error) => {
                    tracing::error!(error = %Escaped(&error), "cannot rebuild snapshot; changed files wait for the next one")
                }
            }
        }
        match mode {
            Mode::Shadow => {
                state.shadow = Some(opened);
                self.live.set_shadow(Some(Arc::new(snapshot)));
            }
            Mode::Serve => {
                state.newest = state.newest.max(Some(opened.manifest.issued));
                state.serve = Some(Arc::clone(&opened));
                let rules = self.live.rules();
                self.serve(state, snapshot, rules);
            }
        }
    }

    /// Deactivates the content of a slot.
    pub fn clear(&self, mode: Mode) {
        if mode == Mode::Shadow {
            self.state().shadow = None;
            self.live.set_shadow(None);
        }
    }

    /// Returns an open segment of a slot, so that it need not be read again.
    pub fn opened(&self, digest: &Digest) -> Option<Arc<Segment>> {
        let state = self.state();
        let mut open = [&state.serve, &state.shadow].into_iter().flatten().flat_map(|opened| &opened.segments);
        open.find(|(known, _)| known == digest).map(|(_, segment)| Arc::clone(segment))
    }

    /// Returns the number of active indicators, and the time of the newest.
    pub fn figures(&self) -> (u64, Option<Timestamp>) {
        let state = self.state();
        let serving = if self.has_control { &state.serving } else { &state.files };
        (serving.as_ref().map_or(0, |snapshot| snapshot.len() as u64), state.newest)
    }

    fn compose(
        &self,
        settings: &Settings,
        files: Option<&Snapshot>,
        opened: &OpenedManifest,
        like: Option<&Snapshot>,
    ) -> Result<Snapshot, SnapshotBuildError> {
        compose(settings, self.seed, self.max_bytes, files, opened, like)
    }

    fn serve(&self, state: &mut State, snapshot: Snapshot, rules: MatchRules) {
        let snapshot = Arc::new(snapshot);
        // Activated before it is logged, so that a reader of the log finds it active.
        self.live.configure(rules, Some(Arc::clone(&snapshot)));
        self.report_active(state, &snapshot);
        state.serving = Some(snapshot);
    }

    fn report_active(&self, state: &mut State, snapshot: &Snapshot) {
        for (kind, count) in snapshot.counts() {
            gauge!(telemetry::INDICATORS, "kind" => kind.as_str()).set(count as f64);
        }
        gauge!(telemetry::SNAPSHOT_TIMESTAMP_SECONDS).set((self.clock)().as_second() as f64);
        gauge!(telemetry::SNAPSHOT_BYTES).set(snapshot.memory_bytes() as f64);
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, feed) in snapshot.feeds().iter().enumerate() {
            *sizes.entry(&feed.name).or_default() += snapshot.feed_len(place);
        }
        state.feeds.retain(|feed| {
            let stays = sizes.contains_key(feed.as_str());
            if !stays {
                gauge!(telemetry::FEED_INDICATORS, "feed" => feed.clone()).set(0.0);
            }
            stays
        });
        for (feed, size) in sizes {
            gauge!(telemetry::FEED_INDICATORS, "feed" => feed.to_owned()).set(size as f64);
            state.feeds.insert(feed.to_owned());
        }
        let detail = format!("{}, {} indicators", snapshot.name(), snapshot.len());
        self.readiness.set(admin::SNAPSHOT, true, detail);
        tracing::info!(
            snapshot = &**snapshot.name(),
            indicators = snapshot.len(),
            networks = snapshot.networks().len(),
            feeds = snapshot.feeds().len(),
            bytes = snapshot.memory_bytes(),
            prefilter_bytes = snapshot.prefilter().size_bytes(),
            "snapshot active"
        );
        if snapshot.feeds().iter().all(|feed| !feed.enabled) {
            tracing::warn!("no rule enables a feed: NOTHING IS MATCHED, every event passes untagged");
        }
    }

    /// Reports that there is no snapshot any more.
    fn report_none(&self, state: &mut State) {
        if state.serving.take().is_none() {
            return;
        }
        for kind in Kind::ALL {
            gauge!(telemetry::INDICATORS, "kind" => kind.as_str()).set(0.0);
        }
        for feed in std::mem::take(&mut state.feeds) {
            gauge!(telemetry::FEED_INDICATORS, "feed" => feed).set(0.0);
        }
        gauge!(telemetry::SNAPSHOT_BYTES).set(0.0);
        self.readiness.set(admin::SNAPSHOT, false, "no manifest and no indicator files");
        tracing::warn!("no manifest and no indicator files: NOTHING IS MATCHED");
    }

    // A panic while the lock is held leaves the active snapshot unchanged.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
