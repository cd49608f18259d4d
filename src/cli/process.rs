//! Sets up a long-running command and ends it: threads, the log, the limit of open files, and signals.

use std::io;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal as SystemSignal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::escape::Escaped;
use crate::net::socket::descriptors;
use crate::telemetry;

/// The maximum delay of the process's end by blocking work, such as a write to a file system that hangs.
const LAST_WORK: Duration = Duration::from_secs(1);

/// The threads of a long-running command.
pub(super) struct CommandRuntime {
    runtime: Option<Runtime>,
    /// The result of raising the limit of open files.
    limit: io::Result<u64>,
}

impl CommandRuntime {
    /// Starts the threads, and a separate one for the log. From now on, a write beyond the limit of file sizes fails like
    /// a write to a full disk, and does not end the process (SIGXFSZ).
    pub(super) fn start() -> anyhow::Result<CommandRuntime> {
        let runtime = Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
        let entered = runtime.enter();
        // A handled signal stays handled for as long as the process lives.
        let _ = signal(SignalKind::from_raw(SystemSignal::XFSZ.as_raw())).context("cannot listen for SIGXFSZ")?;
        drop(entered);
        telemetry::open_log()?;
        Ok(CommandRuntime { runtime: Some(runtime), limit: descriptors::raise_limit() })
    }

    /// Logs startup problems, once the log is set up.
    pub(super) fn report(&self) {
        match &self.limit {
            Ok(files) => tracing::debug!(files, "open file limit raised"),
            Err(error) => tracing::warn!(error = %Escaped(error), "cannot raise the open file limit"),
        }
    }

    /// Runs a future to its end.
    ///
    /// # Errors
    /// Those of the future.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        // invariant: the runtime exists until `self` is dropped.
        self.runtime.as_ref().context("the threads have ended")?.block_on(work)
    }
}

impl Drop for CommandRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(LAST_WORK);
        }
    }
}

pub(super) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// The signal that asked the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndSignal {
    /// SIGTERM: sent by a process manager, which stops routing requests at the same time.
    Terminate,
    /// SIGINT: sent from a terminal.
    Interrupt,
}

impl EndSignals {
    /// Needs a runtime.
    pub(super) fn listen() -> anyhow::Result<EndSignals> {
        Ok(EndSignals {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
        })
    }

    /// Waits for the next signal. Signals that arrive while nothing waits are kept, but several of a kind become one.
    pub(super) async fn next(&mut self) -> EndSignal {
        tokio::select! {
            _ = self.terminate.recv() => {
                tracing::info!("SIGTERM received");
                EndSignal::Terminate
            }
            _ = self.interrupt.recv() => {
                tracing::info!("SIGINT received");
                EndSignal::Interrupt
            }
        }
    }
}

pub(super) fn listen(kind: SignalKind, name: &str) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("cannot listen for {name}"))
}
