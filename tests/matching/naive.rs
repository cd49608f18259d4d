//! The matcher against a slow oracle: every term of every indicator compared with every value, by the plain
//! normalisers, without prefilter, exact sets, network index or the cheap test of a URL's host.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hotlist::detect::Detector;
use hotlist::encoding::Visitor;
use hotlist::fields::FieldTable;
use hotlist::intel::indicator::{Comparison, Indicator, Target, TermValue};
use hotlist::intel::plan::Reading;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::matcher::Matcher;
use hotlist::observable::url::CanonicalUrl;
use hotlist::observable::{Kind, domain, email, hash, ip, path, text, time, url, user};
use hotlist::policy::Policy;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::common::{detector, indicator, table};

/// What a value may be looked for as.
#[derive(Debug)]
enum Form {
    Address(IpAddr),
    Domain(String),
    Url(CanonicalUrl),
    Hash(Kind, String),
    Email(String),
    User(String),
    Text(String),
    Name(Kind, String),
    Path(String),
    Number(f64),
    Time(Timestamp),
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn host(raw: &[u8]) -> Option<Form> {
    let mut scratch = Vec::new();
    if let Some(address) = ip::canonical(raw) {
        return Some(Form::Address(address));
    }
    if let Some(name) = domain::canonical(raw, &mut scratch) {
        return Some(Form::Domain(string(name)));
    }
    let inner = domain::event_host(raw)?;
    ip::canonical(inner)
        .map(Form::Address)
        .or_else(|| domain::canonical(inner, &mut scratch).map(|name| Form::Domain(string(name))))
}

fn emails(raw: &[u8]) -> Vec<Form> {
    let mut found = Vec::new();
    email::event_addresses(raw, &mut Vec::new(), &mut |address| found.push(Form::Email(string(address))));
    found
}

fn users(raw: &[u8], accounts: bool) -> Vec<Form> {
    let mut scratch = Vec::new();
    let Some(name) = user::canonical(raw, &mut scratch) else { return Vec::new() };
    let account = user::account(name).filter(|_| accounts);
    [Some(name), account].into_iter().flatten().map(|name| Form::User(string(name))).collect()
}

/// Everything that a value at a field of this reading is (design: the field says where to begin, the value decides).
fn forms(reading: Reading, raw: &[u8], url_hosts: bool) -> Vec<Form> {
    let mut scratch = Vec::new();
    let plain = |text: Option<&[u8]>| text.map(|text| Form::Text(string(text))).into_iter().collect::<Vec<_>>();
    match reading {
        Reading::Ip => ip::event_address(raw).map(Form::Address).into_iter().collect(),
        Reading::Host => host(raw).into_iter().collect(),
        Reading::Url => {
            let host = host(raw).filter(|_| url_hosts);
            url::canonical(raw).map(Form::Url).into_iter().chain(host).collect()
        }
        Reading::Hash => {
            hash::canonical(raw, &mut scratch).map(|(kind, hex)| Form::Hash(kind, string(hex))).into_iter().collect()
        }
        Reading::Email => emails(raw),
        Reading::EmailOrHost | Reading::Auto => emails(raw).into_iter().chain(host(raw)).collect(),
        Reading::User => users(raw, true).into_iter().chain(emails(raw)).collect(),
        Reading::UserDomain => {
            let name = domain::canonical(raw, &mut scratch).map(|name| Form::Domain(string(name)));
            users(raw, false).into_iter().chain(name).collect()
        }
        Reading::EmailOrText => emails(raw).into_iter().chain(plain(text::canonical(raw))).collect(),
        Reading::Text => plain(text::canonical(raw)),
        Reading::HttpVersion => plain(text::canonical(raw).map(text::http_version)),
        Reading::Name | Reading::DnsType => {
            let kind = if reading == Reading::Name { Kind::Name } else { Kind::DnsType };
            text::name(raw, &mut scratch).map(|name| Form::Name(kind, string(name))).into_iter().collect()
        }
        Reading::Path => path::canonical(raw, &mut scratch).map(|path| Form::Path(string(path))).into_iter().collect(),
        Reading::Number => {
            let number = string(raw).trim().parse::<f64>().ok().filter(|number| number.is_finite());
            number.map(Form::Number).into_iter().collect()
        }
        Reading::Time => time::parse(raw).map(Form::Time).into_iter().collect(),
    }
}

/// Whether a term's value and one form of an event's value are the same thing.
fn same(term: &TermValue, form: &Form, options: MatchOptions, feed: &Feed) -> bool {
    match (term, form) {
        (TermValue::Address(one), Form::Address(other)) => one == other,
        (TermValue::Network(network), Form::Address(address)) => network.contains(address),
        (TermValue::Domain { name, subdomains }, Form::Domain(seen)) => {
            let below = *subdomains || feed.subdomains || options.subdomains;
            **name == **seen || (below && name.contains('.') && seen.ends_with(&format!(".{name}")))
        }
        (TermValue::Url(wanted), Form::Url(seen)) => {
            let schemes = wanted.scheme().is_none() || seen.scheme().is_none() || wanted.scheme() == seen.scheme();
            let path = seen.rest().split('?').next().unwrap_or_default();
            let longer = feed.url_prefix
                && path
                    .strip_prefix(wanted.rest())
                    .is_some_and(|more| more.is_empty() || more.starts_with('/') || wanted.rest().ends_with('/'));
            schemes && (wanted.rest() == seen.rest() || longer)
        }
        (TermValue::Hash { kind, digest }, Form::Hash(seen, hex)) => kind == seen && **digest == **hex,
        (TermValue::Email(one), Form::Email(other)) => **one == **other,
        (TermValue::User(one), Form::User(other)) => **one == **other,
        (TermValue::Text(one), Form::Text(other)) => **one == **other,
        (TermValue::Name { kind, name }, Form::Name(seen, other)) => kind == seen && **name == **other,
        (TermValue::Path(one), Form::Path(other)) => **one == **other,
        (TermValue::Number { comparison, value }, Form::Number(seen)) => {
            seen.partial_cmp(value).is_some_and(|order| comparison.holds(order))
        }
        (TermValue::Time { comparison, value }, Form::Time(seen)) => comparison.holds(seen.cmp(value)),
        _ => false,
    }
}

/// (field, value, number of the indicator) of everything found.
type Found = BTreeSet<(String, String, u32)>;

struct Case {
    options: MatchOptions,
    feeds: Vec<(Feed, Vec<Indicator>)>,
    event: Vec<(&'static str, Value)>,
}

fn slowly(case: &Case, table: &FieldTable) -> Found {
    let mut found = Found::new();
    for (name, value) in &case.event {
        let id = table.id(name).unwrap();
        let field = table.get(id);
        let raw = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let forms = forms(Reading::of(field), raw.as_bytes(), case.options.url_hosts);
        let indicators = case.feeds.iter().flat_map(|(feed, indicators)| indicators.iter().map(move |i| (feed, i)));
        for (number, (feed, indicator)) in indicators.enumerate() {
            for term in &indicator.terms {
                let here = match &term.target {
                    Target::Kind => true,
                    Target::StixPath(path) => field.stix_paths.iter().any(|known| **known == **path),
                };
                if here && forms.iter().any(|form| same(&term.value, form, case.options, feed)) {
                    found.insert(((*name).to_owned(), raw.clone(), number as u32));
                }
            }
        }
    }
    found
}

fn quickly(case: &Case, table: &Arc<FieldTable>) -> Found {
    let detector = detector(table, case.options, None, case.feeds.clone());
    // Written by hand, because the same field may come twice.
    let members: Vec<String> = case.event.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    let document = format!("{{{}}}", members.join(","));
    let mut matcher = Matcher::new(&detector.snapshot);
    let verdict = detector.document(document.as_bytes(), &mut matcher, Timestamp::UNIX_EPOCH).unwrap();
    verdict
        .hits
        .iter()
        .map(|hit| {
            let field = detector.snapshot.table().get(hit.field).name.clone();
            (field, string(&hit.value), hit.posting.indicator)
        })
        .collect()
}

const DOMAINS: [&str; 7] =
    ["evil.com", "a.evil.com", "b.a.evil.com", "notevil.com", "*.evil.com", "com", "xn--bcher-kva.com"];
const ADDRESSES: [&str; 9] = [
    "203.0.113.7",
    "203.0.113.8",
    "203.0.113.0/24",
    "203.0.113.0/29",
    "203.0.0.0/15",
    "2001:db8::7",
    "2001:db8::/32",
    "2001:db8::/127",
    "0.0.0.0/0",
];
const URLS: [&str; 8] = [
    "http://evil.com/",
    "https://evil.com/a",
    "evil.com/a",
    "evil.com/a/b?q",
    "http://203.0.113.7/a/",
    "http://[2001:db8::7]/a",
    "ftp://u@evil.com:2121/a",
    "hxxp://evil.com/a",
];
const MAILS: [&str; 3] = ["m@evil.com", "n@a.evil.com", "M.N@evil.com"];
const NAMES: [&str; 5] = ["m", "evil.com", r"corp\m", "m@evil.com", "tcp"];

/// Values of events: what indicators hold, and everything that logs make of it.
fn value() -> impl Strategy<Value = Value> {
    let host = prop_oneof![
        prop::sample::select(DOMAINS.to_vec()).prop_map(|name| name.trim_start_matches("*.").to_owned()),
        prop::sample::select(vec![
            "203.0.113.7",
            "203.0.113.9",
            "203.1.2.3",
            "::ffff:203.0.113.7",
            "[2001:db8::7]",
            "2001:DB8:0::1",
            "8.8.8.8",
            "bücher.com",
            "z.evil.com",
            "EVIL.com.",
        ])
        .prop_map(str::to_owned),
    ];
    let dressed = (
        prop::sample::select(vec![
            "", "", "", "http://", "HTTPS://", "ftp://u@", "hxxp://", "//", "m@", "M <m@", " ", r"corp\",
        ]),
        host,
        prop::sample::select(vec![
            "", "", "", "/", "/a", "/a/b?q", ":80", ":2121/a", ":443/a", "/a/", ">", ".", "?q", "#f", " ", "/%61",
            "\\a",
        ]),
        any::<bool>(),
    )
        .prop_map(|(before, host, after, upper)| {
            let text = format!("{before}{host}{after}");
            if upper { text.to_uppercase() } else { text }
        });
    prop_oneof![
        6 => dressed.prop_map(Value::from),
        2 => prop::sample::select([&URLS[..], &MAILS, &NAMES].concat()).prop_map(Value::from),
        1 => prop::sample::select(vec![
            "0A".repeat(16), "1b".repeat(20), "HTTP/1.1".into(), "1.1".into(), "TCP".into(), r"C:\X\Run".into(),
            "c:/x/run".into(), "443".into(), "2024-01-31".into(), "1706659200".into(), "Mail <x@y>, m@evil.com".into(),
        ]).prop_map(Value::from),
        1 => prop::sample::select(vec![json!(443), json!(443.5), json!(-1), json!(1_706_659_200), json!(0.0)]),
    ]
}

fn wider() -> impl Strategy<Value = Indicator> {
    let comparison = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    let kinds = vec![
        (Kind::Number, "443", "network-traffic:dst_port"),
        (Kind::Time, "2024-01-31", "process:created_time"),
        (Kind::Text, "1.1", "network-traffic:extensions.'http-request-ext'.request_version"),
        (Kind::Text, "1.1", "process:command_line"),
        (Kind::Name, "tcp", "network-traffic:protocols[*]"),
        (Kind::DnsType, "tcp", "domain-name:x_query_type"),
        (Kind::Path, r"c:\x\run", "process:cwd"),
        (Kind::Ip, "203.0.113.7", "network-traffic:dst_ref.value"),
        (Kind::Email, "m@evil.com", "email-message:from_ref.value"),
    ];
    (prop::sample::select(kinds), comparison).prop_map(|((kind, written, path), wanted)| {
        let mut found = indicator(kind, written);
        for term in &mut found.terms {
            term.target = Target::StixPath(path.into());
            if let TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. } = &mut term.value {
                *comparison = wanted;
            }
        }
        found
    })
}

fn indicators() -> impl Strategy<Value = Vec<Indicator>> {
    let of = |kind: Kind, values: Vec<&'static str>| {
        prop::sample::select(values).prop_map(move |written| indicator(kind, written))
    };
    let hash = prop::sample::select(vec!["0a".repeat(16), "1b".repeat(20)]).prop_map(|hex| indicator(Kind::Md5, &hex));
    let any = prop_oneof![
        3 => of(Kind::Domain, DOMAINS.to_vec()),
        3 => of(Kind::Ip, ADDRESSES.to_vec()),
        3 => of(Kind::Url, URLS.to_vec()),
        1 => of(Kind::Email, MAILS.to_vec()),
        1 => of(Kind::User, NAMES.to_vec()),
        1 => hash,
        3 => wider(),
    ];
    // Some indicators have two values.
    let joined = (any, prop::option::weighted(0.2, of(Kind::Domain, DOMAINS.to_vec()))).prop_map(|(mut one, other)| {
        one.terms.extend(other.into_iter().flat_map(|other| other.terms));
        one
    });
    prop::collection::vec(joined, 0..16)
}

