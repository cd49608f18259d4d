//! CSV: which cells are values, and what the other cells of the row say about them.

mod columns;
mod record;

use csv::StringRecord;
use jiff::Timestamp;

use super::classify::{self, Found};
use super::collect::{Collector, Facts, line_number};
use super::declared::{Declared, TypeWord, type_word};
use super::detect::DELIMITERS;
use super::{FeedError, FeedOptions};
use crate::fields::FieldTable;
use crate::intel::indicator::{Confidence, Target, Term, TermValue, Tlp};
use crate::intel::pattern;
use crate::observable::{Kind, time};
use columns::{Columns, Role};
use record::Records;

/// How many rows tell what the columns of a file without header mean.
const SAMPLE: usize = 200;

/// Imports a CSV file.
pub(super) fn import(
    text: &str,
    file_name: &str,
    options: &FeedOptions,
    table: &FieldTable,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    let Body { text, line, comment } = body(text);
    let delimiter = delimiter(text);
    let sample: Vec<StringRecord> =
        Records::new(text, line, delimiter).map(|(_, record)| record).filter(is_data).take(SAMPLE).collect();
    let Some(first) = sample.first() else { return Ok(()) };
    let rows: Vec<Vec<&str>> = sample.iter().map(|record| record.iter().collect()).collect();
    let first: Vec<&str> = first.iter().collect();

    // Some feeds write their header as a comment: the last one before the data, if it has as many cells.
    let commented = comment
        .and_then(|comment| Records::new(comment, 1, delimiter).next())
        .map(|(_, record)| record)
        .filter(|record| record.len() == first.len() && record.len() > 1);
    let commented: Option<Vec<&str>> = commented.as_ref().map(|record| record.iter().collect());
    let header_is_comment = !columns::is_header(&first) && commented.as_deref().is_some_and(columns::is_header);
    let header = commented.filter(|_| header_is_comment).unwrap_or(first);
    let columns = Columns::new(&header, &rows, &options.columns, file_name)?;

    let mut skip_header = columns.has_header && !header_is_comment;
    for (line, record) in Records::new(text, line, delimiter).filter(|(_, record)| is_data(record)) {
        if std::mem::take(&mut skip_header) {
            continue;
        }
        Row { record: &record, line: line_number(line), columns: &columns }.import(options, table, collector);
    }
    Ok(())
}

/// A file behind its leading comments.
struct Body<'a> {
    text: &'a str,
    /// Line at which it begins.
    line: u64,
    /// The last comment before it, without its `#`.
    comment: Option<&'a str>,
}

fn body(mut text: &str) -> Body<'_> {
    text = text.trim_start_matches('\u{feff}');
    let mut line = 1;
    let mut comment = None;
    loop {
        let (first, behind) = text.split_once('\n').unwrap_or((text, ""));
        match first.trim().strip_prefix('#') {
            Some(words) => comment = Some(words.trim()),
            None if first.trim().is_empty() && !behind.is_empty() => {}
            None => return Body { text, line, comment },
        }
        text = behind;
        line += 1;
    }
}

/// The delimiter that most of the first lines have, and of several the most frequent one.
fn delimiter(text: &str) -> u8 {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(20).collect();
    let usual = DELIMITERS.into_iter().max_by_key(|&delimiter| {
        let with = lines.iter().filter(|line| line.contains(delimiter)).count();
        let count: usize = lines.iter().map(|line| line.matches(delimiter).count()).sum();
        // The last of equals would win; the comma is the default.
        (with, count, delimiter == ',')
    });
    usual.and_then(|delimiter| u8::try_from(delimiter).ok()).unwrap_or(b',')
}

fn is_data(record: &StringRecord) -> bool {
    record.iter().any(|cell| !cell.trim().is_empty())
        && record.get(0).is_none_or(|first| !first.trim_start().starts_with('#'))
}

/// One row.
struct Row<'a> {
    record: &'a StringRecord,
    line: u32,
    columns: &'a Columns,
}

