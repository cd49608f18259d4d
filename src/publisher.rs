//! The owner of the active snapshot.
//!
//! Providers offer candidates: a snapshot of the indicator files, or a manifest with its opened segments. The publisher
//! combines the newest good candidate of each, off the path of events, and activates the result. A candidate that fails
//! leaves the active snapshot in place. One lock orders the providers, which do not know each other.
//!
//! The name of a snapshot is its identity: the audience and version of the manifest, and the digest of the files.

mod compose;
mod release;
mod report;
mod rule_report;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use metrics::counter;

use crate::config::FailureMode;
use crate::detect::Budgets;
use crate::encoding::Tagging;
use crate::escape::Escaped;
use crate::intel::allowlist::Allowlists;
use crate::intel::manifest::Mode;
use crate::intel::segment::{Digest, Segment};
use crate::intel::snapshot::Snapshot;
use crate::policy::Policy;
use crate::readiness::Readiness;
use crate::telemetry;
use release::release;
use report::ActiveReport;
use rule_report::RuleReport;

pub use compose::{BuildSettings, OpenedManifest, SnapshotBuildError, compose, within};

/// The settings of matching, which change together with the snapshot.
#[derive(Clone)]
pub struct MatchRules {
    /// The rule of which findings are hits.
    pub policy: Policy,
    /// How hits are written into events.
    pub tagging: Tagging,
    /// The limits of records and batches.
    pub budgets: Budgets,
    /// The behaviour while there is no snapshot.
    pub failure_mode: FailureMode,
}

/// The matching step, in which snapshots become active.
pub trait Activate: Send + Sync {
    /// Returns the active rules.
    fn rules(&self) -> MatchRules;

    /// Replaces rules and snapshot together.
    fn activate(&self, rules: MatchRules, snapshot: Option<Arc<Snapshot>>);

    /// Sets or removes the shadow snapshot.
    fn set_shadow(&self, snapshot: Option<Arc<Snapshot>>);
}

/// A snapshot that was prepared for a slot.
pub struct PreparedSnapshot {
    opened: Arc<OpenedManifest>,
    combined: Combined,
    /// The generation of the files in it.
    generation: u64,
}

/// A snapshot of a manifest, and the files in it.
struct Combined {
    snapshot: Snapshot,
    files: Option<Arc<Snapshot>>,
}

/// The owner of the active snapshot.
pub struct SnapshotPublisher {
    live: Arc<dyn Activate>,
    clock: fn() -> Timestamp,
    /// Whether there is a control plane: without one, the snapshot of the files is the active one.
    has_control: bool,
    state: Mutex<State>,
}

struct State {
    settings: BuildSettings,
    /// The newest good snapshot of the files.
    files: Option<Arc<Snapshot>>,
    /// The snapshot of the files that is part of the active one. An older one if the newest does not fit.
    active_files: Option<Arc<Snapshot>>,
    /// Counts the changes of the files and of the settings.
    generation: u64,
    serve: Option<Arc<OpenedManifest>>,
    shadow: Option<Arc<OpenedManifest>>,
    active: Option<Arc<Snapshot>>,
    /// The time of the newest indicators.
    newest: Option<Timestamp>,
    /// Replaced snapshots that are not freed yet.
    replaced: Vec<Arc<Snapshot>>,
    report: ActiveReport,
    rule_report: RuleReport,
}

impl State {
    /// Returns every snapshot in use.
    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.active.iter().chain(&self.files).chain(&self.active_files).map(Arc::clone).collect()
    }

    /// Combines a manifest with the newest files, or with the active ones if the newest do not fit.
    fn combine(&self, opened: &OpenedManifest, like: Option<&Snapshot>) -> Result<Combined, SnapshotBuildError> {
        combine(&self.settings, &self.files, &self.active_files, opened, like)
    }
}

fn combine(
    settings: &BuildSettings,
    files: &Option<Arc<Snapshot>>,
    active_files: &Option<Arc<Snapshot>>,
    opened: &OpenedManifest,
    like: Option<&Snapshot>,
) -> Result<Combined, SnapshotBuildError> {
    let with = |files: &Option<Arc<Snapshot>>| {
        let snapshot = compose(settings, files.as_deref(), opened, like)?;
        Ok(Combined { snapshot, files: files.clone() })
    };
    match with(files) {
        Err(error @ SnapshotBuildError::OverBudget { .. }) if !is_same(files, active_files) => {
            let combined = with(active_files).map_err(|_| error)?;
            tracing::warn!("the newest indicator files do not fit with this manifest; the previous ones stay active");
            Ok(combined)
        }
        result => result,
    }
}

