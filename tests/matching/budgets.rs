//! Budgets of a record and of a batch: the findings that stay are the best ones, what is left out is marked and
//! counted, and findings hold no copies of the event.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use hotlist::detect::{Budget, Budgets, Detector};
use hotlist::encoding::otlp::request_of;
use hotlist::intel::indicator::{Confidence, Context, Indicator};
use hotlist::intel::pattern;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::matcher::{Hit, MAX_SHOWN, Matcher};
use hotlist::observable::Kind;
use hotlist::policy::Policy;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{EXACT, Sent, detector, indicator, judge, of_terms, send, send_request, table};

const CONFIDENCES: [Confidence; 5] =
    [Confidence::NotSpecified, Confidence::None, Confidence::Low, Confidence::Medium, Confidence::High];

fn sure(confidence: Confidence, indicator: Indicator) -> Indicator {
    Indicator { context: Arc::new(Context { confidence, ..Context::default() }), ..indicator }
}

fn within(detector: Detector, budgets: Budgets) -> Detector {
    Detector { budgets, ..detector }
}

fn names(hits: &[Hit]) -> Vec<String> {
    hits.iter().map(|hit| hit.name.to_string()).collect()
}

/// The enrichments that a document gets.
fn tagged(detector: &Detector, document: &Value) -> Vec<Value> {
    let verdict = judge(detector, document);
    let tagged = detector.tag_document(document.to_string().as_bytes(), &verdict).unwrap();
    let tagged: Value = serde_json::from_slice(&tagged).unwrap();
    tagged["threat"]["enrichments"].as_array().cloned().unwrap_or_default()
}

fn marks(enrichments: &[Value]) -> BTreeSet<bool> {
    enrichments.iter().map(|enrichment| enrichment["hotlist"]["truncated"] == true).collect()
}

/// Numbers of addresses of `198.51.100.0/24` with a confidence each, whether a network is an indicator as well, the same
/// of a feed without a rule, and an event that names some of the addresses, some of them more than once.
type Numbers = Vec<(u8, usize)>;

fn numbers() -> impl Strategy<Value = (Numbers, Option<usize>, Numbers, Vec<u8>)> {
    let sure = || prop::collection::vec((0..40u8, 0..CONFIDENCES.len()), 0..30);
    let network = prop::option::of(0..CONFIDENCES.len());
    (sure(), network, sure(), prop::collection::vec(0..40u8, 0..60))
}

proptest! {
    /// Scenario: any indicators and any event, under a large budget and under small ones, with a feed that policy drops.
    /// Guarantee: a large budget leaves nothing out; under a small one exactly the best findings that policy allows stay,
    /// and the event is marked and counted when, and only when, something was left out.
    #[test]
    fn the_best_findings_stay((ours, network, off, event) in numbers(), limit in 1..12usize) {
        let address = |number: u8| format!("198.51.100.{number}");
        let of = |numbers: &Numbers| -> Vec<Indicator> {
            let mut seen = HashSet::new();
            let once = numbers.iter().filter(|(number, _)| seen.insert(*number));
            once.map(|(number, sure_of)| sure(CONFIDENCES[*sure_of], indicator(Kind::Ip, &address(*number)))).collect()
        };
        let (mut indicators, dropped) = (of(&ours), of(&off));
        indicators.extend(network.map(|sure_of| sure(CONFIDENCES[sure_of], indicator(Kind::Ip, "198.51.100.0/24"))));
        let feeds = vec![
            (Feed { enabled: false, ..Feed::named("off") }, dropped),
            (Feed::named("on"), indicators.clone()),
        ];
        let whole = detector(&table(), EXACT, Some(Policy::default()), feeds);
        let document = json!({ "related.ip": event.iter().map(|number| address(*number)).collect::<Vec<_>>() });

        // The slow way: for each value in order its address, then its network, each once; the best first.
        let mut expected: Vec<(Confidence, bool, String, String)> = Vec::new();
        for number in &event {
            for indicator in &indicators {
                let name = indicator.terms[0].value.to_string();
                let is_network = name.contains('/');
                let found = (indicator.context.confidence, !is_network, name.clone(), address(*number));
                if (is_network || name == address(*number)) && !expected.contains(&found) {
                    expected.push(found);
                }
            }
        }
        let (document_hits, sent) = (judge(&whole, &document).hits, send(&whole, &document));
        let shown = |hits: &[Hit]| -> Vec<(String, String)> {
            hits.iter().map(|hit| (hit.name.to_string(), String::from_utf8_lossy(&hit.value).into_owned())).collect()
        };
        let all: BTreeSet<_> = expected.iter().map(|(.., name, value)| (name.clone(), value.clone())).collect();
        prop_assert_eq!(&shown(&document_hits).into_iter().collect::<BTreeSet<_>>(), &all);
        prop_assert_eq!(shown(&sent.hits), shown(&document_hits));
        prop_assert!(sent.report.truncated.is_empty());

        let few = within(whole, Budgets { record_findings: limit, ..Budgets::default() });
        let sent = send(&few, &document);
        let is_truncated = expected.len() > limit;
        if is_truncated {
            expected.sort_by_key(|other| std::cmp::Reverse((other.0, other.1)));
        }
        let best: Vec<_> = expected.iter().take(limit).map(|(.., name, value)| (name.clone(), value.clone())).collect();
        prop_assert_eq!(shown(&sent.hits), best);
        prop_assert_eq!(sent.report.truncated.get(&Budget::RecordFindings), u64::from(is_truncated));
        prop_assert_eq!(names(&judge(&few, &document).hits), names(&sent.hits));
        let marks = marks(&tagged(&few, &document));
        prop_assert!(marks.is_empty() || marks == BTreeSet::from([is_truncated]));
    }
}

