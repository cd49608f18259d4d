//! `LIKE` and `MATCHES` that no list of values replaces, in events: alone, in composite patterns, from files, merged and
//! withdrawn.

use hotlist::intel::expression::{Expression, Syntax};
use hotlist::intel::indicator::{Target, Term, TermValue};
use hotlist::intel::keys::{KeyPlan, TableId, event_keys};
use hotlist::intel::snapshot::Feed;
use hotlist::observable::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, judge, of_terms, send_each_way};
use crate::composite::compiled;
use crate::segments::{table, through_bytes};

/// Asserts in which documents a pattern is found, in memory and from bytes, alone and in each protocol.
#[track_caller]
fn holds(pattern: &str, documents: &[(Value, bool)]) {
    let indicator = compiled(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let feeds = vec![(Feed::named("feed"), vec![indicator])];
    let opened = through_bytes(EXACT, &feeds);
    let built = detector(&table(), EXACT, None, feeds);
    for (document, expected) in documents {
        for detector in [&built, &opened] {
            assert_eq!(!judge(detector, document).hits.is_empty(), *expected, "{pattern} in {document}");
            for (way, sent) in send_each_way(detector, document) {
                assert_eq!(!sent.hits.is_empty(), *expected, "{way}: {pattern} in {document}");
            }
        }
    }
}

#[test]
fn an_expression_is_found_at_the_fields_of_its_path() {
    holds(
        "[domain-name:value LIKE '%evil%']",
        &[
            (json!({ "dns": { "question": { "name": "www.Evil-site.example." } } }), true),
            (json!({ "url": { "domain": "devil.example" } }), true),
            (json!({ "url": { "domain": "good.example" } }), false),
            (json!({ "process": { "name": "evil.exe" } }), false),
        ],
    );
    holds(
        "[file:name MATCHES '^Final Report.+[.]exe$']",
        &[
            (json!({ "file": { "name": "final report 7.EXE" } }), true),
            (json!({ "file": { "name": "a final report 7.exe" } }), false),
            (json!({ "process": { "command_line": "Final Report 7.exe" } }), false),
        ],
    );
    holds(
        "[process:command_line LIKE '%powershell% -enc %']",
        &[
            (json!({ "process": { "command_line": "C:\\powershell.exe -enc AAAA" } }), true),
            (json!({ "process": { "command_line": "C:\\powershell.exe -ENC AAAA" } }), false),
            (json!({ "process": { "command_line": "" } }), false),
        ],
    );
    holds(
        "[url:value MATCHES '^http://[^/]+/gate[.]php']",
        &[
            (json!({ "url": { "full": "HTTP://a.example/x/../gate.php?id=1" } }), true),
            (json!({ "url": { "full": "https://a.example/gate.php" } }), false),
            (json!({ "url": { "full": "http://a.example/x/gate.php" } }), false),
        ],
    );
}

#[test]
fn an_expression_is_a_part_or_the_key_of_a_composite_pattern() {
    let event = |name: &str, port: u16| json!({ "url": { "domain": name }, "destination": { "port": port } });
    holds(
        "[domain-name:value LIKE '%evil%' AND network-traffic:dst_port = 4444]",
        &[
            (event("an-evil.example", 4444), true),
            (event("an-evil.example", 443), false),
            (event("good.example", 4444), false),
        ],
    );
    let event = |name: &str, line: &str| json!({ "url": { "domain": name }, "process": { "command_line": line } });
    holds(
        "[domain-name:value = 'evil.example' AND process:command_line NOT LIKE '%update%']",
        &[
            (event("evil.example", "curl -s"), true),
            (event("evil.example", "curl --update"), false),
            (json!({ "url": { "domain": "evil.example" } }), false),
        ],
    );
}

/// Guarantee: a hit shows the expression, and not as the value of a field that holds a domain.
#[test]
fn a_hit_shows_the_expression() {
    let indicator = compiled("[domain-name:value LIKE '%evil%']").unwrap();
    let detector = detector(&table(), EXACT, None, vec![(Feed::named("feed"), vec![indicator])]);
    let tagged = detector.event(br#"{"url":{"domain":"an-evil.example"}}"#, jiff::Timestamp::UNIX_EPOCH).unwrap();
    let [hit] = tagged.hits.as_slice() else { panic!("{:?}", tagged.hits) };
    assert_eq!((&*hit.name, hit.kind, &*hit.value), ("LIKE '%evil%'", Kind::Domain, &b"an-evil.example"[..]));
}

/// Expressions, and the values of fields.
type Pieces = (Vec<(Kind, Syntax, String)>, Vec<(&'static str, String)>);

/// Pieces of expressions and of values, so that many of them meet.
fn pieces() -> impl Strategy<Value = Pieces> {
    let kinds = proptest::sample::select(vec![Kind::Domain, Kind::Url, Kind::Email, Kind::User]);
    let syntax = proptest::sample::select(Syntax::ALL.to_vec());
    let text = "(\\^|%)?(http://)?(evil|Evil|bad[0-9]|x_)(%|[.]|.*)?(name|site)?([.]example)?(%|\\$)?";
    let fields =
        proptest::sample::select(vec!["url.domain", "url.full", "email.from.address", "user.name", "source.ip"]);
    let value = "(http://)?(www[.])?(evil|Bad|bad7|xy)([.@]|%)?(name|site)?[.]example(/evil)?";
    (proptest::collection::vec((kinds, syntax, text), 1..4), proptest::collection::vec((fields, value), 1..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Guarantee: in memory and from bytes, an expression is found exactly where it matches a key of a value.
    #[test]
    fn an_expression_is_found_where_it_matches_a_key((expressions, values) in pieces()) {
        let expressions: Vec<Expression> = expressions
            .into_iter()
            .map(|(of, syntax, text)| Expression { of, syntax, text: text.into() })
            .filter(|expression| expression.literals().is_ok() && expression.compile().is_ok())
            .collect();
        let term = |expression: &Expression| Term { value: TermValue::Expression(expression.clone()), target: Target::Kind };
        let indicators: Vec<_> = expressions.iter().map(|expression| of_terms(vec![term(expression)])).collect();
        let mut expected = std::collections::BTreeSet::new();
        let mut document = serde_json::Map::new();
        for (field, value) in &values {
            document.insert((*field).to_owned(), json!(value));
        }
        for (field, value) in &document {
            let plan = KeyPlan::of_field(table().get(table().id(field).unwrap()));
            let value = value.as_str().unwrap();
            event_keys(EXACT, plan, value.as_bytes(), &mut Vec::new(), |key| {
                for (number, expression) in (0_u32..).zip(&expressions) {
                    let is_here = Expression::space_of(expression.of).map(TableId::Space) == Some(key.table);
                    let scheme = key.scheme.map_or_else(String::new, |scheme| format!("{scheme}://"));
                    let whole = [scheme.as_bytes(), key.key].concat();
                    if is_here && expression.compile().unwrap().is_match(&whole) {
                        expected.insert((number, field.clone()));
                    }
                }
            });
        }
        let document = Value::Object(document);
        let feeds = vec![(Feed::named("feed"), indicators)];
        for detector in [through_bytes(EXACT, &feeds), detector(&table(), EXACT, None, feeds.clone())] {
            let found: std::collections::BTreeSet<_> = judge(&detector, &document)
                .hits
                .iter()
                .map(|hit| (hit.posting.indicator, table().get(hit.field).name.clone()))
                .collect();
            prop_assert_eq!(&found, &expected, "{:?} in {}", &expressions, &document);
        }
    }
}
