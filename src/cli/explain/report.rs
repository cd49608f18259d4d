//! The output of `explain`: first the verdict, then each found indicator with its source, then every value.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::lookup_log::{LookedUpValue, LookupLog};
use crate::circumstances::{Decision, Direction};
use crate::cli::indicators::LoadedIndicators;
use crate::counted::count;
use crate::detect::{Detector, Survey, Verdict};
use crate::enrich;
use crate::escape::Escaped;
use crate::intel::allowlist::Listing;
use crate::matcher::Hit;
use crate::policy::{EventFacts, Suppression};
use crate::severity::severity;

/// The explanation of one event. It is shown as text, and written as JSON.
#[derive(Serialize)]
pub(super) struct Explanation {
    /// Whether `run` would tag the event.
    hit: bool,
    /// The time at which validity is checked.
    event_time: Timestamp,
    /// Properties of the event or the policy that affect the rest.
    remarks: Vec<String>,
    hits: Vec<FoundIndicator>,
    /// Found indicators that policy dropped.
    dropped: Vec<FoundIndicator>,
    /// Composite indicators of which only a part was found.
    unfulfilled: Vec<FoundIndicator>,
    /// Feed lines with a value of the event that the import guard refused.
    refused: Vec<RefusedLine>,
    /// Every value at a field of the table.
    values: Vec<LookedUpValue>,
    /// Values that could be indicators, at paths that no schema has; `kind` is what to add them as to `match.fields`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unchecked: Vec<UncheckedPath>,
    /// Texts that have in them what could be an indicator, and that are not scanned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unscanned: Vec<String>,
    /// The number of loaded indicators.
    indicators: usize,
}

/// A path that no schema has, with a value that could be an indicator.
#[derive(Serialize)]
struct UncheckedPath {
    field: String,
    kind: &'static str,
}

/// The most paths that are listed.
const MAX_UNCHECKED: usize = 20;

/// One indicator of one feed, at all fields at which it was found.
#[derive(Serialize)]
struct FoundIndicator {
    kind: &'static str,
    indicator: String,
    feed: String,
    id: String,
    at: Vec<FieldValue>,
    /// `file:line`, or the segment.
    from: Vec<String>,
    /// How severe the hit is: at the field where it is most severe.
    severity: &'static str,
    /// The direction of the connection, and the decision about the event.
    circumstances: String,
    /// The asset of the hit, at that field.
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<ShownAsset>,
    alert_key: String,
    /// The rules that select the indicator, the first one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<ShownRule>,
    confidence: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tlp: Option<&'static str>,
    /// Allowlists that contain the value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowlists: Vec<String>,
    /// The reason that policy dropped the indicator.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'static str>,
    /// The parts that must be found together.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<String>,
}

