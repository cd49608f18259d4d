//! A snapshot: every indicator of every enabled feed, indexed and ready to match. Immutable once built.
//!
//! One event sees exactly one snapshot; a new one replaces it whole.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::exact::{ExactBuilder, ExactSet, Posting};
use super::indicator::{Comparison, Context, Indicator, Target, Term, TermValue};
use super::network::{Networks, NetworksBuilder};
use super::plan::Reading;
use super::prefilter::Prefilter;
use super::space::{KeyHasher, Space};
use crate::fields::{FieldId, FieldTable, PathTrie};
use crate::observable::Kind;

/// How indicators of a feed came in, which decides at which fields they are looked for (column of the field table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Origin {
    /// An external source enabled by a CTI rule.
    #[default]
    Feed,
    /// A named list that a SOC imported.
    Collection,
}

/// How values are matched, the same for live and retro.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchOptions {
    /// Every domain indicator stands for its subdomains too.
    pub subdomains: bool,
    /// A URL field yields its host as a domain or address.
    pub url_hosts: bool,
}

/// A feed or collection in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Its name, as shown in hits.
    pub name: String,
    /// Which column of the field table applies.
    pub origin: Origin,
    /// Whether an enabled rule names it. Without one nothing of it matches.
    pub enabled: bool,
    /// Whether every domain of it stands for its subdomains too.
    pub subdomains: bool,
    /// Whether every URL of it stands for longer paths too.
    pub url_prefix: bool,
}

impl Feed {
    /// An enabled feed under a CTI rule, exact matches only.
    pub fn named(name: impl Into<String>) -> Feed {
        Feed { name: name.into(), origin: Origin::Feed, enabled: true, subdomains: false, url_prefix: false }
    }
}

/// An indicator in a snapshot: what policy and output need of it. Its values are the keys that lead to it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Number of its feed.
    pub feed: u32,
    /// Its id; `None` is derived from feed, kind and value.
    pub id: Option<Box<str>>,
    /// What the feed says about it.
    pub context: Arc<Context>,
    /// Start of validity.
    pub valid_from: Option<Timestamp>,
    /// End of validity, exclusive.
    pub valid_until: Option<Timestamp>,
    /// Withdrawn by its feed.
    pub revoked: bool,
    /// The port that the feed gave with it.
    pub port: Option<u16>,
}

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

/// The right-hand side of a [`RangeRule`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RangeValue {
    /// A number.
    Number(f64),
    /// An instant.
    Time(Timestamp),
}

/// A set of fields, one bit each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FieldSet(Vec<u64>);

impl Default for FieldSet {
    fn default() -> FieldSet {
        FieldSet(vec![0; FieldTable::MAX_FIELDS / 64])
    }
}

impl FieldSet {
    fn of(fields: &[FieldId]) -> FieldSet {
        let mut set = FieldSet::default();
        for field in fields {
            set.0[usize::from(field.0) / 64] |= 1 << (field.0 % 64);
        }
        set
    }

    fn extend(&mut self, other: &FieldSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(bits, more)| *bits |= more);
    }

    fn contains(&self, field: FieldId) -> bool {
        self.0[usize::from(field.0) / 64] & (1 << (field.0 % 64)) != 0
    }
}

/// Why a snapshot cannot be built.
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
}

/// A snapshot under construction.
pub struct SnapshotBuilder {
    table: Arc<FieldTable>,
    options: MatchOptions,
    hasher: KeyHasher,
    feeds: Vec<Feed>,
    indicators: Vec<Stored>,
    spaces: Vec<ExactBuilder>,
    /// The fields that the terms of each space are restricted to; `None` when one is not restricted.
    reach: Vec<Option<FieldSet>>,
    networks: NetworksBuilder,
    ranges: Vec<RangeRule>,
    targets: Vec<FieldSet>,
    target_numbers: HashMap<Arc<str>, u16>,
    schemes: Vec<Box<str>>,
    url_hosts: Vec<u64>,
    counts: [usize; Kind::ALL.len()],
}

