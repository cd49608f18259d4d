//! A hit as ECS or as OCSF. As ECS: one element of `threat.enrichments` (ECS threat fields, `threat.enrichments.indicator.*` and
//! `threat.enrichments.matched.*`). The few fields that are not ECS are declared in `docs/output.md`.

mod alert;
mod ocsf;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashSet, HashTable};
use jiff::Timestamp;

use crate::alert_key::KeyStart;
use crate::asset::AssetType;
use crate::encoding::tag::{Enrichment, Frame, Node};
use crate::intel::allowlist::Listing;
use crate::intel::indicator::Context;
use crate::intel::snapshot::{Snapshot, Stored, derived_id};
use crate::matcher::{Hit, Relation};
use crate::observable::Kind;
use crate::policy::EventFacts;
use crate::schema::FieldId;
use crate::severity::{self, Severity, severity};

pub use self::alert::{alert_key, asset};
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
    pub values: Vec<Enrichment>,
    /// At least as many bytes as they take in any encoding.
    pub bytes: usize,
    /// Some were left out because of their bytes.
    pub is_cut: bool,
    /// How they are made.
    pub style: Style,
}

/// How enrichments are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Style {
    /// As those of an event of OCSF.
    pub is_ocsf: bool,
    /// Without `osint`, which the event's version of OCSF does not have.
    pub lacks_osint: bool,
    /// With what flat values are made of.
    pub has_flats: bool,
    /// Without a time: none is known.
    pub is_timeless: bool,
}

/// Makes the enrichments of the events of a batch. What it makes of an indicator it keeps for the events to come, as far
/// as [`KEPT_BYTES`] go.
#[derive(Debug)]
pub struct Enricher<'s> {
    snapshot: &'s Snapshot,
    kept: HashTable<Arc<Known>>,
    hasher: RandomState,
    /// Bytes that are kept, and how many may be.
    bytes: usize,
    limit: usize,
    /// The time of the event before, as text.
    time: Option<(Timestamp, Arc<str>)>,
    style: Style,
}

/// The most bytes that an [`Enricher`] keeps.
pub const KEPT_BYTES: usize = 256 << 10;

/// The enrichments of an indicator that was found at a field.
#[derive(Debug)]
struct Known {
    indicator: u32,
    field: FieldId,
    kind: Kind,
    name: Arc<str>,
    form: Variant,
    is_derived: bool,
    is_in_text: bool,
    /// The path of its text, when no row of the field table names it.
    text: Option<Arc<str>>,
    listings: Vec<Arc<str>>,
    id: Arc<str>,
    feed: Arc<str>,
    frame: Arc<Frame>,
    key_start: KeyStart,
}

/// What makes enrichments of one indicator differ, besides the field: how much they say, how, how severe the hit is, and by
/// what its asset is known.
type Variant = (Form, Style, Severity, Option<AssetType>);

/// How much an enrichment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Whole,
    /// All of it, and that the event has more.
    Truncated,
    /// The indicator and the field, and that there is more.
    Short,
}

