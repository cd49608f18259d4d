//! Reads the files of allowlists. An unreadable file affects only its own list, and an unusable entry only itself:
//! fewer entries mean more hits, never fewer.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, AllowlistAction, AllowlistFiles};
use crate::file_timeout::within;
use crate::intel::allowlist::{self, Action, Allowlist, Allowlists, Import, MAX_BYTES, ReadError};

use super::load::LoadError;
use super::watching::files;

/// Entries of each list that are shown one by one.
const SAMPLE: usize = 3;

/// The unusable part of an allowlist.
#[derive(Debug, thiserror::Error)]
pub enum AllowlistError {
    /// A path does not exist, or cannot be listed or read.
    #[error("cannot read {}: {source}; give a file or a glob that exists", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: ReadError },
    /// One entry of a list cannot be used; the others are.
    #[error("{}: list \"{list}\", entry {index} ({excerpt:?}) is not used: it {reason}", path.display())]
    Entry {
        path: PathBuf,
        /// The name of the list.
        list: Arc<str>,
        /// The entry's place in `list`, from 0.
        index: usize,
        /// The entry's beginning.
        excerpt: String,
        reason: String,
    },
}

impl AllowlistError {
    /// Whether a whole list is missing because of it, not one entry only.
    pub fn costs_a_list(&self) -> bool {
        !matches!(self, AllowlistError::Entry { .. })
    }
}

/// Reads every enabled list of `intel.allowlists`, in order, and says what of them cannot be used.
pub fn load(intel: &config::Intel) -> (Arc<Allowlists>, Vec<AllowlistError>) {
    load_with(intel, &[])
}

/// The same, and after them the lists at paths of the command line, directories walked in order of their names. Each of
/// those does what it does when nobody says so.
pub fn load_with(intel: &config::Intel, paths: &[PathBuf]) -> (Arc<Allowlists>, Vec<AllowlistError>) {
    let (mut lists, mut errors) = (Vec::new(), Vec::new());
    for entry in intel.allowlists.iter().filter(|entry| entry.enabled) {
        let mut found = 0;
        // The pattern was checked when the configuration was read.
        for path in glob::glob(&entry.path).into_iter().flatten() {
            match path {
                Ok(path) if path.is_file() => {
                    found += 1;
                    lists.extend(file(&path, entry, &mut errors));
                }
                Ok(_) => {}
                Err(error) => {
                    found += 1;
                    errors.push(AllowlistError::Path { path: error.path().to_owned(), source: error.into() });
                }
            }
        }
        if found == 0 {
            let source = io::Error::new(io::ErrorKind::NotFound, "no file matches");
            errors.push(AllowlistError::Path { path: PathBuf::from(&entry.path), source });
        }
    }
    let entry = AllowlistFiles::new(String::new());
    for path in paths {
        let mut files = Vec::new();
        let walked = files::walk(path, &mut |file| files.push(file));
        for path in &files {
            lists.extend(file(path, &entry, &mut errors));
        }
        match walked {
            Err(LoadError::Path { path, source }) => errors.push(AllowlistError::Path { path, source }),
            Err(LoadError::Feed(_)) | Ok(()) => {}
        }
    }
    (Arc::new(Allowlists::new(lists)), errors)
}

/// The errors as lines for people: every file, and of each list the first entries and how many more there are.
pub fn lines(errors: &[AllowlistError]) -> Vec<String> {
    let (mut lines, mut entries) = (Vec::new(), 0);
    let mut errors = errors.iter().peekable();
    while let Some(error) = errors.next() {
        let AllowlistError::Entry { path, list, index, .. } = error else {
            lines.push(error.to_string());
            continue;
        };
        entries += 1;
        if entries <= SAMPLE {
            lines.push(error.to_string());
        }
        // The entries of a list are together and in order.
        let more = errors.peek().is_some_and(|next| match next {
            AllowlistError::Entry { path: next_path, list: next_list, index: next_index, .. } => {
                next_path == path && next_list == list && next_index > index
            }
            _ => false,
        });
        if !more {
            if entries > SAMPLE {
                let rest = entries - SAMPLE;
                lines.push(format!("{}: list \"{list}\": {rest} more entries are not used", path.display()));
            }
            entries = 0;
        }
    }
    lines
}

fn file(path: &Path, entry: &AllowlistFiles, errors: &mut Vec<AllowlistError>) -> Option<Allowlist> {
    let otherwise = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    let bytes = match bytes(path) {
        Ok(bytes) => bytes,
        Err(source) => {
            errors.push(AllowlistError::Path { path: path.to_owned(), source });
            return None;
        }
    };
    let Import { mut list, unusable, .. } = match allowlist::read(&bytes, &otherwise) {
        Ok(import) => import,
        Err(source) => {
            errors.push(AllowlistError::File { path: path.to_owned(), source });
            return None;
        }
    };
    if let Some(name) = &entry.name {
        list = list.named(name);
    }
    if let Some(action) = entry.action {
        list = list.with_action(match action {
            AllowlistAction::Suppress => Action::Suppress,
            AllowlistAction::Annotate => Action::Annotate,
        });
    }
    let name: Arc<str> = list.name().into();
    errors.extend(unusable.into_iter().map(|unusable| AllowlistError::Entry {
        path: path.to_owned(),
        list: name.clone(),
        index: unusable.index,
        excerpt: unusable.excerpt,
        reason: unusable.reason,
    }));
    Some(list)
}

/// At most one byte more than is allowed, so that a file that is too large is recognised and never read whole.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    within(path, |path| File::open(path))?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
