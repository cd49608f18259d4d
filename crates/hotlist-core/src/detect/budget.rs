//! Budgets of a record and of a batch, which bound the cost that a small input can cause. They count findings and
//! bytes, never time, so that load does not hide anything.
//!
//! An event that exceeds a budget still passes. Of a record, the best findings stay ([`crate::matcher::rank`]). Of a
//! batch, records that hit get their enrichments while there is room for them, then one short enrichment each; at last
//! they pass as they came, listed among the hits of the batch.

use std::mem::size_of;
use std::sync::Arc;

use bytes::Bytes;

use super::HitRecord;
use crate::encoding::RecordSpan;
use crate::encoding::envelope::Extent;
use crate::intel::allowlist::Listing;
use crate::matcher::{Hit, RECORD_FINDINGS};

/// The budgets of records and batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Findings of one record: so many that count alone, and so many of composite patterns.
    pub record_findings: usize,
    /// Bytes of enrichments that one record gets.
    pub record_tag_bytes: usize,
    /// Bytes of all the records of a batch that are written again because they hit.
    pub batch_tag_bytes: usize,
}

impl Default for Budgets {
    fn default() -> Budgets {
        Budgets { record_findings: RECORD_FINDINGS, record_tag_bytes: 256 << 10, batch_tag_bytes: 64 << 20 }
    }
}

impl Budgets {
    /// For one event at a time, away from the live stream: everything that a file says, short of what fills memory.
    pub const OFFLINE: Budgets =
        Budgets { record_findings: 1 << 16, record_tag_bytes: 256 << 20, batch_tag_bytes: usize::MAX };
}

/// The budget that a record exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Budget {
    /// [`Budgets::record_findings`].
    RecordFindings,
    /// The look-ups of one value.
    RecordLookups,
    /// [`Budgets::record_tag_bytes`].
    RecordTagBytes,
    /// [`Budgets::batch_tag_bytes`].
    BatchTagBytes,
    /// Half as much again as [`Budgets::batch_tag_bytes`], for the list of hits that are not tagged.
    BatchHits,
    /// The memory of a request, for the hits that a batch carries besides its tags.
    CarriedHits,
}

impl Budget {
    /// Every budget, for metrics that start at zero.
    pub const ALL: [Budget; 6] = [
        Budget::RecordFindings,
        Budget::RecordLookups,
        Budget::RecordTagBytes,
        Budget::BatchTagBytes,
        Budget::BatchHits,
        Budget::CarriedHits,
    ];

    /// The word used in metrics and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Budget::RecordFindings => "record_findings",
            Budget::RecordLookups => "record_lookups",
            Budget::RecordTagBytes => "record_tag_bytes",
            Budget::BatchTagBytes => "batch_tag_bytes",
            Budget::BatchHits => "batch_hits",
            Budget::CarriedHits => "carried_hits",
        }
    }
}

/// The budgets that a record exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exceeded(u8);

impl Exceeded {
    /// Adds a budget if `is_exceeded`.
    pub(super) fn insert(&mut self, budget: Budget, is_exceeded: bool) {
        self.0 |= u8::from(is_exceeded) << budget as u8;
    }

    /// Takes a budget out.
    pub(super) fn remove(&mut self, budget: Budget) {
        self.0 &= !(1 << budget as u8);
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The budgets, in the order of [`Budget::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Budget> {
        Budget::ALL.into_iter().filter(move |budget| self.0 & (1 << *budget as u8) != 0)
    }
}

/// How a record that hit is tagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With its enrichments.
    Full,
    /// With one short enrichment.
    Short,
}

/// The cost of a rewritten record besides its bytes: its places among the hits, the edits and the parts of
/// the batch, each in a vector that may have grown to twice what it holds, and the allocations of its bytes.
const TAGGED_COST: usize =
    2 * (size_of::<HitRecord>() + size_of::<(RecordSpan, Bytes)>() + 3 * size_of::<Bytes>()) + 64;
pub(super) const LISTED_COST: usize = 2 * size_of::<HitRecord>();
/// Less than any enrichment has.
pub(super) const LEAST_TAG: usize = 256;

/// The budget of one batch, and what was taken of it.
#[derive(Debug)]
pub(super) struct Ledger {
    budget: usize,
    written: usize,
    listed: usize,
}

impl Ledger {
    pub(super) fn new(budgets: Budgets) -> Ledger {
        Ledger { budget: budgets.batch_tag_bytes, written: 0, listed: 0 }
    }

    /// Whether a record with so many bytes of enrichments fits.
    pub(super) fn fits(&self, form: Form, record: usize, tags: usize) -> bool {
        // A quarter of the budget is for short enrichments alone.
        let limit = match form {
            Form::Full => self.budget - self.budget / 4,
            Form::Short => self.budget,
        };
        self.written.saturating_add(cost(record, tags)) <= limit
    }

    /// Bytes of the records that were written again, with what they cost besides.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// A record was written again.
    pub(super) fn wrote(&mut self, tagged: usize) {
        self.written = self.written.saturating_add(cost(tagged, 0));
    }

    /// Whether one more record can be listed; if so it was.
    pub(super) fn list(&mut self) -> bool {
        let fits = self.listed.saturating_add(LISTED_COST) <= self.budget / 2;
        self.listed += if fits { LISTED_COST } else { 0 };
        fits
    }
}

/// The memory that the hits of a record take. One value is shared by all hits at it.
pub(super) fn carried_bytes(hits: &[Hit], listings: &[Vec<Listing>]) -> usize {
    let mut value = None;
    let of_hit = |hit: &Hit| {
        let is_new = value.replace(Arc::as_ptr(&hit.value)) != Some(Arc::as_ptr(&hit.value));
        let path = hit.in_text.as_ref().and_then(|in_text| in_text.path.as_ref()).map_or(0, |path| path.len());
        let value = if is_new { hit.value.len() + ALLOCATION } else { 0 };
        let rules = hit.selection.as_ref().map_or(0, |selection| selection.bytes() + ALLOCATION);
        rules + size_of::<Hit>() + hit.name.len() + value + path + 2 * ALLOCATION
    };
    let of_listing = |listing: &Listing| size_of::<Listing>() + listing.entry.len() + ALLOCATION;
    let of_listings = |listings: &Vec<Listing>| listings.iter().map(of_listing).sum::<usize>();
    hits.iter().map(of_hit).sum::<usize>() + size_of_val(listings) + listings.iter().map(of_listings).sum::<usize>()
}

/// The overhead of an allocation.
const ALLOCATION: usize = 32;

/// The memory that a rewritten record takes.
pub(super) fn cost(record: usize, tags: usize) -> usize {
    let lists = if record < LONG_RECORD { 0 } else { record.saturating_mul(LISTS_OF_ENTRIES) };
    record.saturating_add(lists).saturating_add(tags).saturating_add(TAGGED_COST)
}

/// Tagging reads the entries of a record, and of what stands where tags go, into lists. Those of a record that is nothing
/// but entries take so many times its bytes; only those of long records count.
const LISTS_OF_ENTRIES: usize = 12;
const LONG_RECORD: usize = 16 << 10;

/// The room that sinks may need to cut a batch of `message` bytes: a copy in one piece, and a layout of its records, of
/// which `extent` has those that were walked.
pub(super) fn reserve(message: usize, extent: Extent) -> usize {
    extent.projected(message).bytes_to_pick().saturating_add(message)
}
