//! Builds a snapshot: takes segments, or indicators and makes segments of them, and finds out what they mean together.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::merge::{LookupUnit, MemberSegment, units};
use super::plan::{FieldPlan, url_rows};
use super::renumbered::RenumberedSegment;
use super::settle::{Revoked, settle};
use super::source::{SegmentOrigin, Source};
use super::{MatchOptions, RangeRule, Snapshot};
use crate::intel::expression::{Expression, ExpressionIndex};
use crate::intel::indicator::{Feed, Indicator, RangeValue};
use crate::intel::keys::{KeyHasher, KeyPlan, KeySpace, TableId, prefilter_keys};
use crate::intel::network::Networks;
use crate::intel::prefilter::Prefilter;
use crate::intel::segment::{BuildError, HashKey, Segment, SegmentBuilder, SegmentFeed};
use crate::schema::{FieldId, FieldSet, FieldTable};

/// The share of keys in the prefilter that may be too many, or of no use any more, before it is built again: one in this
/// many. About 0.8 % of strangers pass then, where 0.4 % did.
const SLACK: usize = 4;

/// The number of the fields that are none.
const NOWHERE: u16 = 1;

/// The reason that a snapshot cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// More than 2³² indicators.
    #[error("more than {} indicators in one snapshot; drop feeds", u32::MAX)]
    TooManyIndicators,
    /// More distinct STIX paths or URL schemes than a posting can number.
    #[error("more than {} distinct {what} in one snapshot; drop the feed that brings them", u16::MAX)]
    TooManyDistinct {
        /// Of what.
        what: &'static str,
    },
    /// A term names a path that the field table lacks: an importer's fault.
    #[error("feed `{feed}`: no field of the table has the STIX path `{path}`; turn the `extra` fields on or drop it")]
    UnknownPath {
        /// The feed.
        feed: String,
        /// The path.
        path: String,
    },
    /// The indicators of a feed do not fit into a segment.
    #[error("feed `{feed}`: {cause}")]
    Segment {
        /// The feed.
        feed: String,
        /// The cause.
        cause: BuildError,
    },
}

/// The reason that feeds of an older snapshot cannot be reused.
#[derive(Debug, thiserror::Error)]
pub enum ReuseError {
    /// Keys and fields of the two have different meanings.
    #[error("the older snapshot was built for other fields or options; read the feeds again")]
    OtherOptions,
    /// The new snapshot would be too large.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// The reusable parts of an older snapshot.
struct Older {
    prefilter: Prefilter,
    /// Keys in it that no source had any more.
    stale_keys: usize,
    sources: Vec<Source>,
    units: Vec<LookupUnit>,
}

/// A snapshot under construction.
pub struct SnapshotBuilder {
    table: Arc<FieldTable>,
    options: MatchOptions,
    seed: u64,
    hasher: KeyHasher,
    sources: Vec<Source>,
    targets: Vec<FieldSet>,
    target_numbers: HashMap<Arc<str>, u16>,
    schemes: Vec<Box<str>>,
    scheme_numbers: HashMap<Box<str>, u16>,
    indicators: u64,
    revoked: Vec<Revoked>,
    older: Option<Older>,
}

impl SnapshotBuilder {
    /// Starts a snapshot over a field table. `seed` keys the hash: take a random one for each process.
    pub fn new(table: Arc<FieldTable>, options: MatchOptions, seed: u64) -> SnapshotBuilder {
        SnapshotBuilder {
            table,
            options,
            seed,
            hasher: KeyHasher::new(seed),
            sources: Vec::new(),
            targets: vec![FieldSet::default(); usize::from(NOWHERE) + 1],
            target_numbers: HashMap::new(),
            schemes: vec!["".into()],
            scheme_numbers: HashMap::from([("".into(), 0)]),
            indicators: 0,
            revoked: Vec::new(),
            older: None,
        }
    }

    /// Adds a feed with its indicators.
    ///
    /// # Errors
    /// There are too many, or one asks for fields that the table lacks.
    pub fn add_feed(
        &mut self,
        feed: Feed,
        indicators: impl IntoIterator<Item = Indicator>,
    ) -> Result<(), SnapshotError> {
        let mut builder = SegmentBuilder::default();
        builder.feed(&feed);
        let failed = |cause| SnapshotError::Segment { feed: feed.name.clone(), cause };
        for indicator in indicators {
            builder.add(&indicator).map_err(failed)?;
        }
        self.add_built_feed(feed, builder)
    }

