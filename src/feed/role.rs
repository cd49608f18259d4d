//! The meaning of a cell of a row.

use super::ColumnMapping;

/// The meaning of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Role {
    /// The value, by mapping or by the header's word. Where a row has a type, no other column is its value.
    Main,
    /// Searched for values.
    Value,
    /// The hash of a file.
    Hash,
    /// A digest that looks like the hash of a file and is none.
    Digest,
    /// The first address of a range.
    RangeStart,
    /// The last address of a range.
    RangeEnd,
    /// The mask of the address next to it, or its length.
    Prefix,
    /// The kind of the value.
    Kind,
    /// The port of the address or name next to it.
    Port,
    /// Start of validity.
    ValidFrom,
    /// End of validity.
    ValidUntil,
    /// Whether its feed withdrew it.
    Revoked,
    /// Whether it is meant for detection.
    Detect,
    /// The action for events that hit; with `Allow` the value is not an indicator.
    Action,
    /// Its standing in words.
    Status,
    /// Whether it counts.
    Active,
    /// Kill chain phases.
    KillChain,
    /// Free text.
    Description,
    /// The malware or the actor that it belongs to.
    Malware,
    Threat,
    /// Words that somebody put on it.
    Tags,
    /// How sure the feed is.
    Confidence,
    /// Traffic Light Protocol marking.
    Tlp,
    /// A human name, or the value itself where the feed calls it so.
    Name,
    /// A URL with more about it.
    Reference,
    /// The feed's own id.
    Id,
    /// When the feed first saw it.
    FirstSeen,
    /// When the feed last saw it.
    LastSeen,
    Ignored,
}

/// The word for each, in tables and for people.
const WORDS: &[(Role, &str)] = &[
    (Role::Main, "value"),
    (Role::Value, "searched for values"),
    (Role::Hash, "file hash"),
    (Role::Digest, "digest"),
    (Role::RangeStart, "range start"),
    (Role::RangeEnd, "range end"),
    (Role::Prefix, "prefix length"),
    (Role::Kind, "type"),
    (Role::Port, "port"),
    (Role::ValidFrom, "valid from"),
    (Role::ValidUntil, "valid until"),
    (Role::Revoked, "revoked"),
    (Role::Detect, "to ids"),
    (Role::Action, "action"),
    (Role::Status, "status"),
    (Role::Active, "active"),
    (Role::KillChain, "kill chain"),
    (Role::Description, "description"),
    (Role::Malware, "malware"),
    (Role::Threat, "threat"),
    (Role::Tags, "tags"),
    (Role::Confidence, "confidence"),
    (Role::Tlp, "tlp"),
    (Role::Name, "name"),
    (Role::Reference, "reference"),
    (Role::Id, "id"),
    (Role::FirstSeen, "first seen"),
    (Role::LastSeen, "last seen"),
    (Role::Ignored, "not used"),
];

impl Role {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        WORDS.iter().find(|(role, _)| *role == self).map_or("", |(_, word)| word)
    }

    /// The inverse of [`Role::as_str`].
    pub(super) fn parse(word: &str) -> Option<Role> {
        WORDS.iter().find(|(_, known)| *known == word.trim()).map(|(role, _)| *role)
    }

    /// Whether cells of it hold what is looked for.
    pub(super) fn is_value(self) -> bool {
        matches!(self, Role::Main | Role::Value | Role::Hash | Role::RangeStart)
    }
}

impl ColumnMapping {
    /// The columns that the configuration names: its key there, the meaning, and the column or path.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, Role, &str)> {
        [
            ("value", Role::Main, &self.value),
            ("type", Role::Kind, &self.kind),
            ("valid_from", Role::ValidFrom, &self.valid_from),
            ("valid_until", Role::ValidUntil, &self.valid_until),
            ("kill_chain_phases", Role::KillChain, &self.kill_chain_phases),
            ("description", Role::Description, &self.description),
            ("confidence", Role::Confidence, &self.confidence),
            ("tlp", Role::Tlp, &self.tlp),
            ("name", Role::Name, &self.name),
            ("reference", Role::Reference, &self.reference),
            ("id", Role::Id, &self.id),
            ("first_seen", Role::FirstSeen, &self.first_seen),
            ("last_seen", Role::LastSeen, &self.last_seen),
        ]
        .into_iter()
        .filter_map(|(key, role, column)| Some((key, role, column.as_deref()?)))
    }
}
