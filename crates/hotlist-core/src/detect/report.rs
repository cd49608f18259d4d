//! The counts of a batch: events, hits, and the reasons for dropped findings. A report uses the same memory for any
//! number of findings.

use std::sync::Arc;

use super::Verdict;
use super::budget::Budget;
use crate::encoding::TagOutcome;
use crate::encoding::json::Malformation;
use crate::intel::allowlist::Action;
use crate::matcher::{Counts, Hit, MalformedValues};
use crate::observable::Kind;
use crate::policy::Suppression;
use crate::schema::FieldSet;
use crate::severity::Severity;
use crate::tally::Tally;

/// The outcome for the events of a batch; the caller adds it to its metrics.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events seen.
    pub events: u64,
    /// The counters of the matcher.
    pub counts: Counts,
    /// The fields that had a value, of those that some indicator is looked for at.
    pub seen: FieldSet,
    /// Events by the schema of their first field; those without a known field are in none.
    pub schemas: Tally<&'static str>,
    /// Values that are not what their field holds, by field and reason.
    pub malformed: MalformedValues,
    /// Hits that policy allowed, by the number of their feed in [`Snapshot::feeds`](crate::intel::snapshot::Snapshot::feeds)
    /// and their kind.
    pub hits: Tally<(usize, Kind)>,
    /// The same hits by how severe they are.
    pub severities: Tally<Severity>,
    /// Findings that policy dropped.
    pub suppressions: Tally<Suppression>,
    /// Allowlists that held the value of a hit, or of a finding that was dropped for it: one for each list and finding.
    pub listings: Tally<(Arc<str>, Action)>,
    /// Records that exceeded a budget.
    pub truncated: Tally<Budget>,
    /// Records of which something could not be read.
    pub malformed_records: u64,
    /// Records with a text that begins like a JSON document and is not one, by what is wrong first.
    pub malformed_documents: Tally<Malformation>,
    /// Records with subtrees beyond the depth limit, which passed unvisited.
    pub too_deep: u64,
    /// Records that hit and have a `threat` that is not an object; their hits are in `hotlist` only.
    pub threat_not_object: u64,
    /// Records that hit and have something that cannot be read where tags go, so that these went to a place of their own.
    pub own_place: u64,
    /// Records that hit and could not be tagged at all; they count as hits.
    pub untagged: u64,
    /// The changes of records that arrived with enrichments.
    pub inbound: InboundCounts,
    /// Findings in events whose time is too far from their arrival to be believed alone.
    pub skewed: SkewCounts,
}

/// Records that arrived with enrichments, or with the word of a hit, by what was done to these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboundCounts {
    /// They stayed as they were.
    pub kept: u64,
    /// Some are marked.
    pub marked: u64,
    /// Some were removed.
    pub stripped: u64,
    /// Some gave way to Hotlist's own.
    pub replaced: u64,
}

impl InboundCounts {
    /// Counts a record.
    pub(super) fn add(&mut self, outcome: &TagOutcome) {
        self.marked += u64::from(outcome.marked > 0);
        self.stripped += u64::from(outcome.stripped > 0);
        self.replaced += u64::from(outcome.replaced > 0);
    }
}

/// Findings in events whose time is far from their arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkewCounts {
    /// Hits.
    pub hits: u64,
    /// Findings that lie outside the indicator's validity at both times.
    pub suppressed: u64,
}

impl SkewCounts {
    /// Counts the findings of an event.
    pub(super) fn add(&mut self, verdict: &Verdict) {
        let outside =
            |(_, reason): &&(Hit, Suppression)| matches!(reason, Suppression::NotYetValid | Suppression::Expired);
        self.hits += verdict.hits.len() as u64;
        self.suppressed += verdict.suppressed.iter().filter(outside).count() as u64;
    }
}
