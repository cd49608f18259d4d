//! `hotlist explain`: why an event did, or did not, match.
//!
//! The event goes through the same detector as the live stream, with a listener at the matcher, and over every field
//! of the table: a field at which nothing could match is shown too, with that reason.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;

use super::args::ExplainArgs;
use super::{Failure, progress, scan};
use crate::app;
use crate::config::Config;
use crate::detect::{Budgets, Detector, Verdict};
use crate::encoding::TagInto;
use crate::encoding::Value;
use crate::enrich;
use crate::escape::Escaped;
use crate::feed::{allowlist, load};
use crate::fields::{FieldId, FieldTable};
use crate::intel::allowlist::Listing;
use crate::intel::plan::Reading;
use crate::intel::snapshot::MatchOptions;
use crate::intel::space::Space;
use crate::matcher::{Hit, Matcher, Outcome, Trace, show_key};
use crate::observable::Malformed;

/// The longest event that is read.
const MAX_EVENT: u64 = 64 << 20;

pub(super) fn run(
    args: &ExplainArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    seed: u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let detector = detector(args, environment, seed)?;
    let event = event(&args.event)?;
    let trace = Story { table: detector.snapshot.table().clone(), text: String::new() };
    let mut matcher = Matcher::with_trace(&detector.snapshot, trace);
    let every_field = detector.snapshot.table().trie(|_, _| true);
    let verdict = detector
        .document(event.trim_ascii(), &every_field, &mut matcher, Timestamp::now())
        .with_context(|| format!("the event of {}", args.event.display()))?;
    let mut text = std::mem::take(&mut matcher.trace().text);
    if text.is_empty() {
        text.push_str("The event has no value at any field of the table.\n");
    }
    conclude(&detector, &verdict, &mut text);
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::of_output)
}

