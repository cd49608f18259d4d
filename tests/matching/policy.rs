//! The rules of policy, one by one and in their order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotlist::detect::Detector;
use hotlist::encoding::otlp::request_of;
use hotlist::encoding::wire::{put_bytes, put_varint};
use hotlist::intel::allowlist::{self, Allowlists};
use hotlist::intel::indicator::{Confidence, Context, Indicator};
use hotlist::intel::snapshot::{Feed, Origin};
use hotlist::matcher::Hit;
use hotlist::observable::Kind;
use hotlist::policy::{CommandAndControl, Policy, Suppression};
use hotlist::schema::{Field, FieldKind, FieldTable};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::common::{EXACT, detector, indicator, instant, judge, nanoseconds, nested, send, send_request, table};

const FROM: &str = "2024-06-01T00:00:00Z";
const UNTIL: &str = "2024-07-01T00:00:00Z";
const GRACE: SignedDuration = SignedDuration::from_hours(5 * 24);
const TICK: SignedDuration = SignedDuration::from_nanos(1);

fn with_policy(policy: Policy, feed: Feed, indicators: Vec<Indicator>) -> Detector {
    detector(&table(), EXACT, Some(policy), vec![(feed, indicators)])
}

/// A policy that believes every time: the events of these tests arrive at the epoch.
fn believing() -> Policy {
    Policy { max_clock_skew: Duration::MAX, ..Policy::default() }
}

fn one(found: Indicator) -> Detector {
    with_policy(believing(), Feed::named("feed"), vec![found])
}

/// `None` when the single finding is a hit, else why it is none.
fn outcome(detector: &Detector, document: &Value) -> Option<Suppression> {
    let verdict = judge(detector, document);
    assert_eq!(verdict.hits.len() + verdict.suppressed.len(), 1, "one finding in {document}");
    verdict.suppressed.first().map(|(_, reason)| *reason)
}

fn timed(from: Option<&str>, until: Option<&str>) -> Indicator {
    Indicator { valid_from: from.map(instant), valid_until: until.map(instant), ..indicator(Kind::Ip, "203.0.113.7") }
}

fn at(time: Timestamp) -> Value {
    json!({ "@timestamp": time.to_string(), "source": { "ip": "203.0.113.7" } })
}

/// Scenario: events a nanosecond to each side of both bounds, grace of five days included.
/// Guarantee: `valid_from - grace <= t < valid_until + grace`, to the nanosecond.
#[test]
fn validity_holds_exactly_at_its_edges() {
    let detector = one(timed(Some(FROM), Some(UNTIL)));
    let (start, end) = (instant(FROM) - GRACE, instant(UNTIL) + GRACE);
    for (time, expected) in [
        (start - TICK, Some(Suppression::NotYetValid)),
        (start, None),
        (instant(FROM), None),
        (end - TICK, None),
        (end, Some(Suppression::Expired)),
    ] {
        assert_eq!(outcome(&detector, &at(time)), expected, "{time}");
    }
}

/// Scenario: bounds that are missing, a grace of zero, and bounds at the ends of time.
/// Guarantee: a missing bound is open, grace is the configured one, and no arithmetic overflows.
#[test]
fn missing_bounds_are_open_and_grace_is_configurable() {
    let (long_ago, far_away) = (instant("1971-01-01T00:00:00Z"), instant("2999-01-01T00:00:00Z"));
    for time in [long_ago, far_away] {
        assert_eq!(outcome(&one(timed(None, None)), &at(time)), None);
    }
    assert_eq!(outcome(&one(timed(None, Some(UNTIL))), &at(long_ago)), None);
    assert_eq!(outcome(&one(timed(None, Some(UNTIL))), &at(far_away)), Some(Suppression::Expired));
    assert_eq!(outcome(&one(timed(Some(FROM), None)), &at(far_away)), None);
    assert_eq!(outcome(&one(timed(Some(FROM), None)), &at(long_ago)), Some(Suppression::NotYetValid));

    let strict = Policy { grace: Duration::ZERO, ..believing() };
    let strict = with_policy(strict, Feed::named("feed"), vec![timed(Some(FROM), Some(UNTIL))]);
    assert_eq!(outcome(&strict, &at(instant(FROM) - TICK)), Some(Suppression::NotYetValid));
    assert_eq!(outcome(&strict, &at(instant(FROM))), None);
    assert_eq!(outcome(&strict, &at(instant(UNTIL))), Some(Suppression::Expired));

    let ends = Indicator {
        valid_from: Some(Timestamp::MIN),
        valid_until: Some(Timestamp::MAX),
        ..indicator(Kind::Ip, "203.0.113.7")
    };
    assert_eq!(outcome(&one(ends), &at(far_away)), None);
}

