//! Many expressions on one value: one search for the literals of all of them, then the few that remain.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{Compiled, Expression};
use crate::intel::keys::KeySpace;

/// The most expressions that are evaluated on one value.
const MAX_EVALUATED: usize = 256;

/// The most compiled expressions that are kept.
const MAX_KEPT: usize = 256;

/// The expressions of a snapshot.
#[derive(Default)]
pub struct ExpressionIndex {
    all: Vec<Expression>,
    /// Finds the literals; `None` if there are none, or too many for one automaton: then each expression is evaluated.
    search: Option<AhoCorasick>,
    /// The expression that has a literal, by the number of the literal.
    owner: Vec<u32>,
    /// The name spaces whose keys expressions are evaluated on, one bit each.
    spaces: u32,
    /// Compiled when they are first evaluated: most never are.
    compiled: Mutex<HashMap<Expression, Option<Arc<Compiled>>>>,
}

impl ExpressionIndex {
    /// An index of these expressions. Expressions that cannot be used, which another program may have written into a
    /// segment, match nothing.
    pub fn new(expressions: impl IntoIterator<Item = Expression>) -> ExpressionIndex {
        let mut index = ExpressionIndex::default();
        let mut literals = Vec::new();
        for expression in expressions {
            let (Ok(needed), Some(space)) = (expression.literals(), Expression::space_of(expression.of)) else {
                continue;
            };
            index.spaces |= 1 << space as u32;
            index.owner.extend(needed.iter().map(|_| index.all.len() as u32));
            literals.extend(needed);
            index.all.push(expression);
        }
        if !literals.is_empty() {
            let mut builder = AhoCorasick::builder();
            builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard);
            index.search = builder.kind(Some(AhoCorasickKind::ContiguousNFA)).build(&literals).ok();
        }
        index
    }

    /// Whether expressions are evaluated on the keys of a name space.
    #[inline]
    pub fn covers(&self, space: KeySpace) -> bool {
        self.spaces & (1 << space as u32) != 0
    }

    /// Whether an expression may match a key of a name space. `false` is certain.
    pub fn may_match(&self, space: KeySpace, form: &[u8]) -> bool {
        self.covers(space) && self.search.as_ref().is_none_or(|search| search.is_match(form))
    }

    /// Calls `found` with each expression that matches a key of a name space. Returns whether all were evaluated.
    pub fn matching(&self, space: KeySpace, form: &[u8], mut found: impl FnMut(&Expression)) -> bool {
        if !self.covers(space) {
            return true;
        }
        let mut candidates: SmallVec<[u32; 8]> = SmallVec::new();
        let mut is_complete = true;
        let mut add = |number: u32| {
            let is_here = self.all.get(number as usize).and_then(|of| Expression::space_of(of.of)) == Some(space);
            if is_here && !candidates.contains(&number) {
                match candidates.len() < MAX_EVALUATED {
                    true => candidates.push(number),
                    false => is_complete = false,
                }
            }
            is_complete
        };
        match &self.search {
            Some(search) => {
                let owners = search.find_overlapping_iter(form);
                let mut owners = owners.filter_map(|literal| self.owner.get(literal.pattern().as_usize()));
                let _ = owners.all(|owner| add(*owner));
            }
            None => {
                let _ = (0..self.all.len() as u32).all(add);
            }
        }
        for expression in candidates.iter().filter_map(|number| self.all.get(*number as usize)) {
            if self.is_match(expression, form) {
                found(expression);
            }
        }
        is_complete
    }

    /// Whether an expression, which need not be one of the index, matches a key. One that cannot be used matches nothing.
    pub fn is_match(&self, expression: &Expression, form: &[u8]) -> bool {
        self.compiled(expression).is_some_and(|compiled| compiled.is_match(form))
    }

    fn compiled(&self, expression: &Expression) -> Option<Arc<Compiled>> {
        let mut kept = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(expression) {
            return known.clone();
        }
        let compiled = expression.compile().ok().map(Arc::new);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(expression.clone(), compiled.clone());
        compiled
    }
}

impl fmt::Debug for ExpressionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpressionIndex").field("expressions", &self.all.len()).finish_non_exhaustive()
    }
}
