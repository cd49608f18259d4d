//! Reads one MISP warninglist in JSON. An unusable entry does not affect the others.

use std::borrow::Cow;
use std::fmt;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::attribute::Kinds;
use super::exact::NamesBuilder;
use super::expression::{self, Expressions, MAX_EXPRESSIONS};
use super::network::Networks;
use super::substring::{self, MAX_PARTS, Substrings};
use super::{Action, Allowlist, Entries};
use crate::observable::ip::{self, AddressOrNetwork};

/// The largest file that is read, in bytes. A million names have about 25 MB.
pub const MAX_BYTES: usize = 64 << 20;

/// The longest entry, in bytes, as in feeds.
const MAX_ENTRY: usize = 4096;

/// Characters of an entry that are shown when it cannot be used.
const EXCERPT: usize = 80;

/// The reasons why a file is not an allowlist.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is too large.
    #[error("has more than the {MAX_BYTES} bytes that are read; split the list")]
    TooLarge,
    /// It is not JSON of the right shape.
    #[error("is not a warninglist: {0}; give a JSON object as MISP writes it")]
    Json(#[from] serde_json::Error),
    /// It lacks something.
    #[error("is not a warninglist: it has no `{0}`; give a JSON object with `name`, `type` and `list`")]
    Missing(&'static str),
    /// Its type is unknown.
    #[error("has the type `{0}`; known are string, hostname, substring, cidr and regex")]
    Type(String),
    /// None of its attribute types occurs in events.
    #[error(
        "has `matching_attributes` of which none occurs in events ({0}), so it can never apply; add one, or none at all"
    )]
    Attributes(String),
    /// Its parts do not fit an automaton.
    #[error("has substrings that cannot be indexed: {0}; split the list")]
    Substrings(#[from] aho_corasick::BuildError),
}

/// An entry that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its place in `list`, from 0.
    pub index: usize,
    /// Its beginning.
    pub excerpt: String,
    /// The reason.
    pub reason: String,
}

/// The result of one file.
#[derive(Debug)]
pub struct Import {
    /// The list of all entries that can be used, with its own name and the default action.
    pub list: Allowlist,
    /// The version that the file gives.
    pub version: Option<String>,
    /// The entries that cannot be used, in order.
    pub unusable: Vec<Unusable>,
}

/// The keys of the format that matter here (MISP warninglist format, section 2).
#[derive(serde::Deserialize)]
struct Written<'a> {
    name: Option<String>,
    version: Option<serde_json::Value>,
    r#type: Option<String>,
    category: Option<String>,
    matching_attributes: Option<Vec<String>>,
    #[serde(borrow)]
    list: Option<Vec<Entry<'a>>>,
}

/// An entry, or what stands in its place.
enum Entry<'a> {
    Text(Cow<'a, str>),
    Other(&'static str),
}

/// Reads a list. `otherwise` is its name when it has none of its own.
///
/// # Errors
/// Nothing of the file can be used.
pub fn read(bytes: &[u8], otherwise: &str) -> Result<Import, ReadError> {
    if bytes.len() > MAX_BYTES {
        return Err(ReadError::TooLarge);
    }
    let written: Written<'_> = serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))?;
    let kind = written.r#type.ok_or(ReadError::Missing("type"))?;
    let list = written.list.ok_or(ReadError::Missing("list"))?;
    let attributes = written.matching_attributes.unwrap_or_default();
    let kinds = Kinds::of_attributes(&attributes);
    if kinds.is_empty() {
        return Err(ReadError::Attributes(attributes.join(", ")));
    }
    let mut unusable = Vec::new();
    let mut texts = Texts { list: &list, unusable: &mut unusable, used: 0 };
    let entries = match kind.trim().to_ascii_lowercase().as_str() {
        "string" => {
            let mut names = NamesBuilder::default();
            texts.each(|entry| names.add_exact(entry, kinds));
            Entries::Exact(names.build())
        }
        "hostname" => {
            let mut names = NamesBuilder::default();
            texts.each(|entry| names.add_host(entry));
            Entries::Hostnames(names.build())
        }
        "substring" => {
            let mut parts = Vec::new();
            texts.each(|entry| {
                if parts.len() == MAX_PARTS {
                    return Err(format!("is one too many: a list has at most {MAX_PARTS} substrings"));
                }
                parts.push(substring::part(entry));
                Ok(())
            });
            Entries::Substrings(Substrings::new(parts)?)
        }
        "cidr" => {
            let mut networks = Vec::new();
            texts.each(|entry| {
                networks.push(match ip::network(entry) {
                    Some(AddressOrNetwork::Address(address)) => IpNet::from(address),
                    Some(AddressOrNetwork::Network(network)) => network,
                    None => return Err("is neither an address nor a network".to_owned()),
                });
                Ok(())
            });
            Entries::Networks(Networks::new(networks))
        }
        "regex" => {
            let mut expressions = Vec::new();
            texts.each(|entry| {
                if expressions.len() == MAX_EXPRESSIONS {
                    return Err(format!("is one too many: a list has at most {MAX_EXPRESSIONS} expressions"));
                }
                expressions.push((expression::compile(entry)?, Box::from(entry)));
                Ok(())
            });
            Entries::Expressions(Expressions::new(expressions))
        }
        _ => return Err(ReadError::Type(kind)),
    };
    let len = texts.used;
    let name = written.name.filter(|name| !name.trim().is_empty());
    let name = name.as_deref().map_or(otherwise, str::trim);
    let action = Action::default_of(name, written.category.as_deref());
    let version = written.version.map(|version| match version {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    });
    Ok(Import { list: Allowlist { name: name.into(), action, kinds, entries, len }, version, unusable })
}

/// The entries on their way into a list.
struct Texts<'w> {
    list: &'w [Entry<'w>],
    unusable: &'w mut Vec<Unusable>,
    used: usize,
}

impl Texts<'_> {
    /// Hands over every entry, trimmed; notes those that are not taken.
    fn each(&mut self, mut take: impl FnMut(&str) -> Result<(), String>) {
        for (index, entry) in self.list.iter().enumerate() {
            let (text, taken) = match entry {
                Entry::Other(what) => (*what, Err("is not text".to_owned())),
                Entry::Text(text) => match text.trim() {
                    "" => ("", Err("is empty".to_owned())),
                    long if long.len() > MAX_ENTRY => (long, Err(format!("is longer than {MAX_ENTRY} bytes"))),
                    text => (text, take(text)),
                },
            };
            match taken {
                Ok(()) => self.used += 1,
                Err(reason) => {
                    let excerpt = text.chars().take(EXCERPT).collect();
                    self.unusable.push(Unusable { index, excerpt, reason });
                }
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry<'a>, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Entry<'de>, E> {
        Ok(Entry::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Entry<'de>, E> {
        Ok(Entry::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Entry<'de>, E> {
        Ok(Entry::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Entry<'de>, E> {
        Ok(Entry::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Entry<'de>, E> {
        Ok(Entry::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Entry<'de>, E> {
        Ok(Entry::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Entry<'de>, E> {
        Ok(Entry::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Entry<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entry::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Entry<'de>, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Entry::Other("an object"))
    }
}
