//! Makes segments: takes the indicators of feed after feed, or of other segments, and lays them out.

mod fingerprint;
mod merge;

pub use merge::{Keep, values};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::Segment;
use super::columns::{Dense, SparseBuilder};
use super::composite;
use super::context::ContextsBuilder;
use super::lists::{
    Range, SegmentFeed, Tombstone, time_bytes, write_feeds, write_ranges, write_texts, write_tombstones,
};
use super::sections::{self, SectionKind, optional};
use super::table::{LIST, SegmentHasher, TableBuilder, TooLarge, pack};
use crate::intel::indicator::{Comparison, Feed, Indicator, RangeValue, Target, Term, TermValue, derived_id};
use crate::intel::keys::{IndicatorOptions, TableId, indicator_keys};
use crate::intel::posting::Posting;
use crate::observable::Kind;

/// The reason that indicators do not fit into a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// More than 2³¹ indicators.
    #[error("more than {LIST} indicators in one segment; split the feeds")]
    TooManyIndicators,
    /// More distinct STIX paths or URL schemes than a posting can number.
    #[error("more than {} distinct {what} in one segment; drop the feed that brings them", u16::MAX)]
    TooManyDistinct {
        /// Of what.
        what: &'static str,
    },
    /// A part would be longer than its offsets can address.
    #[error("the {what} of one segment would take more than 4 GiB; split the feeds")]
    TooLarge {
        /// The part.
        what: &'static str,
    },
}

impl From<TooLarge> for BuildError {
    fn from(_: TooLarge) -> BuildError {
        BuildError::TooLarge { what: "values" }
    }
}

/// Where the key of a segment's hashes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// From the content, so that the same content gives the same file. Nobody can choose names that collide without
    /// changing the key.
    Content,
    /// This one; for segments that stay in memory.
    Given(u64),
}

/// Whether feeds of one name become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Every feed of every segment stays a feed of its own, in their order.
    Apart,
    /// Feeds of one name and origin become one.
    Joined,
}

/// A segment under construction.
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    feeds: Vec<SegmentFeed>,
    /// The statements of the feed that is being added about its values.
    options: IndicatorOptions,
    contexts: ContextsBuilder,
    context_of: Vec<u32>,
    valid_from: SparseBuilder,
    valid_until: SparseBuilder,
    port: SparseBuilder,
    id: SparseBuilder,
    programs: SparseBuilder,
    revoked: SparseBuilder,
    fingerprints: Option<Vec<u64>>,
    paths: NumberedTexts<Arc<str>>,
    schemes: NumberedTexts<Box<str>>,
    tables: BTreeMap<TableId, TableBuilder>,
    ranges: Vec<Range>,
    tombstones: Vec<Tombstone>,
}

/// Distinct texts, numbered from 1.
#[derive(Debug)]
struct NumberedTexts<T> {
    list: Vec<T>,
    known: HashMap<T, u16>,
}

