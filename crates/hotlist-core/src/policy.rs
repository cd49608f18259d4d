//! Policy: which confirmed findings count as hits. Each rule that drops one has a name, which is counted and which
//! `explain` prints.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::asset::AssetFacts;
use crate::circumstances::{Circumstances, PRIVATE_NETWORKS};
use crate::encoding::Inbound;
use crate::intel::allowlist::{Action, Allowlists, Listing, Subject};
use crate::intel::indicator::Confidence;
use crate::intel::snapshot::{Feed, Origin, Snapshot, Stored};
use crate::matcher::Hit;
use crate::observable::Kind;
use crate::rules::{IndicatorKind, NotSelected, Rules, Selection};
use crate::schema::{Field, Role};

/// The facts of an event for policy and tagging.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFacts {
    /// Event time: `@timestamp`, else the record's time, else arrival.
    pub time: Timestamp,
    /// When the event arrived.
    pub arrival: Timestamp,
    /// `event.kind` is `enrichment`: the event is itself an indicator.
    pub is_indicator: bool,
    /// `class_uid` is a number: the event is one of OCSF.
    pub is_ocsf: bool,
    /// Its `metadata.version` is of before OCSF 1.3.0, which added `osint`.
    pub lacks_osint: bool,
    /// Its statements about its connection and the decision about it.
    pub circumstances: Circumstances,
    /// The assets that it names.
    pub assets: AssetFacts,
}

/// The reason that a finding is not a hit, in the order in which policy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suppression {
    /// No enabled rule selects the indicator, by its feed or collection, its kind and its kill chain phase.
    NoRule,
    /// The field is not checked for collections, or not for CTI rules.
    Column,
    /// The event is older than the indicator's validity.
    NotYetValid,
    /// The event is younger than the indicator's validity.
    Expired,
    /// A command-and-control address does not count on this side of a connection.
    CommandAndControlField,
    /// The feed withdrew the indicator.
    Revoked,
    /// An allowlist that suppresses holds the event's value.
    Allowlist,
    /// The indicator's confidence is below what each rule asks for that would select it.
    Confidence,
    /// The event is itself an indicator (`event.kind: enrichment`).
    EventIsIndicator,
}

impl Suppression {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Suppression; 9] = [
        Suppression::NoRule,
        Suppression::Column,
        Suppression::NotYetValid,
        Suppression::Expired,
        Suppression::CommandAndControlField,
        Suppression::Revoked,
        Suppression::Allowlist,
        Suppression::Confidence,
        Suppression::EventIsIndicator,
    ];

    /// The word used in metrics and by `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Suppression::NoRule => "no_rule",
            Suppression::Column => "column",
            Suppression::NotYetValid => "not_yet_valid",
            Suppression::Expired => "expired",
            Suppression::CommandAndControlField => "c2_field",
            Suppression::Revoked => "revoked",
            Suppression::Allowlist => "allowlist",
            Suppression::Confidence => "confidence",
            Suppression::EventIsIndicator => "event_is_indicator",
        }
    }

    /// A sentence for people.
    pub fn explain(self) -> &'static str {
        match self {
            Suppression::NoRule => "no enabled rule selects it, by its feed, kind and kill chain phase",
            Suppression::Column => "this field is not checked for indicators that came in this way",
            Suppression::NotYetValid => "the event is older than the indicator's validity, grace included",
            Suppression::Expired => "the event is younger than the indicator's validity, grace included",
            Suppression::CommandAndControlField => {
                "a command-and-control address does not count at this field (match.c2.live)"
            }
            Suppression::Revoked => "its feed withdrew it",
            Suppression::Allowlist => "an allowlist holds the value",
            Suppression::Confidence => "its confidence is below min_confidence of each rule that would select it",
            Suppression::EventIsIndicator => "the event is itself an indicator (event.kind: enrichment)",
        }
    }
}

impl fmt::Display for Suppression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The reason that a finding is not a hit, and the verdict of allowlists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The rule that dropped it.
    pub reason: Suppression,
    /// Every allowlist that holds its value, when that is the reason.
    pub listings: Vec<Listing>,
}