/// Scenario: an event with more keys of patterns that it does not fulfil than the budget, before a value that counts
/// alone. Guarantee: the patterns do not displace the hit.
#[test]
fn patterns_that_come_to_nothing_displace_nothing() {
    let pattern = |number: usize| {
        let pattern = format!("[domain-name:value = 'd{number}.evil.example' AND network-traffic:dst_port = 4444]");
        let compiled = pattern::compile(&pattern, &table()).unwrap();
        sure(Confidence::High, Indicator { program: compiled.program.map(Box::new), ..of_terms(compiled.terms) })
    };
    let mut indicators: Vec<Indicator> = (0..40).map(pattern).collect();
    indicators.push(sure(Confidence::Low, indicator(Kind::Domain, "alone.example")));
    let detector = detector(&table(), EXACT, None, vec![(Feed::named("feed"), indicators)]);
    let few = within(detector, Budgets { record_findings: 4, ..Budgets::default() });
    let mut hosts: Vec<String> = (0..40).map(|number| format!("d{number}.evil.example")).collect();
    hosts.push("alone.example".to_owned());
    let document = json!({ "related.hosts": hosts });
    let sent = send(&few, &document);
    assert_eq!(names(&sent.hits), ["alone.example"]);
    assert_eq!(sent.report.truncated.get(&Budget::RecordFindings), 1);
    assert_eq!(names(&judge(&few, &document).hits), ["alone.example"]);
}

/// Scenario: many hits with long descriptions, and room for a few of them, for one, or for none.
/// Guarantee: the best ones stay within the bytes, at least one in short, and all say that there are more.
#[test]
fn the_enrichments_of_an_event_are_bounded_in_bytes() {
    let described = |number: usize| {
        let (confidence, text) = (CONFIDENCES[number % 5], "what the feed says ".repeat(50));
        let context = Context { confidence, description: Some(text.into()), ..Context::default() };
        Indicator { context: Arc::new(context), ..indicator(Kind::Domain, &format!("d{number}.evil.example")) }
    };
    let all = detector(&table(), EXACT, None, vec![(Feed::named("feed"), (0..50).map(described).collect())]);
    let hosts: Vec<String> = (0..50).map(|number| format!("d{number}.evil.example")).collect();
    let document = json!({ "related.hosts": hosts });
    let without = document.to_string().len();
    assert_eq!((tagged(&all, &document).len(), marks(&tagged(&all, &document))), (50, BTreeSet::from([false])));
    for (bytes, least, most) in [(16 << 10, 4, 10), (100, 1, 1)] {
        let few = within(all.clone(), Budgets { record_tag_bytes: bytes, ..Budgets::default() });
        let sent = send(&few, &document);
        assert_eq!((sent.hits.len(), sent.report.truncated.get(&Budget::RecordTagBytes)), (50, 1));
        assert!(sent.batch.hits[0].record.len() < 2 * without + bytes + 1024);
        let enrichments = tagged(&few, &document);
        assert!((least..=most).contains(&enrichments.len()), "{} enrichments in {bytes} bytes", enrichments.len());
        assert_eq!(marks(&enrichments), BTreeSet::from([true]));
        let shown = |enrichment: &Value| enrichment["indicator"]["confidence"].as_str().unwrap_or("High").to_owned();
        assert_eq!(enrichments.iter().map(shown).collect::<BTreeSet<_>>(), BTreeSet::from(["High".to_owned()]));
    }
}

