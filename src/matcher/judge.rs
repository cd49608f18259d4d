//! Composite patterns: whether an event in which a key of one was found fulfils the whole of it.
//!
//! Only the keys of such a pattern are in the exact sets. When one is found the event is walked once more, at every field,
//! and each of its values is compared with every atom of the patterns in question, in the same canonical forms in which the
//! matcher looks them up.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::read::{Forms, read};
use super::{Hit, with_text};
use crate::encoding::{Value, Visitor};
use crate::fields::{FieldId, FieldSet};
use crate::intel::indicator::{Comparison, Target, Term, TermValue};
use crate::intel::pattern::program::{AtomState, Program};
use crate::intel::snapshot::{RangeValue, Snapshot, number_key, time_key};
use crate::intel::space::Space;
use crate::observable::Kind;
use crate::observable::url::CanonicalUrl;

/// Judges the patterns of findings. Walk the event with it, at every field of the table, then ask.
pub struct Judge<'s> {
    snapshot: &'s Snapshot,
    patterns: BTreeMap<u32, Pattern>,
    scratch: Vec<u8>,
}

struct Pattern {
    program: Program,
    atoms: Vec<Atom>,
}

/// One comparison, and what the event says of it so far.
struct Atom {
    term: Term,
    /// It is a URL that stands for longer paths, too.
    longer: bool,
    /// Where values of the term may stand.
    fields: FieldSet,
    is_found: bool,
    /// There is a value at one of the fields.
    has_value: bool,
}

impl<'s> Judge<'s> {
    /// A judge of the patterns among findings; `None` when each counts alone.
    pub fn of(snapshot: &'s Snapshot, hits: &[Hit]) -> Option<Judge<'s>> {
        let mut patterns = BTreeMap::new();
        for number in hits.iter().map(|hit| hit.posting.indicator).filter(|number| snapshot.is_composite(*number)) {
            patterns.entry(number).or_insert_with(|| {
                // What was checked when the segment was opened can be read.
                snapshot.composite(number).map(|composite| Pattern {
                    program: composite.program,
                    atoms: (0u8..)
                        .zip(composite.terms)
                        .map(|(number, term)| Atom::new(term, composite.longer.contains(number), snapshot))
                        .collect(),
                })
            });
        }
        let patterns: BTreeMap<u32, Pattern> =
            patterns.into_iter().filter_map(|(number, pattern)| Some((number, pattern?))).collect();
        (!patterns.is_empty()).then(|| Judge { snapshot, patterns, scratch: Vec::new() })
    }

    /// Takes out the findings of patterns that the event does not fulfil.
    pub fn take_unfulfilled(&self, hits: &mut Vec<Hit>) -> Vec<Hit> {
        let holds = |number: u32| match self.patterns.get(&number) {
            Some(pattern) => pattern.holds(),
            None => !self.snapshot.is_composite(number),
        };
        hits.extract_if(.., |hit| !holds(hit.posting.indicator)).collect()
    }
}

impl Pattern {
    fn holds(&self) -> bool {
        self.program.holds(&mut |atom| match self.atoms.get(usize::from(atom)) {
            Some(Atom { is_found: true, .. }) => AtomState::Found,
            Some(Atom { has_value: true, .. }) => AtomState::Other,
            _ => AtomState::Missing,
        })
    }
}

impl Atom {
    fn new(term: Term, longer: bool, snapshot: &Snapshot) -> Atom {
        let fields = match &term.target {
            Target::StixPath(path) => snapshot.table().by_stix_path(path),
            Target::Kind => {
                let spaces = spaces(&term.value);
                let url_hosts = snapshot.options().url_hosts;
                let reads = |id: FieldId| {
                    snapshot.reading(id).spaces(url_hosts).into_iter().any(|space| spaces.contains(&space))
                };
                snapshot.table().iter().map(|(id, _)| id).filter(|id| reads(*id)).collect()
            }
        };
        Atom { term, longer, fields: FieldSet::of(&fields), is_found: false, has_value: false }
    }
}

/// The name spaces in which a value can be found.
fn spaces(value: &TermValue) -> Vec<Space> {
    match value {
        TermValue::Address(_) | TermValue::Network(_) => vec![Space::Ipv4, Space::Ipv6],
        TermValue::Domain { .. } => vec![Space::Domain],
        TermValue::Url(_) => vec![Space::Url],
        TermValue::Hash { kind, .. } => Space::of_hash(*kind).into_iter().collect(),
        TermValue::Email(_) => vec![Space::Email],
        TermValue::User(_) => vec![Space::User],
        TermValue::Text(_) => vec![Space::Text],
        TermValue::Name { kind: Kind::DnsType, .. } => vec![Space::DnsType],
        TermValue::Name { .. } => vec![Space::Name],
        TermValue::Path(_) => vec![Space::Path],
        TermValue::Number { .. } => vec![Space::Number],
        TermValue::Time { .. } => vec![Space::Time],
    }
}

/// The forms of one value against the atoms that look at its field.
struct At<'a, 's> {
    atoms: Vec<&'a mut Atom>,
    snapshot: &'s Snapshot,
}

impl At<'_, '_> {
    fn find(&mut self, is_it: impl Fn(&TermValue) -> bool) {
        self.find_atoms(|atom| is_it(&atom.term.value));
    }

