//! Values of an event against a snapshot: prefilter, then exact sets, then candidates for policy.
//!
//! A [`Matcher`] is the [`Visitor`] that a walker feeds. It reads each value as the field's
//! [`Reading`] says, brings it into canonical form and looks the forms up. Nothing is
//! allocated for a value that does not hit. Live matching, `scan` and `explain` share it; `explain` listens through
//! [`Trace`].

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::encoding::{Value, Visitor};
use crate::fields::FieldId;
use crate::intel::exact::Posting;
use crate::intel::indicator::Comparison;
use crate::intel::plan::Reading;
use crate::intel::snapshot::{RangeValue, Snapshot, number_key, time_key};
use crate::intel::space::Space;
use crate::observable::{Kind, domain, email, hash, ip, path, text, time, url, user};

/// An indicator found at a field, confirmed exactly, not yet allowed by policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where.
    pub field: FieldId,
    /// The value as the event has it.
    pub value: Vec<u8>,
    /// The kind of the indicator's value.
    pub kind: Kind,
    /// The indicator's value in canonical form.
    pub name: String,
    /// The indicator and the conditions of its term.
    pub posting: Posting,
}

/// What became of one look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No indicator of this snapshot is looked for in this form.
    NoIndicators,
    /// The prefilter knows that no indicator has this key.
    Rejected,
    /// The prefilter let it pass, the exact set has no such key or none that applies here.
    Absent,
    /// So many indicators look for it here.
    Found(usize),
}

/// Listens to a matcher; `explain` prints what it hears.
pub trait Trace {
    /// A value is about to be read.
    fn value(&mut self, _field: FieldId, _value: Value<'_>, _reading: Reading) {}
    /// A form of it was looked up.
    fn looked_up(&mut self, _space: Space, _key: &[u8], _outcome: Outcome) {}
    /// Covering networks were looked up.
    fn networks(&mut self, _address: IpAddr, _found: usize) {}
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {}

/// What a matcher did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values read.
    pub observables: u64,
    /// Look-ups asked of the prefilter.
    pub lookups: u64,
    /// Look-ups that it let pass.
    pub passes: u64,
}

/// Matches values against one snapshot. Make one for each batch.
pub struct Matcher<'s, T = NoTrace> {
    reader: Reader<'s, T>,
    /// Canonical forms are written here when a value is not canonical already.
    scratch: Vec<u8>,
}

/// Reads values and looks them up; apart from the scratch buffer, so that a key in the one can be looked up by the
/// other.
struct Reader<'s, T> {
    snapshot: &'s Snapshot,
    trace: T,
    hits: Vec<Hit>,
    counts: Counts,
}

