//! `match.text`: which texts of an event are scanned.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::reader::Item;

/// The texts that are scanned for addresses, names, URLs, hashes and e-mail addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TextScan {
    #[default]
    Off,
    Fields(Vec<String>),
    /// Every string, and a line or body that is not a document.
    All,
}

impl TextScan {
    /// The fields that are named.
    pub fn fields(&self) -> &[String] {
        match self {
            TextScan::Fields(fields) => fields,
            TextScan::Off | TextScan::All => &[],
        }
    }

    pub(super) fn read(item: &Item<'_>) -> Option<TextScan> {
        if !item.is_list() {
            let is_all = item.word(&[("off", false), ("all", true)])?;
            return Some(if is_all { TextScan::All } else { TextScan::Off });
        }
        let items = item.list("a list of fields, e.g. `[message]`")?;
        Some(TextScan::Fields(items.iter().filter_map(Item::dotted_path).collect()))
    }
}

impl Serialize for TextScan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            TextScan::Off => serializer.serialize_str("off"),
            TextScan::All => serializer.serialize_str("all"),
            TextScan::Fields(fields) => serializer.collect_seq(fields),
        }
    }
}

impl JsonSchema for TextScan {
    fn schema_name() -> Cow<'static, str> {
        "TextScan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The texts that are scanned for addresses, names, URLs, hashes and e-mail addresses.",
            "oneOf": [
                { "type": "string", "const": "off", "description": "None." },
                { "type": "string", "const": "all", "description": "Every string of an event." },
                { "type": "array", "items": { "type": "string" }, "description": "The texts of these fields." }
            ]
        })
    }
}
