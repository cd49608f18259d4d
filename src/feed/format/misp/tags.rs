//! Reads the tags of MISP events and attributes: marking, confidence and kill chain.
//!
//! Tags are machine tags of a taxonomy: `namespace:predicate="value"`, or `namespace:predicate`.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::feed::collect::{MAX_PHASES, strictest};
use crate::intel::indicator::{Confidence, Context, Tlp};

/// The meaning of the tags of one place.
#[derive(Clone, Default)]
pub(super) struct Tags {
    tlp: Option<Tlp>,
    confidence: Confidence,
    phases: Vec<Box<str>>,
}

impl Tags {
    /// Reads a list of tags as it is in the file.
    pub(super) fn read(raw: Option<&RawValue>) -> Tags {
        let list = raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        Tags::from_list(list.as_ref())
    }

    /// Reads a list of tags.
    pub(super) fn from_list(list: Option<&Value>) -> Tags {
        let mut tags = Tags::default();
        for tag in list.and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = tag.get("name").and_then(Value::as_str) {
                tags.take(name);
            }
        }
        tags
    }

    fn take(&mut self, tag: &str) {
        let Some((namespace, rest)) = tag.split_once(':') else { return };
        let (predicate, value) = match rest.split_once('=') {
            Some((predicate, value)) => (predicate.trim(), value.trim().trim_matches('"')),
            None => (rest.trim().trim_matches('"'), rest.trim().trim_matches('"')),
        };
        let namespace = namespace.trim().to_ascii_lowercase();
        match namespace.as_str() {
            "tlp" => self.tlp = strictest(self.tlp.into_iter().chain(Tlp::parse(predicate))),
            "misp" if predicate == "confidence-level" => self.confidence = confidence_level(value),
            "estimative-language" if predicate == "confidence-in-analytic-judgment" => {
                self.confidence = Confidence::parse(value);
            }
            "misp-galaxy" if predicate.contains("kill-chain") => self.phase(value),
            _ if namespace.contains("kill-chain") => self.phase(value),
            _ => {}
        }
    }

    fn phase(&mut self, phase: &str) {
        if self.phases.len() < MAX_PHASES && !phase.is_empty() && !self.phases.iter().any(|known| **known == *phase) {
            self.phases.push(phase.into());
        }
    }

    /// The context of an attribute with these tags in an event with those: the stricter marking, the attribute's own
    /// confidence before the event's, and all phases.
    pub(super) fn within(self, event: &Tags) -> Context {
        let mut all = Tags { phases: event.phases.clone(), ..Tags::default() };
        self.phases.iter().for_each(|phase| all.phase(phase));
        Context {
            tlp: strictest(self.tlp.into_iter().chain(event.tlp)),
            confidence: match self.confidence {
                Confidence::NotSpecified => event.confidence,
                own => own,
            },
            kill_chain_phases: all.phases,
            ..Context::default()
        }
    }
}

/// MISP's own scale (taxonomy `misp`, predicate `confidence-level`), by the numbers that it gives.
fn confidence_level(value: &str) -> Confidence {
    match value {
        "completely-confident" => Confidence::from_stix(100),
        "usually-confident" => Confidence::from_stix(75),
        "fairly-confident" => Confidence::from_stix(50),
        "rarely-confident" => Confidence::from_stix(25),
        "unconfident" => Confidence::from_stix(0),
        _ => Confidence::NotSpecified,
    }
}