impl SnapshotBuilder {
    /// Starts a snapshot over a field table. `seed` keys the hash: take a random one for each process.
    pub fn new(table: Arc<FieldTable>, options: MatchOptions, seed: u64) -> SnapshotBuilder {
        SnapshotBuilder {
            table,
            options,
            hasher: KeyHasher::new(seed),
            feeds: Vec::new(),
            indicators: Vec::new(),
            spaces: (0..Space::COUNT).map(|_| ExactBuilder::default()).collect(),
            reach: vec![Some(FieldSet::default()); Space::COUNT],
            networks: NetworksBuilder::default(),
            ranges: Vec::new(),
            targets: vec![FieldSet::default()],
            target_numbers: HashMap::new(),
            schemes: vec!["".into()],
            url_hosts: Vec::new(),
            counts: [0; Kind::ALL.len()],
        }
    }

    /// Adds a feed with its indicators.
    pub fn add_feed(
        &mut self,
        feed: Feed,
        indicators: impl IntoIterator<Item = Indicator>,
    ) -> Result<(), SnapshotError> {
        let number = self.feeds.len() as u32;
        for indicator in indicators {
            self.add(number, &feed, indicator)?;
        }
        self.feeds.push(feed);
        Ok(())
    }

    fn add(&mut self, number: u32, feed: &Feed, indicator: Indicator) -> Result<(), SnapshotError> {
        let at = u32::try_from(self.indicators.len()).map_err(|_| SnapshotError::TooManyIndicators)?;
        for term in &indicator.terms {
            self.counts[term.value.kind() as usize] += 1;
            self.add_term(at, feed, term)?;
        }
        // One id for all values of an indicator that the feed gave none: that of its first value.
        let id = match (indicator.id, indicator.terms.as_slice()) {
            (Some(id), _) => Some(id),
            (None, [first, _, ..]) => {
                Some(derived_id(&feed.name, first.value.kind(), &first.value.to_string()).into_boxed_str())
            }
            (None, _) => None,
        };
        self.indicators.push(Stored {
            feed: number,
            id,
            context: indicator.context,
            valid_from: indicator.valid_from,
            valid_until: indicator.valid_until,
            revoked: indicator.revoked,
            port: indicator.port,
        });
        Ok(())
    }

    fn add_term(&mut self, indicator: u32, feed: &Feed, term: &Term) -> Result<(), SnapshotError> {
        let target = self.target(feed, &term.target)?;
        let posting = Posting { indicator, target, scheme: 0 };
        match &term.value {
            TermValue::Address(IpAddr::V4(address)) => self.key(Space::Ipv4, &address.octets(), posting),
            TermValue::Address(IpAddr::V6(address)) => self.key(Space::Ipv6, &address.octets(), posting),
            TermValue::Network(network) => {
                self.reaches(if network.addr().is_ipv4() { Space::Ipv4 } else { Space::Ipv6 }, posting);
                self.networks.insert(*network, posting);
            }
            TermValue::Domain { name, subdomains } => {
                self.key(Space::Domain, name.as_bytes(), posting);
                if *subdomains || feed.subdomains {
                    self.key(Space::DomainSuffix, name.as_bytes(), posting);
                }
            }
            TermValue::Url(url) => {
                let posting = Posting { scheme: self.scheme(url.scheme().unwrap_or_default())?, ..posting };
                self.url_hosts.push(self.hasher.hash(Space::UrlHost, url.host().as_bytes()));
                self.key(Space::Url, url.rest().as_bytes(), posting);
                if feed.url_prefix {
                    self.key(Space::UrlPrefix, url.rest().as_bytes(), posting);
                }
            }
            TermValue::Hash { kind, digest } => {
                if let Some(space) = Space::of_hash(*kind) {
                    self.key(space, digest.as_bytes(), posting);
                }
            }
            TermValue::Email(address) => self.key(Space::Email, address.as_bytes(), posting),
            TermValue::User(name) => self.key(Space::User, name.as_bytes(), posting),
            TermValue::Text(text) => self.key(Space::Text, text.as_bytes(), posting),
            TermValue::Name { kind: Kind::DnsType, name } => self.key(Space::DnsType, name.as_bytes(), posting),
            TermValue::Name { name, .. } => self.key(Space::Name, name.as_bytes(), posting),
            TermValue::Path(path) => self.key(Space::Path, path.as_bytes(), posting),
            TermValue::Number { comparison: Comparison::Equal, value } => {
                self.key(Space::Number, &number_key(*value), posting);
            }
            TermValue::Time { comparison: Comparison::Equal, value } => {
                self.key(Space::Time, &time_key(*value), posting);
            }
            TermValue::Number { comparison, value } => self.range(*comparison, RangeValue::Number(*value), posting),
            TermValue::Time { comparison, value } => self.range(*comparison, RangeValue::Time(*value), posting),
        }
        Ok(())
    }

