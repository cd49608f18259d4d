//! The matcher against a slow oracle: every term of every indicator compared with every value, by the plain
//! normalisers, without prefilter, exact sets, network index or the cheap test of a URL's host.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hotlist::detect::Detector;
use hotlist::encoding::otlp::request_of;
use hotlist::intel::indicator::{NameScope, Target, TermValue};
use hotlist::intel::keys::KeyPlan;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::matcher::{Hit, Matcher};
use hotlist::observable::ip::Separators;
use hotlist::observable::url::CanonicalUrl;
use hotlist::observable::{Kind, Malformed, domain, email, hash, host_list, ip, number, path, text, time, url, user};
use hotlist::schema::{Field, FieldKind, FieldTable, NamedList};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::cases::{Case, FIELDS, case};
use crate::common::{detector, send_request, table, unbounded};

/// What a value may be looked for as.
#[derive(Debug)]
pub enum Form {
    Address(IpAddr),
    Domain(String),
    /// The well-formed end of something that is not a name.
    Below(String),
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

/// An address, and the one inside it.
fn address(address: IpAddr) -> Vec<Form> {
    let inner = match address {
        IpAddr::V6(v6) => ip::embedded_v4(v6).map(|v4| Form::Address(v4.into())),
        IpAddr::V4(_) => None,
    };
    [Some(Form::Address(address)), inner].into_iter().flatten().collect()
}

fn addresses(raw: &[u8], separators: Separators) -> Vec<Form> {
    let mut found = Vec::new();
    ip::event_addresses(raw, separators, &mut |one| found.extend(address(one)));
    found
}

/// What plain text is: an address, or a name that may be an address in another spelling.
fn plain_host(raw: &[u8]) -> Option<Vec<Form>> {
    if let Some(found) = ip::canonical(raw) {
        return Some(address(found));
    }
    let mut scratch = Vec::new();
    let name = domain::canonical(raw, &mut scratch)?;
    let numeric = name.last().is_some_and(u8::is_ascii_digit) && name.contains(&b'.');
    let spelled = ip::spelled(name).filter(|_| numeric).map(address).unwrap_or_default();
    Some([vec![Form::Domain(string(name))], spelled].into_iter().flatten().collect())
}

/// What any text at all ends in.
fn below(raw: &[u8]) -> Option<Form> {
    domain::tail(raw, &mut Vec::new()).map(|name| Form::Below(string(name)))
}

fn host(raw: &[u8]) -> Vec<Form> {
    plain_host(raw).unwrap_or_else(|| below(raw).into_iter().chain(inside(raw)).collect())
}

/// What a value holds that is neither an address nor a name.
fn inside(raw: &[u8]) -> Vec<Form> {
    let inner = domain::event_host(raw);
    match inner.and_then(plain_host) {
        Some(inside) => inside,
        None => inner.and_then(below).into_iter().chain(listed(raw)).collect(),
    }
}

/// The addresses of a list; and if not all of it is addresses, the hosts of its parts.
fn listed(raw: &[u8]) -> Vec<Form> {
    let mut found = Vec::new();
    let reason = ip::event_addresses(raw, Separators::Commas, &mut |one| found.extend(address(one)));
    if reason == Some(Malformed::NotIp) {
        host_list::event_hosts(raw, &mut |part| {
            let host = domain::event_host(part).unwrap_or(part);
            let is_host = ip::canonical(host).is_some() || host.contains(&b'.');
            let forms = plain_host(host).filter(|_| is_host);
            let is_read = forms.is_some();
            found.extend(forms.into_iter().flatten());
            is_read
        });
    }
    found
}

fn emails(raw: &[u8]) -> Vec<Form> {
    let mut found = Vec::new();
    email::event_addresses(raw, &mut Vec::new(), &mut |address| found.push(Form::Email(string(address))));
    found
}

fn users(raw: &[u8], accounts: bool, principals: bool) -> Vec<Form> {
    let mut scratch = Vec::new();
    let Some(name) = user::canonical(raw, &mut scratch) else { return Vec::new() };
    let account = user::account(name).filter(|_| accounts);
    let principal = user::principal(account.unwrap_or(name)).filter(|_| principals);
    [Some(name), account, principal].into_iter().flatten().map(|name| Form::User(string(name))).collect()
}

/// Everything that a value at a field of this reading is (design: the field says where to begin, the value decides).
pub fn forms(reading: KeyPlan, raw: &[u8], options: MatchOptions) -> Vec<Form> {
    let url_hosts = options.url_hosts;
    let mut scratch = Vec::new();
    let plain = |text: Option<&[u8]>| text.map(|text| Form::Text(string(text))).into_iter().collect::<Vec<_>>();
    match reading {
        KeyPlan::Ip => addresses(raw, Separators::CommasAndBlanks),
        KeyPlan::Host => host(raw),
        KeyPlan::Url => match url::event_url(raw) {
            Some(url) => {
                let inner = url.host().as_bytes();
                let host = plain_host(inner).unwrap_or_else(|| Vec::from_iter(below(inner)));
                [Form::Url(url)].into_iter().chain(host.into_iter().filter(|_| url_hosts)).collect()
            }
            None if url_hosts && !url::is_reference(raw) => inside(raw),
            None => Vec::new(),
        },
        KeyPlan::Hash => {
            let mut found = Vec::new();
            hash::event_hashes(raw, &mut scratch, &mut |kind, hex| found.push(Form::Hash(kind, string(hex))));
            found
        }
        KeyPlan::Email => emails(raw),
        KeyPlan::Auto => {
            if let Some((kind, hex)) = hash::canonical(raw, &mut scratch) {
                return vec![Form::Hash(kind, string(hex))];
            }
            let is_url = raw[..raw.len().min(64)].windows(3).any(|bytes| bytes == b"://");
            let url = if is_url { forms(KeyPlan::Url, raw, options) } else { Vec::new() };
            let emails = if is_url { Vec::new() } else { emails(raw) };
            url.into_iter().chain(emails).chain(host(raw)).collect()
        }
        KeyPlan::Any | KeyPlan::DistinguishedName | KeyPlan::Document | KeyPlan::UrlPart | KeyPlan::Nothing => {
            panic!("no field of ECS is read as {reading:?}")
        }
        KeyPlan::EmailOrHost => emails(raw).into_iter().chain(host(raw)).collect(),
        KeyPlan::User => users(raw, true, options.user_principals).into_iter().chain(emails(raw)).collect(),
        KeyPlan::UserDomain => {
            let name = domain::canonical(raw, &mut scratch).map(|name| Form::Domain(string(name)));
            users(raw, false, false).into_iter().chain(name.or_else(|| below(raw))).collect()
        }
        KeyPlan::EmailOrText => emails(raw).into_iter().chain(plain(text::canonical(raw))).collect(),
        KeyPlan::Text => plain(text::canonical(raw)),
        KeyPlan::HttpVersion => plain(text::canonical(raw).map(text::http_version)),
        KeyPlan::Name | KeyPlan::DnsType => {
            let kind = if reading == KeyPlan::Name { Kind::Name } else { Kind::DnsType };
            text::name(raw, &mut scratch).map(|name| Form::Name(kind, string(name))).into_iter().collect()
        }
        KeyPlan::Path => path::canonical(raw, &mut scratch).map(|path| Form::Path(string(path))).into_iter().collect(),
        KeyPlan::Number => number::parse(raw).map(Form::Number).into_iter().collect(),
        KeyPlan::Time => time::parse(raw).map(Form::Time).into_iter().collect(),
        // Not a reading of a whole value.
        KeyPlan::Tokens => Vec::new(),
    }
}

/// Whether a term's value and one form of an event's value are the same thing.
pub fn same(term: &TermValue, form: &Form, options: MatchOptions, feed: &Feed) -> bool {
    match (term, form) {
        (TermValue::Address(one), Form::Address(other)) => one == other,
        (TermValue::Network(network), Form::Address(address)) => network.contains(address),
        (TermValue::Domain { name, scope }, Form::Domain(seen)) => {
            let below = scope.has_below() || feed.subdomains || options.subdomains;
            let itself = *scope != NameScope::Below && **name == **seen;
            itself || (below && name.contains('.') && seen.ends_with(&format!(".{name}")))
        }
        (TermValue::Domain { name, scope }, Form::Below(seen)) => {
            let below = scope.has_below() || feed.subdomains || options.subdomains;
            below && name.contains('.') && (**name == **seen || seen.ends_with(&format!(".{name}")))
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
pub type Found = BTreeSet<(String, String, u32)>;

fn slowly(case: &Case, table: &FieldTable) -> Found {
    let mut found = Found::new();
    for (name, value) in &case.event {
        let id = table.id(name).unwrap();
        let field = table.get(id);
        // A number is read as a number, not as its digits: `443.0` is 443.
        let number = || value.as_i64().map_or_else(|| value.as_f64().unwrap().to_string(), |number| number.to_string());
        let raw = value.as_str().map_or_else(number, str::to_owned);
        let forms = forms(KeyPlan::of_field(field), raw.as_bytes(), case.options);
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
    found_by(&detector(table, case.options, None, case.feeds.clone()), case)
}

/// What a detector finds in the case's event.
pub fn found_by(detector: &Detector, case: &Case) -> Found {
    // Written by hand, because the same field may come twice.
    let members: Vec<String> = case.event.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    found_in(detector, format!("{{{}}}", members.join(",")))
}

/// The table with a list of named values whose names are the fields of the table.
fn table_with_list() -> Arc<FieldTable> {
    let mut table = (*table()).clone();
    let rows: Vec<Field> = table.iter().map(|(_, field)| field.clone()).collect();
    for row in rows {
        let (name, meant) = (format!("list.{}", row.name), row.meaning().to_owned());
        table.push(Field { name, ecs: Some(meant), url_parts: Vec::new(), ..row }).unwrap();
    }
    let mut named = NamedList::default();
    assert!(["name@k", "name@o.k", "value@v"].iter().all(|word| named.add(word)));
    table.push(Field { named, ..Field::own("list", FieldKind::NotRead) }).unwrap();
    Arc::new(table)
}

/// What is found when the event is a list of named values.
fn found_in_list(case: &Case, table: &Arc<FieldTable>) -> Found {
    let element = |(at, (name, value)): (usize, &(&str, serde_json::Value))| match at % 3 {
        0 => json!({ "k": name, "v": value }),
        1 => json!({ "v": value, "k": name }),
        _ => json!({ "x": "192.0.2.1", "v": [value], "o": { "k": name } }),
    };
    let list: Vec<_> = case.event.iter().enumerate().map(element).collect();
    let detector = detector(table, case.options, None, case.feeds.clone());
    let found = found_in(&detector, json!({ "list": list }).to_string());
    let without = |field: String| field.strip_prefix("list.").unwrap().to_owned();
    found.into_iter().map(|(field, value, indicator)| (without(field), value, indicator)).collect()
}

fn found_in(detector: &Detector, document: String) -> Found {
    let detector = &unbounded(detector);
    let mut matcher = Matcher::new(&detector.snapshot);
    matcher.set_limit(detector.budgets.record_findings);
    let verdict =
        detector.document(document.as_bytes(), detector.snapshot.trie(), &mut matcher, Timestamp::UNIX_EPOCH).unwrap();
    let found = |hits: &mut dyn Iterator<Item = &Hit>| -> Found {
        hits.map(|hit| {
            let field = detector.snapshot.table().get(hit.field).name.clone();
            (field, string(&hit.value), hit.posting.indicator)
        })
        .collect()
    };
    let directly = found(&mut verdict.hits.iter());
    // The live stream puts the sieve before the matcher; it must let through whatever the matcher finds.
    let live = request_of([(1, &serde_json::Value::String(document))]);
    assert_eq!(found(&mut send_request(detector, live, Timestamp::UNIX_EPOCH).hits.iter()), directly);
    directly
}

/// Runs the comparison and returns how many findings both sides had at each field.
fn compare(cases: u32, fields: &'static [&'static str]) -> BTreeMap<String, usize> {
    let (table, with_list) = (table(), table_with_list());
    let total = RefCell::new(BTreeMap::new());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&case(fields), |case| {
        let (slow, quick) = (slowly(&case, &table), quickly(&case, &table));
        for (field, _, _) in &slow {
            *total.borrow_mut().entry(field.clone()).or_default() += 1;
        }
        prop_assert_eq!(&quick, &slow);
        prop_assert_eq!(found_in_list(&case, &with_list), slow);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    total.into_inner()
}

/// Scenario: random indicators of every kind in random feeds, random events made of their values and what logs make of
/// them, at fields of every reading, under every option.
/// Guarantee: the matcher finds what the slow oracle finds: neither the prefilter nor any index loses or adds one; and
/// the live stream finds the same, though its sieve asks the prefilter for a whole record first.
#[test]
fn the_matcher_finds_what_comparing_everything_finds() {
    let table = table();
    let readings: BTreeSet<String> =
        FIELDS.iter().map(|name| format!("{:?}", KeyPlan::of_field(table.get(table.id(name).unwrap())))).collect();
    // Parts of URLs have no keys of their own; `schemas.rs` has them.
    let all = table.iter().filter(|(_, field)| field.kind != FieldKind::UrlPart);
    let all: BTreeSet<String> = all.map(|(_, field)| format!("{:?}", KeyPlan::of_field(field))).collect();
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