impl SnapshotPublisher {
    /// Creates a publisher for `live`, in which `files` are already active, unless they are empty and there is a control
    /// plane.
    pub fn new(
        live: Arc<dyn Activate>,
        readiness: Readiness,
        clock: fn() -> Timestamp,
        settings: BuildSettings,
        has_control: bool,
        files: Option<Arc<Snapshot>>,
    ) -> SnapshotPublisher {
        let mut rule_report = RuleReport::new(readiness.clone());
        let mut report = ActiveReport::new(readiness, clock, has_control);
        // The files are active until there is a manifest, which may take long.
        let active = files.clone().filter(|files| !has_control || !files.is_empty());
        match &active {
            Some(active) => report.active(active),
            None if !has_control => report.no_files(),
            None => {}
        }
        rule_report.check(active.as_deref(), &live.rules().policy, !has_control, true);
        if files.is_some() {
            counter!(telemetry::SNAPSHOT_RELOADS_TOTAL, "result" => "applied").increment(1);
        }
        let state = State {
            settings,
            generation: 0,
            serve: None,
            shadow: None,
            active,
            active_files: files.clone(),
            newest: files.as_ref().map(|_| clock()),
            replaced: Vec::new(),
            files,
            report,
            rule_report,
        };
        SnapshotPublisher { live, clock, has_control, state: Mutex::new(state) }
    }

    /// Offers a snapshot of the files.
    pub fn set_files(&self, files: Option<Arc<Snapshot>>, allowlists: Arc<Allowlists>) {
        self.change(|state| {
            let rules = self.live.rules();
            self.take_files(state, files, allowlists, rules, false);
            self.check_rules(state, false);
        });
        self.release_replaced();
    }

    /// Offers a snapshot of the files together with settings and rules.
    pub fn configure(
        &self,
        settings: BuildSettings,
        rules: MatchRules,
        files: Option<Arc<Snapshot>>,
        allowlists: Arc<Allowlists>,
    ) {
        self.change(|state| {
            state.settings = settings;
            self.take_files(state, files, allowlists, rules, true);
            self.check_rules(state, true);
        });
        self.release_replaced();
    }

    /// Builds a snapshot from a manifest and the files, which takes a while. Changes nothing.
    ///
    /// # Errors
    /// It cannot be built, or would be too large.
    pub fn prepare(&self, opened: OpenedManifest) -> Result<PreparedSnapshot, SnapshotBuildError> {
        let opened = Arc::new(opened);
        let (settings, files, active_files, generation, active) = {
            let state = self.state();
            let files = (state.files.clone(), state.active_files.clone());
            (state.settings.clone(), files.0, files.1, state.generation, state.active.clone())
        };
        let combined = combine(&settings, &files, &active_files, &opened, active.as_deref())?;
        Ok(PreparedSnapshot { opened, combined, generation })
    }

    /// Activates a prepared snapshot. The replaced one is kept until [`SnapshotPublisher::release_replaced`].
    pub fn publish(&self, mode: Mode, ready: PreparedSnapshot) {
        self.change(|state| {
            self.publish_to(state, mode, ready);
            self.check_rules(state, false);
        });
    }

    /// Deactivates the content of a slot.
    pub fn clear(&self, mode: Mode) {
        if mode == Mode::Shadow {
            self.state().shadow = None;
            self.live.set_shadow(None);
        }
    }

    /// Frees replaced snapshots, once no batch uses them any more. May block briefly.
    pub fn release_replaced(&self) {
        let replaced = std::mem::take(&mut self.state().replaced);
        release(replaced);
    }

    /// Returns an open segment of a slot, so that it need not be read again.
    pub fn opened(&self, digest: &Digest) -> Option<Arc<Segment>> {
        let state = self.state();
        [&state.serve, &state.shadow].into_iter().flatten().find_map(|opened| opened.opened(digest)).map(Arc::clone)
    }