    fn reaches(&mut self, space: Space, posting: Posting) {
        let reach = &mut self.reach[space as usize];
        match reach {
            Some(fields) if posting.target > 0 => fields.extend(&self.targets[usize::from(posting.target)]),
            _ => *reach = None,
        }
    }

    fn key(&mut self, space: Space, key: &[u8], posting: Posting) {
        self.reaches(space, posting);
        let hash = self.hasher.hash(space, key);
        self.spaces[space as usize].insert(hash, key, posting);
    }

    fn range(&mut self, comparison: Comparison, value: RangeValue, posting: Posting) {
        self.reaches(if matches!(value, RangeValue::Number(_)) { Space::Number } else { Space::Time }, posting);
        let set = &self.targets[usize::from(posting.target)];
        let fields: Vec<FieldId> = self.table.iter().map(|(id, _)| id).filter(|id| set.contains(*id)).collect();
        for field in fields {
            self.ranges.push(RangeRule { field, comparison, value, posting });
        }
    }

    fn target(&mut self, feed: &Feed, target: &Target) -> Result<u16, SnapshotError> {
        let Target::StixPath(path) = target else { return Ok(0) };
        if let Some(number) = self.target_numbers.get(path) {
            return Ok(*number);
        }
        let fields = self.table.by_stix_path(path);
        if fields.is_empty() {
            return Err(SnapshotError::UnknownPath { feed: feed.name.clone(), path: path.to_string() });
        }
        let number =
            u16::try_from(self.targets.len()).map_err(|_| SnapshotError::TooManyDistinct { what: "STIX paths" })?;
        self.targets.push(FieldSet::of(&fields));
        self.target_numbers.insert(path.clone(), number);
        Ok(number)
    }

    fn scheme(&mut self, scheme: &str) -> Result<u16, SnapshotError> {
        if let Some(number) = self.schemes.iter().position(|known| &**known == scheme) {
            return Ok(number as u16);
        }
        let number =
            u16::try_from(self.schemes.len()).map_err(|_| SnapshotError::TooManyDistinct { what: "URL schemes" })?;
        self.schemes.push(scheme.into());
        Ok(number)
    }

    /// Seals the snapshot under a version.
    pub fn build(self, version: u64) -> Snapshot {
        let networks = self.networks.build(&self.hasher);
        let spaces: Vec<ExactSet> = self.spaces.into_iter().map(ExactBuilder::build).collect();
        let keys = spaces.iter().map(ExactSet::len).sum::<usize>();
        let mut prefilter = Prefilter::with_capacity(keys + self.url_hosts.len());
        spaces.iter().flat_map(ExactSet::hashes).chain(self.url_hosts.iter().copied()).for_each(|hash| {
            prefilter.insert(hash);
        });
        let readings: Vec<Reading> = self.table.iter().map(|(_, field)| Reading::of(field)).collect();
        let reach = &self.reach;
        let wanted = |id: FieldId| {
            let spaces = readings[usize::from(id.0)].spaces(self.options.url_hosts);
            spaces.into_iter().any(|space| reach[space as usize].as_ref().is_none_or(|fields| fields.contains(id)))
        };
        let trie = self.table.trie(|id, _| wanted(id));
        Snapshot {
            version,
            table: self.table,
            options: self.options,
            hasher: self.hasher,
            feeds: self.feeds,
            indicators: self.indicators,
            spaces,
            networks,
            ranges: self.ranges,
            targets: self.targets,
            schemes: self.schemes,
            prefilter,
            counts: self.counts,
            readings,
            trie,
        }
    }
}

