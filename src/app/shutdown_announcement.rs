//! The announcement of the shutdown: readiness is turned off while sources still accept requests.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::effective_config::EffectiveConfig;
use crate::admin::Readiness;
use crate::source::health::Health;

/// Turns readiness off, and tracks the remaining time of the shutdown.
#[derive(Clone)]
pub struct ShutdownAnnouncement {
    readiness: Readiness,
    health: Health,
    config: Arc<ArcSwap<EffectiveConfig>>,
    begun: Arc<OnceLock<Instant>>,
}

impl ShutdownAnnouncement {
    pub(super) fn new(
        readiness: Readiness,
        health: Health,
        config: Arc<ArcSwap<EffectiveConfig>>,
    ) -> ShutdownAnnouncement {
        ShutdownAnnouncement { readiness, health, config, begun: Arc::default() }
    }

    /// Turns readiness off permanently. Returns how long sources should stay open, and the time limit of the shutdown, both
    /// from the first call on.
    pub fn begin(&self) -> (Duration, Duration) {
        self.begun.get_or_init(Instant::now);
        self.readiness.drain();
        self.health.drain();
        let shutdown = self.config.load().active.shutdown;
        (shutdown.delay, shutdown.grace)
    }

    /// Begins the shutdown if it has not begun, and returns the remaining time.
    pub(super) fn grace_left(&self) -> Duration {
        let (_, grace) = self.begin();
        grace.saturating_sub(self.begun.get().map(Instant::elapsed).unwrap_or_default())
    }
}
