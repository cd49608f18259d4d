//! `hotlist validate --feeds`: reads every file of indicators and says what of it cannot be used.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use crate::app;
use crate::cli::{Failure, report};
use crate::config::Config;
use crate::counted::count;
use crate::escape::Escaped;
use crate::feed::allowlist;
use crate::feed::load::{self, FeedFile, LoadError, Outcome};
use crate::feed::watching::files;
use crate::intel::snapshot::MatchOptions;
use crate::provider;
use crate::schema::FieldTable;

/// Checks the feeds of a configuration, as `run` would read them. `strict` also fails where no file matches an allowlist,
/// where rules leave out an entry, and where there is nothing to match with.
pub(super) fn configured(
    config: &Config,
    strict: bool,
    max_unusable: Option<f64>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let table = Arc::new(app::field_table(&config.r#match).context("match")?);
    let (files, missing) = files::configured(&config.intel);
    let mut problems = Vec::new();
    if strict {
        let (_, unusable) = allowlist::load(&config.intel);
        problems.extend(allowlist::lines(&unusable).into_iter().map(|line| format!("intel.allowlists: {line}")));
        problems.extend(config.rule_warnings().iter().map(ToString::to_string));
        if config.intel.control.is_none() && !files.iter().any(|file| file.feed.enabled) {
            problems.push("intel: no enabled feed and no control plane: nothing would be matched".to_owned());
        }
    }
    for problem in &problems {
        writeln!(out, "{}", Escaped(problem)).map_err(Failure::of_output)?;
    }
    let checked = check(files, &missing, &table, provider::files::options(&config.r#match), max_unusable, out);
    match problems.len() {
        0 => checked,
        _ if checked.is_err() => checked,
        number => Err(Failure::Other(anyhow::anyhow!("{}, see above", count(number as u64, "problem", "problems")))),
    }
}

/// Checks files and directories under the import guard.
pub(super) fn given(paths: &[PathBuf], max_unusable: Option<f64>, out: &mut dyn Write) -> Result<(), Failure> {
    let table = Arc::new(FieldTable::shipped().context("the shipped field table")?);
    let files = files::given(paths).context("cannot find the indicators")?;
    let files = files.into_iter().map(|file| FeedFile { guarded: true, ..file }).collect();
    check(files, &[], &table, MatchOptions::default(), max_unusable, out)
}

/// Loads one file after the other and keeps only what the summary needs.
fn check(
    files: Vec<FeedFile>,
    missing: &[LoadError],
    table: &Arc<FieldTable>,
    options: MatchOptions,
    max_unusable: Option<f64>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let all = files.len() + missing.len();
    let mut failed = missing.len();
    let mut feeds: Vec<Summary> = Vec::new();
    for error in missing {
        writeln!(out, "{}", Escaped(error)).map_err(Failure::of_output)?;
    }
    for file in files {
        let mut outcome = load::load(file, table);
        report::unusable(&outcome, out).map_err(Failure::of_output)?;
        if let Ok(import) = &outcome.import
            && !import.understood.columns.is_empty()
        {
            writeln!(out, "{} was read so:", Escaped(outcome.file.path.display())).map_err(Failure::of_output)?;
            let kinds = crate::cli::summary::Summary::from_outcome(&outcome, jiff::Timestamp::now());
            crate::cli::summary::understood(import, out)
                .and_then(|()| kinds.show_kinds(out))
                .map_err(Failure::of_output)?;
        }
        failed += usize::from(outcome.import.is_err());
        let name = &outcome.file.feed.name;
        let at = feeds.iter().position(|summary| summary.feed == *name).unwrap_or_else(|| {
            feeds.push(Summary { feed: name.clone(), ..Summary::default() });
            feeds.len() - 1
        });
        // Made as `run` makes it, for what is looked for in no field of events.
        let is_enabled = outcome.file.feed.enabled;
        let is_looked_for = !is_enabled
            || load::snapshot(std::slice::from_mut(&mut outcome), table, options, 0)
                .is_ok_and(|snapshot| !snapshot.wanted().is_empty());
        if let Some(summary) = feeds.get_mut(at) {
            summary.add(&outcome, is_looked_for);
        }
    }
    feeds.iter().try_for_each(|summary| summary.show(out)).map_err(Failure::of_output)?;
    out.flush().map_err(Failure::of_output)?;
    let unused = feeds.iter().filter(|summary| summary.is_unused()).count();
    if let Some(most) = max_unusable
        && let Some(worst) = feeds
            .iter()
            .filter(|summary| summary.lost() > most)
            .max_by(|one, other| one.lost().total_cmp(&other.lost()))
    {
        return Err(Failure::Other(anyhow::anyhow!(
            "feed {}: {:.1}% of it cannot be used, more than --max-unusable {most}% allows",
            worst.feed,
            worst.lost()
        )));
    }
    match (failed, unused) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::Other(anyhow::anyhow!(
            "nothing is used of {unused} of {}",
            count(feeds.len() as u64, "feed", "feeds")
        ))),
        (failed, _) => Err(Failure::Other(anyhow::anyhow!(
            "{failed} of {} cannot be used at all",
            count(all as u64, "file", "files")
        ))),
    }
}

/// The result of all files of one feed.
#[derive(Default)]
struct Summary {
    feed: String,
    files: usize,
    failed: usize,
    formats: BTreeSet<&'static str>,
    indicators: usize,
    unusable: usize,
    too_generic: usize,
    /// Whether an indicator of it is looked for in some field of events.
    is_looked_for: bool,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome, is_looked_for: bool) {
        self.files += 1;
        self.is_looked_for |= is_looked_for;
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

    /// The share of it that cannot be used, in percent.
    fn lost(&self) -> f64 {
        let lost = self.unusable as f64;
        let all = lost + self.indicators as f64 + self.too_generic as f64;
        if all > 0.0 { 100.0 * lost / all } else { 0.0 }
    }

    /// Whether no event can hit because of it. One whose files failed says so by itself.
    fn is_unused(&self) -> bool {
        !self.is_looked_for
    }

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let formats: Vec<&str> = self.formats.iter().copied().collect();
        write!(
            out,
            "feed {}: {} in {}",
            Escaped(&self.feed),
            count(self.indicators as u64, "indicator", "indicators"),
            count(self.files as u64, "file", "files")
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
            match (self.indicators, self.is_looked_for) {
                (0, _) => ": NOTHING IS MATCHED BY IT",
                (_, false) => ": NO FIELD OF EVENTS IS LOOKED AT FOR IT, see `match.fields` and `match.extra_fields`",
                _ => "",
            }
        )
    }
}