/// Indexed indicators, ready to match.
pub struct Snapshot {
    version: u64,
    table: Arc<FieldTable>,
    options: MatchOptions,
    hasher: KeyHasher,
    feeds: Vec<Feed>,
    indicators: Vec<Stored>,
    spaces: Vec<ExactSet>,
    networks: Networks,
    ranges: Vec<RangeRule>,
    targets: Vec<FieldSet>,
    schemes: Vec<Box<str>>,
    prefilter: Prefilter,
    counts: [usize; Kind::ALL.len()],
    readings: Vec<Reading>,
    trie: PathTrie,
}

impl Snapshot {
    /// A snapshot of nothing: nothing matches.
    pub fn empty(table: Arc<FieldTable>) -> Snapshot {
        SnapshotBuilder::new(table, MatchOptions::default(), 0).build(0)
    }

    /// Its version; higher is newer.
    pub fn version(&self) -> u64 {
        self.version
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

    /// How the values of a field are read.
    #[inline]
    pub fn reading(&self, field: FieldId) -> Reading {
        self.readings[usize::from(field.0)]
    }

    /// The fields at which some indicator of this snapshot can match.
    pub fn trie(&self) -> &PathTrie {
        &self.trie
    }

    /// The key of the prefilter and of the exact sets.
    #[inline]
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// The prefilter over every key.
    #[inline]
    pub fn prefilter(&self) -> &Prefilter {
        &self.prefilter
    }

    /// The exact set of a name space.
    #[inline]
    pub fn space(&self, space: Space) -> &ExactSet {
        &self.spaces[space as usize]
    }

    /// Every network.
    #[inline]
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Comparisons other than `=`.
    pub fn ranges(&self) -> &[RangeRule] {
        &self.ranges
    }

    /// An indicator by the number in a posting.
    pub fn indicator(&self, number: u32) -> &Stored {
        &self.indicators[number as usize]
    }

    /// The feed of an indicator.
    pub fn feed_of(&self, indicator: &Stored) -> &Feed {
        &self.feeds[indicator.feed as usize]
    }

    /// Every feed, in order of addition.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// Number of indicators.
    pub fn len(&self) -> usize {
        self.indicators.len()
    }

    /// Whether there are no indicators.
    pub fn is_empty(&self) -> bool {
        self.indicators.is_empty()
    }

    /// Number of values by kind; an indicator with several hashes counts once for each.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, usize)> + '_ {
        Kind::ALL.into_iter().map(|kind| (kind, self.counts[kind as usize]))
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
            .field("version", &self.version)
            .field("feeds", &self.feeds.len())
            .field("indicators", &self.indicators.len())
            .finish_non_exhaustive()
    }
}

/// The key of a number: the bits of its double, with one zero.
pub fn number_key(value: f64) -> [u8; 8] {
    (if value == 0.0 { 0.0 } else { value }).to_be_bytes()
}

/// The key of an instant: nanoseconds since the epoch.
pub fn time_key(value: Timestamp) -> [u8; 16] {
    value.as_nanosecond().to_be_bytes()
}

/// The id of an indicator that its feed gave none: the same for the same value of the same feed, always. A UUID of
/// version 8 (RFC 9562, section 5.8) over SHA-256, in the shape of a STIX id.
pub fn derived_id(feed: &str, kind: Kind, value: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    for part in [feed, kind.as_str(), value] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = u128::from_be_bytes(bytes);
    let group = |shift: u32, digits: u32| (hex >> shift) & ((1u128 << (digits * 4)) - 1);
    format!(
        "indicator--{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        group(96, 8),
        group(80, 4),
        group(64, 4),
        group(48, 4),
        group(0, 12)
    )
}
