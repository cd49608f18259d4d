//! An indicator as an importer hands it over: what to look for, and what the feed says about it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::pattern::program::Program;
pub use super::term::{Comparison, NameScope, Target, Term, TermValue};
use crate::observable::Kind;

/// One indicator of one feed. It is found when any of its terms is, or, with a program, when an event fulfils that.
#[derive(Clone, Debug, PartialEq)]
pub struct Indicator {
    /// The feed's own id (a STIX id, a UUID). `None`: derived from feed, kind and value when a hit needs it.
    pub id: Option<Box<str>>,
    /// Alternatives: values of an `OR` or `IN`, the hashes of one file. Never empty. With a program its atoms.
    pub terms: Vec<Term>,
    /// The terms that must be found together in one event, by their numbers. `None`: any term will do.
    pub program: Option<Box<Program>>,
    /// The feed's context, shared between indicators with the same one.
    pub context: Arc<Context>,
    /// Start of validity; `None` is open.
    pub valid_from: Option<Timestamp>,
    /// End of validity, exclusive; `None` is open.
    pub valid_until: Option<Timestamp>,
    /// The feed withdrew it: it never matches.
    pub revoked: bool,
    /// A port the feed gave with an address or domain (`203.0.113.5:443`); context, not part of the value.
    pub port: Option<u16>,
    /// Where it stands in the feed's file, from 1: its line, of a JSON object the one at which it begins. 0: in no file.
    pub line: u32,
}

impl Indicator {
    /// An indicator of one value, looked for at every field that may hold it, of which nothing else is known.
    pub fn from_value(value: TermValue) -> Indicator {
        Indicator {
            id: None,
            terms: vec![Term { value, target: Target::Kind }],
            program: None,
            context: Arc::default(),
            valid_from: None,
            valid_until: None,
            revoked: false,
            port: None,
            line: 0,
        }
    }

    /// Whether a term, by its number, is only asked for once another one is found: it must never count alone.
    pub fn is_part(&self, term: usize) -> bool {
        let atom = u8::try_from(term).ok();
        self.program.as_deref().is_some_and(|program| atom.is_none_or(|atom| !program.keys().contains(atom)))
    }

    /// The terms that it is looked for by: all but parts.
    pub fn keys(&self) -> impl Iterator<Item = &Term> {
        self.terms.iter().enumerate().filter(|(number, _)| !self.is_part(*number)).map(|(_, term)| term)
    }

    /// Keeps only some terms. One with a program is left without terms when any of them goes, because nothing may be found
    /// on a part of what its author meant.
    pub fn retain(&mut self, keep: impl FnMut(&Term) -> bool) {
        let before = self.terms.len();
        self.terms.retain(keep);
        if self.program.is_some() && self.terms.len() < before {
            self.terms.clear();
            self.program = None;
        }
    }
}

/// How indicators of a feed came in, which decides at which fields they are looked for (column of the field table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// An external source enabled by a CTI rule.
    #[default]
    Feed,
    /// A named list that a SOC imported.
    Collection,
}

impl Origin {
    /// The word in files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Feed => "feed",
            Origin::Collection => "collection",
        }
    }
}

/// A feed or collection in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Its name, as shown in hits.
    pub name: String,
    /// The column of the field table that applies.
    pub origin: Origin,
    /// Whether an enabled rule names it. Without one nothing of it matches.
    pub enabled: bool,
    /// Whether every domain of it stands for its subdomains too.
    pub subdomains: bool,
    /// Whether every URL of it stands for longer paths too.
    pub url_prefix: bool,
}

impl Feed {
    /// An enabled feed under a CTI rule, exact matches only.
    pub fn named(name: impl Into<String>) -> Feed {
        Feed { name: name.into(), origin: Origin::Feed, enabled: true, subdomains: false, url_prefix: false }
    }
}

/// An indicator as it is stored: what policy and output need of it. Its values are the keys that lead to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Number of its feed.
    pub feed: u32,
    /// Its id; `None` is derived from feed, kind and value.
    pub id: Option<Box<str>>,
    /// The feed's context of it.
    pub context: Arc<Context>,
    /// Start of validity.
    pub valid_from: Option<Timestamp>,
    /// End of validity, exclusive.
    pub valid_until: Option<Timestamp>,
    /// Withdrawn by its feed.
    pub revoked: bool,
    /// The port that the feed gave with it.
    pub port: Option<u16>,
}

/// The right-hand side of a comparison other than `=`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RangeValue {
    /// A number.
    Number(f64),
    /// An instant.
    Time(Timestamp),
}

/// The context that a feed gives to indicators, in addition to their values. Shared: it is the same for most lines of a
/// feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    /// A human name, when the feed gives one other than the value.
    pub name: Option<Box<str>>,
    /// Free text.
    pub description: Option<Box<str>>,
    /// Kill chain phase names, as the feed wrote them.
    pub kill_chain_phases: Vec<Box<str>>,
    /// How sure the feed is.
    pub confidence: Confidence,
    /// Traffic Light Protocol marking.
    pub tlp: Option<Tlp>,
    /// A URL with more about it.
    pub reference: Option<Box<str>>,
    /// When the feed first saw it.
    pub first_seen: Option<Timestamp>,
    /// When the feed last saw it.
    pub last_seen: Option<Timestamp>,
}

impl Context {
    /// Whether a kill chain phase is command and control (C2 rule, `docs/glossary.md`).
    pub fn is_command_and_control(&self) -> bool {
        self.kill_chain_phases.iter().any(|phase| folded_phase(phase) == COMMAND_AND_CONTROL)
    }
}

