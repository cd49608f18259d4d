//! Builds the detector of `run` without running anything, for `scan` and `explain`.
//!
//! The files pass the same checks as in `run`, and so does the manifest in the cache of a fleet node. Nothing is bound,
//! fetched or written.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::{StartError, build_settings, control, field_table, intel_settings, wiring};
use crate::config::Config;
use crate::detect::Detector;
use crate::feed::allowlist;
use crate::feed::load::FeedFile;
use crate::intel::guard::GuardRefusal;
use crate::intel::manifest::Manifest;
use crate::intel::segment::Segment;
use crate::intel::snapshot::Snapshot;
use crate::provider::files::{FeedFault, FeedSet};
use crate::publisher::{self, OpenedManifest};

/// The detector of `run`, and its sources.
pub struct OfflineDetector {
    /// The detector with the rules, limits and allowlists of the configuration.
    pub detector: Detector,
    /// The indicator files, in the order in which they were read.
    pub files: Vec<FeedFile>,
    /// Values that the import guard refused, with file and line.
    pub refused: Vec<(PathBuf, u32, GuardRefusal)>,
    /// The manifest of the cache, if there is one.
    pub manifest: Option<Arc<Manifest>>,
    /// The files of its segments, each with the names of its feeds.
    pub segments: Vec<(PathBuf, BTreeSet<String>)>,
    /// The unused parts, one line each.
    pub notes: Vec<String>,
}

/// Builds the detector of a configuration. The allowlists at `more_allowlists` apply in addition.
///
/// # Errors
/// `run` would not start for the same reason.
pub fn offline(config: &Config, more_allowlists: &[PathBuf], seed: u64) -> Result<OfflineDetector, StartError> {
    let table = Arc::new(field_table(&config.r#match)?);
    let settings = intel_settings(config, &table);
    let build = build_settings(config, &table, seed);
    let mut feed_set = FeedSet::new(settings, seed);
    let scan = feed_set.scan(None);
    let mut notes: Vec<String> = feed_set.missing().iter().map(|error| format!("intel.files: {error}")).collect();
    notes.extend(scan.faults.iter().map(|(path, feed, fault)| match fault {
        FeedFault::Unusable(cause) => cause.clone(),
        _ => format!("{}: feed {feed}: {fault}", path.display()),
    }));
    for outcome in &scan.outcomes {
        let unusable = outcome.import.as_ref().map_or(0, |import| import.unusable_lines());
        let unused = unusable + outcome.refused.len();
        if unused > 0 {
            let (path, lines) = (outcome.file.path.display(), if unused == 1 { "line is" } else { "lines are" });
            notes.push(format!("{path}: {unused} {lines} not used (`hotlist validate --feeds` lists them)"));
        }
    }
    if let Some(failed) = scan.failed {
        return Err(StartError::Snapshot(failed));
    }
    let files = feed_set.serving().cloned();
    if let Some(files) = &files {
        publisher::within(files, config.intel.max_bytes).map_err(|error| StartError::TooLarge(error.to_string()))?;
    }
    let manifest = match &config.intel.control {
        Some(of) => control::cached_manifest(of, &mut notes)?,
        None => None,
    };
    let (mut snapshot, mut in_use, mut segments) = (files.clone(), None, Vec::new());
    if let Some(kept) = manifest {
        let feeds = |segment: &Segment| segment.feeds().iter().map(|feed| feed.name.clone()).collect();
        segments = kept.paths.into_iter().zip(kept.segments.iter().map(|(_, segment)| feeds(segment))).collect();
        let opened = OpenedManifest::new(Arc::clone(&kept.manifest), kept.segments);
        match publisher::compose(&build, files.as_deref(), &opened, None) {
            Ok(composed) => (snapshot, in_use) = (Some(Arc::new(composed)), Some(kept.manifest)),
            // `run` would also match only the files then.
            Err(error) => notes.push(format!("the manifest of intel.control.cache is not used: {error}")),
        }
    }
    let snapshot = snapshot.unwrap_or_else(|| Arc::new(Snapshot::empty(table)));
    if snapshot.is_empty() {
        notes.push("no indicators are loaded: nothing matches".to_owned());
    }
    notes.extend(config.rule_warnings().iter().map(ToString::to_string));
    let (allowlists, unusable) = allowlist::load_with(&config.intel, more_allowlists);
    notes.extend(allowlist::lines(&unusable).into_iter().map(|line| format!("allowlist: {line}")));
    let rules = wiring::rules(config, allowlists);
    let (policy, tagging, budgets) = (Some(rules.policy), rules.tagging, rules.budgets);
    let detector = Detector { snapshot, policy, tagging, budgets };
    let (mut files, mut refused) = (Vec::new(), Vec::new());
    for outcome in scan.outcomes {
        let path = || outcome.file.path.clone();
        refused.extend(outcome.refused.into_iter().map(|(line, refused)| (path(), line, refused)));
        files.push(outcome.file);
    }
    Ok(OfflineDetector { detector, files, refused, manifest: in_use, segments, notes })
}
