//! Random composite patterns as their author means them, against a slow evaluator of what is written.

use std::collections::BTreeSet;

use hotlist::intel::indicator::{Comparison, Indicator, TermValue};
use hotlist::intel::keys::KeyPlan;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::intel::term;
use hotlist::observable::Kind;
use hotlist::schema::FieldTable;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cases::Case;
use crate::common::{EXACT, detector};
use crate::composite::compiled;
use crate::naive::{forms, found_by, same};
use crate::segments::{table, through_bytes};

/// A comparison: as it is written, whether turned round, and as it is meant.
#[derive(Clone, Copy, Debug)]
struct Comparing {
    path: &'static str,
    operator: &'static str,
    literal: &'static str,
    kind: Kind,
    value: &'static str,
}

const fn comparing(
    path: &'static str,
    operator: &'static str,
    literal: &'static str,
    kind: Kind,
    value: &'static str,
) -> Comparing {
    Comparing { path, operator, literal, kind, value }
}

const COMPARING: [Comparing; 18] = [
    comparing("domain-name:value", "=", "'evil.com'", Kind::Domain, "evil.com"),
    comparing("domain-name:value", "=", "'*.evil.com'", Kind::Domain, "*.evil.com"),
    comparing("ipv4-addr:value", "=", "'203.0.113.7'", Kind::Ip, "203.0.113.7"),
    comparing("ipv4-addr:value", "ISSUBSET", "'203.0.113.0/24'", Kind::Ip, "203.0.113.0/24"),
    comparing("ipv6-addr:value", "=", "'2001:db8::7'", Kind::Ip, "2001:db8::7"),
    comparing("url:value", "=", "'http://evil.com/a'", Kind::Url, "http://evil.com/a"),
    comparing("url:value", "=", "'http://evil.com/'", Kind::Url, "http://evil.com/"),
    comparing(
        "file:hashes.MD5",
        "=",
        "'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a'",
        Kind::Md5,
        "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
    ),
    comparing("email-addr:value", "=", "'m@evil.com'", Kind::Email, "m@evil.com"),
    comparing("user-account:user_id", "=", "'m'", Kind::User, "m"),
    comparing("network-traffic:dst_ref.value", "=", "'203.0.113.7'", Kind::Ip, "203.0.113.7"),
    comparing("network-traffic:dst_port", "=", "443", Kind::Number, "443"),
    comparing("network-traffic:dst_port", ">", "443", Kind::Number, "443"),
    comparing("network-traffic:dst_port", "<=", "80.5", Kind::Number, "80.5"),
    comparing("process:command_line", "=", "'1.1'", Kind::Text, "1.1"),
    comparing("process:cwd", "=", r"'c:\\x\\run'", Kind::Path, r"c:\x\run"),
    comparing("network-traffic:protocols[*]", "=", "'tcp'", Kind::Name, "tcp"),
    comparing("process:created_time", ">=", "t'2024-01-31T00:00:00Z'", Kind::Time, "2024-01-31"),
];

/// Paths of a value wherever it stands.
const OF_KIND: [&str; 6] =
    ["domain-name:value", "ipv4-addr:value", "ipv6-addr:value", "url:value", "file:hashes.MD5", "email-addr:value"];

/// A pattern as its author means it.
#[derive(Clone, Debug)]
pub enum Meant {
    Is(usize, bool),
    All(Vec<Meant>),
    Any(Vec<Meant>),
}

impl Meant {
    pub fn written(&self) -> String {
        let joined = |of: &[Meant], word: &str| {
            of.iter().map(|inner| format!("({})", inner.written())).collect::<Vec<_>>().join(word)
        };
        match self {
            Meant::Is(which, is_not) => {
                let Comparing { path, operator, literal, .. } = COMPARING[*which];
                format!("{path} {}{operator} {literal}", if *is_not { "NOT " } else { "" })
            }
            Meant::All(of) => joined(of, " AND "),
            Meant::Any(of) => joined(of, " OR "),
        }
    }

    fn holds(&self, state: &dyn Fn(&Comparing) -> Option<bool>) -> bool {
        match self {
            Meant::Is(which, is_not) => state(&COMPARING[*which]) == Some(!is_not),
            Meant::All(of) => of.iter().all(|inner| inner.holds(state)),
            Meant::Any(of) => of.iter().any(|inner| inner.holds(state)),
        }
    }
}

/// Whether values of a kind may stand at a field.
fn may_hold(reading: KeyPlan, kind: Kind, url_hosts: bool) -> bool {
    use KeyPlan::{Auto, Email, EmailOrHost, EmailOrText, Hash, Host, Ip, Url, User, UserDomain};
    match kind {
        Kind::Ip => matches!(reading, Ip | Host | EmailOrHost | Auto) || (reading == Url && url_hosts),
        Kind::Domain => {
            matches!(reading, Ip | Host | EmailOrHost | Auto | UserDomain) && reading != Ip
                || (reading == Url && url_hosts)
        }
        Kind::Url => reading == Url,
        Kind::Md5 => reading == Hash,
        Kind::Email => matches!(reading, Email | EmailOrHost | Auto | User | EmailOrText),
        _ => panic!("{kind} has paths only"),
    }
}

