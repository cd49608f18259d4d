//! Collects the results of an importer: shares contexts, numbers lines, shortens excerpts.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::classify::Found;
use super::understood::Understood;
use super::{FeedFormat, Import, Unusable, scheme};
use crate::intel::indicator::{Context, Indicator, Target, Term, TermValue, Tlp};
use crate::intel::pattern::Compiled;
use crate::intel::pattern::program::Program;

/// The most lines of a file that are listed as unusable; the rest is counted.
const MAX_LISTED: usize = 100_000;

/// The longest texts that an indicator keeps, in bytes: one long text of a document may be said of every indicator.
pub(super) const MAX_NAME: usize = 512;
pub(super) const MAX_DESCRIPTION: usize = 4096;
const MAX_REFERENCE: usize = 2048;

/// The most kill chain phases that an indicator keeps.
pub(super) const MAX_PHASES: usize = 32;

/// The context that a line gives to all of its indicators.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) id: Option<Box<str>>,
    pub(super) context: Context,
    pub(super) valid_from: Option<Timestamp>,
    pub(super) valid_until: Option<Timestamp>,
    pub(super) revoked: bool,
    pub(super) line: u32,
}

impl Facts {
    /// The same with texts that are not too long. Do this before facts are copied for every value of a line.
    pub(super) fn shortened(mut self) -> Facts {
        let Context { name, description, reference, kill_chain_phases, .. } = &mut self.context;
        for (text, most) in [(name, MAX_NAME), (description, MAX_DESCRIPTION), (reference, MAX_REFERENCE)] {
            if let Some(long) = text.take_if(|text| text.len() > most) {
                *text = Some(shortened(&long, most).into());
            }
        }
        kill_chain_phases.truncate(MAX_PHASES);
        self
    }
}

impl Import {
    /// Lists a line as unusable; counts it when the list is long already.
    pub(super) fn list(&mut self, line: u32, reason: impl Into<String>, found: &str) {
        if self.unusable.len() == MAX_LISTED {
            self.unlisted += 1;
            return;
        }
        let mut excerpt = String::new();
        let mut length = 0;
        for c in found.trim().chars() {
            // A tab in place of a blank is why some lines cannot be used.
            length += if c.is_control() { c.escape_default().count() } else { 1 };
            if length >= Unusable::MAX_EXCERPT {
                excerpt.push('…');
                break;
            }
            if c.is_control() { excerpt.extend(c.escape_default()) } else { excerpt.push(c) }
        }
        self.unusable.push(Unusable { line, reason: reason.into(), excerpt });
    }
}

/// Where indicators go while a file is read.
pub type Sink<'s> = &'s mut dyn FnMut(Vec<Indicator>);

/// How many indicators are handed over at once.
const PORTION: usize = 1 << 14;

/// Gathers an [`Import`].
pub(super) struct Collector<'s> {
    import: Import,
    /// Takes indicators as they come, so that a large file is never in memory as a whole.
    sink: Option<Sink<'s>>,
    /// How many it has taken.
    handed_over: usize,
    subdomains: bool,
    contexts: HashSet<Arc<Context>, foldhash::fast::RandomState>,
    /// The most indicators that are kept, and whether there were more.
    most: usize,
    is_overfull: bool,
}

