//! STIX 2.0 and 2.1 (OASIS): bundles, TAXII envelopes, arrays of either, or one object a line.
//!
//! Objects are cut out as raw JSON first and read one by one, so that an odd object costs only itself and a bundle is
//! never held as a tree.

mod marking;

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::FeedError;
use super::collect::{Collector, Facts, line_number};
use crate::fields::FieldTable;
use crate::intel::indicator::{Confidence, Context};
use crate::intel::pattern::{self, Compiled};
use crate::observable::time;
use marking::Markings;

/// Arrays in arrays and bundles in bundles are followed this deep; real feeds need two.
const MAX_DEPTH: usize = 8;

/// An object as it stands in the file.
struct Raw<'a> {
    line: u32,
    json: &'a str,
}

/// What every STIX object says about itself, and what a bundle or an envelope holds.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(borrow, default)]
    objects: Option<Vec<&'a RawValue>>,
}

/// Imports a STIX document.
pub(super) fn import(
    text: &str,
    file_name: &str,
    table: &FieldTable,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    let mut objects = Vec::new();
    let mut seen_stix = false;
    match serde_json::from_str::<&RawValue>(text) {
        Ok(document) => flatten(document.get(), 0, 0, &mut objects, &mut seen_stix, collector),
        Err(error) => {
            // Not one document: one object a line, unless not even one line is.
            let mut broken = Vec::new();
            for (number, line) in (1..).zip(text.lines()) {
                let number = line_number(number);
                match serde_json::from_str::<&RawValue>(line) {
                    Ok(json) => flatten(json.get(), number, 0, &mut objects, &mut seen_stix, collector),
                    Err(_) if line.trim().is_empty() => {}
                    Err(error) => broken.push((number, format!("no valid JSON: {error}"), line)),
                }
            }
            if objects.is_empty() {
                if text.trim().is_empty() {
                    return Ok(());
                }
                return Err(FeedError::Json {
                    file: file_name.to_owned(),
                    line: error.line(),
                    column: error.column(),
                    reason: error.to_string(),
                });
            }
            broken.into_iter().for_each(|(line, reason, found)| collector.unusable(line, reason, found));
        }
    }
    if !seen_stix {
        return Err(FeedError::NotStix { file: file_name.to_owned() });
    }
    indicators(&objects, table, collector);
    Ok(())
}

/// Cuts bundles, envelopes and arrays into objects; keeps the ones that are of use here.
fn flatten<'a>(
    json: &'a str,
    line: u32,
    depth: usize,
    objects: &mut Vec<Raw<'a>>,
    seen_stix: &mut bool,
    collector: &mut Collector,
) {
    if depth == MAX_DEPTH {
        collector.unusable(line, "nested too deep for a STIX document", json);
        return;
    }
    if json.starts_with('[') {
        for inner in serde_json::from_str::<Vec<&RawValue>>(json).unwrap_or_default() {
            flatten(inner.get(), line, depth + 1, objects, seen_stix, collector);
        }
        return;
    }
    let head = match serde_json::from_str::<Head<'a>>(json) {
        Ok(head) => head,
        Err(error) => return collector.unusable(line, format!("no STIX object: {error}"), json),
    };
    if let Some(inner) = head.objects {
        *seen_stix = true;
        for inner in inner {
            flatten(inner.get(), line, depth + 1, objects, seen_stix, collector);
        }
        return;
    }
    // Every STIX object has an id that begins with its type (STIX 2.1 section 2.9).
    let Some(kind) = head.kind else { return };
    *seen_stix |= kind == "bundle" || json.contains(&format!("\"{kind}--"));
    if matches!(kind.as_str(), "indicator" | "marking-definition") {
        objects.push(Raw { line, json });
    }
}

