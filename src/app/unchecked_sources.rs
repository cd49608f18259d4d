//! Reports sources whose events have no checked field, which otherwise look like sources without hits, within a minute of
//! the first event.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::gauge;

use super::match_stage::MatchStage;
use crate::counted::count;
use crate::detect::Survey;
use crate::encoding::Format;
use crate::escape::Escaped;
use crate::observable::Kind;
use crate::pipeline::{BatchRefusal, LookupResults, MatchedMessage, Transform, ValueLookup, Work};
use crate::readiness::{self, Readiness};
use crate::schema::FieldTable;
use crate::telemetry;

/// How long a source may send events without a checked field before it is reported.
const PATIENCE: Duration = Duration::from_secs(20);

/// The interval of checks: with [`PATIENCE`], less than a minute after the first event.
pub(super) const EVERY: Duration = Duration::from_secs(30);

/// The matching step of one source, with a record of its events.
pub(super) struct SourceStage {
    live: Arc<MatchStage>,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    first: OnceLock<Instant>,
    events: AtomicU64,
    /// Whether one of them had a checked field.
    is_known: AtomicBool,
    /// The values of the others that could be indicators.
    survey: Mutex<Option<Survey>>,
    surveyed: AtomicU64,
}

/// How many batches without a checked field are surveyed, the first record of each.
const SURVEYED: u64 = 256;
/// How many paths are named.
const NAMED: usize = 5;

impl SourceStage {
    pub(super) fn new(live: Arc<MatchStage>) -> SourceStage {
        SourceStage { live, seen: Seen::default() }
    }
}

impl Transform for SourceStage {
    fn process(&self, format: Format, message: Bytes, work: &Work) -> Result<MatchedMessage, BatchRefusal> {
        let surveyed = self.seen.is_surveyed().then(|| message.clone());
        let mut is_unknown = false;
        let mut note = |events: u64, is_known: bool| {
            is_unknown = events > 0 && !is_known;
            self.seen.count_events(events, is_known);
        };
        let matched = self.live.process_noting(format, message, work, &mut note)?;
        if let Some(message) = surveyed.filter(|_| is_unknown)
            && let Some(table) = self.live.field_table()
        {
            self.seen.survey(format, &message, &table);
        }
        Ok(matched)
    }
}

impl ValueLookup for SourceStage {
    fn check(&self, values: &[(&str, &str)]) -> Result<LookupResults, BatchRefusal> {
        self.live.check(values)
    }
}

