//! Finds the files of a feed: by a path, a glob, a directory, or the manifest of a MISP feed.
//!
//! A MISP feed is a directory with a `manifest.json` that names its events, each in a file of its own. Only these are
//! read: next to them is `hashes.csv`, which holds digests of the values and no indicators.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::config::{self, FeedFormat};
use crate::intel::snapshot::Feed;
use crate::schema::FieldKind;

use crate::feed::detect::without_packing;
use crate::feed::load::{FeedFile, LoadError};
use crate::feed::reading::input::Input;
use crate::feed::{ColumnMapping, FeedOptions, Limits};

/// The name of a MISP feed's manifest.
const MANIFEST: &str = "manifest.json";

/// The files of `intel.files`, and the entries that no file matches.
pub fn configured(intel: &config::Intel) -> (Vec<FeedFile>, Vec<LoadError>) {
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for entry in intel.files.iter() {
        let mut found = Found::default();
        // The pattern was checked when the configuration was read.
        for path in glob::glob(&entry.path).into_iter().flatten() {
            match path {
                Ok(path) if path.is_dir() && path.join(MANIFEST).is_file() => found.add(path.join(MANIFEST)),
                Ok(path) if path.is_file() => found.add(path),
                Ok(path) if path.is_dir() => {}
                // Reading a pipe may block, and what was read from it cannot be read again.
                Ok(path) => {
                    let source =
                        io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, a socket or a device: give a file");
                    missing.push(LoadError::Path { path, source });
                }
                // A directory that cannot be listed may hold a feed: report it, and continue with the other paths.
                Err(error) => {
                    missing.push(LoadError::Path { path: error.path().to_owned(), source: error.into() });
                }
            }
        }
        if found.files.is_empty() {
            let source = io::Error::new(io::ErrorKind::NotFound, "no file matches");
            missing.push(LoadError::Path { path: PathBuf::from(&entry.path), source });
        }
        files.extend(found.files.into_iter().map(|(path, name, format)| FeedFile {
            feed: Feed {
                name: entry.feed.clone().unwrap_or(name),
                origin: entry.rule,
                enabled: entry.enabled,
                subdomains: entry.subdomains,
                url_prefix: entry.url_prefix,
            },
            options: FeedOptions {
                format: entry.format.or(format),
                columns: entry.columns.as_ref().map(columns).unwrap_or_default(),
                default_kind: match entry.kind {
                    Some(FieldKind::Of(kind)) => Some(kind),
                    _ => None,
                },
                subdomains: entry.subdomains,
                limits: Limits::default(),
            },
            guarded: !entry.allow_generic,
            path,
        }));
    }
    (files, missing)
}

/// The files at paths of the command line, directories walked in order of their names. Nothing is screened.
pub fn given(paths: &[PathBuf]) -> Result<Vec<FeedFile>, LoadError> {
    let mut found = Found::default();
    for path in paths {
        feeds(path, &mut found)?;
    }
    let file = |(path, name, format)| FeedFile {
        feed: Feed::named(name),
        options: FeedOptions { format, ..FeedOptions::default() },
        guarded: false,
        path,
    };
    Ok(found.files.into_iter().map(file).collect())
}

/// Every file below a path, in order of their names.
pub fn walk(path: &Path, found: &mut dyn FnMut(PathBuf)) -> Result<(), LoadError> {
    match below(path)? {
        None => found(path.to_owned()),
        Some(paths) => paths.iter().try_for_each(|path| walk(path, found))?,
    }
    Ok(())
}

/// Every file of a feed below a path. Of a MISP feed these are its events only.
fn feeds(path: &Path, found: &mut Found) -> Result<(), LoadError> {
    let Some(paths) = below(path)? else {
        found.add(path.to_owned());
        return Ok(());
    };
    let manifest = path.join(MANIFEST);
    if manifest.is_file() && events(&manifest).is_some() {
        found.add(manifest);
        return Ok(());
    }
    paths.iter().try_for_each(|path| feeds(path, found))
}

/// The entries of a directory, in order of the names; `None` for a file.
fn below(path: &Path) -> Result<Option<Vec<PathBuf>>, LoadError> {
    let failed = |source| LoadError::Path { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(None);
    }
    let mut below = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        below.push(entry.map_err(failed)?.path());
    }
    below.sort();
    Ok(Some(below))
}

