//! The field table, row by row: every column, every shape of document, as JSON and in each part of an OTLP record.

use std::collections::BTreeSet;
use std::sync::Arc;

use hotlist::intel::indicator::{Indicator, Target};
use hotlist::intel::pattern;
use hotlist::intel::snapshot::{Feed, Origin};
use hotlist::matcher::Hit;
use hotlist::observable::Kind;
use hotlist::policy::{Policy, Suppression};
use hotlist::schema::{Field, FieldKind, FieldTable};
use serde_json::{Map, Value, json};

use crate::common::{EXACT, detector, field_of, indicator, judge, nested, of_terms, send_each_way, table};

const DIRECTORY: &str = "/opt/evil";
const FILE: &str = "run.sh";

/// A value of each kind as an indicator has it.
pub fn written(kind: Kind) -> String {
    match kind {
        Kind::Ip => "203.0.113.7".into(),
        Kind::Domain => "c2.evil.example".into(),
        Kind::Url => "https://evil.example/a?b".into(),
        Kind::Md5 => "0a".repeat(16),
        Kind::Sha1 => "1b".repeat(20),
        Kind::Sha256 => "2c".repeat(32),
        Kind::Sha512 => "3d".repeat(64),
        Kind::Ssdeep => "3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C".into(),
        Kind::Email => "mallory@evil.example".into(),
        Kind::User => "mallory".into(),
        Kind::Text => "Some text".into(),
        Kind::Name => "evil.exe".into(),
        Kind::DnsType => "txt".into(),
        Kind::Path => format!("{DIRECTORY}/{FILE}"),
        Kind::Number => "4711".into(),
        Kind::Time => "2024-05-06T07:08:09Z".into(),
    }
}

/// The kind that a row holds under one of its STIX paths, which decides where the row itself leaves it open.
fn kind_under(field: &Field, path: &str) -> Kind {
    match field.kind {
        FieldKind::Of(kind) => kind,
        FieldKind::Hash => Kind::Md5,
        FieldKind::Auto if path.starts_with("domain-name:") => Kind::Domain,
        FieldKind::Auto if path == "email-addr:display_name" => Kind::Text,
        FieldKind::Auto if path.starts_with("email-addr:") => Kind::Email,
        FieldKind::Auto => Kind::Ip,
        other => panic!("no field of ECS is of kind {}", other.as_str()),
    }
}

/// A pattern of one path, and the value that an event has when it fits.
fn pattern_of(field: &Field, path: &str) -> (String, Value) {
    if let Some((directory, name)) = path.split_once('&') {
        let pattern = format!("[{directory} = '{DIRECTORY}' AND {name} = '{FILE}']");
        return (pattern, json!(written(Kind::Path)));
    }
    let kind = kind_under(field, path);
    let value = if path == "ipv6-addr:value" { "2001:db8::7".to_owned() } else { written(kind) };
    // The table's `hashes.*` stands for any algorithm.
    let path = path.replace("hashes.*", "hashes.MD5");
    match kind {
        Kind::Number => (format!("[{path} = {value}]"), json!(4711)),
        Kind::Time => (format!("[{path} = t'{value}']"), json!(value)),
        _ => (format!("[{path} = '{value}']"), json!(value)),
    }
}

/// The value as JSON in every shape that documents come in.
pub fn shapes(path: &str, value: &Value) -> Vec<(&'static str, Value)> {
    let filler = if value.is_number() { json!(1) } else { json!("filler") };
    let Some((head, last)) = path.rsplit_once('.') else {
        return vec![("plain", nested(path, value.clone())), ("array", nested(path, json!([null, filler, value])))];
    };
    let mut shapes = vec![
        ("nested", nested(path, value.clone())),
        ("dotted", json!({ path: value })),
        ("array", nested(path, json!([null, filler, value]))),
        ("array of objects", nested(head, json!([{ last: filler }, { last: value }]))),
        ("dotted, then an object", json!({ head: { last: value } })),
    ];
    if let Some((first, rest)) = path.split_once('.').filter(|(_, rest)| rest.contains('.')) {
        shapes.push(("an object, then dotted", json!({ first: { rest: value } })));
        shapes.push(("an array of objects, then dotted", json!({ first: [{ "x": 1 }, { rest: [value] }] })));
    }
    shapes
}