impl Seen {
    fn count_events(&self, events: u64, is_known: bool) {
        if events > 0 {
            self.first.get_or_init(Instant::now);
            self.events.fetch_add(events, Ordering::Relaxed);
        }
        if is_known {
            self.is_known.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the next batch is surveyed if it has no checked field.
    fn is_surveyed(&self) -> bool {
        !self.is_known.load(Ordering::Relaxed) && self.surveyed.load(Ordering::Relaxed) < SURVEYED
    }

    #[cold]
    fn survey(&self, format: Format, message: &Bytes, table: &FieldTable) {
        self.surveyed.fetch_add(1, Ordering::Relaxed);
        // Counts are consistent after a panic.
        let mut survey = self.survey.lock().unwrap_or_else(PoisonError::into_inner);
        survey.get_or_insert_with(|| Survey::new(table)).add_first_record(format, message);
    }

    /// The lines to add to `match.fields`, as it is written there; empty when nothing could be an indicator.
    fn suggestions(&self) -> String {
        let survey = self.survey.lock().unwrap_or_else(PoisonError::into_inner);
        survey.as_ref().map(|survey| suggestions(&survey.most_frequent(NAMED))).unwrap_or_default()
    }

    /// Returns the number of events, if none of them had a checked field for long enough.
    fn unknown(&self, now: Instant) -> Option<u64> {
        let is_old = self.first.get().is_some_and(|first| now.saturating_duration_since(*first) >= PATIENCE);
        (is_old && !self.is_known.load(Ordering::Relaxed)).then(|| self.events.load(Ordering::Relaxed))
    }
}

/// Fields as `match.fields` has them.
pub(crate) fn suggestions(paths: &[(&str, Kind)]) -> String {
    let one = |(path, kind): &(&str, Kind)| format!("{{ field: {}, kind: {kind} }}", Escaped(path));
    paths.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Reports the sources whose events have no checked field.
pub(super) struct UncheckedSources {
    readiness: Readiness,
    /// The sources in the last report.
    reported: Vec<String>,
}

impl UncheckedSources {
    pub(super) fn new(readiness: Readiness) -> UncheckedSources {
        UncheckedSources { readiness, reported: Vec::new() }
    }

    /// Checks every source, and reports changes.
    pub(super) fn check<'s>(&mut self, sources: impl Iterator<Item = (&'s str, &'s SourceStage)>, now: Instant) {
        self.report(
            sources
                .filter_map(|(id, stream)| Some((id.to_owned(), stream.seen.unknown(now)?, stream.seen.suggestions())))
                .collect(),
        );
    }

    fn report(&mut self, unknown: Vec<(String, u64, String)>) {
        for (source, events, fields) in unknown.iter().filter(|(source, ..)| !self.reported.contains(source)) {
            tracing::warn!(
                source,
                events,
                fields,
                "no event of a source has a checked field: NOTHING OF IT IS MATCHED; add its fields to `match.fields`, such as those in `fields`, which have values that could be indicators"
            );
        }
        gauge!(telemetry::BLIND_SOURCES).set(unknown.len() as f64);
        if unknown.is_empty() {
            if !self.reported.is_empty() {
                self.readiness.set(readiness::STREAMS, true, "every source has events with known fields");
            }
        } else {
            let each: Vec<String> = unknown
                .iter()
                .map(|(source, events, fields)| {
                    let events = count(*events, "event", "events");
                    match fields.is_empty() {
                        true => format!("{source} ({events})"),
                        false => format!("{source} ({events}; add to match.fields: {fields})"),
                    }
                })
                .collect();
            self.readiness.register(readiness::STREAMS, false);
            self.readiness.set(
                readiness::STREAMS,
                false,
                format!("no known field in the events of {}", each.join(", ")),
            );
        }
        self.reported = unknown.into_iter().map(|(source, ..)| source).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a source without events is silent, one without a known field is reported after a while, and one event
    /// with a known field takes that back.
    #[test]
    fn only_a_source_whose_events_have_no_known_field_is_unknown() {
        let (seen, start) = (Seen::default(), Instant::now());
        let late = || Instant::now() + PATIENCE;
        seen.count_events(0, false);
        assert_eq!(seen.unknown(late()), None, "no event");
        seen.count_events(3, false);
        assert_eq!(seen.unknown(start), None, "too early");
        seen.count_events(4, false);
        assert_eq!(seen.unknown(late()), Some(7));
        seen.count_events(1, true);
        assert_eq!(seen.unknown(late()), None);
    }

    /// Guarantee: readiness shows the sources as long as there are any, and says when there are none any more.
    #[test]
    fn readiness_follows() {
        let readiness = Readiness::default();
        let mut streams = UncheckedSources::new(readiness.clone());
        let shown = |readiness: &Readiness| {
            let checks = readiness.checks();
            assert!(checks.len() < 2, "{} checks", checks.len());
            checks.into_iter().next().map(|check| (check.counts, check.good, check.detail))
        };
        streams.report(Vec::new());
        assert_eq!(shown(&readiness), None);
        streams.report(vec![("agents".to_owned(), 7, String::new())]);
        let (counts, good, detail) = shown(&readiness).unwrap();
        assert!(!counts && !good && detail.contains("agents (7 events)"), "{detail}");
        let fields = suggestions(&[("client_addr", Kind::Ip)]);
        streams.report(vec![("agents".to_owned(), 8, fields)]);
        let (counts, good, detail) = shown(&readiness).unwrap();
        let parts = ["agents (8 events; ", "match.fields: { field: client_addr, kind: ip }"];
        assert!(!counts && !good && parts.iter().all(|part| detail.contains(part)), "{detail}");
        streams.report(Vec::new());
        let (counts, good, detail) = shown(&readiness).unwrap();
        assert!(!counts && good && detail.contains("every source"), "{detail}");
    }
}
