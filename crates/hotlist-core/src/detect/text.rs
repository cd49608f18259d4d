//! One line of text through the match path.

use jiff::Timestamp;

use super::{Budget, Detector, Exceeded, Verdict};
use crate::matcher::{Hit, Matcher, TextVisitor, Trace};
use crate::policy::EventFacts;

/// The path of a line that is not a document.
const LINE: &[u8] = b"message";

impl Detector {
    /// Matches the tokens of one line of text that arrived at `arrival`. The line has no time of its own, and its path is
    /// `message`.
    pub fn text(&self, line: &[u8], matcher: &mut Matcher<'_, impl Trace>, arrival: Timestamp) -> Verdict {
        matcher.set_limit(self.budgets.record_findings);
        scan(line, matcher);
        let mut exceeded = Exceeded::default();
        exceeded.insert(Budget::RecordFindings, matcher.is_truncated());
        exceeded.insert(Budget::RecordLookups, matcher.is_curtailed());
        let is_truncated = matcher.is_truncated();
        let facts = EventFacts { time: arrival, arrival, is_indicator: false };
        let mut verdict = Verdict { exceeded, ..self.evaluate(matcher.take_hits(), facts.clone()) };
        if is_truncated && let Some(policy) = &self.policy {
            // As for documents: only what policy allows takes part in the budget.
            let keep = |hit: &Hit| policy.evaluate(&self.snapshot, hit, &facts).is_ok();
            let mut matcher = Matcher::new(&self.snapshot).keeping(&keep);
            matcher.set_limit(self.budgets.record_findings);
            scan(line, &mut matcher);
            if !matcher.is_truncated() {
                verdict.exceeded.remove(Budget::RecordFindings);
            }
            let allowed = self.evaluate(matcher.take_hits(), facts.clone());
            (verdict.hits, verdict.hit_listings) = (allowed.hits, allowed.hit_listings);
        }
        verdict
    }
}

fn scan(line: &[u8], visitor: &mut impl TextVisitor) {
    visitor.at_member(LINE);
    visitor.scan(line);
    visitor.after_member();
}
