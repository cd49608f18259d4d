//! The cache directory: accessible only to this process's user, and marked with a file, so that a misconfigured path to
//! another directory is refused before anything is written or deleted there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use super::{CacheError, digest_of, files};
use crate::durable;
use crate::names::CACHE_MARKER;

/// The content of the marker.
const CONTENT: &[u8] = b"hotlist cache, format 1\n";
/// The prefix of every marker, up to the format number.
const FORMAT: &[u8] = b"hotlist cache, format ";
/// The marker's temporary name.
const MARKER_NEXT: &str = "hotlist-cache.next";
/// The maximum size of a marker.
const MAX_MARKER: u64 = 256;

/// The subdirectory of the segments.
pub(super) const SEGMENTS: &str = "segments";
/// Held while a process uses the cache.
pub(super) const LOCK: &str = "lock";
/// The records of a cache. A cache with segments has at least one of them.
const RECORDS: [&str; 3] = ["highest.json", "serve.json", "shadow.json"];
/// The records' temporary names.
const RECORDS_NEXT: [&str; 3] = ["highest.json.next", "serve.json.next", "shadow.json.next"];
/// Subdirectories of a control plane's store.
const OF_A_STORE: [&str; 4] = ["publications", "feeds", "nodes", "alerts"];
/// A directory that file systems create at their root.
const OF_THE_SYSTEM: &str = "lost+found";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DirectoryKind {
    Marked,
    /// Missing or empty.
    New,
    /// A cache of a version that wrote no marker, or whose marker is damaged.
    Unmarked,
}

/// Checks that a directory is a cache or can become one. Reads only.
///
/// # Errors
/// The directory belongs to something else, or cannot be read.
pub fn check(directory: &Path) -> Result<(), CacheError> {
    inspect(directory).map(drop)
}

/// Creates the directory and its marker if they do not exist.
///
/// # Errors
/// The directory belongs to something else, or cannot be created or read.
pub(super) fn claim(directory: &Path) -> Result<(), CacheError> {
    make(directory)?;
    match inspect(directory)? {
        DirectoryKind::Marked => {}
        DirectoryKind::New | DirectoryKind::Unmarked => {
            let next = directory.join(MARKER_NEXT);
            durable::stage(&next, CONTENT).map_err(|cause| CacheError::io(&next, "written", cause))?;
            let marker = directory.join(CACHE_MARKER);
            durable::commit(&next, &marker).map_err(|cause| CacheError::io(&marker, "renamed", cause))?;
        }
    }
    make(&directory.join(SEGMENTS))
}

/// Creates a directory and its parents, accessible only to this process's user.
fn make(directory: &Path) -> Result<(), CacheError> {
    durable::make_directory(directory).map_err(|cause| CacheError::io(directory, "created", cause))
}

fn inspect(directory: &Path) -> Result<DirectoryKind, CacheError> {
    let mut names = match names(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DirectoryKind::New),
        Err(cause) => return Err(CacheError::io(directory, "read", cause)),
    };
    let foreign = |entry: &str| CacheError::NoCache { directory: directory.to_owned(), entry: entry.to_owned() };
    let of_a_store = |name: &&str| names.iter().any(|found| found == name);
    if let Some(of_a_store) = OF_A_STORE.into_iter().find(of_a_store) {
        return Err(foreign(of_a_store));
    }
    if let Some(at) = names.iter().position(|name| name == CACHE_MARKER) {
        let path = directory.join(CACHE_MARKER);
        let content = files::read(&path, MAX_MARKER).map_err(|cause| CacheError::io(&path, "read", cause))?;
        let content = content.unwrap_or_default();
        if content == CONTENT {
            return Ok(DirectoryKind::Marked);
        }
        if is_other_format(&content) {
            return Err(CacheError::Marker(path));
        }
        // The marker is damaged: the other files decide.
        names.remove(at);
    }
    if names.is_empty() {
        return Ok(DirectoryKind::New);
    }
    let has = |name: &str| names.iter().any(|found| found == name);
    // Versions without a marker created `segments` and then `lock` before anything else.
    let known = |name: &&OsString| {
        let name = name.to_str().unwrap_or_default();
        name == SEGMENTS || name == LOCK || RECORDS.contains(&name) || RECORDS_NEXT.contains(&name)
    };
    if let Some(other) = names.iter().find(|name| !known(name)) {
        return Err(foreign(&other.to_string_lossy()));
    }
    if !has(SEGMENTS) || !has(LOCK) {
        return Err(foreign(&names.first().map(|name| name.to_string_lossy()).unwrap_or_default()));
    }
    let segments = directory.join(SEGMENTS);
    let segments = self::names(&segments).map_err(|cause| CacheError::io(&segments, "read", cause))?;
    if let Some(other) = segments.iter().find(|name| name.to_str().and_then(digest_of).is_none()) {
        return Err(foreign(&format!("{SEGMENTS}/{}", other.to_string_lossy())));
    }
    // The version is recorded before its segments are fetched.
    if !segments.is_empty() && !RECORDS.into_iter().any(has) {
        return Err(foreign(SEGMENTS));
    }
    Ok(DirectoryKind::Unmarked)
}

