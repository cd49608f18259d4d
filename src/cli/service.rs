//! The service manager's protocol (`sd_notify(3)`): readiness, reloads, the end, and the watchdog. Without a manager,
//! which says so by the environment variable `NOTIFY_SOCKET`, nothing is sent.

use std::convert::Infallible;
use std::future::pending;

use sd_notify::NotifyState;

use crate::escape::Escaped;

/// What the manager is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Sockets are bound, indicators are loaded.
    Ready,
    /// The configuration is being read again.
    Reloading,
    /// The process drains.
    Stopping,
}

/// Tells the manager.
pub(super) fn tell(state: State) {
    let states = match state {
        State::Ready => vec![NotifyState::Ready],
        State::Reloading => {
            // A manager of version 253 or newer takes the one only with the other (systemd.service(5), `Type=notify-reload`).
            let now = NotifyState::monotonic_usec_now().ok();
            [NotifyState::Reloading].into_iter().chain(now).collect()
        }
        State::Stopping => vec![NotifyState::Stopping],
    };
    send(&states);
}

/// Feeds the watchdog, if the manager asked for it, at half of its time. It starves when the tasks of the process no
/// longer run.
pub(super) async fn feed_watchdog() -> Infallible {
    if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
        let mut ticks = tokio::time::interval(limit / 2);
        loop {
            ticks.tick().await;
            send(&[NotifyState::Watchdog]);
        }
    }
    pending().await
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = %Escaped(&error), "cannot tell the service manager");
    }
}
