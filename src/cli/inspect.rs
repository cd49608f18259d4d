//! `hotlist inspect`: what is in files of indicators, line by line what cannot be used, and which of them match a value.

mod find;
mod segment;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use super::Failure;
use super::args::InspectArgs;
use super::indicators::is_segment;
use super::progress::count;
use crate::escape::Escaped;
use crate::feed::load::{self, Outcome};
use crate::fields::FieldTable;
use crate::intel::guard;
use crate::intel::indicator::Indicator;
use crate::intel::segment::Segment;
use find::Find;

pub(super) fn run(args: &InspectArgs, seed: u64, out: &mut dyn Write) -> Result<(), Failure> {
    let table = Arc::new(FieldTable::embedded(true).context("the shipped field table")?);
    let (compiled, paths): (Vec<_>, Vec<_>) = args.paths.iter().partition(|path| is_segment(path));
    let paths: Vec<PathBuf> = paths.into_iter().cloned().collect();
    let mut segments = Vec::new();
    for path in compiled {
        let segment = Segment::open(path, None).with_context(|| path.display().to_string())?;
        segment::describe(path, &segment, out).map_err(Failure::of_output)?;
        segments.push(segment);
    }
    let files = load::given(&paths).context("cannot find the indicators")?;
    let mut outcomes: Vec<Outcome> = files.into_iter().map(|file| load::load(file, &table)).collect();
    for outcome in &outcomes {
        describe(outcome, out).map_err(Failure::of_output)?;
    }
    if let Some(value) = &args.find {
        Find { table: &table, segments: &segments, seed }.tell(value, &mut outcomes, out)?;
    }
    out.flush().map_err(Failure::of_output)?;
    match outcomes.iter().filter(|outcome| outcome.import.is_err()).count() {
        0 => Ok(()),
        failed => Err(Failure::Other(anyhow::anyhow!(
            "{failed} of {} cannot be read",
            count(outcomes.len() as u64, "file", "files")
        ))),
    }
}

fn describe(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let file = Escaped(outcome.file.path.display());
    let import = match &outcome.import {
        Ok(import) => import,
        Err(error) => return writeln!(out, "{}\n", Escaped(error)),
    };
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for term in import.indicators.iter().flat_map(Indicator::keys) {
        *kinds.entry(term.value.kind().as_str()).or_default() += 1;
    }
    writeln!(out, "{file}")?;
    writeln!(
        out,
        "  feed {}, format {}, {}",
        Escaped(&outcome.file.feed.name),
        import.format,
        count(import.indicators.len() as u64, "indicator", "indicators")
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
        writeln!(out, "  {file}:{line}: found only together: {}", Escaped(program.shown(&indicator.terms)))?;
    }
    for unusable in &import.unusable {
        let line = unusable.line;
        writeln!(out, "  {file}:{line}: not usable: {}: {:?}", Escaped(&unusable.reason), unusable.excerpt)?;
    }
    for indicator in &import.indicators {
        for (_, term, reason) in guard::reasons(indicator) {
            let line = indicator.line;
            writeln!(out, "  {file}:{line}: too generic, `run` refuses it: {reason}: {}", Escaped(&term.value))?;
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::pattern;

    /// A composite pattern is shown with what must be found together, counted by its keys, and judged by them.
    #[test]
    fn composites_are_shown_as_they_are_judged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("feed.txt");
        std::fs::write(&path, "bad.example\n").unwrap();
        let table = FieldTable::embedded(true).unwrap();
        let mut outcome = load::load(load::given(&[path]).unwrap().remove(0), &table);
        let import = outcome.import.as_mut().unwrap();
        let first = import.indicators[0].clone();
        for pattern in [
            "[domain-name:value = 'evil.example' AND network-traffic:dst_port NOT IN (80, 443)]",
            "[ipv4-addr:value = '8.8.8.8' AND network-traffic:dst_port = 53]",
        ] {
            let compiled = pattern::compile(pattern, &table).unwrap();
            let program = compiled.program.map(Box::new);
            import.indicators.push(Indicator { terms: compiled.terms, program, ..first.clone() });
        }
        let mut shown = Vec::new();
        describe(&outcome, &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        for line in [
            "        2 domain\n",
            "        1 ip\n",
            "        2 composite: counted above by what they are looked for by\n",
            "feed.txt:1: found only together: domain evil.example AND NOT number 80 at network-traffic:dst_port AND \
             NOT number 443 at network-traffic:dst_port\n",
            "feed.txt:1: too generic, `run` refuses it: ",
        ] {
            assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
        }
        assert!(!shown.contains("number\n"), "parts are not counted: {shown}");
    }
}
