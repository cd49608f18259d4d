//! The summary of a file of indicators: how it was read, its indicators, and its unusable lines.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::page::WIDTH;
use crate::counted::count;
use crate::escape::Escaped;
use crate::feed::load::Outcome;
use crate::feed::{ColumnMeaning, Import};
use crate::intel::guard;
use crate::intel::indicator::{Indicator, Target};

/// How many samples and examples are shown of a kind.
const SHOWN: usize = 3;

/// The longest sample, in characters.
const MAX_SAMPLE: usize = 80;

/// How many columns are named on a page.
const MAX_COLUMNS: usize = 40;

/// A number with some of what was counted.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Counted {
    count: usize,
    samples: Vec<String>,
}

impl Counted {
    fn add(&mut self, sample: impl FnOnce() -> String) {
        self.count += 1;
        if self.samples.len() < SHOWN {
            let sample = sample();
            if !self.samples.contains(&sample) {
                self.samples.push(sample);
            }
        }
    }

    fn join(&mut self, other: &Counted) {
        self.count += other.count;
        for sample in &other.samples {
            if self.samples.len() < SHOWN && !self.samples.contains(sample) {
                self.samples.push(sample.clone());
            }
        }
    }
}

/// Files, summed up.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Summary {
    files: usize,
    /// Files that cannot be read.
    failed: usize,
    /// Files that were read and gave nothing, by path.
    empty: Counted,
    formats: BTreeMap<&'static str, usize>,
    layouts: BTreeMap<&'static str, usize>,
    pub(super) indicators: usize,
    kinds: BTreeMap<&'static str, Counted>,
    /// Values that stand there more than once.
    duplicates: usize,
    revoked: usize,
    expired: usize,
    composites: usize,
    valid_from: Option<Timestamp>,
    valid_until: Option<Timestamp>,
    generic: Counted,
    /// The unusable places, by reason.
    unusable: BTreeMap<String, Counted>,
    /// The number of unusable places beyond those that a file lists.
    unlisted: usize,
}

impl Summary {
    /// One file, as of a time.
    pub(super) fn from_outcome(outcome: &Outcome, now: Timestamp) -> Summary {
        let path = outcome.file.path.display().to_string();
        let mut summary = Summary { files: 1, ..Summary::default() };
        let Ok(import) = &outcome.import else {
            summary.failed = 1;
            return summary;
        };
        summary.formats.insert(import.format.as_str(), 1);
        summary.layouts.extend(import.understood.layout.map(|layout| (layout, 1)));
        summary.indicators = outcome.indicators;
        if outcome.indicators == 0 {
            summary.empty.add(|| path.clone());
        }
        let mut known = HashSet::new();
        let hasher = foldhash::fast::FixedState::default();
        for indicator in &import.indicators {
            summary.indicator(indicator, now);
            for term in indicator.keys().filter(|_| indicator.program.is_none()) {
                let target = match &term.target {
                    Target::Kind => "",
                    Target::StixPath(path) => path,
                };
                summary.duplicates += usize::from(!known.insert(hasher.hash_one((term.to_string(), target))));
            }
            for (_, term, reason) in guard::reasons(indicator) {
                summary.generic.add(|| format!("{path}:{}: {}: {reason}", indicator.line, term.value));
            }
        }
        for (line, refused) in &outcome.refused {
            summary.generic.add(|| format!("{path}:{line}: {}: {}", refused.value, refused.reason));
        }
        for bad in &import.unusable {
            let counted = summary.unusable.entry(kind_of(&bad.reason)).or_default();
            counted.add(|| format!("{path}:{}: {:?}", bad.line, bad.excerpt));
        }
        summary.unlisted = import.unlisted;
        summary
    }

    fn indicator(&mut self, indicator: &Indicator, now: Timestamp) {
        for term in indicator.keys() {
            self.kinds.entry(term.value.kind().as_str()).or_default().add(|| {
                let shown = term.to_string();
                let shown = shown.split_once(' ').map_or(shown.as_str(), |(_, value)| value);
                shown.chars().take(MAX_SAMPLE).collect()
            });
        }
        self.revoked += usize::from(indicator.revoked);
        self.expired += usize::from(indicator.valid_until.is_some_and(|until| until <= now));
        self.composites += usize::from(indicator.program.is_some());
        self.valid_from = [self.valid_from, indicator.valid_from].into_iter().flatten().min();
        self.valid_until = self.valid_until.max(indicator.valid_until);
    }