impl<'s> Matcher<'s> {
    /// A matcher against a snapshot.
    pub fn new(snapshot: &'s Snapshot) -> Matcher<'s> {
        Matcher::with_trace(snapshot, NoTrace)
    }
}

impl<'s, T: Trace> Matcher<'s, T> {
    /// A matcher that tells `trace` what it does.
    pub fn with_trace(snapshot: &'s Snapshot, trace: T) -> Matcher<'s, T> {
        let reader = Reader { snapshot, trace, hits: Vec::new(), counts: Counts::default() };
        Matcher { reader, scratch: Vec::new() }
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        self.reader.counts
    }

    /// Whether something was found since the last [`Matcher::take_hits`].
    #[inline]
    pub fn has_hits(&self) -> bool {
        !self.reader.hits.is_empty()
    }

    /// Forgets what was found: the event turned out to be one that cannot be walked.
    pub fn discard_hits(&mut self) {
        self.reader.hits.clear();
    }

    /// What was found in the event just walked, in the order of the walk, the same finding once.
    pub fn take_hits(&mut self) -> Vec<Hit> {
        let mut hits = std::mem::take(&mut self.reader.hits);
        if hits.len() > 1 {
            let mut seen = HashSet::new();
            hits.retain(|hit| seen.insert((hit.field, hit.posting.indicator, hit.value.clone(), hit.name.clone())));
        }
        hits
    }

    /// The trace, to read what it heard.
    pub fn trace(&mut self) -> &mut T {
        &mut self.reader.trace
    }
}

impl<T: Trace> Reader<'_, T> {
    fn read(&mut self, field: FieldId, raw: &[u8], scratch: &mut Vec<u8>) {
        match self.snapshot.reading(field) {
            Reading::Ip => {
                if let Some(address) = ip::event_address(raw) {
                    self.address(field, raw, address);
                }
            }
            Reading::Host => self.host(field, raw, scratch),
            Reading::Url => self.url(field, raw, scratch),
            Reading::Hash => {
                if let Some((kind, digest)) = hash::canonical(raw, scratch)
                    && let Some(space) = Space::of_hash(kind)
                {
                    self.look_up(field, raw, space, digest);
                }
            }
            Reading::Email => self.email(field, raw, scratch),
            Reading::EmailOrHost => {
                self.email(field, raw, scratch);
                self.host(field, raw, scratch);
            }
            Reading::User => {
                if let Some(name) = user::canonical(raw, scratch) {
                    self.look_up(field, raw, Space::User, name);
                    if let Some(account) = user::account(name) {
                        self.look_up(field, raw, Space::User, account);
                    }
                }
                if memchr::memchr(b'@', raw).is_some() {
                    self.email(field, raw, scratch);
                }
            }
            Reading::UserDomain => {
                if let Some(name) = user::canonical(raw, scratch) {
                    self.look_up(field, raw, Space::User, name);
                }
                self.domain(field, raw, scratch);
            }
            Reading::Auto => {
                if memchr::memchr(b'@', raw).is_some() {
                    self.email(field, raw, scratch);
                }
                self.host(field, raw, scratch);
            }
            Reading::EmailOrText => {
                if memchr::memchr(b'@', raw).is_some() {
                    self.email(field, raw, scratch);
                }
                self.text(field, raw, text::canonical(raw));
            }
            Reading::Text => self.text(field, raw, text::canonical(raw)),
            Reading::HttpVersion => self.text(field, raw, text::canonical(raw).map(text::http_version)),
            Reading::Name => {
                if let Some(name) = text::name(raw, scratch) {
                    self.look_up(field, raw, Space::Name, name);
                }
            }
            Reading::DnsType => {
                if let Some(name) = text::name(raw, scratch) {
                    self.look_up(field, raw, Space::DnsType, name);
                }
            }
            Reading::Path => {
                if let Some(path) = path::canonical(raw, scratch) {
                    self.look_up(field, raw, Space::Path, path);
                }
            }
            Reading::Number => {
                let number = std::str::from_utf8(raw).ok().and_then(|text| text.trim().parse::<f64>().ok());
                if let Some(number) = number.filter(|number| number.is_finite()) {
                    self.number(field, raw, number);
                }
            }
            Reading::Time => {
                if let Some(instant) = time::parse(raw) {
                    self.look_up(field, raw, Space::Time, &time_key(instant));
                    self.ranges(field, raw, RangeValue::Time(instant));
                }
            }
        }
    }

    /// An address, a domain, or the host of what stands where one should.
    fn host(&mut self, field: FieldId, raw: &[u8], scratch: &mut Vec<u8>) {
        if let Some(address) = ip::canonical(raw) {
            return self.address(field, raw, address);
        }
        if self.domain(field, raw, scratch) {
            return;
        }
        if let Some(host) = domain::event_host(raw) {
            if let Some(address) = ip::canonical(host) {
                self.address(field, raw, address);
            } else if let Some(name) = domain::canonical(host, scratch) {
                self.name(field, raw, name);
            }
        }
    }

    /// Whether `raw` is a domain; if so it was looked up.
    fn domain(&mut self, field: FieldId, raw: &[u8], scratch: &mut Vec<u8>) -> bool {
        match domain::canonical(raw, scratch) {
            Some(name) => {
                self.name(field, raw, name);
                true
            }
            None => false,
        }
    }