const COMMAND_AND_CONTROL: &str = "command and control";

/// The form in which names of kill chain phases are compared: lower case, with blanks for `-` and `_`, and one name for
/// command and control.
pub fn folded_phase(phase: &str) -> String {
    let folded: String = phase.to_lowercase().chars().map(|c| if c == '-' || c == '_' { ' ' } else { c }).collect();
    match folded.trim() {
        "c2" | "c&c" | "command & control" => COMMAND_AND_CONTROL.to_owned(),
        other => other.to_owned(),
    }
}

/// `threat.indicator.confidence`, the values that ECS expects (None/Low/Medium/High of STIX 2.1 appendix A).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// The feed says nothing.
    #[default]
    NotSpecified,
    /// STIX 0.
    None,
    /// STIX 1 to 29.
    Low,
    /// STIX 30 to 69.
    Medium,
    /// STIX 70 to 100.
    High,
}

impl Confidence {
    /// The word of ECS.
    pub fn as_str(self) -> &'static str {
        match self {
            Confidence::NotSpecified => "Not Specified",
            Confidence::None => "None",
            Confidence::Low => "Low",
            Confidence::Medium => "Medium",
            Confidence::High => "High",
        }
    }

    /// From STIX's 0 to 100 (STIX 2.1, appendix A, None/Low/Med/High scale).
    pub fn from_stix(value: i64) -> Confidence {
        match value {
            0 => Confidence::None,
            1..=29 => Confidence::Low,
            30..=69 => Confidence::Medium,
            70..=100 => Confidence::High,
            _ => Confidence::NotSpecified,
        }
    }

    /// From a word or a number as feeds write them; what is not understood is [`Confidence::NotSpecified`].
    pub fn parse(text: &str) -> Confidence {
        let text = text.trim();
        if let Ok(number) = text.trim_end_matches('%').parse::<i64>() {
            return Confidence::from_stix(number);
        }
        match text.to_ascii_lowercase().as_str() {
            "none" => Confidence::None,
            "low" => Confidence::Low,
            "medium" | "med" | "moderate" => Confidence::Medium,
            "high" => Confidence::High,
            _ => Confidence::NotSpecified,
        }
    }
}

/// Traffic Light Protocol markings, versions 1 and 2 (ECS `threat.indicator.marking.tlp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tlp {
    /// TLP 1.0 WHITE.
    White,
    /// TLP 2.0 CLEAR.
    Clear,
    /// GREEN.
    Green,
    /// AMBER.
    Amber,
    /// TLP 2.0 AMBER+STRICT.
    AmberStrict,
    /// RED.
    Red,
}

impl Tlp {
    /// The upper-case word of ECS.
    pub fn as_str(self) -> &'static str {
        match self {
            Tlp::White => "WHITE",
            Tlp::Clear => "CLEAR",
            Tlp::Green => "GREEN",
            Tlp::Amber => "AMBER",
            Tlp::AmberStrict => "AMBER+STRICT",
            Tlp::Red => "RED",
        }
    }

    /// Reads `TLP:AMBER`, `amber`, `tlp-clear` and the like.
    pub fn parse(text: &str) -> Option<Tlp> {
        let upper = text.trim().to_ascii_uppercase();
        let word = upper.strip_prefix("TLP").unwrap_or(&upper).trim_start_matches([':', '-', '_', ' ']);
        match word {
            "WHITE" => Some(Tlp::White),
            "CLEAR" => Some(Tlp::Clear),
            "GREEN" => Some(Tlp::Green),
            "AMBER" => Some(Tlp::Amber),
            "AMBER+STRICT" | "AMBER STRICT" | "AMBER-STRICT" => Some(Tlp::AmberStrict),
            "RED" => Some(Tlp::Red),
            _ => None,
        }
    }
}

/// The id of an indicator that its feed gave none: the same for the same value of the same feed, always. A UUID of
/// version 8 (RFC 9562, section 5.8) over SHA-256, in the shape of a STIX id.
pub fn derived_id(feed: &str, kind: Kind, value: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    for part in [feed, kind.as_str(), value] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = u128::from_be_bytes(bytes);
    let group = |shift: u32, digits: u32| (hex >> shift) & ((1u128 << (digits * 4)) - 1);
    format!(
        "indicator--{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        group(96, 8),
        group(80, 4),
        group(64, 4),
        group(48, 4),
        group(0, 12)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_command_and_control_counts_and_nothing_else() {
        let with = |phase: &str| Context { kill_chain_phases: vec![phase.into()], ..Context::default() };
        for phase in ["command-and-control", "command_and_control", "Command and Control", "c2", "C2", "C&C"] {
            assert!(with(phase).is_command_and_control(), "{phase}");
        }
        for phase in ["delivery", "commander", "actions-on-objectives", ""] {
            assert!(!with(phase).is_command_and_control(), "{phase}");
        }
    }

    #[test]
    fn confidence_and_tlp_read_what_feeds_write() {
        assert_eq!(Confidence::parse("85"), Confidence::High);
        assert_eq!(Confidence::parse("Med"), Confidence::Medium);
        assert_eq!(Confidence::parse("?"), Confidence::NotSpecified);
        assert_eq!(Tlp::parse("TLP:AMBER+STRICT"), Some(Tlp::AmberStrict));
        assert_eq!(Tlp::parse("tlp-clear"), Some(Tlp::Clear));
        assert_eq!(Tlp::parse("purple"), None);
    }
}