    /// This one and another.
    pub(super) fn join(&mut self, other: &Summary) {
        self.files += other.files;
        self.failed += other.failed;
        self.empty.join(&other.empty);
        for (all, of) in [(&mut self.formats, &other.formats), (&mut self.layouts, &other.layouts)] {
            of.iter().for_each(|(word, number)| *all.entry(word).or_default() += number);
        }
        self.indicators += other.indicators;
        for (kind, counted) in &other.kinds {
            self.kinds.entry(kind).or_default().join(counted);
        }
        self.duplicates += other.duplicates;
        self.revoked += other.revoked;
        self.expired += other.expired;
        self.composites += other.composites;
        self.valid_from = [self.valid_from, other.valid_from].into_iter().flatten().min();
        self.valid_until = self.valid_until.max(other.valid_until);
        self.generic.join(&other.generic);
        for (reason, counted) in &other.unusable {
            self.unusable.entry(reason.clone()).or_default().join(counted);
        }
        self.unlisted += other.unlisted;
    }

    /// The formats and layouts of several files.
    pub(super) fn show_files(&self, out: &mut dyn Write) -> io::Result<()> {
        let list = |of: &BTreeMap<&'static str, usize>| {
            of.iter().map(|(word, number)| format!("{number} {word}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(out, "{}: {}", count(self.files as u64, "file", "files"), list(&self.formats))?;
        if !self.layouts.is_empty() {
            writeln!(out, "  layouts: {}", list(&self.layouts))?;
        }
        if self.failed > 0 {
            writeln!(out, "  {} cannot be read", count(self.failed as u64, "file", "files"))?;
        }
        if self.empty.count > 0 {
            let files = count(self.empty.count as u64, "file", "files");
            writeln!(out, "  {files} without an indicator: {}", Escaped(self.empty.samples.join(", ")))?;
        }
        writeln!(out, "  {}", count(self.indicators as u64, "indicator", "indicators"))
    }

    /// Its content, with samples; then the unusable places, with examples.
    pub(super) fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        self.show_kinds(out)?;
        for (number, what) in [
            (self.duplicates, "are there more than once"),
            (self.revoked, "revoked: never match"),
            (self.expired, "expired: match older events only"),
            (self.composites, "composite: counted above by what they are looked for by"),
        ] {
            if number > 0 {
                writeln!(out, "  {number:>9} {what}")?;
            }
        }
        match (self.valid_from, self.valid_until) {
            (None, None) => {}
            (from, until) => {
                let shown = |bound: Option<Timestamp>| bound.map_or_else(|| "-".to_owned(), |bound| bound.to_string());
                writeln!(out, "  valid from {} at the earliest, until {} at the latest", shown(from), shown(until))?;
            }
        }
        if self.generic.count > 0 {
            writeln!(out, "  {:>9} too generic, `run` refuses them", self.generic.count)?;
            self.generic.samples.iter().try_for_each(|sample| writeln!(out, "            {}", Escaped(sample)))?;
        }
        let mut reasons: Vec<(&String, &Counted)> = self.unusable.iter().collect();
        reasons.sort_by_key(|(_, counted)| std::cmp::Reverse(counted.count));
        for (reason, counted) in reasons {
            let first = format!("  {:>9} not usable: ", counted.count);
            wrapped(out, &first, "              ", reason.split(' '), " ")?;
            counted.samples.iter().try_for_each(|sample| writeln!(out, "            {}", Escaped(sample)))?;
        }
        if self.unlisted > 0 {
            writeln!(out, "  {:>9} not usable, beyond those that are listed", self.unlisted)?;
        }
        Ok(())
    }

    /// Its content, with samples of each kind.
    pub(super) fn show_kinds(&self, out: &mut dyn Write) -> io::Result<()> {
        for (kind, counted) in &self.kinds {
            let first = format!("  {:>9} {kind:<8} ", counted.count);
            wrapped(out, &first, "                     ", counted.samples.iter().map(String::as_str), "  ")?;
        }
        Ok(())
    }
}

/// How a file was understood, in one line or two: what was guessed, for somebody to see.
pub(super) fn understood(import: &Import, out: &mut dyn Write) -> io::Result<()> {
    let understood = &import.understood;
    let mut facts = Vec::new();
    facts.extend(understood.layout.map(|layout| format!("layout {layout}")));
    facts.extend(understood.delimiter.map(|delimiter| format!("delimiter {delimiter:?}")));
    facts.extend(understood.header.map(|line| format!("header in line {line}")));
    if understood.delimiter.is_some() && understood.header.is_none() {
        facts.push("no header".to_owned());
    }
    if !facts.is_empty() {
        writeln!(out, "  {}", facts.join(", "))?;
    }
    if understood.columns.is_empty() {
        return Ok(());
    }
    let shown = |column: &ColumnMeaning| match (column.number, column.name.as_str()) {
        (0, name) => format!("`{name}`: {}", column.meaning),
        (number, "") => format!("column {number}: {}", column.meaning),
        (number, name) => format!("column {number} `{name}`: {}", column.meaning),
    };
    let mut columns: Vec<String> = understood.columns.iter().take(MAX_COLUMNS).map(shown).collect();
    if understood.columns.len() > MAX_COLUMNS {
        columns.push(format!("and {} more", understood.columns.len() - MAX_COLUMNS));
    }
    wrapped(out, "  ", "  ", columns.iter().map(String::as_str), "; ")
}

/// Writes parts one after the other, and begins a line where the next one would end beyond the width.
fn wrapped<'p>(
    out: &mut dyn Write,
    first: &str,
    further: &str,
    parts: impl Iterator<Item = &'p str>,
    between: &str,
) -> io::Result<()> {
    let mut line = first.to_owned();
    let (mut used, mut is_begun) = (first.chars().count(), false);
    for part in parts {
        let part = Escaped(part).to_string();
        let length = part.chars().count() + between.len();
        if is_begun {
            line.push_str(between);
            if used + length > WIDTH {
                writeln!(out, "{}", line.trim_end())?;
                line = further.to_owned();
                used = further.chars().count();
            }
        }
        line.push_str(&part);
        (used, is_begun) = (used + length, true);
    }
    writeln!(out, "{line}")
}