/// What `run` would match with, or what `scan` would.
fn detector(args: &ExplainArgs, environment: &dyn Fn(&str) -> Option<String>, seed: u64) -> Result<Detector, Failure> {
    let Some(path) = &args.config else {
        let snapshot = scan::snapshot(&args.indicators, MatchOptions::default(), seed)?;
        let policy = scan::only_allowlists(&args.allowlist);
        let budgets = Budgets::OFFLINE;
        return Ok(Detector { snapshot: Arc::new(snapshot), policy, tag_into: TagInto::Auto, budgets });
    };
    let config = Config::load(path, environment)?;
    let table = Arc::new(app::field_table(&config.r#match).context("match.fields")?);
    let (files, missing) = load::configured(&config.intel);
    missing.iter().for_each(|error| progress::note(&format!("intel.files: {error}")));
    let mut outcomes: Vec<_> = files.into_iter().map(|file| load::load(file, &table)).collect();
    for outcome in &outcomes {
        if let Err(error) = &outcome.import {
            progress::note(&error.to_string());
        }
    }
    let options = app::indicators::options(&config.r#match);
    let snapshot = load::snapshot(&mut outcomes, &table, options, seed, 1).context("cannot index the indicators")?;
    let (allowlists, errors) = allowlist::load_with(&config.intel, &args.allowlist);
    allowlist::lines(&errors).iter().for_each(|line| progress::note(&format!("allowlist: {line}")));
    let policy = Some(app::policy(&config.r#match, allowlists));
    let budgets = app::budgets(&config.limits);
    Ok(Detector { snapshot: Arc::new(snapshot), policy, tag_into: TagInto::Auto, budgets })
}

fn event(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut event = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_EVENT).read_to_end(&mut event)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_EVENT).read_to_end(&mut event))
    };
    read.with_context(|| format!("cannot read the event from {}", path.display()))?;
    Ok(event)
}

/// Tells what the matcher does, a paragraph a value.
struct Story {
    table: Arc<FieldTable>,
    text: String,
}

impl Trace for Story {
    fn value(&mut self, field: FieldId, value: Value<'_>, _: Reading) {
        let row = self.table.get(field);
        let shown = match value {
            Value::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
            Value::Int(number) => number.to_string(),
            Value::Double(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Time(time) => time.to_string(),
        };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.text, "{} ({}) = {shown}", row.name, row.kind.as_str());
    }

    fn looked_up(&mut self, space: Space, key: &[u8], outcome: Outcome) {
        let outcome = match outcome {
            Outcome::NoIndicators => "no indicators of this kind are loaded".to_owned(),
            Outcome::Rejected => "not an indicator (prefilter)".to_owned(),
            Outcome::Absent => "not an indicator here (the prefilter passed it, the exact set did not)".to_owned(),
            Outcome::Found(1) => "1 indicator".to_owned(),
            Outcome::Found(many) => format!("{many} indicators"),
        };
        let _ = writeln!(self.text, "    as {} {}: {outcome}", space.as_str(), Escaped(show_key(space, key)));
    }

    fn networks(&mut self, address: IpAddr, found: usize) {
        let _ = writeln!(self.text, "    networks that cover {address}: {found}");
    }

    fn malformed(&mut self, reason: Malformed) {
        let _ = writeln!(self.text, "    malformed ({}): {}", reason.as_str(), reason.explain());
    }
}

fn conclude(detector: &Detector, verdict: &Verdict, text: &mut String) {
    let snapshot = &detector.snapshot;
    let tell = |hit: &Hit| {
        format!(
            "{} = {:?} is {} {} of feed {} ({})",
            snapshot.table().get(hit.field).name,
            String::from_utf8_lossy(&hit.value),
            hit.kind,
            Escaped(&hit.name),
            Escaped(&snapshot.feed_of(hit.posting.indicator).name),
            Escaped(enrich::indicator_id(snapshot, hit)),
        )
    };
    let _ = writeln!(text, "\nevent time: {}", verdict.facts.time);
    if let Some(policy) = detector.policy.as_ref().filter(|policy| policy.is_skewed(&verdict.facts)) {
        let (skew, arrival) = (policy.max_clock_skew.as_secs(), verdict.facts.arrival);
        let _ = writeln!(
            text,
            "    more than match.max_clock_skew ({skew} s) from now: validity is judged at {arrival}, too"
        );
    }
    if let Some(malformed) = verdict.malformed {
        let what = malformed.as_str();
        let _ =
            writeln!(text, "the event is a malformed JSON document ({what}); it was matched as far as it can be read");
    }
    match &detector.policy {
        None => text.push_str("policy: none, as in scan; give --config to apply rules, validity and the C2 rule\n"),
        Some(policy) if policy.only_allowlists => {
            text.push_str("policy: allowlists only; give --config to apply rules, validity and the C2 rule\n");
        }
        Some(_) => {}
    }
    let listed = |listings: &[Listing], text: &mut String| {
        for Listing { list, entry, action } in listings {
            let _ = writeln!(text, "        {action}: allowlist {list:?} has {}", Escaped(entry));
        }
    };
    for budget in verdict.exceeded.iter() {
        let _ = writeln!(text, "exceeds the budget {}; the best findings are kept", budget.as_str());
    }
    let _ = writeln!(text, "hits: {}", verdict.hits.len());
    for (hit, listings) in verdict.hits.iter().zip(&verdict.hit_listings) {
        let _ = writeln!(text, "    {}", tell(hit));
        listed(listings, text);
    }
    if !verdict.unfulfilled.is_empty() {
        let _ = writeln!(text, "found, but not all that has to be found together: {}", verdict.unfulfilled.len());
        for hit in &verdict.unfulfilled {
            let pattern = snapshot.composite(hit.posting.indicator);
            let pattern = pattern.map(|pattern| pattern.program.shown(&pattern.terms).to_string()).unwrap_or_default();
            let _ = writeln!(text, "    {}\n        needs: {}", tell(hit), Escaped(pattern));
        }
    }
    if !verdict.suppressed.is_empty() {
        let _ = writeln!(text, "dropped by policy: {}", verdict.suppressed.len());
        for ((hit, reason), listings) in verdict.suppressed.iter().zip(&verdict.suppressed_listings) {
            let _ = writeln!(text, "    {}\n        {reason}: {}", tell(hit), reason.explain());
            listed(listings, text);
        }
    }
}
