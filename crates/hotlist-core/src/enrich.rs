//! A hit as ECS: one element of `threat.enrichments` (ECS threat fields, `threat.enrichments.indicator.*` and
//! `threat.enrichments.matched.*`). The few fields that are not ECS are declared in `docs/output.md`.

use std::collections::HashSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::intel::allowlist::Listing;
use crate::intel::snapshot::{Snapshot, derived_id};
use crate::matcher::{Hit, rank};
use crate::observable::Kind;
use crate::policy::EventFacts;

pub use crate::encoding::tag::WORD as TAG;

/// How an indicator came to meet an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detection {
    /// At the event's arrival.
    Live,
}

impl Detection {
    /// The detection type of output.
    pub fn as_str(self) -> &'static str {
        match self {
            Detection::Live => "CTI",
        }
    }
}

/// The enrichments of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enrichments {
    /// One for each (indicator, field).
    pub values: Vec<Value>,
    /// At least as many bytes as they take in any encoding.
    pub bytes: usize,
    /// Some were left out because of their bytes.
    pub is_cut: bool,
}

/// The enrichments of an event's hits, in the order of the hits. `listings` are the allowlists that hold the value of each
/// hit. With `is_truncated` each says that the event has more. When they have more than `max_bytes`, the best ones stay, by
/// [`rank`], and at least a short one of the best hit.
pub fn enrichments(
    snapshot: &Snapshot,
    hits: &[Hit],
    listings: &[Vec<Listing>],
    facts: &EventFacts,
    max_bytes: usize,
    is_truncated: bool,
) -> Enrichments {
    let mut order: Vec<(&Hit, &[Listing])> = hits.iter().zip(listings.iter().map(Vec::as_slice)).collect();
    let all = in_order(snapshot, &order, facts, max_bytes, is_truncated);
    if !all.is_cut {
        return all;
    }
    order.sort_by_cached_key(|(hit, _)| rank(snapshot, hit));
    let best = in_order(snapshot, &order, facts, max_bytes, true);
    match best.values.is_empty() {
        true => Enrichments { is_cut: true, ..short(snapshot, hits) },
        false => best,
    }
}

/// The best hit in a few words, for an event whose enrichments there is no room for: which indicator was found where, and
/// that there is more.
pub fn short(snapshot: &Snapshot, hits: &[Hit]) -> Enrichments {
    let Some(hit) = hits.iter().min_by_key(|hit| rank(snapshot, hit)) else { return Enrichments::default() };
    let feed = snapshot.feed_of(hit.posting.indicator);
    let value = json!({
        "indicator": { "type": stix_type(snapshot, hit), "name": hit.name, "provider": feed.name },
        "matched": { "field": snapshot.table().get(hit.field).name, "id": indicator_id(snapshot, hit) },
        "feed": { "name": feed.name },
        "hotlist": {
            "rule": rule_name(&feed.name),
            "detection": Detection::Live.as_str(),
            "snapshot": &**snapshot.name(),
            "truncated": true,
        },
    });
    Enrichments { bytes: weight(&value), values: vec![value], is_cut: false }
}

fn in_order(
    snapshot: &Snapshot,
    hits: &[(&Hit, &[Listing])],
    facts: &EventFacts,
    max_bytes: usize,
    is_truncated: bool,
) -> Enrichments {
    let (mut seen, mut all) = (HashSet::new(), Enrichments::default());
    for (hit, listings) in hits {
        let feed = &snapshot.feed_of(hit.posting.indicator).name;
        if !seen.insert((indicator_id(snapshot, hit), feed, hit.field)) {
            continue;
        }
        let value = enrichment(snapshot, hit, listings, facts, is_truncated);
        let bytes = weight(&value);
        if all.bytes.saturating_add(bytes) > max_bytes {
            all.is_cut = true;
            break;
        }
        all.bytes += bytes;
        all.values.push(value);
    }
    all
}

/// At least as many bytes as a value takes as JSON, and with tags and lengths of up to three bytes as protobuf.
fn weight(value: &Value) -> usize {
    /// Tags and lengths of a member of an OTLP key-value list whose value is another; JSON needs less around a value.
    const AROUND: usize = 24;
    /// What JSON writes for a control character, less the character.
    const ESCAPED: usize = 5;
    let text = |text: &str| {
        let escaped = text.bytes().filter(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f)).count();
        AROUND + text.len() + ESCAPED * escaped
    };
    AROUND
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => AROUND,
            Value::String(string) => text(string),
            Value::Array(values) => values.iter().map(weight).sum(),
            Value::Object(members) => members.iter().map(|(key, value)| text(key) + weight(value)).sum(),
        }
}