impl<'s> Enricher<'s> {
    /// For hits of this snapshot.
    pub fn new(snapshot: &'s Snapshot) -> Enricher<'s> {
        let (kept, hasher) = (HashTable::new(), RandomState::default());
        Enricher { snapshot, kept, hasher, bytes: 0, limit: KEPT_BYTES, time: None, style: Style::default() }
    }

    /// Sets how enrichments are made: as ECS and without flat values until then.
    pub fn set_style(&mut self, style: Style) {
        self.style = style;
    }

    /// Bytes that it keeps.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what it keeps, and keeps nothing any more.
    pub fn keep_nothing(&mut self) {
        self.kept = HashTable::new();
        (self.bytes, self.limit) = (0, 0);
    }

    /// The enrichments of an event's hits, in the order of the hits. `listings` are the allowlists that hold the value of
    /// each hit. With `is_truncated` each says that the event has more. When they have more than `max_bytes`, the best ones
    /// stay, by [`severity::order`], and at least a short one of the best hit.
    pub fn enrichments(
        &mut self,
        hits: &[Hit],
        listings: &[Vec<Listing>],
        facts: &EventFacts,
        max_bytes: usize,
        is_truncated: bool,
    ) -> Enrichments {
        let mut order: Vec<(&Hit, &[Listing])> = hits.iter().zip(listings.iter().map(Vec::as_slice)).collect();
        let form = if is_truncated { Form::Truncated } else { Form::Whole };
        let all = self.in_order(&order, facts, max_bytes, form);
        if !all.is_cut {
            return all;
        }
        order.sort_by_cached_key(|(hit, _)| severity::order(self.snapshot, hit, facts));
        let best = self.in_order(&order, facts, max_bytes, Form::Truncated);
        match best.values.is_empty() {
            true => Enrichments { is_cut: true, ..self.short(hits, facts) },
            false => best,
        }
    }

    /// The best hit in a few words, for an event whose enrichments there is no room for: which indicator was found where,
    /// and that there is more.
    pub fn short(&mut self, hits: &[Hit], facts: &EventFacts) -> Enrichments {
        let Some(hit) = hits.iter().min_by_key(|hit| severity::order(self.snapshot, hit, facts)) else {
            return Enrichments::default();
        };
        let known = self.known(hit, &[], facts, Form::Short);
        let value = self.enrichment(&known, hit, facts);
        Enrichments { bytes: value.bytes(), values: vec![value], is_cut: false, style: self.style }
    }

    fn in_order(
        &mut self,
        hits: &[(&Hit, &[Listing])],
        facts: &EventFacts,
        max_bytes: usize,
        form: Form,
    ) -> Enrichments {
        let (mut seen, mut all) = (HashSet::new(), Enrichments { style: self.style, ..Enrichments::default() });
        for (hit, listings) in hits {
            let known = self.known(hit, listings, facts, form);
            if hits.len() > 1
                && !seen.insert((Arc::clone(&known.id), Arc::clone(&known.feed), hit.field, path_of_text(hit)))
            {
                continue;
            }
            let value = self.enrichment(&known, hit, facts);
            let bytes = value.bytes();
            if all.bytes.saturating_add(bytes) > max_bytes {
                all.is_cut = true;
                break;
            }
            all.bytes += bytes;
            all.values.push(value);
        }
        all
    }

    fn enrichment(&mut self, known: &Known, hit: &Hit, facts: &EventFacts) -> Enrichment {
        let made = Enrichment::new(Arc::clone(&known.frame), Arc::clone(&hit.value), self.time(facts.time));
        let asset = asset(self.snapshot, hit, facts);
        let made = made.of_alert(known.key_start.key(asset), asset.map(|asset| Arc::clone(&asset.name)));
        match &hit.in_text {
            Some(in_text) => made.in_text(in_text.at.start, in_text.at.end),
            None => made,
        }
    }

    fn time(&mut self, time: Timestamp) -> Arc<str> {
        match &self.time {
            Some((known, text)) if *known == time => Arc::clone(text),
            _ => {
                let text: Arc<str> = time.to_string().into();
                self.time = Some((time, Arc::clone(&text)));
                text
            }
        }
    }

    fn known(&mut self, hit: &Hit, listings: &[Listing], facts: &EventFacts, form: Form) -> Arc<Known> {
        let asset = asset(self.snapshot, hit, facts).map(|asset| asset.asset_type);
        let form = (form, self.style, severity(self.snapshot, hit, facts), asset);
        let (is_in_text, text) = (hit.in_text.is_some(), path_of_text(hit));
        let indicator = hit.posting.indicator;
        let hash = self.hasher.hash_one((indicator, hit.field, hit.kind, form, &*hit.name, text.as_deref()));
        let is_derived = hit.is_derived;
        let is_it = |known: &Arc<Known>| {
            (known.indicator, known.field, known.kind, known.form) == (indicator, hit.field, hit.kind, form)
                && (known.is_derived, known.is_in_text) == (is_derived, is_in_text)
                && known.text == text
                && *known.name == *hit.name
                && known.listings.iter().eq(listings.iter().map(|listing| &listing.list))
        };
        if let Some(known) = self.kept.find(hash, is_it) {
            return Arc::clone(known);
        }
        let known = Arc::new(make(self.snapshot, hit, listings, form));
        let bytes = known.bytes();
        if self.bytes + bytes <= self.limit {
            self.bytes += bytes;
            let hasher = &self.hasher;
            let hash_of = |known: &Arc<Known>| {
                let text = known.text.as_deref();
                hasher.hash_one((known.indicator, known.field, known.kind, known.form, &*known.name, text))
            };
            self.kept.insert_unique(hash, Arc::clone(&known), hash_of);
        }
        known
    }
}

impl Known {
    /// At least as many bytes as it takes among others.
    fn bytes(&self) -> usize {
        let texts = self.id.len() + self.feed.len() + self.name.len() + self.text.as_ref().map_or(0, |text| text.len());
        2 * size_of::<Known>() + self.frame.bytes() + texts + self.listings.len() * size_of::<Arc<str>>()
    }
}

/// The id of the indicator behind a hit.
pub fn indicator_id(snapshot: &Snapshot, hit: &Hit) -> String {
    id_of(snapshot, &snapshot.indicator(hit.posting.indicator), hit)
}

fn id_of(snapshot: &Snapshot, indicator: &Stored, hit: &Hit) -> String {
    match &indicator.id {
        Some(id) => id.to_string(),
        None => derived_id(&snapshot.feed_of(hit.posting.indicator).name, hit.kind, &hit.name),
    }
}

/// The first rule that selects the indicator of a hit. Without rules, each feed has an implicit one of its own name.
fn rule_name(hit: &Hit, feed: &str) -> Arc<str> {
    match &hit.selection {
        Some(selection) => Arc::clone(selection.first()),
        None => format!("feed:{feed}").into(),
    }
}

fn make(snapshot: &Snapshot, hit: &Hit, listings: &[Listing], variant: Variant) -> Known {
    let (form, style, severity, asset) = variant;
    let indicator = snapshot.indicator(hit.posting.indicator);
    let feed: Arc<str> = snapshot.feed_of(hit.posting.indicator).name.as_str().into();
    let (name, id): (Arc<str>, Arc<str>) = (hit.name.clone().into(), id_of(snapshot, &indicator, hit).into());
    let mut shown = Vec::with_capacity(10);
    shown.push(("type", stix_type(snapshot, hit)));
    shown.push(("name", Node::Text(Arc::clone(&name))));
    if form != Form::Short {
        describe(&mut shown, &indicator.context, &feed);
        shown.extend(value_fields(hit, &name));
    } else {
        shown.push(("provider", Node::Text(Arc::clone(&feed))));
    }
    let path: Arc<str> = hit.path(snapshot.table()).into();
    let field = ("field", Node::Text(Arc::clone(&path)));
    let matched_id = ("id", Node::Text(Arc::clone(&id)));
    let matched = match form {
        Form::Short => vec![field, matched_id],
        Form::Whole | Form::Truncated => {
            let rule = ("type", Node::Word("indicator_match_rule"));
            let occurred = (!style.is_timeless).then_some(("occurred", Node::EventTime));
            [("atomic", Node::EventValue), field, matched_id, rule].into_iter().chain(occurred).collect()
        }
    };
    let mut own = Vec::with_capacity(10);
    own.push(("rule", Node::Text(rule_name(hit, &feed))));
    if let Some(selection) = &hit.selection
        && form != Form::Short
    {
        own.push(("rules", Node::Texts(selection.ids().to_vec())));
    }
    own.push(("detection", Node::Word(Detection::Live.as_str())));
    own.push(("severity", Node::Word(severity.as_str())));
    own.push(("alert_key", Node::EventAlertKey));
    own.extend(
        asset.map(|asset| {
            ("asset", Node::Object(vec![("type", Node::Word(asset.as_str())), ("name", Node::EventAsset)]))
        }),
    );
    own.push(("snapshot", Node::Text(Arc::clone(snapshot.name()))));
    let listings: Vec<Arc<str>> = listings.iter().map(|listing| Arc::clone(&listing.list)).collect();
    if let Some(ecs) = &snapshot.table().get(hit.field).ecs
        && form != Form::Short
    {
        own.push(("ecs_field", Node::Text(ecs.as_str().into())));
    }
    if hit.is_derived {
        own.push(("derived", Node::True));
    }
    if hit.in_text.is_some() && form != Form::Short {
        own.push(("offset", Node::Object(vec![("start", Node::EventStart), ("end", Node::EventEnd)])));
    }
    if !listings.is_empty() {
        own.push(("allowlists", Node::Texts(listings.clone())));
    }
    if form != Form::Whole {
        own.push(("truncated", Node::True));
    }
    let ecs = Node::Object(vec![
        ("indicator", Node::Object(shown)),
        ("matched", Node::Object(matched)),
        ("feed", Node::Object(vec![("name", Node::Text(Arc::clone(&feed)))])),
        ("hotlist", Node::Object(own)),
    ]);
    let flat = style
        .has_flats
        .then(|| [Arc::clone(&path), severity.as_str().into(), Detection::Live.as_str().into(), Arc::clone(&name)]);
    let frame = Arc::new(match style.is_ocsf {
        true => {
            let osint = || ocsf::osint(snapshot, hit, &indicator.context, form, (&path, &id, &feed));
            Frame::with(ocsf::enrichment(&path, &feed, ecs), (!style.lacks_osint).then(osint), flat)
        }
        false => Frame::with(ecs, None, flat),
    });
    Known {
        indicator: hit.posting.indicator,
        field: hit.field,
        kind: hit.kind,
        name,
        form: variant,
        is_derived: hit.is_derived,
        is_in_text: hit.in_text.is_some(),
        text: path_of_text(hit),
        listings,
        id,
        feed,
        frame,
        key_start: alert::key_start(snapshot, hit),
    }
}

/// The path of the text in which a hit stands, when no row of the field table names it.
fn path_of_text(hit: &Hit) -> Option<Arc<str>> {
    hit.in_text.as_ref().and_then(|in_text| in_text.path.clone())
}

/// The context that a feed gives to an indicator.
fn describe(shown: &mut Vec<(&'static str, Node)>, context: &Context, feed: &Arc<str>) {
    let text = |text: &str| Node::Text(text.into());
    let description = match (&context.name, &context.description) {
        (Some(name), Some(description)) => Some(text(&format!("{name}: {description}"))),
        (Some(one), None) | (None, Some(one)) => Some(text(one)),
        (None, None) => None,
    };
    shown.extend(description.map(|description| ("description", description)));
    shown.push(("provider", Node::Text(Arc::clone(feed))));
    shown.push(("confidence", Node::Word(context.confidence.as_str())));
    let time = |time: Option<Timestamp>| time.map(|time| text(&time.to_string()));
    for (key, node) in [
        ("first_seen", time(context.first_seen)),
        ("last_seen", time(context.last_seen)),
        ("marking", context.tlp.map(|tlp| Node::Object(vec![("tlp", Node::Word(tlp.as_str()))]))),
        ("reference", context.reference.as_deref().map(text)),
    ] {
        shown.extend(node.map(|node| (key, node)));
    }
}

/// The STIX 2.1 object type of what was found (`threat.indicator.type`). The wider fields say it with their STIX path.
fn stix_type(snapshot: &Snapshot, hit: &Hit) -> Node {
    Node::Word(match hit.kind {
        Kind::Ip if hit.name.contains(':') => "ipv6-addr",
        Kind::Ip => "ipv4-addr",
        Kind::Domain => "domain-name",
        Kind::Url => "url",
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => "file",
        Kind::Email => "email-addr",
        Kind::User => "user-account",
        Kind::Path | Kind::Name | Kind::DnsType | Kind::Text | Kind::Number | Kind::Time => {
            let paths = &snapshot.table().get(hit.field).stix_paths;
            let object = paths.first().and_then(|path| path.split_once(':')).map(|(object, _)| object);
            return object.map_or(Node::Word("artifact"), |object| Node::Text(object.into()));
        }
    })
}

/// The ECS field that carries the indicator's value, for the kinds that have one.
fn value_fields(hit: &Hit, name: &Arc<str>) -> Option<(&'static str, Node)> {
    let text = || Node::Text(Arc::clone(name));
    match hit.kind {
        // An expression is not a value.
        _ if hit.relation == Relation::Matches => None,
        // ECS types the field as an address, so only `name` has a network.
        Kind::Ip => name.parse::<IpAddr>().ok().map(|address| ("ip", Node::Text(address.to_string().into()))),
        Kind::Domain => Some(("url", Node::Object(vec![("domain", text())]))),
        Kind::Url => {
            let host = crate::observable::url::canonical(name.as_bytes()).map(|url| url.host().to_owned());
            let mut url = vec![("full", text())];
            if let Some(host) = host.filter(|host| !host.is_empty()) {
                url.push(("domain", Node::Text(host.into())));
            }
            Some(("url", Node::Object(url)))
        }
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => {
            let hash = Node::Object(vec![(hit.kind.as_str(), text())]);
            Some(("file", Node::Object(vec![("hash", hash)])))
        }
        Kind::Email => Some(("email", Node::Object(vec![("address", text())]))),
        _ => None,
    }
}
