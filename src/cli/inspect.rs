//! `hotlist inspect`: what is in files of indicators, line by line what cannot be used, and who would match a value.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;

use super::Failure;
use super::args::InspectArgs;
use crate::encoding::{Value, Visitor};
use crate::enrich;
use crate::feed::load::{self, Outcome};
use crate::fields::FieldTable;
use crate::intel::guard;
use crate::intel::indicator::Indicator;
use crate::intel::snapshot::{MatchOptions, Snapshot};
use crate::matcher::Matcher;

pub(super) fn run(args: &InspectArgs, seed: u64, out: &mut dyn Write) -> Result<(), Failure> {
    let table = Arc::new(FieldTable::embedded(true).context("the shipped field table")?);
    let files = load::given(&args.paths).context("cannot find the indicators")?;
    let mut outcomes: Vec<Outcome> = files.into_iter().map(|file| load::load(file, &table)).collect();
    for outcome in &outcomes {
        describe(outcome, out).map_err(Failure::of_output)?;
    }
    if let Some(value) = &args.find {
        let options = MatchOptions { subdomains: true, url_hosts: true };
        let snapshot =
            load::snapshot(&mut outcomes, &table, options, seed, 1).context("cannot index the indicators")?;
        find(&snapshot, value, out).map_err(Failure::of_output)?;
    }
    out.flush().map_err(Failure::of_output)?;
    match outcomes.iter().filter(|outcome| outcome.import.is_err()).count() {
        0 => Ok(()),
        failed => Err(Failure::Other(anyhow::anyhow!("{failed} of {} files cannot be read", outcomes.len()))),
    }
}

fn describe(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let file = outcome.file.path.display();
    let import = match &outcome.import {
        Ok(import) => import,
        Err(error) => return writeln!(out, "{error}\n"),
    };
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for term in import.indicators.iter().flat_map(Indicator::keys) {
        *kinds.entry(term.value.kind().as_str()).or_default() += 1;
    }
    writeln!(out, "{file}")?;
    writeln!(
        out,
        "  feed {}, format {}, {} indicators",
        outcome.file.feed.name,
        import.format,
        import.indicators.len()
    )?;
    for (kind, count) in kinds {
        writeln!(out, "  {count:>9} {kind}")?;
    }
    let revoked = import.indicators.iter().filter(|indicator| indicator.revoked).count();
    if revoked > 0 {
        writeln!(out, "  {revoked:>9} revoked: never match")?;
    }
    let composites = || import.indicators.iter().filter_map(|indicator| Some((indicator, indicator.program.as_ref()?)));
    if composites().next().is_some() {
        writeln!(out, "  {:>9} composite: counted above by what they are looked for by", composites().count())?;
    }
    for (indicator, program) in composites() {
        let line = indicator.line;
        writeln!(out, "  {file}:{line}: found only together: {}", program.shown(&indicator.terms))?;
    }
    for unusable in &import.unusable {
        let line = unusable.line;
        writeln!(out, "  {file}:{line}: not usable: {}: {:?}", unusable.reason, unusable.excerpt)?;
    }
    for indicator in &import.indicators {
        for (_, term, reason) in guard::reasons(indicator) {
            let line = indicator.line;
            writeln!(out, "  {file}:{line}: too generic, `run` refuses it: {reason}: {}", term.value)?;
        }
    }
    writeln!(out)
}

/// Reads the value at every field and tells who looks for it where.
fn find(snapshot: &Snapshot, value: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut matcher = Matcher::new(snapshot);
    for (id, _) in snapshot.table().iter() {
        matcher.value(id, Value::Text(value.as_bytes()));
    }
    let mut found: BTreeMap<(String, String, String), BTreeSet<&str>> = BTreeMap::new();
    for hit in matcher.take_hits() {
        let feed = &snapshot.feed_of(snapshot.indicator(hit.posting.indicator)).name;
        let key = (format!("{} {}", hit.kind, hit.name), feed.clone(), enrich::indicator_id(snapshot, &hit));
        found.entry(key).or_default().insert(&snapshot.table().get(hit.field).name);
    }
    if found.is_empty() {
        return writeln!(out, "{value:?} is looked for by none of them, subdomains and hosts of URLs included");
    }
    for ((name, feed, id), fields) in found {
        let some: Vec<&str> = fields.iter().copied().take(5).collect();
        let more = if fields.len() > some.len() {
            format!(" and {} more fields", fields.len() - some.len())
        } else {
            String::new()
        };
        writeln!(out, "{value:?} is looked for by {name} of feed {feed} ({id}) at {}{more}", some.join(", "))?;
    }
    Ok(())
}