    fn name(&mut self, field: FieldId, raw: &[u8], name: &[u8]) {
        self.look_up(field, raw, Space::Domain, name);
        // With the global flag every domain counts as a parent, so the exact set itself is asked.
        let parents = if self.snapshot.options().subdomains { Space::Domain } else { Space::DomainSuffix };
        if !self.snapshot.space(parents).is_empty() {
            for parent in domain::parents(name) {
                self.look_up(field, raw, parents, parent);
            }
        }
    }

    fn address(&mut self, field: FieldId, raw: &[u8], address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.look_up(field, raw, Space::Ipv4, &v4.octets()),
            IpAddr::V6(v6) => self.look_up(field, raw, Space::Ipv6, &v6.octets()),
        }
        let snapshot = self.snapshot;
        let mut networks = 0;
        snapshot.networks().covering(snapshot.hasher(), address, |network, postings| {
            networks += 1;
            self.hit_network(field, raw, network, postings);
        });
        self.trace.networks(address, networks);
    }

    #[cold]
    fn hit_network(&mut self, field: FieldId, raw: &[u8], network: IpNet, postings: &[Posting]) {
        for posting in postings.iter().filter(|posting| self.snapshot.applies(posting, field)) {
            self.hits.push(Hit {
                field,
                value: raw.to_vec(),
                kind: Kind::Ip,
                name: network.to_string(),
                posting: *posting,
            });
        }
    }

    fn email(&mut self, field: FieldId, raw: &[u8], scratch: &mut Vec<u8>) {
        email::event_addresses(raw, scratch, &mut |address| self.look_up(field, raw, Space::Email, address));
    }

    fn url(&mut self, field: FieldId, raw: &[u8], scratch: &mut Vec<u8>) {
        let snapshot = self.snapshot;
        if snapshot.options().url_hosts {
            self.host(field, raw, scratch);
        }
        if snapshot.space(Space::Url).is_empty() {
            return;
        }
        // Parsing costs more than looking up: only when some URL indicator has this host.
        if let Some(host) = url::raw_host(raw) {
            scratch.clear();
            scratch.extend(host.iter().map(u8::to_ascii_lowercase));
            let host = scratch.strip_suffix(b".").unwrap_or(scratch);
            if !self.may_contain(Space::UrlHost, host) {
                return self.trace.looked_up(Space::UrlHost, host, Outcome::Rejected);
            }
        }
        let Some(canonical) = url::canonical(raw) else { return };
        let scheme = canonical.scheme();
        self.look_up_where(field, raw, Space::Url, canonical.rest().as_bytes(), |snapshot, posting| {
            scheme_agrees(snapshot, posting, scheme)
        });
        if !snapshot.space(Space::UrlPrefix).is_empty() {
            for prefix in canonical.path_prefixes() {
                self.look_up_where(field, raw, Space::UrlPrefix, prefix.as_bytes(), |snapshot, posting| {
                    scheme_agrees(snapshot, posting, scheme)
                });
            }
        }
    }

    fn text(&mut self, field: FieldId, raw: &[u8], text: Option<&[u8]>) {
        if let Some(text) = text {
            self.look_up(field, raw, Space::Text, text);
        }
    }

    fn number(&mut self, field: FieldId, raw: &[u8], number: f64) {
        self.look_up(field, raw, Space::Number, &number_key(number));
        self.ranges(field, raw, RangeValue::Number(number));
    }

    fn ranges(&mut self, field: FieldId, raw: &[u8], value: RangeValue) {
        for rule in self.snapshot.ranges().iter().filter(|rule| rule.field == field) {
            let (ordering, kind, name) = match (value, rule.value) {
                (RangeValue::Number(left), RangeValue::Number(right)) => {
                    (left.partial_cmp(&right), Kind::Number, right.to_string())
                }
                (RangeValue::Time(left), RangeValue::Time(right)) => {
                    (Some(left.cmp(&right)), Kind::Time, right.to_string())
                }
                _ => continue,
            };
            if ordering.is_some_and(|ordering| rule.comparison.holds(ordering)) {
                let name = format!("{} {name}", operator(rule.comparison));
                self.hits.push(Hit { field, value: raw.to_vec(), kind, name, posting: rule.posting });
            }
        }
    }

