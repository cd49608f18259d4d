//! Notices changes below the paths of feeds: the directories that hold them are watched with the system's own means
//! (inotify), and reports to its listener which file is being written and which is complete.
//!
//! A notice is a hint to look, never the truth: events may be lost, and network file systems send none. So the listener
//! compares fingerprints ([`crate::feed::watching::changes`]), and looks now and then without a notice.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::escape::Escaped;

/// Notices that wait for the listener. More are dropped: it looks at everything anyway.
const WAITING: usize = 1024;

/// The change of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is being written.
    Begun(PathBuf),
    /// It was closed after writing, moved here, or removed: what it is now, it stays.
    Done(PathBuf),
}

/// The directories that are watched.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, RecursiveMode>,
}

impl Watch {
    /// Watches nothing yet. Without the system's help (no inotify instances left) it never will, says why in the log,
    /// and the listener has only its own looks.
    pub fn new() -> (Watch, Receiver<Notice>) {
        let (sender, notices) = bounded(WAITING);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| send(&sender, event));
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(error = %Escaped(&error), "files are not watched, changes are found by looking every few seconds only");
        });
        (Watch { watcher: watcher.ok(), watched: BTreeMap::new() }, notices)
    }

    /// Watches what these paths and globs need, and nothing else. A directory that does not exist is watched from the
    /// nearest one that does. Returns whether a directory is new among them: there was no notice of what happened there before.
    pub fn follow<'a>(&mut self, patterns: impl IntoIterator<Item = &'a str>) -> bool {
        let mut wanted = BTreeMap::new();
        for (directory, mode) in patterns.into_iter().map(directory_of) {
            let directory = existing(directory);
            let known = wanted.entry(directory).or_insert(mode);
            if mode == RecursiveMode::Recursive {
                *known = mode;
            }
        }
        let Some(watcher) = &mut self.watcher else { return false };
        self.watched.retain(|directory, mode| {
            let keep = wanted.get(directory) == Some(mode) && directory.exists();
            if !keep {
                // It may be gone, and its watch with it.
                let _ = watcher.unwatch(directory);
            }
            keep
        });
        let mut has_new = false;
        for (directory, mode) in wanted {
            if self.watched.contains_key(&directory) {
                continue;
            }
            match watcher.watch(&directory, mode) {
                Ok(()) => {
                    self.watched.insert(directory, mode);
                    has_new = true;
                }
                Err(error) => {
                    tracing::warn!(directory = %Escaped(directory.display()), error = %Escaped(&error), "cannot watch a directory")
                }
            }
        }
        has_new
    }
}

fn send(sender: &Sender<Notice>, event: notify::Result<Event>) {
    let Ok(event) = event else { return };
    let done = match event.kind {
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => false,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => true,
        // Reading, opening and attributes change no content. Our own look is among them.
        _ => return,
    };
    for path in event.paths {
        // Full: the listener has enough reasons to look.
        let _ = sender.try_send(if done { Notice::Done(path) } else { Notice::Begun(path) });
    }
}

/// The directory that holds everything a pattern may match, and whether what is below it counts too.
fn directory_of(pattern: &str) -> (PathBuf, RecursiveMode) {
    let components: Vec<Component<'_>> = Path::new(pattern).components().collect();
    let is_glob = |component: &Component<'_>| component.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed = components.iter().position(is_glob).unwrap_or(components.len());
    // The last component is a name in the directory, whether it is a glob or not.
    let directory: PathBuf = components[..fixed.min(components.len().saturating_sub(1))].iter().collect();
    let mode = match fixed + 1 < components.len() {
        true => RecursiveMode::Recursive,
        false => RecursiveMode::NonRecursive,
    };
    (if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory }, mode)
}

fn existing(mut directory: PathBuf) -> PathBuf {
    while !directory.is_dir() {
        if !directory.pop() || directory.as_os_str().is_empty() {
            return PathBuf::from(if directory.has_root() { "/" } else { "." });
        }
    }
    directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_watched_from_its_last_fixed_directory() {
        let (flat, deep) = (RecursiveMode::NonRecursive, RecursiveMode::Recursive);
        for (pattern, directory, mode) in [
            ("/a/b/feed.csv", "/a/b", flat),
            ("/a/b/*.csv", "/a/b", flat),
            ("/a/*/feed.csv", "/a", deep),
            ("/a/**/feed.csv", "/a", deep),
            ("feed.csv", ".", flat),
            ("*.csv", ".", flat),
            ("x/[ab]/*.csv", "x", deep),
        ] {
            assert_eq!(directory_of(pattern), (PathBuf::from(directory), mode), "{pattern}");
        }
    }

    #[test]
    fn a_directory_that_does_not_exist_is_awaited_in_the_nearest_that_does() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(existing(directory.path().join("a/b/c")), directory.path());
        assert_eq!(existing(PathBuf::from("no/such/directory")), Path::new("."));
        assert_eq!(existing(PathBuf::from("/no-such-root/x")), Path::new("/"));
    }
}