/// A batch of one record with these times and this body.
fn record(time: Option<Timestamp>, observed: Option<Timestamp>, body: &Value) -> Bytes {
    const TIME: u64 = 1;
    const OBSERVED_TIME: u64 = 11;
    const FIXED64: u64 = 1;
    // A record without a time of its own; times are put behind it, which protobuf reads as well.
    let plain = request_of([(0, body)]);
    let mut record = Vec::new();
    hotlist::encoding::envelope::OTLP
        .records(&plain, |span| record.extend_from_slice(&plain[span.record.payload()]))
        .unwrap();
    for (number, time) in [(TIME, time), (OBSERVED_TIME, observed)] {
        if let Some(time) = time {
            put_varint(&mut record, number << 3 | FIXED64);
            record.extend_from_slice(&nanoseconds(time).to_le_bytes());
        }
    }
    [2, 2, 1]
        .into_iter()
        .fold(record, |inner, number| {
            let mut outer = Vec::new();
            put_bytes(&mut outer, number, &inner);
            outer
        })
        .into()
}

/// Scenario: records whose four times lie inside or outside of the validity, in every combination that shows which one
/// was used. Guarantee: event time is `@timestamp`, else the record's time, else its observed time, else arrival; an
/// `@timestamp` that is not a time counts as none.
#[test]
fn event_time_is_the_first_that_the_event_has() {
    let detector = one(timed(Some(FROM), Some(UNTIL)));
    let (inside, outside) = (instant("2024-06-15T12:00:00Z"), instant("2020-01-01T00:00:00Z"));
    let body = |timestamp: Value| json!({ "@timestamp": timestamp, "source": { "ip": "203.0.113.7" } });
    let text = |time: Timestamp| json!(time.to_string());
    let milliseconds = |time: Timestamp| json!(time.as_millisecond());
    for (timestamp, time, observed, arrival, hits) in [
        (text(inside), Some(outside), Some(outside), outside, true),
        (text(outside), Some(inside), Some(inside), inside, false),
        (milliseconds(inside), Some(outside), Some(outside), outside, true),
        (milliseconds(outside), Some(inside), Some(inside), inside, false),
        (Value::Null, Some(inside), Some(outside), outside, true),
        (Value::Null, Some(outside), Some(inside), inside, false),
        (json!("yesterday"), Some(inside), Some(outside), outside, true),
        (Value::Null, None, Some(inside), outside, true),
        (Value::Null, None, Some(outside), inside, false),
        (Value::Null, None, None, inside, true),
        (Value::Null, None, None, outside, false),
    ] {
        let told = format!("{timestamp} {time:?} {observed:?} {arrival}");
        let sent = send_request(&detector, record(time, observed, &body(timestamp)), arrival);
        assert_eq!((sent.hits.len(), sent.reasons().len()), if hits { (1, 0) } else { (0, 1) }, "{told}");
    }
}

fn c2(kind: Kind, written: &str) -> Indicator {
    let phases = vec!["delivery".into(), "Command and Control".into()];
    let context = Arc::new(Context { kill_chain_phases: phases, ..Context::default() });
    Indicator { context, ..indicator(kind, written) }
}

/// Scenario: command-and-control addresses, networks and domains at every field that they can be found at.
/// Guarantee: an address or a network counts where the policy says; a domain is not restricted, nor is anything when
/// the rule is off or the phase is another.
#[test]
fn command_and_control_addresses_count_where_the_policy_says() {
    let table = table();
    let fields = table.iter().map(|(_, field)| field);
    let fields: Vec<&Field> = fields
        .filter(|field| matches!(field.kind, FieldKind::Of(Kind::Ip | Kind::Domain) | FieldKind::Auto))
        .filter(|field| {
            field.stix_paths.iter().any(|path| path != "email-addr:value" && path != "email-addr:display_name")
        })
        .collect();
    assert!(fields.len() > 25, "{} fields", fields.len());
    for field in fields {
        let document = nested(&field.name, json!("203.0.113.7"));
        let initiating = ["source.", "client.", "host.", "related."].iter().any(|side| field.name.starts_with(side));
        for (c2_counts, counts) in [
            (CommandAndControl::DestinationIp, field.name == "destination.ip"),
            (CommandAndControl::Responder, !initiating),
            (CommandAndControl::Any, true),
        ] {
            let misplaced = (!counts).then_some(Suppression::CommandAndControlField);
            for found in [c2(Kind::Ip, "203.0.113.7"), c2(Kind::Ip, "203.0.113.0/28")] {
                let policy = Policy { c2: c2_counts, ..believing() };
                let detector = with_policy(policy, Feed::named("feed"), vec![found]);
                assert_eq!(outcome(&detector, &document), misplaced, "{} {c2_counts:?}", field.name);
            }
        }
        assert_eq!(outcome(&one(indicator(Kind::Ip, "203.0.113.7")), &document), None, "{}", field.name);
        if field.kind != FieldKind::Of(Kind::Ip) {
            let document = nested(&field.name, json!("c2.evil.example"));
            assert_eq!(outcome(&one(c2(Kind::Domain, "c2.evil.example")), &document), None, "{}", field.name);
        }
    }
}