    fn find_atoms(&mut self, is_it: impl Fn(&Atom) -> bool) {
        self.atoms.iter_mut().filter(|atom| is_it(atom)).for_each(|atom| atom.is_found = true);
    }
}

impl Forms for At<'_, '_> {
    fn key(&mut self, space: Space, key: &[u8]) {
        let any_parent = self.snapshot.options().subdomains;
        self.find(|value| match (value, space) {
            (TermValue::Address(IpAddr::V4(v4)), Space::Ipv4) => v4.octets() == key,
            (TermValue::Address(IpAddr::V6(v6)), Space::Ipv6) => v6.octets() == key,
            (TermValue::Domain { name, .. }, Space::Domain) => name.as_bytes() == key,
            (TermValue::Domain { name, subdomains }, Space::DomainSuffix) => {
                (*subdomains || any_parent) && name.as_bytes() == key
            }
            (TermValue::Hash { kind, digest }, space) => {
                Space::of_hash(*kind) == Some(space) && digest.as_bytes() == key
            }
            (TermValue::Email(text), Space::Email)
            | (TermValue::User(text), Space::User)
            | (TermValue::Text(text), Space::Text)
            | (TermValue::Path(text), Space::Path) => text.as_bytes() == key,
            (TermValue::Name { kind, name }, Space::Name | Space::DnsType) => {
                (*kind == Kind::DnsType) == (space == Space::DnsType) && name.as_bytes() == key
            }
            (TermValue::Number { comparison: Comparison::Equal, value }, Space::Number) => number_key(*value) == key,
            (TermValue::Time { comparison: Comparison::Equal, value }, Space::Time) => time_key(*value) == key,
            _ => false,
        });
    }

    fn networks(&mut self, address: IpAddr) {
        self.find(|value| matches!(value, TermValue::Network(network) if network.contains(&address)));
    }

    fn range(&mut self, event: RangeValue) {
        self.find(|value| match (value, event) {
            (TermValue::Number { comparison, value }, RangeValue::Number(event)) => {
                event.partial_cmp(value).is_some_and(|ordering| comparison.holds(ordering))
            }
            (TermValue::Time { comparison, value }, RangeValue::Time(event)) => comparison.holds(event.cmp(value)),
            _ => false,
        });
    }

    fn url_host(&mut self, _: &[u8]) -> bool {
        true
    }

    fn url(&mut self, event: &CanonicalUrl) {
        self.find_atoms(|atom| match &atom.term.value {
            TermValue::Url(url) => {
                let scheme = url.scheme().zip(event.scheme()).is_none_or(|(wanted, scheme)| wanted == scheme);
                let is_longer = || atom.longer && event.path_prefixes().any(|prefix| prefix == url.rest());
                scheme && (url.rest() == event.rest() || is_longer())
            }
            _ => false,
        });
    }

    fn wants(&self, _: Space) -> bool {
        true
    }
}

impl Visitor for Judge<'_> {
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        let atoms = self.patterns.values_mut().flat_map(|pattern| &mut pattern.atoms);
        let atoms: Vec<&mut Atom> = atoms.filter(|atom| atom.fields.contains(field)).collect();
        if atoms.is_empty() {
            return;
        }
        let mut at = At { atoms, snapshot: self.snapshot };
        at.atoms.iter_mut().for_each(|atom| atom.has_value = true);
        let (snapshot, scratch) = (self.snapshot, &mut self.scratch);
        with_text(value, |raw| read(snapshot.options(), snapshot.reading(field), raw, scratch, &mut at));
    }
}