fn feed() -> impl Strategy<Value = (Feed, Vec<Indicator>)> {
    (any::<(bool, bool)>(), indicators()).prop_map(|((subdomains, url_prefix), indicators)| {
        (Feed { subdomains, url_prefix, ..Feed::named("feed") }, indicators)
    })
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?} {:?}", self.options, self.event)?;
        for (feed, indicators) in &self.feeds {
            let terms: Vec<_> = indicators.iter().map(|indicator| &indicator.terms).collect();
            writeln!(f, "subdomains {} prefix {}: {terms:?}", feed.subdomains, feed.url_prefix)?;
        }
        Ok(())
    }
}

/// One field of every reading, and a few more of the common ones.
const FIELDS: [&str; 24] = [
    "source.ip",
    "destination.ip",
    "dns.question.name",
    "url.domain",
    "related.hosts",
    "dns.answers.data",
    "url.full",
    "url.original",
    "related.hash",
    "file.hash.md5",
    "email.from",
    "user.email",
    "file.x509.alternative_names",
    "user.name",
    "user.domain",
    "tls.client.x509.alternative_names",
    "source.user.full_name",
    "http.version",
    "network.transport",
    "dns.question.type",
    "process.working_directory",
    "destination.port",
    "process.start",
    "process.command_line",
];

