//! Finds the files that a path of the command line names: a file, a directory, or a glob.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files that paths name, in the order in which they are read.
#[derive(Debug, Default)]
pub struct LogFiles {
    /// The files. Those of a directory are in order of their names.
    pub files: Vec<PathBuf>,
    /// The paths that were left out, or could not be listed.
    pub skipped: Skipped,
    /// Paths that do not exist or cannot be listed.
    pub errors: Vec<PathError>,
}

/// Entries of directories that are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Files and directories whose name starts with a dot, and members of archives whose name does.
    pub hidden: u64,
    /// Directories that were reached before by another path, such as by a loop of symbolic links.
    pub repeated: u64,
    /// Pipes, sockets and devices.
    pub special: u64,
}

impl AddAssign for Skipped {
    fn add_assign(&mut self, other: Skipped) {
        self.hidden += other.hidden;
        self.repeated += other.repeated;
        self.special += other.special;
    }
}

/// The reason that a path names no file.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The path does not exist or cannot be listed.
    #[error("cannot read {}: {source}; give a file, a directory or a glob that exists", path.display())]
    Path { path: PathBuf, source: io::Error },
    /// The glob is not valid.
    #[error("{} is not a valid glob: {reason}", path.display())]
    Glob {
        path: PathBuf,
        /// Its fault.
        reason: &'static str,
    },
    /// The glob matches nothing.
    #[error("no file matches {}", path.display())]
    NoMatch { path: PathBuf },
}

/// Finds the files of `paths`. A path with `*`, `?` or `[` that does not exist as it is written is a glob.
pub fn find(paths: &[PathBuf]) -> LogFiles {
    let mut found = LogFiles::default();
    for path in paths {
        // Given twice, a directory is read twice: only what one path reaches repeatedly is left out.
        let mut visited = HashSet::new();
        if path.symlink_metadata().is_err() && path.to_str().is_some_and(|text| text.contains(['*', '?', '['])) {
            found.glob(path, &mut visited);
        } else {
            found.given(path, &mut visited);
        }
    }
    found
}

impl LogFiles {
    fn glob(&mut self, path: &Path, visited: &mut HashSet<(u64, u64)>) {
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let matches = match glob::glob_with(&path.to_string_lossy(), options) {
            Ok(matches) => matches,
            Err(error) => return self.errors.push(PathError::Glob { path: path.to_owned(), reason: error.msg }),
        };
        let before = (self.files.len(), self.errors.len());
        for path in matches {
            match path {
                Ok(path) => self.given(&path, visited),
                Err(error) => {
                    self.errors.push(PathError::Path { path: error.path().to_owned(), source: error.into() });
                }
            }
        }
        if before == (self.files.len(), self.errors.len()) {
            self.errors.push(PathError::NoMatch { path: path.to_owned() });
        }
    }

    /// A path that a user named is read whatever it is: `<(command)` of a shell is a pipe.
    fn given(&mut self, path: &Path, visited: &mut HashSet<(u64, u64)>) {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.directory(path, &metadata, visited),
            Ok(_) => self.files.push(path.to_owned()),
            Err(source) => self.errors.push(PathError::Path { path: path.to_owned(), source }),
        }
    }

    fn directory(&mut self, path: &Path, metadata: &Metadata, visited: &mut HashSet<(u64, u64)>) {
        if !visited.insert((metadata.dev(), metadata.ino())) {
            self.skipped.repeated += 1;
            return;
        }
        let listed = std::fs::read_dir(path).and_then(|entries| {
            let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
            paths
        });
        let mut paths = match listed {
            Ok(paths) => paths,
            Err(source) => return self.errors.push(PathError::Path { path: path.to_owned(), source }),
        };
        paths.sort();
        for path in paths {
            if is_hidden(&path.file_name().unwrap_or_default().to_string_lossy()) {
                self.skipped.hidden += 1;
                continue;
            }
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.directory(&path, &metadata, visited),
                Ok(metadata) if metadata.is_file() => self.files.push(path),
                Ok(_) => self.skipped.special += 1,
                Err(source) => self.errors.push(PathError::Path { path, source }),
            }
        }
    }
}

/// Whether a file of this name is left out of directories and archives.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(found: &LogFiles, root: &Path) -> Vec<String> {
        let below = |path: &PathBuf| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        found.files.iter().map(below).collect()
    }

    #[test]
    fn a_directory_is_read_in_order_without_hidden_files_loops_and_pipes() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in ["b/2.log", "b/1.log", "a.log", "c/.hidden/x.log", ".profile", "c/z.log"] {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), "").unwrap();
        }
        symlink(root, root.join("b/loop")).unwrap();
        symlink(root.join("c"), root.join("d")).unwrap();
        symlink(root.join("a.log"), root.join("e.log")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let found = find(&[root.to_owned()]);
        assert_eq!(names(&found, root), ["a.log", "b/1.log", "b/2.log", "c/z.log", "e.log"]);
        assert_eq!(found.skipped, Skipped { hidden: 2, repeated: 2, special: 1 });
        assert!(found.errors.is_empty(), "{:?}", found.errors);
    }

    #[test]
    fn a_glob_gives_its_matches_and_a_named_path_is_always_read() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["a.log", "b.log", "c.txt", ".d.log", "[x].log"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        let found = find(&[root.join("*.log"), root.join(".d.log"), root.join("[x].log"), root.join("*.csv")]);
        assert_eq!(names(&found, root), ["[x].log", "a.log", "b.log", ".d.log", "[x].log"]);
        assert!(matches!(&found.errors[..], [PathError::NoMatch { .. }]), "{:?}", found.errors);
        let missing = find(&[root.join("missing"), root.join("[")]);
        assert_eq!((missing.files.len(), missing.errors.len()), (0, 2));
    }
}