impl<'s> Collector<'s> {
    pub(super) fn new(format: FeedFormat, subdomains: bool) -> Collector<'s> {
        Collector {
            import: Import {
                format,
                indicators: Vec::new(),
                unusable: Vec::new(),
                unlisted: 0,
                unsupported_patterns: 0,
                understood: Understood::default(),
            },
            sink: None,
            handed_over: 0,
            subdomains,
            contexts: HashSet::default(),
            most: usize::MAX,
            is_overfull: false,
        }
    }

    /// Records how the file was understood.
    pub(super) fn understood(&mut self, understood: Understood) {
        self.import.understood = understood;
    }

    /// Counts a pattern that is right but not supported; it is listed as unusable, too.
    pub(super) fn unsupported_pattern(&mut self) {
        self.import.unsupported_patterns += 1;
    }

    /// The same with a bound on the indicators.
    pub(super) fn at_most(self, most: usize) -> Collector<'s> {
        Collector { most, ..self }
    }

    /// Hands indicators over as they come. Not for formats that come back to an indicator by its number.
    pub(super) fn into(self, sink: Sink<'s>) -> Collector<'s> {
        Collector { sink: Some(sink), ..self }
    }

    /// Whether there were more indicators than may be: what is kept is not the whole file then.
    pub(super) fn is_overfull(&self) -> bool {
        self.is_overfull
    }

    /// Adds an indicator that is found at every field of its kind. A range is found in any of its networks.
    pub(super) fn found(&mut self, found: Found, facts: Facts) {
        let port = found.port;
        self.terms(found.values().map(|value| Term { value, target: Target::Kind }).collect(), port, facts);
    }

    /// Adds the indicator of a STIX pattern, and lists what of it is left out.
    pub(super) fn pattern(&mut self, compiled: Compiled, facts: Facts, written: &str) {
        let Compiled { terms, program, left_out } = compiled;
        for error in left_out {
            self.unusable(facts.line, error.to_string(), written);
        }
        self.indicator(terms, program, None, facts);
    }

    /// Adds an indicator of several terms. No terms, no indicator.
    pub(super) fn terms(&mut self, terms: Vec<Term>, port: Option<u16>, facts: Facts) {
        self.indicator(terms, None, port, facts);
    }

    fn indicator(&mut self, mut terms: Vec<Term>, program: Option<Program>, port: Option<u16>, facts: Facts) {
        if self.handed_over + self.import.indicators.len() >= self.most {
            self.is_overfull = true;
            return;
        }
        let line = facts.line;
        let wanted = terms.len();
        terms.retain(|term| match scheme::admit(&term.value) {
            Ok(()) => true,
            Err(reason) => {
                self.unusable(line, reason, &term.value.to_string());
                false
            }
        });
        // A program is never evaluated on only some of its terms.
        if terms.is_empty() || (program.is_some() && terms.len() < wanted) {
            return;
        }
        if self.subdomains {
            for term in &mut terms {
                if let TermValue::Domain { scope, .. } = &mut term.value {
                    *scope = scope.with_below();
                }
            }
        }
        let Facts { id, context, valid_from, valid_until, revoked, line } = facts.shortened();
        let context = self.share(context);
        let program = program.map(Box::new);
        let indicator = Indicator { id, terms, program, context, valid_from, valid_until, revoked, port, line };
        self.import.indicators.push(indicator);
        if self.sink.is_some() && self.import.indicators.len() >= PORTION {
            self.hand_over();
        }
    }

    /// Lists a line as unusable.
    pub(super) fn unusable(&mut self, line: u32, reason: impl Into<String>, found: &str) {
        self.import.list(line, reason, found);
    }

    /// How many indicators there are so far: the number of the next one.
    pub(super) fn next_number(&self) -> usize {
        self.import.indicators.len()
    }

    /// Takes an indicator back, by its number. Says at which line it stood.
    pub(super) fn withdraw(&mut self, number: usize) -> u32 {
        self.import.indicators.get_mut(number).map_or(0, |indicator| {
            indicator.terms.clear();
            indicator.program = None;
            indicator.line
        })
    }

    /// Marks an indicator that is there already, by its number, unless it is marked more strictly.
    pub(super) fn mark(&mut self, number: usize, tlp: Tlp) {
        let Some(indicator) = self.import.indicators.get(number) else { return };
        let strictest = strictest(indicator.context.tlp.into_iter().chain([tlp]));
        let context = self.share(Context { tlp: strictest, ..Context::clone(&indicator.context) });
        if let Some(indicator) = self.import.indicators.get_mut(number) {
            indicator.context = context;
        }
    }

    /// Adds to what is said of an indicator that is there already, by its number.
    pub(super) fn describe(&mut self, number: usize, text: &str) {
        self.change(number, |context| {
            let description = match context.description.take() {
                Some(before) => shortened(&format!("{before}; {text}"), MAX_DESCRIPTION),
                None => shortened(text, MAX_DESCRIPTION),
            };
            context.description = Some(description.into());
        });
    }

    /// Records that an indicator that is there already was seen.
    pub(super) fn seen(&mut self, number: usize, first: Option<Timestamp>, last: Option<Timestamp>) {
        self.change(number, |context| {
            context.first_seen = [context.first_seen, first].into_iter().flatten().min();
            context.last_seen = context.last_seen.max(last);
        });
    }

    fn change(&mut self, number: usize, change: impl FnOnce(&mut Context)) {
        let Some(indicator) = self.import.indicators.get(number) else { return };
        let mut context = Context::clone(&indicator.context);
        change(&mut context);
        let context = self.share(context);
        if let Some(indicator) = self.import.indicators.get_mut(number) {
            indicator.context = context;
        }
    }

    fn hand_over(&mut self) {
        if let Some(sink) = &mut self.sink {
            self.handed_over += self.import.indicators.len();
            sink(std::mem::take(&mut self.import.indicators));
        }
    }

    pub(super) fn finish(mut self) -> Import {
        self.import.indicators.retain(|indicator| !indicator.terms.is_empty());
        self.hand_over();
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

/// The strictest of several markings.
pub(super) fn strictest(markings: impl IntoIterator<Item = Tlp>) -> Option<Tlp> {
    markings.into_iter().max_by_key(|tlp| match tlp {
        Tlp::White | Tlp::Clear => 0,
        Tlp::Green => 1,
        Tlp::Amber => 2,
        Tlp::AmberStrict => 3,
        Tlp::Red => 4,
    })
}

/// A text of at most so many bytes; one that was cut shows that it was.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most - '…'.len_utf8()).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        for (text, cut_to) in [("abcdef", "abcdef"), ("abcdefg", "abc…"), ("abüdefg", "ab…")] {
            assert_eq!(shortened(text, 6), cut_to);
        }
    }

    #[test]
    fn the_list_of_unusable_lines_is_bounded_and_the_rest_counted() {
        let mut collector = Collector::new(FeedFormat::List, false);
        (0..MAX_LISTED as u32 + 7).for_each(|line| collector.unusable(line, "bad", "x"));
        let import = collector.finish();
        assert_eq!((import.unusable.len(), import.unlisted), (MAX_LISTED, 7));
        assert_eq!(import.unusable_lines(), MAX_LISTED + 7);
    }
}