    /// The same of a feed whose indicators are in a builder of their own, which holds nothing else.
    ///
    /// # Errors
    /// As [`SnapshotBuilder::add_feed`].
    pub fn add_built_feed(&mut self, feed: Feed, builder: SegmentBuilder) -> Result<(), SnapshotError> {
        let built = builder.into_segment(HashKey::Given(self.seed));
        let segment = built.map_err(|cause| SnapshotError::Segment { feed: feed.name.clone(), cause })?;
        let unknown = segment.paths().iter().find(|path| self.table.by_stix_path(path).is_empty());
        if let Some(path) = unknown {
            return Err(SnapshotError::UnknownPath { feed: feed.name, path: path.to_string() });
        }
        self.add_source(Source::new(segment, SegmentOrigin::File, vec![feed], &[]))
    }

    /// Adds a segment of a manifest behind those that were added before; its tombstones act on them. `feed` says what is
    /// to be known of each of its feeds. Terms that ask for fields that the table lacks never match.
    ///
    /// # Errors
    /// There are too many indicators.
    pub fn add_segment(
        &mut self,
        segment: Arc<Segment>,
        feed: impl Fn(&SegmentFeed) -> Feed,
    ) -> Result<(), SnapshotError> {
        let feeds = segment.feeds().iter().map(feed).collect();
        let older = self.older.as_ref().map_or(&[][..], |older| &older.sources);
        self.add_source(Source::new(segment, SegmentOrigin::Manifest, feeds, older))
    }

    /// Takes single indicators out of the segments of the manifest.
    pub fn revoke(&mut self, revoked: impl IntoIterator<Item = Revoked>) {
        self.revoked.extend(revoked);
    }

    /// Bytes of memory that the snapshot takes at least: its prefilter and its segments, mapped or not.
    pub fn size_bytes(&self) -> usize {
        let keys: usize = self.sources.iter().map(Source::keys).sum();
        let segments: usize = self.sources.iter().map(|source| source.segment.as_bytes().len()).sum();
        segments + Prefilter::bytes_for(keys)
    }

    /// Adds the feeds of an older snapshot for which `keep` holds, by their place in [`Snapshot::feeds`], in its order.
    /// A segment of several feeds is kept when all of them are.
    ///
    /// # Errors
    /// The older one has another field table, other options or another seed; or the whole would be too large.
    pub fn reuse_feeds(&mut self, older: &Snapshot, keep: impl Fn(usize) -> bool) -> Result<(), ReuseError> {
        let alike = Arc::ptr_eq(&self.table, &older.table)
            && self.options == older.options
            && self.hasher.hash(KeySpace::Text, b"") == older.hasher.hash(KeySpace::Text, b"");
        if !alike {
            return Err(ReuseError::OtherOptions);
        }
        self.reuse(older);
        let mut place = 0;
        for source in &older.sources {
            let places = place..place + source.feeds.len();
            place = places.end;
            if places.into_iter().all(&keep) {
                self.add_source(source.clone())?;
            }
        }
        Ok(())
    }

    /// Builds upon an older snapshot of the same seed: what is as it was there is not worked out again.
    pub fn reuse(&mut self, older: &Snapshot) {
        self.older = Some(Older {
            prefilter: older.prefilter.clone(),
            stale_keys: older.stale_keys,
            sources: older.sources.clone(),
            units: older.units.clone(),
        });
    }

    fn add_source(&mut self, source: Source) -> Result<(), SnapshotError> {
        self.indicators += u64::from(source.segment.len());
        if self.indicators > u64::from(u32::MAX) {
            return Err(SnapshotError::TooManyIndicators);
        }
        for path in source.segment.paths() {
            self.target(path)?;
        }
        for scheme in source.segment.schemes() {
            if !self.scheme_numbers.contains_key(scheme) {
                let number = u16::try_from(self.schemes.len())
                    .map_err(|_| SnapshotError::TooManyDistinct { what: "URL schemes" })?;
                self.schemes.push(scheme.clone());
                self.scheme_numbers.insert(scheme.clone(), number);
            }
        }
        self.sources.push(source);
        Ok(())
    }