/// Reads markings first, since an indicator may stand before the marking that it names.
fn indicators(objects: &[Raw<'_>], table: &FieldTable, collector: &mut Collector) {
    let mut markings = Markings::default();
    let mut parsed = Vec::new();
    for object in objects {
        match serde_json::from_str::<Map<String, Value>>(object.json) {
            Err(error) => collector.unusable(object.line, format!("no STIX object: {error}"), object.json),
            Ok(map) if text(&map, "type") == Some("marking-definition") => markings.define(&map),
            Ok(map) => parsed.push((object.line, map)),
        }
    }
    // Of several versions of an object the one modified last counts (STIX 2.1 section 3.6).
    let mut latest: HashMap<String, Option<Timestamp>> = HashMap::new();
    for (_, map) in &parsed {
        if let Some(id) = text(map, "id") {
            let modified = modified(map);
            let known = latest.entry(id.to_owned()).or_insert(modified);
            *known = (*known).max(modified);
        }
    }
    for (line, map) in &parsed {
        if let Some(id) = text(map, "id")
            && latest.get(id).is_some_and(|latest| *latest > modified(map))
        {
            collector.unusable(*line, "the same file has a later version of this indicator", id);
            continue;
        }
        match indicator(map, *line, &markings, table) {
            Ok((compiled, facts)) => {
                for error in &compiled.left_out {
                    collector.unusable(*line, error.to_string(), text(map, "pattern").unwrap_or_default());
                }
                collector.terms(compiled.terms, None, facts);
            }
            Err(reason) => {
                let found = text(map, "pattern").or_else(|| text(map, "id")).unwrap_or_default();
                collector.unusable(*line, reason, found);
            }
        }
    }
}

fn indicator(
    map: &Map<String, Value>,
    line: u32,
    markings: &Markings,
    table: &FieldTable,
) -> Result<(Compiled, Facts), String> {
    let pattern = text(map, "pattern").ok_or("an indicator without `pattern`")?;
    let language = text(map, "pattern_type").unwrap_or("stix");
    if !language.eq_ignore_ascii_case("stix") {
        return Err(format!("`pattern_type` is `{language}`; only `stix` can be looked for"));
    }
    if strings(map, "indicator_types").chain(strings(map, "labels")).any(|word| word.eq_ignore_ascii_case("benign")) {
        return Err("the feed itself calls it benign".to_owned());
    }
    let compiled = pattern::compile(pattern, table).map_err(|error| error.to_string())?;
    let context = Context {
        name: text(map, "name").filter(|name| !pattern.contains(name)).map(Into::into),
        description: text(map, "description").map(Into::into),
        kill_chain_phases: items(map, "kill_chain_phases")
            .filter_map(|phase| phase.get("phase_name")?.as_str())
            .map(Into::into)
            .collect(),
        confidence: map.get("confidence").and_then(Value::as_i64).map(Confidence::from_stix).unwrap_or_default(),
        tlp: markings.of(strings(map, "object_marking_refs"), strings(map, "labels")),
        reference: items(map, "external_references")
            .filter_map(|reference| reference.get("url")?.as_str())
            .next()
            .map(Into::into),
        first_seen: None,
        last_seen: None,
    };
    let facts = Facts {
        id: text(map, "id").map(Into::into),
        context,
        valid_from: bound(map, "valid_from")?,
        valid_until: bound(map, "valid_until")?,
        revoked: map.get("revoked").and_then(Value::as_bool).unwrap_or(false),
        line,
    };
    Ok((compiled, facts))
}

/// A bound that cannot be read must not become an open one.
fn bound(map: &Map<String, Value>, key: &str) -> Result<Option<Timestamp>, String> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_str()
            .and_then(|value| time::parse(value.as_bytes()))
            .map(Some)
            .ok_or_else(|| format!("`{key}` is no time: {value}")),
    }
}

fn modified(map: &Map<String, Value>) -> Option<Timestamp> {
    text(map, "modified").and_then(|modified| time::parse(modified.as_bytes()))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

fn items<'a>(map: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    map.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn strings<'a>(map: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    items(map, key).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
