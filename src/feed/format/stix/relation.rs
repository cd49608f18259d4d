//! Reads the relationships and sightings of STIX: the names of the threats that an indicator indicates, and the times
//! at which it was seen.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::feed::collect::Collector;
use crate::observable::time;

/// Objects that an indicator may indicate (STIX 2.1, section 4.7 and appendix B).
const INDICATED: [&str; 8] = [
    "malware",
    "tool",
    "campaign",
    "intrusion-set",
    "threat-actor",
    "attack-pattern",
    "infrastructure",
    "vulnerability",
];

/// The most names that are kept of one indicator.
const MAX_NAMES: usize = 8;

/// Objects and relations of a file, until all of them are known.
#[derive(Default)]
pub(super) struct Relations {
    /// By id, the name of what may be indicated.
    names: HashMap<Box<str>, Box<str>>,
    indicates: Vec<(Box<str>, Box<str>)>,
    /// When an indicator was seen.
    sightings: Vec<(Box<str>, Option<Timestamp>, Option<Timestamp>)>,
    /// By id, the numbers of the indicators in the import.
    numbers: HashMap<Box<str>, Vec<usize>>,
}

impl Relations {
    /// Whether an object of this type says something of indicators.
    pub(super) fn wants(kind: &str) -> bool {
        INDICATED.contains(&kind) || matches!(kind, "relationship" | "sighting")
    }

    /// Records an object.
    pub(super) fn add(&mut self, kind: &str, map: &Map<String, Value>) {
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let is_gone = map.get("revoked").and_then(Value::as_bool).unwrap_or(false);
        match kind {
            _ if is_gone => {}
            "relationship" if text("relationship_type") == Some("indicates") => {
                if let (Some(from), Some(to)) = (text("source_ref"), text("target_ref")) {
                    self.indicates.push((from.into(), to.into()));
                }
            }
            "relationship" => {}
            "sighting" => {
                let seen = |key: &str| text(key).and_then(|seen| time::parse(seen.as_bytes()));
                if let Some(of) = text("sighting_of_ref") {
                    self.sightings.push((of.into(), seen("first_seen"), seen("last_seen")));
                }
            }
            _ => {
                if let (Some(id), Some(name)) = (text("id"), text("name")) {
                    self.names.insert(id.into(), name.trim().into());
                }
            }
        }
    }

    /// Records an indicator by its number.
    pub(super) fn indicator(&mut self, id: &str, number: usize) {
        self.numbers.entry(id.into()).or_default().push(number);
    }

    /// Adds what is known of the indicators to them.
    pub(super) fn apply(&self, collector: &mut Collector) {
        let mut names: HashMap<&str, Vec<&str>> = HashMap::new();
        for (from, to) in &self.indicates {
            if let Some(name) = self.names.get(to) {
                let all = names.entry(from).or_default();
                if all.len() < MAX_NAMES && !all.contains(&&**name) {
                    all.push(name);
                }
            }
        }
        for (id, names) in names {
            let text = format!("indicates {}", names.join(", "));
            for number in self.numbers.get(id).into_iter().flatten() {
                collector.describe(*number, &text);
            }
        }
        for (id, first, last) in &self.sightings {
            for number in self.numbers.get(id).into_iter().flatten() {
                collector.seen(*number, *first, *last);
            }
        }
    }
}