impl<'a> Row<'a> {
    fn import(&self, options: &FeedOptions, table: &FieldTable, collector: &mut Collector) {
        let facts = match self.facts() {
            Ok(facts) => facts,
            Err(reason) => return collector.unusable(self.line, reason, self.excerpt()),
        };
        let candidates = [Role::Main, Role::Value, Role::Name];
        if let Some((_, pattern)) = self.filled(&candidates).find(|(_, cell)| columns::is_pattern(cell)) {
            match pattern::compile(pattern, table) {
                Ok(compiled) => {
                    for error in &compiled.left_out {
                        collector.unusable(self.line, error.to_string(), pattern);
                    }
                    collector.terms(compiled.terms, None, facts);
                }
                Err(error) => collector.unusable(self.line, error.to_string(), pattern),
            }
            return;
        }
        let words: Vec<TypeWord> = self.cells(Role::Kind).map(type_word).collect();
        let declared = words.iter().find_map(|word| match word {
            TypeWord::Declared(declared) => Some(*declared),
            TypeWord::Unsupported | TypeWord::Unknown => None,
        });
        if declared.is_none() && words.contains(&TypeWord::Unsupported) {
            let word = self.cells(Role::Kind).find(|word| type_word(word) == TypeWord::Unsupported).unwrap_or_default();
            collector.unusable(self.line, format!("type `{word}` cannot be looked for in events"), self.excerpt());
            return;
        }
        match self.values(declared.or(options.default_kind.map(Declared::Of))) {
            Ok(found) => self.emit(found, facts, collector),
            Err(reason) => collector.unusable(self.line, reason, self.excerpt()),
        }
    }

    /// The values of the row; an error when there are none.
    fn values(&self, declared: Option<Declared>) -> Result<Vec<Found>, String> {
        let Some(declared) = declared else {
            let cells = self.filled(&[Role::Hash, Role::Main, Role::Value, Role::Name]);
            let found: Vec<Found> = cells
                .flat_map(|(_, cell)| each(cell, |part| classify::untyped(part).ok_or(())).unwrap_or_default())
                .collect();
            return if found.is_empty() {
                Err("no cell is an address, network, domain, URL, hash or e-mail address".to_owned())
            } else {
                Ok(found)
            };
        };
        let mut found = Vec::new();
        if !declared.is_hash() {
            // The type of a value does not speak of the file that it came with.
            for (_, cell) in self.filled(&[Role::Hash]) {
                found.extend(each(cell, |part| classify::typed(part, Declared::Hash)).unwrap_or_default());
            }
        }
        match self.typed(declared) {
            Ok(values) => found.extend(values),
            Err(reason) if found.is_empty() => return Err(reason),
            Err(_) => {}
        }
        Ok(found)
    }

    /// The values of a declared type. A column that is named as the value is the only one to hold it; without one the
    /// search begins behind the type, and ends at the first, since nearly every word may be a user or a host.
    fn typed(&self, declared: Declared) -> Result<Vec<Found>, String> {
        let named: &[Role] = if declared.is_hash() { &[Role::Main, Role::Hash] } else { &[Role::Main] };
        let mut cells: Vec<(usize, &str)> = self.filled(named).collect();
        let is_named = !cells.is_empty();
        if !is_named {
            cells = self.filled(&[Role::Value, Role::Name]).collect();
            let kind = self.columns.of(Role::Kind).next().unwrap_or(0);
            cells.sort_by_key(|(at, _)| *at < kind);
        }
        let ends_at_first = !is_named || declared == Declared::Of(Kind::User);
        let mut found = Vec::new();
        let mut reason = None;
        for (_, cell) in &cells {
            match each(cell, |part| classify::typed(part, declared)) {
                Ok(values) if is_named || cells.len() == 1 || !is_single_label(&values) => found.extend(values),
                Ok(_) => {}
                Err(error) => reason = reason.or(Some(error)),
            }
            if ends_at_first && !found.is_empty() {
                break;
            }
        }
        if found.is_empty() {
            return Err(reason.unwrap_or_else(|| format!("no cell holds the `{}` that is declared", declared.as_str())));
        }
        Ok(found)
    }

    /// Hashes of different kinds in one row are of one file, and one indicator; everything else stands for itself.
    fn emit(&self, found: Vec<Found>, facts: Facts, collector: &mut Collector) {
        let mut file: Vec<Term> = Vec::new();
        for found in found {
            let kind = found.value.kind();
            if !matches!(found.value, TermValue::Hash { .. }) {
                collector.found(found, facts.clone());
                continue;
            }
            if file.iter().any(|term| term.value == found.value) {
                continue;
            }
            if file.iter().any(|term| term.value.kind() == kind) {
                collector.terms(std::mem::take(&mut file), None, facts.clone());
            }
            file.push(Term { value: found.value, target: Target::Kind });
        }
        collector.terms(file, None, facts);
    }