#[derive(Serialize)]
struct ShownRule {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

#[derive(Serialize)]
struct ShownAsset {
    #[serde(rename = "type")]
    asset_type: &'static str,
    name: String,
}

#[derive(PartialEq, Serialize)]
struct FieldValue {
    field: String,
    value: String,
}

#[derive(Serialize)]
struct RefusedLine {
    value: String,
    from: String,
    reason: String,
}

impl Explanation {
    /// Builds the explanation from the verdict of the live stream and the verdict over every field, which has more dropped
    /// findings.
    pub(super) fn new(
        loaded: &LoadedIndicators,
        verdict: &Verdict,
        at_every_field: &Verdict,
        lookup_log: LookupLog,
        survey: &Survey,
    ) -> Explanation {
        let detector = &loaded.detector;
        let hits = verdict.hits.iter().zip(&verdict.hit_listings).map(|(hit, listings)| (hit, None, &listings[..]));
        let of = at_every_field;
        let dropped = of.suppressed.iter().zip(&of.suppressed_listings);
        let dropped = dropped.map(|((hit, reason), listings)| (hit, Some(*reason), &listings[..]));
        let unfulfilled = of.unfulfilled.iter().map(|hit| (hit, None, &[][..]));
        let facts = &verdict.facts;
        let (mut hits, mut dropped) = (grouped(detector, facts, hits), grouped(detector, facts, dropped));
        let mut unfulfilled = grouped(detector, facts, unfulfilled);
        let all: Vec<&Hit> = hits.iter().chain(&dropped).chain(&unfulfilled).map(|(hit, _)| *hit).collect();
        let mut places = loaded.origins.places(&detector.snapshot, &all).into_iter();
        for (_, found) in hits.iter_mut().chain(&mut dropped).chain(&mut unfulfilled) {
            found.from = places.next().unwrap_or_default();
        }
        for (hit, found) in &mut unfulfilled {
            let pattern = detector.snapshot.composite(hit.posting.indicator);
            found.needs = pattern.map(|pattern| pattern.program.shown(&pattern.terms).to_string());
        }
        let (values, keys) = lookup_log.end();
        let refused = loaded.origins.refused.iter().filter(|(_, _, refused)| keys.contains(&refused.value.to_string()));
        let refused = refused.map(|(path, line, refused)| RefusedLine {
            value: refused.value.to_string(),
            from: format!("{}:{line}", path.display()),
            reason: refused.reason.to_string(),
        });
        let only = |found: Vec<(&Hit, FoundIndicator)>| found.into_iter().map(|(_, found)| found).collect();
        Explanation {
            hit: !verdict.hits.is_empty(),
            event_time: verdict.facts.time,
            remarks: remarks(detector, verdict),
            hits: only(hits),
            dropped: only(dropped),
            unfulfilled: only(unfulfilled),
            refused: refused.collect(),
            values,
            unchecked: survey
                .most_frequent(MAX_UNCHECKED)
                .into_iter()
                .map(|(field, kind)| UncheckedPath { field: field.to_owned(), kind: kind.as_str() })
                .collect(),
            unscanned: match detector.snapshot.options().text {
                true => Vec::new(),
                false => survey.most_frequent_texts(MAX_UNCHECKED).into_iter().map(str::to_owned).collect(),
            },
            indicators: detector.snapshot.len(),
        }
    }

