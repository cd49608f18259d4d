//! What every importer does with its findings: share contexts, number lines, cut excerpts.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::classify::Found;
use super::{Format, Import, Unusable};
use crate::intel::indicator::{Context, Indicator, Target, Term, TermValue};

/// What a line says about all of its indicators.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) id: Option<Box<str>>,
    pub(super) context: Context,
    pub(super) valid_from: Option<Timestamp>,
    pub(super) valid_until: Option<Timestamp>,
    pub(super) revoked: bool,
    pub(super) line: u32,
}

/// Gathers an [`Import`].
pub(super) struct Collector {
    import: Import,
    subdomains: bool,
    contexts: HashSet<Arc<Context>, foldhash::fast::RandomState>,
}

impl Collector {
    pub(super) fn new(format: Format, subdomains: bool) -> Collector {
        Collector {
            import: Import { format, indicators: Vec::new(), unusable: Vec::new() },
            subdomains,
            contexts: HashSet::default(),
        }
    }

    /// Adds an indicator that is found at every field of its kind.
    pub(super) fn found(&mut self, found: Found, facts: Facts) {
        self.terms(vec![Term { value: found.value, target: Target::Kind }], found.port, facts);
    }

    /// Adds an indicator of several terms. No terms, no indicator.
    pub(super) fn terms(&mut self, mut terms: Vec<Term>, port: Option<u16>, facts: Facts) {
        if terms.is_empty() {
            return;
        }
        if self.subdomains {
            for term in &mut terms {
                if let TermValue::Domain { subdomains, .. } = &mut term.value {
                    *subdomains = true;
                }
            }
        }
        let Facts { id, context, valid_from, valid_until, revoked, line } = facts;
        let context = self.share(context);
        self.import.indicators.push(Indicator { id, terms, context, valid_from, valid_until, revoked, port, line });
    }

    /// Lists a line as unusable.
    pub(super) fn unusable(&mut self, line: u32, reason: impl Into<String>, found: &str) {
        let mut excerpt = String::new();
        for (at, c) in found.trim().chars().enumerate() {
            if at == Unusable::MAX_EXCERPT - 1 {
                excerpt.push('…');
                break;
            }
            if c.is_control() { excerpt.push('\u{fffd}') } else { excerpt.push(c) }
        }
        self.import.unusable.push(Unusable { line, reason: reason.into(), excerpt });
    }

    pub(super) fn finish(self) -> Import {
        self.import
    }

    fn share(&mut self, context: Context) -> Arc<Context> {
        if let Some(known) = self.contexts.get(&context) {
            return Arc::clone(known);
        }
        let context = Arc::new(context);
        self.contexts.insert(Arc::clone(&context));
        context
    }
}

/// A line's number as indicators keep it; files of more than four billion lines stop counting there.
pub(super) fn line_number(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}
