//! Checks what `run` would match: feeds, allowlists, and the manifest of the cache.

use super::CheckResult;
use crate::app;
use crate::config::Config;
use crate::counted::count;

const CATEGORY: &str = "indicators";

pub(super) fn checks(config: &Config, seed: u64) -> Vec<CheckResult> {
    let offline = match app::offline(config, &[], seed) {
        Ok(offline) => offline,
        Err(error) => return vec![CheckResult::failed(CATEGORY, "indicators can be loaded", error.to_string())],
    };
    let snapshot = &offline.detector.snapshot;
    let mut checks = Vec::new();
    for (place, feed) in snapshot.feeds().iter().enumerate() {
        let check =
            format!("feed {}: {}", feed.name, count(snapshot.feed_len(place) as u64, "indicator", "indicators"));
        let is_enabled = offline.detector.policy.as_ref().is_none_or(|policy| policy.is_enabled(feed));
        checks.push(match is_enabled {
            true => CheckResult::ok(CATEGORY, check),
            false => CheckResult::warning(CATEGORY, check, "no rule enables it: it matches nothing"),
        });
    }
    let is_loud = |note: &&String| note.contains("nothing matches") || note.starts_with("intel.files: ");
    for note in &offline.notes {
        let check = CheckResult::warning(CATEGORY, "all configured entries are used", note);
        checks.push(if is_loud(&note) {
            check.hint("see `intel.files` in docs/configuration.md, and `hotlist validate --feeds`")
        } else {
            check
        });
    }
    if let Some(manifest) = &offline.manifest {
        let (version, segments) = (manifest.version, count(manifest.segments.len() as u64, "segment", "segments"));
        checks.push(CheckResult::ok(CATEGORY, format!("intel.control.cache: version {version}, {segments}")));
    }
    checks
}
