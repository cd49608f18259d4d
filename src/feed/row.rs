//! One row of named cells, of a CSV file or of a JSON object, becomes indicators.

use jiff::Timestamp;

use super::classify::{self, Found};
use super::collect::{Collector, Facts};
use super::declared::{Declared, TypeWord, type_word};
use super::{ColumnMapping, FeedOptions};
use crate::fields::FieldTable;
use crate::intel::indicator::{Confidence, Target, Term, TermValue, Tlp};
use crate::intel::pattern;
use crate::observable::{Kind, time};

/// The meaning of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The value, by mapping or by the header's word. Where a row has a type, no other column is its value.
    Main,
    /// Searched for values.
    Value,
    /// Searched for hashes, which are so whatever the row's type column says.
    Hash,
    /// What the value is.
    Kind,
    /// Start of validity.
    ValidFrom,
    /// End of validity.
    ValidUntil,
    /// Kill chain phases.
    KillChain,
    /// Free text.
    Description,
    /// How sure the feed is.
    Confidence,
    /// Traffic Light Protocol marking.
    Tlp,
    /// A human name, or the value itself where the feed calls it so.
    Name,
    /// A URL with more about it.
    Reference,
    /// The feed's own id.
    Id,
    /// When the feed first saw it.
    FirstSeen,
    /// When the feed last saw it.
    LastSeen,
    /// Nothing.
    Ignored,
}

impl ColumnMapping {
    /// What the configuration names: its key there, the meaning, and the column or path.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, Role, &str)> {
        [
            ("value", Role::Main, &self.value),
            ("type", Role::Kind, &self.kind),
            ("valid_from", Role::ValidFrom, &self.valid_from),
            ("valid_until", Role::ValidUntil, &self.valid_until),
            ("kill_chain_phases", Role::KillChain, &self.kill_chain_phases),
            ("description", Role::Description, &self.description),
            ("confidence", Role::Confidence, &self.confidence),
            ("tlp", Role::Tlp, &self.tlp),
            ("name", Role::Name, &self.name),
            ("reference", Role::Reference, &self.reference),
            ("id", Role::Id, &self.id),
            ("first_seen", Role::FirstSeen, &self.first_seen),
            ("last_seen", Role::LastSeen, &self.last_seen),
        ]
        .into_iter()
        .filter_map(|(key, role, column)| Some((key, role, column.as_deref()?)))
    }
}

/// Whether a cell is a STIX pattern.
pub(super) fn is_pattern(cell: &str) -> bool {
    let cell = cell.trim_start();
    cell.starts_with(['[', '(']) && cell.contains('\'') && cell.contains(':')
}

/// The cells of one row.
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

    /// The cells, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }

    /// How many there are.
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
    pub(super) roles: &'a [Role],
    /// The meaning of cells behind the last one that has a role.
    pub(super) beyond: Role,
}

impl<'a> Row<'a> {
    /// Hands over what the row gives, or lists it as unusable.
    pub(super) fn import(&self, options: &FeedOptions, table: &FieldTable, collector: &mut Collector) {
        let facts = match self.facts() {
            Ok(facts) => facts,
            Err(reason) => return collector.unusable(self.line, reason, self.excerpt()),
        };
        let candidates = [Role::Main, Role::Value, Role::Name];
        if let Some((_, pattern)) = self.filled(&candidates).find(|(_, cell)| is_pattern(cell)) {
            match pattern::compile(pattern, table) {
                Ok(compiled) => collector.pattern(compiled, facts, pattern),
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
            let kind = self.roles.iter().position(|role| *role == Role::Kind).unwrap_or(0);
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
        Ok(facts.shortened())
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
        self.with_roles()
            .filter(move |(known, _, cell)| *known == role && !is_blank(cell))
            .map(|(_, _, cell)| cell.trim().trim_matches('"').trim())
    }

    /// The cells of some roles in column order, unless empty. `-` and `none` stay: they may be user names.
    fn filled<'r>(&self, roles: &'r [Role]) -> impl Iterator<Item = (usize, &'a str)> + use<'a, 'r> {
        self.with_roles()
            .filter(|(role, _, cell)| roles.contains(role) && !cell.trim().is_empty())
            .map(|(_, at, cell)| (at, cell))
    }

    fn with_roles(&self) -> impl Iterator<Item = (Role, usize, &'a str)> + use<'a> {
        let (roles, beyond) = (self.roles, self.beyond);
        self.cells.iter().enumerate().map(move |(at, cell)| (roles.get(at).copied().unwrap_or(beyond), at, cell))
    }

    fn excerpt(&self) -> &'a str {
        let telling = [Role::Main, Role::Value, Role::Hash, Role::Name];
        let first = telling.into_iter().find_map(|role| self.filled(&[role]).next()).map(|(_, cell)| cell);
        first.or_else(|| self.cells.iter().find(|cell| !cell.trim().is_empty())).unwrap_or_default()
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