    fn facts(&self) -> Result<Facts, String> {
        let mut facts = Facts { line: self.line, ..Facts::default() };
        let context = &mut facts.context;
        let first = |role| self.cells(role).next();
        facts.valid_from = self.bound(Role::ValidFrom, "valid_from")?;
        facts.valid_until = self.bound(Role::ValidUntil, "valid_until")?;
        facts.id = first(Role::Id).map(Into::into);
        context.description = first(Role::Description).map(Into::into);
        context.kill_chain_phases =
            self.cells(Role::KillChain).flat_map(|cell| cell.split([',', ';', '|'])).filter_map(phase).collect();
        // The same phase of two kill chains is one phase.
        context.kill_chain_phases.dedup();
        context.confidence = first(Role::Confidence).map(Confidence::parse).unwrap_or_default();
        context.tlp = first(Role::Tlp).and_then(Tlp::parse);
        context.name = first(Role::Name).filter(|name| classify::untyped(name).is_none()).map(Into::into);
        context.reference = self.cells(Role::Reference).find(|cell| cell.contains("://")).map(Into::into);
        let seen = |role| first(role).and_then(|cell| time::parse(cell.as_bytes()));
        context.first_seen = seen(Role::FirstSeen);
        context.last_seen = seen(Role::LastSeen);
        Ok(facts)
    }

    /// A bound that cannot be read must not become an open one.
    fn bound(&self, role: Role, name: &str) -> Result<Option<Timestamp>, String> {
        let Some(cell) = self.cells(role).next().filter(|cell| !cell.eq_ignore_ascii_case("never")) else {
            return Ok(None);
        };
        time::parse(cell.as_bytes()).map(Some).ok_or_else(|| format!("{name} `{cell}` is no time; write RFC 3339"))
    }

    /// The cells of a role that say something, trimmed.
    fn cells(&self, role: Role) -> impl Iterator<Item = &'a str> {
        let (record, columns) = (self.record, self.columns);
        record
            .iter()
            .enumerate()
            .filter(move |(at, cell)| columns.role(*at) == role && !is_blank(cell))
            .map(|(_, cell)| cell.trim().trim_matches('"').trim())
    }

    /// The cells of some roles in column order, unless empty. `-` and `none` stay: they may be user names.
    fn filled<'r>(&self, roles: &'r [Role]) -> impl Iterator<Item = (usize, &'a str)> + use<'a, 'r> {
        let (record, columns) = (self.record, self.columns);
        let cells = record.iter().enumerate();
        cells.filter(move |(at, cell)| roles.contains(&columns.role(*at)) && !cell.trim().is_empty())
    }

    fn excerpt(&self) -> &'a str {
        let telling = [Role::Main, Role::Value, Role::Hash, Role::Name];
        let first = telling.into_iter().find_map(|role| self.filled(&[role]).next()).map(|(_, cell)| cell);
        first.or_else(|| self.record.iter().find(|cell| !cell.trim().is_empty())).unwrap_or_default()
    }
}

/// Whether values are host names without a dot, as any word of prose is.
fn is_single_label(values: &[Found]) -> bool {
    values.iter().any(|found| matches!(&found.value, TermValue::Domain { name, .. } if !name.contains('.')))
}

/// A cell as a whole, else each of its parts; all of them must be values.
fn each<E>(cell: &str, classify: impl Fn(&str) -> Result<Found, E>) -> Result<Vec<Found>, E> {
    let whole = match classify(cell) {
        Ok(found) => return Ok(vec![found]),
        Err(error) => error,
    };
    let parts =
        || cell.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|')).filter(|part| !part.is_empty());
    if parts().count() < 2 {
        return Err(whole);
    }
    parts().map(classify).collect::<Result<_, _>>().map_err(|_| whole)
}

/// `command-and-control (mitre-attack)` is a phase and its kill chain.
fn phase(text: &str) -> Option<Box<str>> {
    let phase = text.split(" (").next()?.trim();
    (!phase.is_empty()).then(|| phase.into())
}

/// Whether a cell stands for nothing.
fn is_blank(cell: &str) -> bool {
    matches!(cell.trim(), "" | "-" | "N/A" | "n/a" | "NA" | "None" | "none" | "null" | "NULL" | "\"\"")
}

#[cfg(test)]
mod tests;
