//! The keys of values and of indicators against everything that looks keys up: segments, prefilter, sieve, matcher.

use std::cell::RefCell;
use std::collections::BTreeSet;

use hotlist::intel::indicator::{Comparison, Target, TermValue};
use hotlist::intel::keys::{IndicatorOptions, KeyPlan, TableId, event_keys, indicator_keys, schemes_agree};
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::observable::Kind;
use hotlist::schema::FieldTable;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::cases::{Case, FIELDS, case};
use crate::common::{detector, indicator};
use crate::naive::{Found, found_by};
use crate::segments::{table, through_bytes};

/// Hashes of the kinds that the other generators leave out.
const DIGESTS: [(Kind, &str); 3] = [
    (Kind::Sha256, "2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c"),
    (
        Kind::Sha512,
        "3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d",
    ),
    (Kind::Ssdeep, "96:oZLu0Y3Pl4UsmR9cGqLn5TpUO:oF4Y3DsRWU"),
];

/// Every key of a value at a field, with the scheme of the event's URL.
fn keys_of_event(options: MatchOptions, plan: KeyPlan, raw: &str) -> BTreeSet<(TableId, Vec<u8>, Option<String>)> {
    let mut keys = BTreeSet::new();
    event_keys(options, plan, raw.as_bytes(), &mut Vec::new(), |key| {
        keys.insert((key.table, key.key.to_vec(), key.scheme.map(str::to_owned)));
    });
    keys
}

/// Whether an indicator's value has one of these keys.
fn has_one_of(value: &TermValue, feed: &Feed, keys: &BTreeSet<(TableId, Vec<u8>, Option<String>)>) -> bool {
    let scheme = match value {
        TermValue::Url(url) => url.scheme(),
        _ => None,
    };
    let mut found = false;
    let options = IndicatorOptions { subdomains: feed.subdomains, url_prefix: feed.url_prefix };
    indicator_keys(value, options, |table, key| {
        found |= keys.iter().any(|(of_event, bytes, event_scheme)| {
            (*of_event, &bytes[..]) == (table, key) && schemes_agree(scheme, event_scheme.as_deref())
        });
    });
    found
}

/// What the keys alone say of a case, and the kinds of the indicators that are found.
fn by_keys(case: &Case, table: &FieldTable, kinds: &mut BTreeSet<Kind>) -> Found {
    let mut found = Found::new();
    for (name, value) in &case.event {
        let id = table.id(name).unwrap();
        let field = table.get(id);
        let number = || value.as_i64().map_or_else(|| value.as_f64().unwrap().to_string(), |number| number.to_string());
        let raw = value.as_str().map_or_else(number, str::to_owned);
        let keys = keys_of_event(case.options, KeyPlan::of_field(field), &raw);
        let indicators = case.feeds.iter().flat_map(|(feed, indicators)| indicators.iter().map(move |one| (feed, one)));
        for (number, (feed, indicator)) in (0..).zip(indicators) {
            for term in &indicator.terms {
                let is_here = match &term.target {
                    Target::Kind => true,
                    Target::StixPath(path) => field.stix_paths.iter().any(|known| **known == **path),
                };
                if is_here && has_one_of(&term.value, feed, &keys) {
                    kinds.insert(term.value.kind());
                    found.insert(((*name).to_owned(), raw.clone(), number));
                }
            }
        }
    }
    found
}

/// A case in which every indicator has keys: comparisons are `=`. Hashes of every kind are among its indicators.
fn keyed_case() -> impl Strategy<Value = Case> {
    let digests = prop::collection::vec(prop::sample::select(DIGESTS.to_vec()), 0..3);
    (case(&FIELDS), digests).prop_map(|(mut case, digests)| {
        for indicator in case.feeds.iter_mut().flat_map(|(_, indicators)| indicators) {
            for term in &mut indicator.terms {
                if let TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. } = &mut term.value {
                    *comparison = Comparison::Equal;
                }
            }
        }
        let hashes = DIGESTS.iter().map(|(kind, digest)| indicator(*kind, digest)).collect();
        case.feeds.push((Feed::named("hashes"), hashes));
        case.event.extend(digests.into_iter().map(|(_, digest)| ("related.hash", json!(digest))));
        case
    })
}

/// Scenario: random indicators of every kind in feeds of every option, random events, every option of matching.
/// Guarantee: an indicator is found for a value if they share a key and their schemes agree, and not otherwise: in a
/// document and in the live stream, from memory and from the bytes of a segment. So segments, prefilter, sieve and matcher
/// all use the keys that `keys` describes.
#[test]
fn an_indicator_is_found_where_it_shares_a_key() {
    let table = table();
    let kinds = RefCell::new(BTreeSet::new());
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&keyed_case(), |case| {
        let expected = by_keys(&case, &table, &mut kinds.borrow_mut());
        let built = detector(&table, case.options, None, case.feeds.clone());
        for detector in [built, through_bytes(case.options, &case.feeds)] {
            prop_assert_eq!(&found_by(&detector, &case), &expected);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let missed: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !kinds.borrow().contains(kind)).collect();
    assert!(missed.is_empty(), "the generators never hit with {missed:?}");
}
