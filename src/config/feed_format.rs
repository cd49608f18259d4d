//! The formats of feeds.

use std::fmt;

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Value, json};

/// The former name of [`FeedFormat::List`].
pub(super) const FORMER_LIST: &str = "text";

/// The type of an importer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = add_former_list)]
pub enum FeedFormat {
    /// One value per line.
    List,
    /// Comma-separated values.
    Csv,
    /// A hosts file.
    Hosts,
    /// STIX 2.0 or 2.1.
    Stix,
    /// MISP events.
    Misp,
    /// Zeek's intelligence framework.
    Zeek,
    /// A DNS response policy zone.
    Rpz,
    /// Filter rules of ad blockers.
    Adblock,
    /// Configuration of dnsmasq.
    Dnsmasq,
    /// Configuration of unbound.
    Unbound,
    /// JSON objects of any shape, with a mapping.
    Json,
}

impl FeedFormat {
    pub const ALL: [FeedFormat; 11] = [
        FeedFormat::List,
        FeedFormat::Csv,
        FeedFormat::Hosts,
        FeedFormat::Stix,
        FeedFormat::Misp,
        FeedFormat::Zeek,
        FeedFormat::Rpz,
        FeedFormat::Adblock,
        FeedFormat::Dnsmasq,
        FeedFormat::Unbound,
        FeedFormat::Json,
    ];

    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            FeedFormat::Csv => "csv",
            FeedFormat::List => "list",
            FeedFormat::Hosts => "hosts",
            FeedFormat::Stix => "stix",
            FeedFormat::Misp => "misp",
            FeedFormat::Zeek => "zeek",
            FeedFormat::Rpz => "rpz",
            FeedFormat::Adblock => "adblock",
            FeedFormat::Dnsmasq => "dnsmasq",
            FeedFormat::Unbound => "unbound",
            FeedFormat::Json => "json",
        }
    }

    /// The inverse of [`FeedFormat::as_str`].
    pub fn parse(word: &str) -> Option<FeedFormat> {
        FeedFormat::ALL.into_iter().find(|format| format.as_str() == word)
    }
}

impl fmt::Display for FeedFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The schema accepts the former name, as the reader does.
fn add_former_list(schema: &mut Schema) {
    if let Some(words) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        words.push(json!({ "const": FORMER_LIST, "deprecated": true, "description": "The former name of `list`." }));
    }
}