    /// Returns the number of active indicators, and the time of the newest.
    pub fn figures(&self) -> (u64, Option<Timestamp>) {
        let state = self.state();
        (state.active.as_ref().map_or(0, |snapshot| snapshot.len() as u64), state.newest)
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

    fn take_files(
        &self,
        state: &mut State,
        files: Option<Arc<Snapshot>>,
        allowlists: Arc<Allowlists>,
        mut rules: MatchRules,
        new_settings: bool,
    ) {
        rules.policy.allowlists = allowlists;
        let mut result = None;
        let files = match files.as_deref().map(|files| within(files, state.settings.max_bytes)) {
            Some(Err(error)) => {
                result = Some("failed");
                tracing::error!(error = %Escaped(&error), "indicator files refused; the previous ones stay active");
                state.files.clone()
            }
            _ => files,
        };
        let is_new = !is_same(&state.files, &files);
        if is_new {
            state.newest = Some((self.clock)());
            result = result.or(files.as_ref().map(|_| "applied"));
        }
        state.files = files;
        state.generation += 1;
        match state.serve.clone() {
            None => self.activate_files(state, rules, is_new),
            // Nothing of the snapshot changed; the allowlists may have.
            Some(_) if !is_new && !new_settings => self.live.activate(rules, state.active.clone()),
            Some(serve) => match compose(&state.settings, state.files.as_deref(), &serve, state.active.as_deref()) {
                Ok(snapshot) => {
                    let files = state.files.clone();
                    self.activate(state, Combined { snapshot, files }, rules);
                }
                // The active snapshot stays, with the new rules.
                Err(error) => {
                    result = result.map(|_| "failed");
                    tracing::error!(error = %Escaped(&error), "cannot build snapshot; the active one stays active");
                    self.live.activate(rules, state.active.clone());
                }
            },
        }
        if let Some(shadow) = state.shadow.clone().filter(|_| is_new || new_settings) {
            match state.combine(&shadow, None) {
                Ok(combined) => self.live.set_shadow(Some(Arc::new(combined.snapshot))),
                Err(error) => {
                    tracing::error!(error = %Escaped(&error), "cannot build shadow snapshot; the previous one stays")
                }
            }
        }
        if let Some(result) = result {
            counter!(telemetry::SNAPSHOT_RELOADS_TOTAL, "result" => result).increment(1);
        }
    }

    /// Activates the files alone: there is no manifest.
    fn activate_files(&self, state: &mut State, rules: MatchRules, is_new: bool) {
        state.active_files.clone_from(&state.files);
        // With a control plane, an empty set of files is not a snapshot.
        let active = state.files.clone().filter(|files| !self.has_control || !files.is_empty());
        self.live.activate(rules, active.clone());
        match &active {
            Some(active) if is_new || self.has_control => state.report.active(active),
            None if state.active.is_some() => state.report.none(),
            _ => {}
        }
        state.active = active;
    }

    fn publish_to(&self, state: &mut State, mode: Mode, ready: PreparedSnapshot) {
        let PreparedSnapshot { opened, mut combined, generation } = ready;
        if generation != state.generation {
            // The files changed meanwhile, which is rare enough to build the snapshot again here.
            match state.combine(&opened, None) {
                Ok(rebuilt) => combined = rebuilt,
                Err(error) => {
                    tracing::error!(error = %Escaped(&error), "cannot rebuild snapshot; changed files wait for the next one")
                }
            }
        }
        match mode {
            Mode::Shadow => {
                state.shadow = Some(opened);
                self.live.set_shadow(Some(Arc::new(combined.snapshot)));
            }
            Mode::Serve => {
                state.newest = state.newest.max(Some(opened.manifest.issued));
                state.serve = Some(opened);
                let rules = self.live.rules();
                self.activate(state, combined, rules);
            }
        }
    }

    fn activate(&self, state: &mut State, combined: Combined, rules: MatchRules) {
        let snapshot = Arc::new(combined.snapshot);
        // Activated before it is logged, so that a reader of the log finds it active.
        self.live.activate(rules, Some(Arc::clone(&snapshot)));
        state.report.active(&snapshot);
        (state.active, state.active_files) = (Some(snapshot), combined.files);
    }

    /// Reports what the rules leave out of the active snapshot.
    fn check_rules(&self, state: &mut State, is_new: bool) {
        let is_complete = !self.has_control || state.serve.is_some();
        state.rule_report.check(state.active.as_deref(), &self.live.rules().policy, is_complete, is_new);
    }

    // A panic while the lock is held leaves the active snapshot unchanged.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(left: &Option<Arc<Snapshot>>, right: &Option<Arc<Snapshot>>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => Arc::ptr_eq(left, right),
        (left, right) => left.is_none() && right.is_none(),
    }
}
