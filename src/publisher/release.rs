//! Frees replaced snapshots on the thread that replaced them. A snapshot may have gigabytes of mappings, and an event
//! thread that drops the last reference would take milliseconds to unmap them.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait for batches. A batch that takes longer frees the snapshot itself.
const LONGEST_BATCH: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(1);

/// Drops each value after its last other owner. Blocks, but not for long.
pub(super) fn release<T>(replaced: impl IntoIterator<Item = Arc<T>>) {
    replaced.into_iter().for_each(|one| release_within(LONGEST_BATCH, one));
}

fn release_within<T>(longest: Duration, replaced: Arc<T>) {
    let end = Instant::now() + longest;
    while Arc::strong_count(&replaced) > 1 && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, ThreadId};

    use super::*;

    /// Reports the thread that freed it.
    struct DropReporter(Sender<ThreadId>);

    impl Drop for DropReporter {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn it_is_freed_here_although_a_batch_still_has_it() {
        let (tell, freed) = channel();
        let serving = Arc::new(DropReporter(tell));
        let batch = Arc::clone(&serving);
        let (begin, begun) = channel();
        let worker = thread::spawn(move || {
            begin.send(()).unwrap();
            thread::sleep(PAUSE);
            drop(batch);
        });
        begun.recv().unwrap();
        release_within(Duration::from_secs(60), serving);
        worker.join().unwrap();
        assert_eq!(freed.recv().unwrap(), thread::current().id());
    }

    #[test]
    fn a_batch_that_goes_on_is_not_waited_for() {
        let batch = Arc::new(());
        release([Arc::clone(&batch)]);
        assert_eq!(Arc::strong_count(&batch), 1);
    }
}
