//! `hotlist inspect --find`: which indicators a value matches, and under which conditions `run` would say so, too.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::cli::{Failure, indicators};
use crate::detect::Budgets;
use crate::encoding::{Value, Visitor};
use crate::enrich;
use crate::escape::Escaped;
use crate::feed::load::{self, Outcome};
use crate::intel::guard;
use crate::intel::segment::Segment;
use crate::intel::snapshot::{MatchOptions, Snapshot, SnapshotBuilder};
use crate::matcher::{Hit, Matcher};
use crate::observable::refang::refang;
use crate::policy::Policy;
use crate::schema::FieldTable;

/// Fields that are named for one indicator.
const NAMED: usize = 5;

/// The indicators that a value is looked up in.
pub(super) struct Find<'a> {
    pub(super) table: &'a Arc<FieldTable>,
    pub(super) segments: &'a [Arc<Segment>],
    pub(super) seed: u64,
}

/// An indicator of a feed, by its kind, its value, the feed and the id.
type Key = (&'static str, String, String, String);

impl Find<'_> {
    /// Reads the value at every field and writes which indicators it matches. Takes the indicators out of `outcomes`.
    pub(super) fn write_matches(
        &self,
        value: &str,
        outcomes: &mut [Outcome],
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let meant = refang(value.trim());
        let mut generic: HashMap<(String, String), String> = HashMap::new();
        for outcome in outcomes.iter() {
            for indicator in outcome.import.iter().flat_map(|import| &import.indicators) {
                for (_, term, reason) in guard::reasons(indicator) {
                    let of = (outcome.file.feed.name.clone(), term.value.to_string());
                    generic.insert(of, reason.to_string());
                }
            }
        }
        let wide = MatchOptions { subdomains: true, url_hosts: true, ..MatchOptions::EXACT };
        let snapshot = self.snapshot(outcomes, wide)?;
        let hits = hits(&snapshot, &meant);
        let exact = match hits.is_empty() {
            true => HashSet::new(),
            // The indicators are in the first snapshot, and another cannot take them over with other options.
            false => {
                let mut again: Vec<Outcome> =
                    outcomes.iter().map(|outcome| load::load(outcome.file.clone(), self.table)).collect();
                let snapshot = self.snapshot(&mut again, MatchOptions::EXACT)?;
                self::hits(&snapshot, &meant).iter().map(|hit| key(&snapshot, hit)).collect()
            }
        };
        let shown = if meant == value { format!("{value:?}") } else { format!("{value:?} ({meant:?})") };
        if hits.is_empty() {
            return writeln!(out, "{shown} matches none of them, subdomains and hosts of URLs included")
                .map_err(Failure::of_output);
        }
        let mut found: BTreeMap<Key, (&Hit, BTreeSet<&str>)> = BTreeMap::new();
        for hit in &hits {
            let fields = &mut found.entry(key(&snapshot, hit)).or_insert((hit, BTreeSet::new())).1;
            // Other schemas have fields that mean those of ECS; naming these would hide the rest.
            let field = snapshot.table().get(hit.field);
            fields.insert(field.meaning_in_ecs().unwrap_or(&field.name));
        }
        let ecs: BTreeSet<&str> = snapshot.table().iter().filter_map(|(_, field)| field.meaning_in_ecs()).collect();
        for (key, (hit, fields)) in &found {
            let (kind, name, feed, id) = key;
            let mut fields: Vec<&str> = fields.iter().copied().collect();
            fields.sort_by_key(|field| !ecs.contains(field));
            let some: Vec<&str> = fields.iter().copied().take(NAMED).collect();
            let more = match fields.len() - some.len() {
                0 => String::new(),
                1 => " and 1 more field".to_owned(),
                more => format!(" and {more} more fields"),
            };
            let mut conditions = String::new();
            if !exact.contains(key) {
                conditions.push_str("; only with `match.subdomains` or `match.url_hosts`");
            }
            if let Some(reason) = generic.get(&(feed.clone(), name.clone())) {
                conditions.push_str(&format!("; too generic, `run` refuses it: {reason}"));
            }
            conditions.push_str(&self::conditions(&snapshot, hit));
            writeln!(
                out,
                "{shown} matches {kind} {} of feed {} ({}) at {}{more}{}",
                Escaped(name),
                Escaped(feed),
                Escaped(id),
                some.join(", "),
                Escaped(conditions),
            )
            .map_err(Failure::of_output)?;
        }
        Ok(())
    }

    fn snapshot(&self, outcomes: &mut [Outcome], options: MatchOptions) -> Result<Snapshot, Failure> {
        let mut builder = SnapshotBuilder::new(Arc::clone(self.table), options, self.seed);
        load::add(outcomes, &mut builder).context("cannot index the indicators")?;
        indicators::with_segments(builder, outcomes, self.segments.to_vec())
    }
}

fn hits(snapshot: &Snapshot, value: &str) -> Vec<Hit> {
    let mut matcher = Matcher::new(snapshot);
    matcher.set_limit(Budgets::OFFLINE.record_findings);
    for (id, _) in snapshot.table().iter() {
        matcher.value(id, Value::Text(value.as_bytes()));
    }
    matcher.take_hits()
}

fn key(snapshot: &Snapshot, hit: &Hit) -> Key {
    let feed = snapshot.feed_of(hit.posting.indicator).name.clone();
    (hit.kind.as_str(), hit.name.to_string(), feed, enrich::indicator_id(snapshot, hit))
}

/// The causes that keep `run` from a hit, whatever is configured, or for as long as its defaults hold.
fn conditions(snapshot: &Snapshot, hit: &Hit) -> String {
    let stored = snapshot.indicator(hit.posting.indicator);
    let mut conditions = String::new();
    if let Some(pattern) = snapshot.composite(hit.posting.indicator) {
        conditions.push_str(&format!("; found only together: {}", pattern.program.shown(&pattern.terms)));
    }
    if stored.revoked {
        conditions.push_str("; revoked: it never matches");
    }
    let (now, grace): (Timestamp, Duration) = (Timestamp::now(), Policy::default().grace);
    if let Some(from) = stored.valid_from.filter(|from| from.saturating_sub(grace).is_ok_and(|from| now < from)) {
        conditions.push_str(&format!("; not valid before {from}"));
    }
    if let Some(until) = stored.valid_until.filter(|until| until.saturating_add(grace).is_ok_and(|until| now >= until))
    {
        conditions.push_str(&format!("; expired at {until}, it matches older events only"));
    }
    conditions
}
