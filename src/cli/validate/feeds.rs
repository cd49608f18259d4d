//! `hotlist validate --feeds`: reads every file of indicators and says what of it cannot be used.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;

use crate::app;
use crate::cli::{Failure, report};
use crate::config::Config;
use crate::escape::Escaped;
use crate::feed::load::{self, FeedFile, LoadError, Outcome};
use crate::fields::FieldTable;

/// Checks the feeds of a configuration, as `run` would read them.
pub(super) fn configured(config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    let table = app::field_table(&config.r#match).context("match.fields")?;
    let (files, missing) = load::configured(&config.intel);
    check(files, &missing, &table, out)
}

/// Checks files and directories under the import guard.
pub(super) fn given(paths: &[PathBuf], out: &mut dyn Write) -> Result<(), Failure> {
    let table = FieldTable::embedded(true).context("the shipped field table")?;
    let files = load::given(paths).context("cannot find the indicators")?;
    check(files.into_iter().map(|file| FeedFile { guarded: true, ..file }).collect(), &[], &table, out)
}

/// Loads one file after the other and keeps only what the summary needs.
fn check(files: Vec<FeedFile>, missing: &[LoadError], table: &FieldTable, out: &mut dyn Write) -> Result<(), Failure> {
    let all = files.len() + missing.len();
    let mut failed = missing.len();
    let mut feeds: Vec<Summary> = Vec::new();
    for error in missing {
        writeln!(out, "{}", Escaped(error)).map_err(Failure::of_output)?;
    }
    for file in files {
        let outcome = load::load(file, table);
        report::unusable(&outcome, out).map_err(Failure::of_output)?;
        failed += usize::from(outcome.import.is_err());
        let name = &outcome.file.feed.name;
        let at = feeds.iter().position(|summary| summary.feed == *name).unwrap_or_else(|| {
            feeds.push(Summary { feed: name.clone(), ..Summary::default() });
            feeds.len() - 1
        });
        if let Some(summary) = feeds.get_mut(at) {
            summary.add(&outcome);
        }
    }
    feeds.iter().try_for_each(|summary| summary.show(out)).map_err(Failure::of_output)?;
    out.flush().map_err(Failure::of_output)?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Other(anyhow::anyhow!("{failed} of {all} files cannot be used at all"))),
    }
}

/// What all files of one feed gave.
#[derive(Default)]
struct Summary {
    feed: String,
    files: usize,
    failed: usize,
    formats: BTreeSet<&'static str>,
    indicators: usize,
    unusable: usize,
    too_generic: usize,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.files += 1;
        self.indicators += outcome.indicators;
        self.too_generic += outcome.refused.len();
        match &outcome.import {
            Ok(import) => {
                self.formats.insert(import.format.as_str());
                self.unusable += import.unusable_lines();
            }
            Err(_) => self.failed += 1,
        }
    }

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let formats: Vec<&str> = self.formats.iter().copied().collect();
        write!(
            out,
            "feed {}: {} indicator{} in {} file{}",
            Escaped(&self.feed),
            self.indicators,
            plural(self.indicators),
            self.files,
            plural(self.files)
        )?;
        if !formats.is_empty() {
            write!(out, " ({})", formats.join(", "))?;
        }
        writeln!(
            out,
            ", {} unusable, {} too generic{}{}",
            self.unusable,
            self.too_generic,
            if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() },
            if self.indicators == 0 { ": NOTHING IS MATCHED BY IT" } else { "" }
        )
    }
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}