/// The id of the indicator behind a hit.
pub fn indicator_id(snapshot: &Snapshot, hit: &Hit) -> String {
    let indicator = snapshot.indicator(hit.posting.indicator);
    match indicator.id {
        Some(id) => id.into(),
        None => derived_id(&snapshot.feed_of(hit.posting.indicator).name, hit.kind, &hit.name),
    }
}

/// The rule that enabled the feed of a hit: feeds from files carry an implicit one of their own name.
pub fn rule_name(feed: &str) -> String {
    format!("feed:{feed}")
}

fn enrichment(snapshot: &Snapshot, hit: &Hit, listings: &[Listing], facts: &EventFacts, is_truncated: bool) -> Value {
    let indicator = snapshot.indicator(hit.posting.indicator);
    let feed = snapshot.feed_of(hit.posting.indicator);
    let context = &indicator.context;
    let mut shown = Map::new();
    shown.insert("type".into(), stix_type(snapshot, hit).into());
    shown.insert("name".into(), hit.name.as_str().into());
    let description = match (&context.name, &context.description) {
        (Some(name), Some(description)) => Some(format!("{name}: {description}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_string()),
        (None, None) => None,
    };
    if let Some(description) = description {
        shown.insert("description".into(), description.into());
    }
    shown.insert("provider".into(), feed.name.as_str().into());
    shown.insert("confidence".into(), context.confidence.as_str().into());
    let time = |time: Option<Timestamp>| time.map(|time| Value::from(time.to_string()));
    for (key, value) in [
        ("first_seen", time(context.first_seen)),
        ("last_seen", time(context.last_seen)),
        ("marking", context.tlp.map(|tlp| json!({ "tlp": tlp.as_str() }))),
        ("reference", context.reference.as_deref().map(Value::from)),
    ] {
        if let Some(value) = value {
            shown.insert(key.into(), value);
        }
    }
    if let Some((key, value)) = value_fields(hit) {
        shown.insert(key.into(), value);
    }
    let mut own = Map::new();
    own.insert("rule".into(), rule_name(&feed.name).into());
    own.insert("detection".into(), Detection::Live.as_str().into());
    own.insert("snapshot".into(), snapshot.name().as_ref().into());
    if !listings.is_empty() {
        own.insert("allowlists".into(), listings.iter().map(|listing| &*listing.list).collect());
    }
    if is_truncated {
        own.insert("truncated".into(), true.into());
    }
    json!({
        "indicator": shown,
        "matched": {
            "atomic": String::from_utf8_lossy(&hit.value),
            "field": snapshot.table().get(hit.field).name,
            "id": indicator_id(snapshot, hit),
            "type": "indicator_match_rule",
            "occurred": facts.time.to_string(),
        },
        "feed": { "name": feed.name },
        "hotlist": own,
    })
}

/// The STIX 2.1 object type of what was found (`threat.indicator.type`). The wider fields say it with their STIX path.
fn stix_type<'s>(snapshot: &'s Snapshot, hit: &Hit) -> &'s str {
    match hit.kind {
        Kind::Ip if hit.name.contains(':') => "ipv6-addr",
        Kind::Ip => "ipv4-addr",
        Kind::Domain => "domain-name",
        Kind::Url => "url",
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => "file",
        Kind::Email => "email-addr",
        Kind::User => "user-account",
        Kind::Path | Kind::Name | Kind::DnsType | Kind::Text | Kind::Number | Kind::Time => {
            let paths = &snapshot.table().get(hit.field).stix_paths;
            paths.first().and_then(|path| path.split_once(':')).map_or("artifact", |(object, _)| object)
        }
    }
}

/// The ECS field that carries the indicator's value, for the kinds that have one.
fn value_fields(hit: &Hit) -> Option<(&'static str, Value)> {
    let name = hit.name.as_str();
    match hit.kind {
        // ECS types the field as an address, so a network is told by `name` alone.
        Kind::Ip => name.parse::<IpAddr>().ok().map(|address| ("ip", Value::from(address.to_string()))),
        Kind::Domain => Some(("url", json!({ "domain": name }))),
        Kind::Url => {
            let host = crate::observable::url::canonical(name.as_bytes()).map(|url| url.host().to_owned());
            let mut url = Map::new();
            url.insert("full".into(), name.into());
            if let Some(host) = host.filter(|host| !host.is_empty()) {
                url.insert("domain".into(), host.into());
            }
            Some(("url", Value::Object(url)))
        }
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => {
            Some(("file", json!({ "hash": { hit.kind.as_str(): name } })))
        }
        Kind::Email => Some(("email", json!({ "address": name }))),
        _ => None,
    }
}