/// Scenario: a feed without an enabled rule, an indicator that its feed withdrew, confidences around the floor, an
/// event that is an indicator.
/// Guarantee: each is found, dropped under its own name, and the batch keeps its bytes.
#[test]
fn every_other_rule_drops_under_its_own_name() {
    let plain = || indicator(Kind::Ip, "203.0.113.7");
    let sure = |confidence| Indicator {
        context: Arc::new(Context { confidence, ..Context::default() }),
        ..indicator(Kind::Ip, "203.0.113.7")
    };
    let floor = |confidence_floor| Policy { confidence_floor, ..believing() };
    let event = json!({ "source": { "ip": "203.0.113.7" } });
    let of_kind = |kind: &str| json!({ "source.ip": "203.0.113.7", "event": { "kind": kind } });
    let disabled = Feed { enabled: false, ..Feed::named("feed") };
    let named = || Feed::named("feed");
    for (policy, feed, indicator, event, expected) in [
        (believing(), named(), plain(), &event, None),
        (believing(), disabled, plain(), &event, Some(Suppression::NoRule)),
        (believing(), named(), Indicator { revoked: true, ..plain() }, &event, Some(Suppression::Revoked)),
        (floor(Confidence::Medium), named(), sure(Confidence::Low), &event, Some(Suppression::Confidence)),
        (floor(Confidence::Medium), named(), sure(Confidence::Medium), &event, None),
        (floor(Confidence::Medium), named(), sure(Confidence::High), &event, None),
        (floor(Confidence::Low), named(), plain(), &event, Some(Suppression::Confidence)),
        (floor(Confidence::NotSpecified), named(), plain(), &event, None),
        (believing(), named(), plain(), &of_kind("enrichment"), Some(Suppression::EventIsIndicator)),
        (believing(), named(), plain(), &of_kind("alert"), None),
    ] {
        let detector = with_policy(policy, feed, vec![indicator]);
        assert_eq!(outcome(&detector, event), expected, "{event}");
        let sent = send(&detector, event);
        assert_eq!(sent.reasons(), Vec::from_iter(expected), "{event}");
        assert_eq!(sent.is_same, expected.is_some(), "{event}");
    }
}

/// Scenario: a finding that breaks every rule; then the rules are satisfied one after the other, in the order of the
/// list of reasons.
/// Guarantee: the reason given is always the first rule that is broken, and at the end the finding is a hit.
#[test]
fn the_first_broken_rule_is_the_reason() {
    let mut table = FieldTable::embedded(true).unwrap();
    let row = table.get(table.id("source.ip").unwrap()).clone();
    table.push(Field { name: "acme.unchecked".into(), cti: false, collection: false, ..row.clone() }).unwrap();
    table.push(Field { name: "acme.checked".into(), ..row }).unwrap();
    let table = Arc::new(table);
    let mut feed = Feed { enabled: false, origin: Origin::Feed, ..Feed::named("feed") };
    let mut found = Indicator {
        valid_from: Some(instant("2300-01-01T00:00:00Z")),
        valid_until: Some(instant("1980-01-01T00:00:00Z")),
        revoked: true,
        ..c2(Kind::Ip, "203.0.113.7")
    };
    let list = br#"{ "name": "ours", "type": "cidr", "list": ["203.0.113.0/24"] }"#;
    let allowlists = Arc::new(Allowlists::new(vec![allowlist::read(list, "").unwrap().list]));
    let mut policy = Policy { confidence_floor: Confidence::High, allowlists, ..believing() };
    let (mut field, mut kind) = ("acme.unchecked", "enrichment");
    let mut reasons = Vec::new();
    for mended in Suppression::ALL.map(Some).into_iter().chain([None]) {
        let document = json!({ field: "203.0.113.7", "event.kind": kind, "@timestamp": "2024-06-15T00:00:00Z" });
        let detector = detector(&table, EXACT, Some(policy.clone()), vec![(feed.clone(), vec![found.clone()])]);
        reasons.push(outcome(&detector, &document));
        match mended {
            Some(Suppression::NoRule) => feed.enabled = true,
            Some(Suppression::Column) => field = "acme.checked",
            Some(Suppression::NotYetValid) => found.valid_from = None,
            Some(Suppression::Expired) => found.valid_until = None,
            Some(Suppression::CommandAndControlField) => field = "destination.ip",
            Some(Suppression::Revoked) => found.revoked = false,
            Some(Suppression::Allowlist) => policy.allowlists = Arc::default(),
            Some(Suppression::Confidence) => policy.confidence_floor = Confidence::NotSpecified,
            Some(Suppression::EventIsIndicator) => kind = "event",
            None => {}
        }
    }
    let expected: Vec<_> = Suppression::ALL.into_iter().map(Some).chain([None]).collect();
    assert_eq!(reasons, expected);
}

