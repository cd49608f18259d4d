//! STIX 2.0 and 2.1 (OASIS): bundles, TAXII envelopes, arrays of either, or one object a line.
//!
//! Objects are read one by one, in file order. What can only be known later is completed then: a marking that is defined
//! behind its use, and a later version of an indicator.

mod marking;
mod relation;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::encoding::json::reason_without_place;
use crate::feed::FeedError;
use crate::feed::collect::{Collector, Facts};
use crate::feed::reading::document::{self, MAX_DEPTH, Piece};
use crate::feed::reading::input::Input;
use crate::feed::when;
use crate::intel::indicator::{Confidence, Context};
use crate::intel::pattern::{self, Compiled, PatternError};
use crate::observable::time;
use crate::schema::FieldTable;
use marking::Markings;
use relation::Relations;

/// The common properties of STIX objects, and the content of a bundle or an envelope.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(borrow, default)]
    objects: Option<&'a RawValue>,
}

/// The most object types that are counted.
const MAX_TYPES: usize = 32;

/// Imports STIX objects.
pub(in crate::feed) fn import(
    input: Input<'_>,
    table: &FieldTable,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    let file = input.file();
    let mut stix = Stix {
        table,
        seen: false,
        any: false,
        indicators: 0,
        others: BTreeMap::new(),
        markings: Markings::default(),
        relations: Relations::default(),
        latest: HashMap::new(),
    };
    document::each(input, collector, |piece, collector| {
        stix.any = true;
        stix.flatten(piece, 0, collector);
    })?;
    stix.markings.apply(collector);
    stix.relations.apply(collector);
    if stix.seen && stix.indicators == 0 {
        let others: Vec<String> = stix.others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let others = if others.is_empty() { "no objects".to_owned() } else { others.join(", ") };
        collector.unusable(
            1,
            "a STIX document without an object of type `indicator`: only those have patterns",
            &others,
        );
    }
    match stix.seen || !stix.any {
        true => Ok(()),
        false => Err(FeedError::NotStix { file: file.to_owned() }),
    }
}

/// The state while the objects pass by.
struct Stix<'t> {
    table: &'t FieldTable,
    /// Whether anything was STIX, and whether there was anything.
    seen: bool,
    any: bool,
    /// How many objects are indicators, and how many have other types.
    indicators: usize,
    others: BTreeMap<String, usize>,
    markings: Markings,
    relations: Relations,
    /// By id, the version of each indicator that was modified last.
    latest: HashMap<Box<str>, Version>,
}

/// A version of an indicator.
struct Version {
    modified: Option<Timestamp>,
    /// Its numbers in the import: a file may have the same version several times.
    numbers: SmallVec<[usize; 1]>,
}

