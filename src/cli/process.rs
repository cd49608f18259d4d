//! What a command that serves sets up before anything else, and how it ends: threads, its log, the limit of open files,
//! and signals.

use std::io;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal as SystemSignal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::escape::Escaped;
use crate::net::socket::descriptors;
use crate::telemetry;

/// How long work that blocks, such as a write to a file system that hangs, may hold up the end.
const LAST_WORK: Duration = Duration::from_secs(1);

/// The threads of a process that serves.
pub(super) struct Process {
    runtime: Option<Runtime>,
    /// Why the limit of open files is what it was.
    limit: io::Result<u64>,
}

impl Process {
    /// Starts threads, and has the log written by one of its own. A write beyond the limit of file sizes fails from now
    /// on like one to a full disk, and does not end the process (SIGXFSZ).
    pub(super) fn start() -> anyhow::Result<Process> {
        let runtime = Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
        let entered = runtime.enter();
        // Who handles the signal once handles it for as long as the process lives.
        let _ = signal(SignalKind::from_raw(SystemSignal::XFSZ.as_raw())).context("cannot listen for SIGXFSZ")?;
        drop(entered);
        telemetry::open_log()?;
        Ok(Process { runtime: Some(runtime), limit: descriptors::raise_limit() })
    }

    /// Logs what the start could not do, once there is a log.
    pub(super) fn report(&self) {
        match &self.limit {
            Ok(files) => tracing::debug!(files, "limit of open files"),
            Err(error) => tracing::warn!(error = %Escaped(error), "the limit of open files cannot be raised"),
        }
    }

    /// Runs a future to its end.
    ///
    /// # Errors
    /// Those of the future.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        // invariant: there is a runtime until this is dropped.
        self.runtime.as_ref().context("the threads have ended")?.block_on(work)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(LAST_WORK);
        }
    }
}

/// The signals that end a process.
pub(super) struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

/// How a signal asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// SIGTERM: a manager of processes, which tells others at the same time.
    Terminate,
    /// SIGINT: somebody at a terminal.
    Interrupt,
}

impl Ends {
    /// Needs a runtime.
    pub(super) fn listen() -> anyhow::Result<Ends> {
        Ok(Ends {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
        })
    }

    /// The next one. Signals are not lost while nobody waits, but several of a kind may be one.
    pub(super) async fn next(&mut self) -> End {
        tokio::select! {
            _ = self.terminate.recv() => {
                tracing::info!("SIGTERM received");
                End::Terminate
            }
            _ = self.interrupt.recv() => {
                tracing::info!("SIGINT received");
                End::Interrupt
            }
        }
    }
}

/// Listens for a signal.
pub(super) fn listen(kind: SignalKind, name: &str) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("cannot listen for {name}"))
}
