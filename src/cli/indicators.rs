//! Loads the indicators of a subcommand, given by path or by a configuration, and finds the source of each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::{Failure, progress};
use crate::app;
use crate::config::{self, Config};
use crate::counted::count;
use crate::detect::{Budgets, Detector};
use crate::encoding::Tagging;
use crate::feed::allowlist;
use crate::feed::load::{self, FeedFile, Outcome};
use crate::feed::watching::files;
use crate::intel::guard::GuardRefusal;
use crate::intel::indicator::{Comparison, Indicator, Term, TermValue};
use crate::intel::segment::{Segment, SegmentFeed};
use crate::intel::snapshot::{Feed, MatchOptions, Snapshot, SnapshotBuilder};
use crate::matcher::Hit;
use crate::policy::Policy;
use crate::schema::{Field, FieldTable};
use crate::store::{is_segment_file, open_segment_file};

/// The maximum number of feed lines that are named per indicator.
const NAMED: usize = 3;

/// A detector and the sources of its indicators.
pub(super) struct LoadedIndicators {
    pub(super) detector: Detector,
    pub(super) origins: IndicatorSources,
}

#[derive(Default)]
pub(super) struct IndicatorSources {
    files: Vec<FeedFile>,
    /// Segments with the names of their feeds.
    segments: Vec<(PathBuf, BTreeSet<String>)>,
    /// Values that the import guard refused.
    pub(super) refused: Vec<(PathBuf, u32, GuardRefusal)>,
}

/// Loads what `run` would match under the configuration at `path`. Reports unused entries on standard error.
pub(super) fn configured(
    path: &Path,
    allowlists: &[PathBuf],
    fields: &[Field],
    environment: &dyn Fn(&str) -> Option<String>,
    seed: u64,
) -> Result<LoadedIndicators, Failure> {
    let mut config = Config::load(path, environment)?;
    config.r#match.fields.extend_from_slice(fields);
    let offline = app::offline(&config, allowlists, seed).map_err(anyhow::Error::new)?;
    offline.notes.iter().for_each(|note| progress::write_line(note));
    let origins = IndicatorSources { files: offline.files, segments: offline.segments, refused: offline.refused };
    Ok(LoadedIndicators { detector: offline.detector, origins })
}

