//! Composite patterns: whether an event in which a key of one was found fulfils the whole of it.
//!
//! Only the keys of such a pattern are in the exact sets. When one is found the event is walked again, at every field,
//! and the forms of its values, the same in which the matcher looks them up, are looked up among the atoms of the patterns
//! in question. Only what cannot be looked up, a network, a range or an expression, is compared with each value, and of
//! those there is a bounded number.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{Hit, rank, with_text};
use crate::encoding::{Value, Visitor};
use crate::intel::expression::Expression;
use crate::intel::indicator::{Target, Term, TermValue};
use crate::intel::keys::{
    IndicatorOptions, KeySpace, KeyVisitor, TableId, has_key, indicator_keys, schemes_agree, visit_keys,
};
use crate::intel::pattern::program::{AtomState, Program};
use crate::intel::snapshot::{RangeValue, Snapshot};
use crate::observable::url::CanonicalUrl;
use crate::schema::{FieldId, FieldSet};

/// The most atoms that are compared with each value of an event. Patterns beyond are not evaluated, those of the least
/// confident indicators first.
const MAX_COMPARED: usize = 1024;

/// Evaluates the patterns of findings. Walk the event with it, at every field of the table, then ask.
pub struct PatternEvaluator<'s> {
    snapshot: &'s Snapshot,
    patterns: HashMap<u32, Pattern>,
    atoms: Atoms,
    is_truncated: bool,
    scratch: Vec<u8>,
}

struct Pattern {
    program: Program,
    /// The place of its first atom.
    first: usize,
}

#[derive(Default)]
struct Atoms {
    all: Vec<Atom>,
    /// Where terms may stand, each set once.
    places: Vec<Place>,
    /// The atoms that can be looked up, by the hash of a key.
    by_key: HashMap<u64, Vec<usize>>,
    /// The other ones.
    compared: Vec<usize>,
    /// Whether expressions are among them.
    has_expressions: bool,
}

struct Atom {
    term: Term,
    /// It is a URL that stands for longer paths, too.
    longer: bool,
    /// The place of its fields in `places`.
    place: usize,
    is_found: bool,
}

/// Where values of some terms may stand.
struct Place {
    path: Option<Arc<str>>,
    spaces: &'static [KeySpace],
    fields: FieldSet,
    /// There is a value at one of the fields.
    has_value: bool,
}

impl<'s> PatternEvaluator<'s> {
    /// An evaluator of the patterns among findings; `None` if each counts alone.
    pub fn for_hits(snapshot: &'s Snapshot, hits: &[Hit]) -> Option<PatternEvaluator<'s>> {
        let mut together: Vec<&Hit> = hits.iter().filter(|hit| snapshot.is_composite(hit.posting.indicator)).collect();
        if together.is_empty() {
            return None;
        }
        together.sort_by_cached_key(|hit| rank(snapshot, hit));
        let (patterns, atoms) = (HashMap::new(), Atoms::default());
        let mut evaluator = PatternEvaluator { snapshot, patterns, atoms, is_truncated: false, scratch: Vec::new() };
        for hit in together {
            let number = hit.posting.indicator;
            if evaluator.patterns.contains_key(&number) {
                continue;
            }
            if evaluator.atoms.compared.len() > MAX_COMPARED {
                evaluator.is_truncated = true;
                break;
            }
            // The segment was checked when it was opened, so it can be read.
            let Some(composite) = snapshot.composite(number) else { continue };
            let first = evaluator.atoms.all.len();
            for (atom, term) in (0u8..).zip(composite.terms) {
                evaluator.atoms.add(snapshot, term, composite.longer.contains(atom));
            }
            evaluator.patterns.insert(number, Pattern { program: composite.program, first });
        }
        Some(evaluator)
    }

    /// Whether there were more patterns than are evaluated.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Takes out the findings of patterns that the event does not fulfil.
    pub fn take_unfulfilled(&self, hits: &mut Vec<Hit>) -> Vec<Hit> {
        let holds = |number: u32| match self.patterns.get(&number) {
            Some(pattern) => pattern.holds(&self.atoms),
            None => !self.snapshot.is_composite(number),
        };
        hits.extract_if(.., |hit| !holds(hit.posting.indicator)).collect()
    }
}

impl Pattern {
    fn holds(&self, atoms: &Atoms) -> bool {
        self.program.holds(&mut |atom| match atoms.all.get(self.first + usize::from(atom)) {
            Some(Atom { is_found: true, .. }) => AtomState::Found,
            Some(atom) if atoms.places.get(atom.place).is_some_and(|place| place.has_value) => AtomState::Other,
            _ => AtomState::Missing,
        })
    }
}

impl Atoms {
    fn add(&mut self, snapshot: &Snapshot, term: Term, longer: bool) {
        let number = self.all.len();
        let is_compared = match &term.value {
            TermValue::Url(_) => longer,
            TermValue::Network(_) | TermValue::Number { .. } | TermValue::Time { .. } => true,
            TermValue::Expression(_) => {
                self.has_expressions = true;
                true
            }
            _ => false,
        };
        if is_compared {
            self.compared.push(number);
        } else {
            indicator_keys(&term.value, IndicatorOptions::default(), |table, key| {
                if let TableId::Space(space) = table {
                    self.by_key.entry(snapshot.hasher().hash(space, key)).or_default().push(number);
                }
            });
        }
        let place = self.place(snapshot, &term);
        self.all.push(Atom { term, longer, place, is_found: false });
    }

