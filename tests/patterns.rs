//! The pattern compiler over every STIX pattern of the shared feeds.

#[path = "support/shared.rs"]
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hotlist::intel::pattern::{PatternError, compile};
use hotlist::schema::FieldTable;
use serde_json::Value;

fn files(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

/// Every `pattern` of a document's STIX indicators.
fn patterns(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| patterns(item, found)),
        Value::Object(map) => {
            let stix = map.get("pattern_type").is_none_or(|kind| kind == "stix");
            if let Some(Value::String(pattern)) = map.get("pattern")
                && stix
                && map.get("type").is_some_and(|kind| kind == "indicator")
            {
                found.push(pattern.clone());
            }
            map.values().for_each(|item| patterns(item, found));
        }
        _ => {}
    }
}

#[test]
#[ignore = "needs ../shared"]
fn every_pattern_of_the_feeds_compiles_or_is_refused_for_a_named_reason() {
    let feeds = shared::shared("data/iocs/feeds");
    let (mut paths, mut all) = (Vec::new(), Vec::new());
    files(&feeds, &mut paths).expect("readable feeds");
    for path in paths {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if !text.contains("\"indicator\"") {
            continue;
        }
        match serde_json::from_str::<Value>(&text) {
            Ok(document) => patterns(&document, &mut all),
            Err(_) => text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .for_each(|document| patterns(&document, &mut all)),
        }
    }
    assert!(all.len() > 1_000, "only {} patterns", all.len());
    let table = FieldTable::embedded(true).expect("the table loads");
    let (mut compiled, mut terms) = (0, 0);
    let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pattern in &all {
        match compile(pattern, &table) {
            Ok(found) => {
                compiled += 1;
                terms += found.terms.len();
            }
            Err(PatternError::Unsupported { construct, .. }) => refused.entry(construct).or_default().push(pattern),
            Err(PatternError::Value { kind, path, .. }) => {
                refused.entry(format!("no {kind} at {path}")).or_default().push(pattern)
            }
            Err(PatternError::Syntax { expected, .. }) => {
                refused.entry(format!("syntax, expected {expected}")).or_default().push(pattern)
            }
        }
    }
    println!("{} patterns, {compiled} compiled to {terms} terms", all.len());
    for (reason, patterns) in &refused {
        println!("{:6} {reason}: {}", patterns.len(), patterns.first().map_or("", |pattern| *pattern));
    }
    assert!(compiled * 10 > all.len() * 9, "{compiled} of {} compiled", all.len());
}
