//! `hotlist compile` and `hotlist compact`: compile feeds into segments of a store.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;

use crate::app;
use crate::cli::args::{CompactArgs, CompileArgs};
use crate::cli::{Failure, progress, report};
use crate::config::Config;
use crate::controlplane::compile;
use crate::counted::count;
use crate::escape::Escaped;
use crate::feed::load::FeedFile;
use crate::feed::watching::files;
use crate::intel::snapshot::Origin;
use crate::schema::FieldTable;
use crate::store::{Change, FeedState, Store};

pub(super) fn compile(
    args: &CompileArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let store = Store::at(&args.store).map_err(|error| anyhow::anyhow!("--store {error}"))?;
    let (files, table, mut failed) = match &args.config {
        Some(path) => {
            let config = Config::load(path, environment)?;
            let table = app::field_table(&config.r#match).context("match")?;
            let (files, missing) = files::configured(&config.intel);
            for error in &missing {
                writeln!(out, "{}", Escaped(error)).map_err(Failure::of_output)?;
            }
            (files, table, missing.len())
        }
        None => {
            let table = FieldTable::shipped().context("the shipped field table")?;
            (given(args)?, table, 0)
        }
    };
    let mut feeds: BTreeMap<String, Vec<FeedFile>> = BTreeMap::new();
    for file in files {
        feeds.entry(file.feed.name.clone()).or_default().push(file);
    }
    let size = |file: &FeedFile| file.path.metadata().map_or(0, |metadata| metadata.len());
    let total = feeds.values().flatten().map(size).sum();
    let bar = progress::bytes(total, "bytes of feeds");
    let total = feeds.len();
    for (name, files) in feeds {
        bar.set_message(name.clone());
        let mut lines = Vec::new();
        let done = compile::compile(
            &store,
            &files,
            &table,
            args.allow_shrink,
            &mut |outcome| {
                // Only allocation can fail here.
                let _ = report::unusable(outcome, &mut lines);
            },
            &|read| bar.inc(read),
        );
        let line = match done {
            Ok(None) => continue,
            Ok(Some(compiled)) => summary(&compiled.state, compiled.change),
            Err(error) => {
                failed += 1;
                error.to_string()
            }
        };
        let written = bar.suspend(|| out.write_all(&lines).and_then(|()| writeln!(out, "{}", Escaped(line))));
        written.map_err(Failure::of_output)?;
    }
    bar.finish_and_clear();
    out.flush().map_err(Failure::of_output)?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Other(anyhow::anyhow!(
            "{failed} of {} not compiled",
            count(total as u64, "feed was", "feeds were")
        ))),
    }
}

/// Returns the files of the command line with their options.
fn given(args: &CompileArgs) -> Result<Vec<FeedFile>, Failure> {
    let mut files = files::given(&args.paths).context("cannot find the feeds")?;
    for file in &mut files {
        if let Some(name) = &args.feed {
            file.feed.name.clone_from(name);
        }
        if args.collection {
            file.feed.origin = Origin::Collection;
        }
        (file.feed.subdomains, file.options.subdomains) = (args.subdomains, args.subdomains);
        file.feed.url_prefix = args.url_prefix;
        file.options.default_kind = args.kind;
        file.guarded = !args.allow_generic;
    }
    Ok(files)
}

fn summary(state: &FeedState, change: Change) -> String {
    let FeedState { feed, segments, .. } = state;
    let indicators = count(state.indicators as u64, "indicator", "indicators");
    let newest = segments.last().map(|segment| format!("{} ({} bytes)", segment.digest, segment.bytes));
    let newest = newest.unwrap_or_default();
    let of = count(segments.len() as u64, "segment", "segments");
    match change {
        Change::Unchanged => format!("{feed}: unchanged: {indicators} in {of}"),
        Change::Full => format!("{feed}: {indicators} in a new segment {newest}"),
        Change::Delta { added, withdrawn } => {
            format!(
                "{feed}: {indicators}: {added} added and {withdrawn} withdrawn in segment {newest}, number {} of its chain",
                segments.len()
            )
        }
    }
}

pub(super) fn compact(args: &CompactArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let store = Store::at(&args.store).map_err(|error| anyhow::anyhow!("--store {error}"))?;
    let feeds = store.feeds().context("cannot read the store")?;
    if let Some(unknown) = args.feeds.iter().find(|name| feeds.iter().all(|state| state.feed != **name)) {
        return Err(Failure::Other(anyhow::anyhow!(
            "the store has no feed `{unknown}`; see {}/feeds",
            args.store.display()
        )));
    }
    let wanted = |state: &&FeedState| args.feeds.is_empty() || args.feeds.contains(&state.feed);
    for before in feeds.iter().filter(wanted) {
        let line = match store.compact(&before.feed).context("cannot compact")? {
            None => {
                format!("{}: not merged: {}", before.feed, count(before.segments.len() as u64, "segment", "segments"))
            }
            Some(state) => {
                let bytes = |state: &FeedState| state.segments.iter().map(|segment| segment.bytes).sum::<u64>();
                let (old, new) = (bytes(before), bytes(&state));
                format!("{}: merged {} segments of {old} bytes into one of {new}", state.feed, before.segments.len())
            }
        };
        writeln!(out, "{}", Escaped(line)).map_err(Failure::of_output)?;
    }
    out.flush().map_err(Failure::of_output)
}