impl Stix<'_> {
    /// Cuts bundles, envelopes and arrays into objects, and takes the ones that are of use here.
    fn flatten(&mut self, piece: Piece<'_>, depth: usize, collector: &mut Collector) {
        if depth == MAX_DEPTH {
            return collector.unusable(piece.line, "nested too deep for a STIX document", piece.json);
        }
        if let Some(elements) = piece.elements() {
            return elements.for_each(|inner| self.flatten(inner, depth + 1, collector));
        }
        let head = match serde_json::from_str::<Head<'_>>(piece.json) {
            Ok(head) => head,
            Err(error) => {
                return collector.unusable(
                    piece.line,
                    format!("no STIX object: {}", reason_without_place(&error)),
                    piece.json,
                );
            }
        };
        // `observed-data` of STIX 2.0 has a map of objects, not a list.
        let is_holder = head.kind.as_deref().is_none_or(|kind| kind == "bundle");
        if let Some(objects) = head.objects.filter(|objects| is_holder || objects.get().starts_with('[')) {
            self.seen = true;
            return match piece.part(objects).elements() {
                Some(elements) => elements.for_each(|inner| self.flatten(inner, depth + 1, collector)),
                None => collector.unusable(piece.line, "`objects` is not a list", objects.get()),
            };
        }
        // Every STIX object has an id that begins with its type (STIX 2.1 section 2.9).
        let Some(kind) = head.kind else { return };
        if kind == "indicator" {
            self.indicators += 1;
        } else if kind != "bundle" && (self.others.len() < MAX_TYPES || self.others.contains_key(&kind)) {
            *self.others.entry(kind.clone()).or_default() += 1;
        }
        self.seen |= kind == "bundle" || piece.json.contains(&format!("\"{kind}--"));
        if !matches!(kind.as_str(), "indicator" | "marking-definition") && !Relations::wants(&kind) {
            return;
        }
        match serde_json::from_str::<Map<String, Value>>(piece.json) {
            Err(error) => {
                collector.unusable(piece.line, format!("no STIX object: {}", reason_without_place(&error)), piece.json)
            }
            Ok(map) if kind == "marking-definition" => self.markings.define(&map),
            Ok(map) if kind != "indicator" => self.relations.add(&kind, &map),
            Ok(map) => self.indicator(&map, piece.line, collector),
        }
    }

    fn indicator(&mut self, map: &Map<String, Value>, line: u32, collector: &mut Collector) {
        // Of several versions of an object the one modified last counts (STIX 2.1 section 3.6).
        const LATER: &str = "the same file has a later version of this indicator";
        let id = text(map, "id");
        if let Some(id) = id {
            let modified = text(map, "modified").and_then(|modified| time::parse(modified.as_bytes()));
            let latest = self.latest.entry(id.into()).or_insert_with(|| Version { modified, numbers: SmallVec::new() });
            if modified < latest.modified {
                return collector.unusable(line, LATER, id);
            }
            if modified > latest.modified {
                latest.modified = modified;
                for number in latest.numbers.drain(..) {
                    let line = collector.withdraw(number);
                    collector.unusable(line, LATER, id);
                }
            }
        }
        match indicator(map, line, &self.markings, self.table) {
            Ok((compiled, facts)) => {
                let number = collector.next_number();
                collector.pattern(compiled, facts, text(map, "pattern").unwrap_or_default());
                if collector.next_number() > number {
                    self.markings.remember(number, strings(map, "object_marking_refs"));
                    if let Some(id) = id {
                        self.relations.indicator(id, number);
                        if let Some(latest) = self.latest.get_mut(id) {
                            latest.numbers.push(number);
                        }
                    }
                }
            }
            Err(Unfit { reason, unsupported }) => {
                let found = text(map, "pattern").or(id).unwrap_or_default();
                collector.unusable(line, reason, found);
                if unsupported {
                    collector.unsupported_pattern();
                }
            }
        }
    }
}

/// The reason that an object gives no indicator.
struct Unfit {
    reason: String,
    /// The pattern is right, and uses something that is not matched.
    unsupported: bool,
}

impl From<String> for Unfit {
    fn from(reason: String) -> Unfit {
        Unfit { reason, unsupported: false }
    }
}

fn indicator(
    map: &Map<String, Value>,
    line: u32,
    markings: &Markings,
    table: &FieldTable,
) -> Result<(Compiled, Facts), Unfit> {
    let pattern = text(map, "pattern").ok_or_else(|| "an indicator without `pattern`".to_owned())?;
    let language = text(map, "pattern_type").unwrap_or("stix");
    if !language.eq_ignore_ascii_case("stix") {
        let reason = format!("`pattern_type` is `{language}`; only `stix` can be looked for");
        return Err(Unfit { reason, unsupported: true });
    }
    if strings(map, "indicator_types").chain(strings(map, "labels")).any(|word| word.eq_ignore_ascii_case("benign")) {
        return Err("the feed itself calls it benign".to_owned().into());
    }
    let compiled = pattern::compile(pattern, table).map_err(|error| Unfit {
        unsupported: matches!(error, PatternError::Unsupported { .. }),
        reason: error.to_string(),
    })?;
    let context = Context {
        name: text(map, "name").filter(|name| !pattern.contains(name)).map(Into::into),
        description: text(map, "description").map(Into::into),
        kill_chain_phases: items(map, "kill_chain_phases")
            .filter_map(|phase| phase.get("phase_name")?.as_str())
            .map(Into::into)
            .collect(),
        confidence: map.get("confidence").and_then(Value::as_i64).map(Confidence::from_stix).unwrap_or_default(),
        tlp: markings.strictest_of(strings(map, "object_marking_refs"), strings(map, "labels")),
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
        Some(Value::String(text)) => when::bound(text, None).map_err(|reason| format!("`{key}` `{text}` {reason}")),
        Some(value) => Err(format!("`{key}` is not a time: {value}")),
    }
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