/// What the rarer kinds of fields usually hold.
fn usual(field: &str) -> &'static [&'static str] {
    match field {
        "related.hash" | "file.hash.md5" => {
            &["0A0a0A0a0A0a0A0a0A0a0A0a0A0a0A0a", "1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b", "0a0a"]
        }
        "http.version" => &["HTTP/1.1", "1.1", "2"],
        "network.transport" | "dns.question.type" => &["TCP", " tcp", "udp"],
        "process.working_directory" => &[r"C:\X\Run", r"c:\x\run ", "c:/x/run"],
        "destination.port" => &["443", "443.0", "444", "-1", "x"],
        "process.start" => &["2024-01-31", "1706659200", "2024-01-31T00:00:01Z", "2024-01-30"],
        "process.command_line" => &["1.1", " 1.1", "HTTP/1.1"],
        "source.user.full_name" => &["1.1", "M <m@evil.com>"],
        _ => &[],
    }
}

fn case(fields: &'static [&'static str]) -> impl Strategy<Value = Case> {
    let member = (prop::sample::select(fields.to_vec()), value(), any::<(bool, prop::sample::Index)>());
    let member = member.prop_map(|(field, value, (special, index))| match usual(field) {
        usual if special && !usual.is_empty() => (field, json!(index.get(usual))),
        _ => (field, value),
    });
    (any::<(bool, bool)>(), prop::collection::vec(feed(), 1..3), prop::collection::vec(member, 1..24)).prop_map(
        |((subdomains, url_hosts), feeds, event)| Case {
            options: MatchOptions { subdomains, url_hosts },
            feeds,
            event,
        },
    )
}

