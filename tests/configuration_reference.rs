//! `docs/configuration.md` says what the code does: its keys, its required keys, its defaults and its descriptions are
//! each compared with the code, so that the reference cannot go stale.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hotlist::config::{Config, Format};
use serde_json::{Value, json};

/// One row of the reference.
#[derive(Debug)]
struct Row {
    section: String,
    key: String,
    default: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows() -> Vec<Row> {
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in read(&root().join("docs/configuration.md")).lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = if heading == "Top level" { String::new() } else { heading.to_owned() };
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.trim_end_matches(" |").splitn(3, " | ").collect();
            let [key, default, text] = cells[..] else { panic!("{line}") };
            rows.push(Row {
                section: section.clone(),
                key: key.trim_end_matches('`').to_owned(),
                default: default.to_owned(),
                text: text.to_owned(),
            });
        }
    }
    rows
}

/// A configuration that has every section, and in each only what is required.
fn base() -> Value {
    json!({
        "sources": { "a": { "type": "otlp", "address": "127.0.0.1:1", "tls": { "cert_file": "c", "key_file": "k" } } },
        "intel": { "files": [{ "path": "x.csv", "columns": { "value": "v" } }],
                   "allowlists": [{ "path": "x.json" }] },
        "match": { "c2": {}, "fields": [{ "field": "my.ip", "kind": "ip" }] },
        "sinks": {
            "o": { "type": "otlp", "inputs": ["a"], "endpoint": "https://127.0.0.1:2", "tls": {},
                "headers": { "x": { "file": "f" } }, "rejected": { "path": "r.ndjson" } },
            "n": { "type": "ndjson", "inputs": ["a"] },
            "b": { "type": "blackhole", "inputs": ["a"] },
        },
        "limits": {}, "admin": { "address": "127.0.0.1:3", "tls": { "cert_file": "c", "key_file": "k" } }, "log": {}, "shutdown": {},
    })
}

/// Where a section of the reference stands in [`base`], as a JSON pointer.
fn pointer(section: &str) -> &'static str {
    match section {
        "" => "",
        "sources.<id> (otlp)" => "/sources/a",
        "sources.<id>.tls" => "/sources/a/tls",
        "intel" => "/intel",
        "intel.files[]" => "/intel/files/0",
        "intel.files[].columns" => "/intel/files/0/columns",
        "intel.allowlists[]" => "/intel/allowlists/0",
        "match" => "/match",
        "match.c2" => "/match/c2",
        "match.fields[]" => "/match/fields/0",
        "sinks.<id> (otlp)" => "/sinks/o",
        "sinks.<id>.headers.<name>" => "/sinks/o/headers/x",
        "sinks.<id>.rejected" => "/sinks/o/rejected",
        "sinks.<id>.tls" => "/sinks/o/tls",
        "sinks.<id> (ndjson)" => "/sinks/n",
        "sinks.<id> (blackhole)" => "/sinks/b",
        "limits" => "/limits",
        "admin" => "/admin",
        "admin.tls" => "/admin/tls",
        "log" => "/log",
        "shutdown" => "/shutdown",
        other => panic!("`{other}` has no place in the base configuration; add it here"),
    }
}

/// Parses a configuration after `change` was made to one section. JSON is YAML.
fn parse_changed(section: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Result<Config, String> {
    let mut document = base();
    change(document.pointer_mut(pointer(section)).and_then(Value::as_object_mut).unwrap());
    Config::parse(&document.to_string(), Format::Yaml, &|_| None).map_err(|errors| errors.to_string())
}

#[test]
fn the_reference_has_exactly_the_keys_of_the_code_in_their_order() {
    let wanted: Vec<String> = Config::keys()
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}: {key}")))
        .collect();
    let written: Vec<String> = rows().iter().map(|row| format!("{}: {}", row.section, row.key)).collect();
    assert_eq!(written, wanted);
}

