//! A snapshot: every indicator of every enabled feed, indexed and ready to match. Immutable once built.
//!
//! One event sees exactly one snapshot; a new one replaces it whole.

mod build;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::exact::{ExactSet, Posting};
use super::indicator::{Comparison, Context};
use super::network::Networks;
use super::plan::Reading;
use super::prefilter::Prefilter;
use super::space::{KeyHasher, Space};
use crate::fields::{FieldId, FieldSet, FieldTable, PathTrie};
use crate::observable::Kind;

pub use build::{NotCarried, SnapshotBuilder, SnapshotError};

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

impl RangeValue {
    /// The name space of its events' values.
    fn space(self) -> Space {
        match self {
            RangeValue::Number(_) => Space::Number,
            RangeValue::Time(_) => Space::Time,
        }
    }
}

/// How much a feed brought.
#[derive(Clone, Debug, Default)]
struct FeedSize {
    indicators: usize,
    /// Values by kind.
    values: [usize; Kind::ALL.len()],
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
    /// The numbers of targets by their STIX path.
    target_numbers: HashMap<Arc<str>, u16>,
    schemes: Vec<Box<str>>,
    prefilter: Prefilter,
    sizes: Vec<FeedSize>,
    readings: Vec<Reading>,
    wanted: FieldSet,
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
    pub fn wanted(&self) -> &FieldSet {
        &self.wanted
    }

    /// The same, as walkers follow them.
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
        let count = |kind: Kind| self.sizes.iter().map(|size| size.values[kind as usize]).sum();
        Kind::ALL.into_iter().map(move |kind| (kind, count(kind)))
    }

    /// Number of indicators of a feed, by its place in [`Snapshot::feeds`].
    pub fn feed_len(&self, feed: usize) -> usize {
        self.sizes.get(feed).map_or(0, |size| size.indicators)
    }

    /// Whether the term behind a posting is looked for at a field.
    #[inline]
    pub fn applies(&self, posting: &Posting, field: FieldId) -> bool {
        posting.target == 0 || self.targets[usize::from(posting.target)].contains(field)
    }

    /// Every URL scheme that an indicator asks for.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.schemes.iter().map(|scheme| &**scheme).filter(|scheme| !scheme.is_empty())
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
