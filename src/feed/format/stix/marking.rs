//! Traffic Light Protocol markings of STIX objects: the fixed ones of the standards and the ones that a bundle defines.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::feed::collect::{Collector, strictest};
use crate::intel::indicator::Tlp;

/// The marking definitions whose ids the standards fix: STIX 2.1 section 7.2.1.4 for TLP 1.0, the OASIS common object
/// repository for TLP 2.0.
const FIXED: [(&str, Tlp); 9] = [
    ("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", Tlp::White),
    ("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", Tlp::Green),
    ("marking-definition--f88d31f6-486f-44da-b317-01333bde0b82", Tlp::Amber),
    ("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", Tlp::Red),
    ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", Tlp::Clear),
    ("marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", Tlp::Green),
    ("marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421", Tlp::Amber),
    ("marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003", Tlp::AmberStrict),
    ("marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1", Tlp::Red),
];

/// The markings that a document defines itself.
#[derive(Default)]
pub(super) struct Markings {
    defined: HashMap<String, Tlp>,
    /// The indicators that refer to markings which are not defined yet.
    waiting: HashMap<String, Vec<usize>>,
}

impl Markings {
    /// Takes up a `marking-definition` object; one that is not a TLP marking is passed over.
    pub(super) fn define(&mut self, object: &Map<String, Value>) {
        let Some(id) = object.get("id").and_then(Value::as_str) else { return };
        let one = object.get("definition").and_then(|definition| definition.get("tlp"));
        let two = object
            .get("extensions")
            .and_then(Value::as_object)
            .and_then(|extensions| extensions.values().find_map(|extension| extension.get("tlp_2_0")));
        // Sharing platforms also write TLP 2.0 as a statement or in the name alone.
        let words = [one, two, object.get("name")];
        if let Some(tlp) = words.into_iter().flatten().filter_map(Value::as_str).find_map(Tlp::parse) {
            self.defined.insert(id.to_owned(), tlp);
        }
    }

    /// Keeps in mind which of an indicator's references are not defined yet.
    pub(super) fn remember<'a>(&mut self, number: usize, references: impl Iterator<Item = &'a str>) {
        for id in references.filter(|id| fixed(id).is_none() && !self.defined.contains_key(*id)) {
            match self.waiting.get_mut(id) {
                Some(waiting) => waiting.push(number),
                None => drop(self.waiting.insert(id.to_owned(), vec![number])),
            }
        }
    }

    /// Marks the indicators whose markings were defined behind them.
    pub(super) fn apply(self, collector: &mut Collector) {
        for (id, numbers) in self.waiting {
            if let Some(tlp) = self.defined.get(&id) {
                numbers.into_iter().for_each(|number| collector.mark(number, *tlp));
            }
        }
    }

    /// The strictest marking among an object's references and labels (`tlp:amber`).
    pub(super) fn strictest_of<'a>(
        &self,
        references: impl Iterator<Item = &'a str>,
        labels: impl Iterator<Item = &'a str>,
    ) -> Option<Tlp> {
        let referred = references.filter_map(|id| fixed(id).or_else(|| self.defined.get(id).copied()));
        let labelled = labels
            .filter(|label| label.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("tlp")))
            .filter_map(Tlp::parse);
        strictest(referred.chain(labelled))
    }
}

fn fixed(id: &str) -> Option<Tlp> {
    FIXED.iter().find(|(known, _)| *known == id).map(|(_, tlp)| *tlp)
}