/// Scenario: a batch in which every event hits, and budgets from none to plenty.
/// Guarantee: every event is passed on; what is written again stays within the budget; full enrichments come first, then
/// short ones, then events pass untagged but are listed among the hits; a hit is counted when its event is listed.
#[test]
fn the_tags_of_a_batch_are_bounded_in_bytes() {
    const RECORDS: usize = 400;
    let all = detector(&table(), EXACT, None, vec![(Feed::named("feed"), vec![indicator(Kind::Ip, "203.0.113.7")])]);
    let event = json!({ "source.ip": "203.0.113.7" });
    let request = || request_of((0..RECORDS).map(|_| (0, &event)));
    let inflated = request().len();
    let mut seen = BTreeSet::new();
    for budget in [0, 1 << 10, 10 << 10, 50 << 10, 100 << 10, 200 << 10, 400 << 10, 1 << 20] {
        let few = within(all.clone(), Budgets { batch_tag_bytes: budget, ..Budgets::default() });
        let Sent { batch, report, hits, .. } = send_request(&few, request(), Timestamp::UNIX_EPOCH);
        assert_eq!(batch.format.records(&batch.message.to_bytes()).unwrap().len(), RECORDS);
        assert!(batch.message.len() <= inflated + budget, "{} bytes for a budget of {budget}", batch.message.len());
        assert!(batch.hits.is_sorted_by_key(|hit| hit.place));
        let line = |record: &[u8]| batch.format.render_record(record);
        let lines: Vec<String> = batch.hits.iter().map(|hit| String::from_utf8(line(&hit.record)).unwrap()).collect();
        let full = lines.iter().filter(|line| line.contains("matched.atomic") || line.contains("\"atomic\"")).count();
        let short = lines.iter().filter(|line| line.contains("\"truncated\"")).count();
        let plain = lines.len() - full - short;
        let neither = RECORDS - lines.len();
        assert_eq!(report.truncated.get(&Budget::BatchTagBytes) as usize, RECORDS - full, "budget {budget}");
        assert_eq!(report.truncated.get(&Budget::BatchHits) as usize, neither);
        assert_eq!(hits.len(), lines.len(), "a hit is counted when its event is tagged or listed");
        seen.insert((full > 0, short > 0, plain > 0, neither > 0));
    }
    assert!(seen.contains(&(false, false, false, true)) && seen.contains(&(true, false, false, false)), "{seen:?}");
    assert!(seen.iter().any(|(full, short, ..)| *full && *short), "{seen:?}");
    assert!(seen.iter().any(|(.., plain, _)| *plain), "{seen:?}");
}

