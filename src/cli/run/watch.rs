//! `hotlist run --watch-config`: reloads when the content of the configuration file changes, without a signal. After a
//! refused reload, a change of a file that the configuration names triggers another one: a certificate may arrive later.
//!
//! As with feeds, file system notifications are only hints: content is compared, and also at regular intervals. This
//! covers Kubernetes volumes, whose `..data` link is swapped, and network file systems.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never};
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::escape::Escaped;
use crate::feed::watching::changes::{Changes, Fingerprint};
use crate::feed::watching::watch::{Notice, Watch};
use crate::task;

/// The interval of checks without a notification.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A requested reload, which is answered with its outcome.
pub(super) type Request = oneshot::Sender<Outcome>;

pub(super) enum Outcome {
    /// The configuration is active.
    Applied,
    /// The configuration was refused; it names these files, as they were before it was loaded.
    Refused(Vec<(PathBuf, Option<Fingerprint>)>),
}

pub(super) struct ConfigFile {
    path: PathBuf,
    /// The content that was read last.
    content: Option<u64>,
    /// The fingerprint of that content; the outer `None` requests a check.
    judged: Option<Option<Fingerprint>>,
    changes: Changes,
    /// The files that a refused configuration names, as they were then.
    awaited: Vec<(PathBuf, Option<Fingerprint>)>,
}

impl ConfigFile {
    /// Records the current state of the file. Must be called before the file is loaded, so that no change is missed.
    pub(super) fn new(path: &Path) -> ConfigFile {
        let judged = Some(Fingerprint::read(path));
        let content = content(path);
        ConfigFile { path: path.to_owned(), content, judged, changes: Changes::default(), awaited: Vec::new() }
    }

    /// Starts a thread that follows the file until the receiver is dropped.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn follow(mut self) -> io::Result<mpsc::Receiver<Request>> {
        let (requests, asked) = mpsc::channel(1);
        let (mut watch, notices) = Watch::new();
        let run = move || {
            let mut notices = notices;
            while !requests.is_closed() {
                self.wait(&mut watch, &mut notices);
                if !self.is_due(Instant::now()) {
                    continue;
                }
                tracing::info!(config = %Escaped(self.path.display()), "configuration file changed: reloading");
                let (done, outcome) = oneshot::channel();
                if requests.blocking_send(done).is_err() {
                    return;
                }
                match outcome.blocking_recv() {
                    Ok(outcome) => self.record_outcome(outcome),
                    Err(_) => return,
                }
            }
        };
        task::background_thread("hotlist-config", run)?;
        Ok(asked)
    }

    /// Waits for a notification, or until the next check is due.
    fn wait(&mut self, watch: &mut Watch, notices: &mut Receiver<Notice>) {
        // A link to a file in another directory changes there.
        let target = std::fs::canonicalize(&self.path).ok();
        let awaited = self.awaited.iter().map(|(path, _)| path.as_path());
        let paths = [Some(self.path.as_path()), target.as_deref()].into_iter().flatten().chain(awaited);
        let is_new = watch.follow(paths.filter_map(Path::to_str));
        let latest = Instant::now() + if is_new { Duration::ZERO } else { LOOK_EVERY };
        let deadline = self.changes.next_look().map_or(latest, |look| look.min(latest));
        crossbeam_channel::select! {
            recv(notices) -> notice => match notice {
                Ok(notice) => {
                    self.changes.record_notice(notice);
                    notices.try_iter().for_each(|notice| self.changes.record_notice(notice));
                }
                Err(_) => *notices = never(),
            },
            recv(crossbeam_channel::at(deadline)) -> _ => {}
        }
    }

    /// Returns whether the configuration must be loaded: its file has other content, and is complete.
    fn is_due(&mut self, now: Instant) -> bool {
        let retry = self.awaited.iter().any(|(path, print)| Fingerprint::read(path) != *print);
        let print = Fingerprint::read(&self.path);
        if self.judged == Some(print) {
            self.changes.settled(&self.path);
            self.changes.end_look();
            return retry;
        }
        if !self.changes.may_read(&self.path, print, now) {
            return false;
        }
        let content = content(&self.path);
        // It was written while it was read: the next check reads it again.
        if Fingerprint::read(&self.path) != print {
            return false;
        }
        self.changes.settled(&self.path);
        self.changes.end_look();
        self.judged = Some(print);
        if content.is_none() {
            let path = self.path.display();
            tracing::warn!(config = %Escaped(path), "configuration file is missing; the active configuration stays active");
            return false;
        }
        let is_new = content != self.content;
        self.content = content;
        is_new || retry
    }

    fn record_outcome(&mut self, outcome: Outcome) {
        self.awaited = match outcome {
            Outcome::Applied => Vec::new(),
            Outcome::Refused(files) => files,
        };
    }
}

/// Returns the current content of the files that a configuration names.
pub(super) fn named(config: &Config) -> Vec<(PathBuf, Option<Fingerprint>)> {
    config.needed_files().into_iter().map(|path| (path.to_owned(), Fingerprint::read(path))).collect()
}

/// Returns a fingerprint of the content; `None` when there is no file. Does not wait for a pipe.
fn content(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(|found| found.is_file())?;
    let bytes = std::fs::read(path).ok()?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: only other content requests a reload, once, when the file is complete; a file that was touched, is
    /// missing, or is restored does not; after a refusal the arrival of a file that the configuration names does.
    #[test]
    fn other_content_asks_once_and_a_refusal_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, certificate) = (directory.path().join("h.yaml"), directory.path().join("cert.pem"));
        std::fs::write(&path, "a").unwrap();
        let mut file = ConfigFile::new(&path);
        let start = Instant::now();
        let mut later = 0;
        // Two looks, far enough apart for what waits to settle.
        let mut looks = |file: &mut ConfigFile| {
            later += 10;
            let now = start + Duration::from_secs(later);
            [file.is_due(now), file.is_due(now + Duration::from_secs(2)), file.is_due(now + Duration::from_secs(4))]
        };
        assert_eq!(looks(&mut file), [false, false, false]);
        std::fs::write(&path, "b").unwrap();
        assert_eq!(looks(&mut file), [false, true, false], "it is whole when it has been the same for a second");
        file.record_outcome(Outcome::Applied);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(looks(&mut file), [false, false, false]);
        std::fs::write(&path, "b").unwrap();
        assert_eq!(looks(&mut file), [false, false, false]);

        std::fs::write(&path, "c").unwrap();
        assert_eq!(looks(&mut file), [false, true, false]);
        file.record_outcome(Outcome::Refused(vec![(certificate.clone(), None)]));
        assert_eq!(looks(&mut file), [false, false, false]);
        std::fs::write(&certificate, "x").unwrap();
        assert!(file.is_due(start));
        file.record_outcome(Outcome::Applied);
        assert_eq!(looks(&mut file), [false, false, false]);
    }
}
