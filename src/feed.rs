//! Importers: a feed's file becomes indicators, in whatever format the feed is written.
//!
//! Feeds are written by many hands, so an importer never fails because of a line: it takes what it can and lists what
//! it could not use, with line and reason. Only a file that as a whole is not what it claims to be is an error.

pub mod allowlist;
pub mod changes;
mod classify;
mod collect;
mod csv;
mod declared;
mod decode;
mod detect;
mod hosts;
mod list;
pub mod load;
mod stix;
pub mod watch;

use std::fmt;

use crate::fields::FieldTable;
use crate::intel::indicator::Indicator;
use crate::observable::Kind;

use collect::Collector;

/// The formats that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Values separated by commas, semicolons, tabs or bars, with or without a header.
    Csv,
    /// One value a line, with comments (block lists, netsets, Maltrail trails).
    List,
    /// `/etc/hosts` syntax: an address, then the names that it stands for; the names are the indicators.
    Hosts,
    /// STIX 2.0 or 2.1: a bundle, an array, a TAXII envelope, or one object a line.
    Stix,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 4] = [Format::Csv, Format::List, Format::Hosts, Format::Stix];

    /// The word used in configuration and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::List => "list",
            Format::Hosts => "hosts",
            Format::Stix => "stix",
        }
    }

    /// The inverse of [`Format::as_str`].
    pub fn parse(word: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.as_str() == word)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the configuration says about a feed's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedOptions {
    /// The format; `None` tells it from the content and the file's name.
    pub format: Option<Format>,
    /// Which CSV column means what, where the header does not say so itself.
    pub columns: ColumnMapping,
    /// The kind of values that come without a type. `None` tells it from each value; user names need it.
    pub default_kind: Option<Kind>,
    /// Whether every domain of the feed stands for the names below it, too.
    pub subdomains: bool,
}

/// CSV columns by their header's name, compared without case, or by their number from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMapping {
    /// The value itself. When given, no other column is searched for values.
    pub value: Option<String>,
    /// What the value is (`ipv4-addr`, `domain`, `sha256` …).
    pub kind: Option<String>,
    /// Start of validity.
    pub valid_from: Option<String>,
    /// End of validity.
    pub valid_until: Option<String>,
    /// Kill chain phases, separated by commas, semicolons or bars.
    pub kill_chain_phases: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// A word or 0 to 100.
    pub confidence: Option<String>,
    /// Traffic Light Protocol marking.
    pub tlp: Option<String>,
    /// A human name.
    pub name: Option<String>,
    /// A URL with more about it.
    pub reference: Option<String>,
    /// The feed's own id of the indicator.
    pub id: Option<String>,
    /// When the feed first saw it.
    pub first_seen: Option<String>,
    /// When the feed last saw it.
    pub last_seen: Option<String>,
}

/// What came out of one file.
#[derive(Clone, Debug)]
pub struct Import {
    /// The format it was read as.
    pub format: Format,
    /// The indicators in file order, duplicates included. None has an empty list of terms.
    pub indicators: Vec<Indicator>,
    /// What could not be used, in file order. Comments, blank lines and headers are not listed.
    pub unusable: Vec<Unusable>,
}

/// A line, or an object of a document, that gave no indicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Line in the file, from 1; 0 when the format has no lines.
    pub line: u32,
    /// Why.
    pub reason: String,
    /// The beginning of what stands there, at most [`Unusable::MAX_EXCERPT`] characters.
    pub excerpt: String,
}

impl Unusable {
    /// Longest excerpt, in characters.
    pub const MAX_EXCERPT: usize = 100;
}

/// Why a file as a whole cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Compressed or otherwise not text.
    #[error("{file} is not text ({what}); unpack it first, or take it out of the feed's files")]
    Binary {
        /// The file.
        file: String,
        /// What it looks like.
        what: &'static str,
    },
    /// A JSON document that cannot be parsed.
    #[error(
        "{file} is no valid JSON at line {line}, column {column}: {reason}; fetch it again or set another `format`"
    )]
    Json {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's words.
        reason: String,
    },
    /// JSON, but not STIX.
    #[error(
        "{file} holds no STIX object; of JSON formats only STIX 2.0 and 2.1 (bundle, array, TAXII envelope, one object a line) are read"
    )]
    NotStix {
        /// The file.
        file: String,
    },
    /// A column of the mapping does not exist.
    #[error("{file} has no column `{column}` (configured as `columns.{role}`); its columns are: {header}")]
    NoColumn {
        /// The file.
        file: String,
        /// The column asked for.
        column: String,
        /// Key of the mapping.
        role: &'static str,
        /// The header as it stands in the file, or how many columns there are.
        header: String,
    },
}

/// Imports a file.
///
/// `file_name` is for telling the format and for error messages; nothing is opened. `table` says which STIX object
/// paths can be looked for. An empty file gives an empty [`Import`].
pub fn import(bytes: &[u8], file_name: &str, options: &FeedOptions, table: &FieldTable) -> Result<Import, FeedError> {
    if let Some(what) = detect::binary(bytes) {
        return Err(FeedError::Binary { file: file_name.to_owned(), what });
    }
    let text = decode::decode(bytes);
    let format = options.format.unwrap_or_else(|| detect::detect(&text, file_name));
    let mut collector = Collector::new(format, options.subdomains);
    match format {
        Format::Csv => csv::import(&text, file_name, options, table, &mut collector)?,
        Format::List => list::import(&text, options, &mut collector),
        Format::Hosts => hosts::import(&text, &mut collector),
        Format::Stix => stix::import(&text, file_name, table, &mut collector)?,
    }
    Ok(collector.finish())
}
