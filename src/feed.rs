//! Importers: a feed's file becomes indicators, in whatever format the feed is written.
//!
//! Feeds are written by many hands, so an importer never fails because of a line: it takes what it can and lists what
//! it could not use, with line and reason. Only a file that as a whole is not what it claims to be is an error.

pub mod allowlist;
mod classify;
mod collect;
mod declared;
mod detect;
mod format;
mod layout;
pub mod load;
mod misp_types;
mod names;
mod range;
mod reading;
mod role;
mod row;
mod row_status;
mod scheme;
mod understood;
pub mod watching;
mod when;

use std::io::{self, Read};

use crate::intel::indicator::Indicator;
use crate::observable::Kind;
use crate::schema::FieldTable;

pub use crate::config::FeedFormat;
pub use collect::Sink;
pub use understood::{ColumnMeaning, Understood};

use collect::Collector;
use format::{adblock, csv, dnsmasq, hosts, json, list, misp, rpz, stix, unbound, zeek};
use reading::input::Input;

/// The configuration of a feed's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedOptions {
    /// The format; `None` detects it from the content and the file's name.
    pub format: Option<FeedFormat>,
    /// The meaning of CSV columns or paths of JSON objects, where the header does not say so itself.
    pub columns: ColumnMapping,
    /// The kind of values that come without a type. `None` detects it from each value; user names need it.
    pub default_kind: Option<Kind>,
    /// Whether every domain of the feed stands for the names below it, too.
    pub subdomains: bool,
    /// How large a file and its parts may be.
    pub limits: Limits,
}

/// How large a file and its parts may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A line of a format that has lines. A longer one is listed as unusable and never held in memory.
    pub line_bytes: usize,
    /// The same for one JSON value a line.
    pub json_line_bytes: usize,
    /// A JSON document or a file in UTF-16, which are held in memory as a whole.
    pub document_bytes: u64,
    /// The most bytes that a compressed file may unpack to.
    pub unpacked_bytes: u64,
    /// Indicators of one file. A megabyte can unpack to a hundred million of the same line.
    pub indicators: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line_bytes: 1 << 20,
            json_line_bytes: 16 << 20,
            document_bytes: 256 << 20,
            unpacked_bytes: 1 << 30,
            indicators: 16 << 20,
        }
    }
}

/// CSV columns by their header's name, compared without case, or by their number from 1; of JSON objects the paths,
/// with dots between the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMapping {
    /// The value itself. When given, no other column is searched for values.
    pub value: Option<String>,
    /// The type of the value (`ipv4-addr`, `domain`, `sha256` …).
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

/// The result of one file.
#[derive(Clone, Debug)]
pub struct Import {
    /// The format it was read as.
    pub format: FeedFormat,
    /// The indicators in file order, duplicates included. None has an empty list of terms.
    pub indicators: Vec<Indicator>,
    /// The places that could not be used. Comments, blank lines and headers are not listed.
    pub unusable: Vec<Unusable>,
    /// How much else could not be used, beyond the 100,000 places that are listed.
    pub unlisted: usize,
    /// Patterns among them that are right but use what is not matched.
    pub unsupported_patterns: usize,
    /// How it was read: layout, delimiter, columns.
    pub understood: Understood,
}

impl Import {
    /// How many places could not be used, listed or not.
    pub fn unusable_lines(&self) -> usize {
        self.unusable.len() + self.unlisted
    }
}

/// A line, or an object of a document, that gave no indicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Line in the file, from 1; of a JSON object the one at which it begins.
    pub line: u32,
    pub reason: String,
    /// The beginning of what stands there, at most [`Unusable::MAX_EXCERPT`] characters.
    pub excerpt: String,
}

impl Unusable {
    /// Longest excerpt, in characters.
    pub const MAX_EXCERPT: usize = 100;
}

