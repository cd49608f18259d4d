//! When a file that changed may be read: at once when its writer has closed it or moved it into place, else when it has
//! been the same for a while. Time is an argument, so that tests need not wait.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::feed::watching::watch::Notice;

/// A file that nobody says is whole is read when it has been the same for this long.
const SETTLED: Duration = Duration::from_secs(1);
/// A file whose writer has closed it is read after this pause: scripts that append line by line close it again and again.
const QUIET: Duration = Duration::from_millis(150);

/// Paths that notices are kept of. Beyond it all are forgotten, and files are read when they have settled.
const NOTED: usize = 4096;

/// The stamp that distinguishes one content of a file from another without reading it. A directory's is that of all
/// files in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of what is at a path now, links followed. `None`: nothing is there.
    pub fn read(path: &Path) -> Option<Fingerprint> {
        let metadata = std::fs::metadata(path).ok()?;
        let mut hasher = DefaultHasher::new();
        of_file(&metadata, &mut hasher);
        // A MISP feed is a directory, named by its manifest: its events count, too.
        let directory = match metadata.is_dir() {
            true => Some(path),
            false => path.parent().filter(|_| path.file_name().is_some_and(|name| name == "manifest.json")),
        };
        if let Some(entries) = directory.and_then(|directory| std::fs::read_dir(directory).ok()) {
            let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            below.sort();
            for path in below {
                path.hash(&mut hasher);
                if let Ok(metadata) = std::fs::metadata(&path) {
                    of_file(&metadata, &mut hasher);
                }
            }
        }
        Some(Fingerprint(hasher.finish()))
    }
}

fn of_file(metadata: &Metadata, hasher: &mut DefaultHasher) {
    (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()).hash(hasher);
    (metadata.ctime(), metadata.ctime_nsec()).hash(hasher);
}

/// Files that differ from what was read of them last, and are waited for.
#[derive(Debug, Default)]
pub struct Changes {
    waiting: HashMap<PathBuf, Waiting>,
    writing: HashSet<PathBuf>,
    done: HashSet<PathBuf>,
}

#[derive(Debug)]
struct Waiting {
    print: Option<Fingerprint>,
    since: Instant,
}

impl Changes {
    /// Records a notice of the system.
    pub fn record_notice(&mut self, notice: Notice) {
        if self.writing.len() + self.done.len() >= NOTED {
            self.writing.clear();
            self.done.clear();
        }
        match notice {
            Notice::Begun(path) => {
                self.done.remove(&path);
                self.writing.insert(path);
            }
            Notice::Done(path) => {
                self.writing.remove(&path);
                // A link to a directory may have been swapped (`..data` of Kubernetes): then this notice is about its siblings.
                self.done.extend(path.parent().map(Path::to_owned));
                self.done.insert(path);
            }
        }
    }

    /// A file that is not as it was read last: whether it may be read now.
    pub fn may_read(&mut self, path: &Path, print: Option<Fingerprint>, now: Instant) -> bool {
        let finished = self.finished(path);
        let waiting = self.waiting.entry(path.to_owned()).or_insert(Waiting { print, since: now });
        if waiting.print != print {
            *waiting = Waiting { print, since: now };
        }
        now.saturating_duration_since(waiting.since) >= if finished { QUIET } else { SETTLED }
    }

    /// A file is as it was read last, or was read now: nothing is waited for.
    pub fn settled(&mut self, path: &Path) {
        self.waiting.remove(path);
    }

    /// Every file was looked at: what was said of paths is forgotten when nothing is waited for.
    pub fn end_look(&mut self) {
        if self.waiting.is_empty() {
            self.done.clear();
            self.writing.clear();
        }
    }

    /// When to look again at the latest; `None` when nothing is waited for.
    pub fn next_look(&self) -> Option<Instant> {
        let due =
            |(path, waiting): (&PathBuf, &Waiting)| waiting.since + if self.finished(path) { QUIET } else { SETTLED };
        self.waiting.iter().map(due).min()
    }

    fn finished(&self, path: &Path) -> bool {
        let stands_for = |directory: &Path| self.done.contains(directory);
        !self.writing.contains(path) && (self.done.contains(path) || path.parent().is_some_and(stands_for))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/feeds/a.csv";

    fn print(number: u64) -> Option<Fingerprint> {
        Some(Fingerprint(number))
    }

    /// Scenario: nobody says anything, the content changes twice. Guarantee: it is read a second after the last change.
    #[test]
    fn a_file_without_notices_is_read_when_it_has_settled() {
        let (mut changes, start, path) = (Changes::default(), Instant::now(), Path::new(FILE));
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(!changes.may_read(path, print(1), at(0)));
        assert!(!changes.may_read(path, print(1), at(900)));
        assert!(!changes.may_read(path, print(2), at(950)));
        assert_eq!(changes.next_look(), Some(at(1950)));
        assert!(!changes.may_read(path, print(2), at(1949)));
        assert!(changes.may_read(path, print(2), at(1950)));
        changes.settled(path);
        assert_eq!(changes.next_look(), None);
    }

    /// Scenario: written, closed, opened for writing again, closed. Guarantee: read soon after a close, not in between.
    #[test]
    fn a_closed_file_is_read_soon_and_an_open_one_is_not() {
        let (mut changes, start, path) = (Changes::default(), Instant::now(), Path::new(FILE));
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        changes.record_notice(Notice::Begun(FILE.into()));
        assert!(!changes.may_read(path, print(1), at(0)));
        changes.record_notice(Notice::Done(FILE.into()));
        assert_eq!(changes.next_look(), Some(at(150)));
        changes.record_notice(Notice::Begun(FILE.into()));
        assert!(!changes.may_read(path, print(1), at(200)), "somebody writes again");
        assert!(!changes.may_read(path, print(2), at(300)));
        changes.record_notice(Notice::Done(FILE.into()));
        assert!(changes.may_read(path, print(2), at(450)));
    }

    /// Scenario: Kubernetes swaps `..data`, which every file of the directory is a link through. Guarantee: the files
    /// are read soon, though nothing was said about them by name.
    #[test]
    fn a_swapped_link_in_the_directory_stands_for_its_files() {
        let (mut changes, start, path) = (Changes::default(), Instant::now(), Path::new(FILE));
        changes.record_notice(Notice::Done("/feeds/..data".into()));
        assert!(!changes.may_read(path, print(1), start));
        assert!(changes.may_read(path, print(1), start + QUIET));
    }

    /// Guarantee: content, replacement and removal each change the fingerprint, and the files of a MISP feed count.
    #[test]
    fn fingerprints_tell_contents_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        assert_eq!(Fingerprint::read(&path), None);
        std::fs::write(&path, "one").unwrap();
        let one = Fingerprint::read(&path);
        assert_eq!(one, Fingerprint::read(&path));
        std::fs::write(&path, "three").unwrap();
        assert_ne!(one, Fingerprint::read(&path));
        let (link, manifest) = (directory.path().join("link"), directory.path().join("manifest.json"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(Fingerprint::read(&link), Fingerprint::read(&path));
        std::fs::write(&manifest, "{}").unwrap();
        let before = Fingerprint::read(&manifest);
        std::fs::write(directory.path().join("event.json"), "{}").unwrap();
        assert_ne!(before, Fingerprint::read(&manifest));
    }
}
