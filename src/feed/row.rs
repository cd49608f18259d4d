//! One row of named cells, of a CSV file or of a JSON object, becomes indicators.

use jiff::Timestamp;

use super::classify::{self, Found};
use super::collect::{Collector, Facts};
use super::declared::{Declared, TypeWord, type_word};
use super::layout::Column;
use super::misp_types::{self, MispValue};
use super::row_status::{self, RowStatus};
use super::when::{self, DayOrder};
use super::{FeedOptions, range};
use crate::intel::indicator::{Confidence, Target, Term, TermValue, Tlp};
use crate::intel::pattern;
use crate::observable::Kind;
use crate::schema::FieldTable;

pub(super) use super::role::Role;

/// Whether a cell is a STIX pattern.
pub(super) fn is_pattern(cell: &str) -> bool {
    let cell = cell.trim_start();
    cell.starts_with(['[', '(']) && cell.contains('\'') && cell.contains(':')
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cells {
    text: String,
    /// Where each cell ends in `text`.
    ends: Vec<usize>,
}

impl Cells {
    /// Adds a cell behind the others.
    pub(super) fn push(&mut self, cell: &str) {
        self.text.push_str(cell);
        self.ends.push(self.text.len());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }
}

/// One row and what its cells mean.
pub(super) struct Row<'a> {
    pub(super) cells: &'a Cells,
    pub(super) line: u32,
    pub(super) columns: &'a [Column],
    /// The meaning of cells behind the last one that has a column.
    pub(super) beyond: Role,
    /// The roles of its columns: most rows have few, and the others need not be looked for.
    pub(super) present: Present,
    /// The position of the day in a date, where its feed writes dates so.
    pub(super) order: Option<DayOrder>,
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Present(u32);

impl Present {
    /// The roles of columns, and of the cells behind them.
    pub(super) fn from_columns(columns: &[Column], beyond: Role) -> Present {
        let roles = columns.iter().map(|column| column.role).chain([beyond]);
        Present(roles.fold(0, |set, role| set | 1 << role as u32))
    }

    fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u32) != 0
    }
}

impl<'a> Row<'a> {
    /// Collects what the row gives, or lists it as unusable.
    pub(super) fn import(&self, options: &FeedOptions, table: &FieldTable, collector: &mut Collector) {
        match self.read(options, table, collector) {
            Ok(()) => {}
            Err(reason) => collector.unusable(self.line, reason, self.excerpt()),
        }
    }

    fn read(&self, options: &FeedOptions, table: &FieldTable, collector: &mut Collector) -> Result<(), String> {
        let is_revoked = self.is_revoked()?;
        let facts = Facts { revoked: is_revoked, ..self.facts()? };
        let candidates = [Role::Main, Role::Value, Role::Name];
        if let Some((_, _, pattern)) = self.filled(&candidates).find(|(_, _, cell)| is_pattern(cell)) {
            match pattern::compile(pattern, table) {
                Ok(compiled) => collector.pattern(compiled, facts, pattern),
                Err(error) => collector.unusable(self.line, error.to_string(), pattern),
            }
            return Ok(());
        }
        if let Some(found) = self.range()? {
            collector.found(found, facts);
            return Ok(());
        }
        let kinds = || self.cells(Role::Kind);
        if let Some(word) = kinds().find(|word| word.contains('|') || *word == "malware-sample")
            && let Some((_, _, value)) = self.filled(&[Role::Main, Role::Value]).next()
            && (type_word(word) != TypeWord::Unknown || word.starts_with("filename|") || word == "domain|ip")
        {
            // The parts of a composite of MISP are one attribute: either is the indicator.
            let MispValue::Values(found) = misp_types::parts(word, "", value.trim().trim_matches('"'))? else {
                return Err(format!("type `{word}` cannot be looked for in events"));
            };
            let port = found.iter().find_map(|found| found.port);
            let terms = found.into_iter().flat_map(Found::values);
            collector.terms(terms.map(|value| Term { value, target: Target::Kind }).collect(), port, facts);
            return Ok(());
        }
        let words: Vec<TypeWord> = kinds().map(type_word).collect();
        let declared = words.iter().find_map(|word| match word {
            TypeWord::Declared(declared) => Some(*declared),
            _ => None,
        });
        if declared.is_none()
            && let Some(word) = kinds().find(|word| type_word(word).is_unsupported())
        {
            // The type of a file is next to its hash, and is not about the hash. That of a digest does.
            let is_digest = words.contains(&TypeWord::Digest);
            let hashes = if is_digest { Vec::new() } else { self.named_hashes() };
            if hashes.is_empty() {
                return Err(format!("type `{word}` cannot be looked for in events"));
            }
            self.emit(hashes, facts, collector);
            return Ok(());
        }
        let mut found = self.values(declared.or(options.default_kind.map(Declared::Of)))?;
        if let Some(port) = self.cells(Role::Port).next().and_then(|cell| cell.parse().ok()) {
            for found in &mut found {
                if matches!(found.value, TermValue::Address(_) | TermValue::Domain { .. }) {
                    found.port = found.port.or(Some(port));
                }
            }
        }
        self.emit(found, facts, collector);
        Ok(())
    }