/// Returns whether a marker is complete and names another format.
fn is_other_format(content: &[u8]) -> bool {
    let number = content.strip_prefix(FORMAT).and_then(|rest| rest.strip_suffix(b"\n"));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Returns the names in a directory, except those that a file system or a killed process left there.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = entries.collect::<io::Result<Vec<OsString>>>()?;
    names.retain(|name| name != OF_THE_SYSTEM && name != MARKER_NEXT);
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::manifest::Digest;

    /// A directory with these files; a name that ends in `/` is a directory.
    fn with(names: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if name.ends_with('/') { fs::create_dir_all(&path).unwrap() } else { fs::write(&path, "x").unwrap() }
        }
        root
    }

    fn tree(directory: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.display().to_string());
            if path.is_dir() {
                found.extend(tree(&path));
            }
        }
        found.sort();
        found
    }

    /// Scenario: `cache` is aimed at a store, a home directory, the root of a project, a directory of segments alone.
    /// Guarantee: it is refused, naming the foreign entry and how to fix it, and nothing there changes.
    #[test]
    fn no_other_directory_becomes_a_cache() {
        let segment = format!("segments/{}.seg", Digest::sha256(b"s"));
        for (names, entry) in [
            (&["publications/", &segment, "lock", "highest.json"][..], "publications"),
            (&["feeds/f.json", &segment], "feeds"),
            (&["nodes/", "hotlist-cache"], "nodes"),
            (&[".bashrc"], ".bashrc"),
            (&["lock", "segments/", "serve.json", "notes.txt"], "notes.txt"),
            (&["lock", "segments/readme.txt"], "segments/readme.txt"),
            (&["lock", "segments/ab.seg"], "segments/ab.seg"),
            (&["lock", &segment], "segments"),
            (&["segments/"], "segments"),
            (&["lock"], "lock"),
        ] {
            let root = with(names);
            let before = tree(root.path());
            for result in [check(root.path()), claim(root.path())] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(&format!("`{entry}`")) && error.contains("intel.control.cache"), "{error}");
            }
            assert_eq!(tree(root.path()), before, "{names:?}");
        }
        let root = with(&["hotlist-cache"]);
        fs::write(root.path().join(CACHE_MARKER), "hotlist cache, format 23\n").unwrap();
        assert!(matches!(claim(root.path()), Err(CacheError::Marker(_))), "a marker of another format");
    }

    /// Scenario: the directory is missing, empty, the root of a file system, was left by a killed process, or is a cache
    /// of a version that wrote no marker, or whose marker is damaged. Guarantee: it becomes a marked cache, which is one the next time, too.
    #[test]
    fn a_new_directory_and_an_old_cache_become_marked() {
        let (segment, part) = (Digest::sha256(b"s"), Digest::sha256(b"p"));
        let (segment, part) = (format!("segments/{segment}.seg"), format!("segments/{part}.part"));
        for names in [
            &[][..],
            &["lost+found/"],
            &["hotlist-cache.next"],
            &["hotlist-cache"],
            &["hotlist-cache", "lock", &segment, "serve.json"],
            &["lock", "segments/"],
            &["lock", &segment, &part, "highest.json", "serve.json", "shadow.json.next"],
            &["lock", &segment, "serve.json"],
        ] {
            let root = with(names);
            let before = tree(root.path());
            claim(root.path()).unwrap_or_else(|error| panic!("{names:?}: {error}"));
            assert!(crate::names::is_cache(root.path()));
            let after = tree(root.path());
            assert!(before.iter().filter(|name| !name.ends_with(MARKER_NEXT)).all(|name| after.contains(name)));
            claim(root.path()).unwrap();
            assert_eq!(inspect(root.path()).unwrap(), DirectoryKind::Marked);
        }
        let root = with(&[]);
        claim(&root.path().join("a/b")).unwrap();
        check(&root.path().join("a/b")).unwrap();
        check(&root.path().join("missing")).unwrap();
        assert!(!root.path().join("missing").exists());
    }
}
