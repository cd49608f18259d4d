//! `hotlist run --watch-config`: a reload whenever the configuration's file has other content, without a signal. A
//! configuration that was refused is tried again when a file that it names changes: a certificate may arrive after it.
//!
//! As with feeds, the system's notices are hints only: content is compared, and looked at now and then without a notice.
//! So a volume of Kubernetes, whose `..data` link is swapped, and a network file system are followed, too.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never};
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::escape::Escaped;
use crate::feed::changes::{Changes, Fingerprint};
use crate::feed::watch::{Notice, Watch};
use crate::task;

/// How often the file is looked at without a notice.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A reload that a change asks for. It is answered with what came of it.
pub(super) type Request = oneshot::Sender<Outcome>;

/// What came of a reload.
pub(super) enum Outcome {
    /// The configuration is active.
    Applied,
    /// It is not, and names these files, as they were before it was tried.
    Refused(Vec<(PathBuf, Option<Fingerprint>)>),
}

/// The file, and what is known of it.
pub(super) struct ConfigFile {
    path: PathBuf,
    /// What was read of it last.
    content: Option<u64>,
    /// The fingerprint of that content; the outer `None` asks for a look.
    judged: Option<Option<Fingerprint>>,
    changes: Changes,
    /// The files that a refused configuration names, as they were then.
    awaited: Vec<(PathBuf, Option<Fingerprint>)>,
}

impl ConfigFile {
    /// Takes note of the file as it is now. To be called before it is loaded, so that no change is missed.
    pub(super) fn new(path: &Path) -> ConfigFile {
        let judged = Some(Fingerprint::of(path));
        let content = content(path);
        ConfigFile { path: path.to_owned(), content, judged, changes: Changes::default(), awaited: Vec::new() }
    }

    /// Starts a thread that follows the file until the receiver is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
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
                tracing::info!(config = %Escaped(self.path.display()), "the configuration's file changed: reading it again");
                let (done, outcome) = oneshot::channel();
                if requests.blocking_send(done).is_err() {
                    return;
                }
                match outcome.blocking_recv() {
                    Ok(outcome) => self.note(outcome),
                    Err(_) => return,
                }
            }
        };
        task::background_thread("hotlist-config", run)?;
        Ok(asked)
    }

    /// Waits for a notice, or until it is time to look.
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
                    self.changes.note(notice);
                    notices.try_iter().for_each(|notice| self.changes.note(notice));
                }
                Err(_) => *notices = never(),
            },
            recv(crossbeam_channel::at(deadline)) -> _ => {}
        }
    }

    /// Whether the configuration is to be loaded: its file has other content, and is whole.
    fn is_due(&mut self, now: Instant) -> bool {
        let retry = self.awaited.iter().any(|(path, print)| Fingerprint::of(path) != *print);
        let print = Fingerprint::of(&self.path);
        if self.judged == Some(print) {
            self.changes.settled(&self.path);
            self.changes.end_look();
            return retry;
        }
        if !self.changes.may_read(&self.path, print, now) {
            return false;
        }
        let content = content(&self.path);
        // Written while it was read: there will be another look.
        if Fingerprint::of(&self.path) != print {
            return false;
        }
        self.changes.settled(&self.path);
        self.changes.end_look();
        self.judged = Some(print);
        if content.is_none() {
            let path = self.path.display();
            tracing::warn!(config = %Escaped(path), "the configuration's file is gone, the configuration stays active");
            return false;
        }
        let is_new = content != self.content;
        self.content = content;
        is_new || retry
    }

    fn note(&mut self, outcome: Outcome) {
        self.awaited = match outcome {
            Outcome::Applied => Vec::new(),
            Outcome::Refused(files) => files,
        };
    }
}

/// The files that a configuration names, as they are now.
pub(super) fn named(config: &Config) -> Vec<(PathBuf, Option<Fingerprint>)> {
    config.needed_files().into_iter().map(|path| (path.to_owned(), Fingerprint::of(path))).collect()
}

/// What tells one content from another; `None` when there is no file. A pipe is not waited for.
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

    /// Guarantee: only other content asks for a reload, once, when the file is whole; a file that was touched, is gone, or
    /// comes back as it was, does not; after a refusal the arrival of a file that the configuration names does.
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
        file.note(Outcome::Applied);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(looks(&mut file), [false, false, false]);
        std::fs::write(&path, "b").unwrap();
        assert_eq!(looks(&mut file), [false, false, false]);

        std::fs::write(&path, "c").unwrap();
        assert_eq!(looks(&mut file), [false, true, false]);
        file.note(Outcome::Refused(vec![(certificate.clone(), None)]));
        assert_eq!(looks(&mut file), [false, false, false]);
        std::fs::write(&certificate, "x").unwrap();
        assert!(file.is_due(start));
        file.note(Outcome::Applied);
        assert_eq!(looks(&mut file), [false, false, false]);
    }
}