/// Files with the names of their feeds, and their format where the manifest says it. No file twice.
#[derive(Default)]
struct Found {
    files: Vec<(PathBuf, String, Option<FeedFormat>)>,
    known: HashSet<PathBuf>,
}

impl Found {
    /// Adds a file, or the events that it names.
    fn add(&mut self, path: PathBuf) {
        let events = if path.file_name().is_some_and(|name| name == MANIFEST) { events(&path) } else { None };
        match events {
            None => {
                let name = stem(&path);
                self.push(path, name, None);
            }
            Some(events) => {
                let directory = path.parent().unwrap_or(Path::new("")).to_owned();
                let name =
                    directory.file_name().map_or_else(|| stem(&path), |name| name.to_string_lossy().into_owned());
                // A feed without events is there, and empty.
                if events.is_empty() {
                    self.push(path, name.clone(), Some(FeedFormat::Misp));
                }
                for event in events {
                    self.push(directory.join(event), name.clone(), Some(FeedFormat::Misp));
                }
            }
        }
    }

    fn push(&mut self, path: PathBuf, name: String, format: Option<FeedFormat>) {
        if self.known.insert(path.clone()) {
            self.files.push((path, name, format));
        }
    }
}

/// The names of the events' files of a manifest. `None` when it is not a manifest or cannot be read: then the file is
/// taken as what it is, and its import says what is wrong with it.
fn events(manifest: &Path) -> Option<Vec<String>> {
    let name = manifest.to_string_lossy();
    let text = Input::open(File::open(manifest).ok()?, &name, Limits::default()).ok()?.document().ok()?;
    let entries: BTreeMap<String, IgnoredAny> = serde_json::from_str(&text).ok()?;
    // The names become paths: nothing but a UUID may be one.
    entries.keys().all(|key| is_uuid(key)).then(|| entries.keys().map(|key| format!("{key}.json")).collect())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A file's name without its extension, and without the one that says how it is packed.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let name = Path::new(without_packing(&name));
    name.file_stem().unwrap_or(name.as_os_str()).to_string_lossy().into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn shown(files: &[FeedFile], root: &Path) -> Vec<String> {
        let show = |file: &FeedFile| {
            let path = file.path.strip_prefix(root).unwrap().display().to_string();
            format!("{} {path}", file.feed.name)
        };
        files.iter().map(show).collect()
    }

    #[test]
    fn a_misp_feed_is_its_manifests_events_however_it_is_named() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "feed/manifest.json", &format!("{{\"{EVENT}\":{{\"info\":\"x\"}}}}"));
        write(root.path(), &format!("feed/{EVENT}.json"), "{\"Event\":{}}");
        write(root.path(), "feed/hashes.csv", "0cc175b9c0f1b6a831c399e269772661,x\n");
        let expected = [format!("feed feed/{EVENT}.json")];
        for path in ["", "feed", "feed/manifest.json"] {
            let files = given(&[root.path().join(path)]).unwrap();
            assert_eq!(shown(&files, root.path()), expected, "{path}");
            assert_eq!(files[0].options.format, Some(FeedFormat::Misp));
        }
        for path in ["feed", "feed/manifest.json", "feed/*.json", "f*"] {
            let entry = config::IntelFiles::new(root.path().join(path).display().to_string());
            let (files, missing) = configured(&config::Intel { files: vec![entry], ..config::Intel::default() });
            assert!(missing.is_empty(), "{missing:?}");
            assert_eq!(files.iter().filter(|file| file.path.ends_with(format!("{EVENT}.json"))).count(), 1, "{path}");
        }
    }

    #[test]
    fn a_manifest_names_no_other_paths_and_one_that_is_none_is_a_file() {
        let root = tempfile::tempdir().unwrap();
        for text in ["{\"../../secret\":{}}", "{", "[]"] {
            let path = write(root.path(), "manifest.json", text);
            assert_eq!(shown(&given(&[path]).unwrap(), root.path()), ["manifest manifest.json"], "{text}");
        }
        let path = write(root.path(), "feed/manifest.json", "{}");
        assert_eq!(shown(&given(&[path]).unwrap(), root.path()), ["feed feed/manifest.json"]);
    }

    #[test]
    fn a_feed_is_named_after_its_file_without_any_extension() {
        assert_eq!(stem(Path::new("a/bad.csv.gz")), "bad");
        assert_eq!(stem(Path::new("a/bad.txt")), "bad");
        assert_eq!(stem(Path::new("a/.zst")), "");
    }
}