impl From<Suppression> for Dropped {
    fn from(reason: Suppression) -> Dropped {
        Dropped { reason, listings: Vec::new() }
    }
}

/// What policy says of a hit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The allowlists that it is annotated with.
    pub listings: Vec<Listing>,
    /// The rules that select its indicator; `None` without rules.
    pub selection: Option<Arc<Selection>>,
}

/// Where command-and-control addresses and networks count. Names, URLs and files count everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CommandAndControl {
    /// At `destination.ip`, and at what means it in another schema.
    DestinationIp,
    /// At every field but those of the initiating side: a scanner that connects from there is no infected host of ours.
    #[default]
    Responder,
    /// At every field.
    Any,
}

impl CommandAndControl {
    /// Every choice, with its word in the configuration.
    pub const WORDS: [(&'static str, CommandAndControl); 3] = [
        ("destination_ip", CommandAndControl::DestinationIp),
        ("responder", CommandAndControl::Responder),
        ("any", CommandAndControl::Any),
    ];

    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        CommandAndControl::WORDS.iter().find(|(_, of)| *of == self).map_or("", |(word, _)| *word)
    }

    /// Whether a command-and-control address counts at a field.
    pub fn counts_at(self, field: &Field) -> bool {
        match self {
            CommandAndControl::DestinationIp => field.meaning() == "destination.ip",
            // `related` lists the addresses of both sides.
            CommandAndControl::Responder => {
                !matches!(field.role, Role::Initiator | Role::Forwarded | Role::Asset)
                    && !field.meaning().starts_with("related.")
            }
            CommandAndControl::Any => true,
        }
    }
}

/// The active rules.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The rules that select the indicators that can hit. `None`: each enabled feed has a rule of its own, which selects all
    /// of it.
    pub rules: Option<Arc<Rules>>,
    /// How far outside an indicator's validity an event may lie. 5 days by default.
    pub grace: Duration,
    /// Where command-and-control addresses count.
    pub c2: CommandAndControl,
    /// The least confidence that counts. `NotSpecified` indicators count below [`Confidence::Low`] only.
    pub confidence_floor: Confidence,
    /// The values that are known to be harmless or shared.
    pub allowlists: Arc<Allowlists>,
    /// Whether nothing but the allowlists counts (`scan`). Off by default.
    pub only_allowlists: bool,
    /// How far from its arrival an event's time is believed. Beyond that, validity is asked at both times, and either may
    /// hold: clocks are wrong, and who writes an event may choose its time. 7 days by default.
    pub max_clock_skew: Duration,
    /// Whether events that are indicators themselves (`event.kind: enrichment`) never hit. On by default.
    pub skip_enrichment_events: bool,
    /// Our networks: they distinguish inbound from outbound connections where the event does not.
    pub internal_networks: Arc<[IpNet]>,
    /// The treatment of enrichments that arrive with an event.
    pub inbound: Inbound,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            rules: None,
            grace: Duration::from_secs(5 * 24 * 60 * 60),
            c2: CommandAndControl::default(),
            confidence_floor: Confidence::NotSpecified,
            allowlists: Arc::default(),
            only_allowlists: false,
            max_clock_skew: Duration::from_secs(7 * 24 * 60 * 60),
            skip_enrichment_events: true,
            internal_networks: PRIVATE_NETWORKS.as_slice().into(),
            inbound: Inbound::default(),
        }
    }
}

impl Policy {
    /// Whether a finding is a hit, and with what; else the first reason to drop it.
    ///
    /// # Errors
    /// The finding is no hit.
    pub fn evaluate(&self, snapshot: &Snapshot, hit: &Hit, facts: &EventFacts) -> Result<Allowed, Dropped> {
        if self.only_allowlists {
            return Ok(Allowed { listings: self.ask_allowlists(hit)?, selection: None });
        }
        let indicator = snapshot.indicator(hit.posting.indicator);
        let selected = self.ask_rules(snapshot, &indicator, hit);
        if selected == Err(NotSelected::NoRule) {
            return Err(Suppression::NoRule.into());
        }
        self.before_allowlists(snapshot, &indicator, hit, facts)?;
        let listings = self.ask_allowlists(hit)?;
        let selection = selected.map_err(|_| Suppression::Confidence)?;
        if indicator.context.confidence < self.confidence_floor {
            return Err(Suppression::Confidence.into());
        }
        if facts.is_indicator && self.skip_enrichment_events {
            return Err(Suppression::EventIsIndicator.into());
        }
        Ok(Allowed { listings, selection })
    }