/// Runs the comparison and returns how many findings both sides had at each field.
fn compare(cases: u32, fields: &'static [&'static str]) -> BTreeMap<String, usize> {
    let table = table();
    let total = RefCell::new(BTreeMap::new());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&case(fields), |case| {
        let (slow, quick) = (slowly(&case, &table), quickly(&case, &table));
        for (field, _, _) in &slow {
            *total.borrow_mut().entry(field.clone()).or_default() += 1;
        }
        prop_assert_eq!(quick, slow);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    total.into_inner()
}

/// Scenario: random indicators of every kind in random feeds, random events made of their values and what logs make of
/// them, at fields of every reading, under every option.
/// Guarantee: the matcher finds what the slow oracle finds: neither the prefilter nor any index loses or adds one.
#[test]
fn the_matcher_finds_what_comparing_everything_finds() {
    let table = table();
    let readings: BTreeSet<String> =
        FIELDS.iter().map(|name| format!("{:?}", Reading::of(table.get(table.id(name).unwrap())))).collect();
    let all: BTreeSet<String> = table.iter().map(|(_, field)| format!("{:?}", Reading::of(field))).collect();
    assert_eq!(readings, all, "the fields here cover every reading");
    let found = compare(1_500, &FIELDS);
    let dull: Vec<_> = FIELDS.iter().filter(|field| !found.contains_key(**field)).collect();
    assert!(dull.is_empty(), "the generators never hit at {dull:?}: {found:?}");
}

/// Scenario: the same with URLs only.
/// Guarantee: the cheap test of the host decides nothing that parsing would decide otherwise.
#[test]
fn the_cheap_test_of_a_urls_host_loses_nothing() {
    let found = compare(800, &["url.full", "url.original"]);
    assert!(found.values().sum::<usize>() > 200, "only {found:?} findings");
}

/// A detector with an indicator of every kind, so that every field is walked and every reading runs.
fn full() -> Detector {
    let indicators = DOMAINS.iter().map(|name| indicator(Kind::Domain, name));
    let indicators = indicators
        .chain(ADDRESSES.iter().map(|written| indicator(Kind::Ip, written)))
        .chain(URLS.iter().map(|written| indicator(Kind::Url, written)))
        .chain([Kind::User, Kind::Text, Kind::Name, Kind::DnsType, Kind::Path].map(|kind| indicator(kind, "m")))
        .chain([indicator(Kind::Email, "m@evil.com"), indicator(Kind::Md5, &"0a".repeat(16))])
        .chain([indicator(Kind::Number, "443"), indicator(Kind::Time, "2024-01-31")]);
    let feed = Feed { subdomains: true, url_prefix: true, ..Feed::named("feed") };
    let options = MatchOptions { subdomains: true, url_hosts: true };
    detector(&table(), options, Some(Policy::default()), vec![(feed, indicators.collect())])
}

/// Bytes that begin like an OTLP request or a document and then go wrong anywhere.
fn damaged() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 0..6);
    let members = prop::collection::vec((prop::sample::select(FIELDS.to_vec()), value()), 0..6);
    (members, edits).prop_map(|(members, edits)| {
        let document = Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let request = hotlist::encoding::otlp::request_of([(1, &document), (0, &document)]);
        let damage = |mut bytes: Vec<u8>| {
            for (at, byte, edit) in &edits {
                if bytes.is_empty() {
                    break;
                }
                let at = at.index(bytes.len());
                match edit {
                    0 => bytes[at] = *byte,
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, *byte),
                }
            }
            bytes
        };
        (damage(request), damage(document.to_string().into_bytes()))
    })
}

