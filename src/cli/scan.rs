//! `hotlist scan`: files of events against files of indicators, offline.
//!
//! Says what is in the files: no rule, validity, C2 rule, revocation or import guard is applied, and no allowlist that is
//! not named. Output is in the order of the input, so two runs over the same files write the same bytes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::args::{Emit, ScanArgs};
use super::{Failure, progress};
use crate::config;
use crate::detect::{Budgets, Detector};
use crate::encoding::TagInto;
use crate::enrich::Detection;
use crate::feed::{allowlist, load};
use crate::fields::FieldTable;
use crate::intel::snapshot::{MatchOptions, Snapshot};
use crate::matcher::Matcher;
use crate::policy::Policy;

/// The longest event line that is read. A longer one is reported and skipped.
const MAX_LINE: usize = 64 << 20;

/// One hit, as a line of NDJSON.
#[derive(Serialize, PartialEq, Eq, Hash)]
struct Line<'a> {
    file: &'a str,
    line: u64,
    field: &'a str,
    value: String,
    kind: &'static str,
    indicator: &'a str,
    feed: &'a str,
    detection: &'static str,
}

pub(super) fn run(args: &ScanArgs, seed: u64, out: &mut dyn Write) -> Result<(), Failure> {
    let options =
        MatchOptions { subdomains: args.match_subdomains, url_hosts: args.match_url_hosts, ..MatchOptions::EXACT };
    let snapshot = Arc::new(snapshot(&args.indicators, options, seed)?);
    let policy = only_allowlists(&args.allowlist);
    let detector = Detector { snapshot, policy, tag_into: TagInto::Auto, budgets: Budgets::OFFLINE };
    let mut bad = 0;
    for path in &args.events {
        if path == Path::new("-") {
            bad += events(&detector, "-", &mut io::stdin().lock(), args.emit, out)?;
            continue;
        }
        let mut files = Vec::new();
        load::walk(path, &mut |file| files.push(file)).context("cannot list the events")?;
        for file in files {
            let opened = File::open(&file).with_context(|| format!("cannot read events from {}", file.display()))?;
            bad += events(&detector, &file.to_string_lossy(), &mut BufReader::new(opened), args.emit, out)?;
        }
    }
    out.flush().map_err(Failure::of_output)?;
    if bad > 0 {
        progress::note(&format!("{bad} lines are no JSON object and were not matched, or not to their end"));
    }
    Ok(())
}

/// A policy of the allowlists named on the command line and nothing else, `None` without any. What cannot be used is
/// told on standard error.
pub(super) fn only_allowlists(paths: &[PathBuf]) -> Option<Policy> {
    if paths.is_empty() {
        return None;
    }
    let (allowlists, errors) = allowlist::load_with(&config::Intel::default(), paths);
    allowlist::lines(&errors).iter().for_each(|line| progress::note(&format!("allowlist: {line}")));
    Some(Policy { allowlists, only_allowlists: true, ..Policy::default() })
}

/// Loads indicators named on the command line. What cannot be used is told on standard error, nothing is hidden.
pub(super) fn snapshot(paths: &[PathBuf], options: MatchOptions, seed: u64) -> Result<Snapshot, Failure> {
    let table = Arc::new(FieldTable::embedded(true).context("the shipped field table")?);
    let files = load::given(paths).context("cannot find the indicators")?;
    let bar = progress::bar(files.len() as u64, "files of indicators");
    let mut outcomes = Vec::new();
    for file in files {
        let outcome = load::load(file, &table);
        match &outcome.import {
            Ok(import) if !import.unusable.is_empty() => progress::note(&format!(
                "{}: {} lines cannot be used (`hotlist inspect` lists them)",
                outcome.file.path.display(),
                import.unusable.len()
            )),
            Ok(_) => {}
            Err(error) => progress::note(&format!("{}: {error}", outcome.file.path.display())),
        }
        outcomes.push(outcome);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if outcomes.iter().all(|outcome| outcome.import.is_err()) {
        return Err(Failure::Other(anyhow::anyhow!("no file of indicators could be read")));
    }
    let snapshot = load::snapshot(&mut outcomes, &table, options, seed, 1).context("cannot index the indicators")?;
    Ok(snapshot)
}

/// Matches one file; returns how many lines are no events.
fn events(
    detector: &Detector,
    file: &str,
    input: &mut dyn BufRead,
    emit: Emit,
    out: &mut dyn Write,
) -> Result<u64, Failure> {
    let mut matcher = Matcher::new(&detector.snapshot);
    let (mut line, mut number, mut bad) = (Vec::new(), 0, 0);
    // Events without a time of their own are judged by none: scan applies no validity.
    let arrival = Timestamp::UNIX_EPOCH;
    loop {
        line.clear();
        let read = read_line(input, &mut line).with_context(|| format!("cannot read events from {file}"))?;
        if read == 0 {
            return Ok(bad);
        }
        number += 1;
        let document = line.trim_ascii();
        if document.is_empty() {
            continue;
        }
        let verdict = detector.document(document, detector.snapshot.trie(), &mut matcher, arrival);
        for budget in verdict.iter().flat_map(|verdict| verdict.exceeded.iter()) {
            progress::note(&format!(
                "{file}:{number}: exceeds the budget {}; the best findings are kept",
                budget.as_str()
            ));
        }
        if let Some(malformed) = verdict.as_ref().ok().and_then(|verdict| verdict.malformed) {
            bad += 1;
            let what = malformed.as_str();
            progress::note(&format!(
                "{file}:{number}: a malformed JSON document ({what}), matched as far as it can be read"
            ));
        }
        let written = match (&verdict, emit) {
            (Ok(verdict), Emit::Hits) => hits(detector, file, number, verdict, out),
            (Ok(verdict), Emit::Events) if !verdict.hits.is_empty() => match detector.tag_document(document, verdict) {
                Ok(tagged) => out.write_all(&tagged).and_then(|()| out.write_all(b"\n")),
                Err(_) => out.write_all(document).and_then(|()| out.write_all(b"\n")),
            },
            (Ok(_), Emit::Events) => out.write_all(document).and_then(|()| out.write_all(b"\n")),
            (Err(error), emit) => {
                bad += 1;
                progress::note(&format!("{file}:{number}: {error}"));
                match emit {
                    Emit::Hits => Ok(()),
                    Emit::Events => out.write_all(document).and_then(|()| out.write_all(b"\n")),
                }
            }
        };
        written.map_err(Failure::of_output)?;
    }
}

fn hits(
    detector: &Detector,
    file: &str,
    line: u64,
    verdict: &crate::detect::Verdict,
    out: &mut dyn Write,
) -> io::Result<()> {
    let snapshot = &detector.snapshot;
    let mut seen = HashSet::new();
    for hit in &verdict.hits {
        let line = Line {
            file,
            line,
            field: &snapshot.table().get(hit.field).name,
            value: String::from_utf8_lossy(&hit.value).into_owned(),
            kind: hit.kind.as_str(),
            indicator: &hit.name,
            feed: &snapshot.feed_of(hit.posting.indicator).name,
            detection: Detection::Live.as_str(),
        };
        // Two files of one feed may say the same thing.
        if seen.insert((line.field, line.value.clone(), line.kind, line.indicator, line.feed)) {
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// Reads one line with its end, at most [`MAX_LINE`] bytes of it; the rest of a longer one is skipped, and what is
/// left is no JSON object, so it is reported as such.
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