/// Scenario: the findings of one event belong to two feeds, one of them without a rule. Guarantee: each finding follows
/// the rules of its own feed.
#[test]
fn each_finding_is_judged_on_its_own() {
    let off = Feed { enabled: false, ..Feed::named("off") };
    let same = || vec![indicator(Kind::Ip, "203.0.113.7")];
    let both = detector(&table(), EXACT, Some(believing()), vec![(off, same()), (Feed::named("on"), same())]);
    let sent = send(&both, &json!({ "source.ip": "203.0.113.7" }));
    assert_eq!(sent.reasons(), [Suppression::NoRule]);
    let feed = |hit: &Hit| both.snapshot.feed_of(hit.posting.indicator).name.clone();
    assert_eq!(sent.hits.iter().map(feed).collect::<Vec<_>>(), ["on"]);
}

/// Scenario: an event whose time lies just within and just beyond the believed skew of its arrival, to both sides, for
/// indicators that are valid at the one time, at the other, and at neither.
/// Guarantee: within the skew the event's time alone counts; beyond it either time may hit, and the suppression is that
/// of the event's time.
#[test]
fn a_time_that_is_not_believed_is_judged_at_arrival_too() {
    let skew = SignedDuration::from_hours(7 * 24);
    let arrival = instant("2024-06-15T12:00:00Z");
    let span = |from: Timestamp, until: Timestamp| Indicator {
        valid_from: Some(from),
        valid_until: Some(until),
        ..indicator(Kind::Ip, "203.0.113.7")
    };
    let second = SignedDuration::from_secs(1);
    for (time, is_believed) in
        [(arrival - skew, true), (arrival + skew, true), (arrival - skew - TICK, false), (arrival + skew + TICK, false)]
    {
        let at_time = span(time, time + second);
        let at_arrival = span(arrival, arrival + second);
        let never = span(instant("2030-01-01T00:00:00Z"), instant("2030-01-02T00:00:00Z"));
        let document = at(time);
        let judged = |found: Indicator| {
            let policy = Policy { grace: Duration::ZERO, ..Policy::default() };
            let detector = with_policy(policy, Feed::named("feed"), vec![found]);
            let request = Bytes::from(request_of([(0, &document)]));
            detector.batch(hotlist::encoding::Format::Otlp, request, arrival, &Default::default()).unwrap().1
        };
        assert_eq!(judged(at_time).hits.total(), 1, "{time}");
        let report = judged(at_arrival);
        assert_eq!(report.hits.total(), u64::from(!is_believed), "{time}");
        assert_eq!(report.skewed.hits, u64::from(!is_believed));
        let report = judged(never);
        assert_eq!(report.suppressions.get(&Suppression::NotYetValid), 1);
        assert_eq!((report.skewed.hits, report.skewed.suppressed), (0, u64::from(!is_believed)));
    }
}

/// Guarantee: events that are indicators themselves are suppressed under that name, or hit where that is configured.
#[test]
fn enrichment_events_can_hit_where_that_is_wanted() {
    let document = json!({ "event": { "kind": "enrichment" }, "source": { "ip": "203.0.113.7" } });
    let detector = |skip| {
        let policy = Policy { skip_enrichment_events: skip, ..Policy::default() };
        with_policy(policy, Feed::named("feed"), vec![indicator(Kind::Ip, "203.0.113.7")])
    };
    assert_eq!(outcome(&detector(true), &document), Some(Suppression::EventIsIndicator));
    assert_eq!(outcome(&detector(false), &document), None);
}
