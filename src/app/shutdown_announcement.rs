//! The announcement of the shutdown: readiness is turned off, and Unix sockets may be taken over, while sources still
//! accept requests.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::effective_config::EffectiveConfig;
use crate::net::socket::unix::SocketOffer;
use crate::readiness::Readiness;
use crate::source::health::Health;

/// Turns readiness off, offers Unix sockets to the next process, and tracks the remaining time of the shutdown.
#[derive(Clone)]
pub struct ShutdownAnnouncement {
    readiness: Readiness,
    health: Health,
    config: Arc<ArcSwap<EffectiveConfig>>,
    begun: Arc<OnceLock<Instant>>,
    offers: Arc<Mutex<Vec<SocketOffer>>>,
}

impl ShutdownAnnouncement {
    pub(super) fn new(
        readiness: Readiness,
        health: Health,
        config: Arc<ArcSwap<EffectiveConfig>>,
    ) -> ShutdownAnnouncement {
        ShutdownAnnouncement { readiness, health, config, begun: Arc::default(), offers: Arc::default() }
    }

    /// Adds a Unix socket that another process may take over from the beginning of the shutdown on.
    pub(super) fn will_offer(&self, offer: Option<SocketOffer>) {
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        offers.retain(|offer| !offer.is_over());
        offers.extend(offer);
    }

    /// Turns readiness off permanently. Returns how long sources should stay open, and the time limit of the shutdown, both
    /// from the first call on.
    pub fn begin(&self) -> (Duration, Duration) {
        self.begun.get_or_init(Instant::now);
        self.readiness.drain();
        self.health.drain();
        let offers = std::mem::take(&mut *self.offers.lock().unwrap_or_else(PoisonError::into_inner));
        offers.iter().for_each(SocketOffer::make);
        let shutdown = self.config.load().active.shutdown;
        (shutdown.delay, shutdown.grace)
    }

    /// Begins the shutdown if it has not begun, and returns the remaining time.
    pub(super) fn grace_left(&self) -> Duration {
        let (_, grace) = self.begin();
        grace.saturating_sub(self.begun.get().map(Instant::elapsed).unwrap_or_default())
    }
}
