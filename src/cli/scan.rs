//! `hotlist scan`: matches event files against indicators, offline.
//!
//! With paths it matches the content of the files: no rule, validity, C2 rule, revocation or import guard is applied,
//! and no allowlist that is not named. With a configuration it matches as `run` would if the events arrived now. Output
//! is in the order of the input, so two runs over the same files write the same bytes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::args::{Emit, ScanArgs};
use super::{Failure, indicators, progress};
use crate::detect::{Detector, Verdict};
use crate::enrich::Detection;
use crate::feed::load;
use crate::intel::snapshot::MatchOptions;
use crate::matcher::Matcher;

/// The maximum length of an event line. A longer line is reported and skipped.
const MAX_LINE: usize = 64 << 20;

/// One hit, as a line of NDJSON.
#[derive(Serialize, PartialEq, Eq, Hash)]
struct HitLine<'a> {
    file: &'a str,
    line: u64,
    field: &'a str,
    value: String,
    kind: &'static str,
    indicator: &'a str,
    feed: &'a str,
    detection: &'static str,
}

#[derive(Default, Serialize)]
struct Summary {
    /// Documents that were matched.
    events: u64,
    /// Documents with at least one hit.
    events_with_hits: u64,
    /// Lines of hits.
    hits: u64,
    /// Lines that are not a JSON object, or not to their end.
    malformed: u64,
}

/// Matches event files with one detector, and writes the results.
struct Scan<'a> {
    detector: &'a Detector,
    emit: Emit,
    /// The arrival time of every event.
    arrival: Timestamp,
    summary: Summary,
    out: &'a mut dyn Write,
}

pub(super) fn run(
    args: &ScanArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    seed: u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (loaded, arrival) = match &args.config {
        Some(config) => (indicators::configured(config, &args.allowlist, environment, seed)?, Timestamp::now()),
        None => {
            let options =
                MatchOptions { subdomains: args.subdomains, url_hosts: args.url_hosts, ..MatchOptions::EXACT };
            // Events without a time are not checked for validity.
            (indicators::given(&args.indicators, options, &args.allowlist, seed)?, Timestamp::UNIX_EPOCH)
        }
    };
    let (detector, emit) = (&loaded.detector, args.emit);
    let mut scan = Scan { detector, emit, arrival, summary: Summary::default(), out };
    for path in &args.events {
        if path == Path::new("-") {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                progress::note("waiting for events on standard input, one JSON document per line; Ctrl-D ends them");
            }
            scan.events("-", &mut stdin.lock())?;
            continue;
        }
        let mut files = Vec::new();
        load::walk(path, &mut |file| files.push(file)).context("cannot list the events")?;
        for file in files {
            let opened = File::open(&file).with_context(|| format!("cannot read events from {}", file.display()))?;
            scan.events(&file.to_string_lossy(), &mut BufReader::new(opened))?;
        }
    }
    let summary = scan.summary;
    out.flush().map_err(Failure::of_output)?;
    summary.report(args.json);
    Ok(())
}

impl Summary {
    /// Reports the summary on standard error: standard output is for hits and events.
    fn report(&self, json: bool) {
        if json {
            // A struct of numbers can always be serialised.
            return progress::line(&serde_json::to_string(self).unwrap_or_default());
        }
        let count = progress::count;
        let hits = count(self.hits, "hit", "hits");
        progress::note(&format!("{hits} in {} of {}", self.events_with_hits, count(self.events, "event", "events")));
        if self.malformed > 0 {
            progress::note(&format!(
                "{} not a JSON object, or malformed; the part that could be parsed was matched",
                count(self.malformed, "line is", "lines are")
            ));
        }
    }
}

impl Scan<'_> {
    fn events(&mut self, file: &str, input: &mut dyn BufRead) -> Result<(), Failure> {
        let detector = self.detector;
        let mut matcher = Matcher::new(&detector.snapshot);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = read_line(input, &mut line).with_context(|| format!("cannot read events from {file}"))?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            let document = line.trim_ascii();
            if document.is_empty() {
                continue;
            }
            self.summary.events += 1;
            let verdict = detector.document(document, detector.snapshot.trie(), &mut matcher, self.arrival);
            for budget in verdict.iter().flat_map(|verdict| verdict.exceeded.iter()) {
                progress::note(&format!(
                    "{file}:{number}: exceeds the budget {}; the best findings are kept",
                    budget.as_str()
                ));
            }
            if let Some(malformed) = verdict.as_ref().ok().and_then(|verdict| verdict.malformed) {
                self.summary.malformed += 1;
                let what = malformed.as_str();
                progress::note(&format!(
                    "{file}:{number}: a malformed JSON document ({what}), matched as far as it could be parsed"
                ));
            }
            let written = match &verdict {
                Ok(verdict) => self.verdict(file, number, document, verdict),
                Err(error) => {
                    self.summary.malformed += 1;
                    progress::note(&format!("{file}:{number}: {error}"));
                    if self.emit == Emit::Events { self.write(document) } else { Ok(()) }
                }
            };
            written.map_err(Failure::of_output)?;
        }
    }

    fn verdict(&mut self, file: &str, line: u64, document: &[u8], verdict: &Verdict) -> io::Result<()> {
        self.summary.events_with_hits += u64::from(!verdict.hits.is_empty());
        match self.emit {
            Emit::Hits => self.hits(file, line, verdict),
            Emit::Events if verdict.hits.is_empty() => match self.detector.mark_document(document) {
                Some(marked) => self.write(&marked),
                None => self.write(document),
            },
            Emit::Events => {
                self.summary.hits += verdict.hits.len() as u64;
                match self.detector.tag_document(document, verdict) {
                    Ok(tagged) => self.write(&tagged),
                    Err(_) => self.write(document),
                }
            }
        }
    }

    fn hits(&mut self, file: &str, line: u64, verdict: &Verdict) -> io::Result<()> {
        let snapshot = &self.detector.snapshot;
        let mut seen = HashSet::new();
        for hit in &verdict.hits {
            let line = HitLine {
                file,
                line,
                field: &snapshot.table().get(hit.field).name,
                value: String::from_utf8_lossy(&hit.value).into_owned(),
                kind: hit.kind.as_str(),
                indicator: &hit.name,
                feed: &snapshot.feed_of(hit.posting.indicator).name,
                detection: Detection::Live.as_str(),
            };
            // Two files of one feed may contain the same indicator.
            if seen.insert((line.field, line.value.clone(), line.kind, line.indicator, line.feed)) {
                self.summary.hits += 1;
                serde_json::to_writer(&mut *self.out, &line)?;
                self.out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn write(&mut self, document: &[u8]) -> io::Result<()> {
        self.out.write_all(document).and_then(|()| self.out.write_all(b"\n"))
    }
}

/// Reads one line with its end, at most [`MAX_LINE`] bytes; the rest of a longer line is skipped, and the remainder is
/// not a JSON object, so it is reported as malformed.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    let mut read = 0;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(read);
        }
        let (taken, ended) = match memchr::memchr(b'\n', buffer) {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        let room = MAX_LINE.saturating_sub(line.len());
        line.extend_from_slice(&buffer[..taken.min(room)]);
        input.consume(taken);
        read += taken;
        if ended {
            return Ok(read);
        }
    }
}