    /// Whether the feed withdrew it; an error when it is not an indicator at all.
    fn is_revoked(&self) -> Result<bool, String> {
        let mut is_revoked = false;
        type Reading = fn(&str) -> RowStatus;
        let readings: [(Role, Reading); 6] = [
            (Role::Revoked, row_status::revoked),
            (Role::Detect, row_status::detect),
            (Role::Action, row_status::action),
            (Role::Status, row_status::status),
            (Role::Active, row_status::active),
            (Role::Threat, row_status::threat),
        ];
        for (role, reading) in readings {
            for cell in self.cells(role) {
                match reading(cell) {
                    RowStatus::Counts => {}
                    RowStatus::Revoked => is_revoked = true,
                    RowStatus::None(reason) => return Err(reason),
                }
            }
        }
        Ok(is_revoked)
    }

    /// The networks of a range whose ends are in columns of their own, or of an address and its mask.
    fn range(&self) -> Result<Option<Found>, String> {
        let first = |role| self.filled(&[role]).next().map(|(_, _, cell)| cell.trim().trim_matches('"').trim());
        let prefix = first(Role::Prefix);
        let Some(start) = first(Role::RangeStart) else {
            let Some((address, mask)) = self.filled(&[Role::Main]).next().map(|(_, _, cell)| cell).zip(prefix) else {
                return Ok(None);
            };
            return match range::address(address) {
                // A cell that is not an address, or has a length of its own, is read by itself.
                None => Ok(None),
                Some(_) => match range::masked(address, mask) {
                    Some(network) => Ok(Found::networks([network])),
                    None => Err(format!("`{mask}` is not a mask of an address")),
                },
            };
        };
        let end = first(Role::RangeEnd);
        let networks = match (range::address(start), end.and_then(range::address)) {
            (Some(start), Some(end)) => range::between(start, end),
            (Some(_), None) => prefix.and_then(|mask| range::masked(start, mask)).map(|network| vec![network]),
            (None, _) => classify::untyped(start).filter(|_| end.is_none()).map(|_| Vec::new()),
        };
        let shown = || format!("`{start}` to `{}` is not a range of addresses", end.unwrap_or_default());
        networks.and_then(Found::networks).map(Some).ok_or_else(shown)
    }

    /// The values of the row; an error when there are none.
    fn values(&self, declared: Option<Declared>) -> Result<Vec<Found>, String> {
        let Some(declared) = declared else { return self.untyped() };
        let mut found = Vec::new();
        if !declared.is_hash() {
            // The type of a value is not about the file that it came with.
            found.extend(self.hashes());
        }
        match self.typed(declared) {
            Ok(values) => found.extend(values),
            Err(reason) if found.is_empty() => return Err(reason),
            Err(_) => {}
        }
        Ok(found)
    }

