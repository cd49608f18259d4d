//! `hotlist inspect`: what is in files of indicators, how they were understood, what of them cannot be used, and which of
//! them match a value.

mod find;
mod segment;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;

use super::Failure;
use super::args::InspectArgs;
use super::page::Page;
use super::summary::{self, Summary};
use crate::counted::count;
use crate::escape::Escaped;
use crate::feed::load::{self, Outcome};
use crate::feed::watching::files;
use crate::intel::guard;
use crate::schema::FieldTable;
use crate::store::{is_segment_file, open_segment_file};
use find::Find;

/// More files than these are summed up together.
const MAX_FILES: usize = 10;

pub(super) fn run(args: &InspectArgs, seed: u64, out: &mut dyn Write) -> Result<(), Failure> {
    match args.json {
        true => inspect(args, seed, out),
        false => inspect(args, seed, &mut Page::new(out)),
    }
}

fn inspect(args: &InspectArgs, seed: u64, out: &mut dyn Write) -> Result<(), Failure> {
    let table = Arc::new(FieldTable::shipped().context("the shipped field table")?);
    let (compiled, paths): (Vec<_>, Vec<_>) = args.paths.iter().partition(|path| is_segment_file(path));
    let paths: Vec<PathBuf> = paths.into_iter().cloned().collect();
    let mut segments = Vec::new();
    for path in compiled {
        let segment = open_segment_file(path).with_context(|| path.display().to_string())?;
        if !args.json {
            segment::describe(path, &segment, out).map_err(Failure::of_output)?;
        }
        segments.push(segment);
    }
    let files = files::given(&paths).context("cannot find the indicators")?;
    let is_short = files.len() > MAX_FILES && !args.all;
    let now = Timestamp::now();
    let (mut all, mut described) = (Summary::default(), Vec::new());
    let (mut outcomes, mut failed, number) = (Vec::new(), 0, files.len());
    for file in files {
        let outcome = load::load(file, &table);
        let summary = Summary::from_outcome(&outcome, now);
        failed += usize::from(outcome.import.is_err());
        match args.json {
            true => described.push(as_json(&outcome, &summary, args.all).context("a summary as JSON")?),
            false if is_short && outcome.import.is_ok() => {}
            false => describe(&outcome, &summary, args.all, out).map_err(Failure::of_output)?,
        }
        all.join(&summary);
        // Only who asks for a value needs the indicators any longer.
        if args.find.is_some() {
            outcomes.push(outcome);
        }
    }
    if args.json {
        let all = serde_json::json!({ "files": described, "all": all });
        writeln!(out, "{all}").map_err(Failure::of_output)?;
    } else if is_short {
        all.show_files(out).and_then(|()| all.show(out)).map_err(Failure::of_output)?;
        writeln!(out, "\n`--all` shows each file and every line").map_err(Failure::of_output)?;
    }
    if let Some(value) = &args.find {
        Find { table: &table, segments: &segments, seed }.write_matches(value, &mut outcomes, out)?;
    }
    out.flush().map_err(Failure::of_output)?;
    match failed {
        0 => Ok(()),
        failed => {
            Err(Failure::Other(anyhow::anyhow!("{failed} of {} cannot be read", count(number as u64, "file", "files"))))
        }
    }
}

fn describe(outcome: &Outcome, summary: &Summary, every_line: bool, out: &mut dyn Write) -> io::Result<()> {
    let file = Escaped(outcome.file.path.display());
    let import = match &outcome.import {
        Ok(import) => import,
        Err(error) => return writeln!(out, "{}\n", Escaped(error)),
    };
    writeln!(out, "{file}")?;
    writeln!(
        out,
        "  feed {}, format {}, {}",
        Escaped(&outcome.file.feed.name),
        import.format,
        count(import.indicators.len() as u64, "indicator", "indicators")
    )?;
    summary::understood(import, out)?;
    summary.show(out)?;
    let composites = import.indicators.iter().filter_map(|indicator| Some((indicator, indicator.program.as_ref()?)));
    let shown = if every_line { usize::MAX } else { 3 };
    for (indicator, program) in composites.take(shown) {
        let line = indicator.line;
        writeln!(out, "  {file}:{line}: found only together: {}", Escaped(program.shown(&indicator.terms)))?;
    }
    if !every_line {
        return writeln!(out);
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

fn as_json(outcome: &Outcome, summary: &Summary, every_line: bool) -> serde_json::Result<serde_json::Value> {
    let mut shown = serde_json::json!({
        "file": outcome.file.path.display().to_string(),
        "feed": outcome.file.feed.name,
    });
    let import = match &outcome.import {
        Ok(import) => import,
        Err(error) => {
            shown["error"] = error.to_string().into();
            return Ok(shown);
        }
    };
    let understood = &import.understood;
    let columns = understood
        .columns
        .iter()
        .map(|column| serde_json::json!({ "number": column.number, "name": column.name, "meaning": column.meaning }));
    shown["format"] = import.format.as_str().into();
    shown["layout"] = understood.layout.into();
    shown["delimiter"] = understood.delimiter.map(String::from).into();
    shown["header_line"] = understood.header.into();
    shown["columns"] = columns.collect();
    shown["summary"] = serde_json::to_value(summary)?;
    if every_line {
        let lines = import
            .unusable
            .iter()
            .map(|bad| serde_json::json!({ "line": bad.line, "reason": bad.reason, "excerpt": bad.excerpt }));
        shown["unusable_lines"] = lines.collect();
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::indicator::Indicator;
    use crate::intel::pattern;

    fn shown(outcome: &Outcome, every_line: bool) -> String {
        let mut shown = Vec::new();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        describe(outcome, &Summary::from_outcome(outcome, now), every_line, &mut shown).unwrap();
        String::from_utf8(shown).unwrap()
    }

    fn outcome(name: &str, text: &str) -> Outcome {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        load::load(files::given(&[path]).unwrap().remove(0), &FieldTable::embedded(true).unwrap())
    }

    /// A composite pattern is shown with what must be found together, counted by its keys, and screened by them.
    #[test]
    fn composites_are_shown_as_they_are_judged() {
        let table = FieldTable::embedded(true).unwrap();
        let mut outcome = outcome("feed.txt", "bad.example\n");
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
        let shown = shown(&outcome, true);
        for line in [
            "        2 domain   bad.example  evil.example\n",
            "        1 ip       8.8.8.8\n",
            "        2 composite: counted above",
            "feed.txt:1: found only together: domain evil.example AND NOT number 80 at network-traffic:dst_port AND ",
            "feed.txt:1: too generic, ",
        ] {
            assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
        }
        assert!(!shown.contains("number  "), "parts are not counted: {shown}");
    }

    /// The guesses, the content and the unusable places of a table are a page however long the file is.
    #[test]
    fn a_table_is_shown_as_it_was_understood() {
        let rows: String = (0..50).map(|number| format!("mutex,m{number},2020-01-01,x\n")).collect();
        let text = format!("type,value,expires,reporter\ndomain,evil.com,2020-01-01,x\ndomain,evil.com,,x\n{rows}");
        let shown = shown(&outcome("feed.csv", &text), false);
        for line in [
            "format csv, 2 indicators\n",
            "  delimiter ',', header in line 1\n",
            "column 1 `type`: type; column 2 `value`: value; column 3 `expires`: valid until;\n  column 4 `reporter`: not used\n",
            "        2 domain   evil.com\n",
            "        1 are there more",
            "        1 expired: ",
            "       50 not usable: type `mutex` ",
        ] {
            assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
        }
        assert!(shown.lines().count() < 20, "{shown}");
    }
}
