//! The schemas, from their own tables: every row in every shape, the meaning of every row, and samples of every log.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hotlist::detect::Detector;
use hotlist::intel::indicator::{Context, Indicator};
use hotlist::intel::snapshot::{Feed, MatchOptions, Origin};
use hotlist::matcher::Relation;
use hotlist::observable::{Kind, domain, email, hash, ip, url};
use hotlist::policy::{CommandAndControl, Policy, Suppression};
use hotlist::schema::{self, Field, FieldKind, FieldTable, PathTrie, UrlPart};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, field_of, indicator, judge, nested, send_each_way};
use crate::fields::{shapes, written};

/// The kinds whose values a row's field is read for, and how a value is written there.
pub fn examples(field: &Field) -> Vec<(Kind, Value)> {
    let plain = |kind: Kind| match kind {
        Kind::Number => json!(4711),
        kind => json!(written(kind)),
    };
    let all = |kinds: &[Kind]| kinds.iter().map(|kind| (*kind, plain(*kind))).collect::<Vec<_>>();
    match field.kind {
        FieldKind::Of(kind @ (Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep)) => all(&[kind]),
        FieldKind::Of(kind) => all(&[kind]),
        FieldKind::Hash => {
            let packed =
                format!("SHA1={},MD5={}", written(Kind::Sha1).to_uppercase(), written(Kind::Md5).to_uppercase());
            [all(&[Kind::Md5, Kind::Sha256]), vec![(Kind::Md5, json!(packed))]].concat()
        }
        // What it holds besides addresses and names, its STIX paths say.
        FieldKind::Auto if !field.stix_paths.is_empty() => Vec::new(),
        FieldKind::Auto | FieldKind::Any => all(&[Kind::Ip, Kind::Domain, Kind::Url, Kind::Sha256, Kind::Email]),
        FieldKind::DistinguishedName => vec![
            (Kind::Domain, json!(format!("CN={},O=Example,C=US", written(Kind::Domain)))),
            (Kind::Email, json!(format!("C=DE, emailAddress={}, CN=x", written(Kind::Email)))),
        ],
        FieldKind::Json => vec![(Kind::Ip, json!(json!({ "destination.ip": written(Kind::Ip) }).to_string()))],
        FieldKind::UrlPart | FieldKind::NotRead => Vec::new(),
    }
}

pub const KINDS: [Kind; 16] = Kind::ALL;

/// A table of one schema, and one detector for each kind with an indicator of that kind.
pub fn detectors(table: &Arc<FieldTable>, origin: Origin) -> Vec<(Kind, Detector)> {
    let feed = Feed { origin, ..Feed::named("feed") };
    let one = |kind: Kind| {
        let feeds = vec![(feed.clone(), vec![indicator(kind, &written(kind))])];
        (kind, detector(table, EXACT, Some(Policy::default()), feeds))
    };
    KINDS.into_iter().map(one).collect()
}

fn of_schema(name: &str) -> Arc<FieldTable> {
    let mut names = vec![name];
    // A document in a field is read with the other schemas.
    names.extend(["ecs"].into_iter().filter(|ecs| *ecs != name));
    Arc::new(FieldTable::of_schemas(&names).unwrap())
}

/// The value of a row below a list of named values as an element of it, with the name before and after it. A row has one of
/// the forms that the list allows; the next row has the next.
fn elements(table: &FieldTable, row: usize, path: &str, value: &Value) -> Vec<(&'static str, Value)> {
    let Some((list, words, name)) =
        table.lists().find_map(|(list, words)| Some((list, words, path.strip_prefix(list)?.strip_prefix('.')?)))
    else {
        return Vec::new();
    };
    let forms: Vec<_> =
        words.names.iter().flat_map(|name| words.values.iter().map(move |value| (name, value))).collect();
    let root = |path: &str| path.split('.').next().unwrap().to_owned();
    let (name_at, value_at) = (0..forms.len())
        .map(|more| forms[(row + more) % forms.len()])
        .find(|(name, value)| root(name) != root(value))
        .unwrap();
    if words.names.iter().chain(&words.values).any(|member| member == name) {
        return Vec::new();
    }
    let member = |path: &str, value: &Value| nested(path, value.clone()).as_object().unwrap().clone();
    let element = |parts: [(&String, &Value); 2]| {
        let joined = parts.into_iter().flat_map(|(path, value)| member(path, value));
        nested(list, json!(["filler", { "x": 1 }, Value::Object(joined.collect())]))
    };
    let name = json!(name);
    vec![
        ("name, then value", element([(name_at, &name), (value_at, value)])),
        ("value, then name", element([(value_at, value), (name_at, &name)])),
    ]
}