    /// Numbers the fields with a STIX path, which may be none.
    fn target(&mut self, path: &Arc<str>) -> Result<(), SnapshotError> {
        if !self.target_numbers.contains_key(path) {
            let number =
                u16::try_from(self.targets.len()).map_err(|_| SnapshotError::TooManyDistinct { what: "STIX paths" })?;
            self.targets.push(FieldSet::from_fields(&self.table.by_stix_path(path)));
            self.target_numbers.insert(Arc::clone(path), number);
        }
        Ok(())
    }

    /// Seals the snapshot under a name, which should be the same wherever the same is built.
    pub fn build(mut self, name: impl Into<Arc<str>>) -> Snapshot {
        let older = self.older.take();
        let (older_sources, older_units) = match &older {
            Some(older) => (older.sources.as_slice(), older.units.as_slice()),
            None => (&[][..], &[][..]),
        };
        settle(&mut self.sources, older_sources, &self.revoked);
        if self.options.text || self.table.iter().any(|(_, field)| field.is_text) {
            // Made now, not for the first event: pairs in text are looked up there.
            self.table.paths();
        }
        let units = units(self.members(), older_units, self.seed);
        let parts = self.parts(&units);
        let (prefilter, stale_keys) = self.make_prefilter(older);
        let reach = self.reach();
        let mut networks = Networks::default();
        let mut spaces = [false; KeySpace::COUNT];
        let (mut ranges, mut expressions) = (Vec::new(), HashSet::new());
        for part in &parts {
            for table in part.segment.tables() {
                match table.id() {
                    TableId::Space(KeySpace::Expression) => {
                        let keys = part.segment.packed_keys(table);
                        expressions.extend(keys.filter_map(|(key, _)| Expression::from_key(key)));
                    }
                    TableId::Space(space) => spaces[space as usize] = true,
                    id => networks.insert(id, part.segment.packed_keys(table).map(|(key, _)| key)),
                }
            }
            self.add_ranges(part, &mut ranges);
        }
        let expressions = ExpressionIndex::new(expressions);
        for space in KeySpace::ALL {
            spaces[space as usize] |= expressions.covers(space);
        }
        let mut plans: Vec<FieldPlan> =
            self.table.iter().map(|(_, field)| FieldPlan::of_field(field, self.options)).collect();
        let wanted = |id: FieldId| {
            let can_match = |space: KeySpace| reach[space as usize].as_ref().is_none_or(|fields| fields.contains(id));
            let spaces = plans[usize::from(id.0)].plan.spaces(self.options.url_hosts);
            spaces
                .into_iter()
                .any(|space| can_match(space) || (expressions.covers(space) && can_match(KeySpace::Expression)))
        };
        let fields: Vec<FieldId> = self.table.iter().map(|(id, _)| id).filter(|id| wanted(*id)).collect();
        let mut wanted = FieldSet::from_fields(&fields);
        let reaches = |space: KeySpace| reach[space as usize].as_ref().is_none_or(|fields| !fields.is_empty());
        let has_urls = KeyPlan::UrlPart.spaces(self.options.url_hosts).into_iter().any(reaches);
        let url_rows = if has_urls { url_rows(&self.table, &mut plans, &mut wanted) } else { Vec::new() };
        let trie = self.table.trie(|id, _| wanted.contains(id));
        Snapshot {
            name: name.into(),
            feeds: self.sources.iter().flat_map(|source| source.feeds.iter().cloned()).collect(),
            sizes: self.sources.iter().flat_map(|source| source.counted.sizes.iter().copied()).collect(),
            parts,
            units,
            sources: self.sources,
            options: self.options,
            hasher: self.hasher,
            spaces,
            networks,
            ranges,
            expressions,
            targets: self.targets,
            schemes: self.schemes,
            expected_pass_ratio: prefilter.expected_pass_ratio(),
            prefilter,
            stale_keys,
            plans,
            url_rows,
            facts: Arc::clone(self.table.facts()),
            wanted,
            trie,
            every_field: OnceLock::new(),
            table: self.table,
        }
    }