/// The words before a number that is the same in every reason.
const KEPT_BEFORE: &[&str] = &["STIX ", "section ", "above ", "more than "];

/// Quotations that are the same in every reason.
const KEPT_QUOTED: &[&str] = &["to_ids", "*.name", "10.1.*", "%20", "["];

/// A reason without what is particular to a line: what stands between backquotes, and numbers.
fn kind_of(reason: &str) -> String {
    let mut out = String::new();
    for (at, part) in reason.split('`').enumerate() {
        // A quotation of a configuration, a type or a fixed word is the same on many lines.
        let is_key = (part.contains(": ") && part.len() < 20)
            || KEPT_QUOTED.contains(&part)
            || out.ends_with("declared as ")
            || out.ends_with("type ")
            || out.ends_with("calls it ");
        match at % 2 == 1 && !is_key {
            true => out.push_str("`…`"),
            false if at % 2 == 1 => out.extend(["`", part, "`"]),
            false => out.push_str(part),
        }
    }
    let mut kind = String::new();
    // Whether the number in which the last character stands is replaced; `None` outside of numbers.
    let mut replaced = None;
    for c in out.chars() {
        if !c.is_ascii_digit() {
            replaced = None;
            kind.push(c);
            continue;
        }
        // The number of a name (`SHA-256`, `STIX 2.1`) is a part of it.
        let is_first = replaced.is_none();
        let is_replaced = *replaced.get_or_insert_with(|| {
            let is_name = KEPT_BEFORE.iter().any(|word| kind.ends_with(word))
                || kind.rsplit_once(' ').is_some_and(|(before, part)| part.ends_with('.') && before.ends_with("STIX"));
            !is_name && !kind.ends_with(|c: char| c.is_alphabetic() || c == '-')
        });
        match (is_replaced, is_first) {
            (true, true) => kind.push('N'),
            (true, false) => {}
            (false, _) => kind.push(c),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_page_end_before_its_width() {
        let parts: Vec<String> = (0..60).map(|number| format!("part-{number:03}")).collect();
        let mut out = Vec::new();
        wrapped(&mut out, "  first ", "    ", parts.iter().map(String::as_str), "; ").unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().count() > 5 && text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(text.replace("\n    ", " ").trim(), format!("first {}", parts.join("; ")));
    }

    #[test]
    fn reasons_are_grouped_by_what_they_say_and_not_of_what() {
        for (reason, kind) in [
            ("type `mutex` cannot be looked for in events", "type `mutex` cannot be looked for in events"),
            ("`to_ids` is not set", "`to_ids` is not set"),
            ("declared as `domain`, which it is not", "declared as `domain`, which it is not"),
            (
                "character 21: the object path `x:y` is not supported",
                "character N: the object path `…` is not supported",
            ),
            ("hex digits of no MD5, SHA-1, SHA-256", "hex digits of no MD5, SHA-1, SHA-256"),
            (
                "character 7: expected a number above 0 (STIX 2.1, section 9)",
                "character N: expected a number above 0 (STIX 2.1, section 9)",
            ),
            ("1025 cells; a row may have 1024", "N cells; a row may have N"),
        ] {
            assert_eq!(kind_of(reason), kind);
        }
    }
}
