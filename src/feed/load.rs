//! Files to snapshot: which files a feed has, each imported, screened and indexed.
//!
//! A file that cannot be read or imported costs its own indicators and nothing else; what happened to each file is
//! in the [`Outcome`]s, for logs, `validate` and `inspect`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, FeedFormat, RuleKind};
use crate::fields::{FieldKind, FieldTable};
use crate::intel::guard::{self, Refused};
use crate::intel::snapshot::{Feed, MatchOptions, Origin, Snapshot, SnapshotBuilder, SnapshotError};

use super::{ColumnMapping, FeedError, FeedOptions, Format, Import, import};

/// One file of a feed, and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedFile {
    /// The file.
    pub path: PathBuf,
    /// The feed that it belongs to.
    pub feed: Feed,
    /// How to read it.
    pub options: FeedOptions,
    /// Whether the import guard screens it.
    pub guarded: bool,
}

/// Why there are no files to load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A path does not exist or cannot be listed.
    #[error("cannot read {}: {source}; give a file, a directory or a glob that exists", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be imported.
    #[error(transparent)]
    Feed(#[from] FeedError),
}

/// What came of one file.
#[derive(Debug)]
pub struct Outcome {
    /// The file.
    pub file: FeedFile,
    /// Its indicators, less those that the guard refused; or why there are none.
    pub import: Result<Import, LoadError>,
    /// What the guard refused, with the line.
    pub refused: Vec<(u32, Refused)>,
}

/// The files of `intel.files`, and the entries that no file matches.
pub fn configured(intel: &config::Intel) -> (Vec<FeedFile>, Vec<LoadError>) {
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for entry in intel.files.iter() {
        let mut paths = Vec::new();
        // The pattern was checked when the configuration was read.
        for found in glob::glob(&entry.path).into_iter().flatten() {
            match found {
                Ok(path) if path.is_file() => paths.push(path),
                Ok(_) => {}
                // A directory that cannot be listed may hold a feed: say so, and go on with the rest.
                Err(error) => {
                    missing.push(LoadError::Path { path: error.path().to_owned(), source: error.into() });
                }
            }
        }
        if paths.is_empty() {
            let source = io::Error::new(io::ErrorKind::NotFound, "no file matches");
            missing.push(LoadError::Path { path: PathBuf::from(&entry.path), source });
        }
        files.extend(paths.into_iter().map(|path| FeedFile {
            feed: Feed {
                name: entry.feed.clone().unwrap_or_else(|| stem(&path)),
                origin: match entry.rule {
                    RuleKind::Cti => Origin::Feed,
                    RuleKind::Collection => Origin::Collection,
                },
                enabled: entry.enabled,
                subdomains: entry.subdomains,
                url_prefix: entry.url_prefix,
            },
            options: FeedOptions {
                format: entry.format.map(|format| match format {
                    FeedFormat::Text => Format::List,
                    FeedFormat::Csv => Format::Csv,
                    FeedFormat::Hosts => Format::Hosts,
                    FeedFormat::Stix => Format::Stix,
                }),
                columns: entry.columns.as_ref().map(columns).unwrap_or_default(),
                default_kind: match entry.kind {
                    Some(FieldKind::Of(kind)) => Some(kind),
                    _ => None,
                },
                subdomains: entry.subdomains,
            },
            guarded: !entry.allow_generic,
            path,
        }));
    }
    (files, missing)
}

/// The files at paths of the command line, directories walked in order of their names. Nothing is screened.
pub fn given(paths: &[PathBuf]) -> Result<Vec<FeedFile>, LoadError> {
    let mut files = Vec::new();
    for path in paths {
        walk(path, &mut |path| {
            files.push(FeedFile {
                feed: Feed::named(stem(&path)),
                options: FeedOptions::default(),
                guarded: false,
                path,
            });
        })?;
    }
    Ok(files)
}

/// Every file below a path, in order of their names.
pub fn walk(path: &Path, found: &mut dyn FnMut(PathBuf)) -> Result<(), LoadError> {
    let failed = |source| LoadError::Path { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        found(path.to_owned());
        return Ok(());
    }
    let mut below = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        below.push(entry.map_err(failed)?.path());
    }
    below.sort();
    below.iter().try_for_each(|path| walk(path, found))
}

/// Imports one file.
pub fn load(file: FeedFile, table: &FieldTable) -> Outcome {
    let mut refused = Vec::new();
    let read = std::fs::read(&file.path).map_err(|source| LoadError::Path { path: file.path.clone(), source });
    let import = read.and_then(|bytes| {
        let mut import = import(&bytes, &file.path.to_string_lossy(), &file.options, table)?;
        if file.guarded {
            for indicator in &mut import.indicators {
                let line = indicator.line;
                refused.extend(guard::screen(indicator).into_iter().map(|refused| (line, refused)));
            }
            import.indicators.retain(|indicator| !indicator.terms.is_empty());
        }
        Ok(import)
    });
    Outcome { file, import, refused }
}

/// Indexes what was loaded. The indicators move into the snapshot; the outcomes keep the rest.
pub fn snapshot(
    outcomes: &mut [Outcome],
    table: &Arc<FieldTable>,
    options: MatchOptions,
    seed: u64,
    version: u64,
) -> Result<Snapshot, SnapshotError> {
    let mut builder = SnapshotBuilder::new(table.clone(), options, seed);
    for outcome in outcomes {
        if let Ok(import) = &mut outcome.import {
            builder.add_feed(outcome.file.feed.clone(), std::mem::take(&mut import.indicators))?;
        }
    }
    Ok(builder.build(version))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn columns(columns: &config::Columns) -> ColumnMapping {
    let columns = columns.clone();
    ColumnMapping {
        value: Some(columns.value),
        kind: columns.r#type,
        valid_from: columns.valid_from,
        valid_until: columns.valid_until,
        kill_chain_phases: columns.kill_chain_phases,
        description: columns.description,
        confidence: columns.confidence,
        tlp: columns.tlp,
        name: columns.name,
        reference: columns.reference,
        id: columns.id,
        first_seen: columns.first_seen,
        last_seen: columns.last_seen,
    }
}
