//! MISP (the MISP core format, draft-dulaunoy-misp-core-format): an event, a list of events, or an answer of its API.
//!
//! Only attributes that are meant for detection (`to_ids`) are used. What is said of an event holds for each of its
//! attributes.

mod tags;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::encoding::json::reason_without_place;
use crate::feed::FeedError;
use crate::feed::classify::Found;
use crate::feed::collect::{Collector, Facts, MAX_DESCRIPTION, MAX_NAME, shortened};
use crate::feed::misp_types::{self, MispValue};
use crate::feed::reading::document::{self, MAX_DEPTH, Piece};
use crate::feed::reading::input::Input;
use crate::intel::indicator::{Context, Target, Term};
use crate::intel::pattern;
use crate::observable::time;
use crate::schema::FieldTable;
use tags::Tags;

/// An event, or what holds events. Fields stay raw, so that a malformed one costs only itself.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "Event", borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(rename = "Attribute", borrow, default)]
    attributes: Option<&'a RawValue>,
    #[serde(rename = "Object", borrow, default)]
    objects: Option<&'a RawValue>,
    #[serde(rename = "Tag", borrow, default)]
    tags: Option<&'a RawValue>,
    #[serde(borrow, default)]
    info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    threat_level_id: Option<&'a RawValue>,
}

/// A MISP object, which groups attributes.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(rename = "Attribute", borrow, default)]
    attributes: Option<&'a RawValue>,
    #[serde(default)]
    deleted: Option<Value>,
    #[serde(default)]
    comment: Option<Value>,
}

/// Imports MISP events.
pub(in crate::feed) fn import(
    input: Input<'_>,
    table: &FieldTable,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    let file = input.file();
    let mut misp = Misp { table, seen: true };
    document::each(input, collector, |piece, collector| {
        // A feed of no events yet has an empty manifest, and an API answers with an empty list.
        misp.seen = matches!(piece.json.trim_end(), "{}" | "[]");
        misp.flatten(piece, 0, collector);
    })?;
    match misp.seen {
        true => Ok(()),
        false => Err(FeedError::NotMisp { file: file.to_owned() }),
    }
}

struct Misp<'t> {
    table: &'t FieldTable,
    /// Whether anything was of MISP.
    seen: bool,
}

