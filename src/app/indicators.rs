//! `intel.files` to a snapshot, with everything an operator should know about it said in the log and in metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::gauge;

use crate::config;
use crate::feed::allowlist;
use crate::feed::load::{self, Outcome};
use crate::fields::FieldTable;
use crate::intel::allowlist::Allowlists;
use crate::intel::snapshot::{MatchOptions, Snapshot, SnapshotError};
use crate::telemetry;

/// The version of the first snapshot of a process that has no control plane.
const FIRST_VERSION: u64 = 1;

/// Lines that the log names for each file; the rest is counted.
const SAMPLE: usize = 3;

/// What was loaded.
pub struct Loaded {
    /// The snapshot; `None` when files were asked for and none could be loaded.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What policy asks about findings.
    pub allowlists: Arc<Allowlists>,
}

/// How values are matched.
pub fn options(matching: &config::Match) -> MatchOptions {
    MatchOptions { subdomains: matching.subdomains, url_hosts: matching.url_hosts }
}

/// Loads the files of a configuration.
///
/// # Errors
/// The indicators cannot be indexed. A file that cannot be read is logged and costs its own indicators only.
pub fn load(
    intel: &config::Intel,
    table: Arc<FieldTable>,
    options: MatchOptions,
    seed: u64,
) -> Result<Loaded, SnapshotError> {
    let allowlists = allowlists(intel);
    let asked = intel.files.iter().any(|files| files.enabled);
    if !asked {
        tracing::warn!("no enabled feed in intel.files: NOTHING IS MATCHED, every event passes untagged");
    }
    let (files, missing) = load::configured(intel);
    for error in &missing {
        tracing::error!("intel.files: {error}");
    }
    let mut outcomes: Vec<Outcome> = files.into_iter().map(|file| load::load(file, &table)).collect();
    outcomes.iter().for_each(report);
    if asked && !outcomes.iter().any(|outcome| outcome.import.is_ok()) {
        tracing::error!("no file of intel.files could be loaded: NOTHING IS MATCHED");
        return Ok(Loaded { snapshot: None, allowlists });
    }
    let mut by_feed: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for outcome in &outcomes {
        if let Ok(import) = &outcome.import {
            let counts = by_feed.entry(outcome.file.feed.name.clone()).or_default();
            counts.0 += import.indicators.len();
            counts.1 += import.unusable.len() + outcome.refused.len();
        }
    }
    for (feed, (indicators, unusable)) in by_feed {
        gauge!(telemetry::FEED_INDICATORS, "feed" => feed.clone()).set(indicators as f64);
        gauge!(telemetry::FEED_UNUSABLE_LINES, "feed" => feed).set(unusable as f64);
    }
    let snapshot = load::snapshot(&mut outcomes, &table, options, seed, FIRST_VERSION)?;
    for (kind, count) in snapshot.counts() {
        gauge!(telemetry::INDICATORS, "kind" => kind.as_str()).set(count as f64);
    }
    gauge!(telemetry::SNAPSHOT_VERSION).set(snapshot.version() as f64);
    tracing::info!(
        version = snapshot.version(),
        indicators = snapshot.len(),
        networks = snapshot.networks().len(),
        feeds = snapshot.feeds().len(),
        prefilter_bytes = snapshot.prefilter().size_bytes(),
        "snapshot is ready"
    );
    Ok(Loaded { snapshot: Some(Arc::new(snapshot)), allowlists })
}

/// Loads the allowlists and logs what of them cannot be used: every file, and the
/// first entries of each list.
pub fn allowlists(intel: &config::Intel) -> Arc<Allowlists> {
    let (allowlists, errors) = allowlist::load(intel);
    for line in allowlist::lines(&errors) {
        tracing::warn!("intel.allowlists: {line}");
    }
    for list in allowlists.lists() {
        let (list, action, entries) = (list.name(), list.action().as_str(), list.len());
        tracing::info!(list, action, entries, "allowlist is loaded");
    }
    allowlists
}

fn report(outcome: &Outcome) {
    let file = outcome.file.path.display();
    match &outcome.import {
        Err(error) => tracing::error!(feed = outcome.file.feed.name, "{error}"),
        Ok(import) => {
            tracing::info!(
                feed = outcome.file.feed.name, %file, format = %import.format, indicators = import.indicators.len(),
                unusable = import.unusable.len(), too_generic = outcome.refused.len(), "feed is loaded"
            );
            for unusable in import.unusable.iter().take(SAMPLE) {
                tracing::warn!(%file, line = unusable.line, excerpt = unusable.excerpt, "not usable: {}", unusable.reason);
            }
            for (line, refused) in outcome.refused.iter().take(SAMPLE) {
                tracing::warn!(%file, line, value = %refused.value, "too generic: {}", refused.reason);
            }
        }
    }
}