fn compiled(pattern: &str, table: &FieldTable) -> Indicator {
    of_terms(pattern::compile(pattern, table).unwrap_or_else(|error| panic!("{pattern}: {error}")).terms)
}

/// Asserts that the indicator hits at `field` and nowhere else, with the value of the event, in every shape and
/// encoding.
fn hits_in_every_shape(table: &Arc<FieldTable>, feed: &Feed, found: &Indicator, field: &Field, value: &Value) {
    let detector = detector(table, EXACT, Some(Policy::default()), vec![(feed.clone(), vec![found.clone()])]);
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (shape, document) in shapes(&field.name, value) {
        let verdict = judge(&detector, &document);
        let shown = |hits: &mut dyn Iterator<Item = &Hit>| -> Vec<(String, String)> {
            let one = |hit: &Hit| (field_of(&detector, hit).to_owned(), String::from_utf8_lossy(&hit.value).into());
            hits.map(one).collect()
        };
        let expected = [(field.name.clone(), text.clone())];
        assert_eq!(shown(&mut verdict.hits.iter()), expected, "{shape} JSON {document}");
        assert!(verdict.suppressed.is_empty(), "{shape}: {document}");
        for (way, sent) in send_each_way(&detector, &document) {
            assert_eq!(shown(&mut sent.hits.iter()), expected, "{shape} {way} {document}");
            assert!(!sent.is_same, "{shape} {way}: the record is tagged: {document}");
            assert!(sent.report.suppressions.is_empty(), "{shape} {way}: {document}");
        }
    }
}

/// Asserts that the column keeps the indicator from hitting at `field`: found or not, nothing is tagged.
fn never_hits(table: &Arc<FieldTable>, feed: &Feed, found: &Indicator, field: &Field, value: &Value) {
    let detector = detector(table, EXACT, Some(Policy::default()), vec![(feed.clone(), vec![found.clone()])]);
    for (shape, document) in shapes(&field.name, value) {
        let verdict = judge(&detector, &document);
        assert!(verdict.hits.is_empty(), "{shape}: {document}");
        let reasons: Vec<_> = verdict.suppressed.iter().map(|(_, reason)| *reason).collect();
        assert_eq!(reasons, [Suppression::Column], "{shape}: {document}");
        for (way, sent) in send_each_way(&detector, &document) {
            assert!(sent.hits.is_empty(), "{shape} {way}: {document}");
            assert!(sent.is_same, "{shape} {way}: a batch without hits keeps its bytes: {document}");
            assert_eq!(sent.reasons(), [Suppression::Column], "{shape} {way}: {document}");
        }
    }
}

fn collection() -> Feed {
    Feed { origin: Origin::Collection, ..Feed::named("imported") }
}

/// The value of a kind as events of that kind have it.
fn event_value(kind: Kind) -> Value {
    if kind == Kind::Number { json!(4711) } else { json!(written(kind)) }
}

/// Scenario: for every row and each of its STIX paths a feed with a pattern of that path.
/// Guarantee: it hits at that field, whatever the shape of the document.
#[test]
fn every_stix_path_of_every_row_hits_in_every_shape() {
    let table = table();
    let mut cells = 0;
    for (_, field) in table.iter() {
        assert!(field.cti, "{} has a new `no` in the column cti: give it a test", field.name);
        for path in &field.stix_paths {
            let (pattern, value) = pattern_of(field, path);
            hits_in_every_shape(&table, &Feed::named("stix"), &compiled(&pattern, &table), field, &value);
            cells += 1;
        }
    }
    assert!(cells > 200, "only {cells} cells");
}

