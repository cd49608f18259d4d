//! Builds a snapshot: takes the indicators of feed after feed, and indexes each term under the keys that it is found by.
//! What did not change since the last snapshot is carried over from it (`carry`).

mod carry;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Feed, FeedSize, MatchOptions, RangeRule, RangeValue, Snapshot, Stored, derived_id, number_key, time_key};
use crate::fields::{FieldId, FieldSet, FieldTable};
use crate::intel::exact::{ExactBuilder, ExactSet, Posting};
use crate::intel::indicator::{Comparison, Indicator, Target, Term, TermValue};
use crate::intel::network::NetworksBuilder;
use crate::intel::plan::Reading;
use crate::intel::prefilter::Prefilter;
use crate::intel::space::{KeyHasher, Space};
use crate::observable::Kind;

pub use carry::NotCarried;

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
    sizes: Vec<FeedSize>,
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
            sizes: Vec::new(),
        }
    }

    /// Adds a feed with its indicators.
    pub fn add_feed(
        &mut self,
        feed: Feed,
        indicators: impl IntoIterator<Item = Indicator>,
    ) -> Result<(), SnapshotError> {
        let number = self.feeds.len() as u32;
        let mut size = FeedSize::default();
        for indicator in indicators {
            size.indicators += 1;
            for term in &indicator.terms {
                size.values[term.value.kind() as usize] += 1;
            }
            self.add(number, &feed, indicator)?;
        }
        self.feeds.push(feed);
        self.sizes.push(size);
        Ok(())
    }

    fn add(&mut self, number: u32, feed: &Feed, indicator: Indicator) -> Result<(), SnapshotError> {
        let at = u32::try_from(self.indicators.len()).map_err(|_| SnapshotError::TooManyIndicators)?;
        for term in &indicator.terms {
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
            Some(fields) if posting.target > 0 => {
                fields.extend(&self.targets[usize::from(posting.target)]);
            }
            _ => *reach = None,
        }
    }

    fn key(&mut self, space: Space, key: &[u8], posting: Posting) {
        self.reaches(space, posting);
        let hash = self.hasher.hash(space, key);
        self.spaces[space as usize].insert(hash, key, posting);
    }

    fn range(&mut self, comparison: Comparison, value: RangeValue, posting: Posting) {
        self.reaches(value.space(), posting);
        let set = &self.targets[usize::from(posting.target)];
        let fields: Vec<FieldId> = self.table.iter().map(|(id, _)| id).filter(|id| set.contains(*id)).collect();
        for field in fields {
            self.ranges.push(RangeRule { field, comparison, value, posting });
        }
    }

    fn target(&mut self, feed: &Feed, target: &Target) -> Result<u16, SnapshotError> {
        match target {
            Target::Kind => Ok(0),
            Target::StixPath(path) => self.target_of_path(&feed.name, path),
        }
    }

    /// The number of the fields with a STIX path, which is 1 at least.
    fn target_of_path(&mut self, feed: &str, path: &Arc<str>) -> Result<u16, SnapshotError> {
        if let Some(number) = self.target_numbers.get(path) {
            return Ok(*number);
        }
        let fields = self.table.by_stix_path(path);
        if fields.is_empty() {
            return Err(SnapshotError::UnknownPath { feed: feed.to_owned(), path: path.to_string() });
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
        let fields: Vec<FieldId> = self.table.iter().map(|(id, _)| id).filter(|id| wanted(*id)).collect();
        let wanted = FieldSet::of(&fields);
        let trie = self.table.trie(|id, _| wanted.contains(id));
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
            target_numbers: self.target_numbers,
            schemes: self.schemes,
            prefilter,
            sizes: self.sizes,
            readings,
            wanted,
            trie,
        }
    }
}
