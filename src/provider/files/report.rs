//! Reports the state of the indicators: changes in the log, metrics, and `/readyz?verbose`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use jiff::Timestamp;
use metrics::{counter, gauge};

use super::feed_set::{FeedFileState, FeedScan, FeedSet};
use crate::escape::Escaped;
use crate::feed::load::Outcome;
use crate::readiness::{self, Readiness};
use crate::telemetry;

/// The maximum number of logged lines per file; the others are counted.
const SAMPLE: usize = 3;
/// The maximum number of faulty files that `/readyz?verbose` names.
const NAMED: usize = 10;

/// Reports the result of a scan of the files.
pub struct FeedReporter {
    readiness: Readiness,
    clock: fn() -> Timestamp,
    /// Every feed with a gauge, so that the gauge of a removed feed is reset.
    feeds: BTreeSet<String>,
    missing: Vec<String>,
}

impl FeedReporter {
    /// Registers the check of the feeds, which never counts.
    pub fn new(readiness: Readiness, clock: fn() -> Timestamp) -> FeedReporter {
        readiness.register(readiness::FEEDS, false);
        FeedReporter { readiness, clock, feeds: BTreeSet::new(), missing: Vec::new() }
    }

    /// Returns whether the entries without a file changed since the last report.
    pub fn is_behind(&self, feed_set: &FeedSet) -> bool {
        self.missing != feed_set.missing()
    }

    /// Reports one scan: readiness before the log, so that a reader of the log finds readiness updated.
    pub fn report(&mut self, feed_set: &FeedSet, scan: &FeedScan) {
        self.report_feeds(feed_set, scan);
        if let Some(failed) = &scan.failed {
            counter!(telemetry::SNAPSHOT_RELOADS_TOTAL, "result" => "failed").increment(1);
            tracing::error!(error = %Escaped(failed), "intel.files: cannot build snapshot; the active one stays active");
        }
        scan.outcomes.iter().for_each(report_outcome);
        let files = by_path(feed_set);
        for (path, feed, fault) in &scan.faults {
            counter!(telemetry::FEED_ERRORS_TOTAL, "feed" => feed.clone(), "reason" => fault.label()).increment(1);
            let held = files.get(path.as_path()).is_some_and(|kept| kept.iter().any(|kept| kept.place.is_some()));
            let refused = if held {
                "feed file refused; its last good indicators stay active"
            } else {
                "feed file refused; nothing of it is matched"
            };
            tracing::error!(feed, file = %Escaped(path.display()), reason = fault.label(), error = %Escaped(fault), "{refused}");
        }
        for path in &scan.dropped {
            tracing::info!(file = %Escaped(path.display()), "feed file removed; the rest of its feed stays active");
        }
        for missing in feed_set.missing().iter().filter(|missing| !self.missing.contains(missing)) {
            tracing::error!(cause = missing, "intel.files: entry matches no file");
        }
        self.missing = feed_set.missing().to_vec();
    }

    /// Shows that an update panicked, until one succeeds.
    pub fn report_panic(&mut self) {
        counter!(telemetry::TASK_RESTARTS_TOTAL, "task" => "indicators").increment(1);
        tracing::error!(
            "updating the indicators panicked; the active snapshot stays active, and all files will be read again"
        );
        let detail = "the last update panicked (see the log); all files will be read again";
        self.readiness.set(readiness::FEEDS, false, detail);
    }

    fn report_feeds(&mut self, feed_set: &FeedSet, scan: &FeedScan) {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut faults = Vec::new();
        let mut files = 0;
        for kept in feed_set.files() {
            files += 1;
            let length = |place| feed_set.serving().map_or(0, |serving| serving.feed_len(place));
            *sizes.entry(&kept.file.feed.name).or_default() += kept.place.map_or(0, length);
            if let Some(fault) = &kept.fault {
                faults.push(format!("{}: {}", kept.file.path.display(), fault.label()));
            }
        }
        faults.extend(feed_set.missing().iter().cloned());
        let gone: Vec<String> = self.feeds.iter().filter(|feed| !sizes.contains_key(feed.as_str())).cloned().collect();
        for feed in gone {
            gauge!(telemetry::FEED_INDICATORS, "feed" => feed.clone()).set(0.0);
            self.feeds.remove(&feed);
        }
        for (feed, size) in &sizes {
            gauge!(telemetry::FEED_INDICATORS, "feed" => (*feed).to_owned()).set(*size as f64);
            self.feeds.insert((*feed).to_owned());
        }
        self.report_ages(feed_set, scan);
        let noun = if files == 1 { "file" } else { "files" };
        let detail = match faults.len() {
            0 => format!("{files} {noun} OK"),
            number => {
                let more = if number > NAMED { format!(", and {} more", number - NAMED) } else { String::new() };
                faults.truncate(NAMED);
                format!("{files} {noun}, {number} with problems: {}{more}", faults.join("; "))
            }
        };
        self.readiness.set(readiness::FEEDS, faults.is_empty(), detail);
    }

    /// Updates the gauges of unusable lines and import times, for feeds that were read without errors.
    fn report_ages(&self, feed_set: &FeedSet, scan: &FeedScan) {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let files = by_path(feed_set);
        for outcome in &scan.outcomes {
            let kept = files.get(outcome.file.path.as_path());
            let is_taken = |kept: &&FeedFileState| kept.file == outcome.file && kept.fault.is_none();
            let taken = kept.is_some_and(|kept| kept.iter().any(is_taken));
            if let (Ok(import), true) = (&outcome.import, taken) {
                let (unusable, unsupported) = counts.entry(&outcome.file.feed.name).or_default();
                *unusable += import.unusable_lines() + outcome.refused.len();
                *unsupported += import.unsupported_patterns;
            }
        }
        let now = (self.clock)().as_second() as f64;
        for (feed, (unusable, unsupported)) in counts {
            let labels = [("feed", feed.to_owned())];
            gauge!(telemetry::FEED_UNUSABLE_LINES, &labels).set(unusable as f64);
            gauge!(telemetry::FEED_UNSUPPORTED_PATTERNS, &labels).set(unsupported as f64);
            gauge!(telemetry::FEED_TIMESTAMP_SECONDS, &labels).set(now);
        }
    }
}

/// Indexes the files by path. There may be thousands, so each look-up must be fast.
fn by_path(feed_set: &FeedSet) -> HashMap<&Path, Vec<&FeedFileState>> {
    let mut files: HashMap<&Path, Vec<&FeedFileState>> = HashMap::new();
    for kept in feed_set.files() {
        files.entry(&kept.file.path).or_default().push(kept);
    }
    files
}

fn report_outcome(outcome: &Outcome) {
    let file = outcome.file.path.display();
    // A file that failed as a whole is reported with its fault.
    let Ok(import) = &outcome.import else { return };
    tracing::info!(
        feed = outcome.file.feed.name, file = %Escaped(&file), format = %import.format,
        unusable = import.unusable_lines(), too_generic = outcome.refused.len(), "feed file read"
    );
    for unusable in import.unusable.iter().take(SAMPLE) {
        tracing::warn!(file = %Escaped(&file), line = unusable.line, excerpt = unusable.excerpt, reason = %Escaped(&unusable.reason), "line not usable");
    }
    for (line, refused) in outcome.refused.iter().take(SAMPLE) {
        tracing::warn!(file = %Escaped(&file), line, value = %Escaped(&refused.value), reason = %refused.reason, "indicator too generic");
    }
}
