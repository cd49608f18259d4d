//! Looks up a single value: the hits that an event with this value, at a field of its kind, would have.
//!
//! The value is put into an event of its own, at every field of its kind, and that event is matched like any
//! other. So the same normalisers, the same policy and the same allowlists decide.

use std::collections::HashSet;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Detector;
use crate::enrich::{self, Enricher};
use crate::matcher::Matcher;
use crate::observable::{Kind, domain, email, hash, ip, number, path, text, time, url, user};
use crate::schema::{Field, FieldKind};

/// The reason that a value is not looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No such kind.
    #[error("{0:?} is not a kind of value; these are: {known}", known = known())]
    UnknownKind(String),
    /// The value is none of its kind.
    #[error("{value:?} is not a value of the kind {kind}")]
    NotOfKind {
        /// The kind that was said.
        kind: &'static str,
        /// The value, shortened.
        value: String,
    },
}

/// An indicator that matches a single value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownIndicator {
    /// The value of the indicator in canonical form.
    pub indicator: String,
    /// The feed that has the indicator.
    pub feed: String,
    /// The id of the indicator.
    pub id: String,
    /// The kind of the indicator.
    pub kind: Kind,
    /// The enrichment that an event would get, as JSON.
    pub enrichment: Bytes,
}

/// The requested kind: a kind, or a hash whose kind its length decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Of(Kind),
    Hash,
}

/// The word for a hash of any kind.
const HASH: &str = "hash";

/// The most characters of a value that an error shows.
const SHOWN: usize = 100;

fn known() -> String {
    let kinds = Kind::ALL.iter().map(|kind| kind.as_str());
    let mut words: Vec<&str> = kinds.chain([HASH]).collect();
    words.sort_unstable();
    words.join(", ")
}

impl Asked {
    fn parse(word: &str) -> Option<Asked> {
        if word == HASH { Some(Asked::Hash) } else { Kind::parse(word).map(Asked::Of) }
    }

    fn kind_of(self, value: &str) -> Option<Kind> {
        let (raw, scratch) = (value.as_bytes(), &mut Vec::new());
        let kind = match self {
            Asked::Hash => return hash::canonical(raw, scratch).map(|(kind, _)| kind),
            Asked::Of(kind) => kind,
        };
        let fits = match kind {
            Kind::Ip => ip::event_address(raw).is_some(),
            Kind::Domain => domain::canonical(raw, scratch).is_some(),
            Kind::Url => url::canonical(raw).is_some(),
            Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => {
                hash::canonical(raw, scratch).is_some_and(|(found, _)| found == kind)
            }
            Kind::Email => email::event_addresses(raw, scratch, &mut |_| {}).is_none(),
            Kind::User => user::canonical(raw, scratch).is_some(),
            Kind::Path => path::canonical(raw, scratch).is_some(),
            Kind::Name | Kind::DnsType => text::name(raw, scratch).is_some(),
            Kind::Text => text::canonical(raw).is_some(),
            Kind::Number => number::parse(raw).is_some(),
            Kind::Time => time::parse(raw).is_some(),
        };
        fits.then_some(kind)
    }
}

/// The field that a value of a kind stands at first: of several fields with one indicator, this one is reported.
fn canonical_field(kind: Kind) -> Option<&'static str> {
    match kind {
        // A command-and-control address counts only here.
        Kind::Ip => Some("destination.ip"),
        Kind::Domain => Some("dns.question.name"),
        Kind::Url => Some("url.full"),
        Kind::Md5 => Some("file.hash.md5"),
        Kind::Sha1 => Some("file.hash.sha1"),
        Kind::Sha256 => Some("file.hash.sha256"),
        Kind::Sha512 => Some("file.hash.sha512"),
        Kind::Ssdeep => Some("file.hash.ssdeep"),
        Kind::Email => Some("email.from.address"),
        Kind::User => Some("user.name"),
        Kind::Path => Some("file.path"),
        Kind::Name => Some("process.name"),
        Kind::DnsType => Some("dns.question.type"),
        Kind::Text | Kind::Number | Kind::Time => None,
    }
}

fn holds(field: &Field, kind: Kind) -> bool {
    match field.kind {
        FieldKind::Of(of) => of == kind,
        FieldKind::Hash => matches!(kind, Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep),
        _ => false,
    }
}

impl Detector {
    /// Looks up one value, at the time `now`: each indicator that matches once, in the order of the fields.
    ///
    /// # Errors
    /// The kind is not known, or the value is none of that kind.
    pub fn check(&self, word: &str, value: &str, now: Timestamp) -> Result<Vec<KnownIndicator>, CheckError> {
        let asked = Asked::parse(word).ok_or_else(|| CheckError::UnknownKind(word.chars().take(SHOWN).collect()))?;
        let kind = asked.kind_of(value).ok_or_else(|| CheckError::NotOfKind {
            kind: match asked {
                Asked::Hash => HASH,
                Asked::Of(kind) => kind.as_str(),
            },
            value: value.chars().take(SHOWN).collect(),
        })?;
        let table = self.snapshot.table();
        let fields = table.iter().filter(|(_, field)| holds(field, kind)).map(|(_, field)| field.name.as_str());
        let event: Map<String, Value> =
            canonical_field(kind).into_iter().chain(fields).map(|field| (field.to_owned(), value.into())).collect();
        let event = Value::Object(event).to_string();
        let mut matcher = Matcher::new(&self.snapshot);
        // An object that was just written is walked.
        let Ok(verdict) = self.document(event.as_bytes(), self.snapshot.trie(), &mut matcher, now) else {
            return Ok(Vec::new());
        };
        let (mut seen, mut enricher) = (HashSet::new(), Enricher::new(&self.snapshot));
        let known = verdict.hits.iter().zip(&verdict.hit_listings).filter_map(|(hit, listings)| {
            let feed = self.snapshot.feed_of(hit.posting.indicator).name.clone();
            let id = enrich::indicator_id(&self.snapshot, hit);
            if !seen.insert((feed.clone(), id.clone())) {
                return None;
            }
            let one = (std::slice::from_ref(hit), std::slice::from_ref(listings));
            let enrichment = enricher.enrichments(one.0, one.1, &verdict.facts, usize::MAX, false);
            let enrichment = enrichment.values.first()?.to_value();
            let (indicator, kind) = (hit.name.to_string(), hit.kind);
            Some(KnownIndicator { indicator, feed, id, kind, enrichment: enrichment.to_string().into() })
        });
        Ok(known.collect())
    }
}