/// Guarantee: a value at the path of any row of any schema is found there, in every shape of document and in each part of
/// a record, and the columns decide whether it counts.
#[test]
fn every_row_of_every_schema_is_found_in_every_shape() {
    let mut rows = 0;
    for name in schema::names() {
        let table = of_schema(name);
        let (cti, collections) = (detectors(&table, Origin::Feed), detectors(&table, Origin::Collection));
        for (at, (_, field)) in table.iter().filter(|(_, field)| field.schemas.contains(&name)).enumerate() {
            for (kind, value) in examples(field) {
                rows += 1;
                for (detectors, counts) in [(&cti, field.cti), (&collections, field.collection)] {
                    let detector = &detectors.iter().find(|(of, _)| *of == kind).unwrap().1;
                    let in_lists = elements(&table, at, &field.name, &value);
                    for (shape, document) in shapes(&field.name, &value).into_iter().chain(in_lists) {
                        let verdict = judge(detector, &document);
                        let found: Vec<&str> = verdict.hits.iter().map(|hit| field_of(detector, hit)).collect();
                        let dropped: Vec<Suppression> = verdict.suppressed.iter().map(|(_, reason)| *reason).collect();
                        let place = if field.kind == FieldKind::Json { "destination.ip" } else { &field.name };
                        let expected: (&[&str], &[Suppression]) = match counts || field.kind == FieldKind::Json {
                            true => (&[place], &[]),
                            false => (&[], &[Suppression::Column]),
                        };
                        assert_eq!(
                            (&found[..], &dropped[..]),
                            expected,
                            "{name} {} {kind} {shape}: {document}",
                            field.name
                        );
                    }
                    // The other encodings walk with the same trie; one row of ten is enough to see it.
                    if at % 10 == 0 && counts {
                        let elements =
                            elements(&table, at, &field.name, &value).into_iter().map(|(_, document)| document);
                        for document in elements.chain([nested(&field.name, value.clone())]) {
                            for (way, sent) in send_each_way(detector, &document) {
                                assert_eq!(sent.hits.len(), 1, "{name} {} {kind} {way}: {document}", field.name);
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(rows > 1_000, "{rows} rows");
}

/// Guarantee: a URL in parts is found at the path, in any order of its parts, and with its query.
#[test]
fn a_url_in_parts_is_found_at_its_path() {
    let mut parts = 0;
    for name in schema::names() {
        let table = of_schema(name);
        let options = MatchOptions { url_hosts: false, ..EXACT };
        let feeds = vec![(Feed::named("feed"), vec![indicator(Kind::Url, "http://evil.example/a/b?c=d")])];
        let detector = detector(&table, options, Some(Policy::default()), feeds);
        for (_, field) in table.iter() {
            let mut hosts = field.url_parts.iter().rev().filter_map(|part| match part {
                UrlPart::After(host) => Some(host),
                UrlPart::Query(_) => None,
            });
            let Some(host) = hosts.next() else { continue };
            parts += 1;
            let hit_at = |document: &Value| -> Vec<String> {
                let verdict = judge(&detector, document);
                let live = send_each_way(&detector, document);
                assert!(live.iter().all(|(_, sent)| sent.hits.len() == verdict.hits.len()), "{document}");
                verdict.hits.iter().map(|hit| field_of(&detector, hit).to_owned()).collect()
            };
            let here = vec![field.name.clone()];
            assert_eq!(hit_at(&json!({ host: "evil.example", &field.name: "/a/b?c=d" })), here);
            assert_eq!(hit_at(&json!({ &field.name: "/a/b?c=d", host: "EVIL.example" })), here);
            assert_eq!(hit_at(&json!({ &field.name: "http://evil.example/a/b?c=d", host: "proxy.example" })), here);
            assert!(hit_at(&json!({ host: "evil.example", &field.name: "/a/b" })).is_empty());
            assert!(hit_at(&json!({ host: "evil.example" })).is_empty());
            assert!(hit_at(&json!({ &field.name: "/a/b?c=d" })).is_empty());
            let is_query = |(_, other): &(_, &Field)| other.url_parts.contains(&UrlPart::Query(field.name.clone()));
            if let Some((_, query)) = table.iter().find(is_query) {
                assert_eq!(hit_at(&json!({ host: "evil.example", &field.name: "/a/b", &query.name: "c=d" })), here);
            }
        }
    }
    assert!(parts > 2, "{parts} URLs in parts");
}

/// An indicator of command and control.
pub fn c2(kind: Kind) -> Indicator {
    let context = Context { kill_chain_phases: vec!["command-and-control".into()], ..Context::default() };
    Indicator { context: Arc::new(context), ..indicator(kind, &written(kind)) }
}

/// Guarantee: an event and the same event in ECS have the same verdict, for every row that means a field of ECS: the
/// columns, and the C2 rule by destination and by side, follow the meaning.
#[test]
fn an_event_and_its_ecs_translation_have_the_same_verdict() {
    let ecs = FieldTable::embedded(true).unwrap();
    let table = Arc::new(FieldTable::shipped().unwrap());
    let mut compared = 0;
    let mut runs = Vec::new();
    for origin in [Origin::Feed, Origin::Collection] {
        for live in [CommandAndControl::DestinationIp, CommandAndControl::Any] {
            for kind in KINDS {
                let indicator = if kind == Kind::Ip { c2(kind) } else { indicator(kind, &written(kind)) };
                let feed = Feed { origin, ..Feed::named("feed") };
                let policy = Policy { c2: live, ..Policy::default() };
                runs.push((kind, detector(&table, EXACT, Some(policy), vec![(feed, vec![indicator])])));
            }
        }
    }
    for (_, field) in table.iter() {
        let Some(meant) = field.ecs.as_deref().and_then(|meant| ecs.id(meant)).map(|id| ecs.get(id)) else { continue };
        if meant.kind != field.kind || (meant.collection, meant.cti) != (field.collection, field.cti) {
            continue;
        }
        for (kind, value) in examples(field) {
            for (_, detector) in runs.iter().filter(|(of, _)| *of == kind) {
                compared += 1;
                let outcome = |path: &str| {
                    let verdict = judge(detector, &json!({ path: value }));
                    (verdict.hits.len(), verdict.suppressed.iter().map(|(_, reason)| *reason).collect::<Vec<_>>())
                };
                assert_eq!(outcome(&field.name), outcome(&meant.name), "{} means {}", field.name, meant.name);
            }
        }
    }
    assert!(compared > 1_000, "{compared} comparisons");
}

/// Guarantee: a hit reports the event's own path, and the field of ECS that it means when that is another.
#[test]
fn a_hit_reports_the_path_of_the_event_and_what_it_means() {
    let table = Arc::new(FieldTable::shipped().unwrap());
    let feeds = vec![(Feed::named("feed"), vec![indicator(Kind::Ip, "203.0.113.7")])];
    let detector = detector(&table, EXACT, Some(Policy::default()), feeds);
    for (path, ecs_field) in [("id.resp_h", Some("destination.ip")), ("destination.ip", None)] {
        let document = json!({ path: "203.0.113.7" }).to_string();
        let verdict = judge(&detector, &serde_json::from_str(&document).unwrap());
        let tagged = detector.tag_document(document.as_bytes(), &verdict).unwrap();
        let tagged: Value = serde_json::from_slice(&tagged).unwrap();
        let enrichment = &tagged["threat"]["enrichments"][0];
        assert_eq!(enrichment["matched"]["field"], path);
        assert_eq!(enrichment["hotlist"].get("ecs_field").and_then(Value::as_str), ecs_field);
    }
}

/// Guarantee: with the option the registered domain of a name is found at the name, where an event may have it in a field of
/// its own, and the hit is marked; the live stream finds the same.
#[test]
fn a_registered_domain_is_derived_and_marked() {
    let table = Arc::new(FieldTable::shipped().unwrap());
    let feeds = || vec![(Feed::named("feed"), vec![indicator(Kind::Domain, "evil.co.uk")])];
    let derive = MatchOptions { registered_domains: true, ..EXACT };
    for (options, path, value, hits) in [
        (derive, "dns.question.name", "a.b.EVIL.co.uk.", true),
        (derive, "query", "a.evil.co.uk", true),
        (derive, "destination.domain", "a.evil.co.uk", true),
        (derive, "destination.domain", "notevil.co.uk", false),
        (derive, "destination.domain", "co.uk", false),
        (derive, "destination.domain", "198.51.100.7", false),
        (derive, "tls.client.server_name", "a.evil.co.uk", false),
        (EXACT, "dns.question.name", "a.evil.co.uk", false),
    ] {
        let detector = detector(&table, options, Some(Policy::default()), feeds());
        let document = json!({ path: value });
        let verdict = judge(&detector, &document);
        assert_eq!(verdict.hits.len(), usize::from(hits), "{document}");
        assert!(
            verdict
                .hits
                .iter()
                .all(|hit| hit.is_derived && hit.relation == Relation::Covers && *hit.name == *"evil.co.uk")
        );
        for (way, sent) in send_each_way(&detector, &document) {
            assert_eq!(sent.hits.len(), usize::from(hits), "{way}: {document}");
        }
        if hits {
            let tagged = detector.tag_document(document.to_string().as_bytes(), &verdict).unwrap();
            let tagged: Value = serde_json::from_slice(&tagged).unwrap();
            assert_eq!(tagged["threat"]["enrichments"][0]["hotlist"]["derived"], true);
        }
    }
    let detector = detector(&table, derive, None, feeds());
    let verdict = judge(&detector, &json!({ "dns.question.name": "evil.co.uk" }));
    assert!(verdict.hits.iter().all(|hit| !hit.is_derived && hit.relation == Relation::Is) && verdict.hits.len() == 1);
}

/// Guarantee: each name of a list, of the alternative names of a certificate in one string, and of the data of a DNS record is
/// found where a name is, in every encoding; a name in other text is not.
#[test]
fn names_in_lists_and_in_answers_are_found() {
    let table = Arc::new(FieldTable::shipped().unwrap());
    let feeds = vec![(Feed::named("feed"), vec![indicator(Kind::Domain, "evil.example")])];
    let detector = detector(&table, EXACT, Some(Policy::default()), feeds);
    for (value, hits) in [
        ("a.example, evil.example", true),
        ("evil.example;", true),
        ("DNS:a.example, DNS:evil.example", true),
        ("type:  5 EVIL.example;::ffff:192.0.2.1;", true),
        ("10 evil.example.", true),
        ("a.example.\t300\tIN\tcname\tevil.example.", true),
        ("192.0.2.1, evil.example:443", true),
        ("notevil.example, a.evil.example", false),
        ("printer evil.example", false),
    ] {
        for path in ["dns.answers.data", "destination.domain", "QueryResults", "tls.server.x509.alternative_names"] {
            let document = json!({ path: value });
            assert_eq!(judge(&detector, &document).hits.len(), usize::from(hits), "{document}");
            for (way, sent) in send_each_way(&detector, &document) {
                assert_eq!(sent.hits.len(), usize::from(hits), "{way}: {document}");
            }
        }
    }
}

/// Whether a text is an address, a URL, an e-mail address, a hash or a name below a public suffix.
fn is_indexable(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut scratch = Vec::new();
    let is_name = || {
        let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or("");
        let known = ["com", "org", "net", "example", "de", "io"].contains(&last) && text.contains('.');
        known && domain::canonical(bytes, &mut Vec::new()).is_some()
    };
    ip::canonical(bytes).is_some()
        || (text.contains("://") && url::event_url(bytes).is_some_and(|url| url.host().contains('.')))
        || (text.contains('@')
            && !text.contains([' ', ':', '/', '='])
            && email::event_addresses(bytes, &mut Vec::new(), &mut |_| {}).is_none())
        || matches!(hash::canonical(bytes, &mut scratch), Some((kind, _)) if kind != Kind::Ssdeep)
        || is_name()
}

/// Guarantee: every table that lies with the others is shipped.
#[test]
fn every_table_is_shipped() {
    let files = std::fs::read_dir("crates/hotlist-core/src/schema").unwrap().map(|entry| entry.unwrap().file_name());
    let files = files.filter_map(|file| file.to_string_lossy().strip_suffix(".csv").map(str::to_owned));
    assert_eq!(files.collect::<BTreeSet<_>>(), schema::names().map(str::to_owned).collect());
}

/// The paths of a document's leaves with an indexable value.
fn leaves(trie: &PathTrie, document: &Value, path: &str, found: &mut BTreeSet<String>) {
    let node = |path: &str| trie.step(PathTrie::ROOT, path.as_bytes());
    match document {
        Value::Object(members) => {
            let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            let name = |(key, value): (&String, &Value)| match value {
                Value::String(name) if node(&at(key)).is_some_and(|node| trie.is_name(node)) => Some(at(name)),
                Value::Object(inner) if node(&at(key)).is_some_and(|node| trie.is_above(node)) => {
                    inner.values().find_map(Value::as_str).map(at)
                }
                _ => None,
            };
            let is_list = node(path).is_some_and(|node| trie.is_list(node));
            let in_list =
                if is_list { members.iter().find_map(name).filter(|path| node(path).is_some()) } else { None };
            for (key, value) in members {
                let is_value = node(&at(key)).is_some_and(|node| trie.is_value(node));
                let path = in_list.clone().filter(|_| is_value).unwrap_or_else(|| at(key));
                leaves(trie, value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(trie, item, path, found)),
        Value::String(text) if is_indexable(text) => {
            found.insert(path.to_owned());
        }
        _ => {}
    }
}

/// Guarantee: of the samples of every schema, each value that could be an indicator stands at a path that a row of the
/// schema names or excludes.
#[test]
fn every_indexable_value_of_the_samples_is_named_by_a_row() {
    let mut unnamed = Vec::new();
    for name in schema::names().filter(|name| !name.starts_with("ecs")) {
        let path = Path::new("examples/events/schemas").join(format!("{name}.ndjson"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // Some products write the fields of ECS in addition to their own.
        let table = of_schema(name);
        let trie = table.trie(|_, _| true);
        let (mut events, mut indexable) = (0, 0);
        for line in text.lines() {
            events += 1;
            let mut paths = BTreeSet::new();
            let event = serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}"));
            leaves(&trie, &event, "", &mut paths);
            indexable += paths.len();
            let is_named = |path: &String| {
                trie.step(PathTrie::ROOT, path.as_bytes()).is_some_and(|node| trie.field(node).is_some())
            };
            unnamed.extend(paths.into_iter().filter(|path| !is_named(path)).map(|path| format!("{name}: {path}")));
        }
        assert!(events > 0 && indexable > 0, "{name} has samples with values that could be indicators");
    }
    unnamed.sort();
    unnamed.dedup();
    assert!(unnamed.is_empty(), "no row names or excludes\n{}", unnamed.join("\n"));
}

proptest! {
    /// Nothing in a field that is a document of its own makes a walk fail, however deep it is nested.
    #[test]
    fn documents_in_fields_are_read_to_a_depth(levels in 0usize..12) {
        let mut table = FieldTable::embedded(true).unwrap();
        table.push(Field::own("log", FieldKind::Json)).unwrap();
        let table = Arc::new(table);
        let feeds = vec![(Feed::named("feed"), vec![indicator(Kind::Ip, "203.0.113.7")])];
        let detector = detector(&table, EXACT, Some(Policy::default()), feeds);
        let inner = json!({ "destination.ip": "203.0.113.7" });
        let document = (0..levels).fold(inner, |inner, _| json!({ "log": inner.to_string() }));
        let verdict = judge(&detector, &document);
        prop_assert_eq!(verdict.hits.len(), usize::from(levels <= 2));
    }
}