/// Scenario: for each way in which one value, or one field, leads to many findings, a small and a large event.
/// Guarantee: what findings hold is bounded by the budget and by the event, never by their product.
#[test]
fn findings_hold_no_copies_of_the_event() {
    let mut indicators = vec![
        indicator(Kind::Email, "mallory@evil.example.org"),
        indicator(Kind::User, "mallory"),
        indicator(Kind::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
        indicator(Kind::Ip, "203.0.113.0/24"),
        indicator(Kind::Ip, "203.0.0.0/16"),
    ];
    indicators.extend((0..600).map(|number| indicator(Kind::Email, &format!("m{number}@evil.example.org"))));
    indicators.extend((0..600).map(|number| indicator(Kind::Domain, &format!("d{number}.evil.example.org"))));
    indicators.extend((1..100).map(|labels| indicator(Kind::Domain, &format!("{}example", "a.".repeat(labels)))));
    indicators.extend((1..200).map(|parts| indicator(Kind::Url, &format!("https://u.example{}", "/a".repeat(parts)))));
    let options = MatchOptions { subdomains: true, url_hosts: true, ..MatchOptions::default() };
    let feed = Feed { subdomains: true, url_prefix: true, ..Feed::named("feed") };
    let detector = detector(&table(), options, None, vec![(feed, indicators)]);
    let budget = detector.budgets.record_findings;
    let text = |part: &dyn Fn(usize) -> String, bytes: usize| -> String {
        let mut text = String::new();
        let mut number = 0;
        while text.len() < bytes {
            text += &part(number);
            number += 1;
        }
        text
    };
    let list = |part: &dyn Fn(usize) -> String, bytes: usize| -> Value {
        let each = part(0).len() + 3;
        (0..bytes / each).map(|number| Value::String(part(number))).collect()
    };
    let same = |_: usize| "mallory@evil.example.org,".to_owned();
    let other = |number: usize| format!("m{}@evil.example.org,", number % 600);
    type Make<'m> = Box<dyn Fn(usize) -> Value + 'm>;
    let cases: Vec<(&str, Make<'_>)> = vec![
        ("email.to.address", Box::new(|bytes| text(&same, bytes).into())),
        ("email.to.address", Box::new(|bytes| text(&other, bytes).into())),
        ("user.name", Box::new(|bytes| text(&other, bytes).into())),
        ("related.user", Box::new(|bytes| list(&|_| "mallory".to_owned(), bytes))),
        ("related.hash", Box::new(|bytes| list(&|_| "d41d8cd98f00b204e9800998ecf8427e".to_owned(), bytes))),
        ("related.ip", Box::new(|bytes| list(&|number| format!("203.0.113.{}", number % 256), bytes))),
        ("related.hosts", Box::new(|bytes| list(&|number| format!("d{}.evil.example.org", number % 600), bytes))),
        ("related.hosts", Box::new(|bytes| list(&|_| format!("{}example", "a.".repeat(120)), bytes))),
        ("url.full", Box::new(|bytes| format!("https://u.example{}", "/a".repeat(bytes / 2)).into())),
        ("url.full", Box::new(|bytes| format!("https://u.example/a/{}", "x".repeat(bytes)).into())),
    ];
    for (field, make) in &cases {
        for bytes in [1 << 10, 256 << 10] {
            let document = json!({ *field: make(bytes) });
            let length = document.to_string().len();
            let mut matcher = Matcher::new(&detector.snapshot);
            let verdict = detector
                .document(
                    document.to_string().as_bytes(),
                    detector.snapshot.trie(),
                    &mut matcher,
                    Timestamp::UNIX_EPOCH,
                )
                .unwrap();
            let mut values = HashSet::new();
            let held: usize = verdict
                .hits
                .iter()
                .map(|hit| {
                    assert!(hit.value.len() <= MAX_SHOWN, "{field}");
                    let value = if values.insert(Arc::as_ptr(&hit.value)) { hit.value.len() } else { 0 };
                    size_of::<Hit>() + hit.name.len() + value
                })
                .sum();
            assert!(verdict.hits.len() <= budget, "{field} of {bytes} bytes: {} hits", verdict.hits.len());
            assert!(held <= 2 * length + budget * 1024, "{field} of {length} bytes: {held} bytes in findings");
            let tagged = detector.tag_document(document.to_string().as_bytes(), &verdict).unwrap();
            let most = length + detector.budgets.record_tag_bytes + 1024;
            assert!(tagged.len() <= most, "{field} of {length} bytes is {} bytes tagged", tagged.len());
        }
    }
}

/// Scenario: a long list with one listed address, and a long URL below a listed path.
/// Guarantee: of the list the address is shown, of the URL the start.
#[test]
fn what_is_shown_of_a_long_value_is_what_matched_or_its_start() {
    let indicators =
        vec![indicator(Kind::Email, "mallory@evil.example.org"), indicator(Kind::Url, "https://u.example/a")];
    let feed = Feed { url_prefix: true, ..Feed::named("feed") };
    let options = MatchOptions { max_url_bytes: 2 * MAX_SHOWN, ..EXACT };
    let detector = detector(&table(), options, None, vec![(feed, indicators)]);
    let atomic = |document: Value| tagged(&detector, &document)[0]["matched"]["atomic"].as_str().unwrap().to_owned();
    let list = format!("{}Mallory <MALLORY@evil.example.org>", "somebody.else@mail.example.org, ".repeat(900));
    assert_eq!(atomic(json!({ "email.to.address": list })), "mallory@evil.example.org");
    let short = "bob@example.org, Mallory <MALLORY@evil.example.org>";
    assert_eq!(atomic(json!({ "email.to.address": short })), short);
    let url = format!("https://u.example/a/{}", "x".repeat(MAX_SHOWN));
    let shown = atomic(json!({ "url.full": url }));
    assert!(url.starts_with(&shown) && shown.len() == MAX_SHOWN);
}
