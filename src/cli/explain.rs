//! `hotlist explain`: why an event did, or did not, match.
//!
//! The verdict is that of the live stream: the same detector over the fields that the snapshot checks. Then the event
//! is walked again over every field of the table with an observer at the matcher, so that a field at which nothing
//! could match is shown as well, with that reason.

mod lookup_log;
mod report;

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use jiff::Timestamp;

use super::args::ExplainArgs;
use super::{Failure, indicators, progress};
use crate::counted::count;
use crate::detect::Survey;
use crate::intel::snapshot::MatchOptions;
use crate::logs::otlp;
use crate::matcher::Matcher;
use lookup_log::LookupLog;
use report::Explanation;

/// The maximum size of an event, in bytes.
const MAX_EVENT: u64 = 64 << 20;

pub(super) fn run(
    args: &ExplainArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    seed: u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = match &args.config {
        Some(config) => indicators::configured(config, &args.allowlist, &args.fields, environment, seed)?,
        None => {
            let options = MatchOptions {
                subdomains: args.subdomains,
                url_hosts: args.url_hosts,
                text: args.text,
                text_refang: args.text_refang,
                ..MatchOptions::EXACT
            };
            indicators::given(&args.indicators, options, &args.allowlist, &args.fields, seed)?
        }
    };
    let event = single(event(&args.events)?, &args.events)?;
    let (detector, snapshot) = (&loaded.detector, &loaded.detector.snapshot);
    let (document, now) = (event.trim_ascii(), Timestamp::now());
    let mut matcher = Matcher::new(snapshot);
    // Input that is not a document is text, with a configuration only if its `match.text` is `all`, as in `run`.
    let reads_lines = args.config.is_none() || snapshot.options().text;
    let of_event = || format!("the event of {}", args.events.display());
    let verdict = match detector.document(document, snapshot.trie(), &mut matcher, now) {
        Err(_) if reads_lines => detector.text(document, &mut matcher, now),
        verdict => verdict.with_context(of_event)?,
    };
    let mut matcher = Matcher::with_trace(snapshot, LookupLog::new(snapshot.table()));
    let at_every_field = detector.document(document, snapshot.every_field(), &mut matcher, now);
    let at_every_field = match at_every_field {
        Err(_) if reads_lines => detector.text(document, &mut matcher, now),
        verdict => verdict.with_context(of_event)?,
    };
    let lookup_log = std::mem::take(matcher.trace());
    let mut survey = Survey::new(snapshot.table());
    survey.add(document);
    let explanation = Explanation::new(&loaded, &verdict, &at_every_field, lookup_log, &survey);
    let written = match args.json {
        true => serde_json::to_writer(&mut *out, &explanation).map_err(io::Error::from).and_then(|()| writeln!(out)),
        false => write!(out, "{explanation}"),
    };
    written.and_then(|()| out.flush()).map_err(Failure::of_output)
}

/// The log record of a request of OTLP/JSON that has one; any other event as it is.
fn single(event: Vec<u8>, path: &Path) -> Result<Vec<u8>, Failure> {
    if !otlp::is_request(event.trim_ascii()) {
        return Ok(event);
    }
    let (mut first, mut records) = (Vec::new(), 0);
    otlp::documents(event.trim_ascii(), |record| {
        records += 1;
        if records == 1 {
            first = record.to_vec();
        }
    })
    .with_context(|| format!("the event of {} begins like a request of OTLP/JSON", path.display()))?;
    match records {
        1 => Ok(first),
        _ => Err(anyhow!(
            "{} is a request of OTLP/JSON with {}; explain reads a request with one, `hotlist scan` one with many",
            path.display(),
            count(records, "log record", "log records"),
        )
        .into()),
    }
}

fn event(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut event = Vec::new();
    let read = if path == Path::new("-") {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            progress::write_line("waiting for an event on standard input, one JSON document; Ctrl-D ends it");
        }
        stdin.lock().take(MAX_EVENT).read_to_end(&mut event)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_EVENT).read_to_end(&mut event))
    };
    read.with_context(|| format!("cannot read the event from {}", path.display()))?;
    Ok(event)
}
