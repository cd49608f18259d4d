//! The publications of now: the directory is watched with the system's own means, and looked at every second besides,
//! because notices may be lost and network file systems send none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Store;
use super::snapshot::{Reader, Snapshot};
use crate::escape::Escaped;
use crate::task;

/// How long publications may be in force late when nobody tells of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Changes that come this close together are looked at once.
const SETTLE: Duration = Duration::from_millis(10);
/// The same of looks that somebody asks for.
const SETTLE_ASKED: Duration = Duration::from_millis(50);
/// How long a look that was asked for may take.
const ASKED_LOOK: Duration = Duration::from_secs(2);

/// Publications that follow the store. Clones are the same.
#[derive(Clone, Debug)]
pub struct Watched {
    current: watch::Receiver<Arc<Snapshot>>,
    asked: Arc<Notify>,
    /// How many looks there were.
    looks: watch::Receiver<u64>,
    _task: Arc<AbortOnDropHandle<()>>,
}

/// What the task has to tell, and to listen to.
struct Follower {
    snapshots: watch::Sender<Arc<Snapshot>>,
    looks: watch::Sender<u64>,
    notices: Arc<Notify>,
    asked: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watched {
    /// Reads all publications, and goes on looking until the last clone is dropped. Needs a tokio runtime.
    pub async fn start(store: Store) -> Watched {
        let notices = Arc::new(Notify::new());
        let watcher = watch(&store.publications(), Arc::clone(&notices));
        // The watch is there before the first look, so that nothing falls between them.
        let (reader, first) = look(Reader::new(store)).await;
        let (snapshots, current) = watch::channel(Arc::new(first.unwrap_or_default()));
        let (looks_made, looks) = watch::channel(0);
        let asked = Arc::new(Notify::new());
        let follower = Follower { snapshots, looks: looks_made, notices, asked: Arc::clone(&asked), _watcher: watcher };
        let task = task::background("publications", follower.run(reader));
        Watched { current, asked, looks, _task: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// The publications of now.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// The same after one more look: another control plane may have seen more already. Many who ask at once
    /// share a look, and there are at most 20 of these a second.
    pub async fn look_again(&self) -> Arc<Snapshot> {
        let mut looks = self.looks.clone();
        let before = *looks.borrow_and_update();
        self.asked.notify_one();
        // Without a look what is known has to do.
        let _ = timeout(ASKED_LOOK, looks.wait_for(|looks| *looks > before)).await;
        self.current()
    }

    /// The publications of now, and every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.clone()
    }
}

impl Follower {
    async fn run(self, mut reader: Option<Reader>) {
        while let Some(known) = reader {
            tokio::select! {
                () = self.notices.notified() => sleep(SETTLE).await,
                () = self.asked.notified() => sleep(SETTLE_ASKED).await,
                () = sleep(LOOK_EVERY) => {}
            }
            let (next, changed) = look(known).await;
            if let Some(snapshot) = changed {
                self.snapshots.send_replace(Arc::new(snapshot));
            }
            self.looks.send_modify(|looks| *looks += 1);
            reader = next;
        }
        tracing::error!("publications are no longer followed: looking at them failed; start the process again");
    }
}

/// Looks at the files, away from the threads that answer. `None` for the reader: it panicked.
async fn look(mut reader: Reader) -> (Option<Reader>, Option<Snapshot>) {
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
        // Reading is no change, and our own looks read.
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
            tracing::warn!(error = %Escaped(&error), "publications are not watched, changes are found by looking every second only");
        })
        .ok()
}

fn is_write(access: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    matches!(access, AccessKind::Close(AccessMode::Write))
}
