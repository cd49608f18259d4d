//! A snapshot: every indicator of every enabled feed, ready to match. Immutable once built.
//!
//! One event sees exactly one snapshot; a new one replaces it whole. The indicators lie in segments, which snapshots share;
//! what a snapshot adds is the order of the segments, their numbering, what later segments withdraw of earlier ones, the
//! prefilter over all keys, and the fields at which anything can match.

mod build;
mod merge;
mod plan;
mod renumbered;
mod settle;
mod source;

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::expression::ExpressionIndex;
use super::keys::{KeyHasher, KeyPlan, KeySpace, TableId};
use super::network::Networks;
use super::posting::Posting;
use super::prefilter::Prefilter;
use super::segment::Composite;
use crate::observable::Kind;
use crate::schema::facts::FactTable;
use crate::schema::{FieldId, FieldKind, FieldSet, FieldTable, PathTrie};

pub use super::indicator::{Feed, Origin, RangeValue, Stored, derived_id};
pub use super::keys::MatchOptions;
pub use build::{ReuseError, SnapshotBuilder, SnapshotError};
pub use plan::{FieldPlan, PlanPart, UrlRow};
pub use settle::{Revoked, RevokedBy};

use super::indicator::Comparison;
use merge::LookupUnit;
use renumbered::RenumberedSegment;
use source::Source;

/// A comparison other than `=` with a number or instant at a field.
#[derive(Clone, Debug)]
pub struct RangeRule {
    /// The field.
    pub field: FieldId,
    /// The comparison, event value first.
    pub comparison: Comparison,
    /// The right-hand side.
    pub value: RangeValue,
    /// The indicator that asks.
    pub posting: Posting,
}

/// How much a feed brought, less what was withdrawn.
#[derive(Clone, Copy, Debug, Default)]
struct FeedSize {
    indicators: usize,
    values: [u32; Kind::ALL.len()],
}

/// The name of a snapshot of nothing.
pub const NOTHING: &str = "none";

/// Indexed indicators, ready to match.
pub struct Snapshot {
    name: Arc<str>,
    table: Arc<FieldTable>,
    options: MatchOptions,
    hasher: KeyHasher,
    feeds: Vec<Feed>,
    sizes: Vec<FeedSize>,
    /// Its parts, to be reused.
    sources: Vec<Source>,
    /// The indicators to match against: the sources, many small ones as one.
    parts: Vec<RenumberedSegment>,
    /// The sources of the parts, to be reused.
    units: Vec<LookupUnit>,
    /// Whether a name space has keys, or expressions are evaluated on its keys, by its number.
    spaces: [bool; KeySpace::COUNT],
    networks: Networks,
    ranges: Vec<RangeRule>,
    expressions: ExpressionIndex,
    targets: Vec<FieldSet>,
    schemes: Vec<Box<str>>,
    prefilter: Prefilter,
    /// Keys in the prefilter that no source has any more.
    stale_keys: usize,
    /// Going through the whole prefilter takes milliseconds, so it is done once.
    expected_pass_ratio: f64,
    plans: Vec<FieldPlan>,
    url_rows: Vec<UrlRow>,
    facts: Arc<FactTable>,
    wanted: FieldSet,
    trie: PathTrie,
    every_field: OnceLock<PathTrie>,
}

impl Snapshot {
    /// A snapshot of nothing: nothing matches.
    pub fn empty(table: Arc<FieldTable>) -> Snapshot {
        SnapshotBuilder::new(table, MatchOptions::default(), 0).build(NOTHING)
    }

    /// Its name: the same in every process with the same indicators.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The field table that it was built over.
    pub fn table(&self) -> &Arc<FieldTable> {
        &self.table
    }

    /// How values are matched.
    #[inline]
    pub fn options(&self) -> MatchOptions {
        self.options
    }

    /// How the values of a field are read as a whole.
    #[inline]
    pub fn key_plan(&self, field: FieldId) -> KeyPlan {
        self.plans[usize::from(field.0)].inner
    }

    /// The same, whether they are scanned as text, and what they are to the URL of their event.
    #[inline]
    pub fn field_plan(&self, field: FieldId) -> FieldPlan {
        self.plans[usize::from(field.0)]
    }

    /// The fields that together are a URL, in the order of the paths.
    pub fn url_rows(&self) -> &[UrlRow] {
        &self.url_rows
    }

    /// The fields that say something of an event besides its observables.
    pub fn facts(&self) -> &FactTable {
        &self.facts
    }

    /// The fields at which some indicator of this snapshot can match.
    pub fn wanted(&self) -> &FieldSet {
        &self.wanted
    }

