//! Matches the events of a block, and renders what is written of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::NOTES;
use super::output::{Hit, Rendered};
use crate::cli::args::Emit;
use crate::counted::count;
use crate::detect::{Detector, Survey, Verdict};
use crate::encoding::json::{self, Malformation};
use crate::enrich::Detection;
use crate::logs::otlp;
use crate::logs::split::{self, Block, Event, Fault};
use crate::matcher::{Matcher, Sieve};

pub(super) struct EventMatcher<'a> {
    pub(super) detector: &'a Detector,
    pub(super) emit: Emit,
    /// A line that is not a document is text. With a configuration only if its `match.text` is `all`, as in `run`.
    pub(super) reads_lines: bool,
    /// The arrival time of every event.
    pub(super) arrival: Timestamp,
    /// The first instant of the range of time.
    pub(super) since: Option<Timestamp>,
    /// The instant behind the range of time.
    pub(super) until: Option<Timestamp>,
    /// The values of events without a checked field that could be indicators.
    pub(super) survey: Mutex<Survey>,
    /// How many of these events were looked into.
    pub(super) surveyed: AtomicU64,
    /// How many other events were looked into for texts that are not scanned.
    pub(super) surveyed_texts: AtomicU64,
}

/// How many events without a checked field are looked into.
const SURVEYED: u64 = 1000;

/// The result of one block.
pub(super) struct Matched {
    /// The file, with the member of an archive.
    pub(super) file: Arc<str>,
    pub(super) rendered: Rendered,
    pub(super) counts: Counts,
    /// The first malformed events and exceeded budgets.
    pub(super) notes: Vec<String>,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) events: u64,
    pub(super) events_with_hits: u64,
    pub(super) hits: u64,
    pub(super) malformed: u64,
    /// Lines that were scanned as text.
    pub(super) texts: u64,
    pub(super) outside: u64,
    pub(super) without_time: u64,
    pub(super) without_field: u64,
    pub(super) bytes: u64,
    /// By the number of the feed, and the kind.
    pub(super) by_feed: BTreeMap<(usize, &'static str), u64>,
}

/// A thread that matches.
pub(super) struct BlockMatcher<'a> {
    settings: &'a EventMatcher<'a>,
    matcher: Matcher<'a>,
    /// Asks whether anything in a line may match.
    sieve: Sieve<'a>,
}

impl EventMatcher<'_> {
    pub(super) fn start(&self) -> BlockMatcher<'_> {
        let snapshot = &self.detector.snapshot;
        BlockMatcher { settings: self, matcher: Matcher::new(snapshot), sieve: Sieve::new(snapshot) }
    }
}