    /// The first line: whether the event hits, and if not, the closest reason.
    fn verdict(&self) -> String {
        let indicators = |number: usize| count(number as u64, "indicator", "indicators");
        let reasons = |of: &[FoundIndicator]| {
            let reasons: BTreeSet<&str> = of.iter().filter_map(|found| found.reason).collect();
            reasons.into_iter().collect::<Vec<_>>().join(", ")
        };
        match (self.hits.len(), self.dropped.len(), self.unfulfilled.len()) {
            (1.., ..) => format!("HIT: {}", indicators(self.hits.len())),
            (0, 1.., _) => {
                let (found, reasons) = (indicators(self.dropped.len()), reasons(&self.dropped));
                format!("NO HIT: {found} found, but dropped by policy ({reasons})")
            }
            (0, 0, 1..) => "NO HIT: only a part of a composite indicator was found".to_owned(),
            (0, 0, 0) if !self.refused.is_empty() => {
                "NO HIT: a feed has a value of this event, but the import guard refused it".to_owned()
            }
            (0, 0, 0) if self.indicators == 0 => "NO HIT: no indicators are loaded".to_owned(),
            (0, 0, 0) if self.values.is_empty() => {
                "NO HIT: none of the checked fields is in this event; add yours with `match.fields`, see docs/configuration.md"
                    .to_owned()
            }
            (0, 0, 0) => "NO HIT: no value of this event is an indicator".to_owned(),
        }
    }
}

/// Groups hits by indicator and reason, with all the fields at which each was found.
fn grouped<'h>(
    detector: &Detector,
    facts: &EventFacts,
    hits: impl Iterator<Item = (&'h Hit, Option<Suppression>, &'h [Listing])>,
) -> Vec<(&'h Hit, FoundIndicator)> {
    let snapshot = &detector.snapshot;
    let mut all: Vec<(&Hit, FoundIndicator)> = Vec::new();
    let mut hits: Vec<_> = hits.collect();
    hits.sort_by_key(|(hit, ..)| Reverse(severity(snapshot, hit, facts)));
    for (hit, reason, listings) in hits {
        let (feed, id) = (&snapshot.feed_of(hit.posting.indicator).name, enrich::indicator_id(snapshot, hit));
        let at = FieldValue {
            field: hit.path(snapshot.table()).to_owned(),
            value: String::from_utf8_lossy(&hit.value).into_owned(),
        };
        let reason_word = reason.map(Suppression::as_str);
        let known = all.iter_mut().find(|(known, found)| {
            (known.kind, &*known.name, found.reason) == (hit.kind, &*hit.name, reason_word)
                && (&found.feed, &found.id) == (feed, &id)
        });
        if let Some((_, found)) = known {
            if !found.at.contains(&at) {
                found.at.push(at);
            }
            continue;
        }
        let stored = snapshot.indicator(hit.posting.indicator);
        let direction = facts.circumstances.direction(snapshot.table().get(hit.field).role);
        let direction = direction.map_or("direction unknown", Direction::as_str);
        let decision = match facts.circumstances.decision() {
            Decision::Unknown => "outcome unknown",
            known => known.as_str(),
        };
        let listed =
            |listing: &Listing| format!("{}: allowlist {:?} contains {}", listing.action, listing.list, listing.entry);
        all.push((
            hit,
            FoundIndicator {
                kind: hit.kind.as_str(),
                indicator: hit.name.to_string(),
                feed: feed.clone(),
                id,
                at: vec![at],
                from: Vec::new(),
                severity: severity(snapshot, hit, facts).as_str(),
                circumstances: format!("{direction}, {decision}"),
                asset: enrich::asset(snapshot, hit, facts)
                    .map(|asset| ShownAsset { asset_type: asset.asset_type.as_str(), name: asset.name.to_string() }),
                alert_key: enrich::alert_key(snapshot, hit, facts).as_str().to_owned(),
                rules: shown_rules(detector, hit),
                confidence: stored.context.confidence.as_str(),
                valid_from: stored.valid_from,
                valid_until: stored.valid_until,
                tlp: stored.context.tlp.map(|tlp| tlp.as_str()),
                allowlists: listings.iter().map(listed).collect(),
                reason: reason_word,
                explanation: reason.map(Suppression::explain),
                needs: None,
            },
        ));
    }
    all
}

/// The rules of a hit, with their texts for people.
fn shown_rules(detector: &Detector, hit: &Hit) -> Vec<ShownRule> {
    let rules = detector.policy.as_ref().and_then(|policy| policy.rules.as_deref());
    let shown = |id: &Arc<str>| {
        let rule = rules.and_then(|rules| rules.iter().find(|rule| rule.id == *id));
        let texts = rule.map(|rule| (rule.name.clone(), rule.description.clone()));
        let (name, description) = texts.unwrap_or_default();
        ShownRule { id: id.to_string(), name, description }
    };
    hit.selection.iter().flat_map(|selection| selection.ids()).map(shown).collect()
}