    /// The same, as walkers follow them.
    pub fn trie(&self) -> &PathTrie {
        &self.trie
    }

    /// The key of the prefilter.
    #[inline]
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// The prefilter over every key.
    #[inline]
    pub fn prefilter(&self) -> &Prefilter {
        &self.prefilter
    }

    /// The share of look-ups of strangers that its prefilter is expected to let through.
    pub fn expected_pass_ratio(&self) -> f64 {
        self.expected_pass_ratio
    }

    /// Whether some indicator has a key in a name space, or an expression is evaluated on its keys.
    #[inline]
    pub fn has(&self, space: KeySpace) -> bool {
        self.spaces[space as usize]
    }

    /// Calls `found` with every posting of a canonical key, exactly.
    #[inline]
    pub fn find(&self, table: TableId, key: &[u8], mut found: impl FnMut(Posting)) {
        for part in &self.parts {
            part.find(table, key, &mut found);
        }
    }

    /// Where networks are.
    #[inline]
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Comparisons other than `=`.
    pub fn ranges(&self) -> &[RangeRule] {
        &self.ranges
    }

    /// `LIKE` and `MATCHES`.
    #[inline]
    pub fn expressions(&self) -> &ExpressionIndex {
        &self.expressions
    }

    /// An indicator by the number in a posting.
    pub fn indicator(&self, number: u32) -> Stored {
        self.part_of(number).map(|part| part.indicator(number)).unwrap_or_default()
    }

    /// Whether an indicator matches only when more than one of its values is found in an event.
    #[inline]
    pub fn is_composite(&self, number: u32) -> bool {
        self.part_of(number).is_some_and(|part| part.segment.is_composite(number - part.base))
    }

    /// The values that must be found together for it.
    pub fn composite(&self, number: u32) -> Option<Composite> {
        let part = self.part_of(number)?;
        part.segment.composite(number - part.base)
    }

    /// Every field of the table, as walkers follow them.
    pub fn every_field(&self) -> &PathTrie {
        self.every_field.get_or_init(|| self.table.trie(|_, field| field.kind != FieldKind::NotRead || field.is_text))
    }

    fn part_of(&self, number: u32) -> Option<&RenumberedSegment> {
        self.parts.get(self.parts.partition_point(|part| part.base <= number).checked_sub(1)?)
    }

    /// The feed of an indicator, by the number in a posting.
    pub fn feed_of(&self, number: u32) -> &Feed {
        &self.feeds[self.feed_number(number)]
    }

    /// The place in [`Snapshot::feeds`] of the feed of an indicator.
    pub fn feed_number(&self, number: u32) -> usize {
        self.part_of(number).map_or(0, |part| part.feed_of(number))
    }

    /// Every feed, in order of addition.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// Number of indicators that are not withdrawn.
    pub fn len(&self) -> usize {
        self.sizes.iter().map(|size| size.indicators).sum()
    }

    /// Whether there are no indicators.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of values by kind; an indicator with several hashes counts once for each.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, usize)> + '_ {
        let count = |kind: Kind| self.sizes.iter().map(|size| size.values[kind as usize] as usize).sum();
        Kind::ALL.into_iter().map(move |kind| (kind, count(kind)))
    }

    /// Number of indicators of a feed, by its place in [`Snapshot::feeds`].
    pub fn feed_len(&self, feed: usize) -> usize {
        self.sizes.get(feed).map_or(0, |size| size.indicators)
    }

    /// Bytes of memory that it takes, mapped or not: its prefilter and every segment once, those that were merged as well
    /// as what they were merged into.
    pub fn memory_bytes(&self) -> usize {
        let mut segments: Vec<_> = self.sources.iter().map(|source| &source.segment).collect();
        segments.extend(self.parts.iter().map(|part| &part.segment));
        segments.sort_by_key(|segment| Arc::as_ptr(segment));
        segments.dedup_by_key(|segment| Arc::as_ptr(segment));
        self.prefilter.size_bytes() + segments.iter().map(|segment| segment.as_bytes().len()).sum::<usize>()
    }

    /// Whether the term behind a posting is looked for at a field.
    #[inline]
    pub fn applies(&self, posting: &Posting, field: FieldId) -> bool {
        posting.target == 0 || self.targets[usize::from(posting.target)].contains(field)
    }

    /// The URL scheme that a posting asks for, empty for any.
    pub fn scheme(&self, posting: &Posting) -> &str {
        &self.schemes[usize::from(posting.scheme)]
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("name", &self.name)
            .field("feeds", &self.feeds.len())
            .field("indicators", &self.len())
            .finish_non_exhaustive()
    }
}
