//! Lists of named values: a walk reads each value at the name next to it, as a slow walk over a DOM does.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Instant;

use hotlist::encoding::otlp::{encode_json, walk_record as walk_otlp};
use hotlist::encoding::vector::walk_record as walk_vector;
use hotlist::encoding::{Value, json, wire};
use hotlist::schema::{FieldTable, PathTrie};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use crate::common::{Collect, Json, Seen};
use crate::peer;

const ROWS: &str = "path,kind,ecs,role,collection,cti,stix_paths
a.list,- name@n name@$.n name@N value@v value@V.w value@$,,,no,no,
a.list.x,ip,,,yes,yes,
a.list.x.y,ip,,,yes,yes,
a.list.unwanted,-,,,,,
a.list.v,auto,,,yes,yes,
a.list.inner,- name@n value@v,,,no,no,
a.list.inner.z,ip,,,yes,yes,
a.x,ip,,,yes,yes,
";

static TABLE: LazyLock<FieldTable> = LazyLock::new(|| {
    let mut table = FieldTable::default();
    table.add_schema("lists", ROWS).unwrap();
    table
});
static TRIE: LazyLock<PathTrie> = LazyLock::new(|| TABLE.trie(|_, field| field.kind.as_str() != "-"));

/// The paths of the members that are a name, or a value.
fn members(pick: impl Fn(&hotlist::schema::NamedList) -> Vec<String>) -> BTreeSet<String> {
    TABLE.lists().flat_map(|(path, list)| pick(list).into_iter().map(move |rest| format!("{path}.{rest}"))).collect()
}

fn is_list(path: &str) -> bool {
    TABLE.lists().any(|(list, _)| list == path)
}

/// Whether a name or a value is below a path, which is inside of an element.
fn is_above(path: &str) -> bool {
    let inside = TABLE.lists().any(|(list, _)| path.starts_with(&format!("{list}.")));
    let all = members(|list| [list.names.clone(), list.values.clone()].concat());
    let own = |member: &&String| {
        let lists = TABLE.lists().filter(|(list, _)| member.starts_with(&format!("{list}.")));
        let list = lists.map(|(list, _)| list.len()).max().unwrap();
        path.len() > list
    };
    inside && all.iter().filter(own).any(|member| member.starts_with(&format!("{path}.")))
}

fn is_known(path: &str) -> bool {
    let members = members(|list| [list.names.clone(), list.values.clone()].concat());
    let rows = TABLE.iter().map(|(_, field)| field.name.clone());
    rows.chain(members).any(|row| row == path || row.starts_with(&format!("{path}.")))
}

fn first_name(object: &serde_json::Map<String, Json>, path: &str) -> Option<String> {
    let names = members(|list| list.names.clone());
    object.iter().find_map(|(key, value)| {
        let path = format!("{path}.{key}");
        match value {
            Json::String(name) if names.contains(&path) => Some(name.clone()),
            Json::Object(inner) if is_above(&path) => first_name(inner, &path),
            _ => None,
        }
    })
}

/// Every wanted scalar of a document. `named`: where the value of the element around belongs.
fn slowly(value: &Json, path: &str, named: Option<&str>, seen: &mut Seen) {
    match value {
        Json::Object(object) => {
            let name = first_name(object, path).map(|name| format!("{path}.{name}")).filter(|path| is_known(path));
            let named = if is_list(path) { name.as_deref() } else { named };
            let is_element = is_list(path) || is_above(path);
            let values = members(|list| list.values.clone());
            for (key, value) in object {
                let own = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let is_value = is_element && values.contains(&own) && !(value.is_object() && is_above(&own));
                slowly(value, named.filter(|_| is_value).unwrap_or(&own), named, seen);
            }
        }
        Json::Array(elements) => elements.iter().for_each(|value| slowly(value, path, named, seen)),
        Json::Null => {}
        Json::String(text) if text.is_empty() => {}
        scalar => {
            let value = match scalar {
                Json::String(text) => Value::Text(text.as_bytes()),
                number => Value::Int(number.as_i64().unwrap()),
            };
            if let Some(id) = TABLE.id(path).filter(|id| TABLE.get(*id).kind.as_str() != "-") {
                seen.push((id, format!("{value:?}")));
            }
        }
    }
}

fn expected(document: &Json) -> Seen {
    let mut seen = Seen::new();
    slowly(document, "", None, &mut seen);
    seen
}

fn walked(text: &[u8]) -> Seen {
    let mut seen = Collect::default();
    let _ = json::walk(text, &TRIE, &mut seen);
    seen.0
}

fn object(members: Vec<(&'static str, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn documents() -> impl Strategy<Value = Json> {
    let key = prop::sample::select(vec![
        "n", "n", "v", "v", "$", "$.n", "N", "V", "V.w", "w", "x", "y", "x.y", "inner", "inner.v", "z", "list",
        "other", ".",
    ]);
    let text = prop::sample::select(vec![
        "x",
        "x",
        "x.y",
        "inner",
        "unwanted",
        "unknown",
        "v",
        "$",
        "n",
        "z",
        "",
        "list",
        "198.51.100.7",
        "x.",
    ]);
    let scalar = prop_oneof![4 => text.prop_map(Json::from), 1 => Just(json!(7)), 1 => Just(Json::Null)];
    let value = scalar.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            3 => prop::collection::vec((key.clone(), inner), 0..5).prop_map(object),
        ]
    });
    let root = prop::sample::select(vec!["a", "a.list", "a.list.inner", "a.list.$"]);
    prop::collection::vec((root, value), 0..3).prop_map(|members| {
        let nest = |(key, value)| if key == "a" { (key, json!({ "list": value })) } else { (key, value) };
        object(members.into_iter().map(nest).collect())
    })
}

