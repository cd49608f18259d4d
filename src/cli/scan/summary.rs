//! The summary at the end, on standard error: standard output is for hits and events.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::matching::Counts;
use crate::cli::progress::{line, write_line};
use crate::counted::count;
use crate::detect::Survey;
use crate::escape::Escaped;
use crate::intel::snapshot::Snapshot;
use crate::logs::files::LogFiles;

/// How many paths the summary names.
const UNCHECKED: usize = 5;
/// How many feeds the summary for people names.
const FEEDS: usize = 5;

/// The summary of a scan, as JSON and for people.
#[derive(Default, Serialize)]
pub(super) struct Summary {
    /// Events that were matched.
    events: u64,
    /// Events with at least one hit.
    events_with_hits: u64,
    /// Lines of hits.
    pub(super) hits: u64,
    /// Events that are not a JSON object, or not to their end.
    malformed: u64,
    /// Lines that were scanned as text.
    texts: u64,
    /// Files and members of archives that were read.
    pub(super) files: u64,
    /// Files and paths that could not be read to the end.
    pub(super) failed: u64,
    pub(super) left_out: LeftOut,
    /// Events without a time that were matched although a range of time was given.
    without_time: u64,
    /// Events without a field that any of the indicators is looked for at.
    without_field: u64,
    /// The values of such events that could be indicators: at most five paths, with their kinds.
    unchecked: Vec<(String, &'static str)>,
    /// Texts of events that have in them what could be an indicator, and that were not scanned: at most five paths.
    unscanned: Vec<String>,
    by_feed: BTreeMap<String, u64>,
    by_kind: BTreeMap<&'static str, u64>,
    /// Bytes of text up to the last event of each file, decompressed.
    bytes: u64,
    /// The time since the start of the command.
    seconds: f64,
}

#[derive(Default, Serialize)]
pub(super) struct LeftOut {
    /// Hidden files, directories and members of archives.
    pub(super) hidden: u64,
    /// Directories that were reached repeatedly.
    repeated: u64,
    /// Pipes, sockets and devices in directories.
    special: u64,
    /// Events outside of the range of time.
    outside_time_range: u64,
}

impl Summary {
    pub(super) fn new(found: &LogFiles) -> Summary {
        let skipped = found.skipped;
        let left_out = LeftOut {
            hidden: skipped.hidden,
            repeated: skipped.repeated,
            special: skipped.special,
            outside_time_range: 0,
        };
        Summary { failed: found.errors.len() as u64, left_out, ..Summary::default() }
    }

    /// Whether there were no events.
    pub(super) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Adds the counts of a block.
    pub(super) fn add(&mut self, counts: &Counts, snapshot: &Snapshot) {
        self.events += counts.events;
        self.events_with_hits += counts.events_with_hits;
        self.hits += counts.hits;
        self.malformed += counts.malformed;
        self.texts += counts.texts;
        self.left_out.outside_time_range += counts.outside;
        self.without_time += counts.without_time;
        self.without_field += counts.without_field;
        self.bytes += counts.bytes;
        for ((feed, kind), hits) in &counts.by_feed {
            let feed = snapshot.feeds().get(*feed).map_or("", |feed| &feed.name);
            // One name may be that of several files.
            *self.by_feed.entry(feed.to_owned()).or_default() += hits;
            *self.by_kind.entry(kind).or_default() += hits;
        }
    }

    /// Adds the paths that no schema has, and that hold what could be an indicator.
    pub(super) fn add_survey(&mut self, survey: &Survey) {
        let paths = survey.most_frequent(UNCHECKED).into_iter();
        self.unchecked = paths.map(|(path, kind)| (path.to_owned(), kind.as_str())).collect();
        self.unscanned = survey.most_frequent_texts(UNCHECKED).into_iter().map(str::to_owned).collect();
    }

    /// Reports the summary on standard error.
    pub(super) fn report(&mut self, elapsed: Duration, json: bool) {
        self.seconds = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
        if json {
            // A struct of numbers and texts can always be serialised.
            return line(&serde_json::to_string(self).unwrap_or_default());
        }
        let hits = count(self.hits, "hit", "hits");
        write_line(&format!("{hits} in {} of {}", self.events_with_hits, count(self.events, "event", "events")));
        if self.hits > 0 {
            let mut feeds: Vec<(&str, u64)> = self.by_feed.iter().map(|(feed, hits)| (feed.as_str(), *hits)).collect();
            // The order of the names stays among equals.
            feeds.sort_by_key(|(_, hits)| std::cmp::Reverse(*hits));
            let more = feeds.len().saturating_sub(FEEDS);
            feeds.truncate(FEEDS);
            let more = if more > 0 {
                format!(", and {}", count(more as u64, "more feed", "more feeds"))
            } else {
                String::new()
            };
            write_line(&format!("by feed: {}{more}", listed(feeds)));
            write_line(&format!("by kind: {}", listed(self.by_kind.iter().map(|(kind, hits)| (*kind, *hits)))));
        }
        if self.texts > 0 {
            let lines = count(self.texts, "line is", "lines are");
            write_line(&format!("{lines} not a JSON document and scanned as text"));
        }
        if self.malformed > 0 {
            write_line(&format!(
                "{} not a JSON object, or malformed; the part that could be parsed was matched",
                count(self.malformed, "line is", "lines are")
            ));
        }
        if self.without_field > 0 && (!self.unchecked.is_empty() || self.without_field == self.events) {
            let events = count(self.without_field, "event has", "events have");
            write_line(&format!("{events} no field that any of these indicators is looked for at"));
        }
        if !self.unchecked.is_empty() {
            let fields: Vec<String> =
                self.unchecked.iter().map(|(path, kind)| format!("--field {}={kind}", Escaped(path))).collect();
            write_line(&format!("fields of these that could hold indicators: {}", fields.join(" ")));
        }
        if !self.unscanned.is_empty() {
            let fields: Vec<String> = self.unscanned.iter().map(|path| Escaped(path).to_string()).collect();
            write_line(&format!("texts that could hold indicators, scanned with --text only: {}", fields.join(", ")));
        }
        let left_out = [
            (self.left_out.outside_time_range, "event outside of the time range", "events outside of the time range"),
            (self.left_out.hidden, "hidden file", "hidden files"),
            (self.left_out.repeated, "directory reached repeatedly", "directories reached repeatedly"),
            (self.left_out.special, "pipe, socket or device", "pipes, sockets or devices"),
        ];
        let left_out: Vec<String> = left_out
            .iter()
            .filter(|(number, ..)| *number > 0)
            .map(|(number, one, many)| count(*number, one, many))
            .collect();
        if !left_out.is_empty() {
            write_line(&format!("left out: {}", left_out.join(", ")));
        }
        if self.without_time > 0 {
            let events = count(self.without_time, "event without a time was", "events without a time were");
            write_line(&format!("{events} matched in spite of --since and --until"));
        }
        let megabytes = self.bytes as f64 / 1e6;
        let rate = megabytes / elapsed.as_secs_f64().max(1e-9);
        write_line(&format!(
            "{}, {megabytes:.1} MB in {:.1} s ({rate:.0} MB/s)",
            count(self.files, "file", "files"),
            elapsed.as_secs_f64()
        ));
    }
}

fn listed<'n>(counted: impl IntoIterator<Item = (&'n str, u64)>) -> String {
    counted.into_iter().map(|(name, hits)| format!("{name} {hits}")).collect::<Vec<_>>().join(", ")
}