/// Scenario: for every row a collection with an indicator of the row's kind.
/// Guarantee: it hits where the column says yes; where it says no it is found, dropped as `column` and not tagged.
#[test]
fn collections_hit_where_their_column_says_so_and_nowhere_else() {
    let table = table();
    let (mut yes, mut no) = (0, 0);
    for (_, field) in table.iter().filter(|(_, field)| field.kind != FieldKind::UrlPart) {
        let paths = field.stix_paths.iter().filter(|path| !path.starts_with("email-addr:display_name"));
        let kinds: BTreeSet<Kind> = paths.map(|path| kind_under(field, path)).collect();
        assert!(!kinds.is_empty(), "{}", field.name);
        for kind in kinds {
            let indicator = indicator(kind, &written(kind));
            let value = event_value(kind);
            match field.collection {
                true => hits_in_every_shape(&table, &collection(), &indicator, field, &value),
                false => never_hits(&table, &collection(), &indicator, field, &value),
            }
        }
        if field.collection { yes += 1 } else { no += 1 }
    }
    assert!(yes > 70 && no > 70, "{yes} rows with yes, {no} with no");
}

/// Scenario: a pattern of a path that belongs to certain fields only, and an event that has its value at every field.
/// Guarantee: exactly the fields that carry the path hit; a field of the same kind without it does not.
#[test]
fn a_path_hits_at_the_fields_that_carry_it_and_at_no_other() {
    let table = table();
    let mut checked = BTreeSet::new();
    for (_, field) in table.iter() {
        for path in &field.stix_paths {
            let (pattern, value) = pattern_of(field, path);
            let indicator = compiled(&pattern, &table);
            if indicator.terms.iter().any(|term| term.target == Target::Kind) || !checked.insert(path.clone()) {
                continue;
            }
            let detector =
                detector(&table, EXACT, Some(Policy::default()), vec![(Feed::named("stix"), vec![indicator])]);
            let everywhere: Map<String, Value> =
                table.iter().map(|(_, field)| (field.name.clone(), value.clone())).collect();
            let verdict = judge(&detector, &Value::Object(everywhere));
            let hit: BTreeSet<&str> = verdict.hits.iter().map(|hit| field_of(&detector, hit)).collect();
            // A name resolves to addresses and to names: a field of addresses never holds the name.
            let kind = kind_under(field, path);
            let carries = |f: &Field| f.stix_paths.contains(path) && kind_under(f, path) == kind;
            let carriers: BTreeSet<&str> =
                table.iter().filter(|(_, f)| carries(f)).map(|(_, f)| f.name.as_str()).collect();
            assert_eq!(hit, carriers, "{pattern}");
        }
    }
    assert!(checked.len() > 50, "only {} paths", checked.len());
}

/// Scenario: fields that a user added, one for each combination of the two columns, and one that replaces a row.
/// Guarantee: they match like shipped ones, each column for its own origin.
#[test]
fn fields_of_the_user_follow_their_columns() {
    let mut table = FieldTable::embedded(true).unwrap();
    let own =
        |name: &str, kind: FieldKind, collection: bool, cti: bool| Field { collection, cti, ..Field::own(name, kind) };
    let domain = FieldKind::Of(Kind::Domain);
    let fields = [
        own("acme.proxy.both", domain, true, true),
        own("acme.proxy.collection", domain, true, false),
        own("acme.proxy.rules", domain, false, true),
        own("acme.proxy.any", FieldKind::Auto, true, true),
        own("source.domain", domain, false, true),
    ];
    for field in &fields {
        table.push(field.clone()).unwrap();
    }
    let table = Arc::new(table);
    let indicator = indicator(Kind::Domain, "c2.evil.example");
    for field in &fields {
        for (feed, checked) in [(Feed::named("feed"), field.cti), (collection(), field.collection)] {
            match checked {
                true => hits_in_every_shape(&table, &feed, &indicator, field, &json!("c2.evil.example")),
                false => never_hits(&table, &feed, &indicator, field, &json!("c2.evil.example")),
            }
        }
    }
}
