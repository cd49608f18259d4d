//! The service manager's protocol (`sd_notify(3)`): readiness, reloads, the end, and the watchdog. Without the
//! environment variable `NOTIFY_SOCKET` there is no manager, and nothing is sent.
//!
//! A manager that does not read blocks the sender once its socket is full. A separate thread sends the notifications, so
//! that events never wait for the manager.

use std::convert::Infallible;
use std::future::pending;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use sd_notify::NotifyState;

use crate::escape::Escaped;
use crate::task;
use crate::telemetry::Throttle;

/// The capacity of the queue of notifications.
const WAITING: usize = 16;

type Message = Vec<NotifyState<'static>>;

#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Sockets are bound, indicators are loaded.
    Ready,
    /// The configuration is being read again.
    Reloading,
    /// The process drains.
    Stopping,
}

/// Notifies the manager.
pub(super) fn notify(state: State) {
    let states = match state {
        State::Ready => vec![NotifyState::Ready],
        State::Reloading => {
            // A manager of version 253 or newer requires both together (systemd.service(5), `Type=notify-reload`).
            let now = NotifyState::monotonic_usec_now().ok();
            [NotifyState::Reloading].into_iter().chain(now).collect()
        }
        State::Stopping => vec![NotifyState::Stopping],
    };
    send(states);
}

/// Notifies the watchdog, if the manager enabled it, at half of its interval. The notifications stop when the tasks of
/// the process no longer run.
pub(super) async fn feed_watchdog() -> Infallible {
    if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
        let mut ticks = tokio::time::interval(limit / 2);
        loop {
            ticks.tick().await;
            send(vec![NotifyState::Watchdog]);
        }
    }
    pending().await
}

fn send(message: Message) {
    static SENDER: OnceLock<Option<SyncSender<Message>>> = OnceLock::new();
    static LINES: Throttle = Throttle::new();
    if let Some(sender) = SENDER.get_or_init(start)
        && let Err(TrySendError::Full(_)) = sender.try_send(message)
        && let Some(left_out) = LINES.pass()
    {
        tracing::warn!(left_out, "the service manager does not read its notifications; dropped some");
    }
}

/// Starts the thread, if there is a manager.
fn start() -> Option<SyncSender<Message>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (sender, messages) = sync_channel::<Message>(WAITING);
    let write = move || {
        for message in messages {
            if let Err(error) = sd_notify::notify(&message) {
                tracing::warn!(error = %Escaped(&error), "cannot notify the service manager");
            }
        }
    };
    match task::background_thread("hotlist-notify", write) {
        Ok(()) => Some(sender),
        Err(error) => {
            tracing::warn!(error = %Escaped(&error), "cannot notify the service manager: cannot start a thread");
            None
        }
    }
}