/// The same document with the members of each object in the order of their keys.
fn sorted(value: &Json) -> Json {
    match value {
        Json::Array(elements) => elements.iter().map(sorted).collect(),
        Json::Object(object) => {
            let mut members: Vec<_> = object.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Json::Object(members.into_iter().collect())
        }
        scalar => scalar.clone(),
    }
}

proptest! {
    /// Every encoding has the values of a DOM, in the same order.
    #[test]
    fn a_walk_reads_each_value_at_its_name(document in documents()) {
        let slow = expected(&document);
        prop_assert_eq!(&walked(document.to_string().as_bytes()), &slow, "{}", document);
        prop_assert_eq!(&walked(serde_json::to_string_pretty(&document).unwrap().as_bytes()), &slow);
        let (mut record, mut seen) = (Vec::new(), Collect::default());
        wire::put_bytes(&mut record, 5, &encode_json(&document));
        walk_otlp(&record, &TRIE, &mut seen);
        prop_assert_eq!(&seen.0, &slow);
        let (event, mut seen) = (peer::log(&document).encode_to_vec(), Collect::default());
        walk_vector(&event, &TRIE, &mut seen).unwrap();
        prop_assert_eq!(&seen.0, &expected(&sorted(&document)));
    }
}

/// Guarantee: the value is found on either side of its name, and the first of several names counts.
#[test]
fn the_first_name_counts_and_stands_anywhere() {
    let at = |text: &str| {
        let document = format!("{{\"a\":{{\"list\":[{text}]}}}}");
        let seen = walked(document.as_bytes());
        seen.into_iter().map(|(id, _)| TABLE.get(id).name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(at(r#"{"n":"x","v":"1"},{"v":"1","n":"x"},{"$":{"o":1,"n":"x"},"v":"1"}"#), ["a.list.x"; 3]);
    assert_eq!(at(r#"{"v":"1","\u006e":"\u0078"}"#), ["a.list.x"]);
    assert_eq!(at(r#"{"n":"x","n":"unknown","v":"1","v":["2","3"]}"#), ["a.list.x"; 3]);
    assert_eq!(at(r#"{"n":"unknown","n":"x","v":"1"}"#), ["a.list.v"]);
    assert_eq!(at(r#"{"n":7,"N":"x","v":"1"}"#), ["a.list.x"], "a number is not a name");
    assert_eq!(at(r#"{"n":"unwanted","v":"1"}"#), [""; 0], "a row that is not looked up is no other");
    assert_eq!(at(r#"{"n":"x","V":{"w":"1","v":"2"}}"#), ["a.list.x"]);
    assert_eq!(at(r#"{"n":"x","v":[{"y":"1"},"2"]}"#), ["a.list.x.y", "a.list.x"]);
    assert_eq!(at(r#"{"n":"inner","v":[{"v":"1","n":"z"}]},{"v":"2","n":"x"}"#), ["a.list.inner.z", "a.list.x"]);
    assert_eq!(at(r#"{"v":"1"},{"v":"2","n":"x"},{"v":"3"}"#), ["a.list.v", "a.list.x", "a.list.v"]);
    // What is cut before its name is read as a value without one.
    assert_eq!(at(r#"{"n":"x","v":"1"},{"v":"2","n":"#), ["a.list.x", "a.list.v"]);
}

/// Guarantee: an element costs the same for each of its bytes, however it is written.
#[test]
fn hostile_elements_are_read_in_proportion_to_their_length() {
    let time = |text: &str| {
        let (document, began) = (format!("{{\"a\":{{\"list\":[{text}]}}}}"), Instant::now());
        (walked(document.as_bytes()).len(), began.elapsed())
    };
    let long = "x".repeat(1 << 20);
    let small = time(&[r#"{"v":"1","n":"x"}"#; 1000].join(","));
    assert_eq!(small.0, 1000);
    for (text, values) in [
        (format!(r#"{{"v":"{long}","n":"x"}}"#), 1),
        (format!(r#"{{"n":"{long}","v":"1"}}"#), 1),
        (format!(r#"{{{},"v":"1"}}"#, [r#""n":"x""#; 100_000].join(",")), 1),
        (format!(r#"{{{},"n":"x"}}"#, [r#""v":"1""#; 100_000].join(",")), 100_000),
        (format!(r#"{{"n":"x",{}}}"#, [r#""v":"1""#; 100_000].join(",")), 100_000),
        (format!("{}{}{}", r#"{"$":"#.repeat(100_000), "1", "}".repeat(100_000)), 0),
        (format!("{}{}{}", r#"{"n":"inner","v":"#.repeat(50), r#""1""#, "}".repeat(50)), 0),
        (format!("{}{}{}", "[".repeat(100), r#"{"v":"1","n":"x"}"#, "]".repeat(100)), 1),
    ] {
        let (found, took) = time(&text);
        assert_eq!(found, values, "{}", &text[..40]);
        assert!(took.as_secs() < 5, "{took:?} for {} bytes", text.len());
    }
}