    /// The values of a row without a type: by the names of columns, and by the shapes of values.
    fn untyped(&self) -> Result<Vec<Found>, String> {
        let mut found = self.hashes();
        let mut first_reason = None;
        for (_, column, cell) in self.filled(&[Role::Main, Role::Value]) {
            match each(cell, |part| named(part, column.declared.filter(|_| column.is_known))) {
                Ok(values) => found.extend(values),
                Err(reason) if column.role == Role::Main => first_reason = first_reason.or(reason),
                Err(_) => {}
            }
        }
        if found.is_empty() && !self.columns.iter().any(|column| matches!(column.role, Role::Main | Role::Hash)) {
            let names = self.filled(&[Role::Name]);
            found.extend(
                names.flat_map(|(_, _, cell)| each(cell, |part| classify::untyped(part).ok_or(())).unwrap_or_default()),
            );
        }
        if !found.is_empty() {
            return Ok(found);
        }
        if self.filled(&[Role::Digest]).next().is_some() {
            return Err("only digests that are not the hash of a file, which events do not have".to_owned());
        }
        const NOTHING: &str = "no cell is an address, network, domain, URL, hash or e-mail address";
        Err(match first_reason {
            Some(reason) => format!("{NOTHING}: {reason}"),
            None => NOTHING.to_owned(),
        })
    }

    /// The hashes in columns of hashes.
    fn hashes(&self) -> Vec<Found> {
        let cells = self.filled(&[Role::Hash]);
        cells
            .flat_map(|(_, _, cell)| each(cell, |part| classify::typed(part, Declared::Hash)).unwrap_or_default())
            .collect()
    }

    /// Those of columns that name the algorithm: no type next to them says what they are.
    fn named_hashes(&self) -> Vec<Found> {
        let cells = self.filled(&[Role::Hash]);
        let cells = cells.filter(|(_, column, _)| matches!(column.declared, Some(Declared::Of(_))));
        cells
            .flat_map(|(_, _, cell)| each(cell, |part| classify::typed(part, Declared::Hash)).unwrap_or_default())
            .collect()
    }

    /// The values of a declared type. A column that is named as the value is the only one to hold it; without one the
    /// search begins behind the type, and ends at the first, since nearly every word may be a user or a host.
    fn typed(&self, declared: Declared) -> Result<Vec<Found>, String> {
        let named: &[Role] = if declared.is_hash() { &[Role::Main, Role::Hash] } else { &[Role::Main] };
        let mut cells: Vec<(usize, &str)> = self.filled(named).map(|(at, _, cell)| (at, cell)).collect();
        let is_named = !cells.is_empty();
        if !is_named {
            cells = self.filled(&[Role::Value, Role::Name]).map(|(at, _, cell)| (at, cell)).collect();
            let kind = self.columns.iter().position(|column| column.role == Role::Kind).unwrap_or(0);
            cells.sort_by_key(|(at, _)| *at < kind);
        }
        let ends_at_first = !is_named || declared == Declared::Of(Kind::User);
        let mut found = Vec::new();
        let mut reason = None;
        for (_, cell) in &cells {
            match each(cell, |part| classify::typed(part, declared)) {
                Ok(values) if is_named || cells.len() == 1 || !is_weak(&values) => found.extend(values),
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

    /// Hashes of different kinds in one row are of one file, and one indicator; everything else is an indicator of its own.
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
        context.description = self.description();
        context.kill_chain_phases =
            self.cells(Role::KillChain).flat_map(|cell| cell.split([',', ';', '|'])).filter_map(phase).collect();
        // The same phase of two kill chains is one phase.
        context.kill_chain_phases.dedup();
        context.confidence = first(Role::Confidence).map(Confidence::parse).unwrap_or_default();
        context.tlp = first(Role::Tlp).and_then(Tlp::parse);
        context.name = first(Role::Name).filter(|name| classify::untyped(name).is_none()).map(Into::into);
        context.reference = self.cells(Role::Reference).find(|cell| cell.contains("://")).map(Into::into);
        let seen = |role| first(role).and_then(|cell| when::instant(cell, self.order));
        context.first_seen = seen(Role::FirstSeen);
        context.last_seen = seen(Role::LastSeen);
        Ok(facts.shortened())
    }

    /// The feed's words about the threat: its free text, then malware, threat and tags.
    fn description(&self) -> Option<Box<str>> {
        let mut text = String::new();
        for (role, before) in [(Role::Description, ""), (Role::Malware, ""), (Role::Threat, ""), (Role::Tags, "tags: ")]
        {
            let mut lead = before;
            for cell in self.cells(role).filter(|cell| *cell != "unknown") {
                if !text.is_empty() {
                    text.push_str(if lead.is_empty() && role == Role::Tags { ", " } else { "; " });
                }
                text.push_str(std::mem::take(&mut lead));
                text.push_str(cell);
            }
        }
        (!text.is_empty()).then(|| text.into())
    }

    /// A bound that cannot be read must not become an open one.
    fn bound(&self, role: Role, name: &str) -> Result<Option<Timestamp>, String> {
        let Some(cell) = self.cells(role).next() else { return Ok(None) };
        when::bound(cell, self.order).map_err(|reason| format!("{name} `{cell}` {reason}"))
    }

    /// The cells of a role that say something, trimmed.
    fn cells(&self, role: Role) -> impl Iterator<Item = &'a str> {
        let cells = self.present.has(role).then(|| self.with_columns());
        (cells.into_iter().flatten())
            .filter(move |(column, _, cell)| column.role == role && !is_blank(cell))
            .map(|(_, _, cell)| cell.trim().trim_matches('"').trim())
    }

    /// The cells of some roles in column order, unless empty. `-` and `none` stay: they may be user names.
    fn filled<'r>(&self, roles: &'r [Role]) -> impl Iterator<Item = (usize, Column, &'a str)> + use<'a, 'r> {
        let cells = roles.iter().any(|role| self.present.has(*role)).then(|| self.with_columns());
        (cells.into_iter().flatten())
            .filter(|(column, _, cell)| roles.contains(&column.role) && !cell.trim().is_empty())
            .map(|(column, at, cell)| (at, column, cell))
    }