/// Runs both ways through the detector; whatever it says, it says it without a panic, and what it tags stays JSON.
fn survives(detector: &Detector, request: Vec<u8>, document: &[u8]) {
    let request = Bytes::from(request);
    if let Ok((batch, report)) = detector.batch(request.clone(), Timestamp::UNIX_EPOCH)
        && report.hits.is_empty()
    {
        assert_eq!(batch.message.to_bytes(), request, "without a hit the bytes stay");
    }
    let mut matcher = Matcher::new(&detector.snapshot);
    if let Ok(verdict) = detector.document(document, &mut matcher, Timestamp::UNIX_EPOCH)
        && !verdict.hits.is_empty()
        && serde_json::from_slice::<Value>(document).is_ok()
    {
        let tagged = detector.tag_document(document, &verdict).unwrap();
        assert!(serde_json::from_slice::<Value>(&tagged).is_ok(), "{}", String::from_utf8_lossy(&tagged));
    }
    assert!(!matcher.has_hits(), "nothing is left over for the next event");
}

/// Scenario: arbitrary bytes, and requests and documents with bytes changed, cut and added.
/// Guarantee: never a panic; a batch without hits keeps its bytes; a tagged document is JSON still.
#[test]
fn no_bytes_make_the_detector_panic() {
    let detector = full();
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let outcome = runner.run(&(damaged(), noise), |((request, document), noise)| {
        survives(&detector, request, &document);
        survives(&detector, noise.clone(), &noise);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Scenario: every field of the table holds arbitrary bytes, valid text or not, in an OTLP body.
/// Guarantee: no reading panics on any value.
#[test]
fn no_value_makes_a_reading_panic() {
    let detector = full();
    let table = table();
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let values = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "\\PC{0,40}".prop_map(String::into_bytes),
        "[a.:/@\\[\\]%<>\\\\ 0-9é。-]{0,40}".prop_map(String::into_bytes),
    ];
    let outcome = runner.run(&values, |value| {
        let mut matcher = Matcher::new(&detector.snapshot);
        for (id, _) in table.iter() {
            matcher.value(id, hotlist::encoding::Value::Text(&value));
        }
        matcher.take_hits();
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