impl Misp<'_> {
    /// Cuts lists and answers into events, and takes each.
    fn flatten(&mut self, piece: Piece<'_>, depth: usize, collector: &mut Collector) {
        if depth == MAX_DEPTH {
            return collector.unusable(piece.line, "nested too deep for a MISP document", piece.json);
        }
        if let Some(elements) = piece.elements() {
            return elements.for_each(|inner| self.flatten(inner, depth + 1, collector));
        }
        let event = match serde_json::from_str::<Event<'_>>(piece.json) {
            Ok(event) => event,
            Err(error) => {
                return collector.unusable(
                    piece.line,
                    format!("no MISP event: {}", reason_without_place(&error)),
                    piece.json,
                );
            }
        };
        if let Some(inner) = event.event.or(event.response) {
            self.seen = true;
            return self.flatten(piece.part(inner), depth + 1, collector);
        }
        self.seen |= event.attributes.is_some() || event.objects.is_some() || event.threat_level_id.is_some();
        let name = event.info.and_then(plain).map(|name| shortened(&name, MAX_NAME));
        let said = Said { name, description: None, tags: Tags::read(event.tags) };
        if let Some(attributes) = event.attributes {
            self.attributes(piece.part(attributes), &said, collector);
        }
        let Some(objects) = event.objects.map(|objects| piece.part(objects)) else { return };
        let Some(elements) = objects.elements() else {
            return collector.unusable(objects.line, "`Object` is not a list", objects.json);
        };
        for object in elements {
            match serde_json::from_str::<Object<'_>>(object.json) {
                Ok(found) if found.deleted.as_ref().is_some_and(is_true) => {}
                Ok(found) => {
                    let comment = found.comment.as_ref().and_then(as_text);
                    let description = comment.map(|comment| shortened(&comment, MAX_DESCRIPTION));
                    let said = Said { description, ..said.clone() };
                    if let Some(attributes) = found.attributes {
                        self.attributes(object.part(attributes), &said, collector);
                    }
                }
                Err(error) => collector.unusable(
                    object.line,
                    format!("no MISP object: {}", reason_without_place(&error)),
                    object.json,
                ),
            }
        }
    }

    fn attributes(&self, attributes: Piece<'_>, event: &Said, collector: &mut Collector) {
        let Some(elements) = attributes.elements() else {
            return collector.unusable(attributes.line, "`Attribute` is not a list", attributes.json);
        };
        for piece in elements {
            let map = match serde_json::from_str::<Map<String, Value>>(piece.json) {
                Ok(map) => map,
                Err(error) => {
                    collector.unusable(
                        piece.line,
                        format!("no MISP attribute: {}", reason_without_place(&error)),
                        piece.json,
                    );
                    continue;
                }
            };
            if map.get("deleted").is_some_and(is_true) {
                continue;
            }
            if let Err(reason) = self.attribute(&map, piece.line, event, collector) {
                let text = |key| map.get(key).and_then(Value::as_str).unwrap_or_default();
                collector.unusable(piece.line, reason, &format!("{}: {}", text("type"), text("value")));
            }
        }
    }

    fn attribute(
        &self,
        map: &Map<String, Value>,
        line: u32,
        event: &Said,
        collector: &mut Collector,
    ) -> Result<(), String> {
        let text = |key: &str| map.get(key).and_then(as_text);
        if !map.get("to_ids").is_some_and(is_true) {
            return Err("`to_ids` is not set: it informs, and is not meant for detection".to_owned());
        }
        if let Some(list) = map.get("warnings").and_then(warning) {
            return Err(format!("on the warninglist `{list}`"));
        }
        let kind = text("type").ok_or("an attribute without `type`")?;
        let value = text("value").ok_or("an attribute without `value`")?;
        let relation = text("object_relation").unwrap_or_default();
        let parts = misp_types::parts(&kind, &relation, &value)?;
        let own = Tags::from_list(map.get("Tag"));
        let outer = map.get("Event").and_then(|event| event.get("info")).and_then(as_text);
        let seen = |key: &str| text(key).and_then(|seen| time::parse(seen.as_bytes()));
        let facts = Facts {
            id: text("uuid").map(String::into_boxed_str),
            context: Context {
                name: event.name.clone().or(outer).map(String::into_boxed_str),
                description: text("comment").or_else(|| event.description.clone()).map(String::into_boxed_str),
                first_seen: seen("first_seen"),
                last_seen: seen("last_seen"),
                ..own.within(&event.tags)
            },
            line,
            ..Facts::default()
        };
        match parts {
            MispValue::Pattern => {
                let compiled = pattern::compile(&value, self.table).map_err(|error| error.to_string())?;
                collector.pattern(compiled, facts, &value);
            }
            // The parts of a composite are one attribute with one id: either is the indicator.
            MispValue::Values(found) => {
                let port = found.iter().find_map(|found| found.port);
                let values = found.into_iter().flat_map(Found::values);
                collector.terms(values.map(|value| Term { value, target: Target::Kind }).collect(), port, facts);
            }
        }
        Ok(())
    }
}

/// The context that an event or an object gives to its attributes.
#[derive(Clone, Default)]
struct Said {
    name: Option<String>,
    description: Option<String>,
    tags: Tags,
}

/// The first warninglist that an attribute is on. MISP exports a list of hits, or older versions an object of them.
fn warning(warnings: &Value) -> Option<String> {
    let hit = match warnings {
        Value::Array(hits) => hits.first()?,
        Value::Object(hits) => hits.values().next()?,
        Value::Bool(true) => warnings,
        _ => return None,
    };
    let name = ["warninglist_name", "name"].into_iter().find_map(|key| hit.get(key)).or(Some(hit)).and_then(as_text);
    Some(name.unwrap_or_else(|| "without name".to_owned()))
}

/// MISP writes flags as booleans, as numbers and as text.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_i64().is_some_and(|number| number != 0),
        Value::String(text) => matches!(text.as_str(), "1" | "true"),
        _ => false,
    }
}

/// A text that says something.
fn as_text(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn plain(raw: &RawValue) -> Option<String> {
    serde_json::from_str::<Value>(raw.get()).ok().as_ref().and_then(as_text)
}

#[cfg(test)]
mod tests;