/// The reason that a file as a whole cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Packed in a way that is not read, or otherwise not text.
    #[error(
        "{file} is not text ({what}); gzip and zstd are read, unpack anything else first, or take it out of the feed's files"
    )]
    Binary {
        file: String,
        /// The format that it looks like.
        what: &'static str,
    },
    /// Its import panicked.
    #[error("{file} cannot be read because of a bug in Hotlist: the log has the panic, please report it with the file")]
    Panicked { file: String },
    /// It cannot be read to its end: a read failed, or a compressed file is damaged or cut off.
    #[error("{file} cannot be read beyond line {line}: {source}; fetch it again")]
    Unreadable {
        file: String,
        /// The last line that was read, 0 when none was.
        line: u64,
        source: io::Error,
    },
    /// A JSON document that is too large to be held in memory.
    #[error(
        "{file} is larger than {limit} bytes, the most that a JSON document or a file in UTF-16 may have; split it, or write one JSON object a line"
    )]
    TooLarge {
        file: String,
        /// [`Limits::document_bytes`].
        limit: u64,
    },
    /// A compressed file that unpacks to more than is allowed.
    #[error(
        "{file} unpacks to more than is allowed (it went too far behind line {line}); unpack it first, or split it"
    )]
    UnpacksTooLarge {
        file: String,
        /// The last line that was read, 0 when none was.
        line: u64,
    },
    /// More indicators than one file may have.
    #[error("{file} has more than {limit} indicators, the most that one file may have; split it")]
    TooManyIndicators {
        file: String,
        /// [`Limits::indicators`].
        limit: usize,
    },
    /// A JSON document that cannot be parsed.
    #[error(
        "{file} is not valid JSON at line {line}, column {column}: {reason}; fetch it again or set another `format`"
    )]
    Json {
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
        "{file} holds no STIX object; for JSON that is neither STIX nor MISP give `format: json` and say with `columns` what is where"
    )]
    NotStix { file: String },
    /// JSON, but not MISP.
    #[error(
        "{file} holds no MISP event; for JSON that is neither STIX nor MISP give `format: json` and say with `columns` what is where"
    )]
    NotMisp { file: String },
    /// JSON objects, and nobody said where their values are.
    #[error(
        "{file} needs a mapping, since no key of its JSON objects is known to name a value: set `format: json` and `columns.value` to the path of the value"
    )]
    NoMapping { file: String },
    /// A column of the mapping does not exist.
    #[error("{file} has no column `{column}` (configured as `columns.{role}`); its columns are: {header}")]
    NoColumn {
        file: String,
        column: String,
        /// Key of the mapping.
        role: &'static str,
        /// The header as it stands in the file, or how many columns there are.
        header: String,
    },
}

/// Imports a file that is in memory; see [`import_from`].
pub fn import(bytes: &[u8], file_name: &str, options: &FeedOptions, table: &FieldTable) -> Result<Import, FeedError> {
    import_from(bytes, file_name, options, table)
}

/// Imports a file, which may be packed with gzip or zstd.
///
/// `file_name` helps to detect the format and stands in error messages; nothing is opened. `table` says which STIX
/// object paths can be looked up. An empty file gives an empty [`Import`]. In addition to the indicators it needs no more
/// memory than [`FeedOptions::limits`] allow for a line, or for a JSON document; the limits bound the number of
/// indicators, too.
pub fn import_from(
    reader: impl Read,
    file_name: &str,
    options: &FeedOptions,
    table: &FieldTable,
) -> Result<Import, FeedError> {
    read(reader, file_name, options, table, None)
}

/// The same, but the indicators go to `sink` portion by portion, and none is left in the [`Import`]: a file needs no
/// memory for all of its indicators at once. STIX and MISP come in one portion, since what stands later there can change
/// what came before. On an error what was handed over is a part of the file and not to be used.
///
/// # Errors
/// As [`import_from`].
pub fn import_into(
    reader: impl Read,
    file_name: &str,
    options: &FeedOptions,
    table: &FieldTable,
    sink: Sink<'_>,
) -> Result<Import, FeedError> {
    read(reader, file_name, options, table, Some(sink))
}

fn read(
    reader: impl Read,
    file_name: &str,
    options: &FeedOptions,
    table: &FieldTable,
    sink: Option<Sink<'_>>,
) -> Result<Import, FeedError> {
    let mut input = Input::open(reader, file_name, options.limits)?;
    let format = options.format.unwrap_or_else(|| detect::detect(&input.head(), file_name, &options.columns));
    let mut collector = Collector::new(format, options.subdomains).at_most(options.limits.indicators);
    // Documents give indicators by their number, which are handed over at the end.
    let (early, mut late) = match format {
        FeedFormat::Stix | FeedFormat::Misp => (None, sink),
        _ => (sink, None),
    };
    if let Some(sink) = early {
        collector = collector.into(sink);
    }
    let into = &mut collector;
    let line_bytes = options.limits.line_bytes;
    match format {
        FeedFormat::Csv => csv::import(input, options, table, into)?,
        FeedFormat::Json => json::import(input, options, table, into)?,
        FeedFormat::Stix => stix::import(input, table, into)?,
        FeedFormat::Misp => misp::import(input, table, into)?,
        FeedFormat::List => list::import(input.lines(line_bytes), options, into)?,
        FeedFormat::Hosts => hosts::import(input.lines(line_bytes), into)?,
        FeedFormat::Zeek => zeek::import(input.lines(line_bytes), into)?,
        FeedFormat::Rpz => rpz::import(input.lines(line_bytes), into)?,
        FeedFormat::Adblock => adblock::import(input.lines(line_bytes), into)?,
        FeedFormat::Dnsmasq => dnsmasq::import(input.lines(line_bytes), into)?,
        FeedFormat::Unbound => unbound::import(input.lines(line_bytes), into)?,
    }
    if collector.is_overfull() {
        return Err(FeedError::TooManyIndicators { file: file_name.to_owned(), limit: options.limits.indicators });
    }
    let mut import = collector.finish();
    if let Some(sink) = &mut late {
        sink(std::mem::take(&mut import.indicators));
    }
    Ok(import)
}
