//! The announcement that the process will end: readiness goes off, while sources take requests as before.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::settle::Settled;
use crate::admin::Readiness;
use crate::source::health::Health;

/// Turns readiness off, and knows how long the process has from then on.
#[derive(Clone)]
pub struct Leaving {
    readiness: Readiness,
    health: Health,
    config: Arc<ArcSwap<Settled>>,
    begun: Arc<OnceLock<Instant>>,
}

impl Leaving {
    pub(super) fn new(readiness: Readiness, health: Health, config: Arc<ArcSwap<Settled>>) -> Leaving {
        Leaving { readiness, health, config, begun: Arc::default() }
    }

    /// Turns readiness off for good. Returns how long sources should stay open, and how long the process may take to
    /// end, both from the first call on.
    pub fn begin(&self) -> (Duration, Duration) {
        self.begun.get_or_init(Instant::now);
        self.readiness.drain();
        self.health.drain();
        let shutdown = self.config.load().active.shutdown;
        (shutdown.delay, shutdown.grace)
    }

    /// Begins, if that was not done yet, and returns what is left of the time to end.
    pub(super) fn grace_left(&self) -> Duration {
        let (_, grace) = self.begin();
        grace.saturating_sub(self.begun.get().map(Instant::elapsed).unwrap_or_default())
    }
}