/// What an event says of a comparison: found, something else, or (`None`) nothing.
fn said(comparing: &Comparing, case: &Case, feed: &Feed, table: &FieldTable) -> Option<bool> {
    let mut value = term::value(comparing.kind, comparing.value).unwrap();
    if let TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. } = &mut value {
        *comparison = match comparing.operator {
            ">" => Comparison::Greater,
            "<=" => Comparison::LessOrEqual,
            ">=" => Comparison::GreaterOrEqual,
            _ => Comparison::Equal,
        };
    }
    let mut said = None;
    for (name, written) in &case.event {
        let field = table.get(table.id(name).unwrap());
        let here = match OF_KIND.contains(&comparing.path) {
            true => may_hold(KeyPlan::of_field(field), comparing.kind, case.options.url_hosts),
            false => field.stix_paths.iter().any(|path| **path == *comparing.path),
        };
        if here {
            let raw = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
            let forms = forms(KeyPlan::of_field(field), raw.as_bytes(), case.options);
            let is_it = forms.iter().any(|form| same(&value, form, case.options, feed));
            said = Some(is_it || said == Some(true));
        }
    }
    said
}

pub fn meant() -> impl Strategy<Value = Meant> {
    let leaf = (0..COMPARING.len(), prop::bool::weighted(0.2)).prop_map(|(which, is_not)| Meant::Is(which, is_not));
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(Meant::All),
            1 => prop::collection::vec(inner, 2..4).prop_map(Meant::Any),
        ]
    })
}

/// An event in which much of the comparisons is found.
pub fn event() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let hosts = || {
        vec![
            json!("evil.com"),
            json!("a.evil.com"),
            json!("other.org"),
            json!("203.0.113.7"),
            json!("203.0.113.9"),
            json!("2001:db8::7"),
            json!("m@evil.com"),
        ]
    };
    let urls = || {
        vec![
            json!("http://evil.com/a"),
            json!("http://evil.com"),
            json!("https://evil.com/a"),
            json!("evil.com/a/b"),
            json!("http://evil.com/a?q"),
        ]
    };
    let users = || vec![json!("m"), json!(r"CORP\M"), json!("m@evil.com"), json!("z")];
    let values: Vec<(&'static str, Vec<Value>)> = vec![
        ("dns.question.name", hosts()),
        ("related.hosts", hosts()),
        ("source.ip", hosts()),
        ("destination.ip", hosts()),
        ("url.full", urls()),
        ("url.original", urls()),
        ("file.hash.md5", vec![json!("0A0a0A0a0A0a0A0a0A0a0A0a0A0a0A0a"), json!("ff"), json!("x")]),
        ("email.from", users()),
        ("user.name", users()),
        ("user.domain", hosts()),
        ("destination.port", vec![json!(443), json!("443"), json!(80), json!(444.5), json!("x")]),
        ("destination.port", vec![json!(443), json!("80")]),
        ("source.port", vec![json!(443)]),
        ("process.command_line", vec![json!("1.1"), json!(" 1.1"), json!("2")]),
        ("process.working_directory", vec![json!(r"C:\X\Run"), json!("/x")]),
        ("network.transport", vec![json!("TCP"), json!("udp")]),
        ("process.start", vec![json!("2024-01-31"), json!("2023-01-01T00:00:00Z")]),
    ];
    let member = prop::sample::select(values)
        .prop_flat_map(|(field, values)| prop::sample::select(values).prop_map(move |value| (field, value)));
    prop::collection::vec(member, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Scenario: random patterns over a few values, random events that hold some of them, under every option.
    /// Guarantee: those are found that hold as they are written, by a program and a matcher of their own, in a document
    /// and in the live stream, from memory and from the bytes of a segment.
    #[test]
    fn a_pattern_is_found_where_it_holds_as_written(
        patterns in prop::collection::vec(meant(), 1..6),
        event in event(),
        (subdomains, url_hosts, feed_subdomains, url_prefix) in any::<(bool, bool, bool, bool)>(),
    ) {
        let table = table();
        let feed = Feed { subdomains: feed_subdomains, url_prefix, ..Feed::named("feed") };
        let usable: Vec<(Meant, Indicator)> = patterns
            .into_iter()
            .filter_map(|meant| {
                let indicator = compiled(&format!("[{}]", meant.written())).ok()?;
                Some((meant, indicator))
            })
            .collect();
        let indicators = usable.iter().map(|(_, indicator)| indicator.clone()).collect();
        let options = MatchOptions { subdomains, url_hosts, ..MatchOptions::EXACT };
        let case = Case { options, feeds: vec![(feed.clone(), indicators)], event };
        let expected: BTreeSet<u32> = (0..)
            .zip(&usable)
            .filter(|(_, (meant, _))| meant.holds(&|comparing| said(comparing, &case, &feed, &table)))
            .map(|(number, _)| number)
            .collect();
        let built = detector(&table, options, None, case.feeds.clone());
        for detector in [built, through_bytes(options, &case.feeds)] {
            let found: BTreeSet<u32> = found_by(&detector, &case).into_iter().map(|(_, _, number)| number).collect();
            let written: Vec<String> = usable.iter().map(|(meant, _)| meant.written()).collect();
            prop_assert_eq!(&found, &expected, "{:?}", written);
        }
    }
}

/// The generators of the property find and miss, with and without `NOT`.
#[test]
fn random_patterns_are_found_often_and_missed_often() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    // The same every time: of other patterns it may now and then be just too few.
    let mut runner = TestRunner::deterministic();
    let (mut found, mut missed) = (0, 0);
    for _ in 0..400 {
        let meant = (meant(), event()).new_tree(&mut runner).unwrap().current();
        let Ok(indicator) = compiled(&format!("[{}]", meant.0.written())) else { continue };
        if indicator.program.is_some() {
            let case = Case { options: EXACT, feeds: vec![(Feed::named("feed"), vec![indicator])], event: meant.1 };
            let detector = detector(&table(), EXACT, None, case.feeds.clone());
            if found_by(&detector, &case).is_empty() { missed += 1 } else { found += 1 }
        }
    }
    assert!(found > 20 && missed > 20, "{found} found, {missed} missed");
}
