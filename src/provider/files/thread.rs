//! The thread that waits for changes of indicator files, scans them, and publishes the resulting snapshots. It is a
//! separate thread because reading and indexing take seconds of CPU, which event tasks must not wait for.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never};
use tokio::sync::oneshot;

use super::feed_set::{FeedScan, FeedSet, Settings, SettingsRefusal};
use super::lists::AllowlistSet;
use super::report::FeedReporter;
use crate::feed::watching::watch::{Notice, Watch};
use crate::intel::allowlist::Allowlists;
use crate::intel::snapshot::Snapshot;

/// The interval of scans without a notification: network file systems send none.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Notifications come in bursts; one scan covers all that arrive within this time.
const BURST: Duration = Duration::from_millis(50);
/// The pause after a panic, so that repeated panics use little CPU.
const AFTER_PANIC: Duration = Duration::from_secs(1);
/// The capacity of the queue of orders.
const ORDERS: usize = 8;

/// Activates a snapshot; called on the thread, so that it cannot be reordered.
pub type Publish = Box<dyn FnMut(Option<Arc<Snapshot>>, Arc<Allowlists>) + Send>;
/// Called once with the snapshot of new settings.
pub type Commit = Box<dyn FnOnce(Option<Arc<Snapshot>>, Arc<Allowlists>) + Send>;

enum Order {
    Reconfigure(Box<Settings>, Commit, oneshot::Sender<Result<(), SettingsRefusal>>),
    Confirm(String, oneshot::Sender<bool>),
}

/// A handle of the thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub struct FeedWatcherHandle {
    orders: Sender<Order>,
}

impl FeedWatcherHandle {
    /// Starts the thread after the first scan.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(
        feed_set: FeedSet,
        lists: AllowlistSet,
        reporter: FeedReporter,
        publish: Publish,
    ) -> io::Result<FeedWatcherHandle> {
        let (orders, received) = bounded(ORDERS);
        let (watch, notices) = Watch::new();
        let mut work = WatcherState { feed_set, lists, reporter, publish, watch, is_behind: false };
        std::thread::Builder::new()
            .name("hotlist-intel".to_owned())
            .spawn(move || work.run_through_panics(&received, notices))?;
        Ok(FeedWatcherHandle { orders })
    }

    /// Applies other settings. `commit` runs with their snapshot, when nothing can fail any more.
    ///
    /// # Errors
    /// The settings cannot be applied; everything stays unchanged, and `commit` was not called.
    pub async fn reconfigure(&self, settings: Settings, commit: Commit) -> Result<(), SettingsRefusal> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Reconfigure(Box::new(settings), commit, answer)).await;
        // The thread lives as long as its handles, so it answers unless it panics meanwhile.
        answered.await.unwrap_or(Err(SettingsRefusal::Panicked))
    }

    /// Accepts the current size of a feed. Returns whether there is a feed of this name.
    pub async fn confirm(&self, feed: &str) -> bool {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Confirm(feed.to_owned(), answer)).await;
        answered.await.unwrap_or(false)
    }

    async fn order(&self, order: Order) {
        let orders = self.orders.clone();
        // A full queue blocks until the thread has finished reading: not on the event threads.
        let _ = tokio::task::spawn_blocking(move || orders.send(order)).await;
    }
}

struct WatcherState {
    feed_set: FeedSet,
    lists: AllowlistSet,
    reporter: FeedReporter,
    publish: Publish,
    watch: Watch,
    /// Whether the last scan panicked.
    is_behind: bool,
}

impl WatcherState {
    /// Continues after a panic: a bug in reading indicators must stop neither their updates nor the process.
    fn run_through_panics(&mut self, orders: &Receiver<Order>, mut notices: Receiver<Notice>) {
        // Shared state is replaced as a whole, and every file is checked again.
        while catch_unwind(AssertUnwindSafe(|| self.run(orders, &mut notices))).is_err() {
            self.feed_set.recheck_all();
            self.is_behind = true;
            self.reporter.report_panic();
            std::thread::sleep(AFTER_PANIC);
        }
    }