fn remarks(detector: &Detector, verdict: &Verdict) -> Vec<String> {
    let mut remarks = Vec::new();
    match &detector.policy {
        None => remarks.push("no policy is applied; give --config to apply rules, validity and the C2 rule".to_owned()),
        Some(policy) if policy.only_allowlists => remarks.push(
            "only allowlists are applied; give --config to apply rules, validity and the C2 rule, too".to_owned(),
        ),
        Some(policy) if policy.is_skewed(&verdict.facts) => remarks.push(format!(
            "the event time is more than match.max_clock_skew ({} s) from now: validity is also checked at {}",
            policy.max_clock_skew.as_secs(),
            verdict.facts.arrival
        )),
        Some(_) => {}
    }
    if let Some(malformed) = verdict.malformed {
        let what = malformed.as_str();
        remarks.push(format!(
            "the event is a malformed JSON document ({what}); it was matched as far as it could be parsed"
        ));
    }
    for budget in verdict.exceeded.iter() {
        remarks.push(format!("the event exceeds the budget {}; the best findings are kept", budget.as_str()));
    }
    remarks
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.verdict())?;
        self.hits.iter().try_for_each(|found| found.fmt(f))?;
        if !self.dropped.is_empty() {
            writeln!(f, "\ndropped by policy: {}", self.dropped.len())?;
            self.dropped.iter().try_for_each(|found| found.fmt(f))?;
        }
        if !self.unfulfilled.is_empty() {
            writeln!(f, "\nfound only in part: {}", self.unfulfilled.len())?;
            self.unfulfilled.iter().try_for_each(|found| found.fmt(f))?;
        }
        if !self.refused.is_empty() {
            writeln!(f, "\nrefused by the import guard: {}", self.refused.len())?;
        }
        for refused in &self.refused {
            let RefusedLine { value, from, reason } = refused;
            writeln!(f, "  {} at {}: {reason}", Escaped(value), Escaped(from))?;
        }
        writeln!(f, "\nevent time: {}", self.event_time)?;
        self.remarks.iter().try_for_each(|remark| writeln!(f, "{}", Escaped(remark)))?;
        if !self.values.is_empty() {
            writeln!(f, "\nevery value at a field of the table:")?;
        }
        for value in &self.values {
            writeln!(f, "{} ({}) = {}", value.fields.join(", "), value.kind, value.value)?;
            value.lookups.iter().try_for_each(|sentence| writeln!(f, "    {}", Escaped(sentence)))?;
        }
        if !self.unchecked.is_empty() {
            writeln!(f, "\nnot looked up, though they could be indicators; add them to match.fields:")?;
        }
        for path in &self.unchecked {
            writeln!(f, "    - {{ field: {}, kind: {} }}", Escaped(&path.field), path.kind)?;
        }
        if !self.unscanned.is_empty() {
            writeln!(
                f,
                "\ntexts that could hold indicators and are not scanned; name them in match.text, or give --text:"
            )?;
        }
        self.unscanned.iter().try_for_each(|path| writeln!(f, "    - {}", Escaped(path)))?;
        writeln!(f, "\nhits: {}, dropped by policy: {}", self.hits.len(), self.dropped.len())
    }
}

impl fmt::Display for FoundIndicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {} {} of feed {}", self.kind, Escaped(&self.indicator), Escaped(&self.feed))?;
        for at in &self.at {
            writeln!(f, "      at {} = {:?}", at.field, at.value)?;
        }
        if let (Some(reason), Some(explanation)) = (self.reason, self.explanation) {
            writeln!(f, "      {reason}: {explanation}")?;
        }
        self.allowlists.iter().try_for_each(|list| writeln!(f, "      {}", Escaped(list)))?;
        if let Some(needs) = &self.needs {
            writeln!(f, "      needs: {}", Escaped(needs))?;
        }
        if !self.from.is_empty() {
            writeln!(f, "      from {}", Escaped(self.from.join(", ")))?;
        }
        let validity = match (self.valid_from, self.valid_until) {
            (None, None) => "at all times".to_owned(),
            (Some(from), None) => format!("from {from}"),
            (None, Some(until)) => format!("until {until}"),
            (Some(from), Some(until)) => format!("from {from} until {until}"),
        };
        let tlp = self.tlp.map(|tlp| format!(", TLP {tlp}")).unwrap_or_default();
        writeln!(f, "      severity {} ({})", self.severity, self.circumstances)?;
        let asset = self.asset.as_ref().map(|asset| format!("asset {} {:?}", asset.asset_type, asset.name));
        let asset = asset.unwrap_or_else(|| "no asset".to_owned());
        writeln!(f, "      {}, alert key {}", Escaped(&asset), self.alert_key)?;
        for ShownRule { id, name, description } in &self.rules {
            let texts = [name, description].into_iter().flatten().map(|text| format!(", {text}"));
            writeln!(f, "      rule {id}{}", Escaped(texts.collect::<String>()))?;
        }
        writeln!(f, "      {}, confidence {}, valid {validity}{tlp}", Escaped(&self.id), self.confidence)
    }
}