    fn with_columns(&self) -> impl Iterator<Item = (Column, usize, &'a str)> + use<'a> {
        let (columns, beyond) = (self.columns, Column::with_role(self.beyond));
        self.cells.iter().enumerate().map(move |(at, cell)| (columns.get(at).copied().unwrap_or(beyond), at, cell))
    }

    fn excerpt(&self) -> &'a str {
        let telling = [Role::Main, Role::Value, Role::Hash, Role::RangeStart, Role::Digest, Role::Name];
        let first = telling.into_iter().find_map(|role| self.filled(&[role]).next()).map(|(_, _, cell)| cell);
        first.or_else(|| self.cells.iter().find(|cell| !cell.trim().is_empty())).unwrap_or_default()
    }
}

/// The value of a cell whose column is named after a type: the shape decides, and the name where the shape does not
/// (a domain under a suffix that is not public, a user). An error may say why there is none.
fn named(part: &str, declared: Option<Declared>) -> Result<Found, Option<String>> {
    if declared != Some(Declared::Of(Kind::User))
        && let Some(found) = classify::untyped(part)
    {
        return Ok(found);
    }
    let Some(declared) = declared else { return Err(classify::hint(part).map(str::to_owned)) };
    match classify::typed(part, declared) {
        Ok(found) if !is_weak(std::slice::from_ref(&found)) => Ok(found),
        Ok(_) => Err(Some("a name of a single label, which is not a domain of the Internet".to_owned())),
        Err(reason) => Err(Some(reason)),
    }
}

/// Whether values are host names without a dot, as any word of prose is.
fn is_weak(values: &[Found]) -> bool {
    values.iter().any(|found| matches!(&found.value, TermValue::Domain { name, .. } if !name.contains('.')))
}

/// A cell as a whole, else each of its parts; all of them must be values.
fn each<E>(cell: &str, classify: impl Fn(&str) -> Result<Found, E>) -> Result<Vec<Found>, E> {
    let whole = match classify(cell) {
        Ok(found) => return Ok(vec![found]),
        Err(error) => error,
    };
    let parts = || {
        cell.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|'))
            .filter(|part| !part.is_empty() && *part != ":")
    };
    // A URL with a blank or a comma in it is not a list of URLs unless each part is one.
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

/// Whether a cell means nothing.
fn is_blank(cell: &str) -> bool {
    matches!(cell.trim(), "" | "-" | "N/A" | "n/a" | "NA" | "None" | "none" | "null" | "NULL" | "\"\"")
}