/// Loads files and segments, with allowlists but no other rule. Reports unused entries on standard error.
pub(super) fn given(
    paths: &[PathBuf],
    options: MatchOptions,
    allowlists: &[PathBuf],
    fields: &[Field],
    seed: u64,
) -> Result<LoadedIndicators, Failure> {
    let mut table = FieldTable::shipped().context("the shipped field table")?;
    for field in fields {
        table.push(field.clone()).context("--field")?;
    }
    let table = Arc::new(table);
    let files = files::given(paths).context("cannot find the indicators")?;
    let (compiled, files): (Vec<FeedFile>, Vec<FeedFile>) =
        files.into_iter().partition(|file| is_segment_file(&file.path));
    let bar = progress::bar((files.len() + compiled.len()) as u64, "files of indicators");
    let mut builder = SnapshotBuilder::new(Arc::clone(&table), options, seed);
    let mut outcomes = Vec::new();
    for feed in files.chunk_by(|one, other| one.feed == other.feed) {
        let loaded = load::load_feed(feed, &table, &mut builder).context("cannot index the indicators")?;
        loaded.iter().for_each(report);
        bar.inc(feed.len() as u64);
        outcomes.extend(loaded);
    }
    let (mut segments, mut opened) = (Vec::new(), Vec::new());
    for file in compiled {
        let segment = open_segment_file(&file.path).with_context(|| file.path.display().to_string())?;
        let feeds = segment.feeds().iter().map(|feed| feed.name.clone()).collect();
        segments.push((file.path, feeds));
        opened.push(segment);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if opened.is_empty() && outcomes.iter().all(|outcome| outcome.import.is_err()) {
        return Err(Failure::Other(anyhow::anyhow!("no indicator file could be read")));
    }
    let snapshot = with_segments(builder, &outcomes, opened)?;
    if snapshot.is_empty() {
        progress::write_line("there are no indicators: nothing matches");
    }
    let files = outcomes.into_iter().map(|outcome| outcome.file).collect();
    let detector = Detector {
        snapshot: Arc::new(snapshot),
        policy: only_allowlists(allowlists),
        tagging: Tagging::default(),
        budgets: Budgets::OFFLINE,
    };
    Ok(LoadedIndicators { detector, origins: IndicatorSources { files, segments, refused: Vec::new() } })
}

/// Reports what of a file cannot be used.
fn report(outcome: &Outcome) {
    match &outcome.import {
        Ok(import) if import.unusable_lines() > 0 => progress::write_line(&format!(
            "{}: {} cannot be used (`hotlist inspect` lists them)",
            outcome.file.path.display(),
            count(import.unusable_lines() as u64, "line", "lines")
        )),
        Ok(_) => {}
        Err(error) => progress::write_line(&error.to_string()),
    }
}

/// Builds a snapshot of the files that were added to `builder` and of segments, in this order.
pub(super) fn with_segments(
    mut builder: SnapshotBuilder,
    files: &[Outcome],
    segments: Vec<Arc<Segment>>,
) -> Result<Snapshot, Failure> {
    let has_segments = !segments.is_empty();
    for segment in segments {
        let feed = |feed: &SegmentFeed| Feed { origin: feed.origin, ..Feed::named(&feed.name) };
        builder.add_segment(segment, feed).context("cannot index the segments")?;
    }
    let files = load::name_of(files);
    Ok(builder.build(if has_segments { format!("{files}+segments").into() } else { files }))
}

/// Builds a policy of only the allowlists named on the command line; `None` without any.
fn only_allowlists(paths: &[PathBuf]) -> Option<Policy> {
    if paths.is_empty() {
        return None;
    }
    let (allowlists, errors) = allowlist::load_with(&config::Intel::default(), paths);
    allowlist::lines(&errors).iter().for_each(|line| progress::write_line(&format!("allowlist: {line}")));
    Some(Policy { allowlists, only_allowlists: true, ..Policy::default() })
}

impl IndicatorSources {
    /// Finds the source of each hit: `file:line`, or the segment. Reads the files of their feeds again.
    pub(super) fn places(&self, snapshot: &Snapshot, hits: &[&Hit]) -> Vec<Vec<String>> {
        let feeds: Vec<&str> = hits.iter().map(|hit| feed_of(snapshot, hit)).collect();
        let ids: Vec<_> = hits.iter().map(|hit| snapshot.indicator(hit.posting.indicator).id).collect();
        let mut places: Vec<Vec<String>> = vec![Vec::new(); hits.len()];
        let mut more = vec![0usize; hits.len()];
        for file in self.files.iter().filter(|file| feeds.contains(&file.feed.name.as_str())) {
            let path = file.path.display().to_string();
            load::load_into(file.clone(), snapshot.table(), &|_| {}, &mut |indicators: Vec<Indicator>| {
                for indicator in &indicators {
                    for (at, hit) in hits.iter().enumerate() {
                        let is_it = feeds[at] == file.feed.name
                            && (ids[at].is_none() || ids[at] == indicator.id)
                            && indicator.keys().any(|term| is_of(term, hit));
                        if is_it && places[at].len() < NAMED {
                            places[at].push(format!("{path}:{}", indicator.line));
                        } else if is_it {
                            more[at] += 1;
                        }
                    }
                }
            });
        }
        for (at, places) in places.iter_mut().enumerate() {
            if more[at] > 0 {
                places.push(format!("{} more", count(more[at] as u64, "line", "lines")));
            }
            if places.is_empty() {
                let of_feed = self.segments.iter().filter(|(_, names)| names.contains(feeds[at]));
                let mut of_feed = of_feed.map(|(path, _)| path.display().to_string());
                match (of_feed.next(), of_feed.count()) {
                    (Some(path), 0) => places.push(path),
                    (Some(_), others) => places.push(format!("one of {} segments", others + 1)),
                    (None, _) => {}
                }
            }
        }
        places
    }
}

fn feed_of<'s>(snapshot: &'s Snapshot, hit: &Hit) -> &'s str {
    &snapshot.feed_of(hit.posting.indicator).name
}

/// Returns whether a term of an indicator is the one that a hit names.
fn is_of(term: &Term, hit: &Hit) -> bool {
    if term.value.kind() != hit.kind {
        return false;
    }
    match &term.value {
        TermValue::Number { comparison, value } if *comparison != Comparison::Equal => {
            *hit.name == format!("{} {value}", comparison.as_str())
        }
        TermValue::Time { comparison, value } if *comparison != Comparison::Equal => {
            *hit.name == format!("{} {value}", comparison.as_str())
        }
        value => *hit.name == value.to_string(),
    }
}
