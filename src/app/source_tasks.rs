//! The tasks of the sources, each with its own stop.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{RunError, Source};

#[derive(Default)]
pub(super) struct SourceTasks {
    pub(super) tasks: JoinSet<Result<(), RunError>>,
    /// One for each source, by id.
    pub(super) stops: BTreeMap<String, watch::Sender<bool>>,
}

impl SourceTasks {
    /// Starts a bound source.
    pub(super) fn start(&mut self, source: &mut Source) {
        let Some(bound) = source.bound.take() else { return };
        let (stop, stopped) = watch::channel(false);
        self.tasks.spawn(async move { bound.serve(wait(stopped)).await.map_err(RunError::Serve) });
        self.stops.insert(source.config.id.clone(), stop);
    }

    /// Lets a source complete the requests in flight, and end.
    pub(super) fn stop(&mut self, id: &str) {
        if let Some(stop) = self.stops.remove(id) {
            // An error means that the source has already ended.
            let _ = stop.send(true);
        }
    }
}

/// Resolves when a task is to stop.
pub(super) async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is dropped, which is also a stop.
    let _ = stopped.wait_for(|stop| *stop).await;
}
