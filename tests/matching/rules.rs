//! Rules against an oracle that reads each of them for each finding, and each selector alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hotlist::detect::Detector;
use hotlist::enrich::alert_key;
use hotlist::intel::indicator::{Confidence, Context, Indicator};
use hotlist::intel::snapshot::{Feed, Origin};
use hotlist::observable::Kind;
use hotlist::policy::{CommandAndControl, Policy, Suppression};
use hotlist::rules::{FeedNames, IndicatorKind, Rule, Rules};
use hotlist::severity::{Severity, severity};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::cases::{FIELDS, case};
use crate::common::{EXACT, detector, indicator, judge, send, table, unbounded};

/// What rules make of a finding, by their text: the ids of those that select, or the reason of the suppression.
fn select_slowly(rules: &[Rule], feed: &Feed, kind: &str, context: &Context) -> Result<Vec<String>, Suppression> {
    let spelled = |phase: &str| {
        let words = phase.replace(['-', '_'], " ").to_lowercase();
        if ["c2", "c&c"].contains(&words.as_str()) { "command and control".to_owned() } else { words }
    };
    let strength = |confidence: Confidence| {
        ["Not Specified", "None", "Low", "Medium", "High"].iter().position(|word| *word == confidence.as_str()).unwrap()
    };
    let (mut ids, mut is_doubted) = (Vec::new(), false);
    for rule in rules {
        let names = if feed.origin == Origin::Feed { &rule.feeds } else { &rule.collections };
        let is_named = match names {
            FeedNames::All => true,
            FeedNames::Of(names) => names.iter().any(|name| *name == feed.name),
        };
        let kinds: Vec<&str> = rule
            .kinds
            .iter()
            .map(|kind| match kind {
                IndicatorKind::Of(kind) => kind.as_str(),
                IndicatorKind::Pattern => "pattern",
            })
            .collect();
        let has_phase = rule
            .kill_chain_phases
            .iter()
            .any(|wanted| context.kill_chain_phases.iter().any(|phase| spelled(phase) == spelled(wanted)));
        let is_fit =
            is_named && (kinds.is_empty() || kinds.contains(&kind)) && (rule.kill_chain_phases.is_empty() || has_phase);
        match is_fit {
            true if strength(context.confidence) >= strength(rule.min_confidence) => ids.push(rule.id.to_string()),
            fits => is_doubted |= fits,
        }
    }
    match ids.is_empty() {
        false => Ok(ids),
        true if is_doubted => Err(Suppression::Confidence),
        true => Err(Suppression::NoRule),
    }
}

/// Random rules over the feeds and collections `a`, `b` and `c`.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let names = || {
        let listed = prop::collection::btree_set("[a-c]", 0..3).prop_map(FeedNames::Of);
        prop_oneof![2 => Just(FeedNames::All), 5 => listed]
    };
    let kinds =
        prop::collection::vec(prop::sample::select(vec!["ip", "domain", "url", "hash", "pattern", "email"]), 0..3);
    let phases = prop::collection::vec(prop::sample::select(vec!["C2", "delivery", "Command_and-Control"]), 0..2);
    let severity = prop::sample::select(Severity::ALL.to_vec());
    let rule = (names(), names(), kinds, confidence(), phases, severity).prop_map(
        |(feeds, collections, kinds, min_confidence, phases, max_severity)| Rule {
            feeds,
            collections,
            kinds: kinds.into_iter().flat_map(|word| IndicatorKind::of_word(word).unwrap()).collect(),
            min_confidence,
            kill_chain_phases: phases.into_iter().map(str::to_owned).collect(),
            max_severity,
            ..Rule::of_everything("")
        },
    );
    prop::collection::vec(rule, 0..5).prop_map(|rules| {
        let numbered = rules.into_iter().enumerate();
        numbered.map(|(number, rule)| Rule { id: format!("r{number}").into(), ..rule }).collect()
    })
}

fn confidence() -> impl Strategy<Value = Confidence> {
    use Confidence::{High, Low, Medium, None, NotSpecified};
    prop::sample::select(vec![NotSpecified, NotSpecified, None, Low, Medium, High])
}

/// What a feed is called, how it came in, and what it says of each of its indicators in turn.
fn contexts() -> impl Strategy<Value = (String, Origin, Vec<Context>)> {
    let phases = prop::collection::vec(prop::sample::select(vec!["c2", "Delivery", "command and control"]), 0..2);
    let context = (confidence(), phases).prop_map(|(confidence, phases)| Context {
        confidence,
        kill_chain_phases: phases.into_iter().map(Into::into).collect(),
        ..Context::default()
    });
    let origin = prop::sample::select(vec![Origin::Feed, Origin::Collection]);
    ("[a-c]", origin, prop::collection::vec(context, 1..4))
}