    fn run(&mut self, orders: &Receiver<Order>, notices: &mut Receiver<Notice>) {
        loop {
            let is_new = self.watch.follow(self.feed_set.patterns().chain(self.lists.patterns()));
            // A change between the last scan and the start of the watch sends no notification: scan at once.
            let at_once = is_new || std::mem::take(&mut self.is_behind);
            let latest = Instant::now() + if at_once { Duration::ZERO } else { LOOK_EVERY };
            let looks = [self.feed_set.next_scan(), self.lists.next_scan()];
            let deadline = looks.into_iter().flatten().fold(latest, Instant::min);
            crossbeam_channel::select! {
                recv(orders) -> order => match order {
                    Ok(order) => self.execute(order),
                    Err(_) => return,
                },
                recv(*notices) -> notice => match notice {
                    Ok(notice) => self.record_burst(notice, notices),
                    // Nothing is watched: only the deadline remains.
                    Err(_) => *notices = never(),
                },
                recv(crossbeam_channel::at(deadline)) -> _ => {}
            }
            let now = Instant::now();
            let scan = self.feed_set.scan(Some(now));
            self.report(&scan);
            if self.lists.scan(now) || scan.snapshot.is_some() {
                (self.publish)(self.feed_set.serving().cloned(), Arc::clone(self.lists.serving()));
            }
        }
    }

    fn record_burst(&mut self, first: Notice, notices: &Receiver<Notice>) {
        self.record_notice(first);
        let end = Instant::now() + BURST;
        loop {
            match notices.recv_deadline(end) {
                Ok(notice) => self.record_notice(notice),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn record_notice(&mut self, notice: Notice) {
        self.lists.record_notice(notice.clone());
        self.feed_set.record_notice(notice);
    }

    fn execute(&mut self, order: Order) {
        match order {
            Order::Confirm(feed, answer) => {
                let _ = answer.send(self.feed_set.confirm(&feed));
            }
            Order::Reconfigure(settings, commit, answer) => {
                let _ = answer.send(self.reconfigure(*settings, commit));
            }
        }
    }

    fn reconfigure(&mut self, settings: Settings, commit: Commit) -> Result<(), SettingsRefusal> {
        // Lists first: reading them changes nothing, and the files' step cannot be undone.
        let lists = match settings.intel.allowlists == self.lists.entries() {
            true => None,
            false => Some(AllowlistSet::prepare(&settings.intel)?),
        };
        let scan = self.feed_set.reconfigure(settings)?;
        if let Some(lists) = lists {
            self.lists = lists;
        }
        commit(self.feed_set.serving().cloned(), Arc::clone(self.lists.serving()));
        self.report(&scan);
        Ok(())
    }

    fn report(&mut self, scan: &FeedScan) {
        if !scan.is_empty() || self.reporter.is_behind(&self.feed_set) {
            self.reporter.report(&self.feed_set, scan);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use jiff::Timestamp;

    use super::*;
    use crate::config;
    use crate::intel::snapshot::MatchOptions;
    use crate::readiness::{FEEDS, Readiness};
    use crate::schema::FieldTable;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Scenario: activating new indicators panics once. Guarantee: the updates continue, the next attempt activates the same
    /// indicators, and readiness shows the panic until then.
    #[test]
    fn updates_go_on_after_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let pattern = directory.path().join("*.txt").display().to_string();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("one.txt", "198.51.100.1\n");
        let files = vec![config::IntelFiles { allow_generic: true, ..config::IntelFiles::new(pattern) }];
        let settings = Settings {
            intel: config::Intel { files, ..config::Intel::default() },
            table: Arc::new(FieldTable::embedded(true).unwrap()),
            options: MatchOptions::default(),
        };
        let lists = AllowlistSet::load(&settings.intel);
        let mut feed_set = FeedSet::new(settings, 7);
        let readiness = Readiness::default();
        let mut reporter = FeedReporter::new(readiness.clone(), Timestamp::now);
        let first = feed_set.scan(None);
        reporter.report(&feed_set, &first);
        let (published, snapshots) = channel();
        let (shown, details) = channel();
        let mut panics = 1;
        let publish = Box::new(move |snapshot: Option<Arc<Snapshot>>, _| {
            if panics > 0 {
                panics -= 1;
                panic!("on purpose");
            }
            let feeds = readiness.checks().into_iter().find(|check| check.name == FEEDS).unwrap();
            shown.send(feeds.detail).unwrap();
            published.send(snapshot.map_or(0, |snapshot| snapshot.len())).unwrap();
        });
        let _intel = FeedWatcherHandle::start(feed_set, lists, reporter, publish).unwrap();
        write("two.txt", "198.51.100.2\n");
        assert_eq!(snapshots.recv_timeout(PATIENCE).unwrap(), 2);
        assert_eq!(details.recv_timeout(PATIENCE).unwrap(), "2 files OK");
    }
}
