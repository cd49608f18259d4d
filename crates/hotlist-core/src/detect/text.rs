//! Matches one line of text: its fields, if it has any, and its tokens.

use jiff::Timestamp;

use super::facts::Facts;
use super::{Budget, Detector, Exceeded, Verdict};
use crate::encoding::Value;
use crate::matcher::{Hit, Matcher, Sieve, TextVisitor, Trace};
use crate::policy::EventFacts;
use crate::schema::PathTrie;
use crate::text::pairs;

/// The path of a line that is not a document.
const LINE: &[u8] = b"message";

impl Detector {
    /// Matches one line of text that arrived at `arrival`: the pairs of CEF, LEEF and `key=value` lines at their fields, and
    /// its tokens, whose path is `message`. A line without a field for its time has that of its arrival.
    pub fn text(&self, line: &[u8], matcher: &mut Matcher<'_, impl Trace>, arrival: Timestamp) -> Verdict {
        matcher.set_limit(self.budgets.record_findings);
        scan(line, matcher);
        matcher.end_record();
        let mut exceeded = Exceeded::default();
        exceeded.insert(Budget::RecordFindings, matcher.is_truncated());
        exceeded.insert(Budget::RecordLookups, matcher.is_curtailed());
        let (is_truncated, found) = (matcher.is_truncated(), matcher.take_hits());
        let facts = if found.is_empty() { self.no_facts() } else { self.facts_of_line(line) };
        let facts = EventFacts { is_ocsf: false, ..facts.of_event(arrival, arrival) };
        let mut verdict = Verdict { exceeded, ..self.evaluate(found, facts.clone()) };
        if is_truncated && let Some(policy) = &self.policy {
            // As for documents: only what policy allows takes part in the budget.
            let keep = |hit: &Hit| policy.evaluate(&self.snapshot, hit, &facts).is_ok();
            let mut matcher = Matcher::new(&self.snapshot).keeping(&keep);
            matcher.set_limit(self.budgets.record_findings);
            scan(line, &mut matcher);
            matcher.end_record();
            if !matcher.is_truncated() {
                verdict.exceeded.remove(Budget::RecordFindings);
            }
            let allowed = self.evaluate(matcher.take_hits(), facts.clone());
            (verdict.hits, verdict.hit_listings) = (allowed.hits, allowed.hit_listings);
        }
        verdict
    }

    /// As [`Detector::text`] of a line in which something may match; `None` of any other. Most lines are of the latter kind, and
    /// cost less so.
    pub fn sieved_text(
        &self,
        line: &[u8],
        sieve: &mut Sieve<'_>,
        matcher: &mut Matcher<'_, impl Trace>,
        arrival: Timestamp,
    ) -> Option<Verdict> {
        scan(line, sieve);
        sieve.end_record();
        sieve.passes().then(|| self.text(line, matcher, arrival))
    }

    /// The facts for policy of a line whose pairs are fields.
    pub(super) fn facts_of_line(&self, line: &[u8]) -> Facts<'_> {
        let (trie, mut facts, mut unescaped) = (self.snapshot.facts().trie(), self.no_facts(), Vec::new());
        pairs(line, &mut |pair| {
            if let Some(field) = trie.step(PathTrie::ROOT, pair.key).and_then(|node| trie.field(node))
                && let Ok(value) = pair.value(line, LONGEST_FACT, &mut unescaped)
            {
                facts.value(field, Value::Text(value));
            }
        });
        facts
    }
}

/// The longest time with escapes that is read.
const LONGEST_FACT: usize = 256;

fn scan(line: &[u8], visitor: &mut impl TextVisitor) {
    visitor.at_member(LINE);
    visitor.scan(line);
    visitor.after_member();
}