#[test]
fn a_default_in_the_reference_changes_nothing_when_it_is_written_down() {
    let mut checked = 0;
    for row in rows() {
        let Some(default) = row.default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else { continue };
        let value = serde_json::from_str(default).unwrap_or_else(|_| Value::String(default.to_owned()));
        let written = parse_changed(&row.section, |table| drop(table.insert(row.key.clone(), value)));
        let absent = parse_changed(&row.section, |table| drop(table.remove(&row.key)));
        assert_eq!(written.unwrap(), absent.unwrap(), "{row:?}");
        checked += 1;
    }
    assert!(checked > 20, "only {checked} defaults were found");
}

#[test]
fn a_required_key_is_missed_by_name_and_any_other_is_not() {
    for row in rows().iter().filter(|row| !row.section.is_empty() || row.default != "required") {
        let removed = parse_changed(&row.section, |table| drop(table.remove(&row.key)));
        match row.default.as_str() {
            "required" => {
                let errors = removed.unwrap_err();
                assert!(errors.contains(&format!("`{}` is missing; give ", row.key)), "{row:?}: {errors}");
            }
            _ => drop(removed.unwrap_or_else(|errors| panic!("{row:?}: {errors}"))),
        }
    }
}

#[test]
fn every_description_is_the_doc_comment_of_its_field() {
    let structs = [
        ("", "Config"),
        ("sources.<id> (otlp)", "OtlpSource"),
        ("sources.<id>.tls", "ServerTls"),
        ("intel", "Intel"),
        ("intel.files[]", "IntelFiles"),
        ("intel.files[].columns", "Columns"),
        ("intel.allowlists[]", "AllowlistFiles"),
        ("match", "Match"),
        ("match.c2", "CommandAndControl"),
        ("sinks.<id> (otlp)", "OtlpSink"),
        ("sinks.<id>.headers.<name>", "HeaderFile"),
        ("sinks.<id>.rejected", "Rejected"),
        ("sinks.<id>.tls", "ClientTls"),
        ("sinks.<id> (ndjson)", "NdjsonSink"),
        ("limits", "Limits"),
        ("admin", "Admin"),
        ("admin.tls", "ServerTls"),
        ("log", "Log"),
        ("shutdown", "Shutdown"),
    ];
    let comments = doc_comments();
    for row in rows() {
        assert!(!row.text.trim().is_empty(), "{row:?}");
        let Some((_, name)) = structs.iter().find(|(section, _)| *section == row.section) else { continue };
        if let Some(comment) = comments.get(&(name.to_string(), row.key.clone())) {
            assert_eq!(row.text, *comment, "{name}.{}", row.key);
        }
    }
    assert!(comments.len() > 40, "only {} fields were found", comments.len());
}

/// The doc comment of every public field, by struct and field.
fn doc_comments() -> BTreeMap<(String, String), String> {
    let mut files = vec![root().join("src/config.rs")];
    files.extend(std::fs::read_dir(root().join("src/config")).unwrap().map(|entry| entry.unwrap().path()));
    let mut comments = BTreeMap::new();
    for file in files {
        let (mut name, mut comment) = (String::new(), Vec::new());
        for line in read(&file).lines() {
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("pub struct ") {
                name = rest.split_whitespace().next().unwrap_or("").to_owned();
                comment.clear();
            } else if let Some(text) = line.strip_prefix("///") {
                comment.push(text.trim().to_owned());
            } else {
                if let Some((field, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")) {
                    let key = (name.clone(), field.trim_start_matches("r#").to_owned());
                    comments.insert(key, comment.join(" "));
                }
                comment.clear();
            }
        }
    }
    comments
}

#[test]
fn the_example_configurations_load() {
    let (mut loaded, mut open) = (0, vec![root().join("examples")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if Format::of(&path).is_some() && !is_of_another_program(&path) {
                Config::load(&path, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
                loaded += 1;
            }
        }
    }
    assert!(loaded >= 6, "only {loaded} examples were found");
}

/// Whether a file configures a collector that is run beside Hotlist; tests/sidecar/examples.rs reads those.
fn is_of_another_program(path: &Path) -> bool {
    path.parent().and_then(Path::parent).is_some_and(|parent| parent.ends_with("fluent-bit"))
        && !path.ends_with("hotlist.yaml")
}
