//! Fields that describe an event besides its observables: its time, its `event.kind`, whether it is one of OCSF,
//! which addresses are its endpoints, which way its connection went, what was decided about it, and what its asset is.

mod assets;
mod words;

use std::collections::HashMap;

use assets::Assets;
use words::Words;

use super::{FieldId, FieldKind, FieldTable, PathTrie, Role};
use crate::observable::Kind;

pub use assets::{AssetField, AssetPart};
pub use words::Meaning;

/// The fields that are read of an event in which something was found.
#[derive(Clone, Debug)]
pub struct FactTable {
    trie: PathTrie,
    fields: Vec<FactField>,
    words: &'static Words,
}

/// The meaning of a field of a [`FactTable`]. One field may have several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FactField {
    /// The time of the event may be here. The lower the number of the field, the more it counts.
    pub is_time: bool,
    /// It is `event.kind`.
    pub is_event_kind: bool,
    /// It is `class_uid`, which is a number in every event of OCSF (OCSF `events/base_event.json`).
    pub is_class: bool,
    /// It is `metadata.version`, the version of OCSF that an event of OCSF is written by.
    pub is_class_version: bool,
    /// It holds the address of an endpoint, of this side.
    pub endpoint: Option<Side>,
    /// What it says of the asset.
    pub asset: Option<AssetField>,
    /// The path whose words it has.
    path: Option<usize>,
    /// Whether it has the words that every such field has.
    has_common_words: bool,
}

impl FactField {
    /// Whether words of it mean something.
    pub fn has_words(&self) -> bool {
        self.path.is_some() || self.has_common_words
    }
}

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The initiator.
    Initiator,
    /// For whom it was meant.
    Responder,
}

impl FactTable {
    /// The fields of a table, and those that every event may have. The time at `@timestamp` counts before that of any other
    /// schema, and these in the order of the table.
    pub fn new(table: &FieldTable) -> FactTable {
        let (words, assets) = (Words::shipped(), Assets::shipped());
        let mut made = Numbered::default();
        made.at("@timestamp").is_time = true;
        for (_, field) in table.iter().filter(|(_, field)| field.ecs.as_deref() == Some("@timestamp")) {
            made.at(&field.name).is_time = true;
        }
        made.at("event.kind").is_event_kind = true;
        made.at("class_uid").is_class = true;
        made.at("metadata.version").is_class_version = true;
        made.at("event.action").has_common_words = true;
        for (number, path) in words.paths().enumerate() {
            made.at(path).path = Some(number);
        }
        for (path, asset) in assets.fields() {
            made.at(path).asset = Some(asset);
        }
        for (id, field) in table.iter() {
            if let Some(asset) = assets.of_field(field, usize::from(id.0)) {
                let known = made.at(&field.name);
                known.asset = known.asset.or(Some(asset));
            }
            let is_decision = matches!(field.role, Role::Verdict | Role::Direction);
            if is_decision {
                made.at(&field.name).has_common_words = true;
            }
            if let Some(number) = words.number(field.meaning()) {
                let known = made.at(&field.name);
                known.path = known.path.or(Some(number));
            }
            if let Some(side) = side_of(field.role)
                && matches!(field.kind, FieldKind::Of(Kind::Ip) | FieldKind::Auto)
            {
                made.at(&field.name).endpoint = Some(side);
            }
        }
        let paths = made.numbers.iter().map(|(path, number)| (path.as_str(), Some(FieldId(*number))));
        let trie = PathTrie::with_lists(paths, table.lists());
        FactTable { trie, fields: made.fields, words }
    }

    /// The fields, as walkers follow them.
    pub fn trie(&self) -> &PathTrie {
        &self.trie
    }

    /// The meaning of a field of [`FactTable::trie`].
    pub fn field(&self, id: FieldId) -> Option<&FactField> {
        self.fields.get(usize::from(id.0))
    }

    /// The meaning of a word at a field.
    pub fn meaning(&self, field: &FactField, word: &[u8]) -> Option<Meaning> {
        self.words.meaning(field.path, field.has_common_words, word)
    }
}

fn side_of(role: Role) -> Option<Side> {
    match role {
        Role::Initiator => Some(Side::Initiator),
        Role::Responder => Some(Side::Responder),
        Role::None | Role::Forwarded | Role::Asset | Role::Verdict | Role::Direction => None,
    }
}

/// Fields by the order in which they are added.
#[derive(Default)]
struct Numbered {
    numbers: HashMap<String, u16>,
    fields: Vec<FactField>,
}

impl Numbered {
    fn at(&mut self, path: &str) -> &mut FactField {
        let number = match self.numbers.get(path) {
            Some(number) => *number,
            None => {
                let number = u16::try_from(self.fields.len()).unwrap_or(u16::MAX);
                self.numbers.insert(path.to_owned(), number);
                self.fields.push(FactField::default());
                number
            }
        };
        &mut self.fields[usize::from(number)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_says_what_its_row_and_its_words_say() {
        let table = FactTable::new(&FieldTable::shipped().unwrap());
        let at = |path: &str| {
            let node = table.trie().step(PathTrie::ROOT, path.as_bytes());
            node.and_then(|node| table.trie().field(node)).and_then(|id| table.field(id)).copied()
        };
        let means = |path: &str, word: &str| at(path).and_then(|field| table.meaning(&field, word.as_bytes()));
        assert!(at("@timestamp").unwrap().is_time && at("ts").unwrap().is_time);
        assert!(at("event.kind").unwrap().is_event_kind && !at("event.kind").unwrap().has_words());
        assert!(at("class_uid").unwrap().is_class);
        assert_eq!(means("class_uid", "1007"), Some(Meaning::Process));
        assert_eq!(means("event.action", "Blocked"), Some(Meaning::Denied));
        assert_eq!(means("status", "200"), Some(Meaning::Allowed), "of nginx and Apache");
        assert_eq!(means("flow.action", "drop"), Some(Meaning::Denied), "of Suricata");
        assert_eq!(at("id.orig_h").unwrap().endpoint, Some(Side::Initiator));
        assert_eq!(at("destination.ip").unwrap().endpoint, Some(Side::Responder));
        assert_eq!(at("message"), None);
        let part = |path: &str| at(path).and_then(|field| field.asset).map(|asset| asset.part);
        assert_eq!(part("host.name"), Some(AssetPart::HostName));
        assert_eq!(part("Event.System.Computer"), Some(AssetPart::HostName), "by its role");
        assert_eq!(part("host.ip"), Some(AssetPart::HostAddress), "by its role");
        assert_eq!(part("caller"), Some(AssetPart::User), "by what it means");
        assert_eq!(part("dvc"), Some(AssetPart::Observer));
        assert_eq!(part("id.orig_h"), None);
    }

    #[test]
    fn every_field_that_decides_has_words() {
        let fields = FieldTable::shipped().unwrap();
        let table = FactTable::new(&fields);
        for (_, field) in fields.iter().filter(|(_, field)| matches!(field.role, Role::Verdict | Role::Direction)) {
            let node = table.trie().step(PathTrie::ROOT, field.name.as_bytes()).unwrap();
            assert!(table.field(table.trie().field(node).unwrap()).unwrap().has_words(), "{}", field.name);
        }
    }
}