impl BlockMatcher<'_> {
    /// Matches the events of `block`, which is a part of `file`.
    pub(super) fn block(&mut self, file: &Arc<str>, block: &Block) -> Matched {
        let rendered = Rendered::new(self.settings.emit);
        let counts = Counts { bytes: block.len() as u64, ..Counts::default() };
        let mut matched = Matched { file: Arc::clone(file), rendered, counts, notes: Vec::new() };
        for event in block.events() {
            self.event(event, &mut matched);
        }
        matched.rendered.finish();
        matched
    }

    fn event(&mut self, event: Event<'_>, matched: &mut Matched) {
        if let Some(columns) = event.columns {
            let document = columns.document(event.bytes);
            return self.event(Event { bytes: &document, columns: None, ..event }, matched);
        }
        if !otlp::is_request(event.bytes) || !self.request(event, matched) {
            self.one(event, matched);
        }
    }

    /// An event that is not a request with several.
    fn one(&mut self, event: Event<'_>, matched: &mut Matched) {
        match event.fault {
            Some(Fault::OpenArray) => {
                matched.counts.malformed += 1;
                matched.add_note(event.line, "the array that begins here is not closed: the file was cut short");
                return;
            }
            Some(Fault::TooLong) => {
                matched.add_note(event.line, "the event is longer than 64 MiB; the rest of its line is not matched");
            }
            None => {}
        }
        let settings = self.settings;
        if settings.since.is_some() || settings.until.is_some() {
            match self.settings.detector.event_time(event.bytes) {
                None => matched.counts.without_time += 1,
                Some(time) => {
                    let is_inside = settings.since.is_none_or(|since| time >= since)
                        && settings.until.is_none_or(|until| time < until);
                    if !is_inside {
                        matched.counts.outside += 1;
                        return;
                    }
                }
            }
        }
        let detector = settings.detector;
        let before = self.matcher.counts().observables;
        let is_line = settings.reads_lines && !json::begins_document(event.bytes);
        let document = match is_line {
            true => None,
            false => {
                let trie = detector.snapshot.trie();
                let verdict = detector.document(event.bytes, trie, &mut self.matcher, settings.arrival);
                Some(verdict).filter(|verdict| verdict.is_ok() || !settings.reads_lines)
            }
        };
        let is_text = document.is_none();
        let verdict = match document {
            Some(verdict) => verdict,
            None => {
                matched.counts.texts += 1;
                let (sieve, matcher) = (&mut self.sieve, &mut self.matcher);
                match detector.sieved_text(event.bytes, sieve, matcher, settings.arrival) {
                    Some(verdict) => Ok(verdict),
                    None => {
                        matched.counts.events += 1;
                        matched.rendered.event(event.bytes);
                        return;
                    }
                }
            }
        };
        let malformed = verdict.as_ref().ok().and_then(|verdict| verdict.malformed);
        if malformed == Some(Malformation::Several) {
            let parts = split::documents(event.bytes);
            if parts.len() > 1 {
                return parts.into_iter().for_each(|bytes| self.event(Event { bytes, ..event }, matched));
            }
        }
        matched.counts.events += 1;
        if verdict.is_ok() && !is_text && self.matcher.counts().observables == before {
            matched.counts.without_field += 1;
            if settings.surveyed.fetch_add(1, Ordering::Relaxed) < SURVEYED {
                // Counts are consistent after a panic.
                settings.survey.lock().unwrap_or_else(PoisonError::into_inner).add(event.bytes);
            }
        } else if verdict.is_ok()
            && !is_text
            && !detector.snapshot.options().text
            && settings.surveyed_texts.fetch_add(1, Ordering::Relaxed) < SURVEYED
        {
            settings.survey.lock().unwrap_or_else(PoisonError::into_inner).add_texts(event.bytes);
        }
        for budget in verdict.iter().flat_map(|verdict| verdict.exceeded.iter()) {
            let budget = budget.as_str();
            matched.add_note(event.line, &format!("exceeds the budget {budget}; the best findings are kept"));
        }
        if let Some(malformed) = malformed {
            matched.counts.malformed += 1;
            let what = malformed.as_str();
            matched.add_note(
                event.line,
                &format!("a malformed JSON document ({what}), matched as far as it could be parsed"),
            );
        }
        match &verdict {
            Ok(verdict) => self.verdict(event, verdict, matched),
            Err(error) => {
                matched.counts.malformed += 1;
                matched.add_note(event.line, &error.to_string());
                matched.rendered.event(event.bytes);
            }
        }
    }

    /// Matches each log record of a request of OTLP/JSON as an event. Returns whether it is one.
    fn request(&mut self, event: Event<'_>, matched: &mut Matched) -> bool {
        match otlp::documents(event.bytes, |record| {
            self.one(Event { bytes: record, line: event.line, columns: None, fault: None }, matched);
        }) {
            Ok(0) => {}
            Ok(malformed) => {
                let values = count(malformed, "value", "values");
                matched
                    .add_note(event.line, &format!("a request of OTLP/JSON with {values} that are not of their type"));
            }
            Err(error) => {
                matched.add_note(event.line, &format!("begins like a request of OTLP/JSON: {error}"));
                return false;
            }
        }
        true
    }

    fn verdict(&self, event: Event<'_>, verdict: &Verdict, matched: &mut Matched) {
        let (detector, snapshot) = (self.settings.detector, &self.settings.detector.snapshot);
        if self.settings.emit == Emit::Events {
            let tagged = match verdict.hits.is_empty() {
                true => detector.mark_document(event.bytes),
                false => detector.tag_document(event.bytes, verdict).ok(),
            };
            matched.rendered.event(tagged.as_deref().unwrap_or(event.bytes));
        }
        matched.counts.events_with_hits += u64::from(!verdict.hits.is_empty());
        let mut seen = HashSet::new();
        for hit in &verdict.hits {
            let feed = snapshot.feed_number(hit.posting.indicator);
            let line = Hit {
                file: &matched.file,
                line: event.line,
                field: hit.path(snapshot.table()),
                value: String::from_utf8_lossy(&hit.value).into_owned(),
                kind: hit.kind.as_str(),
                indicator: &hit.name,
                feed: &snapshot.feed_of(hit.posting.indicator).name,
                detection: Detection::Live.as_str(),
            };
            // Two files of one feed may contain the same indicator.
            if seen.insert((line.field, line.value.clone(), line.kind, line.indicator, line.feed)) {
                matched.counts.hits += 1;
                *matched.counts.by_feed.entry((feed, line.kind)).or_default() += 1;
                matched.rendered.hit(line);
            }
        }
    }
}

impl Matched {
    fn add_note(&mut self, line: u64, text: &str) {
        if self.notes.len() < NOTES {
            self.notes.push(format!("{}:{line}: {text}", self.file));
        }
    }
}
