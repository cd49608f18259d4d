//! Follows the publications: watches the directory for notifications, and also reads it every second, because
//! notifications may be lost and network file systems send none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Store;
use super::publication_set::{PublicationReader, PublicationSet};
use crate::escape::Escaped;
use crate::task;

/// The maximum delay of a publication without a notification.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Changes that are at most this far apart are read together.
const SETTLE: Duration = Duration::from_millis(10);
/// The same for requested reads.
const SETTLE_ASKED: Duration = Duration::from_millis(50);
/// The time limit of a requested read.
const ASKED_LOOK: Duration = Duration::from_secs(2);

/// The current publications of a store. Clones share one follower.
#[derive(Clone, Debug)]
pub struct PublicationWatch {
    current: watch::Receiver<Arc<PublicationSet>>,
    asked: Arc<Notify>,
    /// The number of completed reads.
    looks: watch::Receiver<u64>,
    _task: Arc<AbortOnDropHandle<()>>,
}

struct PublicationFollower {
    snapshots: watch::Sender<Arc<PublicationSet>>,
    looks: watch::Sender<u64>,
    notices: Arc<Notify>,
    asked: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

impl PublicationWatch {
    /// Reads all publications, and follows them until the last clone is dropped. Needs a tokio runtime.
    pub async fn start(store: Store) -> PublicationWatch {
        let notices = Arc::new(Notify::new());
        let watcher = watch(&store.publications(), Arc::clone(&notices));
        // The watch is set up before the first read, so that no change is missed.
        let (reader, first) = read_files(PublicationReader::new(store)).await;
        let (snapshots, current) = watch::channel(Arc::new(first.unwrap_or_default()));
        let (looks_made, looks) = watch::channel(0);
        let asked = Arc::new(Notify::new());
        let follower =
            PublicationFollower { snapshots, looks: looks_made, notices, asked: Arc::clone(&asked), _watcher: watcher };
        let task = task::background("publications", follower.run(reader));
        PublicationWatch { current, asked, looks, _task: Arc::new(AbortOnDropHandle::new(task)) }
    }

    pub fn current(&self) -> Arc<PublicationSet> {
        Arc::clone(&self.current.borrow())
    }

    /// Returns the publications after another read, because another control plane may have read newer ones. Concurrent
    /// requests share a read, and there are at most 20 reads per second.
    pub async fn refresh(&self) -> Arc<PublicationSet> {
        let mut looks = self.looks.clone();
        let before = *looks.borrow_and_update();
        self.asked.notify_one();
        // Without another read, the known publications are returned.
        let _ = timeout(ASKED_LOOK, looks.wait_for(|looks| *looks > before)).await;
        self.current()
    }

    /// Returns the current publications, and every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<PublicationSet>> {
        self.current.clone()
    }
}

impl PublicationFollower {
    async fn run(self, mut reader: Option<PublicationReader>) {
        while let Some(known) = reader {
            tokio::select! {
                () = self.notices.notified() => sleep(SETTLE).await,
                () = self.asked.notified() => sleep(SETTLE_ASKED).await,
                () = sleep(LOOK_EVERY) => {}
            }
            let (next, changed) = read_files(known).await;
            if let Some(snapshot) = changed {
                self.snapshots.send_replace(Arc::new(snapshot));
            }
            self.looks.send_modify(|looks| *looks += 1);
            reader = next;
        }
        tracing::error!(
            "publications are no longer followed: reading them panicked because of a bug in Hotlist; restart the process"
        );
    }
}

/// Reads the files on a blocking thread. Returns `None` for the reader if it panicked.
async fn read_files(mut reader: PublicationReader) -> (Option<PublicationReader>, Option<PublicationSet>) {
    let done = tokio::task::spawn_blocking(move || {
        let changed = reader.read();
        (reader, changed)
    });
    match done.await {
        Ok((reader, changed)) => (Some(reader), changed),
        Err(_) => (None, None),
    }
}

fn watch(directory: &Path, notices: Arc<Notify>) -> Option<RecommendedWatcher> {
    let notice = move |event: notify::Result<Event>| {
        // Reading is not a change, and the reader itself reads.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(access) if !is_write(access))) {
            notices.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(notice).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| {
            tracing::warn!(error = %Escaped(&error), "cannot watch publications; changes are detected by reading every second");
        })
        .ok()
}

fn is_write(access: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    matches!(access, AccessKind::Close(AccessMode::Write))
}
