//! The thread that waits for changes of indicator files, has the keeper look at them, and publishes what it makes.
//! A thread of its own: reading and indexing take seconds of a core, and no task that serves events may wait for them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never};
use tokio::sync::oneshot;

use super::keeper::{Keeper, Look, Refused, Settings};
use super::lists::Lists;
use super::report::Reporter;
use crate::feed::watch::{Notice, Watch};
use crate::intel::allowlist::Allowlists;
use crate::intel::snapshot::Snapshot;

/// How often files are looked at without a notice: network file systems send none.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Notices come in bursts; one look is made for all that come within this time.
const BURST: Duration = Duration::from_millis(50);
/// Orders that wait for the thread.
const ORDERS: usize = 8;

/// Given what is to serve; called on the thread, so that nothing newer can be overtaken.
pub type Publish = Box<dyn FnMut(Option<Arc<Snapshot>>, Arc<Allowlists>) + Send>;
/// Called once with what new settings make.
pub type Commit = Box<dyn FnOnce(Option<Arc<Snapshot>>, Arc<Allowlists>) + Send>;

enum Order {
    Reconfigure(Box<Settings>, Commit, oneshot::Sender<Result<(), Refused>>),
    Confirm(String, oneshot::Sender<bool>),
}

/// A handle to the thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub struct Intel {
    orders: Sender<Order>,
}

impl Intel {
    /// Starts the thread over a keeper that has had its first look.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(keeper: Keeper, lists: Lists, reporter: Reporter, publish: Publish) -> io::Result<Intel> {
        let (orders, received) = bounded(ORDERS);
        let (watch, notices) = Watch::new();
        let mut work = Work { keeper, lists, reporter, publish, watch };
        std::thread::Builder::new().name("hotlist-intel".to_owned()).spawn(move || work.run(&received, notices))?;
        Ok(Intel { orders })
    }

    /// Takes other settings. `commit` runs with the snapshot that is made for them, when nothing can fail any more.
    ///
    /// # Errors
    /// They cannot be taken; everything stays as it was, and `commit` was not called.
    pub async fn reconfigure(&self, settings: Settings, commit: Commit) -> Result<(), Refused> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Reconfigure(Box::new(settings), commit, answer)).await;
        // The thread lives as long as its handles, so it answers.
        answered.await.unwrap_or(Ok(()))
    }

    /// Takes a feed as small as it is now. Says whether there is one of that name.
    pub async fn confirm(&self, feed: &str) -> bool {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Confirm(feed.to_owned(), answer)).await;
        answered.await.unwrap_or(false)
    }

    async fn order(&self, order: Order) {
        let orders = self.orders.clone();
        // A full queue blocks until the thread is done with what it reads: not on the threads that serve.
        let _ = tokio::task::spawn_blocking(move || orders.send(order)).await;
    }
}

struct Work {
    keeper: Keeper,
    lists: Lists,
    reporter: Reporter,
    publish: Publish,
    watch: Watch,
}

impl Work {
    fn run(&mut self, orders: &Receiver<Order>, mut notices: Receiver<Notice>) {
        loop {
            let is_new = self.watch.follow(self.keeper.patterns().chain(self.lists.patterns()));
            // What changed between the last look and the beginning of the watch sends no notice: look at once.
            let latest = Instant::now() + if is_new { Duration::ZERO } else { LOOK_EVERY };
            let looks = [self.keeper.next_look(), self.lists.next_look()];
            let deadline = looks.into_iter().flatten().fold(latest, Instant::min);
            crossbeam_channel::select! {
                recv(orders) -> order => match order {
                    Ok(order) => self.obey(order),
                    Err(_) => return,
                },
                recv(notices) -> notice => match notice {
                    Ok(notice) => self.note_burst(notice, &notices),
                    // Nothing is watched: only the deadline is left.
                    Err(_) => notices = never(),
                },
                recv(crossbeam_channel::at(deadline)) -> _ => {}
            }
            let now = Instant::now();
            let look = self.keeper.look(Some(now));
            self.tell(&look);
            if self.lists.look(now) || look.snapshot.is_some() {
                (self.publish)(self.keeper.serving().cloned(), Arc::clone(self.lists.serving()));
            }
        }
    }

    fn note_burst(&mut self, first: Notice, notices: &Receiver<Notice>) {
        self.note(first);
        let end = Instant::now() + BURST;
        loop {
            match notices.recv_deadline(end) {
                Ok(notice) => self.note(notice),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn note(&mut self, notice: Notice) {
        self.lists.note(notice.clone());
        self.keeper.note(notice);
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Confirm(feed, answer) => {
                let _ = answer.send(self.keeper.confirm(&feed));
            }
            Order::Reconfigure(settings, commit, answer) => {
                let _ = answer.send(self.reconfigure(*settings, commit));
            }
        }
    }

    fn reconfigure(&mut self, settings: Settings, commit: Commit) -> Result<(), Refused> {
        // Lists first: reading them changes nothing, and the keeper's step cannot be taken back.
        let lists = match settings.intel.allowlists == self.lists.entries() {
            true => None,
            false => Some(Lists::prepare(&settings.intel)?),
        };
        let look = self.keeper.reconfigure(settings)?;
        if let Some(lists) = lists {
            self.lists = lists;
        }
        commit(self.keeper.serving().cloned(), Arc::clone(self.lists.serving()));
        self.tell(&look);
        Ok(())
    }

    fn tell(&mut self, look: &Look) {
        if !look.is_empty() || self.reporter.is_behind(&self.keeper) {
            self.reporter.report(&self.keeper, look);
        }
    }
}