    #[inline]
    fn look_up(&mut self, field: FieldId, raw: &[u8], space: Space, key: &[u8]) {
        self.look_up_where(field, raw, space, key, |_, _| true);
    }

    #[inline]
    fn look_up_where(
        &mut self,
        field: FieldId,
        raw: &[u8],
        space: Space,
        key: &[u8],
        allowed: impl Fn(&Snapshot, &Posting) -> bool,
    ) {
        let snapshot = self.snapshot;
        let set = snapshot.space(space);
        if set.is_empty() {
            return self.trace.looked_up(space, key, Outcome::NoIndicators);
        }
        self.counts.lookups += 1;
        let hash = snapshot.hasher().hash(space, key);
        if !snapshot.prefilter().contains(hash) {
            return self.trace.looked_up(space, key, Outcome::Rejected);
        }
        self.counts.passes += 1;
        let mut found = 0;
        for posting in set.get(hash, key) {
            if snapshot.applies(posting, field) && allowed(snapshot, posting) {
                found += 1;
                self.hits.push(Hit {
                    field,
                    value: raw.to_vec(),
                    kind: space.kind(),
                    name: display(snapshot, space, key, posting),
                    posting: *posting,
                });
            }
        }
        self.trace.looked_up(space, key, if found == 0 { Outcome::Absent } else { Outcome::Found(found) });
    }

    #[inline]
    fn may_contain(&mut self, space: Space, key: &[u8]) -> bool {
        self.counts.lookups += 1;
        let passes = self.snapshot.prefilter().contains(self.snapshot.hasher().hash(space, key));
        self.counts.passes += u64::from(passes);
        passes
    }
}

impl<T: Trace> Visitor for Matcher<'_, T> {
    #[inline]
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        let (reader, scratch) = (&mut self.reader, &mut self.scratch);
        reader.counts.observables += 1;
        reader.trace.value(field, value, reader.snapshot.reading(field));
        match value {
            Value::Text(text) => reader.read(field, text, scratch),
            Value::Int(number) => reader.read(field, itoa::Buffer::new().format(number).as_bytes(), scratch),
            Value::Double(number) => reader.read(field, number.to_string().as_bytes(), scratch),
            Value::Bool(_) => {}
        }
    }
}

/// An event without a scheme meets indicators of any; an indicator without one meets events of any.
fn scheme_agrees(snapshot: &Snapshot, posting: &Posting, event: Option<&str>) -> bool {
    posting.scheme == 0 || event.is_none_or(|event| snapshot.scheme(posting) == event)
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

/// The indicator's value as shown in hits, from its key.
fn display(snapshot: &Snapshot, space: Space, key: &[u8], posting: &Posting) -> String {
    match space {
        Space::Url | Space::UrlPrefix if posting.scheme > 0 => {
            format!("{}://{}", snapshot.scheme(posting), show_key(space, key))
        }
        _ => show_key(space, key),
    }
}

/// A key for people: addresses, numbers and instants in their usual notation, anything else as text.
pub fn show_key(space: Space, key: &[u8]) -> String {
    let text = || String::from_utf8_lossy(key).into_owned();
    match space {
        Space::Ipv4 => <[u8; 4]>::try_from(key).map_or_else(|_| text(), |bytes| IpAddr::from(bytes).to_string()),
        Space::Ipv6 => <[u8; 16]>::try_from(key).map_or_else(|_| text(), |bytes| IpAddr::from(bytes).to_string()),
        Space::Number => {
            <[u8; 8]>::try_from(key).map_or_else(|_| text(), |bytes| f64::from_be_bytes(bytes).to_string())
        }
        Space::Time => <[u8; 16]>::try_from(key)
            .ok()
            .and_then(|bytes| jiff::Timestamp::from_nanosecond(i128::from_be_bytes(bytes)).ok())
            .map_or_else(text, |instant| instant.to_string()),
        _ => text(),
    }
}
