//! Documents, enrichments and the plain reference walk that the fast ones are compared with.

use std::sync::LazyLock;

use hotlist::encoding::{TagInto, Tags, Value, Visitor};
use hotlist::schema::{FieldId, FieldTable, PathTrie};
use proptest::prelude::*;
use serde_json::json;

pub type Json = serde_json::Value;

/// The visits of a walk, in a form that compares and sorts.
pub type Seen = Vec<(FieldId, String)>;

static TABLE: LazyLock<FieldTable> = LazyLock::new(|| FieldTable::embedded(true).unwrap());
static TRIE: LazyLock<PathTrie> = LazyLock::new(|| TABLE.trie(|_, _| true));

pub fn trie() -> &'static PathTrie {
    &TRIE
}

#[derive(Default)]
pub struct Collect(pub Seen);

impl Visitor for Collect {
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        self.0.push((field, format!("{value:?}")));
    }
}

/// The reference: every scalar of a decoded document whose keys, joined by dots, are a field's name.
pub fn reference(document: &Json) -> Seen {
    fn visit(value: &Json, path: &str, seen: &mut Seen) {
        let shown = match value {
            Json::Object(members) => {
                for (key, value) in members {
                    let path = if path == "\0" { key.clone() } else { format!("{path}.{key}") };
                    visit(value, &path, seen);
                }
                return;
            }
            Json::Array(elements) => return elements.iter().for_each(|value| visit(value, path, seen)),
            Json::Null => return,
            Json::String(text) if text.is_empty() => return,
            Json::String(text) => Value::Text(text.as_bytes()),
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Double(number.as_f64().unwrap()),
            },
        };
        if let Some(field) = TABLE.id(path) {
            seen.push((field, format!("{shown:?}")));
        }
    }
    let mut seen = Seen::new();
    visit(document, "\0", &mut seen);
    seen
}

/// Documents with wanted and unwanted keys, nested, dotted and mixed.
pub fn document() -> impl Strategy<Value = Json> {
    let key = prop_oneof![
        8 => prop::sample::select(vec![
            "source", "source.ip", "ip", "nat.ip", "source.nat", "user", "user.name", "name", "email", "related",
            "related.ip", "related.hosts", "hosts", "hash", "file.hash", "file", "hash.sha256", "sha256", "url",
            "url.full", "full", "dns.question", "question.name", "dns", "question", "port", "source.port", "http",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", ".", "source.", ".ip", "Source", "a\"b\\", "é", "other"]).prop_map(str::to_owned),
    ];
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        prop::sample::select(vec![1u64 << 63, 3 << 62]).prop_map(Json::from),
        any::<i32>().prop_map(|value| Json::from(f64::from(value) / 8.0 + 0.0625)),
        "[a-z0-9./:@\"\\\\\n\u{1}é€😀]{0,40}".prop_map(Json::from),
    ];
    let value = scalar.prop_recursive(4, 48, 6, {
        let key = key.clone();
        move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::vec((key.clone(), inner), 0..6).prop_map(object),
            ]
        }
    });
    prop::collection::vec((key, value), 0..8).prop_map(object)
}

/// The document as formats without unsigned integers have it: one that does not fit 64 bits with a sign is a double.
pub fn signed(document: &Json) -> Json {
    match document {
        Json::Number(number) if !number.is_i64() => Json::from(number.as_f64().unwrap()),
        Json::Array(elements) => elements.iter().map(signed).collect(),
        Json::Object(members) => object(members.iter().map(|(key, value)| (key.clone(), signed(value))).collect()),
        other => other.clone(),
    }
}

fn object(members: Vec<(String, Json)>) -> Json {
    Json::Object(members.into_iter().collect())
}

pub fn tags(into: TagInto, enrichments: &[Json]) -> Tags<'_> {
    Tags { into, ..Tags::from_enrichments(enrichments) }
}

pub fn enrichment(id: u32) -> Json {
    json!({
        "indicator": {"type": "ipv4-addr", "ip": "203.0.113.5", "name": "203.0.113.5"},
        "matched": {"id": format!("indicator--{id}"), "field": "source.ip", "atomic": "203.0.113.5"},
        "feed": {"name": "test"},
    })
}