    /// The prefilter over the keys of every source, and how many keys are in it that are not theirs.
    fn make_prefilter(&self, older: Option<Older>) -> (Prefilter, usize) {
        let keys: usize = self.sources.iter().map(Source::keys).sum();
        if let Some(Older { prefilter: mut older, stale_keys: stale, sources: held, .. }) = older {
            let is_held = |source: &&Source| held.iter().any(|held| Arc::ptr_eq(&held.segment, &source.segment));
            let (kept, new): (Vec<_>, Vec<_>) = self.sources.iter().partition(is_held);
            let kept: usize = kept.into_iter().map(Source::keys).sum();
            let stale = stale.max(older.len().saturating_sub(kept));
            let whole = older.len() + keys.saturating_sub(kept);
            if stale <= keys / SLACK && whole <= older.capacity() + older.capacity() / SLACK {
                new.into_iter().for_each(|source| insert_keys(&self.hasher, source, &mut older));
                return (older, stale);
            }
        }
        let mut prefilter = Prefilter::with_capacity(keys);
        self.sources.iter().for_each(|source| insert_keys(&self.hasher, source, &mut prefilter));
        (prefilter, 0)
    }

    /// The fields at which each name space can match; `None` is every field of its kind.
    fn reach(&self) -> Vec<Option<FieldSet>> {
        let mut reach = vec![Some(FieldSet::default()); KeySpace::COUNT];
        for source in &self.sources {
            for (whole, of) in reach.iter_mut().zip(source.reach.iter()) {
                let Some(targets) = of else {
                    *whole = None;
                    continue;
                };
                let Some(fields) = whole else { continue };
                for path in targets.iter().filter_map(|target| source.segment.paths().get(usize::from(*target) - 1)) {
                    if let Some(number) = self.target_numbers.get(path) {
                        fields.extend(&self.targets[usize::from(*number)]);
                    }
                }
            }
        }
        reach
    }

    fn members(&self) -> Vec<MemberSegment> {
        let mut first_feed = 0;
        let member = |source: &Source| {
            let feeds: Vec<u32> = (first_feed..).take(source.feeds.len()).collect();
            first_feed += feeds.len() as u32;
            MemberSegment { segment: Arc::clone(&source.segment), dead: Arc::clone(&source.counted.dead), feeds }
        };
        self.sources.iter().map(member).collect()
    }

    /// The indicators to match against.
    fn parts(&self, units: &[LookupUnit]) -> Vec<RenumberedSegment> {
        let mut base = 0;
        let part = |unit: &LookupUnit| {
            let MemberSegment { segment, dead, feeds } = unit.as_segment();
            let target = |path| self.target_numbers.get(path).copied().unwrap_or(NOWHERE);
            let scheme = |scheme| self.scheme_numbers.get(scheme).copied().unwrap_or(0);
            let targets = std::iter::once(0).chain(segment.paths().iter().map(target)).collect();
            let schemes = std::iter::once(0).chain(segment.schemes().iter().map(scheme)).collect();
            let from = base;
            base += segment.len();
            RenumberedSegment { segment, base: from, feeds, targets, schemes, dead }
        };
        units.iter().map(part).collect()
    }

    fn add_ranges(&self, part: &RenumberedSegment, ranges: &mut Vec<RangeRule>) {
        for range in part.segment.ranges() {
            let Some(posting) = part.renumber(range.posting) else { continue };
            let set = &self.targets[usize::from(posting.target)];
            let fields = self.table.iter().map(|(id, _)| id).filter(|id| set.contains(*id));
            ranges.extend(fields.map(|field| RangeRule {
                field,
                comparison: range.comparison,
                value: range.value,
                posting,
            }));
        }
    }
}

fn insert_keys(hasher: &KeyHasher, source: &Source, prefilter: &mut Prefilter) {
    for table in source.segment.tables() {
        source.segment.keys(table, |key, _| {
            prefilter_keys(table.id(), key, |space, key| prefilter.insert(hasher.hash(space, key)));
        });
    }
}

impl RangeValue {
    /// The name space of its events' values.
    pub fn space(self) -> KeySpace {
        match self {
            RangeValue::Number(_) => KeySpace::Number,
            RangeValue::Time(_) => KeySpace::Time,
        }
    }
}
