//! The tasks that serve sources, each with its own stop.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{RunError, Source};

/// The tasks that serve.
#[derive(Default)]
pub(super) struct Serving {
    pub(super) tasks: JoinSet<Result<(), RunError>>,
    /// One for each source, by id.
    pub(super) stops: BTreeMap<String, watch::Sender<bool>>,
}

impl Serving {
    /// Serves a source that is bound.
    pub(super) fn start(&mut self, source: &mut Source) {
        let Some(bound) = source.bound.take() else { return };
        let (stop, stopped) = watch::channel(false);
        self.tasks.spawn(async move { bound.serve(wait(stopped)).await.map_err(RunError::Serve) });
        self.stops.insert(source.config.id.clone(), stop);
    }

    /// Lets a source finish what is in flight, and end.
    pub(super) fn stop(&mut self, id: &str) {
        if let Some(stop) = self.stops.remove(id) {
            // An error means that it has ended already.
            let _ = stop.send(true);
        }
    }
}

/// Ready when a task is to stop.
pub(super) async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopped.wait_for(|stop| *stop).await;
}