/// Scenario: random rules over random feeds and collections, whose indicators have random confidences and phases.
/// Guarantee: what hits, under which rules, and why the rest does not, is what reading each rule for each finding says;
/// the first rule bounds the severity.
#[test]
fn rules_select_what_reading_them_selects() {
    let table = table();
    let seen = RefCell::new(BTreeMap::<String, usize>::new());
    let cases = (case(&FIELDS), prop::collection::vec(contexts(), 3), rules());
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&cases, |(case, contexts, rules)| {
        let mut feeds = case.feeds.clone();
        for ((feed, indicators), (name, origin, contexts)) in feeds.iter_mut().zip(&contexts) {
            (feed.name, feed.origin) = (name.clone(), *origin);
            for (indicator, context) in indicators.iter_mut().zip(contexts.iter().cycle()) {
                indicator.context = Arc::new(context.clone());
            }
        }
        let policy = Policy {
            rules: Some(Arc::new(Rules::new(rules.clone()))),
            c2: CommandAndControl::Any,
            ..Policy::default()
        };
        let with = |policy| unbounded(&detector(&table, case.options, Some(policy), feeds.clone()));
        let members: Vec<String> = case.event.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let event = format!("{{{}}}", members.join(","));
        let judge = |detector: &Detector| detector.event(event.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        let (ruled, free) = (with(policy.clone()), with(Policy { rules: None, ..policy }));
        let (ruled_verdict, free_verdict) = (judge(&ruled), judge(&free));
        let mut expected = Vec::new();
        for hit in &free_verdict.hits {
            let feed = free.snapshot.feed_of(hit.posting.indicator);
            let context = free.snapshot.indicator(hit.posting.indicator).context;
            let selected = select_slowly(&rules, feed, hit.kind.as_str(), &context);
            *seen.borrow_mut().entry(format!("{:?}", selected.as_ref().map(Vec::len))).or_default() += 1;
            let most =
                selected.as_ref().ok().map(|ids| rules.iter().find(|rule| *rule.id == *ids[0]).unwrap().max_severity);
            let free_severity = severity(&free.snapshot, hit, &free_verdict.facts);
            expected.push((
                hit.field,
                hit.name.to_string(),
                hit.posting.indicator,
                selected,
                most.map(|most| free_severity.min(most)),
            ));
        }
        let mut found = Vec::new();
        for hit in &ruled_verdict.hits {
            let selection = hit.selection.as_ref().unwrap();
            let ids: Vec<String> = selection.ids().iter().map(|id| id.to_string()).collect();
            prop_assert_eq!(&**selection.first(), &ids[0]);
            let most = Some(severity(&ruled.snapshot, hit, &ruled_verdict.facts));
            found.push((hit.field, hit.name.to_string(), hit.posting.indicator, Ok(ids), most));
        }
        for (hit, reason) in &ruled_verdict.suppressed {
            if *reason != Suppression::Column {
                found.push((hit.field, hit.name.to_string(), hit.posting.indicator, Err(*reason), None));
            }
        }
        let key = |(field, name, indicator, ..): &(_, String, u32, _, _)| format!("{field:?} {name} {indicator}");
        // A finding at a field that is not checked is suppressed for its rule first.
        let hits: BTreeSet<String> = expected.iter().map(key).collect();
        found.retain(|one| hits.contains(&key(one)));
        found.sort_by_key(key);
        expected.sort_by_key(key);
        prop_assert_eq!(found, expected);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner();
    for wanted in ["Ok(1)", "Ok(2)", "Err(NoRule)", "Err(Confidence)"] {
        assert!(seen.get(wanted).is_some_and(|number| *number > 0), "{wanted}: {seen:?}");
    }
}

fn with_rules(rules: impl IntoIterator<Item = Rule>) -> Policy {
    Policy { rules: Some(Arc::new(Rules::new(rules))), ..Policy::default() }
}

fn only(names: &[&str]) -> FeedNames {
    FeedNames::Of(names.iter().map(|name| (*name).to_owned()).collect())
}

fn doubtful(confidence: Confidence, phase: Option<&str>) -> Indicator {
    let kill_chain_phases = phase.into_iter().map(Into::into).collect();
    let context = Context { confidence, kill_chain_phases, ..Context::default() };
    Indicator { context: Arc::new(context), ..indicator(Kind::Domain, "evil.example") }
}

/// Guarantee: each selector selects by itself, and what it does not select is counted under its reason.
#[test]
fn each_selector_selects() {
    let all = || Rule::of_everything("r");
    let (no_rule, doubt) = (Some(Suppression::NoRule), Some(Suppression::Confidence));
    let kinds = |word| IndicatorKind::of_word(word).unwrap();
    let phases = |phase: &str| vec![phase.to_owned()];
    let collection = Feed { origin: Origin::Collection, ..Feed::named("f") };
    let off = Feed { enabled: false, ..Feed::named("f") };
    let feed = || Feed::named("f");
    let plain = || doubtful(Confidence::NotSpecified, None);
    for (name, rule, feed, found, expected) in [
        ("everything", all(), feed(), plain(), None),
        ("the feed", Rule { feeds: only(&["e", "f"]), ..all() }, feed(), plain(), None),
        ("another feed", Rule { feeds: only(&["g"]), ..all() }, feed(), plain(), no_rule),
        ("a collection in feeds", Rule { collections: only(&[]), ..all() }, collection.clone(), plain(), no_rule),
        ("the collection", Rule { collections: only(&["f"]), feeds: only(&[]), ..all() }, collection, plain(), None),
        ("a feed that its manifest disables", all(), off, plain(), no_rule),
        ("the kind", Rule { kinds: kinds("domain"), ..all() }, feed(), plain(), None),
        ("another kind", Rule { kinds: [kinds("hash"), kinds("pattern")].concat(), ..all() }, feed(), plain(), no_rule),
        ("no confidence", Rule { min_confidence: Confidence::Low, ..all() }, feed(), plain(), doubt),
        ("less", Rule { min_confidence: Confidence::High, ..all() }, feed(), doubtful(Confidence::Medium, None), doubt),
        ("as much", Rule { min_confidence: Confidence::High, ..all() }, feed(), doubtful(Confidence::High, None), None),
        ("no phase", Rule { kill_chain_phases: phases("delivery"), ..all() }, feed(), plain(), no_rule),
        (
            "the phase",
            Rule { kill_chain_phases: phases("c2"), ..all() },
            feed(),
            doubtful(Confidence::None, Some("Command and Control")),
            None,
        ),
        (
            "another phase",
            Rule { kill_chain_phases: phases("c2"), ..all() },
            feed(),
            doubtful(Confidence::High, Some("delivery")),
            no_rule,
        ),
    ] {
        let detector = detector(&table(), EXACT, Some(with_rules([rule])), vec![(feed, vec![found])]);
        let sent = send(&detector, &json!({ "dns.question.name": "evil.example" }));
        assert_eq!(
            (sent.hits.len(), sent.reasons().first().copied()),
            (usize::from(expected.is_none()), expected),
            "{name}"
        );
    }
    let none = detector(&table(), EXACT, Some(with_rules([])), vec![(feed(), vec![plain()])]);
    let sent = send(&none, &json!({ "dns.question.name": "evil.example" }));
    assert_eq!((sent.is_same, sent.reasons()), (true, vec![Suppression::NoRule]));
}

/// The enrichments of an event, tagged.
fn enrichments(detector: &Detector, event: &Value) -> Vec<Value> {
    let tagged = detector.tag_document(event.to_string().as_bytes(), &judge(detector, event)).unwrap();
    let tagged: Value = serde_json::from_slice(&tagged).unwrap();
    tagged["threat"]["enrichments"].as_array().cloned().unwrap_or_default()
}

/// Scenario: one indicator, with two rules in either order, with one, and without rules.
/// Guarantee: the enrichment names the first rule and lists all; the first rule decides about severity and alert key;
/// without rules the enrichment is as it always was.
#[test]
fn an_enrichment_names_its_rules() {
    let event = json!({ "network": { "direction": "outbound" }, "event": { "type": ["allowed"] }, "dns.question.name": "evil.example" });
    let low = || Rule { max_severity: Severity::Low, ..Rule::of_everything("low") };
    let any = || Rule::of_everything("any");
    let mut keys = BTreeMap::new();
    for (rules, rule, ids, severity) in [
        (Some(vec![low(), any()]), "low", json!(["low", "any"]), "low"),
        (Some(vec![any(), low()]), "any", json!(["any", "low"]), "high"),
        (Some(vec![low()]), "low", json!(["low"]), "low"),
        (None, "feed:f", Value::Null, "high"),
    ] {
        let policy = rules.map_or(Policy::default(), with_rules);
        let detector =
            detector(&table(), EXACT, Some(policy), vec![(Feed::named("f"), vec![doubtful(Confidence::High, None)])]);
        let [enrichment] = enrichments(&detector, &event).try_into().unwrap();
        let own = &enrichment["hotlist"];
        assert_eq!(
            (&own["rule"], &own["rules"], &own["severity"]),
            (&json!(rule), &ids, &json!(severity)),
            "{enrichment}"
        );
        let verdict = judge(&detector, &event);
        let key = alert_key(&detector.snapshot, &verdict.hits[0], &verdict.facts).as_str().to_owned();
        assert_eq!(own["alert_key"], json!(key));
        let known = keys.entry(rule).or_insert_with(|| key.clone());
        assert_eq!(*known, key, "one key for each first rule");
    }
    assert_eq!(keys.values().collect::<BTreeSet<_>>().len(), 3, "{keys:?}");
}

/// Guarantee: a pattern that needs several values is selected as a pattern, whatever kinds its values have.
#[test]
fn a_pattern_is_of_the_kind_pattern() {
    let text = "[domain-name:value = 'evil.example' AND ipv4-addr:value = '203.0.113.7']";
    let compiled = || crate::composite::compiled(text).unwrap();
    let event = json!({ "dns.question.name": "evil.example", "destination.ip": "203.0.113.7" });
    for (word, hits) in [("pattern", 1), ("domain", 0), ("ip", 0)] {
        let rule = Rule { kinds: IndicatorKind::of_word(word).unwrap(), ..Rule::of_everything("r") };
        let detector = detector(&table(), EXACT, Some(with_rules([rule])), vec![(Feed::named("f"), vec![compiled()])]);
        let sent = send(&detector, &event);
        assert_eq!((sent.hits.len(), sent.reasons().len()), (hits, 1 - hits), "{word}");
    }
}