/// Documents with every shape that `threat`, `hotlist` and `tags` may have, each path in one place only.
pub fn taggable() -> impl Strategy<Value = Json> {
    let list = || {
        prop::sample::select(vec![
            Json::Null,
            json!([]),
            json!([enrichment(1)]),
            json!([{"matched.id": "indicator--2", "matched": {"field": "source.ip"}, "feed.name": "test"}, 7]),
            enrichment(1),
            json!({"indicator": {"ip": "198.51.100.1"}}),
            json!("odd"),
        ])
    };
    let place = |name: &'static str| {
        prop_oneof![
            Just(None),
            list().prop_map(move |list| Some((format!("{name}.enrichments"), list))),
            list()
                .prop_map(move |list| Some((name.to_owned(), json!({"before": 1, "enrichments": list, "after": {}})))),
            Just(Some((name.to_owned(), json!({})))),
            Just(Some((name.to_owned(), json!({"framework": "MITRE ATT&CK"})))),
            Just(Some((name.to_owned(), json!("text")))),
            Just(Some((name.to_owned(), json!(null)))),
            Just(Some((name.to_owned(), json!([{"enrichments": []}])))),
        ]
    };
    let tags = prop::sample::select(vec![
        None,
        Some(json!(null)),
        Some(json!([])),
        Some(json!(["a", "b"])),
        Some(json!(["threat-match", "a"])),
        Some(json!("a")),
        Some(json!("threat-match")),
        Some(json!(5)),
    ]);
    (document(), place("threat"), place("hotlist"), tags).prop_map(|(mut document, threat, hotlist, tags)| {
        let members = document.as_object_mut().unwrap();
        members.extend(threat);
        members.extend(hotlist);
        members.extend(tags.map(|tags| ("tags".to_owned(), tags)));
        document
    })
}

/// The reference of tagging: a decoded document with enrichments 1 and 2 and the tag word added, and with everything that
/// was there marked, or replaced when it is one of them where they go.
pub fn add(document: &mut Json) {
    let members = document.as_object_mut().unwrap();
    let free = |name: &str, members: &serde_json::Map<String, Json>| {
        members.contains_key(&format!("{name}.enrichments")) || members.get(name).is_none_or(Json::is_object)
    };
    let name = if free("threat", members) { "threat" } else { "hotlist" };
    let dotted = format!("{name}.enrichments");
    if members.contains_key(&dotted) || !free(name, members) {
        members.entry(&dotted).or_insert(Json::Null);
    } else {
        let parent = members.entry(name).or_insert_with(|| json!({})).as_object_mut().unwrap();
        parent.entry("enrichments").or_insert(Json::Null);
    }
    for place in ["threat", "hotlist"] {
        let ours = if place == name { vec![enrichment(1), enrichment(2)] } else { Vec::new() };
        let has_dotted = members.contains_key(&format!("{place}.enrichments"));
        if let Some(list) = members.get_mut(&format!("{place}.enrichments")) {
            rewrite(list, &ours);
        }
        if let Some(list) = members.get_mut(place).and_then(|parent| parent.get_mut("enrichments")) {
            rewrite(list, if has_dotted { &[] } else { &ours });
        }
    }
    let tags = members.entry("tags").or_insert(Json::Null);
    if !tags.to_string().contains("\"threat-match\"") {
        append(tags, vec![json!("threat-match")]);
    }
}

fn rewrite(list: &mut Json, ours: &[Json]) {
    let one =
        |element: &Json| ours.iter().find(|own| element.to_string().contains(own["matched"]["id"].as_str().unwrap()));
    let change = |element: &mut Json| match (one(element), &element) {
        (Some(own), _) => *element = own.clone(),
        (None, Json::Object(members)) if !members.is_empty() => element["hotlist"] = json!({ "verified": false }),
        _ => {}
    };
    match &mut *list {
        Json::Array(elements) => elements.iter_mut().for_each(change),
        one => change(&mut *one),
    }
    let new = ours.iter().filter(|own| !list.to_string().contains(&own.to_string())).cloned().collect();
    append(list, new);
}

fn append(list: &mut Json, new: Vec<Json>) {
    if new.is_empty() {
        return;
    }
    *list = match list.take() {
        Json::Null => Json::from(new),
        Json::Array(elements) => Json::from([elements, new].concat()),
        one => Json::from([vec![one], new].concat()),
    };
}