    /// The rules that select the indicator of a finding.
    fn ask_rules(
        &self,
        snapshot: &Snapshot,
        indicator: &Stored,
        hit: &Hit,
    ) -> Result<Option<Arc<Selection>>, NotSelected> {
        let feed = snapshot.feed_of(hit.posting.indicator);
        if !feed.enabled {
            return Err(NotSelected::NoRule);
        }
        let Some(rules) = &self.rules else { return Ok(None) };
        let kind = match snapshot.is_composite(hit.posting.indicator) {
            true => IndicatorKind::Pattern,
            false => IndicatorKind::Of(hit.kind),
        };
        rules.select(feed, kind, &indicator.context).map(Some)
    }

    /// Whether an indicator of a feed can hit.
    pub fn is_enabled(&self, feed: &Feed) -> bool {
        feed.enabled && self.rules.as_ref().is_none_or(|rules| rules.names(feed))
    }

    fn before_allowlists(
        &self,
        snapshot: &Snapshot,
        indicator: &Stored,
        hit: &Hit,
        facts: &EventFacts,
    ) -> Result<(), Suppression> {
        let feed = snapshot.feed_of(hit.posting.indicator);
        let field = snapshot.table().get(hit.field);
        let checked = match feed.origin {
            Origin::Feed => field.cti,
            Origin::Collection => field.collection,
        };
        if !checked {
            Err(Suppression::Column)
        } else if let Some(outside) = self.outside_either(indicator, facts) {
            Err(outside)
        } else if hit.kind == Kind::Ip && indicator.context.is_command_and_control() && !self.c2.counts_at(field) {
            Err(Suppression::CommandAndControlField)
        } else if indicator.revoked {
            Err(Suppression::Revoked)
        } else {
            Ok(())
        }
    }

    /// The allowlists that hold the finding's value, when all of them only annotate.
    fn ask_allowlists(&self, hit: &Hit) -> Result<Vec<Listing>, Dropped> {
        if self.allowlists.is_empty() {
            return Ok(Vec::new());
        }
        let listings = self.allowlists.listings(&Subject::new(hit.kind, &hit.value, &hit.name));
        match listings.iter().any(|listing| listing.action == Action::Suppress) {
            true => Err(Dropped { reason: Suppression::Allowlist, listings }),
            false => Ok(listings),
        }
    }

    /// Whether the event's time lies so far from its arrival that it is not believed alone.
    pub fn is_skewed(&self, facts: &EventFacts) -> bool {
        facts.time.duration_since(facts.arrival).unsigned_abs() > self.max_clock_skew
    }

    /// The reason that an event lies outside an indicator's validity, at its own time and, if that is not believed, at
    /// its arrival.
    fn outside_either(&self, indicator: &Stored, facts: &EventFacts) -> Option<Suppression> {
        let outside = self.outside_validity(indicator, facts.time)?;
        if self.is_skewed(facts) {
            self.outside_validity(indicator, facts.arrival).map(|_| outside)
        } else {
            Some(outside)
        }
    }

    /// `valid_from - grace <= time < valid_until + grace`; a missing bound is open.
    fn outside_validity(&self, indicator: &Stored, time: Timestamp) -> Option<Suppression> {
        let starts = indicator.valid_from.map(|from| from.saturating_sub(self.grace).unwrap_or(Timestamp::MIN));
        let ends = indicator.valid_until.map(|until| until.saturating_add(self.grace).unwrap_or(Timestamp::MAX));
        if starts.is_some_and(|starts| time < starts) {
            Some(Suppression::NotYetValid)
        } else if ends.is_some_and(|ends| time >= ends) {
            Some(Suppression::Expired)
        } else {
            None
        }
    }
}