    /// The place of the fields at which a term may stand.
    fn place(&mut self, snapshot: &Snapshot, term: &Term) -> usize {
        let path = match &term.target {
            Target::StixPath(path) => Some(path.clone()),
            Target::Kind => None,
        };
        let spaces = if path.is_some() { &[][..] } else { KeySpace::of_kind(term.value.kind()) };
        if let Some(known) = self.places.iter().position(|place| place.path == path && place.spaces == spaces) {
            return known;
        }
        let fields = match &path {
            Some(path) => snapshot.table().by_stix_path(path),
            None => {
                let url_hosts = snapshot.options().url_hosts;
                let reads = |id: FieldId| {
                    snapshot.key_plan(id).spaces(url_hosts).into_iter().any(|space| spaces.contains(&space))
                };
                snapshot.table().iter().map(|(id, _)| id).filter(|id| reads(*id)).collect()
            }
        };
        self.places.push(Place { path, spaces, fields: FieldSet::from_fields(&fields), has_value: false });
        self.places.len() - 1
    }

    /// Records that a field has a value. Returns whether any atom is looked for there.
    fn see(&mut self, field: FieldId) -> bool {
        let mut is_wanted = false;
        for place in self.places.iter_mut().filter(|place| place.fields.contains(field)) {
            (place.has_value, is_wanted) = (true, true);
        }
        is_wanted
    }
}

/// The forms of one value against the atoms that look at its field.
struct At<'a, 's> {
    atoms: &'a mut Atoms,
    snapshot: &'s Snapshot,
    field: FieldId,
}

impl At<'_, '_> {
    /// Finds the atoms with a key that `is_it` confirms.
    fn find(&mut self, space: KeySpace, key: &[u8], is_it: impl Fn(&TermValue) -> bool) {
        let Atoms { all, places, by_key, .. } = &mut *self.atoms;
        let Some(numbers) = by_key.get_mut(&self.snapshot.hasher().hash(space, key)) else { return };
        // A finding need not be found again.
        numbers.retain(|number| {
            let Some(atom) = all.get_mut(*number) else { return false };
            let is_here = places.get(atom.place).is_some_and(|place| place.fields.contains(self.field));
            atom.is_found |= is_here && is_it(&atom.term.value);
            !atom.is_found
        });
    }

    /// Finds the atoms whose expressions match a key.
    fn evaluate(&mut self, space: KeySpace, key: &[u8]) {
        if self.atoms.has_expressions {
            let expressions = self.snapshot.expressions();
            self.compare(|atom| match &atom.term.value {
                TermValue::Expression(expression) => {
                    Expression::space_of(expression.of) == Some(space) && expressions.is_match(expression, key)
                }
                _ => false,
            });
        }
    }

    /// Finds the atoms that cannot be looked up and that `is_it` confirms.
    fn compare(&mut self, is_it: impl Fn(&Atom) -> bool) {
        let Atoms { all, places, compared, .. } = &mut *self.atoms;
        compared.retain(|number| {
            let Some(atom) = all.get_mut(*number) else { return false };
            let is_here = places.get(atom.place).is_some_and(|place| place.fields.contains(self.field));
            atom.is_found |= is_here && is_it(atom);
            !atom.is_found
        });
    }
}

impl KeyVisitor for At<'_, '_> {
    fn key(&mut self, space: KeySpace, key: &[u8]) {
        self.find(space, key, |value| has_key(value, IndicatorOptions::default(), TableId::Space(space), key));
        self.evaluate(space, key);
    }

    fn networks(&mut self, address: IpAddr) {
        self.compare(|atom| matches!(&atom.term.value, TermValue::Network(network) if network.contains(&address)));
    }

    fn range(&mut self, event: RangeValue) {
        self.compare(|atom| match (&atom.term.value, event) {
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
        let agrees = |url: &CanonicalUrl| schemes_agree(url.scheme(), event.scheme());
        let rest = event.rest();
        self.find(
            KeySpace::Url,
            rest.as_bytes(),
            |value| matches!(value, TermValue::Url(url) if agrees(url) && url.rest() == rest),
        );
        self.compare(|atom| match &atom.term.value {
            TermValue::Url(url) => {
                // Cheap first: prefixes are only gone through when it is one, at a boundary or not.
                let is_prefix = || rest.starts_with(url.rest()) && event.path_prefixes().any(|path| path == url.rest());
                agrees(url) && (url.rest() == rest || (atom.longer && is_prefix()))
            }
            _ => false,
        });
        if self.atoms.has_expressions {
            self.evaluate(KeySpace::Url, event.to_string().as_bytes());
        }
    }

    fn wants(&self, _: KeySpace) -> bool {
        true
    }
}

impl Visitor for PatternEvaluator<'_> {
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        if !self.atoms.see(field) {
            return;
        }
        let (snapshot, scratch) = (self.snapshot, &mut self.scratch);
        let mut at = At { atoms: &mut self.atoms, snapshot, field };
        let _ = with_text(value, |raw| visit_keys(snapshot.options(), snapshot.key_plan(field), raw, scratch, &mut at));
    }
}