impl<T> Default for NumberedTexts<T> {
    fn default() -> Self {
        NumberedTexts { list: Vec::new(), known: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash + std::borrow::Borrow<str> + for<'t> From<&'t str>> NumberedTexts<T> {
    fn number(&mut self, text: &str, what: &'static str) -> Result<u16, BuildError> {
        if let Some(number) = self.known.get(text) {
            return Ok(*number);
        }
        let number = u16::try_from(self.list.len() + 1).map_err(|_| BuildError::TooManyDistinct { what })?;
        self.list.push(text.into());
        self.known.insert(text.into(), number);
        Ok(number)
    }
}

impl SegmentBuilder {
    /// A builder that also stores fingerprints of the indicators, so that the next version of a feed can be compared.
    #[must_use]
    pub fn with_fingerprints() -> SegmentBuilder {
        SegmentBuilder { fingerprints: Some(Vec::new()), ..SegmentBuilder::default() }
    }

    /// Begins a feed: what is added from here on belongs to it.
    pub fn feed(&mut self, feed: &Feed) {
        self.options = IndicatorOptions { subdomains: feed.subdomains, url_prefix: feed.url_prefix };
        self.feeds.push(SegmentFeed {
            name: feed.name.clone(),
            origin: feed.origin,
            first: self.context_of.len() as u32,
            len: 0,
            values: [0; Kind::ALL.len()],
        });
    }

    /// Number of indicators so far.
    pub fn len(&self) -> usize {
        self.context_of.len()
    }

    /// Whether there are neither indicators nor tombstones.
    pub fn is_empty(&self) -> bool {
        self.context_of.is_empty() && self.tombstones.is_empty()
    }

    /// Returns the fingerprint of an indicator of the feed that was begun last.
    pub fn fingerprint(&self, indicator: &Indicator) -> u64 {
        fingerprint::fingerprint(indicator, self.options)
    }

    /// Adds an indicator to the feed that was begun last.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(&mut self, indicator: &Indicator) -> Result<(), BuildError> {
        let number = u32::try_from(self.context_of.len()).ok().filter(|number| *number < LIST);
        let number = number.ok_or(BuildError::TooManyIndicators)?;
        if let Some(feed) = self.feeds.last_mut() {
            feed.len += 1;
        }
        let mut seen = HashSet::new();
        for term in indicator.keys() {
            // A value that a pattern has twice is one.
            if indicator.terms.len() > 1 && !seen.insert(format!("{term:?}")) {
                continue;
            }
            if let Some(feed) = self.feeds.last_mut() {
                feed.values[term.value.kind() as usize] += 1;
            }
            self.term(number, term)?;
        }
        if let Some(program) = &indicator.program {
            let bytes = composite::encode(program, &indicator.terms, self.options);
            self.programs.push(number, &bytes).ok_or(BuildError::TooLarge { what: "patterns" })?;
        }
        if let Some(fingerprints) = &mut self.fingerprints {
            fingerprints.push(fingerprint::fingerprint(indicator, self.options));
        }
        let too_large = |what| BuildError::TooLarge { what };
        let context = self.contexts.number(&indicator.context).ok_or(too_large("contexts"))?;
        self.context_of.push(context);
        // One id for all values of an indicator that the feed gave none: that of its first value.
        let feed = self.feeds.last().map_or("", |feed| &feed.name);
        let derived = match (&indicator.id, &indicator.program, indicator.terms.as_slice()) {
            // Two patterns may share values.
            (None, Some(program), [first, ..]) => {
                let pattern = program.shown(&indicator.terms).to_string();
                Some(derived_id(feed, first.value.kind(), &pattern))
            }
            (None, None, [first, _, ..]) => Some(derived_id(feed, first.value.kind(), &first.value.to_string())),
            _ => None,
        };
        if let Some(id) = indicator.id.as_deref().or(derived.as_deref()) {
            self.id.push(number, id.as_bytes()).ok_or(too_large("ids"))?;
        }
        for (column, time) in
            [(&mut self.valid_from, indicator.valid_from), (&mut self.valid_until, indicator.valid_until)]
        {
            if let Some(time) = time {
                column.push(number, &time_bytes(time)).ok_or(too_large("validities"))?;
            }
        }
        if let Some(port) = indicator.port {
            self.port.push(number, &port.to_le_bytes()).ok_or(too_large("ports"))?;
        }
        if indicator.revoked {
            self.revoked.push_number(number);
        }
        Ok(())
    }

    /// Withdraws an indicator of earlier segments. Its feed is begun here if it was not.
    pub fn withdraw(&mut self, feed: &SegmentFeed, table: TableId, key: Vec<u8>, fingerprint: u64) {
        let is_same = |known: &SegmentFeed| known.name == feed.name && known.origin == feed.origin;
        let number = self.feeds.iter().position(is_same).unwrap_or_else(|| {
            let first = self.context_of.len() as u32;
            self.feeds.push(SegmentFeed { first, len: 0, values: [0; Kind::ALL.len()], ..feed.clone() });
            self.feeds.len() - 1
        });
        self.tombstones.push(Tombstone { feed: number as u32, table, key, fingerprint });
    }

    fn term(&mut self, indicator: u32, term: &Term) -> Result<(), BuildError> {
        let target = match &term.target {
            Target::Kind => 0,
            Target::StixPath(path) => self.paths.number(path, "STIX paths")?,
        };
        let mut posting = Posting { indicator, target, scheme: 0 };
        match &term.value {
            TermValue::Number { comparison, value } if *comparison != Comparison::Equal => {
                self.ranges.push(Range { comparison: *comparison, value: RangeValue::Number(*value), posting });
                return Ok(());
            }
            TermValue::Time { comparison, value } if *comparison != Comparison::Equal => {
                self.ranges.push(Range { comparison: *comparison, value: RangeValue::Time(*value), posting });
                return Ok(());
            }
            TermValue::Url(url) => {
                if let Some(scheme) = url.scheme() {
                    posting.scheme = self.schemes.number(scheme, "URL schemes")?;
                }
            }
            _ => {}
        }
        let mut done = Ok(());
        indicator_keys(&term.value, self.options, |table, key| {
            // Importers make canonical values only, so every digest can be packed.
            if done.is_ok()
                && let Some(packed) = pack(table, key, &mut [0; 64])
            {
                done = self.insert(table, packed, posting);
            }
        });
        done
    }

    fn insert(&mut self, id: TableId, packed: &[u8], posting: Posting) -> Result<(), BuildError> {
        Ok(self.tables.entry(id).or_default().insert(id, packed, posting)?)
    }

    /// The file.
    ///
    /// # Errors
    /// A part is too long.
    pub fn finish(self, key: HashKey) -> Result<Vec<u8>, BuildError> {
        let indicators = self.context_of.len() as u32;
        let contexts = self.contexts.len();
        let mut columns = vec![
            (SectionKind::Feeds, 0, write_feeds(&self.feeds)),
            (SectionKind::Paths, 0, write_texts(&self.paths.list)),
            (SectionKind::Schemes, 0, write_texts(&self.schemes.list)),
            (SectionKind::Contexts, 0, if contexts == 0 { Vec::new() } else { self.contexts.finish() }),
            (
                SectionKind::ContextOf,
                0,
                if contexts < 2 { Vec::new() } else { Dense::write(&self.context_of, contexts) },
            ),
            (SectionKind::Optional, optional::VALID_FROM, self.valid_from.finish_fixed()),
            (SectionKind::Optional, optional::VALID_UNTIL, self.valid_until.finish_fixed()),
            (SectionKind::Optional, optional::PORT, self.port.finish_fixed()),
        ];
        let ids = if self.id.is_empty() { Vec::new() } else { self.id.finish_between() };
        columns.push((SectionKind::Optional, optional::ID, ids));
        let programs = if self.programs.is_empty() { Vec::new() } else { self.programs.finish_between() };
        columns.push((SectionKind::Optional, optional::PROGRAM, programs));
        columns.push((SectionKind::Revoked, 0, self.revoked.finish_numbers()));
        let fingerprints = self.fingerprints.unwrap_or_default();
        let fingerprints = fingerprints.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
        columns.push((SectionKind::Fingerprints, 0, fingerprints));
        drop(self.context_of);
        let comparisons = write_ranges(&self.ranges);
        let tombstones = if self.tombstones.is_empty() { Vec::new() } else { write_tombstones(&self.tombstones) };
        let hash_key = match key {
            HashKey::Given(seed) => {
                let mut key = [0; 16];
                key[..8].copy_from_slice(&seed.to_le_bytes());
                key
            }
            HashKey::Content => {
                let mut hasher = Sha256::new();
                columns.iter().for_each(|(_, _, bytes)| hasher.update(bytes));
                [&comparisons, &tombstones].into_iter().for_each(|bytes| hasher.update(bytes));
                self.tables.values().for_each(|table| table.content(|bytes| hasher.update(bytes)));
                let mut key = [0; 16];
                key.copy_from_slice(&hasher.finalize()[..16]);
                key
            }
        };
        let hasher = SegmentHasher::new(&hash_key);
        let mut lists = Vec::new();
        for (id, table) in self.tables {
            let (kind, parameter) = match id {
                TableId::Space(space) => (SectionKind::Keys, space as u16),
                TableId::Networks4(prefix) => (SectionKind::Networks4, u16::from(prefix)),
                TableId::Networks6(prefix) => (SectionKind::Networks6, u16::from(prefix)),
            };
            columns.push((kind, parameter, table.finish(id, &hasher, &mut lists)?));
        }
        columns.push((SectionKind::Postings, 0, lists));
        columns.push((SectionKind::Comparisons, 0, comparisons));
        columns.push((SectionKind::Tombstones, 0, tombstones));
        columns.retain(|(_, _, bytes)| !bytes.is_empty());
        columns.sort_by_key(|(kind, parameter, _)| (*kind, *parameter));
        Ok(sections::write(&hash_key, indicators, &columns))
    }

    /// The segment, in memory.
    ///
    /// # Errors
    /// A part is too long.
    pub fn into_segment(self, key: HashKey) -> Result<Arc<Segment>, BuildError> {
        // Bytes that were just written can be read; if they cannot, they are too large.
        Segment::built(self.finish(key)?).map_err(|_| BuildError::TooLarge { what: "parts" })
    }
}
