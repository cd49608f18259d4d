//! `hotlist scan`: matches log files against indicators, offline.
//!
//! With paths it matches the content of the files: no rule, validity, C2 rule, revocation or import guard is applied,
//! and no allowlist that is not named. With a configuration it matches as `run` would if the events arrived now. Output
//! is in the order of the input, so two runs over the same files write the same bytes, whatever the number of threads.

mod matching;
mod output;
mod pipeline;
mod summary;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use jiff::Timestamp;

use super::args::{Emit, ScanArgs};
use super::{Failure, indicators, progress};
use crate::counted::count;
use crate::detect::Survey;
use crate::escape::{Printable, Style};
use crate::intel::snapshot::MatchOptions;
use crate::logs::files::{self, LogFiles};
use matching::EventMatcher;
use output::Output;
use pipeline::{Input, Item};
use summary::Summary;

/// How many malformed events and exceeded budgets of a file are listed; all of them are counted.
const NOTES: usize = 10;

pub(super) fn run(
    args: &ScanArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    seed: u64,
    standard_output: &mut dyn Write,
) -> Result<(), Failure> {
    let (started, now) = (Instant::now(), Timestamp::now());
    let (loaded, arrival) = match &args.config {
        Some(config) => (indicators::configured(config, &args.allowlist, &args.fields, environment, seed)?, now),
        None => {
            let options = MatchOptions {
                subdomains: args.subdomains,
                url_hosts: args.url_hosts,
                text: args.text,
                text_refang: args.text_refang,
                ..MatchOptions::EXACT
            };
            // Events without a time are not checked for validity.
            (indicators::given(&args.indicators, options, &args.allowlist, &args.fields, seed)?, Timestamp::UNIX_EPOCH)
        }
    };
    let (inputs, found) = inputs(args);
    let mut file = args.output.as_deref().map(|path| create(path, &inputs)).transpose()?;
    let is_shown = file.is_none() && io::stdout().is_terminal();
    let to: &mut dyn Write = match &mut file {
        Some(file) => file,
        None => standard_output,
    };
    // Events are written as they were read.
    let mut to: Box<dyn Write + '_> = match args.emit {
        Emit::Events => Box::new(to),
        Emit::Hits => Box::new(Printable::new(to, Style::Json)),
        Emit::Table | Emit::Csv => Box::new(Printable::new(to, Style::Text)),
    };
    let mut output = Output::begin(args.emit, &mut *to).map_err(failure_of(args))?;

    let since = args.since.map(|bound| bound.instant(now));
    let until = args.until.map(|bound| bound.instant(now));
    let reads_lines = args.config.is_none() || loaded.detector.snapshot.options().text;
    let matcher = EventMatcher {
        detector: &loaded.detector,
        emit: args.emit,
        reads_lines,
        arrival,
        since,
        until,
        survey: Mutex::new(Survey::new(loaded.detector.snapshot.table())),
        surveyed: AtomicU64::new(0),
        surveyed_texts: AtomicU64::new(0),
    };
    let threads = args.threads.or(std::thread::available_parallelism().ok()).map_or(1, usize::from);
    let mut summary = Summary::new(&found);
    found.errors.iter().for_each(|error| progress::write_line(&error.to_string()));
    let read = AtomicU64::new(0);
    // Lines of hits on the same terminal would tear the bar.
    let bar = (!is_shown).then(|| progress::bytes(size(&inputs), "of logs"));
    let write_line = |text: &str| match &bar {
        Some(bar) => bar.suspend(|| progress::write_line(text)),
        None => progress::write_line(text),
    };
    let mut listed = (String::new(), 0);
    let done = pipeline::run(&inputs, &matcher, threads, &read, &mut |item, is_last| {
        match item {
            Item::Matched(matched) => {
                for text in &matched.notes {
                    if listed.0 != *matched.file {
                        listed = (matched.file.to_string(), 0);
                    }
                    listed.1 += 1;
                    if listed.1 <= NOTES {
                        write_line(text);
                    }
                }
                output.write(&matched.rendered).map_err(failure_of(args))?;
                summary.add(&matched.counts, &loaded.detector.snapshot);
            }
            Item::Text => summary.files += 1,
            Item::Hidden => summary.left_out.hidden += 1,
            Item::Error(error) => {
                summary.failed += 1;
                write_line(&error.to_string());
            }
        }
        if let Some(bar) = &bar {
            bar.set_position(read.load(Ordering::Relaxed));
        }
        // Someone may wait for the hits of a pipe.
        if is_last { output.flush().map_err(failure_of(args)) } else { Ok(()) }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    done?;
    output.end().map_err(failure_of(args))?;
    summary.add_survey(&matcher.survey.lock().unwrap_or_else(PoisonError::into_inner));
    summary.report(started.elapsed(), args.json);
    if summary.files > 0 && summary.is_empty() && args.events.is_empty() && args.paths.is_empty() {
        progress::write_line(
            "standard input had no events; paths behind --indicators are indicators: give log files with --events",
        );
    }
    match (summary.hits, summary.failed) {
        (1.., _) if args.exit_code != 0 => Err(Failure::Hits(args.exit_code)),
        (_, 0) => Ok(()),
        (_, failed) => Err(Failure::Other(anyhow::anyhow!(
            "{} could not be read to the end; the events that could be read were matched",
            count(failed, "file or path", "files or paths")
        ))),
    }
}

/// The inputs in the order of the command line, and what was left out.
fn inputs(args: &ScanArgs) -> (Vec<Input>, LogFiles) {
    let (mut inputs, mut found) = (Vec::new(), LogFiles::default());
    let paths: Vec<&PathBuf> = args.events.iter().chain(&args.paths).collect();
    if paths.is_empty() {
        inputs.push(Input::Standard);
    }
    for path in paths {
        if path == Path::new("-") {
            inputs.push(Input::Standard);
            continue;
        }
        let of_path = files::find(std::slice::from_ref(path));
        inputs.extend(of_path.files.into_iter().map(Input::File));
        found.skipped += of_path.skipped;
        found.errors.extend(of_path.errors);
    }
    if inputs.iter().any(|input| matches!(input, Input::Standard)) && io::stdin().is_terminal() {
        progress::write_line("waiting for events on standard input; Ctrl-D ends them");
    }
    (inputs, found)
}

/// The sum of the files' sizes.
fn size(inputs: &[Input]) -> u64 {
    let size = |input: &Input| match input {
        Input::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        Input::Standard => 0,
    };
    inputs.iter().map(size).sum()
}

/// Creates the output file, unless it is also an input.
fn create(path: &Path, inputs: &[Input]) -> anyhow::Result<BufWriter<File>> {
    if let Ok(output) = path.canonicalize() {
        let is_input =
            |input: &Input| matches!(input, Input::File(file) if file.canonicalize().is_ok_and(|file| file == output));
        if inputs.iter().any(is_input) {
            anyhow::bail!("--output: {} is one of the log files; name another file", path.display());
        }
    }
    let file = File::create(path).with_context(|| format!("--output: cannot create {}", path.display()))?;
    Ok(BufWriter::with_capacity(1 << 16, file))
}

/// Converts an error of the output.
fn failure_of(args: &ScanArgs) -> impl Fn(io::Error) -> Failure {
    move |error| match &args.output {
        None => Failure::of_output(error),
        Some(path) => {
            Failure::Other(anyhow::Error::new(error).context(format!("--output: cannot write {}", path.display())))
        }
    }
}
